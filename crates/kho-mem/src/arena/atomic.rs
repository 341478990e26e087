//! Owned pages that many threads read and write.
#![allow(unsafe_code)]

use core::fmt;
use core::sync::atomic::AtomicU64;

use super::Pages;
use crate::{PAGE_SIZE, PageRun, PhysAddr};

/// 64-bit words in a page.
pub const PAGE_WORDS: usize = PAGE_SIZE / size_of::<u64>();

// What the view of a page rests on: a page is whole words, and aligned as they are.
const _: () = assert!(size_of::<[AtomicU64; PAGE_WORDS]>() == PAGE_SIZE);
const _: () = assert!(PAGE_SIZE.is_multiple_of(align_of::<AtomicU64>()));

/// [`Pages`] as words that many threads may read and write at once: they are shared by reference, and no
/// lock is needed.
///
/// There is no other view of the bytes as long as this is their owner. A word is the machine's, as it stands
/// in memory: what is little-endian there goes through [`u64::from_le`] and [`u64::to_le`].
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
///
/// use kho_mem::{Arena, ArenaConfig, PhysAddr};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let pages = arena.alloc_pages_zeroed(2)?.into_atomic();
/// std::thread::scope(|scope| {
///     for bit in 0..4 {
///         let word = &pages.words(1).unwrap()[7];
///         scope.spawn(move || word.fetch_or((1u64 << bit).to_le(), Relaxed));
///     }
/// });
/// assert_eq!(pages.into_pages()[4096 + 7 * 8], 0b1111);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AtomicPages(Pages);

impl AtomicPages {
    /// The first byte's address.
    #[must_use]
    #[inline]
    pub fn addr(&self) -> PhysAddr {
        self.0.addr()
    }

    /// The pages by number.
    #[must_use]
    pub fn run(&self) -> PageRun {
        self.0.run()
    }

    /// The words of the page `page`, counted from the first one on; `None` where there are not that many.
    #[must_use]
    #[inline]
    pub fn words(&self, page: usize) -> Option<&[AtomicU64; PAGE_WORDS]> {
        if page >= self.0.count() {
            return None;
        }
        // SAFETY:
        // - `page` is one of the owned pages, as just checked, so that all of it lies where
        //   `Pages::start` is valid, for as long as `self` lives, and so for the view's lifetime. The
        //   bytes are initialised, and any bytes are a `u64`, whose size and bit validity `AtomicU64` has.
        // - It is aligned: the backing begins at a page's boundary (`Heap` asks the allocator for that
        //   alignment, a mapping has the system's, which is a multiple), pages follow each other at
        //   multiples of the page's size, and that is a multiple of the word's alignment (asserted above).
        // - The words are accessed as atomics of this size and in no other way. `self` is the pages' only
        //   owner in this process (`Pages::new`) and gives no other view of them: `Pages` is private
        //   here, and neither dereferenced nor dropped while `self` is borrowed. A plain view comes back
        //   with `into_pages` alone, which takes `self` by value, so that all views of words have ended;
        //   what threads did through them happened before whatever let this thread have `self`.
        // - Other processes and the file's descriptor: as in `Pages::deref`. `Arena::unmap` keeps the
        //   bytes under every view what they are.
        Some(unsafe { &*self.0.start().add(page * PAGE_SIZE).cast() })
    }

    /// The pages for one owner again.
    #[must_use]
    pub fn into_pages(self) -> Pages {
        self.0
    }
}

impl Pages {
    /// The pages as words that many threads may read and write at once.
    #[must_use]
    pub fn into_atomic(self) -> AtomicPages {
        AtomicPages(self)
    }
}

impl From<Pages> for AtomicPages {
    fn from(pages: Pages) -> Self {
        pages.into_atomic()
    }
}

impl From<AtomicPages> for Pages {
    fn from(pages: AtomicPages) -> Self {
        pages.into_pages()
    }
}

impl fmt::Debug for AtomicPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AtomicPages({})", self.run())
    }
}
