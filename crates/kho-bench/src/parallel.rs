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
fn tracker(pages: u64, threads: usize) -> Result<SharedTracker> {
    let run = PageRun {
        pfn: PhysAddr::NULL.pfn(),
        pages,
    };
    let nodes = SharedTracker::nodes_for(run, Order::ZERO) + threads;
    let arena = radix::arena(nodes as u64, u64::MAX)?;
    Ok(SharedTracker::new(&arena, nodes)?)
}

fn put(handle: &mut Handle<'_>, pfn: u64) -> bool {
    let key = Key::encode(PhysAddr::new(pfn << PAGE_SHIFT), Order::ZERO);
    key.is_some_and(|key| handle.add(key).is_ok())
}

/// Puts pages in, each thread a part of them, one call each. Returns how many were put in.
fn add<I: Iterator<Item = u64> + Send>(
    tracker: &SharedTracker,
    parts: impl Iterator<Item = I>,
) -> u64 {
    let work = &|pages: I| -> u64 {
        let mut handle = tracker.handle();
        pages.map(|pfn| u64::from(put(&mut handle, pfn))).sum()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = parts
            .map(|pages| scope.spawn(move || work(pages)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.flatten().sum()
    })
}

/// Puts `count` pages in that follow each other.
fn add_contiguous(tracker: &SharedTracker, count: u64, threads: usize) -> u64 {
    let part = count.div_ceil(threads.max(1) as u64).max(1);
    let parts = (0..threads as u64).map(|thread| thread * part);
    add(tracker, parts.map(|from| from..count.min(from + part)))
}

/// Puts pages in that are named one by one.
fn add_pages(tracker: &SharedTracker, pages: &[u64], threads: usize) -> u64 {
    let part = pages.len().div_ceil(threads.max(1)).max(1);
    add(
        tracker,
        pages.chunks(part).map(|pages| pages.iter().copied()),
    )
}

/// Goes through a tree that was handed over, each thread its part of the leaves. Returns the keys.
fn walk(nodes: &Nodes, threads: usize) -> Result<u64> {
    let leaves = Leaves::read(nodes, Link::given(nodes.root, "root"))?;
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
    let contiguous = move |name, threads| {
        Workload::new(name, keys, move || {
            let tracker = tracker(count, threads)?;
            timed(|| all_of(add_contiguous(&tracker, count, threads), count))
        })
    };
    let chosen = move |name, threads| {
        let pages = move || Ok(data.random_pages());
        Workload::on(name, random, pages, move |pages| {
            let tracker = tracker(span, threads)?;
            timed(|| Ok(add_pages(&tracker, pages, threads)))
        })
    };
    let dense = move || radix::dense(count, Order::ZERO);
    let sparse = move || radix::sparse(&data);
    vec![
        contiguous("radix_shared_add_contig_o0", 1),
        contiguous("radix_shared_add_contig_o0_threads", threads()),
        chosen("radix_shared_add_random_1Tspan", 1),
        chosen("radix_shared_add_random_1Tspan_threads", threads()),
        Workload::on("radix_walk_dense_threads", keys, dense, move |nodes| {
            timed(|| all_of(walk(nodes, threads())?, count))
        }),
        Workload::on("radix_walk_sparse_threads", random, sparse, |nodes| {
            timed(|| walk(nodes, threads()))
        }),
    ]
}
