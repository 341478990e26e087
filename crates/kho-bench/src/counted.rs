//! Work whose instructions are counted: no clock, and nothing that another machine's load could change.
//!
//! Each piece of work is made ready, and then done inside [`counted_region`], a function that callgrind
//! collects in and nowhere else.

use std::hint::black_box;

use kho_mem::Order;

use crate::data::Data;
use crate::{Result, block, capture, compat, radix};

/// The name of the function that is collected in, as callgrind is to match it.
pub const REGION: &str = "*counted_region*";

/// Work that is ready to be done.
type Ready = Box<dyn FnMut() -> Result<()>>;

/// A piece of work.
pub struct Counted {
    /// Its name.
    pub name: &'static str,
    /// How many keys, entries or verdicts it is of.
    pub count: u64,
    make: fn(u64) -> Result<Ready>,
}

const fn counted(name: &'static str, count: u64, make: fn(u64) -> Result<Ready>) -> Counted {
    Counted { name, count, make }
}

fn ready<T>(mut work: impl FnMut() -> Result<T> + 'static) -> Result<Ready> {
    Ok(Box::new(move || work().map(|done| drop(black_box(done)))))
}

const KEYS: u64 = 1 << 18;
const ENTRIES: u64 = 100_000;
const RANDOM: u64 = 1 << 16;
const NINE: Order = Data::standard().order;

/// All that is counted.
pub const ALL: &[Counted] = &[
    counted("radix_add_contig", KEYS, |count| {
        let mut tracker = radix::tracker(count, 1)?;
        ready(move || radix::add_each(&mut tracker, count, Order::ZERO))
    }),
    counted("radix_add_random", RANDOM, |count| {
        let data = random(count);
        let (mut tracker, pages) = (radix::tracker(count, 1 << 8)?, data.random_pages());
        ready(move || Ok(radix::add_pages(&mut tracker, &pages)))
    }),
    counted("radix_del_contig", KEYS, |count| {
        let mut tracker = radix::filled(count, Order::ZERO)?;
        ready(move || radix::remove_each(&mut tracker, count, Order::ZERO))
    }),
    counted("radix_walk_dense", KEYS, |count| {
        let nodes = radix::dense(count, Order::ZERO)?;
        ready(move || radix::walk_keys(&nodes))
    }),
    counted("radix_walk_sparse", RANDOM, |count| {
        let nodes = radix::sparse(&random(count))?;
        ready(move || radix::walk_keys(&nodes))
    }),
    counted("radix_add_2M", KEYS, |count| {
        let mut tracker = radix::tracker(count, 1)?;
        ready(move || radix::add_each(&mut tracker, count, NINE))
    }),
    counted("radix_walk_2M", KEYS, |count| {
        let nodes = radix::dense(count, NINE)?;
        ready(move || radix::walk_keys(&nodes))
    }),
    counted("radix_add_bulk", 1 << 22, |count| {
        let mut tracker = radix::tracker(count, 1)?;
        ready(move || Ok(tracker.add_folios(radix::run(count, Order::ZERO))?))
    }),
    counted("radix_walk_bulk", 1 << 22, |count| {
        let nodes = radix::dense(count, Order::ZERO)?;
        ready(move || radix::walk_runs(&nodes))
    }),
    counted("radix_preserved_sparse", RANDOM, |count| {
        let nodes = radix::sparse(&random(count))?;
        ready(move || radix::preserved(&nodes))
    }),
    counted("radix_walk_runs_sparse", RANDOM, |count| {
        let nodes = radix::sparse(&random(count))?;
        ready(move || radix::walk_runs(&nodes))
    }),
    counted("block_grow", ENTRIES, |count| {
        let mut set = block::set(count)?;
        ready(move || block::grow_each(&mut set.2, count))
    }),
    counted("block_write", ENTRIES, |count| {
        let mut set = block::grown(count)?;
        ready(move || block::write_each(&mut set.2, count))
    }),
    counted("block_write_slices", ENTRIES, |count| {
        let mut set = block::grown(count)?;
        ready(move || block::write_slices(&mut set.2, count))
    }),
    counted("block_restore", ENTRIES, |count| {
        let mut written = block::Written::new(count)?;
        ready(move || written.restore().map(drop))
    }),
    counted("block_read", ENTRIES, |count| {
        let mut written = block::Written::new(count)?;
        // Restoring is a fiftieth of it.
        ready(move || block::read_each(&written.restore()?))
    }),
    counted("compat_verdict", 100, |count| {
        let (manifest, side) = (capture::manifest()?, kho_golden::components()?.side());
        ready(move || {
            for _ in 0..count {
                black_box(compat::verdict(black_box(&manifest), side));
            }
            Ok(())
        })
    }),
];

/// Random pages, as far apart as a million over 1 TiB.
fn random(count: u64) -> Data {
    Data {
        random: count,
        span: count << 8,
        ..Data::standard()
    }
}

/// Where instructions are counted.
#[inline(never)]
pub fn counted_region(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    work()
}

/// Does the work `name`, of which there is `count`, or as much as there is of it.
pub fn run(name: &str, count: Option<u64>) -> Result<u64> {
    let work = ALL.iter().find(|work| work.name == name);
    let work = work.ok_or_else(|| format!("nothing is called `{name}`"))?;
    let count = count.unwrap_or(work.count);
    let mut ready = (work.make)(count)?;
    counted_region(&mut ready)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_counted_runs() {
        for work in ALL {
            assert!(run(work.name, Some(100)).is_ok(), "{}", work.name);
        }
        assert!(run("nothing", None).is_err());
    }
}
