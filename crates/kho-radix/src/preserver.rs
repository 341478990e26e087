//! Preserved memory that is owned: what is dropped is no longer preserved.

use alloc::sync::Arc;
use core::fmt;
use core::ops::{Deref, DerefMut};

use kho_mem::sync::Mutex;
use kho_mem::{Arena, Folio, Order, OutOfMemory, PAGE_SIZE, PageRun, Pages, PhysAddr};

use crate::{Key, Tracker, TrackerError};

/// A step that gave back what it was given.
#[derive(Debug)]
pub struct Failed<T, E = TrackerError> {
    /// Why.
    pub error: E,
    /// What the step was given, as it was.
    pub returned: T,
}

impl<T, E: fmt::Display> fmt::Display for Failed<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug, E: core::error::Error + 'static> core::error::Error for Failed<T, E> {}

/// An arena and the tracker of what is preserved in it. Cheap to clone; the clones are one.
///
/// Preserving memory moves its owner in and gives a [`PreservedFolio`] or [`PreservedPages`] out:
/// still owned, still readable and writable, and preserved for as long as it is held.
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, Order, PhysAddr};
/// use kho_radix::Preserver;
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let preserver = Preserver::new(arena)?;
/// let folio = preserver.arena().alloc_zeroed(Order::new(3).unwrap())?;
/// let mut preserved = preserver.preserve_folio(folio)?;
/// preserved[0] = 1;
/// assert_eq!(preserver.pages(), 8);
/// let folio = preserved.unpreserve();
/// assert_eq!((folio[0], preserver.pages()), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Preserver(Arc<Shared>);

struct Shared {
    arena: Arena,
    tracker: Mutex<Tracker>,
}

impl Preserver {
    /// Nothing is preserved yet.
    ///
    /// # Errors
    ///
    /// The arena has no page for the tracker's root.
    pub fn new(arena: Arena) -> Result<Self, TrackerError> {
        Tracker::new(arena.clone()).map(|tracker| Self::with(arena, tracker))
    }

    /// As [`Preserver::new`], with a tracker of one's own making. It is empty, and of `arena`.
    #[must_use]
    pub fn with(arena: Arena, tracker: Tracker) -> Self {
        Self(Arc::new(Shared {
            arena,
            tracker: Mutex::new(tracker),
        }))
    }

    /// The arena.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.0.arena
    }

    /// The address of the tracker's root node.
    #[must_use]
    pub fn root(&self) -> PhysAddr {
        self.0.tracker.lock().root()
    }

    /// How many pages are preserved.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.0.tracker.lock().pages()
    }

    /// How many keys the tracker holds.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.0.tracker.lock().keys()
    }

    /// Looks at the tracker.
    pub fn tracker<T>(&self, look: impl FnOnce(&Tracker) -> T) -> T {
        look(&self.0.tracker.lock())
    }

    /// Preserves a folio: one key of its order. O(depth).
    ///
    /// # Errors
    ///
    /// No page is left for a node, or the key is there already (through a [`Tracker`] of one's
    /// own), or it is a folio of another arena. The folio comes back.
    pub fn preserve_folio(&self, folio: Folio) -> Result<PreservedFolio, Failed<Folio>> {
        let added = match key_of(&folio) {
            _ if !folio.arena().is(&self.0.arena) => Err(TrackerError::Foreign(folio.run())),
            Ok(key) => self.0.tracker.lock().add(key),
            Err(error) => Err(error),
        };
        match added {
            Ok(()) => Ok(PreservedFolio {
                folio: Some(folio),
                preserver: self.clone(),
            }),
            Err(error) => Err(Failed {
                error,
                returned: folio,
            }),
        }
    }

    /// Preserves a run of pages, as the fewest naturally aligned keys.
    ///
    /// # Errors
    ///
    /// As [`Preserver::preserve_folio`].
    pub fn preserve_pages(&self, pages: Pages) -> Result<PreservedPages, Failed<Pages>> {
        let added = if pages.arena().is(&self.0.arena) {
            self.0.tracker.lock().add_pages(pages.run())
        } else {
            Err(TrackerError::Foreign(pages.run()))
        };
        match added {
            Ok(()) => Ok(PreservedPages {
                pages: Some(pages),
                preserver: self.clone(),
            }),
            Err(error) => Err(Failed {
                error,
                returned: pages,
            }),
        }
    }

    /// Allocates and preserves a folio of at least `len` bytes, all 0.
    ///
    /// # Errors
    ///
    /// The arena has no such folio left, or no page for a node. Nothing stays allocated.
    pub fn alloc_preserve(&self, len: usize) -> Result<PreservedFolio, TrackerError> {
        let pages = len.div_ceil(PAGE_SIZE).max(1);
        let too_large = OutOfMemory {
            pages: pages as u64,
        };
        let order = pages
            .checked_next_power_of_two()
            .ok_or(too_large)?
            .trailing_zeros();
        let order = u8::try_from(order)
            .ok()
            .and_then(Order::new)
            .ok_or(too_large)?;
        let folio = self.0.arena.alloc_zeroed(order)?;
        self.preserve_folio(folio).map_err(|failed| failed.error)
    }

    /// Runs a step that preserves several things. If it fails, the nodes that it added to the
    /// tracker go: what the step preserved must be dropped by then, so that the tracker is, byte
    /// by byte, as it was.
    ///
    /// # Errors
    ///
    /// Those of the step.
    pub fn step<T, E>(&self, step: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mark = self.0.tracker.lock().mark();
        let done = step();
        if done.is_err() {
            self.0.tracker.lock().prune(mark);
        }
        done
    }

    /// Gives the tracker's nodes to the handover.
    ///
    /// # Errors
    ///
    /// Something preserved is still owned, or there is a clone: the preserver, unchanged.
    pub fn hand_over(self) -> Result<Arena, Self> {
        let shared = Arc::try_unwrap(self.0).map_err(Self)?;
        shared.tracker.into_inner().hand_over();
        Ok(shared.arena)
    }

    /// As [`Preserver::hand_over`], while others still hold the preserver or preserved memory of
    /// theirs: the nodes are the handover's all the same.
    pub fn give(&self) {
        self.0.tracker.lock().give();
    }

    fn remove(&self, key: Key) {
        // The key was put in when its owner was made, and only its owner takes it out.
        let removed = self.0.tracker.lock().remove(key);
        debug_assert_eq!(removed, Ok(()));
    }
}

