//! Thousands of altered handovers, taken over in place: none makes a reader panic or run away, none
//! changes a byte before it is finished, and in the end each page is free once. Deterministic;
//! `ATTACH_MUTANTS=200000 ATTACH_SEED=7 cargo test --release -p kho-memfd --test attach_mutants`
//! runs more of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kho_compat::{Registry, Writing};
use kho_core::{Attached, Entry, Handover, Kho, KhoConfig, PreservedFolio};
use kho_fd::{FdFile, FdHandler, FdTable};
use kho_luo::{
    FlbHandler, HandlerError, Handlers, Incoming, IncomingError, Luo, Orchestrator, Retrieve,
};
use kho_mem::{
    Arena, ArenaConfig, Folio, Handed, Link, Order, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr, PhysRange,
};
use kho_memfd::{FilePiece, MemFile, Memfd, MemfdHandler};
use kho_radix::Key;
use kho_testkit::Random;

mod attack;
mod world;

use attack::attack;
use world::{World, kept, runs};

const SIZE: u64 = 8 << 20;
/// Where the scratch area begins: the arena's second half.
const SCRATCH: u64 = 4 << 20;
const PAGES: usize = SIZE as usize / PAGE_SIZE;
const FLB: &str = "test-flb-v0";

/// Pseudo-random numbers of their own for each seed.
fn seeded(seed: u64) -> Random {
    // The first few numbers of small seeds are much alike.
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..8).for_each(|_| _ = random.next());
    random
}

/// A folio that files depend on.
struct TestFlb;

struct Object(PhysAddr, Mutex<Option<Folio>>);

impl FlbHandler for TestFlb {
    type Object = Object;
    type Preserved = PreservedFolio;

    fn name(&self) -> &'static str {
        FLB
    }

    fn preserve(&self, kho: &Kho) -> Result<(u64, PreservedFolio), HandlerError> {
        let mut folio = kho.preserver().alloc_preserve(3 * PAGE_SIZE).unwrap();
        folio.fill(0xfb);
        Ok((folio.addr().get(), folio))
    }

    fn unpreserve(&self, preserved: PreservedFolio) {
        drop(preserved);
    }

    fn hand_over(&self, preserved: PreservedFolio) {
        preserved.hand_over();
    }

    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<Object>, HandlerError> {
        let at = PhysAddr::new(data);
        let link = retrieve.link(data, "test FLB");
        let folio = retrieve.claims.folio(link);
        folio.map_err(HandlerError::new)?;
        Ok(Arc::new(Object(at, Mutex::default())))
    }

    fn finish(&self, attached: &mut Attached, _data: u64, object: Option<Arc<Object>>) {
        if let Some(object) = object {
            let order = {
                let handover = attached.handover();
                let at = object.0;
                handover
                    .preserved()
                    .folio_at(Link::given(at, "test FLB"))
                    .unwrap()
                    .order
            };
            *object.1.lock().unwrap() = attached.handed_mut().adopt(object.0, order).ok();
        }
    }
}

fn handlers(table: &FdTable) -> Handlers {
    Handlers::new()
        .with(MemfdHandler)
        .with(FdHandler::new(table.clone()))
        .with_flb(["memfd", "fd"], TestFlb)
}

