//! The tracker: put in, taken out, walked.

use std::hint::black_box;
use std::time::{Duration, Instant};

use kho_mem::{
    ARENA_ALIGN, Arena, ArenaConfig, Chunk, Handed, Link, MemError, Order, PAGE_SHIFT,
    PAGE_SIZE_U64, PhysAddr, PhysMem, PhysRange,
};
use kho_radix::v1::LEAF_BITS;
use kho_radix::{Key, KeyRun, Preserved, Tracker};

use crate::{Data, Result, Work, Workload};

/// Where the nodes lie: above all that is preserved.
const NODES: u64 = 1 << 50;
/// One past the last address of memory.
const END: u64 = 1 << 52;
/// The smallest arena: so large that it is always fresh memory of the system's.
const LEAST: u64 = 64 << 20;

/// An arena for the nodes of a tree of `keys` keys of one order, `apart` keys or fewer one from the
/// other on average.
pub fn arena(keys: u64, apart: u64) -> Result<Arena> {
    let leaves = (keys.saturating_mul(apart) >> LEAF_BITS).min(keys) + 1;
    // Tables above them, and what an allocator rounds up.
    let pages = leaves + leaves / 256 + 64;
    let size = (pages * PAGE_SIZE_U64).max(LEAST);
    let config = ArenaConfig::new(PhysAddr::new(NODES), size.next_multiple_of(ARENA_ALIGN));
    Ok(Arena::heap(&config)?)
}

/// An empty tracker for `data`'s random pages, which are the most nodes.
pub fn tracker(keys: u64, apart: u64) -> Result<Tracker> {
    Ok(Tracker::new(arena(keys, apart)?)?)
}

/// Memory in which everything is there and nothing is stored but the nodes of a tree.
#[derive(Debug)]
pub struct Nodes {
    handed: Handed,
    pub(crate) root: PhysAddr,
}

impl PhysMem for Nodes {
    fn chunk(&self, addr: PhysAddr, len: usize) -> std::result::Result<Chunk<'_>, MemError> {
        self.handed.chunk(addr, len)
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        let all = PhysRange::new(PhysAddr::NULL, END)?;
        all.contains(from).then_some(all)
    }
}

/// What `tracker` is to the next kernel.
pub fn handed_over(tracker: Tracker, arena: Arena) -> Result<Nodes> {
    let root = tracker.root();
    tracker.hand_over();
    let handed = arena.into_handed().map_err(|_| "the arena is in use")?;
    Ok(Nodes { handed, root })
}

/// The key of 2^order pages from page `pfn` on.
fn key(pfn: u64, order: Order) -> Option<Key> {
    Key::encode(PhysAddr::new(pfn << PAGE_SHIFT), order)
}

/// Puts `count` keys of one order in that follow each other, one call each.
pub fn add_each(tracker: &mut Tracker, count: u64, order: Order) -> Result<()> {
    for index in 0..count {
        let key = key(index << order.get(), order).ok_or("no key")?;
        tracker.add(key)?;
    }
    Ok(())
}

/// Takes them out, one call each.
pub fn remove_each(tracker: &mut Tracker, count: u64, order: Order) -> Result<()> {
    for index in 0..count {
        let key = key(index << order.get(), order).ok_or("no key")?;
        tracker.remove(key)?;
    }
    Ok(())
}

/// Puts pages in that are named one by one; returns how many were there before.
#[must_use]
pub fn add_pages(tracker: &mut Tracker, pages: &[u64]) -> u64 {
    let mut twice = 0;
    for pfn in pages {
        let added = key(*pfn, Order::ZERO).is_some_and(|key| tracker.add(key).is_ok());
        twice += u64::from(!added);
    }
    twice
}

/// The one run of `count` keys of one order from page 0 on.
#[must_use]
pub const fn run(count: u64, order: Order) -> KeyRun {
    let (pfn, keys) = (PhysAddr::NULL.pfn(), count);
    KeyRun { pfn, keys, order }
}

/// Goes through a tree that was handed over, key by key, with the checks of a walk. Returns the keys. Each
/// of them is really had: what a compiler knows of numbers in a row is of no use to it.
pub fn walk_keys(nodes: &Nodes) -> Result<u64> {
    let mut sum = 0u64;
    let keys = kho_radix::walk_keys(nodes, Link::given(nodes.root, "root"), |key| {
        sum = sum.wrapping_add(decoded(key));
    })?;
    black_box(sum);
    Ok(keys)
}

/// The same, run by run.
pub fn walk_runs(nodes: &Nodes) -> Result<u64> {
    let mut sum = 0u64;
    let keys = kho_radix::walk_runs(nodes, Link::given(nodes.root, "root"), |run| {
        sum = sum.wrapping_add(black_box(run.addr().get()));
    })?;
    black_box(sum);
    Ok(keys)
}

/// Reads a whole tree with every check there is, in order of address and ready for lookups: what opening a
/// handover does. Returns the keys.
pub fn preserved(nodes: &Nodes) -> Result<u64> {
    let preserved = Preserved::read(nodes, Link::given(nodes.root, "root"))?;
    Ok(preserved.keys() as u64)
}

