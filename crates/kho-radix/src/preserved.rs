//! The set of preserved memory, checked.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kho_mem::{
    Damage, Defect, Link, Order, PAGE_SHIFT, PAGE_SIZE_U64, PageRun, PageSize, Pfn, PhysAddr,
    PhysMem, PhysRange,
};

use crate::Root;
use crate::walk::walk;

/// Consecutive keys of one order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRun {
    /// The first frame.
    pub pfn: Pfn,
    /// How many keys.
    pub keys: u64,
    /// The order of each.
    pub order: Order,
}

impl KeyRun {
    /// The first byte's address.
    #[must_use]
    pub const fn addr(&self) -> PhysAddr {
        self.pfn.addr()
    }

    /// Pages in all.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.keys << self.order.get()
    }

    /// Bytes in all; `None` for all of the address space.
    #[must_use]
    pub const fn bytes(&self) -> Option<u64> {
        self.pages().checked_mul(PAGE_SIZE_U64)
    }

    const fn end(&self) -> u64 {
        self.pfn.get() + self.pages()
    }

    /// The first frame of the key `index`, which is one of the run.
    pub(crate) const fn nth(&self, index: u64) -> Pfn {
        PhysAddr::new((self.pfn.get() + (index << self.order.get())) << PAGE_SHIFT).pfn()
    }
}

/// One preserved range as it stands in the tree: a folio, or a part of a run of pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PreservedRange {
    /// The first frame.
    pub pfn: Pfn,
    /// log2 of its pages.
    pub order: Order,
    // The key's number in order of address, for Claims.
    pub(crate) ordinal: usize,
}

impl PreservedRange {
    /// The first byte's address.
    #[must_use]
    pub const fn addr(&self) -> PhysAddr {
        self.pfn.addr()
    }

    /// Its pages.
    #[must_use]
    pub const fn run(&self) -> PageRun {
        PageRun {
            pfn: self.pfn,
            pages: self.order.pages(),
        }
    }
}

/// The memory that a predecessor preserved: its whole tracker, read and checked.
///
/// Holding one proves that every node of the tree was reached once and lies in memory, that every
/// key is in the format's grammar, that every preserved range lies in memory, and that no two
/// overlap.
///
/// Keys are kept as runs, so that the cost goes with the number of runs and not of pages.
#[derive(Clone, Debug)]
pub struct Preserved {
    // In order of address. Shared, so that a clone costs nothing.
    runs: Arc<Vec<KeyRun>>,
    // Keys before each run.
    before: Arc<Vec<usize>>,
    // In order.
    nodes: Arc<Vec<PhysAddr>>,
    keys: usize,
    // Of 4 KiB.
    frames: u64,
    page_size: PageSize,
}

impl Preserved {
    /// What errors call the link to a tree's root node.
    pub const ROOT: &str = "root node's address";

    /// Reads the tree whose root node `root` points to.
    ///
    /// # Errors
    ///
    /// The tree is damaged: a node that is unaligned, outside memory or reached twice; a key that
    /// encodes no range; a preserved range outside memory, overlapping another, or on a node of
    /// the tree itself (which a kernel never preserves).
    pub fn read(mem: &dyn PhysMem, root: impl Into<Root>) -> Result<Self, Damage> {
        let root = root.into();
        let page_size = root.page_size;
        let (mut runs, nodes) = walk(mem, root)?;
        runs.sort_unstable_by_key(|run| run.pfn);
        for (run, next) in runs.iter().zip(runs.iter().skip(1)) {
            if run.end() > next.pfn.get() {
                // The tree says nothing of where in itself a key stands.
                return Err(Damage::new(Defect::Overlap, "preserved range", next.addr())
                    .found(format!(
                        "order {} at {} inside order {} from {}",
                        in_pages(page_size, next.order),
                        next.addr(),
                        in_pages(page_size, run.order),
                        run.addr()
                    ))
                    .expected("ranges that do not overlap")
                    .within("tracker"));
            }
        }
        let mut before = Vec::with_capacity(runs.len());
        let (mut keys, mut frames) = (0usize, 0u64);
        for run in &runs {
            before.push(keys);
            keys = usize::try_from(run.keys).map_or(usize::MAX, |n| keys.saturating_add(n));
            frames += run.pages();
        }
        let preserved = Self {
            runs: Arc::new(runs),
            before: Arc::new(before),
            nodes: Arc::new(nodes.into_sorted()),
            keys,
            frames,
            page_size,
        };
        if let Some(node) = preserved
            .nodes
            .iter()
            .find(|node| preserved.lookup(**node).is_some())
        {
            return Err(Damage::new(Defect::Shared, "node", *node)
                .found("a page that is preserved as well")
                .expected("a page of its own")
                .within("tracker"));
        }
        let pages = preserved.pages();
        tracing::debug!(keys, pages, nodes = preserved.nodes.len(), "tracker read");
        Ok(preserved)
    }

    /// The preserved range that holds `addr`. O(log runs).
    #[must_use]
    pub fn lookup(&self, addr: PhysAddr) -> Option<PreservedRange> {
        let pfn = addr.pfn().get();
        let index = self
            .runs
            .partition_point(|run| run.pfn.get() <= pfn)
            .checked_sub(1)?;
        let run = self.runs.get(index)?;
        if pfn >= run.end() {
            return None;
        }
        let key = (pfn - run.pfn.get()) >> run.order.get();
        let ordinal = self
            .before
            .get(index)?
            .checked_add(usize::try_from(key).ok()?)?;
        Some(PreservedRange {
            pfn: run.nth(key),
            order: run.order,
            ordinal,
        })
    }

