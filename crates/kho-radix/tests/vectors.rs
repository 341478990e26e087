//! Bytes written by hand from the format's description, and what they must read as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use kho_mem::{Link, PhysAddr, PhysMemExt, SliceMem};
use kho_radix::v1::{RadixLeaf, RadixNode};
use kho_radix::{Claims, Preserved};
use kho_testkit::{Builder, Memory};

const PAGE: usize = 4096;

/// A whole tree in seven pages from 0x1000 on: six nodes, and the page that they preserve.
fn tree() -> Vec<u8> {
    let mut bytes = vec![0; 7 * PAGE];
    let mut put = |page: usize, offset: usize, value: [u8; 8]| {
        bytes[page * PAGE + offset..][..8].copy_from_slice(&value);
    };
    // The page at 0x7000, order 0: key 0x0010_0000_0000_0007.
    // Level 5, root at 0x1000: index key >> 51 = 2, at byte 16: the node at 0x2000.
    put(0, 16, [0x00, 0x20, 0, 0, 0, 0, 0, 0]);
    // Levels 4 to 1: index 0, at byte 0: the nodes at 0x3000 to 0x6000.
    put(1, 0, [0x00, 0x30, 0, 0, 0, 0, 0, 0]);
    put(2, 0, [0x00, 0x40, 0, 0, 0, 0, 0, 0]);
    put(3, 0, [0x00, 0x50, 0, 0, 0, 0, 0, 0]);
    put(4, 0, [0x00, 0x60, 0, 0, 0, 0, 0, 0]);
    // Level 0, leaf at 0x6000: bit 7 of the first word.
    put(5, 0, [0b1000_0000, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
fn a_tree_written_by_hand_reads_as_what_it_says() {
    let bytes = tree();
    let mem = SliceMem::new(PhysAddr::new(0x1000), &bytes);
    let root = PhysAddr::new(0x1000);
    let preserved = Preserved::read(&mem, Link::given(root, "root")).unwrap();
    let ranges: Vec<_> = preserved
        .iter()
        .map(|f| (f.addr().get(), f.order.get()))
        .collect();
    assert_eq!(ranges, [(0x7000, 0)]);
    assert_eq!(
        (preserved.keys(), preserved.pages(), preserved.nodes().len()),
        (1, 1, 6)
    );

    let node: RadixNode = mem.read(root).unwrap();
    assert_eq!(node.table[2].get(), 0x2000);
    let leaf: RadixLeaf = mem.read(PhysAddr::new(0x6000)).unwrap();
    assert_eq!(leaf.bitmap[0].get(), 0x80);
}

fn built(keys: &[(u64, u32)]) -> (Memory, PhysAddr) {
    let mut b = Builder::new();
    for (pa, order) in keys {
        b.mem.add(*pa, 4096 << order);
        b.preserve(*pa, *order);
    }
    let built = b.finish();
    let tracker = kho_testkit::prop(&built.mem, built.fdt, "", "preserved-memory-map");
    let root = PhysAddr::new(built.mem.u64(tracker));
    (built.mem, root)
}

#[test]
fn lookups_answer_by_range_and_order() {
    // Two pages, a folio of two, one of four right behind it, a gap, and 2 MiB elsewhere.
    let keys = [
        (0x2000, 0),
        (0x3000, 0),
        (0x4000, 1),
        (0x8000, 2),
        (0x60_0000, 9),
    ];
    let (mem, root) = built(&keys);
    let preserved = Preserved::read(&mem, Link::given(root, "root")).unwrap();

    let order_at = |addr: u64| {
        preserved
            .lookup(PhysAddr::new(addr))
            .map(|f| (f.addr().get(), f.order.get()))
    };
    assert_eq!(order_at(0x1fff), None);
    assert_eq!(order_at(0x2fff), Some((0x2000, 0)));
    assert_eq!(order_at(0x5abc), Some((0x4000, 1)));
    assert_eq!(order_at(0x6000), None);
    assert_eq!(order_at(0xbfff), Some((0x8000, 2)));
    assert_eq!(order_at(0x7f_ffff), Some((0x60_0000, 9)));

    let range = |start: u64, len: u64| kho_mem::PhysRange::new(PhysAddr::new(start), len).unwrap();
    assert!(preserved.contains(range(0x2000, 0x4000)));
    assert!(preserved.contains(range(0x2fff, 2)));
    assert!(!preserved.contains(range(0x2000, 0x4001)));
    assert!(!preserved.contains(range(0x1fff, 2)));
    assert!(preserved.contains(range(0, 0)));
    assert_eq!(preserved.overlap(range(0, 0x2000)), None);
    assert_eq!(
        preserved.overlap(range(0, 0x2001)).unwrap().addr().get(),
        0x2000
    );
    assert_eq!(preserved.overlap(range(0x6000, 0x2000)), None);
    assert_eq!(
        preserved
            .overlap(range(0x6000, 0x60_0000))
            .unwrap()
            .addr()
            .get(),
        0x8000
    );

    let orders: Vec<_> = preserved
        .by_order()
        .iter()
        .map(|(o, n)| (o.get(), *n))
        .collect();
    // The builder's root FDT is the third page of order 0.
    assert_eq!(orders, [(9, 1), (2, 1), (1, 1), (0, 3)]);
    let pages: Vec<_> = preserved
        .page_runs()
        .map(|run| (run.addr().get(), run.pages))
        .take(3)
        .collect();
    assert_eq!(pages, [(0x2000, 4), (0x8000, 4), (0x60_0000, 512)]);
}

#[test]
fn memory_is_claimed_once() {
    let (mem, root) = built(&[(0x2000, 0), (0x3000, 0), (0x4000, 2), (0x80_0000, 11)]);
    let preserved = Preserved::read(&mem, Link::given(root, "root")).unwrap();
    let mut claims = Claims::new(&preserved);
    let link = |to, name| Link {
        to: PhysAddr::new(to),
        at: PhysAddr::new(0x10),
        name,
    };
    claims.pages(link(0x2000, "one"), 2).unwrap();
    let error = claims.page(link(0x3000, "two")).unwrap_err().to_string();
    assert_eq!(
        error,
        "two is shared at 0x10: found 0x3000, in use already: one, expected memory of its own"
    );
    let error = claims
        .pages(link(0x4000, "cut"), 2)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cut overlaps") && error.contains("order 2"),
        "{error}"
    );
    let error = claims
        .pages(link(0x4000, "long"), 5)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("long is not preserved") && error.contains("up to 0x8000 only"),
        "{error}"
    );
    let error = claims
        .folio(link(0x80_0000, "folio"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("impossible order") && error.contains("order 11"),
        "{error}"
    );
    let error = claims
        .bytes(link(0x80_0000, "bytes"), u64::MAX)
        .unwrap_err()
        .to_string();
    assert!(error.contains("wraps"), "{error}");
}

mod model {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a plain map of what was preserved.
        #[test]
        fn a_tree_reads_as_what_was_put_into_it(
            choices in proptest::collection::vec((0u64..2048, 0u32..6), 1..80),
            probes in proptest::collection::vec(0u64..0x80_0000, 50),
        ) {
            let mut taken = [false; 2048 + 64];
            let mut model = BTreeMap::new();
            for (pfn, order) in choices {
                let pfn = pfn >> order << order;
                let pages = &mut taken[pfn as usize..][..1 << order];
                if pfn > 0 && pages.iter().all(|page| !*page) {
                    pages.fill(true);
                    model.insert(pfn << 12, order);
                }
            }
            let keys: Vec<_> = model.iter().map(|(pa, order)| (*pa, *order)).collect();
            let (mem, root) = built(&keys);
            let preserved = Preserved::read(&mem, Link::given(root, "root")).unwrap();
            // The last range is the builder's root FDT.
            let mut read: Vec<_> = preserved.iter().map(|f| (f.addr().get(), u32::from(f.order.get()))).collect();
            read.pop();
            prop_assert_eq!(read, keys);
            let pages: u64 = preserved.page_runs().map(|run| run.pages).sum();
            prop_assert_eq!(pages, preserved.pages());
            for probe in probes {
                let expected = model.range(..=probe).next_back()
                    .filter(|(pa, order)| probe < *pa + (4096 << *order))
                    .map(|(pa, order)| (*pa, *order));
                let found = preserved.lookup(PhysAddr::new(probe)).map(|f| (f.addr().get(), u32::from(f.order.get())));
                prop_assert_eq!(found, expected);
            }
        }
    }
}
