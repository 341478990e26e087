//! The tracker that many threads fill, and the leaves that many threads read, against those for one thread.
//! What no thread can be made to do on purpose is in `tests/loom`.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use kho_mem::{
    Arena, ArenaConfig, Handed, Link, Order, PageRun, Pfn, PhysAddr, PhysMemExt, SliceMem,
};
use kho_radix::{
    Key, KeyRun, Leaves, Preserved, SharedTracker, Tracker, TrackerError, walk_keys, walk_runs,
};
use proptest::prelude::*;
use zerocopy::little_endian::U64;

fn frame(pfn: u64) -> Pfn {
    Pfn::new(pfn).unwrap()
}

const BASE: u64 = 0x1000_0000;
const PAGES: u64 = 2048;

fn arena() -> Arena {
    Arena::heap(&ArenaConfig::new(PhysAddr::new(BASE), PAGES << 12)).unwrap()
}

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

fn page(pfn: u64) -> Key {
    Key::encode(PhysAddr::new(pfn << 12), Order::ZERO).unwrap()
}

fn keys_of(run: KeyRun) -> impl Iterator<Item = Key> {
    (0..run.keys).map(move |index| {
        let pfn = run.pfn.get() + (index << run.order.get());
        Key::encode(PhysAddr::new(pfn << 12), run.order).unwrap()
    })
}

/// A tree's bytes, where its nodes lie left out: of each node the level, what its keys begin with, and the
/// leaf's bits or the table's entries that are not 0.
fn shape(mem: &Handed, root: PhysAddr) -> Vec<(u32, u64, Vec<u64>)> {
    fn node(mem: &Handed, at: u64, level: u32, prefix: u64, out: &mut Vec<(u32, u64, Vec<u64>)>) {
        let word = |index: u64| {
            mem.read::<U64>(PhysAddr::new(at + 8 * index))
                .unwrap()
                .get()
        };
        let words: Vec<u64> = (0..512).map(word).collect();
        if level == 0 {
            out.push((level, prefix, words));
            return;
        }
        let used: Vec<u64> = (0..512).filter(|slot| words[*slot as usize] != 0).collect();
        out.push((level, prefix, used.clone()));
        for slot in used {
            node(
                mem,
                words[slot as usize],
                level - 1,
                prefix << 9 | slot,
                out,
            );
        }
    }
    let mut out = Vec::new();
    node(mem, root.get(), 5, 0, &mut out);
    out
}

