//! The tracker, written by many threads at once.

mod handle;
mod path;
mod pool;
mod store;
mod sync;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

use kho_mem::{Arena, Order, PAGE_SIZE, PageRun, Pfn, PhysAddr};

pub use handle::Handle;
use path::Path;
use pool::Pool;
use store::Page;
use sync::Ordering;

use crate::leaf::{OpenRun, each_key, each_stretch};
use crate::tracker::TABLES;
use crate::v1::{DEPTH, LEAF_BITS, TABLE_BITS, TABLE_ENTRIES};
use crate::{Key, KeyRun, TrackerError};

/// A tracker that many threads fill at once, without a lock.
///
/// The tree is what [`Tracker`](crate::Tracker) writes: the same nodes with the same bits, apart from where
/// they lie. Its nodes are pages in a row that are allocated when it is made, so that threads do not meet at
/// the arena's allocator; a page is zeroed when it becomes a node, so that nodes that are not needed cost
/// nothing, and they are free again with [`SharedTracker::hand_over`].
///
/// Each thread has a [`Handle`], which knows the way to the leaf it used last. The methods of the same names
/// here make one for the one call.
///
/// # What others see
///
/// - The memory is at any moment a tree that a next kernel can read: an entry is written once, and names a
///   node that was zeroed before; no node is ever freed.
/// - Of many threads that put one key in, one does; of many that take it out, one does. Whoever finds a key
///   there sees what the thread that put it in did before; whoever puts it in again, what the one that took it
///   out did.
/// - A walk meets each key that is in all the while, and none that never was. It sees no single moment.
/// - What is done to a row of keys is not one step: see [`Handle::add_folios`].
/// - A step that fails leaves keys as they were. Nodes that it added stay, empty.
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, Link, Order, PageRun, PhysAddr};
/// use kho_radix::{Key, Preserved, SharedTracker};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let memory = PageRun { pfn: PhysAddr::new(0x1000_0000).pfn(), pages: 2048 };
/// let nodes = SharedTracker::nodes_for(memory, Order::ZERO) + 2; // two threads
/// let tracker = SharedTracker::new(&arena, nodes)?;
/// std::thread::scope(|scope| {
///     for first in [0x10400u64, 0x10600] {
///         let mut handle = tracker.handle();
///         scope.spawn(move || {
///             for pfn in first..first + 0x200 {
///                 let key = Key::encode(PhysAddr::new(pfn << 12), Order::ZERO).unwrap();
///                 handle.add(key).unwrap();
///             }
///         });
///     }
/// });
/// assert_eq!(tracker.keys(), 0x400);
///
/// let root = tracker.root();
/// tracker.hand_over();
/// let preserved = Preserved::read(&arena.into_handed().unwrap(), Link::given(root, "root"))?;
/// assert_eq!(preserved.pages(), 0x400);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedTracker {
    pool: Pool,
}

impl SharedTracker {
    /// An empty tracker that may have `nodes` nodes, at least 1: the root. They are pages in a row of `arena`.
    ///
    /// [`SharedTracker::nodes_for`] says how many suffice for the keys. To them comes one for each handle that
    /// is in use at a time: the page of a thread that meant to add a node and was forestalled.
    ///
    /// # Errors
    ///
    /// The arena has not that many free pages in a row.
    pub fn new(arena: &Arena, nodes: usize) -> Result<Self, TrackerError> {
        let pool = Pool::new(arena, nodes)?;
        Ok(Self { pool })
    }

    /// How many nodes the tree has when all keys of the orders 0 to `largest` whose ranges touch `memory` were
    /// in it at some time: no tree for that memory has more. For several pieces of memory the sum suffices.
    ///
    /// It is about one in 32768 of the pages, twice that with all orders. Folios have orders up to
    /// [`Order::MAX_FOLIO`], the keys of runs of pages up to [`Order::MAX`].
    ///
    /// ```
    /// use kho_mem::{Order, PageRun, PhysAddr};
    /// use kho_radix::SharedTracker;
    ///
    /// // 1 TiB: 8192 leaves, 16 tables above them, and one of each level above those.
    /// let memory = PageRun { pfn: PhysAddr::NULL.pfn(), pages: 1 << 28 };
    /// assert_eq!(SharedTracker::nodes_for(memory, Order::ZERO), 8192 + 16 + 4);
    /// ```
    #[must_use]
    pub fn nodes_for(memory: PageRun, largest: Order) -> usize {
        let end = memory.end().min(Pfn::LIMIT);
        let last = end.saturating_sub(1);
        let mut nodes = 1u64;
        if memory.pages > 0 {
            for level in 0..DEPTH - 1 {
                let shift = LEAF_BITS + TABLE_BITS * level;
                // What is counted: the nodes before this one. Keys of smaller orders are larger.
                let mut counted = 0;
                for order in (0..=largest.get()).rev() {
                    let marker = 1u64 << (Order::MAX.get() - order);
                    let from = (marker | memory.pfn.get() >> order) >> shift;
                    let to = ((marker | last >> order) >> shift) + 1;
                    nodes += to - from.max(counted).min(to);
                    counted = counted.max(to);
                }
            }
        }
        usize::try_from(nodes).unwrap_or(usize::MAX)
    }

