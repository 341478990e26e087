//! The tracker's nodes, and the paths to them.

use kho_mem::{Folio, Order, OutOfMemory, PhysAddr};

use super::{Tracker, TrackerError};
use crate::Key;
use crate::key::slot;
use crate::v1::{DEPTH, TABLE_BITS, TABLE_ENTRIES};

/// A point in the life of a tracker that [`Tracker::rollback`] leads back to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Savepoint {
    tables: usize,
    leaves: usize,
}

/// Where a node is among those of its kind: its index, plus one, so that 0 is none.
pub(super) type Link = u32;
/// Of a table, what each entry leads to: a leaf in a table of level 1, a table in all others.
pub(super) type Below = [Link; TABLE_ENTRIES];

pub(super) struct Node {
    pub(super) page: Folio,
    // The table above and the entry in it.
    pub(super) above: Link,
    pub(super) slot: usize,
}

/// Levels of tables.
pub(crate) const TABLES: usize = DEPTH as usize - 1;

/// A node that was used, and what the keys below it begin with.
#[derive(Clone, Copy)]
pub(super) struct Near {
    pub(super) prefix: u64,
    // 0 for none.
    pub(super) link: Link,
}

impl Near {
    // No prefix has all bits.
    pub(super) const NOWHERE: Self = Self {
        prefix: u64::MAX,
        link: 0,
    };
}

/// How many tables of level 1 are remembered: each leads to 2^24 keys, 64 GiB of single pages.
pub(super) const SHORTCUTS: usize = 64;

/// The root's place.
pub(super) const ROOT: Link = 1;

/// What holds as long as this crate has no defect.
pub(super) const NO_LEAF: TrackerError = TrackerError::Broken("a leaf where an entry leads to one");
const NO_TABLE: TrackerError = TrackerError::Broken("an entry above each node");

impl Tracker {
    /// Adds a node below entry `slot` of the table `above`, which is of `level`: a leaf below level 1, a table
    /// below all others. Where that fails all is as it was.
    pub(super) fn add_node(
        &mut self,
        above: Link,
        slot: usize,
        level: usize,
    ) -> Result<Link, TrackerError> {
        let page = self.arena.alloc_zeroed(Order::ZERO)?;
        let before = if level == 1 {
            self.leaves.len()
        } else {
            self.tables.len()
        };
        let link = Link::try_from(before + 1).map_err(|_| OutOfMemory { pages: 1 })?;
        self.set_entry(above, slot, link, page.addr())?;
        let node = Node { page, above, slot };
        if level == 1 {
            self.leaves.push(node);
        } else {
            self.tables.push(node);
            self.below.push([0; TABLE_ENTRIES]);
        }
        Ok(link)
    }

    /// Lets the table `above` name the node `link`, or none.
    fn set_entry(
        &mut self,
        above: Link,
        slot: usize,
        link: Link,
        addr: PhysAddr,
    ) -> Result<(), TrackerError> {
        let at = index(above);
        let entry = self.below.get_mut(at).and_then(|below| below.get_mut(slot));
        let table = self.tables.get_mut(at);
        let word = table.and_then(|table| table.page.as_chunks_mut::<8>().0.get_mut(slot));
        let (Some(entry), Some(word)) = (entry, word) else {
            return Err(NO_TABLE);
        };
        *entry = link;
        *word = addr.get().to_le_bytes();
        Ok(())
    }

