//! The checked walk over a tree in untrusted memory.

use alloc::format;
use alloc::vec::Vec;

use kho_mem::{
    Damage, Defect, Link, Order, PAGE_SIZE_U64, PageSize, PhysAddr, PhysMem, PhysMemExt, PhysRange,
    is_backed,
};
use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use crate::Key;
use crate::geometry::{Geometry, Root};
use crate::leaf::{OpenRun, each_key, each_stretch};
use crate::preserved::KeyRun;
use crate::seen::Seen;

/// Reads the tree below `root`: its runs in order of key, and its nodes. Every node is visited
/// once and only once, so the work is bounded by the memory that is there.
pub(crate) fn walk(mem: &dyn PhysMem, root: Root) -> Result<(Vec<KeyRun>, Seen), Damage> {
    let mut runs = Runs {
        mem,
        page_size: root.page_size,
        runs: Vec::new(),
        open: None,
    };
    let seen = each_leaf(mem, root, &mut runs)?;
    runs.close().map_err(|damage| damage.within("tracker"))?;
    Ok((runs.runs, seen))
}

/// Calls `visit` with each key of the tree whose root node `root` points to, in order of key. Returns
/// how many there are.
///
/// The tree is checked as it is walked: each node lies in memory and is reached once, each key is in the
/// format's grammar. What the keys name is not: whether it lies in memory, and apart from the rest, is
/// what [`Preserved::read`](crate::Preserved::read) finds out. Keys that were visited before damage is found
/// are as good as the memory that they came from.
///
/// # Errors
///
/// The tree is damaged.
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, Link, Order, PhysAddr};
/// use kho_radix::{Key, Tracker, walk_keys};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let mut tracker = Tracker::new(arena.clone())?;
/// tracker.add(Key::encode(PhysAddr::new(0x1020_0000), Order::ZERO).unwrap())?;
/// let root = Link::given(tracker.root(), "root");
/// tracker.hand_over();
/// let handed = arena.into_handed().unwrap();
/// let mut keys = Vec::new();
/// walk_keys(&handed, root, |key| keys.push(key.addr()))?;
/// assert_eq!(keys, [PhysAddr::new(0x1020_0000)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn walk_keys(
    mem: &dyn PhysMem,
    root: impl Into<Root>,
    visit: impl FnMut(Key),
) -> Result<u64, Damage> {
    let mut keys = Keys { visit, count: 0 };
    each_leaf(mem, root.into(), &mut keys)?;
    Ok(keys.count)
}

/// As [`walk_keys`], with runs of keys of one order in a row: by the word. Returns how many keys there are.
///
/// # Errors
///
/// The tree is damaged.
pub fn walk_runs(
    mem: &dyn PhysMem,
    root: impl Into<Root>,
    mut visit: impl FnMut(KeyRun),
) -> Result<u64, Damage> {
    let mut count = 0;
    let mut counted = |run: KeyRun| {
        count += run.keys;
        visit(run);
    };
    let mut stretches = Stretches {
        visit: &mut counted,
        open: OpenRun::default(),
    };
    each_leaf(mem, root.into(), &mut stretches)?;
    stretches.open.close(&mut counted);
    Ok(count)
}

/// What is done with a leaf.
pub(crate) trait Visit {
    /// Looks at the leaf at `addr`, whose first bit is key `base`.
    fn leaf(&mut self, page: &[u8], addr: PhysAddr, base: u64) -> Result<(), Damage>;
}

/// Each key.
pub(crate) struct Keys<F> {
    pub(crate) visit: F,
    pub(crate) count: u64,
}

impl<F: FnMut(Key)> Visit for Keys<F> {
    fn leaf(&mut self, page: &[u8], addr: PhysAddr, base: u64) -> Result<(), Damage> {
        check_zero(page, addr, base)?;
        each_key(page, base, |key| {
            // Not 0, and the table was entered where keys are small enough.
            if let Some(key) = Key::new(key) {
                self.count += 1;
                (self.visit)(key);
            }
        });
        Ok(())
    }
}

/// Runs of keys, unchecked.
pub(crate) struct Stretches<'f, F> {
    pub(crate) visit: &'f mut F,
    pub(crate) open: OpenRun,
}

impl<F: FnMut(KeyRun)> Visit for Stretches<'_, F> {
    fn leaf(&mut self, page: &[u8], addr: PhysAddr, base: u64) -> Result<(), Damage> {
        check_zero(page, addr, base)?;
        each_stretch(page, base, |key, count| {
            self.open.extend(key, count, self.visit);
        });
        Ok(())
    }
}