    /// The root node's address: what the root FDT names.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.pool.first()
    }

    /// A thread's way into the tracker.
    #[must_use]
    pub const fn handle(&self) -> Handle<'_> {
        Handle::new(Path::new(&self.pool))
    }

    /// Whether `key` is in the tree: [`Handle::contains`].
    #[must_use]
    pub fn contains(&self, key: Key) -> bool {
        self.handle().contains(key)
    }

    /// Whether the keys of all folios of `run` are there: [`Handle::contains_folios`].
    #[must_use]
    pub fn contains_folios(&self, run: KeyRun) -> bool {
        self.handle().contains_folios(run)
    }

    /// Puts `key` in: [`Handle::add`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add(&self, key: Key) -> Result<(), TrackerError> {
        self.handle().add(key)
    }

    /// Takes `key` out: [`Handle::remove`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn remove(&self, key: Key) -> Result<(), TrackerError> {
        self.handle().remove(key)
    }

    /// Puts the keys of folios in a row in: [`Handle::add_folios`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add_folios(&self, run: KeyRun) -> Result<(), TrackerError> {
        self.handle().add_folios(run)
    }

    /// Takes the keys of folios in a row out: [`Handle::remove_folios`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn remove_folios(&self, run: KeyRun) -> Result<(), TrackerError> {
        self.handle().remove_folios(run)
    }

    /// How many keys there are. They are counted: O(nodes).
    #[must_use]
    pub fn keys(&self) -> u64 {
        let mut count = 0;
        self.each_leaf(&mut |leaf, _| {
            let ones = leaf
                .iter()
                .map(|word| word.load(Ordering::Acquire).count_ones());
            count += ones.map(u64::from).sum::<u64>();
        });
        count
    }

    /// Calls `visit` with each key, in order.
    pub fn for_each(&self, mut visit: impl FnMut(Key)) {
        self.each_leaf(&mut |leaf, base| {
            each_key(&bytes(leaf), base, |key| {
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
        self.each_leaf(&mut |leaf, base| {
            each_stretch(&bytes(leaf), base, |key, count| {
                open.extend(key, count, &mut visit);
            });
        });
        open.close(&mut visit);
    }

    /// Its nodes' pages, the root's first. The next kernel must find them untouched; they are not
    /// themselves preserved.
    pub fn nodes(&self) -> impl Iterator<Item = PhysAddr> + use<> {
        let mut nodes = Vec::from([self.root()]);
        self.each_node(&mut |addr, _, _, _| nodes.push(addr));
        nodes.into_iter()
    }

    /// Gives the nodes to the handover: the pages stay as they are, neither owned nor free. Pages that were
    /// set aside for nodes and are none are free again.
    pub fn hand_over(self) {
        self.pool.hand_over();
    }

    /// The memory of all pages set aside, from the root on, as it stands: what a next kernel would find.
    #[cfg(loom)]
    #[doc(hidden)]
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.pool.image()
    }

    /// Takes a page and gives it back, as who comes second does.
    #[cfg(loom)]
    #[doc(hidden)]
    pub fn set_aside(&self) {
        if let Ok(fresh) = self.pool.take() {
            fresh.give_back();
        }
    }

    fn each_leaf(&self, visit: &mut impl FnMut(&Page, u64)) {
        self.each_node(&mut |_, node, level, prefix| {
            if level == 0 {
                visit(node, prefix << LEAF_BITS);
            }
        });
    }

    /// Calls `visit` with each node below the root: its address, its words, its level, and what its keys begin
    /// with. Those above come before those below.
    fn each_node(&self, visit: &mut impl FnMut(PhysAddr, &Page, usize, u64)) {
        if let Some(root) = self.pool.root() {
            self.below(root, TABLES, 0, visit);
        }
    }

    fn below(
        &self,
        table: &Page,
        level: usize,
        prefix: u64,
        visit: &mut impl FnMut(PhysAddr, &Page, usize, u64),
    ) {
        for (index, entry) in (0u64..).zip(table.iter()).take(TABLE_ENTRIES) {
            // Acquire: see `Path::grow`.
            let addr = u64::from_le(entry.load(Ordering::Acquire));
            if addr == 0 {
                continue;
            }
            if let Some(node) = self.pool.node(addr) {
                let prefix = prefix << TABLE_BITS | index;
                visit(PhysAddr::new(addr), node, level - 1, prefix);
                if level > 1 {
                    self.below(node, level - 1, prefix, visit);
                }
            }
        }
    }
}

impl fmt::Debug for SharedTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTracker")
            .field("root", &self.root())
            .field("nodes", &self.nodes().count())
            .field("of", &self.pool.count())
            .field("keys", &self.keys())
            .finish()
    }
}

/// A leaf's bytes.
fn bytes(leaf: &Page) -> [u8; PAGE_SIZE] {
    let mut bytes = [0; PAGE_SIZE];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(leaf.iter()) {
        // As they stand in memory.
        *bytes = word.load(Ordering::Acquire).to_ne_bytes();
    }
    bytes
}
