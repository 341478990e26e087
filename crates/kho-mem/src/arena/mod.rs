//! Physical memory of one's own: an address range, an allocator, owned folios.
#![allow(unsafe_code)]

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::Mutex;
use crate::{Order, PAGE_SHIFT, PAGE_SIZE, PAGE_SIZE_U64, PageRun, PhysAddr, PhysRange};

#[cfg(target_has_atomic = "64")]
mod atomic;
mod backing;
mod bits;
mod buddy;
mod folio;
mod handed;
#[cfg(feature = "std")]
mod memfd;

#[cfg(target_has_atomic = "64")]
pub use atomic::{AtomicPages, PAGE_WORDS};
use backing::Backing;
use buddy::{Buddy, LARGEST};
pub use folio::{Folio, Pages};
pub use handed::{Handed, NotHanded};
#[cfg(feature = "std")]
pub use memfd::HugePages;

/// What an arena's base, size and scratch areas are aligned to: the largest folio.
pub const ARENA_ALIGN: u64 = (LARGEST * PAGE_SIZE) as u64;
/// The largest arena.
pub const ARENA_MAX: u64 = 1 << 40;
/// One past the largest address of an arena: x86-64 and arm64 have 52 bits at most.
const PHYS_LIMIT: u64 = 1 << 52;

/// Where an arena lies and what is carved out of it.
#[derive(Clone, Debug)]
pub struct ArenaConfig {
    pub(crate) base: PhysAddr,
    pub(crate) size: u64,
    pub(crate) scratch: Vec<PhysRange>,
    #[cfg(feature = "std")]
    pub(crate) huge: HugePages,
}

impl ArenaConfig {
    /// `size` bytes from `base` on, both multiples of [`ARENA_ALIGN`].
    #[must_use]
    pub const fn new(base: PhysAddr, size: u64) -> Self {
        Self {
            base,
            size,
            scratch: Vec::new(),
            #[cfg(feature = "std")]
            huge: HugePages::Never,
        }
    }

    /// Carves a scratch area out: nothing is ever allocated there, so that nothing that is
    /// preserved overlaps it.
    #[must_use]
    pub fn scratch(mut self, area: PhysRange) -> Self {
        self.scratch.push(area);
        self
    }

    fn check(&self) -> Result<usize, ArenaError> {
        let bad = |what: &str, found: String| ArenaError::Config(alloc::format!("{what}: {found}"));
        if !self.base.get().is_multiple_of(ARENA_ALIGN) {
            let what = "the base of an arena is a multiple of 4 MiB";
            return Err(bad(what, alloc::format!("{}", self.base)));
        }
        if self.size == 0 || !self.size.is_multiple_of(ARENA_ALIGN) || self.size > ARENA_MAX {
            let what = "the size of an arena is a multiple of 4 MiB up to 1 TiB";
            return Err(bad(what, alloc::format!("{:#x}", self.size)));
        }
        let end = self
            .base
            .get()
            .checked_add(self.size)
            .filter(|end| *end <= PHYS_LIMIT);
        if end.is_none() {
            let what = "an arena ends below 2^52";
            let found = alloc::format!("{:#x} bytes at {}", self.size, self.base);
            return Err(bad(what, found));
        }
        let range = PhysRange::new(self.base, self.size).unwrap_or(PhysRange::EMPTY);
        for (index, area) in self.scratch.iter().enumerate() {
            let inside =
                area.is_empty() || range.contains(area.start()) && area.end() <= range.end();
            let aligned = (area.start().get() | area.len()).is_multiple_of(ARENA_ALIGN);
            let apart = self
                .scratch
                .iter()
                .take(index)
                .all(|other| !other.overlaps(area));
            if !inside || !aligned || !apart {
                let what = "scratch areas are aligned to 4 MiB, inside the arena, and apart";
                return Err(bad(what, alloc::format!("{area}")));
            }
        }
        usize::try_from(self.size).map_err(|_| {
            bad(
                "the address space of this process is too small",
                alloc::format!("{:#x}", self.size),
            )
        })
    }
}

/// An arena that can not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// This process has not that much memory.
    #[error("no {0:#x} bytes of memory for an arena")]
    NoMemory(u64),
    /// The system refused.
    #[cfg(feature = "std")]
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        error: std::io::Error,
    },
    /// A file that is no arena's.
    #[error("the file is no arena: {0}")]
    NotAnArena(String),
}

/// The allocator has no such pages left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("out of memory: no {pages} free pages in a row in the arena")]
pub struct OutOfMemory {
    /// How many pages in a row were asked for.
    pub pages: u64,
}

/// What all owners of an arena's pages share.
///
/// Each page is at any time one of: free (in a block of `buddy`), owned by one [`Pages`],
/// [`Folio`] or `AtomicPages`, handed (in the runs of the one [`Handed`]), given to the handover, or carved out.
/// It changes hands under the lock of `buddy` or through `&mut Handed`. That is what the `unsafe`
/// blocks of this module rest on.
struct Inner {
    backing: Backing,
    base: PhysAddr,
    buddy: Mutex<Buddy>,
    // Free pages that only handles of the reserve are given.
    reserve: AtomicUsize,
    #[cfg(feature = "fault-injection")]
    faults: Mutex<Option<u64>>,
}

