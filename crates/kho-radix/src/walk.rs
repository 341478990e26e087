//! The checked walk over a tree in untrusted memory.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use kho_mem::{
    Damage, Defect, Order, PAGE_SIZE_U64, PhysAddr, PhysMem, PhysMemExt, PhysRange, is_backed,
};
use zerocopy::FromBytes;

use crate::Key;
use crate::abi::{DEPTH, KEY_BITS, LEAF_BITS, RadixLeaf, RadixNode, TABLE_BITS};
use crate::preserved::Run;

/// Reads the tree below `root`: its runs in order of key, and its nodes. Every node is visited
/// once and only once, so the work is bounded by the memory that is there.
pub(crate) fn walk(
    mem: &dyn PhysMem,
    root: PhysAddr,
    root_at: PhysAddr,
) -> Result<(Vec<Run>, BTreeSet<PhysAddr>), Damage> {
    let mut walk = Walk {
        mem,
        nodes: BTreeSet::new(),
        path: Vec::new(),
        runs: Vec::new(),
        open: None,
    };
    walk.node(root, DEPTH - 1, 0, root_at)
        .map_err(|damage| damage.within("tracker"))?;
    walk.close().map_err(|damage| damage.within("tracker"))?;
    Ok((walk.runs, walk.nodes))
}

struct Walk<'m> {
    mem: &'m dyn PhysMem,
    nodes: BTreeSet<PhysAddr>,
    // The nodes from the root down to the current one, to tell a cycle from a shared node.
    path: Vec<PhysAddr>,
    runs: Vec<Run>,
    open: Option<Open>,
}

/// A run of consecutive keys that may still grow.
struct Open {
    first: Key,
    keys: u64,
    // The leaf that holds the first key's bit.
    leaf: PhysAddr,
}

impl Walk<'_> {
    /// Visits the node at `addr`, whose address was read at `at`. `prefix` holds the key's bits
    /// above this level. The recursion is six deep at most.
    fn node(
        &mut self,
        addr: PhysAddr,
        level: u32,
        prefix: u64,
        at: PhysAddr,
    ) -> Result<(), Damage> {
        let what = if level == DEPTH - 1 {
            "root node's address".into()
        } else {
            format!("address of a level {level} node")
        };
        if addr.is_null() {
            return Err(Damage::new(Defect::Null, what, at)
                .found(0)
                .expected("a node's address"));
        }
        if !addr.is_page_aligned() {
            return Err(Damage::new(Defect::Unaligned, what, at)
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
            return Err(Damage::new(defect, what, at)
                .found(format!("{addr}, {found}"))
                .expected("a node of its own"));
        }
        let mem = self.mem;
        let page = mem.page(addr).map_err(|error| error.damage(what, at))?;
        self.path.push(addr);
        if level == 0 {
            let leaf = RadixLeaf::ref_from_bytes(&page).map_err(|_| short(addr))?;
            self.leaf(leaf, addr, prefix << LEAF_BITS)?;
        } else {
            let node = RadixNode::ref_from_bytes(&page).map_err(|_| short(addr))?;
            self.table(node, addr, level, prefix)?;
        }
        self.path.pop();
        Ok(())
    }

    fn table(
        &mut self,
        node: &RadixNode,
        addr: PhysAddr,
        level: u32,
        prefix: u64,
    ) -> Result<(), Damage> {
        let mut at = addr.get();
        for (index, child) in (0u64..).zip(&node.table) {
            if child.get() != 0 {
                let prefix = prefix << TABLE_BITS | index;
                let below = LEAF_BITS + TABLE_BITS * (level - 1);
                if prefix >> (KEY_BITS - below.min(KEY_BITS)) != 0 {
                    return Err(
                        Damage::new(Defect::BadKey, "table entry", PhysAddr::new(at))
                            .found(format!(
                                "entry {index} of the root node: keys of more than {KEY_BITS} bits"
                            ))
                            .expected("entries 0 to 3"),
                    );
                }
                self.node(
                    PhysAddr::new(child.get()),
                    level - 1,
                    prefix,
                    PhysAddr::new(at),
                )?;
            }
            at = at.wrapping_add(8);
        }
        Ok(())
    }

    fn leaf(&mut self, leaf: &RadixLeaf, addr: PhysAddr, base: u64) -> Result<(), Damage> {
        let mut key = base;
        for word in &leaf.bitmap {
            let mut bits = word.get();
            // Runs of set bits, low to high.
            let mut bit = 0;
            while bits != 0 {
                let gap = bits.trailing_zeros();
                bits >>= gap;
                bit += gap;
                let ones = bits.trailing_ones();
                self.keys(key + u64::from(bit), u64::from(ones), addr)?;
                bits = bits.checked_shr(ones).unwrap_or(0);
                bit += ones;
            }
            key += u64::from(u64::BITS);
        }
        Ok(())
    }

    /// Adds `count` consecutive keys from `key` on, split where the order changes: at powers of
    /// two, which only the leaf of the smallest keys has inside.
    fn keys(&mut self, mut key: u64, mut count: u64, leaf: PhysAddr) -> Result<(), Damage> {
        while count > 0 {
            let Some(first) = Key::new(key) else {
                return Err(Damage::new(Defect::BadKey, "bit of a leaf", leaf)
                    .found(format!("key {key:#x}"))
                    .expected(format!("1 to {:#x}", (1u64 << KEY_BITS) - 1)));
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
        let run = Run {
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
    fn outside(&self, run: &Run, leaf: PhysAddr) -> Damage {
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
        let pfn = run.pfn + first.unwrap_or(0) * step;
        Damage::new(Defect::OutsideMemory, "preserved range", leaf)
            .found(format!(
                "{} pages (order {}) at {}",
                step,
                run.order,
                PhysAddr::new(pfn << kho_mem::PAGE_SHIFT)
            ))
            .expected("a range inside this memory")
    }
}

/// A node's page that is not a page: memory that does not keep its word.
fn short(addr: PhysAddr) -> Damage {
    Damage::new(Defect::Truncated, "node", addr)
}
