//! The tracker, worked on by as many threads as there are cores.

use std::thread;

use kho_mem::{Link, Order, PAGE_SHIFT, PageRun, PhysAddr};
use kho_radix::{Handle, Key, Leaves, SharedTracker};

use crate::radix::{self, Nodes, all_of, decoded, timed};
use crate::{Data, Result, Work, Workload};

/// Threads at work.
#[must_use]
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// An empty tracker for the keys of order 0 of the first `pages` pages, which `threads` threads fill.
///
/// # Errors
///
/// There is not that much memory.
fn tracker(pages: u64, threads: usize) -> Result<SharedTracker> {
    let run = PageRun { pfn: 0, pages };
    let nodes = SharedTracker::nodes_for(run, Order::ZERO) + threads;
    let arena = radix::arena(nodes as u64, u64::MAX)?;
    Ok(SharedTracker::new(&arena, nodes)?)
}

fn put(handle: &mut Handle<'_>, pfn: u64) -> bool {
    let key = Key::encode(PhysAddr::new(pfn << PAGE_SHIFT), Order::ZERO);
    key.is_some_and(|key| handle.add(key).is_ok())
}

/// Puts `count` pages in that follow each other, each thread its part of them, one call each. Returns how
/// many were put in.
fn add_contiguous(tracker: &SharedTracker, count: u64, threads: usize) -> u64 {
    let part = count.div_ceil(threads.max(1) as u64).max(1);
    let work = |from: u64| {
        let mut handle = tracker.handle();
        let pages = from..count.min(from + part);
        pages
            .map(|pfn| u64::from(put(&mut handle, pfn)))
            .sum::<u64>()
    };
    let parts = (0..threads as u64).map(|thread| thread * part);
    thread::scope(|scope| {
        let threads: Vec<_> = parts.map(|from| scope.spawn(move || work(from))).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .sum()
    })
}

/// Puts pages in that are named one by one, each thread its part of them.
fn add_pages(tracker: &SharedTracker, pages: &[u64], threads: usize) -> u64 {
    let part = pages.len().div_ceil(threads.max(1)).max(1);
    let work = |pages: &[u64]| {
        let mut handle = tracker.handle();
        pages
            .iter()
            .map(|pfn| u64::from(put(&mut handle, *pfn)))
            .sum::<u64>()
    };
    thread::scope(|scope| {
        let parts = pages.chunks(part);
        let threads: Vec<_> = parts
            .map(|pages| scope.spawn(move || work(pages)))
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .sum()
    })
}

/// Goes through a tree that was handed over, each thread its part of the leaves. Returns the keys.
fn walk(nodes: &Nodes, threads: usize) -> Result<u64> {
    let leaves = Leaves::read(nodes, Link::given(nodes.root(), "root"))?;
    let leaves = &leaves;
    let work = |part| {
        let mut sum = 0u64;
        let keys = leaves.keys(part, |key| sum = sum.wrapping_add(decoded(key)));
        std::hint::black_box(sum);
        keys
    };
    thread::scope(|scope| {
        let parts = leaves.parts(threads);
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let mut keys = 0;
        for thread in threads {
            keys += thread.join().map_err(|_| "a thread ended")??;
        }
        Ok(keys)
    })
}

pub(crate) fn workloads(data: Data) -> Vec<Workload> {
    let (count, span) = (data.contiguous, data.span);
    let (keys, random) = (Work::Keys(count), Work::Keys(data.random));
    let contiguous = move |threads| {
        let tracker = tracker(count, threads)?;
        timed(|| all_of(add_contiguous(&tracker, count, threads), count))
    };
    let chosen = move |pages: &[u64], threads| {
        let tracker = tracker(span, threads)?;
        timed(|| Ok(add_pages(&tracker, pages, threads)))
    };
    let pages = move || Ok(data.random_pages());
    vec![
        Workload::new("radix_shared_add_contig_o0", keys, move || contiguous(1)),
        Workload::new("radix_shared_add_contig_o0_threads", keys, move || {
            contiguous(threads())
        }),
        Workload::on(
            "radix_shared_add_random_1Tspan",
            random,
            pages,
            move |pages| chosen(pages, 1),
        ),
        Workload::on(
            "radix_shared_add_random_1Tspan_threads",
            random,
            pages,
            move |pages| chosen(pages, threads()),
        ),
        Workload::on(
            "radix_walk_dense_threads",
            keys,
            move || radix::dense(count, Order::ZERO),
            move |nodes| timed(|| all_of(walk(nodes, threads())?, count)),
        ),
        Workload::on(
            "radix_walk_sparse_threads",
            random,
            move || radix::sparse(&data),
            |nodes| timed(|| walk(nodes, threads())),
        ),
    ]
}