// SAFETY:
// - The backing's bytes are reached through `Pages`, `Folio`, `AtomicPages` and `Handed` only, each of
//   which is the one owner of its bytes and hands out views by the rules of `&` and `&mut`.
// - Everything else of `Inner` is `Send` and `Sync` by itself.
unsafe impl Send for Inner {}
// SAFETY: as above; the allocator's state is behind a mutex.
unsafe impl Sync for Inner {}

impl Inner {
    fn new(backing: Backing, base: PhysAddr) -> Self {
        let pages = backing.len() / PAGE_SIZE;
        Self {
            backing,
            base,
            buddy: Mutex::new(Buddy::new(pages)),
            reserve: AtomicUsize::new(0),
            #[cfg(feature = "fault-injection")]
            faults: Mutex::new(None),
        }
    }

    fn addr(&self, page: usize) -> PhysAddr {
        PhysAddr::new(self.base.get() + page as u64 * PAGE_SIZE_U64)
    }

    fn range(&self) -> PhysRange {
        PhysRange::new(self.base, self.backing.len() as u64).unwrap_or(PhysRange::EMPTY)
    }

    /// The pages of `run` from the base on, first to one past the last; `None` where they leave
    /// the arena.
    fn pages_of(&self, run: PageRun) -> Option<(usize, usize)> {
        let from = run.pfn.get().checked_sub(self.base.get() >> PAGE_SHIFT)?;
        let to = from.checked_add(run.pages)?;
        let pages = (self.backing.len() / PAGE_SIZE) as u64;
        if to > pages {
            return None;
        }
        Some((usize::try_from(from).ok()?, usize::try_from(to).ok()?))
    }

    /// The whole pages that `range` touches.
    fn pages_in(&self, range: PhysRange) -> Option<(usize, usize)> {
        let all = self.range();
        let start = range.start().max(all.start());
        let end = range.end().min(all.end());
        let len = u64::try_from(end.checked_sub(u128::from(start.get()))?).ok()?;
        let last = start.get().checked_add(len.checked_sub(1)?)? >> PAGE_SHIFT;
        self.pages_of(PageRun {
            pfn: start.pfn(),
            pages: last - start.pfn().get() + 1,
        })
    }

    #[cfg(feature = "std")]
    fn file(&self) -> Option<&std::fs::File> {
        match &self.backing {
            Backing::Mapped { file, .. } => Some(file),
            Backing::Heap(_) | Backing::Anonymous(_) => None,
        }
    }

