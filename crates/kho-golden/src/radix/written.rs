//! What the tracker writes for given inputs: the part of its format that no struct shows.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_mem::{Order, PAGE_SHIFT, PageRun, PhysAddr};
use kho_radix::{Key, KeyRun, Preserver, Tracker};

use crate::dump::{Dump, arena};

const KEYS: &[(u64, u8)] = &[
    (0, 0),
    (0x1000, 0),
    (0xffff_ffff_ffff_f000, 0),
    (0x2000, 1),
    (0x20_0000, 9),
    (0x40_0000, 10),
    (0xf_ffff_ffc0_0000, 10),
    (0x80_0000, 11),
    (0x40_0000_0000, 26),
    (1 << 63, 51),
    (0, 52),
    // Not aligned: no key.
    (0x1000, 1),
    (0x20_0800, 0),
];

/// Keys, and where they stand in the tree.
pub(crate) fn keys() -> Result<Text, Failure> {
    let mut text =
        String::from("address/order: key, table indices of levels 5 to 1, bit in the leaf\n");
    for (addr, order) in KEYS {
        let key = Order::new(*order).and_then(|order| Key::encode(PhysAddr::new(*addr), order));
        let line = match key {
            Some(key) => {
                let slots = [5, 4, 3, 2, 1].map(|level| key.table_index(level));
                format!("{:#018x} {slots:?} {}", key.get(), key.leaf_bit())
            }
            None => String::from("none"),
        };
        let _ = writeln!(text, "{addr:#x}/{order}: {line}");
    }
    Ok(text.into())
}

/// Numbers, and the ranges that they are keys of.
pub(crate) fn ranges() -> Result<Text, Failure> {
    let mut text = String::from("key: address/order\n");
    for number in [
        0,
        1,
        2,
        3,
        0x0000_0800_0000_0001,
        0x0010_0000_0000_0001,
        0x001f_ffff_ffff_ffff,
        0x0020_0000_0000_0000,
    ] {
        let line = Key::new(number).map_or_else(
            || String::from("none"),
            |key| format!("{}/{}", key.addr(), key.order()),
        );
        let _ = writeln!(text, "{number:#018x}: {line}");
    }
    Ok(text.into())
}

/// A tree as it lies in memory.
pub(crate) fn tree() -> Result<Text, Failure> {
    let key = |addr, order| {
        let order = Order::new(order);
        let key = order.and_then(|order| Key::encode(PhysAddr::new(addr), order));
        key.ok_or("no key")
    };
    let arena = arena()?;
    let mut tracker = Tracker::new(arena.clone())?;
    tracker.add(key(0x1000, 0)?)?;
    tracker.add(key(0x3000, 0)?)?;
    tracker.add(key(0x20_0000, 9)?)?;
    tracker.add_folios(KeyRun {
        pfn: PhysAddr::new(0x07ff_f000).pfn(),
        keys: 3,
        order: Order::ZERO,
    })?;
    tracker.add(key(0xffff_ffff_ffff_f000, 0)?)?;
    tracker.add(key(0x40_0000, 10)?)?;
    tracker.remove(key(0x40_0000, 10)?)?;
    tracker.remove(key(0x3000, 0)?)?;
    let (root, nodes) = (tracker.root(), tracker.nodes().count());
    tracker.hand_over();
    let mut dump = Dump::new(arena)?;
    dump.tree(root)?;
    dump.line(format!("{nodes} nodes"));
    Ok(dump.finish().into())
}

const RUNS: &[(u64, u64, &[u64])] = &[
    (0, 1, &[]),
    (0, 7, &[]),
    (1, 7, &[]),
    (5, 3, &[]),
    (0x3ff, 0x402, &[]),
    // Order 12, then 13: not only folios' orders.
    (0x1000, 0x3001, &[]),
    // Node boundaries: in the middle, at the start, at the end, two.
    (0, 16, &[6]),
    (8, 8, &[8]),
    (8, 8, &[16]),
    (0x1000, 0x1000, &[0x1c00, 0x1400]),
    (0xf_ffff_ffff_fffe, 2, &[]),
];

/// How runs of pages are split.
pub(crate) fn runs() -> Result<Text, Failure> {
    let arena = arena()?;
    let mut roots = Vec::new();
    for (pfn, pages, boundaries) in RUNS {
        let tracker = Tracker::new(arena.clone())?;
        let frame = |pfn: &u64| PhysAddr::new(*pfn << PAGE_SHIFT).pfn();
        let mut tracker = tracker.with_boundaries(boundaries.iter().map(frame));
        let run = PageRun {
            pfn: frame(pfn),
            pages: *pages,
        };
        tracker.add_pages(run)?;
        roots.push(tracker.root());
        tracker.hand_over();
    }
    let mut dump = Dump::new(arena)?;
    for ((pfn, pages, boundaries), root) in RUNS.iter().zip(roots) {
        let mut keys = dump.keys(root)?;
        keys.sort_unstable_by_key(|key| key.pfn());
        let mut line = format!("{pages:#x} pages from {pfn:#x} on");
        if !boundaries.is_empty() {
            let nodes: Vec<_> = boundaries.iter().map(|pfn| format!("{pfn:#x}")).collect();
            let _ = write!(line, ", nodes begin at {}", nodes.join(" and "));
        }
        line.push(':');
        for key in keys {
            let _ = write!(line, " {:#x}/{}", key.pfn().get(), key.order());
        }
        dump.line(line);
    }
    Ok(dump.finish().into())
}

/// What is preserved and what is not.
pub(crate) fn owners() -> Result<Text, Failure> {
    let preserver = Preserver::new(arena()?)?;
    let folio = preserver.arena().alloc_zeroed(order(2)?)?;
    let folio = preserver.preserve_folio(folio)?;
    let bytes = preserver.alloc_preserve(5000)?;
    drop(preserver.alloc_preserve(1)?);
    let named = [folio.addr(), bytes.addr()];
    folio.hand_over();
    bytes.hand_over();
    let root = preserver.root();
    let arena = preserver.hand_over().map_err(|_| "still shared")?;
    let mut dump = Dump::new(arena)?;
    for addr in named {
        dump.name(addr);
    }
    // The nodes of the tree are not among them.
    dump.preserved(root)?;
    Ok(dump.finish().into())
}

fn order(order: u8) -> Result<Order, Failure> {
    Ok(Order::new(order).ok_or("no order")?)
}
