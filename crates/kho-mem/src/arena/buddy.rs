//! The page allocator: free blocks by order, split and merged in pairs.

use alloc::vec::Vec;

use super::bits::BitTree;
use crate::Order;

/// Orders of free blocks: 0 to 10.
const ORDERS: usize = Order::MAX_FOLIO.get() as usize + 1;
/// Pages of the largest block.
pub(crate) const LARGEST: usize = 1 << Order::MAX_FOLIO.get();

/// Free blocks of an arena, by page number from its base on, which is aligned to the largest block.
///
/// Two buddies are never both free: they are merged at once. So what is free in which blocks
/// depends on nothing but which pages are free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Buddy {
    free: Vec<BitTree>,
    // A bit per order that has a free block.
    orders: u32,
    free_pages: usize,
}

impl Buddy {
    /// An allocator for `pages` pages, none of them free. `pages` is a multiple of the largest
    /// block.
    pub(crate) fn new(pages: usize) -> Self {
        let free = (0..ORDERS)
            .map(|order| BitTree::new(pages >> order))
            .collect();
        Self {
            free,
            orders: 0,
            free_pages: 0,
        }
    }

    pub(crate) const fn free_pages(&self) -> usize {
        self.free_pages
    }

    fn insert(&mut self, order: usize, block: usize) {
        if let Some(tree) = self.free.get_mut(order) {
            let new = tree.insert(block);
            debug_assert!(new, "a block is freed once");
            self.orders |= 1 << order;
        }
    }

    /// Takes a free block out of its order's list; returns whether it was there.
    fn take(&mut self, order: usize, block: usize) -> bool {
        let Some(tree) = self.free.get_mut(order) else {
            return false;
        };
        let found = tree.remove(block);
        if found && tree.first().is_none() {
            self.orders &= !(1 << order);
        }
        found
    }

    /// The first page of a free block of 2^order pages, taken from the smallest free block that
    /// holds it, the lowest of these.
    pub(crate) fn alloc(&mut self, order: Order) -> Option<usize> {
        let wanted = usize::from(order.get());
        let fitting = self.orders.checked_shr(u32::from(order.get()))?;
        if fitting == 0 {
            return None;
        }
        let mut from = wanted + fitting.trailing_zeros() as usize;
        let mut block = self.free.get(from)?.first()?;
        self.take(from, block);
        while from > wanted {
            from -= 1;
            block *= 2;
            self.insert(from, block + 1);
        }
        self.free_pages -= 1 << wanted;
        Some(block << wanted)
    }

    /// Gives a block of 2^order pages back and merges it with its buddies.
    pub(crate) fn free(&mut self, page: usize, order: Order) {
        let mut order = usize::from(order.get());
        self.free_pages += 1 << order;
        let mut block = page >> order;
        while order + 1 < ORDERS && self.take(order, block ^ 1) {
            block /= 2;
            order += 1;
        }
        self.insert(order, block);
    }

    /// The first of `pages` free pages in a row, of which the first is aligned to the largest
    /// block or to the power of two that holds them.
    pub(crate) fn alloc_run(&mut self, pages: usize) -> Option<usize> {
        let start = if pages <= LARGEST {
            let order = pages.next_power_of_two().trailing_zeros();
            self.alloc(Order::new(u8::try_from(order).ok()?)?)?
        } else {
            let blocks = pages.div_ceil(LARGEST);
            let first = self.free.last()?.first_run(blocks)?;
            let order = ORDERS - 1;
            self.free
                .last_mut()?
                .set_range(first, first + blocks, false);
            if self.free.last()?.first().is_none() {
                self.orders &= !(1 << order);
            }
            self.free_pages -= blocks * LARGEST;
            first * LARGEST
        };
        let taken = if pages <= LARGEST {
            pages.next_power_of_two()
        } else {
            pages.next_multiple_of(LARGEST)
        };
        self.free_run(start + pages, taken - pages);
        Some(start)
    }

    /// Gives `pages` pages from `page` on back, whatever blocks they were of. Whole largest blocks
    /// are given back by words.
    pub(crate) fn free_run(&mut self, page: usize, pages: usize) {
        let (mut at, end) = (page, page + pages);
        while at < end {
            if at.is_multiple_of(LARGEST) && end - at >= LARGEST {
                let blocks = (end - at) / LARGEST;
                let first = at / LARGEST;
                if let Some(largest) = self.free.last_mut() {
                    largest.set_range(first, first + blocks, true);
                }
                self.orders |= 1 << (ORDERS - 1);
                self.free_pages += blocks * LARGEST;
                at += blocks * LARGEST;
                continue;
            }
            let fitting = (end - at).ilog2().min(u32::from(Order::MAX_FOLIO.get()));
            let order = at.trailing_zeros().min(fitting);
            // At most 10.
            let order = u8::try_from(order)
                .ok()
                .and_then(Order::new)
                .unwrap_or(Order::ZERO);
            self.free(at, order);
            at += 1 << order.get();
        }
    }