    #[cfg(feature = "fault-injection")]
    fn fault(&self) -> bool {
        let mut faults = self.faults.lock();
        match faults.as_mut() {
            Some(0) => {
                *faults = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    #[cfg(not(feature = "fault-injection"))]
    #[allow(clippy::unused_self)]
    const fn fault(&self) -> bool {
        false
    }
}

/// Physical memory of a base address and size of one's choosing, with a page allocator.
///
/// Cheap to clone; the clones are one arena. It lives as long as the last of them, or of the
/// folios allocated from it.
#[derive(Clone)]
pub struct Arena(Arc<Inner>, Purpose);

/// What a handle of an arena allocates for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Contents,
    /// What a handover needs: the reserve is there for it.
    Handover,
}

impl Arena {
    /// An arena in memory of this process alone: for tests, for building images, and where there is no
    /// operating system.
    ///
    /// With the standard library it is an anonymous mapping, of which only what is used takes memory, in
    /// huge pages where the system has them. Without it the global allocator gives it.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense, or there is not that much memory.
    pub fn heap(config: &ArenaConfig) -> Result<Self, ArenaError> {
        let len = config.check()?;
        let backing = Backing::own(len).ok_or(ArenaError::NoMemory(config.size))?;
        Ok(Self::fresh(backing, config))
    }

    /// An arena all of whose pages are free, scratch apart.
    fn fresh(backing: Backing, config: &ArenaConfig) -> Self {
        let inner = Arc::new(Inner::new(backing, config.base));
        Handed::new(inner).reclaim([], &config.scratch)
    }

    /// The addresses of its pages.
    #[must_use]
    pub fn range(&self) -> PhysRange {
        self.0.range()
    }

    /// Whether `other` is this arena: a clone.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How many pages are free.
    #[must_use]
    pub fn free_pages(&self) -> u64 {
        self.0.buddy.lock().free_pages() as u64
    }

    /// Keeps `pages` free pages for a handover: [`Arena::for_handover`] gives them, and every other handle is out of
    /// memory before they are touched. Where fewer are free, no other handle is given any.
    pub fn set_reserve(&self, pages: u64) {
        let pages = usize::try_from(pages).unwrap_or(usize::MAX);
        self.0.reserve.store(pages, Ordering::Relaxed);
    }

    /// The pages that are kept for a handover.
    #[must_use]
    pub fn reserve(&self) -> u64 {
        self.0.reserve.load(Ordering::Relaxed) as u64
    }

    /// A handle of this arena that is given the pages of the reserve as well.
    #[must_use]
    pub fn for_handover(&self) -> Self {
        Self(Arc::clone(&self.0), Purpose::Handover)
    }

    /// Takes pages by `take`, which takes `pages` of them, if that leaves the reserve alone.
    fn take(&self, pages: usize, take: impl FnOnce(&mut Buddy) -> Option<usize>) -> Option<usize> {
        let mut buddy = self.0.buddy.lock();
        if self.1 == Purpose::Contents {
            let left = buddy.free_pages().checked_sub(pages)?;
            if left < self.0.reserve.load(Ordering::Relaxed) {
                return None;
            }
        }
        take(&mut buddy)
    }

    /// Allocates a folio of 2^order pages, naturally aligned. What its bytes are is unspecified.
    /// O(log arena).
    ///
    /// # Errors
    ///
    /// No free block is that large, the rest is kept for a handover, or `order` is above [`Order::MAX_FOLIO`].
    pub fn alloc(&self, order: Order) -> Result<Folio, OutOfMemory> {
        let none = OutOfMemory {
            pages: order.pages(),
        };
        if self.0.fault() {
            return Err(none);
        }
        let pages = usize::try_from(none.pages).map_err(|_| none)?;
        let page = self.take(pages, |buddy| buddy.alloc(order)).ok_or(none)?;
        // SAFETY: the allocator just took these pages out of its free blocks: they lie in the
        // arena, are aligned to their order, and nobody owns them.
        Ok(unsafe { Folio::new(Arc::clone(&self.0), page, order) })
    }

    /// As [`Arena::alloc`], with all bytes 0.
    ///
    /// # Errors
    ///
    /// As [`Arena::alloc`].
    pub fn alloc_zeroed(&self, order: Order) -> Result<Folio, OutOfMemory> {
        let mut folio = self.alloc(order)?;
        folio.fill(0);
        Ok(folio)
    }

    /// Allocates `pages` pages in a row, at least 1: as large as the arena allows. What their
    /// bytes are is unspecified. O(log arena) up to the largest folio, above that O(arena / 64
    /// largest folios).
    ///
    /// # Errors
    ///
    /// There are no such pages.
    pub fn alloc_pages(&self, pages: u64) -> Result<Pages, OutOfMemory> {
        let none = OutOfMemory { pages };
        let count = usize::try_from(pages).map_err(|_| none)?;
        let total = self.0.backing.len() / PAGE_SIZE;
        if count == 0 || count > total || self.0.fault() {
            return Err(none);
        }
        let page = self
            .take(count, |buddy| buddy.alloc_run(count))
            .ok_or(none)?;
        // SAFETY: as in `alloc`.
        Ok(unsafe { Pages::new(Arc::clone(&self.0), page, count) })
    }

    /// As [`Arena::alloc_pages`], with all bytes 0.
    ///
    /// # Errors
    ///
    /// As [`Arena::alloc_pages`].
    pub fn alloc_pages_zeroed(&self, pages: u64) -> Result<Pages, OutOfMemory> {
        let mut pages = self.alloc_pages(pages)?;
        pages.fill(0);
        Ok(pages)
    }

    /// The arena as its successor finds it: all of it handed over. For a handover inside one
    /// process, and to write an image of it.
    ///
    /// # Errors
    ///
    /// Somebody still owns pages of it, or has a clone: the arena, unchanged.
    pub fn into_handed(self) -> Result<Handed, Self> {
        let Inner { backing, base, .. } =
            Arc::try_unwrap(self.0).map_err(|inner| Self(inner, self.1))?;
        // No owner is left, since each keeps the count up; and so is no view.
        Ok(Handed::new(Arc::new(Inner::new(backing, base))))
    }

    /// The memfd of the arena, to be passed on; `None` for one on the heap.
    ///
    /// Like `/proc/self/mem`, it is a way around the language's rules: who writes to the file, or
    /// punches holes into it, changes bytes under views that others have. It is there to be inherited
    /// and to be asked for its extents.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn file(&self) -> Option<&std::fs::File> {
        self.0.file()
    }

    /// Makes the allocation after the next `count` fail, once. For tests that want to see every
    /// failure undone.
    #[cfg(feature = "fault-injection")]
    pub fn fail_after(&self, count: u64) {
        *self.0.faults.lock() = Some(count);
    }

    /// Takes a fault that was set back; returns whether it was still to come.
    #[cfg(feature = "fault-injection")]
    pub fn no_fault(&self) -> bool {
        self.0.faults.lock().take().is_some()
    }

    /// The allocator's free blocks: the first page's number, from the base on, and the order of
    /// each, in order. Two arenas of one size with the same ones have the same pages free.
    #[cfg(feature = "fault-injection")]
    #[must_use]
    pub fn free_blocks(&self) -> Vec<(usize, usize)> {
        self.0.buddy.lock().blocks()
    }
}

impl core::fmt::Debug for Arena {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Arena({}, {} pages free)",
            self.range(),
            self.free_pages()
        )
    }
}

#[cfg(test)]
mod tests;
