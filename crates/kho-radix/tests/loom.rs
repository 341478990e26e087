//! `SharedTracker` in the orders that threads and memory allow:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p kho-radix --test loom --release -- --nocapture
//! ```
//!
//! Loom runs a test again and again, each time with another order of the threads' steps, and another choice of
//! the values that a load may return by the rules of C11 atomics. Here a node's page has three words, and it
//! comes into being when it is zeroed: loom reports an access that this does not happen before. So an entry
//! that could be read without its node's zeros, on a machine of any kind, is an error here.
//!
//! Orders that only exchange steps which have nothing to do with each other are tried once. To find those
//! steps loom keeps the last access to each word, so that it can miss that a thread's load, followed by
//! another's load and store, might have come after the store. That depends on who comes first: each model is
//! run with its threads started in every order. One that says how many preemptions it allows tries the
//! orders with that many; the others have no such bound.
#![cfg(loom)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kho_mem::{Arena, ArenaConfig, Link, Order, PhysAddr, SliceMem};
use kho_radix::{Key, Run, SharedTracker, TrackerError, walk_keys};
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::thread;

const BASE: u64 = 0x1000_0000;
/// The nodes of a tree with one leaf.
const PATH: usize = 6;

fn arena() -> Arena {
    Arena::heap(&ArenaConfig::new(PhysAddr::new(BASE), 4 << 20)).unwrap()
}

/// What one thread does.
type Work<T> = Arc<dyn Fn(&SharedTracker) -> T + Send + Sync>;

fn work<T>(work: impl Fn(&SharedTracker) -> T + Send + Sync + 'static) -> Work<T> {
    Arc::new(work)
}

type Done = Result<(), TrackerError>;

fn add(key: Key) -> Work<Done> {
    work(move |tracker| tracker.add(key))
}

fn remove(key: Key) -> Work<Done> {
    work(move |tracker| tracker.remove(key))
}

fn add_folios(run: Run) -> Work<Done> {
    work(move |tracker| tracker.add_folios(run))
}

fn orders(threads: usize) -> Vec<Vec<usize>> {
    if threads == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for shorter in orders(threads - 1) {
        for at in 0..threads {
            let mut order = shorter.clone();
            order.insert(at, threads - 1);
            all.push(order);
        }
    }
    all
}

/// Has the threads do their work at once, on what `made` makes, and `checked` look at what came of it, in every
/// order. Says how many there were.
fn model<T: Send + Sync + 'static>(
    name: &str,
    preemptions: Option<usize>,
    made: impl Fn(&Arena) -> SharedTracker + Send + Sync + 'static,
    works: impl IntoIterator<Item = Work<T>>,
    checked: impl Fn(SharedTracker, Vec<T>) + Send + Sync + 'static,
) {
    let start = Instant::now();
    let runs = Arc::new(AtomicUsize::new(0));
    let works: Arc<[Work<T>]> = works.into_iter().collect();
    let (made, checked) = (Arc::new(made), Arc::new(checked));
    for order in orders(works.len()) {
        let (runs, works) = (Arc::clone(&runs), Arc::clone(&works));
        let (made, checked) = (Arc::clone(&made), Arc::clone(&checked));
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(preemptions);
        builder.max_branches = 10_000;
        let arena = arena();
        let order = order.clone();
        builder.check(move || {
            runs.fetch_add(1, Relaxed);
            let tracker = Arc::new(made(&arena));
            let mut threads = Vec::new();
            for index in &order {
                let (tracker, work) = (Arc::clone(&tracker), Arc::clone(&works[*index]));
                threads.push((*index, thread::spawn(move || work(&tracker))));
            }
            let done = threads
                .into_iter()
                .map(|(index, thread)| (index, thread.join().unwrap()));
            let mut done: Vec<_> = done.collect();
            done.sort_unstable_by_key(|(index, _)| *index);
            let done = done.into_iter().map(|(_, done)| done).collect();
            checked(Arc::into_inner(tracker).unwrap(), done);
        });
    }
    eprintln!(
        "{name}: {} orders{}, {} ms",
        runs.load(Relaxed),
        preemptions.map_or(String::new(), |n| format!(" of at most {n} preemptions")),
        start.elapsed().as_millis(),
    );
}

