//! The tracker that is written, against plain collections, hand-made bytes, and the reader.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use std::collections::BTreeSet;

use kho_mem::{Arena, ArenaConfig, Link, Order, PageRun, Pfn, PhysAddr, PhysMemExt};
use kho_radix::{Key, KeyRun, Preserved, Preserver, Tracker, TrackerError, walk_keys, walk_runs};
use proptest::prelude::*;

fn frame(pfn: u64) -> Pfn {
    Pfn::new(pfn).unwrap()
}

const BASE: u64 = 0x1000_0000;

fn arena() -> Arena {
    Arena::heap(&ArenaConfig::new(PhysAddr::new(BASE), 8 << 20)).unwrap()
}

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

/// By the words of the format: the fewest naturally aligned keys, front to back.
fn minimal(run: PageRun, boundaries: &[u64]) -> Vec<Key> {
    let (mut pfn, mut left) = (run.pfn.get(), run.pages);
    let mut keys = Vec::new();
    while left > 0 {
        let mut order = if pfn == 0 { 52 } else { pfn.trailing_zeros() }.min(left.ilog2());
        while boundaries
            .iter()
            .any(|b| pfn < *b && *b < pfn + (1 << order))
        {
            order -= 1;
        }
        keys.push(Key::encode(PhysAddr::new(pfn << 12), Order::new(order as u8).unwrap()).unwrap());
        pfn += 1 << order;
        left -= 1 << order;
    }
    keys
}