    /// The free blocks of the largest order, counted in such blocks, in order.
    #[cfg(feature = "std")]
    pub(crate) fn largest(&self) -> impl Iterator<Item = usize> + '_ {
        self.free.last().into_iter().flat_map(BitTree::iter)
    }

    /// Free blocks in order: the first page and the order of each.
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) fn blocks(&self) -> Vec<(usize, usize)> {
        let mut out: Vec<_> = self
            .free
            .iter()
            .enumerate()
            .flat_map(|(order, tree)| tree.iter().map(move |block| (block << order, order)))
            .collect();
        out.sort_unstable();
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Whether all of `free` is, which it is no more then.
    fn all_free(free: &mut [bool]) -> bool {
        free.iter_mut().all(std::mem::take)
    }

    const PAGES: usize = 4 * LARGEST;

    /// The plain model: which pages are free.
    fn check(buddy: &Buddy, taken: &BTreeMap<usize, usize>) -> Result<(), TestCaseError> {
        let mut free = vec![true; PAGES];
        for (page, pages) in taken {
            prop_assert!(
                all_free(&mut free[*page..page + pages]),
                "pages at {} have one owner",
                page
            );
        }
        prop_assert_eq!(
            buddy.free_pages(),
            free.iter().filter(|free| **free).count()
        );
        for (page, order) in buddy.blocks() {
            prop_assert!(page.is_multiple_of(1 << order), "natural alignment");
            prop_assert!(
                all_free(&mut free[page..page + (1 << order)]),
                "pages at {} are free once",
                page
            );
            let sibling = page ^ 1 << order;
            let both = order + 1 < ORDERS && buddy.free[order].contains(sibling >> order);
            prop_assert!(!both, "buddies are merged");
        }
        prop_assert!(
            free.iter().all(|free| !free),
            "every free page is in a block"
        );
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

        #[test]
        fn pages_are_free_or_have_one_owner(steps in prop::collection::vec((0u8..5, 0u8..=10, any::<u16>()), 1..80)) {
            let mut buddy = Buddy::new(PAGES);
            buddy.free_run(0, PAGES);
            let whole = buddy.clone();
            let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
            for (step, order, pick) in steps {
                let order = Order::new(order).unwrap();
                match step {
                    0 | 1 => match buddy.alloc(order) {
                        Some(page) => {
                            prop_assert!(page.is_multiple_of(1 << order.get()));
                            taken.insert(page, 1 << order.get());
                        }
                        None => prop_assert!(buddy.blocks().iter().all(|(_, o)| *o < usize::from(order.get()))),
                    },
                    2 => {
                        let pages = 1 + pick as usize % (2 * LARGEST);
                        if let Some(page) = buddy.alloc_run(pages) {
                            taken.insert(page, pages);
                        }
                    }
                    _ => if let Some((page, pages)) = taken.iter().nth(pick as usize % taken.len().max(1)).map(|(a, b)| (*a, *b)) {
                        taken.remove(&page);
                        buddy.free_run(page, pages);
                    },
                }
                if !cfg!(miri) {
                    check(&buddy, &taken)?;
                }
            }
            for (page, pages) in taken {
                buddy.free_run(page, pages);
            }
            prop_assert_eq!(buddy, whole, "all given back: as it was");
        }
    }

    #[test]
    fn the_smallest_block_is_split_first_and_the_lowest_of_these() {
        let mut buddy = Buddy::new(2 * LARGEST);
        buddy.free_run(0, 2 * LARGEST);
        assert_eq!(buddy.alloc(Order::ZERO), Some(0));
        assert_eq!(buddy.alloc(Order::new(9).unwrap()), Some(512));
        assert_eq!(buddy.alloc(Order::new(10).unwrap()), Some(1024));
        assert_eq!(buddy.alloc(Order::new(9).unwrap()), None);
        assert_eq!(buddy.alloc(Order::new(8).unwrap()), Some(256));
        assert_eq!(buddy.alloc(Order::ZERO), Some(1));
        assert_eq!(buddy.alloc(Order::new(11).unwrap()), None);
    }
}