/// A tracker with `leaves` in it, which are empty, and room for `more` nodes.
fn tracker(arena: &Arena, leaves: &[u64], more: usize) -> SharedTracker {
    let nodes = match leaves.len() {
        0 => 1,
        n => PATH - 1 + n,
    };
    let tracker = SharedTracker::new(arena, nodes + more).unwrap();
    for leaf in leaves {
        tracker.add(key(*leaf, 0)).unwrap();
        tracker.remove(key(*leaf, 0)).unwrap();
    }
    tracker
}

/// The key of a page: leaves 0 to 2 are below one table, and have bits 0 to 191 here.
fn key(leaf: u64, bit: u64) -> Key {
    Key::encode(PhysAddr::new((leaf << 15 | bit) << 12), Order::ZERO).unwrap()
}

const fn run(bit: u64, keys: u64) -> Run {
    Run {
        pfn: bit,
        keys,
        order: Order::ZERO,
    }
}

fn keys_of(run: Run) -> impl Iterator<Item = Key> {
    (run.pfn..run.pfn + run.keys).map(|bit| key(0, bit))
}

fn all(tracker: &SharedTracker) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    tracker.for_each(|key| assert!(keys.insert(key)));
    keys
}

/// When all threads are done: the tree has these keys and that many nodes, in memory too.
fn check(tracker: &SharedTracker, keys: impl IntoIterator<Item = Key>, nodes: usize) {
    let keys: BTreeSet<Key> = keys.into_iter().collect();
    assert_eq!(all(tracker), keys);
    assert_eq!(tracker.nodes().collect::<BTreeSet<_>>().len(), nodes);
    let image = tracker.image();
    let mem = SliceMem::new(tracker.root(), &image);
    let mut read = BTreeSet::new();
    walk_keys(&mem, Link::given(tracker.root(), "root"), |key| {
        read.insert(key);
    })
    .unwrap();
    assert_eq!(read, keys);
}

#[test]
fn one_leaf_is_made_by_two_threads() {
    // An arena for each order, to see what comes back to it.
    let of = Arc::new(Mutex::new(None));
    let its = Arc::clone(&of);
    model(
        "one leaf, two threads",
        None,
        move |_| tracker(its.lock().unwrap().insert(arena()), &[0], 3),
        [add(key(1, 1)), add(key(1, 2))],
        move |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(())]);
            check(&tracker, [key(1, 1), key(1, 2)], PATH + 1);
            tracker.hand_over();
            let free = of.lock().unwrap().take().unwrap().free_pages();
            assert_eq!(free, 1024 - 7, "nodes alone are given away");
        },
    );
}

#[test]
fn one_leaf_is_made_by_three_threads() {
    model(
        "one leaf, three threads",
        Some(2),
        |arena| tracker(arena, &[0], 3),
        [1, 2, 3].map(|bit| add(key(1, bit))),
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(()), Ok(())]);
            check(&tracker, [1, 2, 3].map(|bit| key(1, bit)), PATH + 1);
        },
    );
}

#[test]
fn a_whole_path_is_made_by_two_threads() {
    model(
        "a whole path, two threads",
        Some(3),
        |arena| tracker(arena, &[], PATH + 1),
        [add(key(0, 1)), add(key(0, 64))],
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(())]);
            check(&tracker, [key(0, 1), key(0, 64)], PATH);
        },
    );
}

#[test]
fn siblings_are_made_by_two_threads() {
    model(
        "two leaves side by side",
        None,
        |arena| tracker(arena, &[0], 2),
        [add(key(1, 1)), add(key(2, 1))],
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(())]);
            check(&tracker, [key(1, 1), key(2, 1)], PATH + 2);
        },
    );
    model(
        "two leaves and their tables",
        Some(2),
        |arena| tracker(arena, &[], PATH + 2),
        [add(key(1, 1)), add(key(2, 1))],
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(())]);
            check(&tracker, [key(1, 1), key(2, 1)], PATH + 1);
        },
    );
}

fn is_present(done: &Done) -> bool {
    match done {
        Ok(()) => false,
        Err(TrackerError::Present { addr, .. }) => *addr == key(0, 5).addr(),
        Err(_) => unreachable!("{done:?}"),
    }
}

