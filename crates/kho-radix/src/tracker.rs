//! The tracker, written: a tree in pages of an arena.

use alloc::vec::Vec;

use kho_mem::{Arena, Folio, Order, OutOfMemory, PAGE_SHIFT, PageRun, PhysAddr};

use crate::leaf::{OpenRun, each_key, each_stretch};
use crate::v1::{DEPTH, LEAF_BITS, TABLE_BITS, TABLE_ENTRIES};
use crate::{Key, Run};

/// What a tracker refuses. It is as it was then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrackerError {
    /// The key is in the tree already.
    #[error("order {order} at {addr} is preserved already")]
    Present {
        /// The first byte's address.
        addr: PhysAddr,
        /// The key's order.
        order: Order,
    },
    /// The key is not in the tree. What was preserved with one order is not found with another.
    #[error("order {order} at {addr} is not preserved")]
    Absent {
        /// The first byte's address.
        addr: PhysAddr,
        /// The key's order.
        order: Order,
    },
    /// The address is not aligned to the order, or the range leaves the address space.
    #[error("{run} is no range of the address space that an order {order} key has")]
    NoKey {
        /// The range.
        run: PageRun,
        /// The order.
        order: Order,
    },
    /// Memory of another arena: its numbers name other pages here.
    #[error("{0} is memory of another arena")]
    Foreign(PageRun),
    /// No page is left.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A [`SharedTracker`](crate::SharedTracker) was made with this many nodes, and has used them up.
    #[error("all {0} nodes that the tracker was made with are used")]
    NoNode(usize),
}

/// A point in the life of a tracker that [`Tracker::prune`] leads back to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark {
    tables: usize,
    leaves: usize,
}

/// Where a node is among those of its kind: its index, plus one, so that 0 is none.
type Link = u32;
/// Of a table, what each entry leads to: a leaf in a table of level 1, a table in all others.
type Below = [Link; TABLE_ENTRIES];

struct Node {
    page: Folio,
    // The table above and the entry in it.
    above: Link,
    slot: u32,
}

/// Levels of tables.
pub(crate) const TABLES: usize = DEPTH as usize - 1;

/// A node that was used, and what the keys below it begin with.
#[derive(Clone, Copy)]
struct Near {
    prefix: u64,
    // 0 for none.
    link: Link,
}

impl Near {
    // No prefix has all bits.
    const NOWHERE: Self = Self {
        prefix: u64::MAX,
        link: 0,
    };
}

/// How many tables of level 1 are remembered: each leads to 2^24 keys, 64 GiB of single pages.
const SHORTCUTS: usize = 64;

/// The tracker of a handover that is being made: which ranges of memory are preserved.
///
/// Each of its nodes is a page of the arena, so that the tree is at any time what the next kernel
/// reads. Taking a key out clears its bit and frees no node; a step that fails takes the nodes that
/// it added back ([`Tracker::mark`], [`Tracker::prune`]).
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
/// tracker.add_pages(PageRun { pfn: 0x10211, pages: 3 })?;
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
    boundaries: Vec<u64>,
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

const ROOT: Link = 1;

impl Tracker {
    /// An empty tracker: a root node.
    ///
    /// # Errors
    ///
    /// The arena has no page left.
    pub fn new(arena: Arena) -> Result<Self, TrackerError> {
        let mut tracker = Self {
            arena,
            tables: Vec::new(),
            below: Vec::new(),
            leaves: Vec::new(),
            near: Near::NOWHERE,
            shortcuts: [Near::NOWHERE; SHORTCUTS],
            keys: 0,
            pages: 0,
            boundaries: Vec::new(),
            given: false,
        };
        tracker.table(0, 0)?;
        Ok(tracker)
    }

