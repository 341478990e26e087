use std::vec::Vec;

use super::*;
use crate::{Pfn, PhysMem, PhysMemExt};

fn frame(pfn: u64) -> Pfn {
    Pfn::new(pfn).unwrap()
}

const BASE: u64 = 0x1000_0000;

fn config(size: u64) -> ArenaConfig {
    ArenaConfig::new(PhysAddr::new(BASE), size)
}

#[test]
fn folios_are_aligned_exclusive_and_come_back() {
    let arena = Arena::heap(&config(8 << 20)).unwrap();
    let mut folios: Vec<Folio> = (0..=9)
        .map(|order| arena.alloc(Order::new(order).unwrap()).unwrap())
        .collect();
    for (index, folio) in (0u8..).zip(&mut folios) {
        assert!(folio.addr().get().is_multiple_of(folio.len() as u64));
        assert_eq!(folio.order().get(), index);
        folio[0] = index;
        *folio.last_mut().unwrap() = index;
    }
    for (index, folio) in (0u8..).zip(&folios) {
        assert_eq!((folio[0], folio[folio.len() - 1]), (index, index));
    }
    assert_eq!(arena.free_pages(), 2048 - 1023);
    assert_eq!(
        arena.alloc(Order::new(11).unwrap()).unwrap_err().pages,
        2048
    );
    drop(folios);
    assert_eq!(arena.free_pages(), 2048);
    let pages = arena.alloc_pages_zeroed(1500).unwrap();
    assert_eq!((pages.len(), arena.free_pages()), (1500 * PAGE_SIZE, 548));
    assert!(pages.iter().step_by(511).all(|byte| *byte == 0));
    assert!(arena.alloc_pages(600).is_err());
    assert!(arena.alloc_pages(0).is_err() && arena.alloc_pages(u64::MAX).is_err());
}

#[test]
fn scratch_and_the_null_page_are_never_allocated() {
    let scratch = PhysRange::new(PhysAddr::new(4 << 20), 4 << 20).unwrap();
    let config = ArenaConfig::new(PhysAddr::NULL, 12 << 20).scratch(scratch);
    let arena = Arena::heap(&config).unwrap();
    assert_eq!(arena.free_pages(), 2048 - 1);
    let mut all = Vec::new();
    while let Ok(folio) = arena.alloc(Order::ZERO) {
        assert!(!folio.addr().is_null() && !scratch.contains(folio.addr()));
        all.push(folio);
    }
    assert_eq!(all.len(), 2047);
}