#[test]
fn a_key_is_put_in_once() {
    model(
        "one key and its leaf, two threads",
        None,
        |arena| tracker(arena, &[1], 2),
        [add(key(0, 5)), add(key(0, 5))],
        |tracker, done| {
            assert_eq!(done.iter().filter(|done| is_present(done)).count(), 1);
            check(&tracker, [key(0, 5)], PATH + 1);
        },
    );
    model(
        "one key, three threads",
        None,
        |arena| tracker(arena, &[0], 0),
        [add(key(0, 5)), add(key(0, 5)), add(key(0, 5))],
        |tracker, done| {
            assert_eq!(done.iter().filter(|done| is_present(done)).count(), 2);
            check(&tracker, [key(0, 5)], PATH);
        },
    );
}

#[test]
fn a_key_is_put_in_and_taken_out() {
    model(
        "a key put in and taken out",
        None,
        |arena| tracker(arena, &[1], 2),
        [add(key(0, 5)), remove(key(0, 5))],
        |tracker, done| {
            assert_eq!(done[0], Ok(()));
            check(&tracker, done[1].is_err().then_some(key(0, 5)), PATH + 1);
        },
    );
    model(
        "a key taken out twice and put in",
        None,
        |arena| {
            let tracker = tracker(arena, &[0], 0);
            tracker.add(key(0, 5)).unwrap();
            tracker.add(key(0, 6)).unwrap();
            tracker
        },
        [add(key(0, 5)), remove(key(0, 5)), remove(key(0, 5))],
        |tracker, done| {
            let ok: Vec<_> = done.iter().map(|done| usize::from(done.is_ok())).collect();
            let left = (1 + ok[0]).checked_sub(ok[1] + ok[2]).unwrap();
            assert!(ok[1] + ok[2] > 0 && left < 2);
            let left = (left == 1).then_some(key(0, 5));
            check(&tracker, left.into_iter().chain([key(0, 6)]), PATH);
        },
    );
}

#[test]
fn rows_that_overlap_are_put_in_whole_or_not_at_all() {
    let rows_of = |name, bound, rows: &'static [Run]| {
        model(
            name,
            bound,
            |arena| tracker(arena, &[0], 0),
            rows.iter().map(|row| add_folios(*row)),
            move |tracker, done| {
                let mut left = BTreeSet::new();
                for (row, done) in rows.iter().zip(done) {
                    match done {
                        Ok(()) => assert!(keys_of(*row).all(|key| left.insert(key)), "twice"),
                        Err(TrackerError::Present { addr, .. }) => {
                            assert!(keys_of(*row).any(|key| key.addr() == addr));
                        }
                        Err(_) => unreachable!("{done:?}"),
                    }
                }
                assert!(!left.is_empty(), "all of them failed");
                check(&tracker, left, PATH);
            },
        );
    };
    static WORD: [Run; 2] = [run(60, 8), run(66, 70)];
    rows_of("two rows that share a word", None, &WORD);
    static KEY: [Run; 2] = [run(0, 65), run(64, 1)];
    rows_of("two rows that share a key", None, &KEY);
    static SAME: [Run; 2] = [run(3, 180), run(3, 180)];
    rows_of("one row, two threads", None, &SAME);
    static CHAIN: [Run; 3] = [run(0, 66), run(65, 64), run(128, 2)];
    rows_of("three rows in a chain", None, &CHAIN);
}

#[test]
fn a_row_is_put_in_beside_keys() {
    const ROW: Run = run(62, 4);
    model(
        "a row and one of its keys",
        None,
        |arena| tracker(arena, &[0], 0),
        [add_folios(ROW), add(key(0, 64))],
        |tracker, done| match done[..] {
            [Ok(()), Err(_)] => check(&tracker, keys_of(ROW), PATH),
            [Err(_), Ok(())] => check(&tracker, [key(0, 64)], PATH),
            _ => unreachable!("{done:?}"),
        },
    );
    model(
        "a row beside keys of the same words, put in and taken out",
        None,
        |arena| {
            let tracker = tracker(arena, &[0], 0);
            tracker.add(key(0, 0)).unwrap();
            tracker
        },
        [add_folios(ROW), add(key(0, 66)), remove(key(0, 0))],
        |tracker, done| {
            assert_eq!(done, [Ok(()), Ok(()), Ok(())]);
            check(&tracker, keys_of(ROW).chain([key(0, 66)]), PATH);
        },
    );
    // One that fails takes back what it did, and nothing of what others do meanwhile.
    model(
        "a row that fails beside a key that is put in",
        None,
        |arena| tracker(arena, &[0], 0),
        [add_folios(run(62, 70)), add(key(0, 131)), add(key(0, 61))],
        |tracker, done| {
            assert_eq!(done[2], Ok(()));
            let row = done[0].is_ok().then(|| keys_of(run(62, 70)));
            let key_ = done[1].is_ok().then_some(key(0, 131));
            assert!(row.is_some() != key_.is_some());
            let keys = row.into_iter().flatten().chain(key_);
            check(&tracker, keys.chain([key(0, 61)]), PATH);
        },
    );
}