/// What one thread does.
#[derive(Clone, Debug)]
enum Step {
    Key(bool, Key),
    Folios(bool, KeyRun),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few places, so that threads meet; some at both ends of the address space.
    let pfn = prop_oneof![
        0u64..64,
        32700u64..32800,
        Just((1 << 52) - 64),
        0u64..1 << 20,
        (0u64..1 << 12).prop_map(|far| far << 40),
    ];
    let step = prop_oneof![
        2 => (any::<bool>(), pfn.clone(), 0u8..=52).prop_map(|(add, pfn, o)| {
            let pfn = if o == 52 { 0 } else { pfn >> o << o };
            Step::Key(add, Key::encode(PhysAddr::new(pfn << 12), order(o)).unwrap())
        }),
        1 => (any::<bool>(), pfn, 1u64..70_000, 0u8..12).prop_map(|(add, pfn, n, o)| {
            let pfn = pfn >> o << o;
            let keys = n.min(((1 << 52) - pfn) >> o);
            Step::Folios(add, KeyRun { pfn: frame(pfn), keys, order: order(o) })
        }),
    ];
    prop::collection::vec(step, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One thread: every result and every byte is that of `Tracker`.
    #[test]
    fn one_thread_does_what_a_tracker_does(steps in steps()) {
        let (one, other) = (arena(), arena());
        let mut tracker = Tracker::new(one.clone()).unwrap();
        let shared = SharedTracker::new(&other, 1024).unwrap();
        let mut handle = shared.handle();
        for (index, step) in steps.into_iter().enumerate() {
            // With a handle that goes on, and with one for this step.
            match step {
                Step::Key(true, key) if index % 2 == 0 => prop_assert_eq!(handle.add(key), tracker.add(key)),
                Step::Key(true, key) => prop_assert_eq!(shared.add(key), tracker.add(key)),
                Step::Key(false, key) => prop_assert_eq!(handle.remove(key), tracker.remove(key)),
                Step::Folios(true, run) => prop_assert_eq!(handle.add_folios(run), tracker.add_folios(run)),
                Step::Folios(false, run) => {
                    prop_assert_eq!(shared.contains_folios(run), tracker.contains_folios(run));
                    prop_assert_eq!(handle.remove_folios(run), tracker.remove_folios(run));
                }
            }
        }
        drop(handle);
        prop_assert_eq!(shared.keys(), tracker.keys());
        prop_assert!(tracker.iter().all(|key| shared.contains(key)));
        let mut keys = Vec::new();
        shared.for_each(|key| keys.push(key));
        prop_assert!(tracker.iter().eq(keys));
        let (mut runs, mut expected) = (Vec::new(), Vec::new());
        shared.for_each_run(|run| runs.push(run));
        tracker.for_each_run(|run| expected.push(run));
        prop_assert_eq!(runs, expected);
        let (root, shared_root) = (tracker.root(), shared.root());
        let nodes: BTreeSet<_> = shared.nodes().collect();
        prop_assert_eq!(nodes.len(), tracker.nodes().count());
        prop_assert!(nodes.contains(&shared_root));
        tracker.hand_over();
        shared.hand_over();
        prop_assert_eq!(other.free_pages(), PAGES - nodes.len() as u64, "the rest is free");
        let (one, other) = (one.into_handed().unwrap(), other.into_handed().unwrap());
        prop_assert_eq!(shape(&one, root), shape(&other, shared_root));
    }

    /// Many threads, each with keys of its own beside the others': the tree is the one of all keys.
    #[test]
    fn many_threads_make_one_tree(
        keys in prop::collection::btree_set((0u64..200_000, 0u8..4), 1..2000),
        rows in prop::collection::btree_set(0u64..64, 0..8),
        threads in 2usize..5,
    ) {
        let (one, other) = (arena(), arena());
        let keys: Vec<Key> = keys.into_iter().map(|(pfn, o)| {
            Key::encode(PhysAddr::new(pfn >> o << o << 12), order(o)).unwrap()
        }).collect::<BTreeSet<_>>().into_iter().collect();
        // Rows that share words at both ends, far from the keys.
        let rows: Vec<KeyRun> = rows.into_iter().map(|row| KeyRun {
            pfn: frame((1 << 30) + row * 1000),
            keys: 1000,
            order: Order::ZERO,
        }).collect();
        let mut tracker = Tracker::new(one.clone()).unwrap();
        keys.iter().for_each(|key| tracker.add(*key).unwrap());
        rows.iter().for_each(|row| tracker.add_folios(*row).unwrap());
        let shared = SharedTracker::new(&other, tracker.nodes().count() + threads).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (shared, keys, rows) = (&shared, &keys, &rows);
                scope.spawn(move || {
                    let mut handle = shared.handle();
                    let mine = |index: &usize| index % threads == thread;
                    for index in (0..keys.len()).filter(mine) {
                        handle.add(keys[index]).unwrap();
                    }
                    for index in (0..rows.len()).filter(mine) {
                        handle.add_folios(rows[index]).unwrap();
                        handle.remove_folios(rows[index]).unwrap();
                        handle.add_folios(rows[index]).unwrap();
                    }
                });
            }
        });
        let (root, shared_root) = (tracker.root(), shared.root());
        let nodes = shared.nodes().count() as u64;
        tracker.hand_over();
        shared.hand_over();
        prop_assert_eq!(other.free_pages(), PAGES - nodes, "pages of those who came second are free");
        let (one, other) = (one.into_handed().unwrap(), other.into_handed().unwrap());
        prop_assert_eq!(shape(&one, root), shape(&other, shared_root));
        let read = |mem: &Handed, root| {
            let mut keys = Vec::new();
            walk_keys(mem, Link::given(root, "root"), |key| keys.push(key)).unwrap();
            keys
        };
        prop_assert_eq!(read(&one, root), read(&other, shared_root));
    }

    /// Many threads that want the same: each key and each row is put in by one of them, and what is in memory
    /// is what they were told.
    #[test]
    fn what_threads_are_told_is_what_is_there(
        rows in prop::collection::vec((0u64..1200, 1u64..300), 1..24),
        threads in 2usize..5,
    ) {
        let arena = arena();
        // At the end of the arena, far from the nodes, so that `Preserved` finds the memory.
        let from = (BASE >> 12) + PAGES - 1500;
        let rows: Vec<KeyRun> = rows.into_iter().map(|(first, keys)| KeyRun {
            pfn: frame(from + first),
            keys,
            order: Order::ZERO,
        }).collect();
        let shared = SharedTracker::new(&arena, 16).unwrap();
        let added: Vec<KeyRun> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|thread| {
                let (shared, rows) = (&shared, &rows);
                scope.spawn(move || {
                    let mut handle = shared.handle();
                    let mut added = Vec::new();
                    for index in 0..rows.len() {
                        let row = rows[(index + thread * 5) % rows.len()];
                        match handle.add_folios(row) {
                            Ok(()) => added.push(row),
                            Err(error) => assert!(matches!(error, TrackerError::Present { .. })),
                        }
                        // Half of them go again.
                        if index % 2 == 1 {
                            added.pop().into_iter().for_each(|row| handle.remove_folios(row).unwrap());
                        }
                    }
                    added
                })
            }).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut expected = BTreeSet::new();
        for row in &added {
            prop_assert!(keys_of(*row).all(|key| expected.insert(key)), "by two threads");
        }
        let root = shared.root();
        let nodes: BTreeSet<_> = shared.nodes().collect();
        shared.hand_over();
        let handed = arena.into_handed().unwrap();
        let preserved = Preserved::read(&handed, Link::given(root, "root")).unwrap();
        prop_assert!(preserved.iter().map(|folio| page(folio.pfn.get())).eq(expected));
        prop_assert_eq!(preserved.nodes().iter().copied().collect::<BTreeSet<_>>(), nodes);
    }

    #[test]
    fn leaves_have_all_keys_in_order(
        dense in prop::collection::vec((0u64..1 << 40, 1u64..100_000, 0u8..10), 0..4),
        sparse in prop::collection::vec((any::<u64>(), 0u8..=51), 0..100),
        parts in 0usize..6,
    ) {
        let arena = arena();
        let mut tracker = Tracker::new(arena.clone()).unwrap();
        for (pfn, keys, o) in dense {
            let _ = tracker.add_folios(KeyRun { pfn: frame(pfn >> o << o), keys, order: order(o) });
        }
        for (addr, o) in sparse {
            let _ = tracker.add(Key::encode(PhysAddr::new(addr >> 12 >> o << o << 12), order(o)).unwrap());
        }
        let root = tracker.root();
        tracker.hand_over();
        let handed = arena.into_handed().unwrap();
        let leaves = Leaves::read(&handed, Link::given(root, "root")).unwrap();
        prop_assert!(leaves.as_slice().windows(2).all(|two| two[0].first_key() < two[1].first_key()));
        let ranges: Vec<_> = leaves.parts(parts).collect();
        prop_assert_eq!(ranges.len(), parts);
        prop_assert!(ranges.iter().all(|range| range.len() >= leaves.len() / parts.max(1)));
        let keys = std::thread::scope(|scope| {
            let threads: Vec<_> = ranges.into_iter().map(|range| {
                let leaves = &leaves;
                scope.spawn(move || {
                    let (mut keys, mut runs) = (Vec::new(), Vec::new());
                    let count = leaves.keys(range.clone(), |key| keys.push(key)).unwrap();
                    assert_eq!(count, keys.len() as u64);
                    assert_eq!(leaves.runs(range, |run| runs.push(run)).unwrap(), count);
                    assert!(runs.into_iter().flat_map(keys_of).eq(keys.iter().copied()));
                    keys
                })
            }).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let mut expected = Vec::new();
        walk_keys(&handed, Link::given(root, "root"), |key| expected.push(key)).unwrap();
        prop_assert!(parts == 0 && keys.is_empty() || keys == expected);
        let mut runs = Vec::new();
        leaves.runs(0..usize::MAX, |run| runs.push(run)).unwrap();
        let mut expected = Vec::new();
        walk_runs(&handed, Link::given(root, "root"), |run| expected.push(run)).unwrap();
        prop_assert_eq!(runs, expected);
    }

    /// Damage is found before any key is visited, and is the same.
    #[test]
    fn leaves_find_the_damage_that_a_walk_finds(
        pfns in prop::collection::vec(0u64..1 << 22, 1..20),
        hits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..512, 0u64..14), 0..4),
    ) {
        let arena = arena();
        let shared = SharedTracker::new(&arena, 40).unwrap();
        for pfn in pfns {
            let _ = shared.add(page(pfn));
        }
        // The first leaf, too, where key 0 would be.
        shared.add(Key::encode(PhysAddr::NULL, order(50)).unwrap()).unwrap();
        let (root, nodes): (_, Vec<_>) = (shared.root(), shared.nodes().collect());
        shared.hand_over();
        let handed = arena.into_handed().unwrap();
        let mut image = handed.bytes(root, 40 << 12).unwrap().into_owned();
        for (node, word, value) in hits {
            let at = (node.get(&nodes).get() - root.get()) as usize + word % 4 * 8;
            let value = match value {
                0 => 1,
                1 => root.get() + 8,
                2 => u64::MAX - 0xfff,
                page => root.get() + (page << 12),
            };
            image[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let mem = SliceMem::new(root, &image);
        let mut expected = Vec::new();
        let walked = walk_keys(&mem, Link::given(root, "root"), |key| expected.push(key));
        match Leaves::read(&mem, Link::given(root, "root")) {
            Ok(leaves) => {
                let mut keys = Vec::new();
                let count = leaves.keys(0..leaves.len(), |key| keys.push(key));
                prop_assert_eq!((count, keys), (walked, expected));
            }
            Err(damage) => prop_assert_eq!(Err(damage), walked),
        }
    }

    #[test]
    fn nodes_suffice_and_are_not_too_many(
        pfn in prop_oneof![0u64..100_000, Just(1 << 20), Just((1 << 52) - 70_000), (1u64 << 51) - 5000..1 << 51],
        pages in 0u64..70_000,
        largest in 0u8..=52,
    ) {
        let memory = PageRun { pfn: frame(pfn), pages };
        let mut tracker = Tracker::new(arena()).unwrap();
        for o in 0..=largest {
            if pages > 0 {
                let from = pfn >> o;
                let keys = ((pfn + pages - 1) >> o) - from + 1;
                tracker.add_folios(KeyRun { pfn: frame(from << o), keys, order: order(o) }).unwrap();
            }
        }
        prop_assert_eq!(SharedTracker::nodes_for(memory, order(largest)), tracker.nodes().count());
    }
}

#[test]
fn memory_of_any_size_has_a_number_of_nodes() {
    let all = PageRun {
        pfn: frame(0),
        pages: 1 << 52,
    };
    // Of order 0: 2^37 leaves, and tables for them in four levels.
    let tables = (1 << 28) + (1 << 19) + (1 << 10) + 2;
    assert_eq!(
        SharedTracker::nodes_for(all, Order::ZERO),
        1 + (1 << 37) + tables
    );
    let beyond = PageRun {
        pfn: frame(Pfn::LIMIT - 1),
        pages: u64::MAX,
    };
    let last = PageRun { pages: 1, ..beyond };
    assert_eq!(
        SharedTracker::nodes_for(beyond, Order::MAX),
        SharedTracker::nodes_for(last, Order::MAX)
    );
}

#[test]
fn a_pool_that_is_used_up_says_so() {
    let arena = arena();
    assert!(matches!(
        SharedTracker::new(&arena, 0),
        Err(TrackerError::OutOfMemory(_))
    ));
    let shared = SharedTracker::new(&arena, 6).unwrap();
    shared.add(page(1)).unwrap();
    let error = shared.add(page(32768)).unwrap_err();
    assert_eq!(error, TrackerError::NoNode(6));
    assert_eq!(
        error.to_string(),
        "all 6 nodes that the tracker was made with are used"
    );
    let row = KeyRun {
        pfn: frame(32760),
        keys: 16,
        order: Order::ZERO,
    };
    assert_eq!(shared.add_folios(row).unwrap_err(), error);
    assert_eq!(shared.keys(), 1, "none of the row");
    shared.add(page(2)).unwrap();
    drop(shared);
    assert_eq!(arena.free_pages(), PAGES);
}

#[test]
fn a_page_that_was_used_before_is_zeroed() {
    let arena = arena();
    let mut used = arena.alloc_pages(64).unwrap();
    used.fill(0xff);
    let addr = used.addr();
    drop(used);
    let shared = SharedTracker::new(&arena, 64).unwrap();
    assert_eq!(shared.root(), addr, "the same pages");
    for leaf in 0..8 {
        shared.add(page(leaf << 15)).unwrap();
    }
    assert_eq!((shared.keys(), shared.nodes().count()), (8, 13));
}

#[test]
fn rows_that_are_none_are_refused() {
    let shared = SharedTracker::new(&arena(), 64).unwrap();
    for (pfn, keys, o) in [
        (1, 1, 1),
        (0, 0, 0),
        ((1 << 52) - 1, 2, 0),
        (0, u64::MAX, 3),
    ] {
        let row = KeyRun {
            pfn: frame(pfn),
            keys,
            order: order(o),
        };
        let no_key = |done| matches!(done, Err(TrackerError::NoKey { .. }));
        assert!(no_key(shared.add_folios(row)) && no_key(shared.remove_folios(row)));
        assert!(!shared.contains_folios(row));
    }
    assert_eq!(shared.nodes().count(), 1);
}

/// Threads that all want the same keys, while others walk. Under Miri with few of them.
#[test]
fn threads_race_for_keys() {
    let (threads, keys) = if cfg!(miri) { (3, 6) } else { (4, 20_000) };
    let arena = arena();
    let shared = SharedTracker::new(&arena, 256).unwrap();
    // One after another, so that all are at the same place, in the same leaf, and in one of its neighbours.
    let key = |index: u64| page((index % 3) << 15 | (index / 3));
    let (added, removed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (shared, added, removed) = (&shared, &added, &removed);
            scope.spawn(move || {
                let mut handle = shared.handle();
                for index in 0..keys {
                    match handle.add(key(index)) {
                        Ok(()) => added.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert!(matches!(error, TrackerError::Present { .. }));
                            0
                        }
                    };
                    if index % 4 == thread && handle.remove(key(index)).is_ok() {
                        removed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..3 {
                let mut last = None;
                shared.for_each(|key| {
                    assert!(last < Some(key));
                    last = Some(key);
                });
                assert!(shared.nodes().count() <= 8);
            }
        });
    });
    let left = added.into_inner() - removed.into_inner();
    assert_eq!(shared.keys(), left as u64);
    let (root, nodes) = (shared.root(), shared.nodes().count() as u64);
    shared.hand_over();
    assert_eq!(arena.free_pages(), PAGES - nodes);
    let handed = arena.into_handed().unwrap();
    let count = walk_keys(&handed, Link::given(root, "root"), |_| {}).unwrap();
    assert_eq!(count, left as u64);
}

#[test]
fn a_handle_goes_to_another_thread() {
    let shared = SharedTracker::new(&arena(), 16).unwrap();
    let mut handle = shared.handle();
    handle.add(page(1)).unwrap();
    let mut handle = std::thread::scope(|scope| {
        let moved = scope.spawn(move || {
            handle.add(page(2)).unwrap();
            handle
        });
        moved.join().unwrap()
    });
    assert!(handle.contains(page(1)) && handle.contains(page(2)) && !handle.contains(page(3)));
    handle.remove(page(1)).unwrap();
    assert_eq!(
        handle.remove(page(1)).unwrap_err().to_string(),
        "order 0 at 0x1000 is not preserved"
    );
    assert!(!format!("{handle:?} {shared:?}").is_empty());
}
