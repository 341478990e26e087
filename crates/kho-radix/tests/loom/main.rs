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

mod keys;
mod nodes;
mod readers;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kho_mem::{Arena, ArenaConfig, Link, Order, PhysAddr, SliceMem};
use kho_radix::{Key, KeyRun, SharedTracker, TrackerError, walk_keys};
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

fn add_folios(run: KeyRun) -> Work<Done> {
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

const fn run(bit: u64, keys: u64) -> KeyRun {
    KeyRun {
        pfn: PhysAddr::new(bit << 12).pfn(),
        keys,
        order: Order::ZERO,
    }
}

fn keys_of(run: KeyRun) -> impl Iterator<Item = Key> {
    (run.pfn.get()..run.pfn.get() + run.keys).map(|bit| key(0, bit))
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