    /// What entry `slot` of the table `link` leads to; 0 for nothing.
    #[inline]
    fn entry(&self, link: Link, slot: usize) -> Link {
        let below = self.below.get(index(link));
        below
            .and_then(|below| below.get(slot))
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn leaf(&self, link: Link) -> Option<&Node> {
        self.leaves.get(index(link))
    }

    /// The table of level 1 that leads to the leaf of `prefix`, from the root; 0 where there is none.
    #[cold]
    #[inline(never)]
    fn descend(&self, prefix: u64) -> Link {
        let mut link = ROOT;
        for level in (2..=TABLES).rev() {
            link = self.entry(link, slot(prefix, level));
        }
        link
    }

    /// As [`Tracker::descend`], remembered.
    #[cold]
    #[inline(never)]
    fn take_shortcut(&mut self, prefix: u64) -> Link {
        let link = self.descend(prefix);
        let prefix = prefix >> TABLE_BITS;
        if let Some(shortcut) = self.shortcuts.get_mut(shortcut(prefix))
            && link != 0
        {
            *shortcut = Near { prefix, link };
        }
        link
    }

    /// The table of level 1 that leads to the leaf of `prefix`, where it is remembered.
    #[inline]
    fn remembered(&self, prefix: u64) -> Option<Link> {
        let above = prefix >> TABLE_BITS;
        let known = self.shortcuts.get(shortcut(above));
        known
            .filter(|known| known.prefix == above)
            .map(|known| known.link)
    }

    /// The leaf of the keys that begin with `prefix`; 0 where there is none.
    #[inline]
    pub(super) fn find(&self, prefix: u64) -> Link {
        if prefix == self.near.prefix {
            return self.near.link;
        }
        let table = self.remembered(prefix);
        let table = table.unwrap_or_else(|| self.descend(prefix));
        self.entry(table, slot(prefix, 1))
    }

    /// As [`Tracker::find`], remembered.
    #[inline]
    pub(super) fn seek(&mut self, prefix: u64) -> Link {
        if prefix == self.near.prefix {
            return self.near.link;
        }
        let table = self.remembered(prefix);
        let table = table.unwrap_or_else(|| self.take_shortcut(prefix));
        let link = self.entry(table, slot(prefix, 1));
        if link != 0 {
            self.near = Near { prefix, link };
        }
        link
    }

    /// Makes the leaf of `prefix`, and the tables on the path to it. Where that fails all is as it was.
    #[cold]
    #[inline(never)]
    fn make(&mut self, prefix: u64) -> Result<Link, TrackerError> {
        let savepoint = self.savepoint();
        let mut link = ROOT;
        for level in (1..=TABLES).rev() {
            let slot = slot(prefix, level);
            link = match self.entry(link, slot) {
                0 => match self.add_node(link, slot, level) {
                    Ok(added) => added,
                    Err(error) => {
                        self.rollback(savepoint)?;
                        return Err(error);
                    }
                },
                below => below,
            };
        }
        self.near = Near { prefix, link };
        Ok(link)
    }

    /// The leaf of the keys that begin with `prefix`, which is made where there is none.
    #[inline]
    pub(super) fn leaf_of(&mut self, prefix: u64) -> Result<Link, TrackerError> {
        match self.seek(prefix) {
            0 => self.make(prefix),
            link => Ok(link),
        }
    }

    /// The word and the mask of `key` in its leaf.
    #[inline]
    pub(super) fn word(&mut self, leaf: Link, key: Key) -> Option<(&mut [u8; 8], u64)> {
        let bit = key.leaf_bit();
        let leaf = self.leaves.get_mut(index(leaf))?;
        let word = leaf.page.as_chunks_mut::<8>().0.get_mut(bit / 64)?;
        Some((word, 1 << (bit % 64)))
    }

    /// This point in the tracker's life.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            tables: self.tables.len(),
            leaves: self.leaves.len(),
        }
    }

    /// Frees the nodes that were added since `savepoint` and are empty, the latest first: the way back of
    /// a step that failed, once its keys are out. Nodes that were there at `savepoint` stay.
    ///
    /// # Errors
    ///
    /// [`TrackerError::Broken`]: a node that no entry names. It stays, and so do those before it.
    pub fn rollback(&mut self, savepoint: Savepoint) -> Result<(), TrackerError> {
        let before = self.savepoint();
        let done = self.free_empty(savepoint);
        if self.savepoint() != before {
            self.near = Near::NOWHERE;
            self.shortcuts = [Near::NOWHERE; SHORTCUTS];
        }
        done
    }

    fn free_empty(&mut self, savepoint: Savepoint) -> Result<(), TrackerError> {
        // Of each: no entry names it by the time it is freed.
        while let Some((above, slot)) = last_empty(&self.leaves, savepoint.leaves) {
            self.set_entry(above, slot, 0, PhysAddr::NULL)?;
            self.leaves.pop();
        }
        while let Some((above, slot)) = last_empty(&self.tables, savepoint.tables.max(1)) {
            self.set_entry(above, slot, 0, PhysAddr::NULL)?;
            self.tables.pop();
            self.below.pop();
        }
        Ok(())
    }
}

/// The place among those of its kind of the node that `link` leads to.
#[inline]
pub(super) const fn index(link: Link) -> usize {
    (link as usize).wrapping_sub(1)
}

/// What leads to the last of `nodes`, if that is empty and behind the first `keep`.
fn last_empty(nodes: &[Node], keep: usize) -> Option<(Link, usize)> {
    let node = nodes.get(keep..)?.last()?;
    let words = node.page.as_chunks::<8>().0;
    let is_empty = words.iter().all(|word| *word == [0; 8]);
    is_empty.then_some((node.above, node.slot))
}

/// The place of a table of level 1 among the shortcuts: neighbours have places of their own, and so have,
/// mostly, tables of different orders.
#[inline]
#[allow(clippy::cast_possible_truncation)]
const fn shortcut(prefix: u64) -> usize {
    let spread = prefix.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> (u64::BITS - SHORTCUTS.ilog2())) as usize
}

/// The word `index` of a node's page.
#[inline]
pub(super) fn read(page: &Folio, index: usize) -> u64 {
    let word = page.as_chunks::<8>().0.get(index);
    word.map_or(0, |word| u64::from_le_bytes(*word))
}