#[test]
fn a_configuration_without_sense_is_refused() {
    let check = |config: ArenaConfig, words: &str| {
        let error = Arena::heap(&config).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(ArenaConfig::new(PhysAddr::new(0x1000), 4 << 20), "base");
    check(config(0), "size");
    check(config(4096), "size");
    check(config(ARENA_MAX + ARENA_ALIGN), "up to 1 TiB");
    check(
        ArenaConfig::new(PhysAddr::new((1 << 52) - ARENA_ALIGN), 8 << 20),
        "2^52",
    );
    let at = |start: u64, len| PhysRange::new(PhysAddr::new(start), len).unwrap();
    check(config(8 << 20).scratch(at(BASE + 4096, 4 << 20)), "scratch");
    check(
        config(8 << 20).scratch(at(BASE + (8 << 20), 4 << 20)),
        "scratch",
    );
    let twice = at(BASE, 4 << 20);
    check(config(8 << 20).scratch(twice).scratch(twice), "apart");
}

#[test]
fn what_is_handed_over_is_found_and_adopted_once() {
    let arena = Arena::heap(&config(8 << 20)).unwrap();
    let mut given = arena.alloc_zeroed(Order::new(1).unwrap()).unwrap();
    given[5] = 7;
    let addr = given.addr();
    let kept = given.run();
    let arena = arena
        .into_handed()
        .expect_err("a folio is still owned")
        .clone();
    given.hand_over();
    assert_eq!(arena.free_pages(), 2046, "neither free nor owned");
    let mut handed = arena.into_handed().unwrap();
    assert_eq!(handed.read::<u8>(PhysAddr::new(addr.get() + 5)).unwrap(), 7);
    let arena = handed.reclaim([kept], &[]);
    assert_eq!((arena.free_pages(), handed.pages()), (2046, 2));
    assert!(
        handed.read::<u8>(PhysAddr::new(addr.get() + 8192)).is_err(),
        "free: not readable"
    );
    assert_eq!(handed.region(PhysAddr::NULL).unwrap().start(), addr);
    assert!(
        handed.adopt(addr, Order::new(2).unwrap()).is_err(),
        "larger than what was handed"
    );
    let single = PhysAddr::new(addr.get() + 4096);
    assert!(
        handed.adopt(single, Order::new(1).unwrap()).is_err(),
        "unaligned"
    );
    let second = handed.adopt(single, Order::ZERO).unwrap();
    assert!(handed.adopt(single, Order::ZERO).is_err(), "once");
    assert!(
        handed.adopt(addr, Order::new(1).unwrap()).is_err(),
        "a part is gone"
    );
    let first = handed.adopt(addr, Order::ZERO).unwrap();
    assert_eq!(first[5], 7);
    drop((first, second));
    handed.free_rest();
    assert_eq!(arena.free_pages(), 2048);
}

#[test]
fn the_rest_is_freed_and_nothing_twice() {
    let arena = Arena::heap(&config(4 << 20)).unwrap();
    let keep = PageRun {
        pfn: frame((BASE >> 12) + 3),
        pages: 10,
    };
    let outside = PageRun {
        pfn: frame(1),
        pages: 1,
    };
    let mut handed = arena.into_handed().unwrap();
    let arena = handed.reclaim([keep, outside, keep], &[]);
    assert_eq!(arena.free_pages(), 1024 - 10);
    let run = PageRun {
        pfn: frame(keep.pfn.get() + 2),
        pages: 3,
    };
    assert!(handed.contains(run));
    let pages = handed.adopt_pages(run).unwrap();
    assert!(!handed.contains(run));
    handed.free_rest();
    assert_eq!(arena.free_pages(), 1024 - 3);
    drop(pages);
    assert_eq!(arena.free_pages(), 1024);
}

#[test]
fn what_is_somebodys_is_not_kept_a_second_time() {
    let arena = Arena::heap(&config(4 << 20)).unwrap();
    let run = PageRun {
        pfn: frame(BASE >> 12),
        pages: 4,
    };
    let mut handed = arena.into_handed().unwrap();
    handed.reclaim([run], &[]);
    let owned = handed.adopt_pages(run).unwrap();
    let arena = handed.reclaim([run], &[]);
    assert!(handed.adopt_pages(run).is_err(), "it is owned");
    let free = arena.alloc(Order::ZERO).unwrap();
    handed.reclaim([free.run()], &[]);
    assert!(handed.adopt_pages(free.run()).is_err(), "it was allocated");
    handed.free_rest();
    assert_eq!(arena.free_pages(), 1024 - 5);
    drop(owned);
}

#[cfg(not(miri))]
#[test]
fn a_memfd_is_mapped_once() {
    let config = config(4 << 20);
    let arena = Arena::memfd(&config).unwrap();
    let file = arena.file().unwrap().try_clone().unwrap();
    let error = Handed::attach(file.try_clone().unwrap(), &config).unwrap_err();
    assert!(error.to_string().contains("this process has it already"));
    drop(arena);
    Handed::attach(file, &config).unwrap();
}

#[cfg(not(miri))]
#[test]
fn a_memfd_arena_is_sparse_and_found_again() {
    let config = ArenaConfig::new(PhysAddr::new(1 << 40), ARENA_MAX);
    let arena = Arena::memfd(&config).unwrap();
    let mut folio = arena.alloc_zeroed(Order::MAX_FOLIO).unwrap();
    folio[4096] = 9;
    let addr = folio.addr();
    let file = arena.file().unwrap().try_clone().unwrap();
    folio.hand_over();
    drop(arena);
    let handed = Handed::attach(file.try_clone().unwrap(), &config).unwrap();
    assert_eq!(
        handed.read::<u8>(PhysAddr::new(addr.get() + 4096)).unwrap(),
        9
    );
    drop(handed);
    let other = ArenaConfig::new(PhysAddr::new(1 << 40), 8 << 20);
    let error = Handed::attach(file, &other).unwrap_err().to_string();
    assert!(error.contains("not 0x800000"), "{error}");
    let plain = tempfile::tempfile().unwrap();
    plain.set_len(8 << 20).unwrap();
    assert!(Handed::attach(plain, &other).is_err());
}

#[cfg(not(miri))]
#[test]
fn an_arena_that_is_mapped_anew_has_the_same_bytes() {
    let arena = Arena::memfd(&config(16 << 20)).unwrap();
    let mut folio = arena.alloc_zeroed(Order::MAX_FOLIO).unwrap();
    folio[7] = 7;
    let view = &folio[..];
    arena.unmap_ahead().unwrap();
    assert_eq!(view[7], 7);
    arena.unmap().unwrap();
    assert_eq!(view[7], 7);
    folio[8] = 8;
    arena.unmap().unwrap();
    assert_eq!(folio[7..9], [7, 8]);
}

#[cfg(not(miri))]
#[test]
fn trimmed_memory_is_zero_when_it_is_used_again() {
    let arena = Arena::memfd(&config(16 << 20)).unwrap();
    let mut folio = arena.alloc(Order::MAX_FOLIO).unwrap();
    folio.fill(1);
    drop(folio);
    let small = arena.alloc(Order::ZERO).unwrap();
    assert_eq!(arena.trim().unwrap(), 12 << 20);
    drop(small);
    assert_eq!(arena.trim().unwrap(), 16 << 20);
    assert!(
        arena
            .alloc(Order::MAX_FOLIO)
            .unwrap()
            .iter()
            .all(|byte| *byte == 0)
    );
}

#[test]
fn owners_on_many_threads_never_share_a_page() {
    let arena = Arena::heap(&config(4 << 20)).unwrap();
    let rounds = if cfg!(miri) { 4 } else { 200 };
    std::thread::scope(|scope| {
        for mark in 1..=4u8 {
            let arena = arena.clone();
            scope.spawn(move || {
                for round in 0..rounds {
                    let order = Order::new(mark % 3 + round % 2).unwrap();
                    let mut folio = arena.alloc(order).unwrap();
                    folio[0] = mark;
                    std::thread::yield_now();
                    assert_eq!(folio[0], mark);
                }
            });
        }
    });
    assert_eq!(arena.free_pages(), 1024);
}

#[test]
fn pages_are_split_and_each_part_comes_back() {
    let arena = Arena::heap(&config(4 << 20)).unwrap();
    let mut pages = arena.alloc_pages_zeroed(10).unwrap();
    let run = pages.run();
    assert!(pages.split_off(0).is_none() && pages.split_off(10).is_none());
    assert!(pages.split_off(usize::MAX).is_none());
    assert_eq!(pages.run(), run);
    let mut rest = pages.split_off(3).unwrap();
    let last = rest.split_off(6).unwrap();
    let parts =
        [&pages, &rest, &last].map(|part| (part.run().pfn.get() - run.pfn.get(), part.run().pages));
    assert_eq!(parts, [(0, 3), (3, 6), (9, 1)]);
    pages.fill(1);
    rest.fill(2);
    assert_eq!(
        (pages[3 * PAGE_SIZE - 1], rest[0], last[0], last.len()),
        (1, 2, 0, PAGE_SIZE)
    );
    rest.hand_over();
    drop(pages);
    assert_eq!(arena.free_pages(), 1024 - 7);
    drop(last);
    assert_eq!(arena.free_pages(), 1024 - 6);
}

#[cfg(target_has_atomic = "64")]
#[test]
fn words_are_shared_among_threads() {
    use core::sync::atomic::Ordering::{AcqRel, Relaxed};

    let arena = Arena::heap(&config(4 << 20)).unwrap();
    let mut pages = arena.alloc_pages_zeroed(4).unwrap();
    pages[PAGE_SIZE + 8] = 0x80;
    let run = pages.run();
    let shared = pages.into_atomic();
    assert_eq!(shared.run(), run);
    assert!(shared.words(3).is_some() && shared.words(4).is_none());
    assert!(shared.words(usize::MAX).is_none());
    // Each thread owns the rest of the arena's pages as before.
    let neighbour = arena.alloc_pages_zeroed(1).unwrap();
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let bits = (0..32).map(|bit| (1u64 << bit).to_le());
                    bits.filter(|bit| shared.words(1).unwrap()[1].fetch_or(*bit, AcqRel) & bit == 0)
                        .count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(won, 31, "one of the bits was set before");
    shared.words(3).unwrap()[511].store(u64::to_le(7), Relaxed);
    let pages = Pages::from(shared);
    assert_eq!(
        pages[PAGE_SIZE + 8..PAGE_SIZE + 16],
        [255, 255, 255, 255, 0, 0, 0, 0]
    );
    assert_eq!((pages[4 * PAGE_SIZE - 8], neighbour[0]), (7, 0));
    drop((pages, neighbour));
    assert_eq!(arena.free_pages(), 1024);
}

#[cfg(all(not(miri), target_has_atomic = "64"))]
#[test]
fn words_of_a_memfd_stay_when_it_is_mapped_anew() {
    use core::sync::atomic::Ordering::Relaxed;

    let arena = Arena::memfd(&config(8 << 20)).unwrap();
    let pages = arena.alloc_pages_zeroed(2).unwrap().into_atomic();
    let word = &pages.words(1).unwrap()[5];
    word.store(9, Relaxed);
    arena.unmap().unwrap();
    assert_eq!(word.fetch_add(1, Relaxed), 9);
    assert_eq!(word.load(Relaxed), 10);
}

#[test]
fn the_reserve_is_left_to_a_handover() {
    let arena = Arena::heap(&config(8 << 20)).unwrap();
    arena.set_reserve(100);
    let owned: Vec<_> = core::iter::from_fn(|| arena.alloc(Order::ZERO).ok()).collect();
    assert_eq!((owned.len(), arena.free_pages()), (1948, 100));
    assert!(arena.alloc_pages(1).is_err() && arena.clone().alloc(Order::ZERO).is_err());
    let handover = arena.for_handover();
    let last: Vec<_> = core::iter::from_fn(|| handover.alloc(Order::ZERO).ok()).collect();
    assert_eq!((last.len(), arena.free_pages()), (100, 0));
    // What is freed fills the reserve first.
    drop(last);
    assert!(arena.alloc(Order::ZERO).is_err());
    drop(owned);
    let large = Order::new(4).unwrap();
    assert!(arena.alloc(large).is_ok() && arena.is(&handover) && handover.reserve() == 100);
}
