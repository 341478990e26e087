//! Nodes for a tree that many threads grow: pages in a row, taken without a lock.

use alloc::vec::Vec;

use kho_mem::{Arena, OutOfMemory, PAGE_MASK, PAGE_SHIFT, PhysAddr};

use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// A page of the pool that is no node yet.
///
/// Holding one proves that the page is all zero, that no entry of any table names it, and that nobody else
/// has it. It is used up by an entry that names it, or given back.
#[derive(Debug)]
pub(crate) struct Fresh(usize);

/// Pages in a row of an arena. What is taken is a page by its number; an address that an entry holds becomes
/// a number again by subtraction.
pub(crate) struct Pool {
    store: Store,
    first: PhysAddr,
    count: usize,
    // The first page that nobody took yet. It may run past `count`, by one per thread.
    next: AtomicUsize,
    // A bit for each page: it was taken, and given back.
    returned: Vec<AtomicU64>,
}

impl Pool {
    /// `count` pages, at least 1, the first of them taken: all zero, the root.
    pub(crate) fn new(arena: &Arena, count: usize) -> Result<Self, OutOfMemory> {
        let pages = arena.alloc_pages(count as u64)?;
        let first = pages.addr();
        let store = Store::new(pages);
        store.zero(0);
        Ok(Self {
            store,
            first,
            count,
            next: AtomicUsize::new(1),
            returned: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// The root node's address.
    pub(crate) const fn first(&self) -> PhysAddr {
        self.first
    }

    /// How many pages there are, taken or not.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The root.
    #[inline]
    pub(crate) fn root(&self) -> Option<&Page> {
        self.store.page(0)
    }

    /// The address of a page, for the entry that is to name it.
    pub(crate) fn addr(&self, fresh: &Fresh) -> PhysAddr {
        PhysAddr::new(self.first.get() + ((fresh.0 as u64) << PAGE_SHIFT))
    }

    /// The node that the entry `addr` names.
    ///
    /// The entry was read with [`Ordering::Acquire`]: see [`Pool::take`].
    #[inline]
    pub(crate) fn node(&self, addr: u64) -> Option<&Page> {
        let offset = addr.checked_sub(self.first.get())?;
        if offset & PAGE_MASK != 0 {
            return None;
        }
        self.store.page(usize::try_from(offset >> PAGE_SHIFT).ok()?)
    }

    /// Takes a page; `None` where none is left.
    ///
    /// The page is zeroed here, by plain (relaxed) stores of this thread. Nobody else looks at it before an
    /// entry names it, so what has to be is that the zeros come before the entry: it is written with
    /// [`Ordering::Release`] and read with [`Ordering::Acquire`].
    pub(crate) fn take(&self) -> Option<Fresh> {
        // Asked first, so that asking an empty pool does not count on. Acquire: see below.
        if self.next.load(Ordering::Acquire) < self.count {
            // That no two threads are given one number is so of any read-modify-write. What the page held
            // before was written before the pool was made, and the pool was made before this thread could
            // have it. AcqRel is for those who are given none: they see every entry that another thread
            // wrote before it took a page (Release, kept up by the read-modify-writes behind it), and so
            // whether the node they wanted a page for is there by now.
            let page = self.next.fetch_add(1, Ordering::AcqRel);
            if page < self.count {
                self.store.zero(page);
                return Some(Fresh(page));
            }
        }
        self.take_returned()
    }

    /// Takes a page that was given back.
    #[cold]
    fn take_returned(&self) -> Option<Fresh> {
        for (index, word) in self.returned.iter().enumerate() {
            // Relaxed: a guess. The bit is taken below, or not.
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                let bit = bits & bits.wrapping_neg();
                // Acquire: the zeros of the page are another thread's stores, which come before its
                // Release in `give_back`. All that happens to the word is read-modify-write, so that this
                // reads from that release, or from one behind it in its release sequence. They come
                // before this thread's own Release then, with which it names the page.
                let found = word.fetch_and(!bit, Ordering::Acquire);
                if found & bit != 0 {
                    return Some(Fresh(index * 64 + bit.trailing_zeros() as usize));
                }
                bits = found & !bit;
            }
        }
        None
    }

    /// Gives a page back that no entry names.
    pub(crate) fn give_back(&self, fresh: Fresh) {
        if let Some(word) = self.returned.get(fresh.0 / 64) {
            // Release: with the Acquire of `take_returned`.
            word.fetch_or(1 << (fresh.0 % 64), Ordering::Release);
        }
    }

    /// The memory as it stands.
    #[cfg(loom)]
    pub(crate) fn image(&self) -> Vec<u8> {
        self.store.image()
    }

    /// Gives the nodes to the handover, and all other pages back to the arena.
    pub(crate) fn hand_over(self) {
        // By value: all that others did to the pool happened before, and the orderings are for form.
        let taken = self.next.load(Ordering::Relaxed).min(self.count);
        let mut pages = self.store.into_pages();
        drop(pages.split_off(taken));
        for (index, word) in self.returned.iter().enumerate().rev() {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                // From the last one on; the root is never among them.
                let bit = bits.ilog2();
                let page = index * 64 + bit as usize;
                if let Some(behind) = pages.split_off(page + 1) {
                    behind.hand_over();
                }
                drop(pages.split_off(page));
                bits ^= 1 << bit;
            }
        }
        pages.hand_over();
    }
}

#[cfg(not(loom))]
pub(crate) use real::{Page, Store};

#[cfg(not(loom))]
mod real {
    use core::sync::atomic::{AtomicU64, Ordering};