/// All but the scratch area, into which nothing is ever written.
fn read_all(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; SCRATCH as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Descriptors that can be inherited, a few for each handover that is finished.
struct Pool {
    table: FdTable,
    left: Vec<RawFd>,
}

impl Pool {
    fn new(count: usize) -> Self {
        // By numbers that are nobody else's.
        let open = |number| {
            Some((
                number,
                Arc::new(OwnedFd::from(File::open("/dev/null").ok()?)),
            ))
        };
        let fds: Vec<(RawFd, Arc<OwnedFd>)> = (10_000..).take(count).map_while(open).collect();
        let left = fds.iter().map(|(number, _)| *number).collect();
        Self {
            table: FdTable::new(fds),
            left,
        }
    }

    /// Writes numbers that are still there into the handover.
    fn renew(&mut self, world: &mut World) {
        for at in world.numbers.clone() {
            let Some(number) = self.left.last().copied() else {
                return;
            };
            self.left.rotate_right(1);
            let at_byte = (at - world.base) as usize;
            world.bytes[at_byte..at_byte + 4].copy_from_slice(&number.to_le_bytes());
            world.write(at, &number.to_le_bytes());
        }
    }
}

#[derive(Default, Debug)]
struct Counts {
    not_opened: u64,
    not_taken: u64,
    taken: u64,
    finished: u64,
    handed_back: u64,
    can_not_finish: u64,
    files: u64,
    files_failed: u64,
    flbs: u64,
    descriptors: u64,
    pages_checked: u64,
}

#[cfg(not(miri))]
#[test]
fn no_mutant_in_place_breaks_anything() {
    let number = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let mutants = number("ATTACH_MUTANTS", 2000);
    let seed = number("ATTACH_SEED", 1);
    let mut pool = Pool::new(number("ATTACH_FDS", 400) as usize);
    let mut worlds: Vec<World> = [
        (0x1000_0000, Writing::PLAIN),
        (0, Writing::COMPOSITE),
        (0x1000_0000, Writing::COMPOSITE),
        (0, Writing::PLAIN),
    ]
    .into_iter()
    .map(|(base, dialect)| World::new(base, dialect))
    .collect();
    // A mutant that runs away is named.
    static AT: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(|| {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let at = AT.load(Ordering::Relaxed);
            if at != last {
                (last, since) = (at, Instant::now());
            } else if since.elapsed() > Duration::from_secs(60) {
                eprintln!("mutant {at} runs away");
                std::process::abort();
            }
        }
    });
    let mut n = Counts::default();
    let (mut slowest, mut failures) = (Duration::ZERO, Vec::new());
    for index in 0..mutants {
        AT.store(index, Ordering::Relaxed);
        let mut random = seeded(seed << 40 | index);
        let world = &mut worlds[(index % 4) as usize];
        pool.renew(world);
        assert!(world.sessions == 4 && world.file.as_raw_fd() > 2);
        // Now and then none at all: what was handed over is still to be had.
        let count = if index % 64 < 4 {
            0
        } else {
            random.of(&[1, 1, 1, 2, 3, 6])
        };
        let (mut entry, mut what, mut damaged) = (world.entry, Vec::new(), Vec::new());
        if count > 0 && random.once_in(25) {
            entry = world.alter_entry(&mut random);
            what.push(format!("{entry:x?}"));
        } else {
            for _ in 0..count {
                let (text, at, bytes) = world.damage(&mut random);
                what.push(format!("{text} at {at:#x}"));
                let end = world.base + SIZE;
                let room = (end - at).min(bytes.len() as u64) as usize;
                world.write(at, &bytes[..room]);
                damaged.push((at, room));
            }
        }
        let taken = n.taken;
        let started = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| {
            attack(world, entry, &pool, &mut random, &mut n)
        }));
        slowest = slowest.max(started.elapsed());
        if done.is_err() {
            eprintln!("mutant {index} of seed {seed}: {what:#?}");
            failures.push(index);
            assert!(failures.len() < 20, "{failures:?}");
        }
        assert!(count > 0 || n.taken > taken, "undamaged");
        // As it was: all of it, or what was damaged.
        if done.unwrap_or(true) {
            world.write(world.base, &world.bytes[..SCRATCH as usize]);
        } else {
            for (at, len) in damaged {
                let from = (at - world.base) as usize;
                world.write(at, &world.bytes[from..from + len]);
            }
        }
    }
    println!("{n:#?}, the slowest took {slowest:?}");
    assert!(failures.is_empty(), "{failures:?}");
    assert!(n.taken > mutants / 10 && n.not_opened > mutants / 10);
    assert!(slowest < Duration::from_secs(10));
}