    /// Names the page numbers at which NUMA nodes begin: the keys of a run of pages are cut there,
    /// as a kernel cuts them.
    #[must_use]
    pub fn with_boundaries(mut self, pfns: impl IntoIterator<Item = u64>) -> Self {
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

    /// A new table below `above`, and its place.
    fn table(&mut self, above: Link, slot: usize) -> Result<Link, TrackerError> {
        let node = self.node(above, slot)?;
        let addr = node.page.addr();
        self.tables.push(node);
        self.below.push([0; TABLE_ENTRIES]);
        let link = u32::try_from(self.tables.len()).unwrap_or(Link::MAX);
        self.set_entry(above, slot, link, addr);
        Ok(link)
    }

    /// A new leaf below `above`, and its place.
    fn new_leaf(&mut self, above: Link, slot: usize) -> Result<Link, TrackerError> {
        let node = self.node(above, slot)?;
        let addr = node.page.addr();
        self.leaves.push(node);
        let link = u32::try_from(self.leaves.len()).unwrap_or(Link::MAX);
        self.set_entry(above, slot, link, addr);
        Ok(link)
    }

    fn node(&self, above: Link, slot: usize) -> Result<Node, TrackerError> {
        let page = self.arena.alloc_zeroed(Order::ZERO)?;
        // A table's index has 9 bits.
        let slot = u32::try_from(slot).unwrap_or(0);
        Ok(Node { page, above, slot })
    }

    /// Lets the table `above` name the node `link`, or none.
    fn set_entry(&mut self, above: Link, slot: usize, link: Link, addr: PhysAddr) {
        let at = (above as usize).wrapping_sub(1);
        if let Some(entry) = self.below.get_mut(at).and_then(|below| below.get_mut(slot)) {
            *entry = link;
        }
        if let Some(table) = self.tables.get_mut(at) {
            write(&mut table.page, slot, addr.get());
        }
    }

    /// What entry `slot` of the table `link` leads to; 0 for nothing.
    #[inline]
    fn entry(&self, link: Link, slot: usize) -> Link {
        let below = self.below.get((link as usize).wrapping_sub(1));
        below
            .and_then(|below| below.get(slot))
            .copied()
            .unwrap_or(0)
    }

    fn leaf(&self, link: Link) -> Option<&Node> {
        self.leaves.get((link as usize).wrapping_sub(1))
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
    fn find(&self, prefix: u64) -> Link {
        if prefix == self.near.prefix {
            return self.near.link;
        }
        let table = self.remembered(prefix);
        let table = table.unwrap_or_else(|| self.descend(prefix));
        self.entry(table, slot(prefix, 1))
    }

    /// As [`Tracker::find`], remembered.
    #[inline]
    fn seek(&mut self, prefix: u64) -> Link {
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

    /// Makes the leaf of `key`, and the tables on the way to it. Where that fails all is as it was.
    #[cold]
    #[inline(never)]
    fn make(&mut self, key: Key) -> Result<Link, TrackerError> {
        let prefix = key.get() >> LEAF_BITS;
        let mark = self.mark();
        let mut link = ROOT;
        for level in (1..=TABLES).rev() {
            let slot = slot(prefix, level);
            let below = self.entry(link, slot);
            if below != 0 {
                link = below;
                continue;
            }
            let made = if level == 1 {
                self.new_leaf(link, slot)
            } else {
                self.table(link, slot)
            };
            match made {
                Ok(made) => link = made,
                Err(error) => {
                    self.prune(mark);
                    return Err(error);
                }
            }
        }
        self.near = Near { prefix, link };
        Ok(link)
    }

    /// The leaf of `key`, which is made where there is none.
    #[inline]
    fn leaf_of(&mut self, key: Key) -> Result<Link, TrackerError> {
        match self.seek(key.get() >> LEAF_BITS) {
            0 => self.make(key),
            link => Ok(link),
        }
    }

    /// The word and the mask of `key` in its leaf.
    #[inline]
    fn word(&mut self, leaf: Link, key: Key) -> Option<(&mut [u8; 8], u64)> {
        let bit = key.leaf_bit();
        let leaf = self.leaves.get_mut((leaf as usize).wrapping_sub(1))?;
        let word = leaf.page.as_chunks_mut::<8>().0.get_mut(bit / 64)?;
        Some((word, 1 << (bit % 64)))
    }

    /// Whether `key` is in the tree. O(depth).
    #[must_use]
    #[inline(always)]
    pub fn contains(&self, key: Key) -> bool {
        let bit = key.leaf_bit();
        let leaf = self.leaf(self.find(key.get() >> LEAF_BITS));
        leaf.is_some_and(|leaf| read(&leaf.page, bit / 64) >> (bit % 64) & 1 == 1)
    }

    /// Puts `key` in. O(depth), and O(1) where it is in the leaf of the key before.
    ///
    /// # Errors
    ///
    /// It is there already, or no page is left for a node. All is as it was then.
    #[inline(always)]
    pub fn add(&mut self, key: Key) -> Result<(), TrackerError> {
        let leaf = self.leaf_of(key)?;
        let Some((word, mask)) = self.word(leaf, key) else {
            return Ok(());
        };
        let bits = u64::from_le_bytes(*word);
        if bits & mask != 0 {
            return Err(present(key));
        }
        *word = (bits | mask).to_le_bytes();
        self.keys += 1;
        self.pages += key.order().pages();
        Ok(())
    }

    /// Takes `key` out. No node is freed. O(depth), and O(1) where it is in the leaf of the key before.
    ///
    /// # Errors
    ///
    /// It is not there.
    #[inline(always)]
    pub fn remove(&mut self, key: Key) -> Result<(), TrackerError> {
        let leaf = self.seek(key.get() >> LEAF_BITS);
        let Some((word, mask)) = self.word(leaf, key) else {
            return Err(absent(key));
        };
        let bits = u64::from_le_bytes(*word);
        if bits & mask == 0 {
            return Err(absent(key));
        }
        *word = (bits & !mask).to_le_bytes();
        self.keys -= 1;
        self.pages -= key.order().pages();
        Ok(())
    }

    /// Puts the keys of folios in a row in: by the word and by the leaf.
    ///
    /// # Errors
    ///
    /// One of them is there already, they are no keys, or no page is left for a node. None of
    /// them is put in then.
    pub fn add_folios(&mut self, run: Run) -> Result<(), TrackerError> {
        let first = first_key(run)?;
        if let Some(index) = self.search(first, run.keys, true) {
            return Err(TrackerError::Present {
                addr: nth(run, index),
                order: run.order,
            });
        }
        let mark = self.mark();
        for part in leaves(first, run.keys) {
            if let Err(error) = self.leaf_of(part.first) {
                // The leaves before are empty still.
                self.prune(mark);
                return Err(error);
            }
        }
        self.set(first, run.keys, true);
        self.keys += run.keys;
        self.pages += run.pages();
        Ok(())
    }

    /// Takes the keys of folios in a row out: by the word and by the leaf.
    ///
    /// # Errors
    ///
    /// One of them is not there, or they are no keys. None of them is taken out then.
    pub fn remove_folios(&mut self, run: Run) -> Result<(), TrackerError> {
        let first = first_key(run)?;
        if let Some(index) = self.search(first, run.keys, false) {
            return Err(TrackerError::Absent {
                addr: nth(run, index),
                order: run.order,
            });
        }
        self.set(first, run.keys, false);
        self.keys -= run.keys;
        self.pages -= run.pages();
        Ok(())
    }

    /// Whether the keys of all folios of `run` are there, by the word and by the leaf.
    #[must_use]
    pub fn contains_folios(&self, run: Run) -> bool {
        first_key(run).is_ok_and(|first| self.search(first, run.keys, false).is_none())
    }

    /// Puts a run of pages in: the fewest naturally aligned keys, front to back.
    ///
    /// # Errors
    ///
    /// As [`Tracker::add`], for any of the keys. None of them is put in then.
    pub fn add_pages(&mut self, run: PageRun) -> Result<(), TrackerError> {
        let keys = self.page_keys(run)?;
        let mark = self.mark();
        for (done, key) in keys.iter().enumerate() {
            if let Err(error) = self.add(*key) {
                for key in keys.iter().take(done) {
                    // Just put in.
                    let _ = self.remove(*key);
                }
                self.prune(mark);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes a run of pages out, the same that was put in.
    ///
    /// # Errors
    ///
    /// One of its keys is not there. None of them is taken out then.
    pub fn remove_pages(&mut self, run: PageRun) -> Result<(), TrackerError> {
        let keys = self.page_keys(run)?;
        if let Some(key) = keys.iter().find(|key| !self.contains(**key)) {
            return Err(absent(*key));
        }
        keys.iter().try_for_each(|key| self.remove(*key))
    }

    /// Whether a run of pages is there as it would be put in.
    #[must_use]
    pub fn contains_pages(&self, run: PageRun) -> bool {
        self.page_keys(run)
            .is_ok_and(|keys| keys.iter().all(|key| self.contains(*key)))
    }

    /// The keys of a run of pages, front to back: at most two per order and boundary.
    fn page_keys(&self, run: PageRun) -> Result<Vec<Key>, TrackerError> {
        let order = Order::ZERO;
        let no_key = TrackerError::NoKey { run, order };
        let end = run.pfn.checked_add(run.pages).ok_or(no_key)?;
        if end > kho_mem::Pfn::LIMIT || run.pages == 0 {
            return Err(no_key);
        }
        let mut keys = Vec::new();
        let mut pfn = run.pfn;
        while pfn < end {
            let next = self.boundaries.partition_point(|boundary| *boundary <= pfn);
            let until = self
                .boundaries
                .get(next)
                .map_or(end, |boundary| end.min(*boundary));
            let order = pfn.trailing_zeros().min((until - pfn).ilog2());
            let order = u8::try_from(order)
                .ok()
                .and_then(Order::new)
                .ok_or(no_key)?;
            keys.push(Key::encode(PhysAddr::new(pfn << PAGE_SHIFT), order).ok_or(no_key)?);
            pfn += order.pages();
        }
        Ok(keys)
    }

    /// The index of the first of `count` keys from `first` on that is there (`present`) or not.
    fn search(&self, first: Key, count: u64, present: bool) -> Option<u64> {
        for part in leaves(first, count) {
            let Some(leaf) = self.leaf(self.find(part.first.get() >> LEAF_BITS)) else {
                if present {
                    continue;
                }
                return Some(part.index);
            };
            for (word, mask) in part.words() {
                let bits = read(&leaf.page, word);
                let hit = if present { bits & mask } else { !bits & mask };
                if hit != 0 {
                    let bit = (word * 64) as u64 + u64::from(hit.trailing_zeros());
                    return Some(part.index + bit - part.from as u64);
                }
            }
        }
        None
    }

    /// Sets or clears `count` keys from `first` on, whose leaves are there.
    fn set(&mut self, first: Key, count: u64, member: bool) {
        for part in leaves(first, count) {
            let link = self.find(part.first.get() >> LEAF_BITS) as usize;
            let Some(leaf) = self.leaves.get_mut(link.wrapping_sub(1)) else {
                continue;
            };
            for (word, mask) in part.words() {
                let bits = read(&leaf.page, word);
                let bits = if member { bits | mask } else { bits & !mask };
                write(&mut leaf.page, word, bits);
            }
        }
    }

    /// This point in the tracker's life.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            tables: self.tables.len(),
            leaves: self.leaves.len(),
        }
    }

    /// Frees the nodes that were added since `mark` and are empty, the latest first: the way back of
    /// a step that failed, once its keys are out. Nodes that were there at `mark` stay.
    pub fn prune(&mut self, mark: Mark) {
        let before = self.mark();
        while self.leaves.len() > mark.leaves {
            let Some(leaf) = self.leaves.pop_if(|leaf| is_empty(&leaf.page)) else {
                break;
            };
            self.set_entry(leaf.above, leaf.slot as usize, 0, PhysAddr::NULL);
        }
        while self.tables.len() > mark.tables.max(1) {
            let Some(table) = self.tables.pop_if(|table| is_empty(&table.page)) else {
                break;
            };
            self.below.pop();
            self.set_entry(table.above, table.slot as usize, 0, PhysAddr::NULL);
        }
        if self.mark() != before {
            self.near = Near::NOWHERE;
            self.shortcuts = [Near::NOWHERE; SHORTCUTS];
        }
    }

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
    pub fn for_each_run(&self, mut visit: impl FnMut(Run)) {
        let mut open = OpenRun::default();
        self.each_leaf(ROOT, TABLES, 0, &mut |page, base| {
            each_stretch(page, base, |key, count| open.extend(key, count, &mut visit));
        });
        open.close(&mut visit);
    }

    /// Calls `visit` with each leaf below the table `link` of `level` and the number of its first bit.
    fn each_leaf(&self, link: Link, level: usize, prefix: u64, visit: &mut impl FnMut(&[u8], u64)) {
        let Some(below) = self.below.get((link as usize).wrapping_sub(1)) else {
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
        match self.tables.get((node.above as usize).wrapping_sub(1)) {
            Some(above) => self.prefix(above) << TABLE_BITS | u64::from(node.slot),
            None => 0,
        }
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

#[cold]
pub(crate) const fn present(key: Key) -> TrackerError {
    TrackerError::Present {
        addr: key.addr(),
        order: key.order(),
    }
}

#[cold]
pub(crate) const fn absent(key: Key) -> TrackerError {
    TrackerError::Absent {
        addr: key.addr(),
        order: key.order(),
    }
}

/// The entry of a table of `level` on the way to the leaf of `prefix`.
#[inline]
pub(crate) const fn slot(prefix: u64, level: usize) -> usize {
    let index = prefix >> (TABLE_BITS as usize * (level - 1)) & ((1 << TABLE_BITS) - 1);
    index as usize
}

/// The place of a table of level 1 among the shortcuts: neighbours have places of their own, and so have,
/// mostly, tables of different orders.
#[inline]
#[allow(clippy::cast_possible_truncation)]
const fn shortcut(prefix: u64) -> usize {
    let spread = prefix.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> (u64::BITS - SHORTCUTS.ilog2())) as usize
}

fn is_empty(page: &[u8]) -> bool {
    page.as_chunks::<8>().0.iter().all(|word| *word == [0; 8])
}

pub(crate) fn nth(run: Run, index: u64) -> PhysAddr {
    PhysAddr::new((run.pfn + (index << run.order.get())) << PAGE_SHIFT)
}

/// The first key of `run`, all of whose keys are keys.
pub(crate) fn first_key(run: Run) -> Result<Key, TrackerError> {
    let pages = run.keys.checked_mul(run.order.pages());
    let fits = pages
        .and_then(|pages| run.pfn.checked_add(pages))
        .is_some_and(|end| end <= kho_mem::Pfn::LIMIT);
    let no_key = TrackerError::NoKey {
        run: PageRun {
            pfn: run.pfn,
            pages: pages.unwrap_or(u64::MAX),
        },
        order: run.order,
    };
    if !fits || run.keys == 0 {
        return Err(no_key);
    }
    Key::encode(run.addr(), run.order).ok_or(no_key)
}

/// Keys in a row of one leaf: bits `from..to`.
pub(crate) struct Part {
    pub(crate) first: Key,
    // The first key's place in the whole row.
    pub(crate) index: u64,
    pub(crate) from: usize,
    to: usize,
}

impl Part {
    /// The words that hold the bits, each with its mask.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (from, to) = (self.from, self.to);
        (from / 64..to.div_ceil(64)).map(move |word| {
            let low = from.saturating_sub(word * 64);
            let high = (to - word * 64).min(64);
            (word, (u64::MAX >> (64 - (high - low))) << low)
        })
    }
}

/// `count` keys from `first` on, leaf by leaf. They are of one order, so that none is followed by 0.
pub(crate) fn leaves(first: Key, count: u64) -> impl Iterator<Item = Part> {
    let (mut key, mut index) = (Some(first), 0);
    core::iter::from_fn(move || {
        let first = key?;
        let from = first.leaf_bit();
        let room = (1u64 << LEAF_BITS) - from as u64;
        let now = room.min(count - index);
        let part = Part {
            first,
            index,
            from,
            to: from + usize::try_from(now).ok()?,
        };
        index += now;
        key = Key::new(first.get() + now).filter(|_| index < count);
        Some(part)
    })
}

/// The word `index` of a node's page.
#[inline]
fn read(page: &Folio, index: usize) -> u64 {
    let word = page.as_chunks::<8>().0.get(index);
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

fn write(page: &mut Folio, index: usize, value: u64) {
    if let Some(word) = page.as_chunks_mut::<8>().0.get_mut(index) {
        *word = value.to_le_bytes();
    }
}