    /// Whether every byte of `range` is preserved. O(log runs + runs in the range).
    #[must_use]
    pub fn contains(&self, range: PhysRange) -> bool {
        let Some(last) = range.len().checked_sub(1) else {
            return true;
        };
        let last = PhysAddr::new(range.start().get() + last).pfn().get();
        let mut pfn = range.start().pfn().get();
        let mut index = self.runs.partition_point(|run| run.pfn.get() <= pfn);
        let Some(first) = index.checked_sub(1) else {
            return false;
        };
        index = first;
        while let Some(run) = self.runs.get(index) {
            if !(run.pfn.get()..run.end()).contains(&pfn) {
                return false;
            }
            if last < run.end() {
                return true;
            }
            pfn = run.end();
            index += 1;
        }
        false
    }

    /// The first preserved range that shares a byte with `range`. O(log runs).
    #[must_use]
    pub fn overlap(&self, range: PhysRange) -> Option<PreservedRange> {
        let last = range
            .start()
            .get()
            .checked_add(range.len().checked_sub(1)?)?;
        self.lookup(range.start()).or_else(|| {
            let from = range.start().pfn().get();
            let next = self
                .runs
                .get(self.runs.partition_point(|run| run.pfn.get() <= from))?;
            (next.pfn <= PhysAddr::new(last).pfn())
                .then(|| self.lookup(next.addr()))
                .flatten()
        })
    }

    /// Runs of keys in order of address: consecutive ranges of one order.
    #[must_use]
    pub fn runs(&self) -> &[KeyRun] {
        &self.runs
    }

    /// Every key, in order of address.
    pub fn iter(&self) -> impl Iterator<Item = PreservedRange> + '_ {
        self.runs
            .iter()
            .zip(self.before.iter())
            .flat_map(|(run, before)| {
                (0..run.keys)
                    .zip(*before..)
                    .map(|(key, ordinal)| PreservedRange {
                        pfn: run.nth(key),
                        order: run.order,
                        ordinal,
                    })
            })
    }

    /// Preserved pages merged into the longest runs, whatever their orders.
    pub fn page_runs(&self) -> impl Iterator<Item = PageRun> + '_ {
        let mut runs = self.runs.iter().peekable();
        core::iter::from_fn(move || {
            let first = runs.next()?;
            let mut end = first.end();
            while let Some(next) = runs.next_if(|next| next.pfn.get() == end) {
                end = next.end();
            }
            Some(PageRun {
                pfn: first.pfn,
                pages: end - first.pfn.get(),
            })
        })
    }

    /// How many keys the tree holds.
    #[must_use]
    pub const fn keys(&self) -> usize {
        self.keys
    }

    /// How many pages are preserved: pages of the handover's own size.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.frames >> self.page_size.order().get()
    }

    /// The page size of the kernel that wrote the tree.
    #[must_use]
    #[inline]
    pub const fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Whether a node of the tree begins at `addr`. O(log nodes).
    #[must_use]
    pub fn has_node(&self, addr: PhysAddr) -> bool {
        self.nodes.binary_search(&addr).is_ok()
    }

    /// The tree's nodes, leaves included, in order of address.
    #[must_use]
    pub fn nodes(&self) -> &[PhysAddr] {
        &self.nodes
    }

    /// Keys by order, from the largest order down, orders without keys left out. The orders count frames of
    /// 4 KiB: see [`PageSize::pages_of`].
    #[must_use]
    pub fn by_order(&self) -> Vec<(Order, u64)> {
        let mut counts = [0u64; Order::MAX.get() as usize + 1];
        for run in self.runs.iter() {
            if let Some(count) = counts.get_mut(usize::from(run.order.get())) {
                *count += run.keys;
            }
        }
        let orders = (0..=Order::MAX.get()).rev().filter_map(Order::new);
        orders
            .filter_map(|order| {
                let count = *counts.get(usize::from(order.get()))?;
                (count > 0).then_some((order, count))
            })
            .collect()
    }

    /// The folio that `link` points to.
    ///
    /// # Errors
    ///
    /// The address is null, not page-aligned, not preserved, or inside a larger preserved range.
    #[inline]
    pub fn folio_at(&self, link: Link) -> Result<PreservedRange, Damage> {
        match self.lookup(link.to) {
            Some(folio) if folio.addr() == link.to && !link.is_null() => Ok(folio),
            found => Err(no_folio(&link, found, self.page_size)),
        }
    }
}

/// An order that counts frames, as errors state it: in the handover's own pages.
pub(crate) fn in_pages(page_size: PageSize, order: Order) -> u8 {
    page_size.pages_of(order).unwrap_or_default()
}

/// Why no folio begins where `link` points to; `found` is what holds that address.
#[cold]
fn no_folio(link: &Link, found: Option<PreservedRange>, page_size: PageSize) -> Damage {
    let addr = link.to;
    let damage = |defect| link.damage(defect).found(addr);
    if addr.is_null() {
        return damage(Defect::Null).expected("an address");
    }
    if !page_size.is_aligned(addr) {
        return damage(Defect::Unaligned).expected("a multiple of the page size");
    }
    match found {
        None => damage(Defect::NotPreserved).expected("the address of preserved memory"),
        Some(folio) => link
            .damage(Defect::Unaligned)
            .found(format!(
                "{addr}, inside the order {} range at {}",
                in_pages(page_size, folio.order),
                folio.addr()
            ))
            .expected("the first page of a preserved range"),
    }
}
