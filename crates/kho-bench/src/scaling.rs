//! Work at many sizes: what it costs, from little to a great deal.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use kho_mem::Order;
use roaring::RoaringTreemap;

use crate::data::{Data, SEED};
use crate::radix::{self, timed};
use crate::{Result, block, luo, memory, peers};

/// Measures at one size.
type Measure = fn(u64, &mut Best) -> Result<()>;

/// What is measured over many sizes.
pub struct Scaling {
    /// Its name.
    pub name: &'static str,
    /// The smallest size.
    pub from: u64,
    /// The largest.
    pub to: u64,
    /// Bytes that a unit of the size takes, about, while it is measured.
    pub bytes: u64,
    measure: Measure,
}

const fn scaling(
    name: &'static str,
    (from, to): (u64, u64),
    bytes: u64,
    measure: Measure,
) -> Scaling {
    Scaling {
        name,
        from,
        to,
        bytes,
        measure,
    }
}

/// The best of each series at one size.
#[derive(Debug, Default)]
struct Best(Vec<(&'static str, &'static str, Duration)>);

impl Best {
    fn note(&mut self, series: &'static str, by: &'static str, took: Duration) {
        let mut all = self.0.iter_mut();
        match all.find(|(other, whose, _)| *other == series && *whose == by) {
            Some((_, _, best)) => *best = took.min(*best),
            None => self.0.push((series, by, took)),
        }
    }

    fn time<T>(
        &mut self,
        series: &'static str,
        by: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        let done = work()?;
        self.note(series, by, start.elapsed());
        Ok(black_box(done))
    }
}

/// All that is measured over many sizes.
pub const ALL: &[Scaling] = &[
    scaling("keys-contiguous", (1000, 100_000_000), 16, contiguous),
    scaling("keys-random", (1000, 100_000_000), 40, random),
    scaling("entries", (100, 1_270_000), 200, entries),
    scaling("files", (100, 1_000_000), 1000, files),
    scaling("sessions", (100, 500_000), 12_000, sessions),
    scaling("copies", (64 << 20, 1 << 30), 2, copies),
];

/// The sizes of `scaling`: a power of ten and three times it, or powers of four.
fn sizes(scaling: &Scaling) -> Vec<u64> {
    let mut sizes = Vec::new();
    let mut size = scaling.from;
    while size < scaling.to {
        sizes.push(size);
        let (one, three) = (size.ilog10(), (size / 3).max(1).ilog10());
        size = match size {
            _ if size.is_power_of_two() => size * 4,
            _ if size == 10u64.pow(one) => size * 3,
            _ => 10u64.pow(three + 1),
        };
    }
    sizes.push(scaling.to);
    sizes
}

/// Runs at each size for about `budget`, sizes that take more memory than `memory` left out. Tells `each`
/// what was done, who did it (`kho`, or a peer), how much of it, and what it took at best.
pub fn run(
    scaling: &Scaling,
    budget: Duration,
    memory: u64,
    each: &mut dyn FnMut(&str, &str, u64, Duration),
) -> Result<()> {
    for size in sizes(scaling) {
        if size.saturating_mul(scaling.bytes) > memory {
            break;
        }
        let (start, mut best) = (Instant::now(), Best::default());
        for _ in 0..100 {
            (scaling.measure)(size, &mut best)?;
            if start.elapsed() > budget {
                break;
            }
        }
        for (series, by, took) in best.0 {
            each(series, by, size, took);
        }
    }
    Ok(())
}

/// Where a peer would take minutes.
const PATIENCE: u64 = 10_000_000;

fn contiguous(count: u64, best: &mut Best) -> Result<()> {
    let zero = Order::ZERO;
    let arena = radix::arena(count, 1)?;
    let mut tracker = kho_radix::Tracker::new(arena.clone())?;
    best.time("put in one by one", "kho", || {
        radix::add_each(&mut tracker, count, zero)
    })?;
    let nodes = radix::handed_over(tracker, arena)?;
    best.time("walked one by one", "kho", || radix::walk_keys(&nodes))?;
    drop(nodes);
    let mut tracker = radix::tracker(count, 1)?;
    best.time("put in by range", "kho", || {
        Ok(tracker.add_folios(radix::run(count, zero))?)
    })?;
    drop(tracker);
    let nodes = radix::dense(count, zero)?;
    best.time("walked by run", "kho", || radix::walk_runs(&nodes))?;
    drop(nodes);
    let mut set = RoaringTreemap::new();
    best.time("put in one by one", "roaring", || {
        (0..count).for_each(|key| {
            set.insert(key);
        });
        Ok(())
    })?;
    if count <= PATIENCE {
        let mut set = BTreeSet::new();
        best.time("put in one by one", "BTreeSet", || {
            (0..count).for_each(|key| {
                set.insert(key);
            });
            Ok(())
        })?;
    }
    Ok(())
}

