//! The keys, visited in order.

use alloc::vec::Vec;

use super::Tracker;
use super::nodes::{Link, Node, ROOT, TABLES, index, read};
use crate::leaf::{OpenRun, each_key, each_stretch};
use crate::v1::{LEAF_BITS, TABLE_BITS};
use crate::{Key, KeyRun};

impl Tracker {
    /// Calls `visit` with each key, in order. The fastest way to all of them.
    pub fn for_each(&self, mut visit: impl FnMut(Key)) {
        self.each_leaf(ROOT, TABLES, 0, &mut |page, base| {
            each_key(page, base, |key| {
                // Only keys were put in.
                if let Some(key) = Key::new(key) {
                    visit(key);
                }
            });
        });
    }

    /// Calls `visit` with each run of keys of one order, in order of key: by the word. A run may go on in
    /// the next leaf.
    pub fn for_each_run(&self, mut visit: impl FnMut(KeyRun)) {
        let mut open = OpenRun::default();
        self.each_leaf(ROOT, TABLES, 0, &mut |page, base| {
            each_stretch(page, base, |key, count| open.extend(key, count, &mut visit));
        });
        open.close(&mut visit);
    }

    /// Calls `visit` with each leaf below the table `link` of `level` and the number of its first bit.
    fn each_leaf(&self, link: Link, level: usize, prefix: u64, visit: &mut impl FnMut(&[u8], u64)) {
        let Some(below) = self.below.get(index(link)) else {
            return;
        };
        for (slot, link) in (0u64..).zip(below).filter(|(_, link)| **link != 0) {
            let prefix = prefix << TABLE_BITS | slot;
            if level > 1 {
                self.each_leaf(*link, level - 1, prefix, visit);
            } else if let Some(leaf) = self.leaf(*link) {
                visit(&leaf.page, prefix << LEAF_BITS);
            }
        }
    }

    /// The keys, in order. [`Tracker::for_each`] is faster.
    pub fn iter(&self) -> impl Iterator<Item = Key> + '_ {
        // A leaf's keys begin with the slots on the way to it.
        let mut leaves: Vec<(u64, &Node)> = Vec::with_capacity(self.leaves.len());
        for leaf in &self.leaves {
            leaves.push((self.prefix(leaf) << LEAF_BITS, leaf));
        }
        leaves.sort_unstable_by_key(|(base, _)| *base);
        leaves.into_iter().flat_map(|(base, leaf)| {
            (0..1usize << LEAF_BITS)
                .filter(move |bit| read(&leaf.page, bit / 64) >> (bit % 64) & 1 == 1)
                .filter_map(move |bit| Key::new(base + bit as u64))
        })
    }

    fn prefix(&self, node: &Node) -> u64 {
        match self.tables.get(index(node.above)) {
            Some(above) => self.prefix(above) << TABLE_BITS | node.slot as u64,
            None => 0,
        }
    }
}
