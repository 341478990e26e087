//! An arena and its tracker: memory is preserved, and its owners are given out.

use alloc::sync::Arc;
use core::fmt;

use kho_mem::sync::Mutex;
use kho_mem::{Arena, Folio, Order, OutOfMemory, PAGE_SIZE, Pages, PhysAddr};

use crate::{Key, PreservedFolio, PreservedPages, Tracker, TrackerError};

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
    state: Mutex<State>,
}

struct State {
    tracker: Tracker,
    // Whether a step that could not return an error failed: see `Preserver::check`.
    is_broken: bool,
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
            state: Mutex::new(State {
                tracker,
                is_broken: false,
            }),
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
        self.0.state.lock().tracker.root()
    }

    /// How many pages are preserved.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.0.state.lock().tracker.pages()
    }

    /// How many keys the tracker holds.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.0.state.lock().tracker.keys()
    }

    /// Looks at the tracker.
    pub fn tracker<T>(&self, look: impl FnOnce(&Tracker) -> T) -> T {
        look(&self.0.state.lock().tracker)
    }

    /// Whether `other` is a clone of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Preserves a folio: one key of its order. O(depth).
    ///
    /// # Errors
    ///
    /// No page is left for a node, or the key is there already (through a [`Tracker`] of one's
    /// own), or it is a folio of another arena. The folio comes back.
    pub fn preserve_folio(&self, folio: Folio) -> Result<PreservedFolio, Failed<Folio>> {
        let added = match Key::encode(folio.addr(), folio.order()) {
            _ if !folio.arena().is(&self.0.arena) => Err(TrackerError::Foreign(folio.run())),
            Some(key) => self.0.state.lock().tracker.add(key).map(|()| key),
            None => Err(TrackerError::NoKey {
                run: folio.run(),
                order: folio.order(),
            }),
        };
        match added {
            Ok(key) => Ok(PreservedFolio::new(self.clone(), key, folio)),
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
            self.0.state.lock().tracker.add_pages(pages.run())
        } else {
            Err(TrackerError::Foreign(pages.run()))
        };
        match added {
            Ok(()) => Ok(PreservedPages::new(self.clone(), pages)),
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
        let savepoint = self.0.state.lock().tracker.savepoint();
        let done = step();
        if done.is_err() {
            self.undo(|tracker| tracker.rollback(savepoint));
        }
        done
    }

    /// Whether the tracker holds what its owners do. To be asked before memory is handed over.
    ///
    /// # Errors
    ///
    /// [`TrackerError::Broken`]: what was dropped, or a step that failed, could not be taken out. A handover
    /// would preserve memory that nobody owns.
    pub fn check(&self) -> Result<(), TrackerError> {
        if self.0.state.lock().is_broken {
            return Err(TrackerError::Broken(
                "no key whose owner was dropped, and no node of a step that failed",
            ));
        }
        Ok(())
    }

    /// Gives the tracker's nodes to the handover.
    ///
    /// # Errors
    ///
    /// Something preserved is still owned, there is a clone, or [`Preserver::check`] fails: the preserver,
    /// unchanged.
    pub fn hand_over(self) -> Result<Arena, Self> {
        if self.check().is_err() {
            return Err(self);
        }
        let shared = Arc::try_unwrap(self.0).map_err(Self)?;
        shared.state.into_inner().tracker.hand_over();
        Ok(shared.arena)
    }

    /// As [`Preserver::hand_over`], while others still hold the preserver or preserved memory of
    /// theirs: the nodes are the handover's all the same. [`Preserver::check`] comes first.
    pub fn give(&self) {
        self.0.state.lock().tracker.give();
    }

    /// Runs a step that has nobody to report to. Where it fails, [`Preserver::check`] does from then on.
    pub(crate) fn undo(&self, step: impl FnOnce(&mut Tracker) -> Result<(), TrackerError>) {
        let mut state = self.0.state.lock();
        if step(&mut state.tracker).is_err() {
            state.is_broken = true;
        }
    }
}

impl fmt::Debug for Preserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tracker(|tracker| tracker.fmt(f))
    }
}