impl fmt::Debug for Preserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tracker(|tracker| tracker.fmt(f))
    }
}

fn key_of(folio: &Folio) -> Result<Key, TrackerError> {
    Key::encode(folio.addr(), folio.order()).ok_or(TrackerError::NoKey {
        run: folio.run(),
        order: folio.order(),
    })
}

/// A folio that is preserved and owned. Dropped, it is neither.
pub struct PreservedFolio {
    // Taken by `unpreserve`, `hand_over` and drop alone.
    folio: Option<Folio>,
    preserver: Preserver,
}

impl PreservedFolio {
    /// The first byte's address: what a handover's structures name it by.
    #[must_use]
    pub fn addr(&self) -> PhysAddr {
        self.folio.as_ref().map_or(PhysAddr::NULL, Folio::addr)
    }

    /// Whether it is preserved in the tracker of `preserver`.
    #[must_use]
    pub fn is_of(&self, preserver: &Preserver) -> bool {
        Arc::ptr_eq(&self.preserver.0, &preserver.0)
    }

    /// log2 of its pages.
    #[must_use]
    pub fn order(&self) -> Order {
        self.folio.as_ref().map_or(Order::ZERO, Folio::order)
    }

    /// Ends its preservation.
    #[must_use]
    pub fn unpreserve(mut self) -> Folio {
        self.take()
    }

    fn take(&mut self) -> Folio {
        match self.folio.take() {
            Some(folio) => {
                if let Ok(key) = key_of(&folio) {
                    self.preserver.remove(key);
                }
                folio
            }
            // `self.folio` is taken only where `self` ends.
            None => unreachable!("a preserved folio is taken once"),
        }
    }

    /// Gives it to the handover: it stays preserved, and is no longer owned.
    pub fn hand_over(mut self) {
        if let Some(folio) = self.folio.take() {
            folio.hand_over();
        }
    }
}

impl Drop for PreservedFolio {
    fn drop(&mut self) {
        if self.folio.is_some() {
            drop(self.take());
        }
    }
}

impl Deref for PreservedFolio {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.folio.as_deref().unwrap_or_default()
    }
}

impl DerefMut for PreservedFolio {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.folio.as_deref_mut().unwrap_or_default()
    }
}

impl fmt::Debug for PreservedFolio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreservedFolio({}, order {})", self.addr(), self.order())
    }
}

/// A run of pages that is preserved and owned. Dropped, it is neither.
pub struct PreservedPages {
    pages: Option<Pages>,
    preserver: Preserver,
}

impl PreservedPages {
    /// The pages by number.
    #[must_use]
    pub fn run(&self) -> PageRun {
        self.pages
            .as_ref()
            .map_or(PageRun { pfn: 0, pages: 0 }, Pages::run)
    }

    /// Ends its preservation.
    #[must_use]
    pub fn unpreserve(mut self) -> Pages {
        self.take()
    }

    fn take(&mut self) -> Pages {
        match self.pages.take() {
            Some(pages) => {
                let removed = self.preserver.0.tracker.lock().remove_pages(pages.run());
                debug_assert_eq!(removed, Ok(()));
                pages
            }
            None => unreachable!("preserved pages are taken once"),
        }
    }

    /// Gives them to the handover: they stay preserved, and are no longer owned.
    pub fn hand_over(mut self) {
        if let Some(pages) = self.pages.take() {
            pages.hand_over();
        }
    }
}

impl Drop for PreservedPages {
    fn drop(&mut self) {
        if self.pages.is_some() {
            drop(self.take());
        }
    }
}

impl Deref for PreservedPages {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.pages.as_deref().unwrap_or_default()
    }
}

impl DerefMut for PreservedPages {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.pages.as_deref_mut().unwrap_or_default()
    }
}

impl fmt::Debug for PreservedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreservedPages({})", self.run())
    }
}
