//! The tracker, written by many threads at once.

use alloc::vec::Vec;
use core::fmt;

use kho_mem::{Arena, Order, PAGE_SIZE, PageRun, Pfn, PhysAddr};

use crate::leaf::{OpenRun, each_key, each_stretch};
use crate::pool::{Fresh, Page, Pool};
use crate::sync::{AtomicU64, Ordering};
use crate::tracker::{TABLES, absent, first_key, leaves, nth, present, slot};
use crate::v1::{DEPTH, LEAF_BITS, TABLE_BITS, TABLE_ENTRIES};
use crate::{Key, Run, TrackerError};

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
/// let memory = PageRun { pfn: 0x10000, pages: 2048 };
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
    /// use kho_mem::{Order, PageRun};
    /// use kho_radix::SharedTracker;
    ///
    /// // 1 TiB: 8192 leaves, 16 tables above them, and one of each level above those.
    /// let memory = PageRun { pfn: 0, pages: 1 << 28 };
    /// assert_eq!(SharedTracker::nodes_for(memory, Order::ZERO), 8192 + 16 + 4);
    /// ```
    #[must_use]
    pub fn nodes_for(memory: PageRun, largest: Order) -> usize {
        let end = memory.pfn.saturating_add(memory.pages).min(Pfn::LIMIT);
        let last = end.saturating_sub(1);
        let mut nodes = 1u64;
        if memory.pages > 0 && memory.pfn <= last {
            for level in 0..DEPTH - 1 {
                let shift = LEAF_BITS + TABLE_BITS * level;
                // What is counted: the nodes before this one. Keys of smaller orders are larger.
                let mut counted = 0;
                for order in (0..=largest.get()).rev() {
                    let marker = 1u64 << (Order::MAX.get() - order);
                    let from = (marker | memory.pfn >> order) >> shift;
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
        Handle {
            pool: &self.pool,
            near: Near::NOWHERE,
            spare: None,
        }
    }

    /// Whether `key` is in the tree: [`Handle::contains`].
    #[must_use]
    pub fn contains(&self, key: Key) -> bool {
        self.handle().contains(key)
    }

    /// Whether the keys of all folios of `run` are there: [`Handle::contains_folios`].
    #[must_use]
    pub fn contains_folios(&self, run: Run) -> bool {
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
    pub fn add_folios(&self, run: Run) -> Result<(), TrackerError> {
        self.handle().add_folios(run)
    }

    /// Takes the keys of folios in a row out: [`Handle::remove_folios`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn remove_folios(&self, run: Run) -> Result<(), TrackerError> {
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
    pub fn for_each_run(&self, mut visit: impl FnMut(Run)) {
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
        if let Some(fresh) = self.pool.take() {
            self.pool.give_back(fresh);
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
            // Acquire: see `Handle::grow`.
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

/// Sets or clears the bits `mask` of a leaf's word; returns those that were not so before.
#[inline]
fn change(leaf: Option<&Page>, index: usize, mask: u64, member: bool) -> u64 {
    let Some(word) = leaf.and_then(|leaf| leaf.get(index)) else {
        return 0;
    };
    // AcqRel: see `Handle::add`, and `Handle::remove`.
    let changed = if member {
        !word.fetch_or(mask.to_le(), Ordering::AcqRel)
    } else {
        word.fetch_and(!mask.to_le(), Ordering::AcqRel)
    };
    u64::from_le(changed) & mask
}

/// The number in its leaf of the first of the bits `bits` of the word `index`.
const fn place(index: usize, bits: u64) -> u64 {
    index as u64 * 64 + bits.trailing_zeros() as u64
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

/// The leaf that was used last, and the tables on the way to it. What was found once holds: no entry changes
/// again.
#[derive(Clone, Copy)]
struct Near<'t> {
    // What the keys of the leaf begin with.
    prefix: u64,
    leaf: Option<&'t Page>,
    // By level, from level 1 on.
    way: [Option<&'t Page>; TABLES],
}

impl Near<'_> {
    const NOWHERE: Self = Self {
        prefix: u64::MAX,
        leaf: None,
        way: [None; TABLES],
    };
}

/// A thread's way into a [`SharedTracker`]: it knows the leaf that was used last, so that keys in a row are O(1)
/// each, and others O(depth).
///
/// It may be sent to another thread, and any number of them may be in use at a time.
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, Order, PhysAddr};
/// use kho_radix::{Run, SharedTracker};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let tracker = SharedTracker::new(&arena, 16)?;
/// let mut handle = tracker.handle();
/// let folios = Run { pfn: 0x10400, keys: 100, order: Order::new(2).unwrap() };
/// handle.add_folios(folios)?;
/// // One of these is there, so that none of them is put in.
/// let more = Run { pfn: 0x10400 + 4 * 99, keys: 2, ..folios };
/// assert!(handle.add_folios(more).is_err());
/// assert_eq!(tracker.keys(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Handle<'t> {
    pool: &'t Pool,
    near: Near<'t>,
    // Taken for a node that another thread was faster to add: it is the next one's.
    spare: Option<Fresh>,
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        if let Some(spare) = self.spare.take() {
            self.pool.give_back(spare);
        }
    }
}

impl<'t> Handle<'t> {
    /// Whether `key` is in the tree.
    #[inline]
    pub fn contains(&mut self, key: Key) -> bool {
        self.word(key)
            .is_some_and(|(word, mask)| word.load(Ordering::Acquire) & mask != 0)
    }

    /// Puts `key` in.
    ///
    /// # Errors
    ///
    /// It is there already, or no page is left for a node.
    #[inline]
    pub fn add(&mut self, key: Key) -> Result<(), TrackerError> {
        let leaf = self.go_to(key)?;
        let bit = key.leaf_bit();
        let Some(word) = leaf.get(bit / 64) else {
            return Err(self.no_node());
        };
        let mask = (1u64 << (bit % 64)).to_le();
        // What happens to a word happens in one order, whatever the ordering: of all that set the bit one
        // finds it clear. The tree needs no more, its node was there before. AcqRel is for those who use
        // the keys: what this thread did to the memory that it preserves comes before (Release) what a thread
        // does that finds the key there (Acquire), in `contains`, a walk, or an error.
        if word.fetch_or(mask, Ordering::AcqRel) & mask != 0 {
            return Err(present(key));
        }
        Ok(())
    }

    /// Takes `key` out. No node is freed.
    ///
    /// # Errors
    ///
    /// It is not there.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Result<(), TrackerError> {
        let Some((word, mask)) = self.word(key) else {
            return Err(absent(key));
        };
        // As in `add`: one of all that clear the bit finds it set, and what came before a removal comes before
        // what a thread does that puts the key in again.
        if word.fetch_and(!mask, Ordering::AcqRel) & mask == 0 {
            return Err(absent(key));
        }
        Ok(())
    }

    /// Puts the keys of folios in a row in: by the word and by the leaf, front to back.
    ///
    /// # Errors
    ///
    /// One of them is there already, they are no keys, or no page is left for a node. None of them is put in
    /// then.
    ///
    /// # What others see
    ///
    /// The row is looked through first: where one of its keys is there, nothing is changed, and nobody sees
    /// anything of it. Else the keys are put in one word after another, and others may see some of them
    /// before the rest.
    ///
    /// Only if another thread puts one of the keys in meanwhile, this call meets it half way, and takes back
    /// what it has put in, itself and nothing else. Until then:
    /// - a walk may see keys that this call takes back;
    /// - another `add` or `add_folios` of such a key fails, since it is there: of two rows that overlap one is
    ///   put in, of three in a chain it may be that one fails because of a row that fails in the end too;
    /// - another `remove` of such a key would take it out, and this call would not notice. So a key is taken
    ///   out by those who know that it was put in, because the call that did so has returned. Otherwise the
    ///   tree stays well formed, but a key that a third thread puts in at that moment may be taken back with
    ///   this row.
    pub fn add_folios(&mut self, run: Run) -> Result<(), TrackerError> {
        let first = first_key(run)?;
        let there = |index| TrackerError::Present {
            addr: nth(run, index),
            order: run.order,
        };
        if let Some(index) = self.search(first, run.keys, true) {
            return Err(there(index));
        }
        for part in leaves(first, run.keys) {
            self.go_to(part.first)?;
        }
        match self.set(first, run.keys, true) {
            Some(index) => Err(there(index)),
            None => Ok(()),
        }
    }

    /// Takes the keys of folios in a row out: by the word and by the leaf, front to back.
    ///
    /// # Errors
    ///
    /// One of them is not there, or they are no keys. None of them is taken out then.
    ///
    /// # What others see
    ///
    /// As with [`Handle::add_folios`]: nothing where a key was missing before. Where another thread takes one
    /// of them out meanwhile, keys that this call took out are put back; until then they are seen to be gone,
    /// and an `add` of one of them would succeed and leave it in, once, for both. Who takes out only what was
    /// put in on its behalf never meets that.
    pub fn remove_folios(&mut self, run: Run) -> Result<(), TrackerError> {
        let first = first_key(run)?;
        let gone = |index| TrackerError::Absent {
            addr: nth(run, index),
            order: run.order,
        };
        if let Some(index) = self.search(first, run.keys, false) {
            return Err(gone(index));
        }
        match self.set(first, run.keys, false) {
            Some(index) => Err(gone(index)),
            None => Ok(()),
        }
    }

    /// Whether the keys of all folios of `run` are there, each at the moment when it is looked at.
    #[must_use]
    pub fn contains_folios(&mut self, run: Run) -> bool {
        first_key(run).is_ok_and(|first| self.search(first, run.keys, false).is_none())
    }

    /// The index of the first of `count` keys from `first` on that is there (`member`) or not.
    fn search(&mut self, first: Key, count: u64, member: bool) -> Option<u64> {
        for part in leaves(first, count) {
            let Some(leaf) = self.seek(part.first.get() >> LEAF_BITS) else {
                if member {
                    continue;
                }
                return Some(part.index);
            };
            for (index, mask) in part.words() {
                // Acquire: as in `contains`.
                let word = leaf
                    .get(index)
                    .map_or(0, |word| word.load(Ordering::Acquire));
                let bits = u64::from_le(word);
                let hit = if member { bits & mask } else { !bits & mask };
                if hit != 0 {
                    return Some(part.index + place(index, hit) - part.from as u64);
                }
            }
        }
        None
    }

    /// Sets or clears `count` keys from `first` on, whose leaves are there. Where one of them is so already,
    /// returns its index, and has taken back what was done.
    fn set(&mut self, first: Key, count: u64, member: bool) -> Option<u64> {
        for part in leaves(first, count) {
            let leaf = self.seek(part.first.get() >> LEAF_BITS);
            for (index, mask) in part.words() {
                let changed = change(leaf, index, mask, member);
                if changed == mask {
                    continue;
                }
                // Taken back: of this word what was changed; all words before, which were changed whole.
                change(leaf, index, changed, !member);
                let at = |bits| part.index + place(index, bits) - part.from as u64;
                let done = at(mask);
                if done > 0 {
                    for part in leaves(first, done) {
                        let leaf = self.seek(part.first.get() >> LEAF_BITS);
                        for (index, mask) in part.words() {
                            change(leaf, index, mask, !member);
                        }
                    }
                }
                return Some(at(mask & !changed));
            }
        }
        None
    }

    /// The word of `key`, and the mask as it stands in memory; `None` where there is no leaf for it.
    #[inline]
    fn word(&mut self, key: Key) -> Option<(&'t AtomicU64, u64)> {
        let bit = key.leaf_bit();
        let word = self.seek(key.get() >> LEAF_BITS)?.get(bit / 64)?;
        Some((word, (1u64 << (bit % 64)).to_le()))
    }

    /// The lowest table on the way to both `prefix` and the leaf that was used last, and its level.
    #[inline]
    fn fork(&self, prefix: u64) -> (Option<&'t Page>, usize) {
        let differs = prefix ^ self.near.prefix;
        let level = (differs | 1).ilog2() / TABLE_BITS;
        match self.near.way.get(level as usize) {
            Some(Some(table)) => (Some(*table), level as usize + 1),
            _ => (self.pool.root(), TABLES),
        }
    }

    /// The leaf of the keys that begin with `prefix`, where there is one. It is the near one then.
    #[inline]
    fn seek(&mut self, prefix: u64) -> Option<&'t Page> {
        if prefix == self.near.prefix {
            return self.near.leaf;
        }
        self.descend(prefix, false).ok().flatten()
    }

    /// The leaf of `key`, which is added where there is none, with the tables on the way to it.
    #[inline]
    fn go_to(&mut self, key: Key) -> Result<&'t Page, TrackerError> {
        let prefix = key.get() >> LEAF_BITS;
        let leaf = match self.near.leaf {
            Some(leaf) if prefix == self.near.prefix => return Ok(leaf),
            _ => self.descend(prefix, true)?,
        };
        // What an entry names is a node of the pool: nobody else writes there.
        leaf.ok_or_else(|| self.no_node())
    }

    /// Goes down to the leaf of the keys that begin with `prefix`, and adds what is not there if `grow` says
    /// so. Where that leads nowhere there is no near leaf any more.
    #[inline]
    fn descend(&mut self, prefix: u64, grow: bool) -> Result<Option<&'t Page>, TrackerError> {
        let (mut node, top) = self.fork(prefix);
        // The way to the near leaf is overwritten step by step.
        self.near.prefix = u64::MAX;
        for level in (1..=top).rev() {
            if let Some(way) = self.near.way.get_mut(level - 1) {
                *way = node;
            }
            let Some(entry) = node.and_then(|node| node.get(slot(prefix, level))) else {
                return Ok(None);
            };
            // Acquire: see `grow`.
            let mut addr = u64::from_le(entry.load(Ordering::Acquire));
            if addr == 0 && grow {
                addr = self.grow(entry)?;
            }
            node = self.pool.node(addr);
        }
        if node.is_some() {
            self.near.prefix = prefix;
            self.near.leaf = node;
        }
        Ok(node)
    }

    /// Lets `entry`, which was 0, name a new node, unless it names one by now; returns what it names.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, entry: &AtomicU64) -> Result<u64, TrackerError> {
        let Some(fresh) = self.spare.take().or_else(|| self.pool.take()) else {
            // Another thread may have had the page for this very node.
            return match u64::from_le(entry.load(Ordering::Acquire)) {
                0 => Err(self.no_node()),
                addr => Ok(addr),
            };
        };
        let addr = self.pool.addr(&fresh).get();
        // An entry goes from 0 to an address, once, and stays: there is nothing to mistake it for.
        // - Release: the page's zeros (stores of this thread, or of one that gave the page back, which its
        //   being taken again has acquired) come before the entry. Who reads the address with Acquire sees
        //   zeros, or what was written to the node since, never what the page held before. So does who
        //   reads the memory later by other means, a next kernel.
        // - Acquire, where another thread was faster: its node's zeros, likewise. On success nothing is
        //   read that another thread wrote.
        match entry.compare_exchange(0, addr.to_le(), Ordering::Release, Ordering::Acquire) {
            Ok(_) => Ok(addr),
            Err(there) => {
                // Still zero, and named by nobody.
                self.spare = Some(fresh);
                Ok(u64::from_le(there))
            }
        }
    }

    #[cold]
    const fn no_node(&self) -> TrackerError {
        TrackerError::NoNode(self.pool.count())
    }
}

impl fmt::Debug for Handle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.pool.first())
    }
}