/// Runs of keys, each of them in memory.
struct Runs<'m> {
    mem: &'m dyn PhysMem,
    page_size: PageSize,
    runs: Vec<KeyRun>,
    open: Option<Open>,
}

/// A run of consecutive keys that may still grow.
struct Open {
    first: Key,
    keys: u64,
    // The leaf that holds the first key's bit.
    leaf: PhysAddr,
}

impl Visit for Runs<'_> {
    fn leaf(&mut self, page: &[u8], addr: PhysAddr, base: u64) -> Result<(), Damage> {
        check_zero(page, addr, base)?;
        let mut damage = Ok(());
        each_stretch(page, base, |key, count| {
            if damage.is_ok() {
                damage = self.keys(key, count, addr);
            }
        });
        damage
    }
}

/// Key 0 is none.
pub(crate) fn check_zero(page: &[u8], addr: PhysAddr, base: u64) -> Result<(), Damage> {
    if base == 0 && page.first().is_some_and(|byte| byte & 1 == 1) {
        let size = PageSize::of(page.len() as u64).unwrap_or_default();
        return Err(bad_key(0, addr, size));
    }
    Ok(())
}

#[cold]
fn bad_key(key: u64, leaf: PhysAddr, size: PageSize) -> Damage {
    let bits = u64::BITS - size.shift() + 1;
    Damage::new(Defect::BadKey, "bit of a leaf", leaf)
        .found(format!("key {key:#x}"))
        .expected(format!("1 to {:#x}", (1u64 << bits) - 1))
}

/// Visits the leaves below `root`, in order, and returns the nodes.
pub(crate) fn each_leaf(
    mem: &dyn PhysMem,
    root: Root,
    visit: &mut impl Visit,
) -> Result<Seen, Damage> {
    match root.page_size {
        PageSize::K4 => each_leaf_of::<12>(mem, root, visit),
        PageSize::K16 => each_leaf_of::<14>(mem, root, visit),
        PageSize::K64 => each_leaf_of::<16>(mem, root, visit),
    }
}

fn each_leaf_of<const SHIFT: u32>(
    mem: &dyn PhysMem,
    root: Root,
    visit: &mut impl Visit,
) -> Result<Seen, Damage> {
    let mut walk = Walk::<'_, '_, SHIFT, _> {
        mem,
        nodes: Seen::default(),
        path: Vec::new(),
        visit,
    };
    walk.node(root.link, Geometry::<SHIFT>::DEPTH - 1, 0)
        .map_err(|damage| damage.within("tracker"))?;
    Ok(walk.nodes)
}

/// What errors call the link to a node of `level`, which is not the root's.
const fn name_of(level: u32) -> &'static str {
    const _: () = assert!(Geometry::<12>::DEPTH == 6);
    match level {
        0 => "address of a level 0 node",
        1 => "address of a level 1 node",
        2 => "address of a level 2 node",
        3 => "address of a level 3 node",
        _ => "address of a level 4 node",
    }
}

struct Walk<'m, 'v, const SHIFT: u32, V> {
    mem: &'m dyn PhysMem,
    nodes: Seen,
    // The nodes from the root down to the current one, to tell a cycle from a shared node.
    path: Vec<PhysAddr>,
    visit: &'v mut V,
}

impl<const SHIFT: u32, V: Visit> Walk<'_, '_, SHIFT, V> {
    /// Visits the node that `link` points to. `prefix` holds the key's bits above this level. The
    /// recursion is six deep at most.
    fn node(&mut self, link: Link, level: u32, prefix: u64) -> Result<(), Damage> {
        let addr = link.to;
        if addr.is_null() {
            return Err(link
                .damage(Defect::Null)
                .found(0)
                .expected("a node's address"));
        }
        if addr.get() & ((1 << SHIFT) - 1) != 0 {
            return Err(link
                .damage(Defect::Unaligned)
                .found(addr)
                .expected("a multiple of the page size"));
        }
        if !self.nodes.insert(addr) {
            let cycle = self.path.contains(&addr);
            let defect = if cycle { Defect::Cycle } else { Defect::Shared };
            let found = if cycle {
                "a node above it"
            } else {
                "a node reached before"
            };
            return Err(link
                .damage(defect)
                .found(format!("{addr}, {found}"))
                .expected("a node of its own"));
        }
        let mem = self.mem;
        let page = mem
            .bytes(addr, 1 << SHIFT)
            .map_err(|error| error.damage(link.name, link.at))?;
        self.path.push(addr);
        if page.len() != 1 << SHIFT {
            return Err(short(addr));
        }
        if level == 0 {
            let base = prefix << Geometry::<SHIFT>::LEAF_BITS;
            self.visit.leaf(&page, addr, base)?;
        } else {
            let table = <[U64]>::ref_from_bytes(&page).map_err(|_| short(addr))?;
            self.table(table, addr, level, prefix)?;
        }
        self.path.pop();
        Ok(())
    }

