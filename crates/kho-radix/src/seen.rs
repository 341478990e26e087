//! Addresses that were seen.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use kho_mem::{PAGE_SHIFT, PhysAddr};

/// How far from its place an address may stand in the table.
const REACH: usize = 16;

/// A set of page addresses that are not 0: a hash table, and a tree for those that find no place in it near
/// where they belong. So addresses that were chosen to collide make it slow as a tree is, and no slower.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    // A power of two, at least half of them free; 0 is a free one.
    table: Vec<u64>,
    others: BTreeSet<u64>,
    count: usize,
}

impl Seen {
    /// Adds `addr`; whether it is new.
    pub(crate) fn insert(&mut self, addr: PhysAddr) -> bool {
        if self.count >= self.table.len() / 2 {
            self.grow();
        }
        let new = self.put(addr.get());
        self.count += usize::from(new);
        new
    }

    /// All of them, in order.
    pub(crate) fn into_sorted(self) -> Vec<PhysAddr> {
        let all = self.table.into_iter().filter(|addr| *addr != 0);
        let mut all: Vec<_> = all.chain(self.others).map(PhysAddr::new).collect();
        all.sort_unstable();
        all
    }

    fn put(&mut self, addr: u64) -> bool {
        let mask = self.table.len().wrapping_sub(1);
        let from = place(addr);
        for step in 0..REACH {
            match self.table.get_mut(from.wrapping_add(step) & mask) {
                Some(entry) if *entry == addr => return false,
                Some(entry) if *entry == 0 => {
                    // Nothing is ever taken out, so it stands nowhere behind this.
                    *entry = addr;
                    return true;
                }
                _ => {}
            }
        }
        self.others.insert(addr)
    }

    fn grow(&mut self) {
        let len = (self.table.len() * 2).max(64);
        let old = core::mem::replace(&mut self.table, vec![0; len]);
        let others = core::mem::take(&mut self.others);
        for addr in old.into_iter().filter(|addr| *addr != 0).chain(others) {
            self.put(addr);
        }
    }
}

/// Where an address belongs: the middle bits of a product, which depend on all of the page's number.
fn place(addr: u64) -> usize {
    let product = (addr >> PAGE_SHIFT).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Masked by who asks.
    usize::try_from(product >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn it_is_a_set() {
        let (mut seen, mut tree, mut state) = (Seen::default(), BTreeSet::new(), 1);
        for _ in 0..20_000 {
            let addr = PhysAddr::new((random(&mut state) % 9_000 + 1) << PAGE_SHIFT);
            assert_eq!(seen.insert(addr), tree.insert(addr));
            assert_eq!(seen.count, tree.len());
        }
        assert!(seen.into_sorted().into_iter().eq(tree));
    }

    #[test]
    fn addresses_that_collide_are_found_again() {
        let mut seen = Seen::default();
        // All of one place, however large the table.
        let wanted = place(0x1000);
        let same: Vec<_> = (1u64..1 << 22)
            .map(|page| PhysAddr::new(page << PAGE_SHIFT))
            .filter(|addr| place(addr.get()) & 0xfff == wanted & 0xfff)
            .take(500)
            .collect();
        assert!(same.len() > 2 * REACH);
        assert!(same.iter().all(|addr| seen.insert(*addr)));
        assert!(!same.iter().any(|addr| seen.insert(*addr)));
        assert!(!seen.others.is_empty());
        assert_eq!(seen.into_sorted(), same);
    }
}