#[test]
fn a_row_is_taken_out_once() {
    model(
        "a row taken out by two threads",
        None,
        |arena| {
            let tracker = tracker(arena, &[0], 0);
            tracker.add_folios(run(62, 4)).unwrap();
            tracker
        },
        [0, 1].map(|_| work(|tracker: &SharedTracker| tracker.remove_folios(run(62, 4)))),
        |tracker, done| {
            assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
            check(&tracker, [], PATH);
        },
    );
}

// The later key lies before the other one, on the way of a walk.
const FIRST: (u64, u64) = (1, 70);
const LATER: (u64, u64) = (0, 3);

fn add_both() -> Work<()> {
    work(|tracker| {
        let mut handle = tracker.handle();
        handle.add(key(FIRST.0, FIRST.1)).unwrap();
        handle.add(key(LATER.0, LATER.1)).unwrap();
    })
}

/// Who sees the later key in sees the first one too.
fn walk() -> Work<()> {
    work(|tracker| {
        let (first, later) = (key(FIRST.0, FIRST.1), key(LATER.0, LATER.1));
        let seen = all(tracker);
        assert!(seen.iter().all(|key| [first, later].contains(key)));
        assert!(!seen.contains(&later) || seen.contains(&first), "{seen:?}");
    })
}

fn look() -> Work<()> {
    work(|tracker| {
        let (first, later) = (key(FIRST.0, FIRST.1), key(LATER.0, LATER.1));
        let mut handle = tracker.handle();
        assert!(!handle.contains(later) || handle.contains(first));
    })
}

fn has_both(tracker: SharedTracker, _: Vec<()>) {
    let keys = [key(FIRST.0, FIRST.1), key(LATER.0, LATER.1)];
    check(&tracker, keys, tracker.nodes().count());
}

#[test]
fn what_a_reader_sees_is_a_tree() {
    let name = "a walk while leaves are made";
    let made = |arena: &Arena| tracker(arena, &[2], 2);
    model(name, None, made, [walk(), add_both()], has_both);
    let name = "a walk while all is made";
    let nothing = |arena: &Arena| tracker(arena, &[], PATH);
    model(name, Some(4), nothing, [walk(), add_both()], has_both);
    let name = "two that look while leaves are made";
    model(name, Some(3), made, [look(), look(), add_both()], has_both);
    // Made by one, put in by another, seen by a third.
    let name = "a walk while two make leaves";
    let other = || {
        work(|tracker: &SharedTracker| {
            // Seen, or made: then the other one sees it.
            let key = key(FIRST.0, FIRST.1 + 1);
            tracker.add(key).unwrap();
            tracker.remove(key).unwrap();
        })
    };
    let looks = || work(|tracker: &SharedTracker| drop(all(tracker)));
    let made = |arena: &Arena| tracker(arena, &[2], 3);
    model(
        name,
        Some(2),
        made,
        [looks(), other(), add_both()],
        has_both,
    );
}