#[derive(Clone, Debug)]
enum Step {
    Key(bool, u64, u8),
    Folios(bool, u64, u64, u8),
    Pages(bool, u64, u64),
    Fail(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few places, so that keys meet; some at both ends of the address space.
    let pfn = prop_oneof![
        0u64..64,
        32700u64..32800,
        Just((1 << 52) - 64),
        0u64..1 << 20
    ];
    let small = 0u8..12;
    let step = prop_oneof![
        (any::<bool>(), pfn.clone(), 0u8..=52).prop_map(|(add, pfn, o)| Step::Key(add, pfn, o)),
        (any::<bool>(), pfn.clone(), 1u64..70_000, small)
            .prop_map(|(add, pfn, n, o)| Step::Folios(add, pfn, n, o)),
        (any::<bool>(), pfn, 1u64..5000).prop_map(|(add, pfn, n)| Step::Pages(add, pfn, n)),
        (0u64..6).prop_map(Step::Fail),
    ];
    prop::collection::vec(step, 1..24)
}

/// Whether `runs` are the keys of `model` in order, as few as there can be.
fn is_runs_of(runs: &[KeyRun], model: &BTreeSet<Key>) -> bool {
    let key = |run: &KeyRun, i: u64| {
        Key::encode(
            PhysAddr::new((run.pfn.get() + (i << run.order.get())) << 12),
            run.order,
        )
        .unwrap()
    };
    let keys = runs
        .iter()
        .flat_map(|run| (0..run.keys).map(move |i| key(run, i)));
    let apart = runs.windows(2).all(|pair| {
        let [one, two] = pair else { return false };
        one.order != two.order || key(one, one.keys - 1).get() + 1 != key(two, 0).get()
    });
    apart && keys.eq(model.iter().copied())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_tracker_is_a_set_of_keys(steps in steps(), boundaries in prop::collection::btree_set(0u64..5000, 0..3)) {
        let arena = arena();
        let mut tracker = Tracker::new(arena.clone()).unwrap().with_boundaries(boundaries.iter().map(|pfn| frame(*pfn)));
        let boundaries: Vec<u64> = boundaries.into_iter().collect();
        let mut model: BTreeSet<Key> = BTreeSet::new();
        for step in steps {
            let (free, nodes) = (arena.free_pages(), tracker.nodes().count());
            let (add, keys, done) = match step {
                Step::Fail(n) => {
                    arena.fail_after(n);
                    continue;
                }
                Step::Key(add, pfn, o) => {
                    let pfn = if o == 52 { 0 } else { pfn >> o << o };
                    let key = Key::encode(PhysAddr::new(pfn << 12), order(o)).unwrap();
                    (add, vec![key], if add { tracker.add(key) } else { tracker.remove(key) })
                }
                Step::Folios(add, pfn, n, o) => {
                    let pfn = pfn >> o << o;
                    let n = n.min(((1 << 52) - pfn) >> o);
                    let run = KeyRun { pfn: frame(pfn), keys: n, order: order(o) };
                    let keys: Vec<_> = (0..n)
                        .map(|i| Key::encode(PhysAddr::new((pfn + (i << o)) << 12), order(o)).unwrap())
                        .collect();
                    let all = keys.iter().all(|key| model.contains(key));
                    prop_assert_eq!(tracker.contains_folios(run), all);
                    (add, keys, if add { tracker.add_folios(run) } else { tracker.remove_folios(run) })
                }
                Step::Pages(add, pfn, n) => {
                    let run = PageRun { pfn: frame(pfn), pages: n.min((1 << 52) - pfn) };
                    let keys = minimal(run, &boundaries);
                    let all = keys.iter().all(|key| model.contains(key));
                    prop_assert_eq!(tracker.contains_pages(run), all);
                    (add, keys, if add { tracker.add_pages(run) } else { tracker.remove_pages(run) })
                }
            };
            let bad = keys.iter().find(|key| model.contains(key) == add);
            match done {
                Ok(()) => {
                    prop_assert!(bad.is_none());
                    keys.iter().for_each(|key| { if add { model.insert(*key); } else { model.remove(key); } });
                }
                Err(error) => {
                    match error {
                        TrackerError::Present { addr, order } => prop_assert!(add && bad == Key::encode(addr, order).as_ref()),
                        TrackerError::Absent { addr, order } => prop_assert!(!add && bad == Key::encode(addr, order).as_ref()),
                        TrackerError::OutOfMemory(_) => prop_assert!(add),
                        TrackerError::NoKey { .. } | TrackerError::Foreign(_) | TrackerError::NoNode(_) | TrackerError::Broken(_) => {
                            prop_assert!(false, "{}", error)
                        }
                    }
                    // A step that failed changed nothing: no node more, no page less.
                    prop_assert_eq!((arena.free_pages(), tracker.nodes().count()), (free, nodes));
                }
            }
            prop_assert_eq!(tracker.keys(), model.len() as u64);
        }
        arena.no_fault();
        prop_assert!(tracker.iter().eq(model.iter().copied()));
        let mut all = Vec::new();
        tracker.for_each(|key| all.push(key));
        prop_assert!(all.into_iter().eq(model.iter().copied()));
        let mut runs = Vec::new();
        tracker.for_each_run(|run| runs.push(run));
        prop_assert!(is_runs_of(&runs, &model));
        prop_assert_eq!(tracker.pages(), model.iter().map(|key| key.order().pages()).sum::<u64>());
        let nodes = tracker.nodes().count() as u64;
        prop_assert_eq!(arena.free_pages(), 2048 - nodes);
        drop(tracker);
        prop_assert_eq!(arena.free_pages(), 2048, "every node comes back");
    }

    #[test]
    fn keys_are_walked_in_order(
        dense in prop::collection::vec((0u64..1 << 40, 1u64..40_000, 0u8..10), 0..5),
        sparse in prop::collection::vec((any::<u64>(), 0u8..=51), 0..200),
    ) {
        let arena = arena();
        let (mut tracker, mut model) = (Tracker::new(arena.clone()).unwrap(), BTreeSet::new());
        let dense = dense.into_iter().flat_map(|(pfn, n, o)| (0..n).map(move |i| ((pfn >> o << o) + (i << o), o)));
        let sparse = sparse.into_iter().map(|(addr, o)| (addr >> 12 >> o << o, o));
        for (pfn, o) in dense.chain(sparse) {
            let key = Key::encode(PhysAddr::new(pfn << 12), order(o)).unwrap();
            prop_assert_eq!(tracker.add(key).is_ok(), model.insert(key));
        }
        let root = tracker.root();
        tracker.hand_over();
        let handed = arena.into_handed().unwrap();
        let mut keys = Vec::new();
        let count = walk_keys(&handed, Link::given(root, "root"), |key| keys.push(key)).unwrap();
        prop_assert_eq!(count, model.len() as u64);
        prop_assert!(keys.into_iter().eq(model.iter().copied()));
        let mut runs = Vec::new();
        let count = walk_runs(&handed, Link::given(root, "root"), |run| runs.push(run)).unwrap();
        prop_assert_eq!(count, model.len() as u64);
        prop_assert!(is_runs_of(&runs, &model));
    }

    #[test]
    fn what_is_written_is_read(runs in prop::collection::vec((0u64..1500, 1u64..200), 1..8)) {
        let arena = arena();
        let mut tracker = Tracker::new(arena.clone()).unwrap();
        let mut pages = BTreeSet::new();
        // At the end of the arena, far from the nodes.
        let from = (BASE >> 12) + 2048;
        for (first, count) in runs {
            let run = PageRun { pfn: frame(from - first - count), pages: count };
            if (run.pfn.get()..run.end()).all(|pfn| !pages.contains(&pfn)) {
                tracker.add_pages(run).unwrap();
                pages.extend(run.pfn.get()..run.end());
            }
        }
        let (root, nodes, keys) = (tracker.root(), tracker.nodes().collect::<BTreeSet<_>>(), tracker.keys());
        tracker.hand_over();
        let handed = arena.into_handed().unwrap();
        let preserved = Preserved::read(&handed, Link::given(root, "root")).unwrap();
        prop_assert_eq!(preserved.nodes().iter().copied().collect::<BTreeSet<_>>(), nodes.clone());
        prop_assert!(nodes.iter().all(|node| preserved.has_node(*node)));
        prop_assert_eq!((preserved.keys() as u64, preserved.pages()), (keys, pages.len() as u64));
        let read: BTreeSet<u64> = preserved.page_runs().flat_map(|run| run.pfn.get()..run.end()).collect();
        prop_assert_eq!(read, pages);
    }
}

/// The tree of one key, by hand: 0x1000_3000 with order 0.
#[test]
fn the_bytes_are_those_of_the_format() {
    let arena = arena();
    let mut tracker = Tracker::new(arena.clone()).unwrap();
    tracker
        .add(Key::encode(PhysAddr::new(0x1000_3000), Order::ZERO).unwrap())
        .unwrap();
    let root = tracker.root();
    assert_eq!(tracker.nodes().count(), 6, "one node per level");
    tracker.hand_over();
    let mem = arena.into_handed().unwrap();
    let word = |at: u64| {
        mem.read::<zerocopy::little_endian::U64>(PhysAddr::new(at))
            .unwrap()
            .get()
    };
    // key = 1 << 52 | 0x10003: bit 52 is bit 1 of the root's index (52 - 51), the rest of the
    // tables are entry 0 but the lowest: 0x10003 >> 15 is 2; the bit is 0x10003 & 32767 = 3.
    let mut at = root.get();
    for slot in [2, 0, 0, 0, 2] {
        for index in 0..512 {
            assert_eq!(
                word(at + 8 * index) != 0,
                index == slot,
                "one entry in each table"
            );
        }
        at = word(at + 8 * slot);
    }
    assert_eq!(word(at), 1 << 3);
    assert!((1..512).all(|index| word(at + 8 * index) == 0));
}

#[test]
fn what_was_preserved_with_one_order_is_not_found_with_another() {
    let mut tracker = Tracker::new(arena()).unwrap();
    let at = |pages| PageRun {
        pfn: frame(0x10000),
        pages,
    };
    tracker.add_pages(at(6)).unwrap();
    assert_eq!(tracker.keys(), 2);
    let error = tracker
        .remove_pages(at(4))
        .map_err(|error| error.to_string());
    assert_eq!(error, Ok(()), "the first key is one of 4 pages");
    tracker.add_pages(at(4)).unwrap();
    let error = tracker.remove_pages(at(5)).unwrap_err().to_string();
    assert_eq!(error, "order 0 at 0x10004000 is not preserved");
    assert_eq!(tracker.pages(), 6, "nothing was taken out");
    assert!(
        tracker.add_pages(at(0)).is_err()
            && tracker
                .remove_pages(PageRun {
                    pfn: frame(Pfn::LIMIT - 1),
                    pages: 2
                })
                .is_err()
    );
}

#[test]
fn deleting_frees_no_node_but_a_step_taken_back_does() {
    let arena = arena();
    let mut tracker = Tracker::new(arena.clone()).unwrap();
    let near = Key::encode(PhysAddr::new(0x1000), Order::ZERO).unwrap();
    let far = Key::encode(PhysAddr::new(1 << 40), Order::ZERO).unwrap();
    tracker.add(near).unwrap();
    tracker.remove(near).unwrap();
    assert_eq!(tracker.nodes().count(), 6);
    let (savepoint, free) = (tracker.savepoint(), arena.free_pages());
    tracker.add(far).unwrap();
    tracker.remove(far).unwrap();
    assert!(arena.free_pages() < free);
    tracker.rollback(savepoint).unwrap();
    assert_eq!(
        (arena.free_pages(), tracker.nodes().count()),
        (free, 6),
        "an empty leaf of before stays"
    );
    tracker.add(near).unwrap();
}

#[test]
fn a_leaf_that_was_taken_back_is_made_anew() {
    let mut tracker = Tracker::new(arena()).unwrap();
    let key = |addr| Key::encode(PhysAddr::new(addr), Order::ZERO).unwrap();
    let first = key(0x1_0000_0000);
    tracker.add(first).unwrap();
    // One leaf each: beside the first one, below another table of level 1, below another of level 2.
    for addr in [0x1_0800_0000, 0x20_0000_0000, 0x4000_0000_0000].map(key) {
        // What led there is forgotten at once, and also where other nodes have taken the places.
        let sibling = key(addr.addr().get() ^ 0x40_0000_0000);
        for others in [&[][..], &[sibling]] {
            let (savepoint, nodes) = (tracker.savepoint(), tracker.nodes().count());
            // The second one is found by the way of the first.
            let next = key(addr.addr().get() + 0x800_0000);
            tracker.add(addr).unwrap();
            tracker.add(next).unwrap();
            tracker.remove(next).unwrap();
            tracker.remove(addr).unwrap();
            tracker.rollback(savepoint).unwrap();
            assert_eq!(tracker.nodes().count(), nodes);
            others.iter().for_each(|other| tracker.add(*other).unwrap());
            assert!(!tracker.contains(addr) && tracker.remove(addr).is_err());
            tracker.add(addr).unwrap();
            assert!(tracker.contains(addr) && tracker.contains(first));
            assert!(tracker.add(addr).is_err());
            let mut walked = 0;
            tracker.for_each(|_| walked += 1);
            assert_eq!((walked, tracker.keys()), (others.len() + 2, walked as u64));
            tracker.remove(addr).unwrap();
            others
                .iter()
                .for_each(|other| tracker.remove(*other).unwrap());
            tracker.rollback(savepoint).unwrap();
            assert_eq!(tracker.nodes().count(), nodes);
        }
    }
}

#[test]
fn what_is_dropped_is_no_longer_preserved() {
    let arena = arena();
    let preserver = Preserver::new(arena.clone()).unwrap();
    let before = arena.free_blocks();
    let done: Result<(), ()> = preserver.step(|| {
        let folio = preserver.alloc_preserve(3 * 4096).unwrap();
        let pages = preserver
            .preserve_pages(arena.alloc_pages(7).unwrap())
            .unwrap();
        assert_eq!(
            (folio.order().get(), preserver.pages(), pages.run().pages),
            (2, 11, 7)
        );
        Err(())
    });
    assert_eq!(done, Err(()));
    assert_eq!((preserver.pages(), preserver.keys()), (0, 0));
    assert_eq!(arena.free_blocks(), before, "the nodes are gone too");

    // Every allocation of a step fails once.
    for failing in 0.. {
        arena.fail_after(failing);
        let done = preserver.step(|| preserver.alloc_preserve(4096));
        if arena.no_fault() {
            assert!(done.is_ok());
            assert_eq!(failing, 6, "the page and five nodes under the root");
            break;
        }
        done.unwrap_err();
        assert_eq!(arena.free_blocks(), before);
    }

    let kept = preserver.alloc_preserve(1).unwrap();
    let (root, addr) = (preserver.root(), kept.addr());
    let preserver = preserver.hand_over().expect_err("something is still owned");
    kept.hand_over();
    drop(arena);
    let mut handed = preserver.hand_over().unwrap().into_handed().unwrap();
    let preserved = Preserved::read(&handed, Link::given(root, "root")).unwrap();
    assert_eq!(preserved.lookup(addr).unwrap().order, Order::ZERO);
    let nodes = preserved.nodes().iter().map(|at| PageRun {
        pfn: at.pfn(),
        pages: 1,
    });
    let arena = handed.reclaim(preserved.page_runs().chain(nodes), &[]);
    assert_eq!(arena.free_pages(), 2048 - 7);
    drop(handed.adopt(addr, Order::ZERO).unwrap());
    handed.free_rest();
    assert_eq!(arena.free_pages(), 2048);
}
