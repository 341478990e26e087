//! Nodes for a tree that many threads grow: pages in a row, taken without a lock.

use alloc::vec::Vec;

use kho_mem::{Arena, PAGE_MASK, PAGE_SHIFT, PhysAddr};

use super::store::{Page, Store};
use super::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::TrackerError;

/// What holds as long as this crate has no defect.
const NO_PAGE: TrackerError = TrackerError::Broken("memory behind each page of the pool");

/// A page of the pool that is no node yet.
///
/// Holding one proves that the page is all zero, that no entry of any table names it, and that nobody else
/// has it. It is used up by an entry that names it, or given back.
#[derive(Debug)]
pub(super) struct Fresh<'p> {
    page: usize,
    // The word of `Pool::returned` with its bit, and that.
    returned: &'p AtomicU64,
    bit: u64,
}

impl Fresh<'_> {
    /// Gives the page back.
    pub(super) fn give_back(self) {
        // Release: with the Acquire of `take_returned`.
        self.returned.fetch_or(self.bit, Ordering::Release);
    }
}

/// Pages in a row of an arena. What is taken is a page by its number; an address that an entry holds becomes
/// a number again by subtraction.
pub(super) struct Pool {
    store: Store,
    first: PhysAddr,
    pub(super) count: usize,
    // The first page that nobody took yet. It may run past `count`, by one per thread.
    pub(super) next: AtomicUsize,
    // A bit for each page: it was taken, and given back.
    pub(super) returned: Vec<AtomicU64>,
}

impl Pool {
    /// `count` pages, at least 1, the first of them taken: all zero, the root.
    pub(super) fn new(arena: &Arena, count: usize) -> Result<Self, TrackerError> {
        let pages = arena.alloc_pages(count as u64)?;
        let first = pages.addr();
        let store = Store::new(pages);
        store.zero(0).ok_or(NO_PAGE)?;
        Ok(Self {
            store,
            first,
            count,
            next: AtomicUsize::new(1),
            returned: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// The root node's address.
    pub(super) const fn first(&self) -> PhysAddr {
        self.first
    }

    /// How many pages there are, taken or not.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// The root.
    #[inline]
    pub(super) fn root(&self) -> Option<&Page> {
        self.store.page(0)
    }

    /// The address of a page, for the entry that is to name it.
    pub(super) fn addr(&self, fresh: &Fresh<'_>) -> PhysAddr {
        PhysAddr::new(self.first.get() + ((fresh.page as u64) << PAGE_SHIFT))
    }

    /// The node that the entry `addr` names.
    ///
    /// The entry was read with [`Ordering::Acquire`]: see [`Pool::take`].
    #[inline]
    pub(super) fn node(&self, addr: u64) -> Option<&Page> {
        let offset = addr.checked_sub(self.first.get())?;
        if offset & PAGE_MASK != 0 {
            return None;
        }
        self.store.page(usize::try_from(offset >> PAGE_SHIFT).ok()?)
    }

    /// Takes a page. [`TrackerError::NoNode`] where none is left.
    ///
    /// The page is zeroed here, by plain (relaxed) stores of this thread. Nobody else looks at it before an
    /// entry names it, so what has to be is that the zeros come before the entry: it is written with
    /// [`Ordering::Release`] and read with [`Ordering::Acquire`].
    pub(super) fn take(&self) -> Result<Fresh<'_>, TrackerError> {
        // Asked first, so that asking an empty pool does not count on. Acquire: see below.
        if self.next.load(Ordering::Acquire) < self.count {
            // That no two threads are given one number is so of any read-modify-write. What the page held
            // before was written before the pool was made, and the pool was made before this thread could
            // have it. AcqRel is for those who are given none: they see every entry that another thread
            // wrote before it took a page (Release, kept up by the read-modify-writes behind it), and so
            // whether the node they wanted a page for is there by now.
            let page = self.next.fetch_add(1, Ordering::AcqRel);
            if page < self.count {
                self.store.zero(page).ok_or(NO_PAGE)?;
                return Ok(Fresh {
                    page,
                    returned: self.returned.get(page / 64).ok_or(NO_PAGE)?,
                    bit: 1 << (page % 64),
                });
            }
        }
        self.take_returned().ok_or(TrackerError::NoNode(self.count))
    }

    /// Takes a page that was given back.
    #[cold]
    fn take_returned(&self) -> Option<Fresh<'_>> {
        for (index, returned) in self.returned.iter().enumerate() {
            // Relaxed: a guess. The bit is taken below, or not.
            let mut bits = returned.load(Ordering::Relaxed);
            while bits != 0 {
                let bit = bits & bits.wrapping_neg();
                // Acquire: the zeros of the page are another thread's stores, which come before its
                // Release in `Fresh::give_back`. All that happens to the word is read-modify-write, so that this
                // reads from that release, or from one behind it in its release sequence. They come
                // before this thread's own Release then, with which it names the page.
                let found = returned.fetch_and(!bit, Ordering::Acquire);
                if found & bit != 0 {
                    let page = index * 64 + bit.trailing_zeros() as usize;
                    return Some(Fresh {
                        page,
                        returned,
                        bit,
                    });
                }
                bits = found & !bit;
            }
        }
        None
    }

    /// The memory as it stands.
    #[cfg(loom)]
    pub(super) fn image(&self) -> Vec<u8> {
        self.store.image()
    }

    /// Gives the nodes to the handover, and all other pages back to the arena.
    pub(super) fn hand_over(self) {
        // By value: all that others did to the pool happened before, and the orderings are for form.
        let taken = self.next.load(Ordering::Relaxed).min(self.count);
        let mut pages = self.store.into_pages();
        drop(pages.split_off(taken));
        let is_returned = |page: &usize| {
            let word = self.returned.get(page / 64);
            word.is_some_and(|word| word.load(Ordering::Relaxed) >> (page % 64) & 1 == 1)
        };
        // From the last one on; the root is never among them.
        for page in (1..taken).rev().filter(is_returned) {
            if let Some(behind) = pages.split_off(page + 1) {
                behind.hand_over();
            }
            drop(pages.split_off(page));
        }
        pages.hand_over();
    }
}