#[test]
fn memory_that_a_key_stands_for_is_seen_with_it() {
    // What one thread did before, and what another sees who knows of it by `seen`.
    loom::lazy_static! {
        static ref MEMORY: AtomicU64 = AtomicU64::new(0);
    }
    type Seen = fn(&SharedTracker) -> bool;
    type Step = fn(&SharedTracker) -> Done;
    const ROW: Run = run(2, 66);
    let known: [(&str, Step, Step, Seen); 7] = [
        (
            "contains",
            |_| Ok(()),
            |t| t.add(key(0, 5)),
            |t| t.contains(key(0, 5)),
        ),
        (
            "a walk",
            |_| Ok(()),
            |t| t.add(key(0, 5)),
            |t| !all(t).is_empty(),
        ),
        (
            "a count",
            |_| Ok(()),
            |t| t.add(key(0, 5)),
            |t| t.keys() == 1,
        ),
        (
            "an error",
            |_| Ok(()),
            |t| t.add(key(0, 5)).or(Ok(())),
            |t| t.add(key(0, 5)).is_err(),
        ),
        (
            "taking out",
            |_| Ok(()),
            |t| t.add(key(0, 5)),
            |t| t.remove(key(0, 5)).is_ok(),
        ),
        (
            "contains of a row",
            |_| Ok(()),
            |t| t.add_folios(ROW),
            |t| t.contains_folios(ROW),
        ),
        (
            "putting in again",
            |t| t.add(key(0, 5)),
            |t| t.remove(key(0, 5)),
            |t| t.add(key(0, 5)).is_ok(),
        ),
    ];
    for (name, before, step, seen) in known {
        let write = work(move |tracker: &SharedTracker| {
            MEMORY.store(7, Relaxed);
            step(tracker).unwrap();
        });
        let read = work(move |tracker: &SharedTracker| {
            if seen(tracker) {
                assert_eq!(MEMORY.load(Relaxed), 7);
            }
        });
        let made = move |arena: &Arena| {
            let tracker = tracker(arena, &[0], 0);
            before(&tracker).unwrap();
            tracker
        };
        let name = format!("memory that is known of by {name}");
        model(&name, None, made, [write, read], |_, _| {});
    }
}

#[test]
fn pages_that_were_given_back_are_used() {
    // Two threads race for leaf 1, and one of them has leaf 2 to make, with the page that the other may
    // have given back by then; a third one looks.
    model(
        "a page given back",
        Some(2),
        |arena| tracker(arena, &[0], 2),
        [
            work(|tracker: &SharedTracker| tracker.add(key(1, 1))),
            work(|tracker: &SharedTracker| {
                let mut handle = tracker.handle();
                handle.add(key(1, 2)).unwrap();
                handle.add(key(2, 0))
            }),
            work(|tracker: &SharedTracker| {
                let _ = tracker.contains(key(2, 0));
                Ok(())
            }),
        ],
        |tracker, done| {
            assert_eq!(done[0], Ok(()));
            match done[1] {
                Ok(()) => check(&tracker, [key(1, 1), key(1, 2), key(2, 0)], PATH + 2),
                // The other thread had it still.
                Err(error) => {
                    assert_eq!(error, TrackerError::NoNode(PATH + 2));
                    check(&tracker, [key(1, 1), key(1, 2)], PATH + 1);
                    tracker.add(key(2, 0)).unwrap();
                }
            }
        },
    );
}

#[test]
fn pages_that_were_given_back_are_used_once() {
    for pages in [1, 2] {
        model(
            &format!("{pages} pages given back, two threads"),
            None,
            move |arena| {
                let tracker = tracker(arena, &[0], pages);
                (0..pages).for_each(|_| tracker.set_aside());
                tracker
            },
            [add(key(1, 1)), add(key(2, 1))],
            move |tracker, done| {
                assert_eq!(done.iter().filter(|done| done.is_ok()).count(), pages);
                let keys = [key(1, 1), key(2, 1)].into_iter().zip(&done);
                let keys = keys.filter(|(_, done)| done.is_ok()).map(|(key, _)| key);
                check(&tracker, keys, PATH + pages);
            },
        );
    }
}

#[test]
fn nodes_are_used_up() {
    model(
        "one page for one leaf, two threads",
        None,
        |arena| tracker(arena, &[0], 1),
        [add(key(1, 1)), add(key(1, 2))],
        |tracker, done| {
            // Who is not given the page fails, unless the other one's leaf is there by then.
            assert!(done.iter().any(Result::is_ok));
            let keys = [key(1, 1), key(1, 2)].into_iter().zip(&done);
            let keys = keys.filter(|(_, done)| done.is_ok()).map(|(key, _)| key);
            check(&tracker, keys, PATH + 1);
        },
    );
    model(
        "one page for two leaves, two threads",
        None,
        |arena| tracker(arena, &[0], 1),
        [add(key(1, 1)), add(key(2, 1))],
        |tracker, done| {
            assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
            let keys = [key(1, 1), key(2, 1)].into_iter().zip(&done);
            let keys = keys.filter(|(_, done)| done.is_ok()).map(|(key, _)| key);
            check(&tracker, keys, PATH + 1);
        },
    );
}