/// Goes through one's own tree, key by key. Returns the keys.
#[must_use]
pub fn iterate(tracker: &Tracker) -> u64 {
    let (mut sum, mut keys) = (0u64, 0);
    tracker.for_each(|key| {
        sum = sum.wrapping_add(decoded(key));
        keys += 1;
    });
    black_box(sum);
    keys
}

/// What a callback makes of a key: its address and its order.
pub(crate) fn decoded(key: Key) -> u64 {
    let key = black_box(key);
    key.addr().get().wrapping_add(u64::from(key.order().get()))
}

/// What `work` takes.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let start = Instant::now();
    let done = work()?;
    let took = start.elapsed();
    black_box(done);
    Ok(took)
}

/// A tree of `count` keys of one order.
pub(crate) fn filled(count: u64, order: Order) -> Result<Tracker> {
    let mut tracker = tracker(count, 1)?;
    tracker.add_folios(run(count, order))?;
    Ok(tracker)
}

/// The tree of `count` keys of one order, handed over.
pub(crate) fn dense(count: u64, order: Order) -> Result<Nodes> {
    let arena = arena(count, 1)?;
    let mut tracker = Tracker::new(arena.clone())?;
    tracker.add_folios(run(count, order))?;
    handed_over(tracker, arena)
}

/// The tree of `data`'s random pages, handed over.
pub(crate) fn sparse(data: &Data) -> Result<Nodes> {
    let arena = arena(data.random, data.apart())?;
    let mut tracker = Tracker::new(arena.clone())?;
    let _ = add_pages(&mut tracker, &data.random_pages());
    handed_over(tracker, arena)
}

/// Checks that as many keys were walked as there are.
pub(crate) fn all_of(walked: u64, keys: u64) -> Result<()> {
    if walked == keys {
        return Ok(());
    }
    Err(format!("{walked} of {keys} keys were walked").into())
}

pub(crate) fn workloads(data: Data) -> Vec<Workload> {
    type Walk = fn(&Nodes) -> Result<u64>;
    let zero = Order::ZERO;
    let (count, folios, order) = (data.contiguous, data.folios, data.order);
    let (keys, random) = (Work::Keys(count), Work::Keys(data.random));
    let added = |name, count, order| {
        Workload::new(name, Work::Keys(count), move || {
            let mut tracker = tracker(count, 1)?;
            timed(|| add_each(&mut tracker, count, order))
        })
    };
    let added_at_once = |name, count, order| {
        Workload::new(name, Work::Keys(count), move || {
            let mut tracker = tracker(count, 1)?;
            timed(|| Ok(tracker.add_folios(run(count, order))?))
        })
    };
    let walked = |name, count, order, walk: Walk| {
        let run = move |nodes: &mut Nodes| timed(|| all_of(walk(nodes)?, count));
        Workload::on(name, Work::Keys(count), move || dense(count, order), run)
    };
    let walked_sparse = |name, walk: Walk| {
        let run = move |nodes: &mut Nodes| timed(|| walk(nodes));
        Workload::on(name, random, move || sparse(&data), run)
    };
    let iterated = |name, count, order| {
        let run = move |tracker: &mut Tracker| timed(|| all_of(iterate(tracker), count));
        Workload::on(name, Work::Keys(count), move || filled(count, order), run)
    };
    let pages = move || Ok(data.random_pages());
    let own_sparse = move || {
        let mut tracker = tracker(data.random, data.apart())?;
        let _ = add_pages(&mut tracker, &data.random_pages());
        Ok(tracker)
    };
    vec![
        added("radix_add_contig_o0", count, zero),
        Workload::new("radix_del_contig_o0", keys, move || {
            let mut tracker = filled(count, zero)?;
            timed(|| remove_each(&mut tracker, count, zero))
        }),
        walked("radix_walk_dense", count, zero, walk_keys),
        iterated("radix_iterate_dense", count, zero),
        Workload::on("radix_add_random_1Tspan", random, pages, move |pages| {
            let mut tracker = tracker(data.random, data.apart())?;
            timed(|| Ok(add_pages(&mut tracker, pages)))
        }),
        walked("radix_preserved_dense", count, zero, preserved),
        walked_sparse("radix_preserved_sparse", preserved),
        walked_sparse("radix_walk_sparse", walk_keys),
        walked_sparse("radix_walk_runs_sparse", walk_runs),
        Workload::on("radix_iterate_sparse", random, own_sparse, |tracker| {
            timed(|| Ok(iterate(tracker)))
        }),
        added_at_once("radix_add_1TiB_as_2M", folios, order),
        added("radix_add_1TiB_as_2M_each", folios, order),
        walked("radix_walk_1TiB_as_2M", folios, order, walk_runs),
        walked("radix_walk_1TiB_as_2M_each", folios, order, walk_keys),
        iterated("radix_iterate_1TiB_as_2M", folios, order),
        added_at_once("radix_preserve_range_dense", count, zero),
        walked("radix_walk_runs_dense", count, zero, walk_runs),
    ]
}
