//! The memory of a pool's pages: the machine's, or one that loom watches.

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

        /// Zeroes a page; `None` where there is none.
        pub(crate) fn zero(&self, page: usize) -> Option<()> {
            for word in self.0.words(page)? {
                word.store(0, Ordering::Relaxed);
            }
            Some(())
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

        pub(crate) fn zero(&self, page: usize) -> Option<()> {
            // Loom's time goes on with accesses alone. Without one what comes into being here would be as old
            // as this thread's access before, and be known to all who know of that.
            AtomicU64::new(0).store(0, Ordering::Relaxed);
            let words = Page(std::array::from_fn(|_| AtomicU64::new(0)));
            let once = self.words.get(page).map(|page| page.set(words).is_ok());
            assert_ne!(once, Some(false), "a page is taken twice");
            once.map(drop)
        }
    }
}