    use kho_mem::{AtomicPages, PAGE_WORDS, Pages};

    /// A node's words, as they stand in memory: little-endian.
    pub(crate) type Page = [AtomicU64; PAGE_WORDS];

    /// The pages' memory.
    pub(crate) struct Store(AtomicPages);

    impl Store {
        pub(crate) fn new(pages: Pages) -> Self {
            Self(pages.into_atomic())
        }

        pub(crate) fn into_pages(self) -> Pages {
            self.0.into_pages()
        }

        #[inline]
        pub(crate) fn page(&self, page: usize) -> Option<&Page> {
            self.0.words(page)
        }

        pub(crate) fn zero(&self, page: usize) {
            for word in self.0.words(page).into_iter().flatten() {
                word.store(0, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(loom)]
pub(crate) use model::{Page, Store};

/// Memory that loom watches. A page comes into being when it is zeroed: loom reports each access to a word
/// that its creation does not happen before, as it would be one to what the page held before.
#[cfg(loom)]
mod model {
    use std::sync::OnceLock;
    use std::vec::Vec;

    use kho_mem::{PAGE_SIZE, Pages};
    use loom::sync::atomic::{AtomicU64, Ordering};

    /// The words that a page has here: enough for the tests, and few, since there is one of these for each.
    const WORDS: usize = 3;

    pub(crate) struct Page([AtomicU64; WORDS]);

    impl Page {
        pub(crate) fn get(&self, index: usize) -> Option<&AtomicU64> {
            self.0.get(index)
        }

        pub(crate) fn iter(&self) -> impl Iterator<Item = &AtomicU64> {
            self.0.iter()
        }
    }

    pub(crate) struct Store {
        pages: Pages,
        words: Vec<OnceLock<Page>>,
    }

    impl Store {
        pub(crate) fn new(pages: Pages) -> Self {
            let count = pages.run().pages;
            Self {
                pages,
                words: (0..count).map(|_| OnceLock::new()).collect(),
            }
        }

        pub(crate) fn into_pages(self) -> Pages {
            self.pages
        }

        pub(crate) fn page(&self, page: usize) -> Option<&Page> {
            let page = self.words.get(page)?.get();
            assert!(page.is_some(), "a page that nobody zeroed is looked at");
            page
        }

        /// The pages' bytes; of those that were never zeroed, bytes that are in no tree.
        pub(crate) fn image(&self) -> Vec<u8> {
            let mut image = std::vec![0xee; self.words.len() * PAGE_SIZE];
            for (bytes, page) in image.chunks_exact_mut(PAGE_SIZE).zip(&self.words) {
                let Some(page) = page.get() else { continue };
                bytes.fill(0);
                for (bytes, word) in bytes.chunks_exact_mut(8).zip(&page.0) {
                    bytes.copy_from_slice(&word.load(Ordering::Acquire).to_ne_bytes());
                }
            }
            image
        }

        pub(crate) fn zero(&self, page: usize) {
            // Loom's time goes on with accesses alone. Without one what comes into being here would be as old
            // as this thread's access before, and be known to all who know of that.
            AtomicU64::new(0).store(0, Ordering::Relaxed);
            let words = Page(std::array::from_fn(|_| AtomicU64::new(0)));
            let once = self.words.get(page).map(|page| page.set(words).is_ok());
            assert_eq!(once, Some(true), "a page is taken twice");
        }
    }
}
