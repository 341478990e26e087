//! What the machine gives: its memory, and its cores.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use crate::data::Random;
use crate::parallel::threads;
use crate::{Result, Work, Workload};

/// Bytes that are copied or set: more than any cache holds.
const BYTES: usize = 256 << 20;

pub(crate) fn workloads() -> Vec<Workload> {
    let work = Work::Bytes(BYTES as u64);
    let make = || Ok((vec![1u8; BYTES], vec![2u8; BYTES]));
    vec![
        Workload::on("memcpy", work, make, |(to, from)| copy(to, from)),
        Workload::on("memset", work, || Ok(vec![1u8; BYTES]), |to| set(to)),
        Workload::new("compute", Work::One, || compute(1)),
        Workload::new("compute_threads", Work::One, || compute(threads())),
    ]
}

/// Rounds of the computation: a few milliseconds of it.
const ROUNDS: u64 = 8 << 20;

/// Computes, without memory, what one thread or several share: how much more several cores are than one.
fn compute(threads: usize) -> Result<Duration> {
    let rounds = ROUNDS / threads.max(1) as u64;
    let work = || {
        // Apart from each other, so that a core has all it can do.
        let mut numbers = [1, 2, 3, 4].map(Random::new);
        for _ in 0..rounds {
            for number in &mut numbers {
                black_box(number.next());
            }
        }
    };
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    Ok(start.elapsed())
}

/// Copies `from` to `to`, which is as long.
pub fn copy(to: &mut [u8], from: &[u8]) -> Result<Duration> {
    let start = Instant::now();
    to.copy_from_slice(black_box(from));
    black_box(&to);
    Ok(start.elapsed())
}

fn set(to: &mut [u8]) -> Result<Duration> {
    let start = Instant::now();
    to.fill(black_box(3));
    black_box(&to);
    Ok(start.elapsed())
}
