//! The tracker, written: a tree in pages of an arena.

mod error;
mod keys;
mod nodes;
#[cfg(test)]
mod tests;
mod visit;

use alloc::vec::Vec;

use kho_mem::{Arena, Order, Pfn, PhysAddr};

pub use error::TrackerError;
#[cfg(target_has_atomic = "64")]
pub(crate) use error::{absent, present};
pub use nodes::Savepoint;
#[cfg(target_has_atomic = "64")]
pub(crate) use nodes::TABLES;
use nodes::{Below, Near, Node, SHORTCUTS};

use crate::v1::TABLE_ENTRIES;

/// The tracker of a handover that is being made: which ranges of memory are preserved.
///
/// Each of its nodes is a page of the arena, so that the tree is at any time what the next kernel
/// reads. Taking a key out clears its bit and frees no node; a step that fails takes the nodes that
/// it added back ([`Tracker::savepoint`], [`Tracker::rollback`]).
///
/// Costs: a key is O(depth), and O(1) in the leaf of the key before; keys in a row are set by the word and
/// by the leaf.
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, Link, Order, PageRun, PhysAddr};
/// use kho_radix::{Key, Preserved, Tracker};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let mut tracker = Tracker::new(arena.clone())?;
/// let key = Key::encode(PhysAddr::new(0x1020_0000), Order::ZERO).unwrap();
/// tracker.add(key)?;
/// assert!(tracker.add(key).is_err(), "once");
///
/// // Three pages from an odd page on: one key of a page and one of two.
/// tracker.add_pages(PageRun { pfn: PhysAddr::new(0x1021_1000).pfn(), pages: 3 })?;
/// assert_eq!(tracker.keys(), 3);
///
/// // The next kernel reads the tree from memory.
/// let root = tracker.root();
/// tracker.hand_over();
/// let preserved = Preserved::read(&arena.into_handed().unwrap(), Link::given(root, "root"))?;
/// assert_eq!(preserved.pages(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tracker {
    arena: Arena,
    // In order of creation; the root is the first. What a table leads to stands at the same place of
    // `below`.
    tables: Vec<Node>,
    below: Vec<Below>,
    leaves: Vec<Node>,
    // The leaf that was used last: the next key is often in it.
    near: Near,
    // Tables of level 1, each at the place that its prefix ends with. Every key that is not near comes by
    // here, so that the way is short, the same for all, and leaves a processor room to wait for many
    // leaves at once.
    shortcuts: [Near; SHORTCUTS],
    keys: u64,
    pages: u64,
    // Page numbers that no key of a run of pages crosses, in order.
    boundaries: Vec<Pfn>,
    // Whether the nodes are the handover's: then they are not freed with the tracker.
    given: bool,
}

impl Drop for Tracker {
    fn drop(&mut self) {
        if self.given {
            let tables = core::mem::take(&mut self.tables).into_iter();
            let leaves = core::mem::take(&mut self.leaves).into_iter();
            tables.chain(leaves).for_each(|node| node.page.hand_over());
        }
    }
}

impl Tracker {
    /// An empty tracker: a root node.
    ///
    /// # Errors
    ///
    /// The arena has no page left.
    pub fn new(arena: Arena) -> Result<Self, TrackerError> {
        let root = Node {
            page: arena.alloc_zeroed(Order::ZERO)?,
            above: 0,
            slot: 0,
        };
        Ok(Self {
            arena,
            tables: Vec::from([root]),
            below: Vec::from([[0; TABLE_ENTRIES]]),
            leaves: Vec::new(),
            near: Near::NOWHERE,
            shortcuts: [Near::NOWHERE; SHORTCUTS],
            keys: 0,
            pages: 0,
            boundaries: Vec::new(),
            given: false,
        })
    }

    /// Names the frames at which NUMA nodes begin: the keys of a run of pages are cut there,
    /// as a kernel cuts them.
    #[must_use]
    pub fn with_boundaries(mut self, pfns: impl IntoIterator<Item = Pfn>) -> Self {
        self.boundaries = pfns.into_iter().collect();
        self.boundaries.sort_unstable();
        self
    }

    /// The root node's address: what the root FDT names.
    #[must_use]
    pub fn root(&self) -> PhysAddr {
        self.tables
            .first()
            .map_or(PhysAddr::NULL, |node| node.page.addr())
    }

    /// How many keys it holds.
    #[must_use]
    pub const fn keys(&self) -> u64 {
        self.keys
    }

    /// How many pages are preserved.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Its nodes' pages, the root's first. The next kernel must find them untouched; they are not
    /// themselves preserved.
    pub fn nodes(&self) -> impl Iterator<Item = PhysAddr> + '_ {
        let nodes = self.tables.iter().chain(&self.leaves);
        nodes.map(|node| node.page.addr())
    }

    /// Gives the nodes to the handover: the pages stay as they are, neither owned nor free.
    pub fn hand_over(mut self) {
        self.give();
    }

    /// As [`Tracker::hand_over`], once the tracker is dropped.
    pub(crate) const fn give(&mut self) {
        self.given = true;
    }
}

impl core::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tracker")
            .field("root", &self.root())
            .field("nodes", &(self.tables.len() + self.leaves.len()))
            .field("keys", &self.keys)
            .field("pages", &self.pages)
            .finish()
    }
}