fn random(count: u64, best: &mut Best) -> Result<()> {
    let data = Data {
        random: count,
        seed: SEED,
        ..Data::standard()
    };
    let pages = data.random_pages();
    let arena = radix::arena(count, data.span / count + 1)?;
    let mut tracker = kho_radix::Tracker::new(arena.clone())?;
    best.time("put in", "kho", || {
        Ok(radix::add_pages(&mut tracker, &pages))
    })?;
    let nodes = radix::handed_over(tracker, arena)?;
    best.time("walked", "kho", || radix::walk_keys(&nodes))?;
    drop(nodes);
    let mut set = RoaringTreemap::new();
    best.time("put in", "roaring", || {
        pages.iter().for_each(|key| {
            set.insert(*key);
        });
        Ok(())
    })?;
    best.time("walked", "roaring", || {
        Ok(set
            .iter()
            .fold(0u64, |sum, key| sum.wrapping_add(black_box(key))))
    })?;
    drop(set);
    if count <= PATIENCE {
        let mut set = BTreeSet::new();
        best.time("put in", "BTreeSet", || {
            set.extend(pages.iter().copied());
            Ok(())
        })?;
        best.time("walked", "BTreeSet", || {
            Ok(set
                .iter()
                .fold(0u64, |sum, key| sum.wrapping_add(black_box(*key))))
        })?;
    }
    Ok(())
}

fn entries(count: u64, best: &mut Best) -> Result<()> {
    let (_arena, _preserver, mut set) = block::set(count)?;
    best.time("grown one by one", "kho", || {
        block::grow_each(&mut set, count)
    })?;
    best.time("written one by one", "kho", || {
        block::write_each(&mut set, count)
    })?;
    let mut written = block::Written::new(count)?;
    best.note(
        "restored, checked",
        "kho",
        timed(|| written.restore().map(drop))?,
    );
    written.forget();
    let set = written.restore()?;
    best.time("read one by one", "kho", || block::read_each(&set))?;
    for (by, [write, read]) in peers::entry_times(count)? {
        best.note("written", by, write);
        best.note("checked and read", by, read);
    }
    Ok(())
}

fn note(life: [Duration; 5], best: &mut Best) {
    for ((_, part), took) in luo::PARTS.into_iter().zip(life) {
        best.note(part, "kho", took);
    }
}

fn files(count: u64, best: &mut Best) -> Result<()> {
    note(luo::life(count, 2)?, best);
    for (by, [write, read]) in peers::file_times(count)? {
        best.note("written", by, write);
        best.note("checked and read", by, read);
    }
    Ok(())
}

/// A file in each.
fn sessions(count: u64, best: &mut Best) -> Result<()> {
    note(luo::life(count, count)?, best);
    Ok(())
}

fn copies(bytes: u64, best: &mut Best) -> Result<()> {
    let len = usize::try_from(bytes)?;
    let (mut to, from) = (vec![1u8; len], vec![2u8; len]);
    best.note("copied by memcpy", "memory", memory::copy(&mut to, &from)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_round_and_end_where_they_are_to() {
        let of = |from, to| sizes(&scaling("", (from, to), 1, copies));
        assert_eq!(of(1000, 100_000), [1000, 3000, 10_000, 30_000, 100_000]);
        assert_eq!(of(100, 500), [100, 300, 500]);
        assert_eq!(of(64 << 20, 1 << 30), [64 << 20, 256 << 20, 1 << 30]);
    }

    #[test]
    fn every_series_has_a_point_at_the_smallest_size() {
        for scaling in ALL.iter().filter(|scaling| scaling.name != "copies") {
            let smallest = Scaling {
                to: scaling.from,
                ..*scaling
            };
            let mut points = 0;
            let run = run(&smallest, Duration::ZERO, u64::MAX, &mut |_, _, size, _| {
                assert_eq!(size, scaling.from);
                points += 1;
            });
            let name = scaling.name;
            assert!(run.is_ok() && points >= 5, "{name}: {points}, {run:?}");
        }
    }
}