    fn table(
        &mut self,
        table: &[U64],
        addr: PhysAddr,
        level: u32,
        prefix: u64,
    ) -> Result<(), Damage> {
        let key_bits = Geometry::<SHIFT>::KEY_BITS;
        let below = Geometry::<SHIFT>::LEAF_BITS + Geometry::<SHIFT>::TABLE_BITS * (level - 1);
        let above = key_bits - below.min(key_bits);
        let mut at = addr.get();
        for (index, child) in (0u64..).zip(table) {
            if child.get() != 0 {
                let prefix = prefix << Geometry::<SHIFT>::TABLE_BITS | index;
                if prefix >> above != 0 {
                    return Err(
                        Damage::new(Defect::BadKey, "table entry", PhysAddr::new(at))
                            .found(format!(
                                "entry {index} of the root node: keys of more than {key_bits} bits"
                            ))
                            .expected(format!("entries 0 to {}", (1u64 << above) - 1)),
                    );
                }
                let link = Link {
                    to: PhysAddr::new(child.get()),
                    at: PhysAddr::new(at),
                    name: name_of(level - 1),
                };
                self.node(link, level - 1, prefix)?;
            }
            at = at.wrapping_add(8);
        }
        Ok(())
    }
}

impl Runs<'_> {
    /// Adds `count` consecutive keys from `key` on, split where the order changes: at powers of
    /// two, which only the leaf of the smallest keys has inside.
    fn keys(&mut self, mut key: u64, mut count: u64, leaf: PhysAddr) -> Result<(), Damage> {
        while count > 0 {
            let Some(first) = Key::new(key) else {
                return Err(bad_key(key, leaf, self.page_size));
            };
            let same_order = (2u64 << key.ilog2()) - key;
            let now = count.min(same_order);
            match &mut self.open {
                Some(open)
                    if open.first.get() + open.keys == key
                        && open.first.order() == first.order() =>
                {
                    open.keys += now;
                }
                _ => {
                    self.close()?;
                    self.open = Some(Open {
                        first,
                        keys: now,
                        leaf,
                    });
                }
            }
            key += now;
            count -= now;
        }
        Ok(())
    }

    /// Checks and keeps the open run.
    fn close(&mut self) -> Result<(), Damage> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let run = KeyRun {
            pfn: open.first.pfn(),
            keys: open.keys,
            order: open.first.order(),
        };
        let backed = run.bytes().is_some_and(|bytes| {
            PhysRange::new(run.addr(), bytes).is_some_and(|r| is_backed(self.mem, r))
        });
        if !backed {
            return Err(self.outside(&run, open.leaf));
        }
        self.runs.push(run);
        Ok(())
    }

    /// Names the first key of `run` that is not in memory.
    fn outside(&self, run: &KeyRun, leaf: PhysAddr) -> Damage {
        let step = run.order.pages();
        let backed = |index: u64| {
            let addr = PhysAddr::new(
                run.addr()
                    .get()
                    .wrapping_add(index.wrapping_mul(step * PAGE_SIZE_U64)),
            );
            let range = run
                .order
                .bytes()
                .and_then(|bytes| PhysRange::new(addr, bytes));
            range.is_some_and(|range| is_backed(self.mem, range))
        };
        let first = if run.order == Order::MAX {
            Some(0)
        } else {
            (0..run.keys).find(|i| !backed(*i))
        };
        let order = self.page_size.pages_of(run.order).unwrap_or_default();
        Damage::new(Defect::OutsideMemory, "preserved range", leaf)
            .found(format!(
                "{} pages (order {order}) at {}",
                1u64 << order,
                run.nth(first.unwrap_or(0)).addr()
            ))
            .expected("a range inside this memory")
    }
}

/// A node's page that is not a page: memory that does not keep its word.
pub(crate) fn short(addr: PhysAddr) -> Damage {
    Damage::new(Defect::Truncated, "node", addr)
}
