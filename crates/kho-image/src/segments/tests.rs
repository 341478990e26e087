#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

fn load(addr: u64, memory: u64, offset: u64, stored: u64) -> Load {
    Load {
        range: PhysRange::new(PhysAddr::new(addr), memory).unwrap(),
        virt: addr,
        offset,
        stored,
    }
}

/// What a reader finds at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Outside,
    Byte(u64),
    Zero,
    NotStored,
}

fn at(segments: &[Segment], addr: u64) -> At {
    let addr = PhysAddr::new(addr);
    let mut holders = segments.iter().filter(|one| one.range.contains(addr));
    let Some(segment) = holders.next() else {
        return At::Outside;
    };
    assert!(holders.next().is_none(), "each address once");
    let from = addr.get() - segment.range.start().get();
    match from < segment.stored {
        true => At::Byte(segment.offset + from),
        false if segment.zeros => At::Zero,
        false => At::NotStored,
    }
}

/// The same, address by address and by the words of the module's documentation.
fn naive(loads: &[Load], len: u64, zeros: bool, most: u64) -> Option<Vec<At>> {
    // Runs of addresses with the same place in the file, as far as the file goes.
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for delta in loads
        .iter()
        .map(|l| l.offset.wrapping_sub(l.range.start().get()))
    {
        let has = |addr: u64| {
            loads.iter().any(|l| {
                let from = addr.wrapping_sub(l.range.start().get());
                let of = l.offset.wrapping_sub(l.range.start().get());
                l.range.contains(PhysAddr::new(addr)) && of == delta && from < l.present(len)
            })
        };
        let mut addr = 0;
        while addr < most {
            let start = addr;
            while has(addr) {
                addr += 1;
            }
            let run = (start, addr, delta);
            if start < addr && !runs.contains(&run) {
                runs.push(run);
            }
            addr += 1;
        }
    }
    let tail = |addr: u64, lost: bool| {
        loads.iter().any(|l| {
            let from = addr.wrapping_sub(l.range.start().get());
            let is_tail = if from < l.stored { lost } else { lost != zeros };
            l.range.contains(PhysAddr::new(addr)) && from >= l.present(len) && is_tail
        })
    };
    let of = |addr: u64| {
        runs.iter()
            .filter(move |run| (run.0..run.1).contains(&addr))
    };
    let any_tail = |addr| tail(addr, true) || tail(addr, false);
    let is_own =
        |run: &(u64, u64, u64)| (run.0..run.1).any(|addr| of(addr).count() == 1 && !any_tail(addr));
    let mut out = Vec::new();
    for addr in 0..most {
        let own: Vec<_> = of(addr).filter(|run| is_own(run)).collect();
        if own.len() > 1 {
            return None;
        }
        let rank = |run: &&(u64, u64, u64)| {
            let (start, end, delta) = **run;
            (u64::MAX - (end - start), start, start.wrapping_add(delta))
        };
        let run = own.into_iter().next().or_else(|| of(addr).min_by_key(rank));
        out.push(match run {
            Some((.., delta)) => At::Byte(addr.wrapping_add(*delta)),
            None if tail(addr, true) => At::NotStored,
            None if tail(addr, false) => At::Zero,
            None => At::Outside,
        });
    }
    let mut bytes: Vec<_> = out
        .iter()
        .filter_map(|at| match at {
            At::Byte(offset) => Some(*offset),
            _ => None,
        })
        .collect();
    let all = bytes.len();
    bytes.sort_unstable();
    bytes.dedup();
    (bytes.len() == all).then_some(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn memory_is_what_a_naive_reader_finds(
        // Places of the file that are the address and few others, so that aliases are made.
        loads in prop::collection::vec((0u64..24, 1u64..12, 0u64..3, 0u64..12), 1..7),
        len in 0u64..120,
        zeros: bool,
    ) {
        let loads: Vec<_> = loads.into_iter().map(|(addr, memory, place, stored)| {
            load(addr, memory, addr + place * 40, stored.min(memory))
        }).collect();
        let found = memory(&loads, len, zeros);
        match naive(&loads, len, zeros, 40) {
            Some(expected) => {
                let found = found.unwrap();
                let found: Vec<_> = (0..40).map(|addr| at(&found, addr)).collect();
                prop_assert_eq!(found, expected);
            }
            None => prop_assert!(found.is_err()),
        }
    }
}

const FILE: u64 = 1 << 40;

fn ranges(segments: &[Segment]) -> Vec<(u64, u64, u64, u64)> {
    let of = |one: &Segment| {
        let range = one.range;
        (range.start().get(), range.len(), one.offset, one.stored)
    };
    segments.iter().map(of).collect()
}

#[track_caller]
fn refused(loads: &[Load], part: &str) {
    let error = memory(loads, FILE, true).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn one_page_mapped_many_times_is_one_page() {
    // As QEMU lists what is mapped: all of RAM, pages of it again, a range over the end of another.
    let mut loads = vec![load(0x1000, 0x10_0000, 0x4000, 0x10_0000)];
    loads.extend((0..200).map(|page| {
        load(
            0x5000 + page * 0x1000,
            0x1000,
            0x8000 + page * 0x1000,
            0x1000,
        )
    }));
    loads.push(load(0x10_0000, 0x3000, 0x10_3000, 0x3000));
    // Device memory, whose bytes nobody has.
    loads.push(load(0xfee0_0000, 0x1000, 0, 0));
    let found = ranges(&memory(&loads, FILE, false).unwrap());
    assert_eq!(
        found,
        [
            (0x1000, 0x10_2000, 0x4000, 0x10_2000),
            (0xfee0_0000, 0x1000, 0, 0)
        ]
    );
}

#[test]
fn a_second_copy_of_a_part_of_ram_is_an_alias() {
    let ram = load(0x10_0000, 0x80_0000, 0x40_0000, 0x80_0000);
    let text = load(0x20_0000, 0x10_0000, 0x1000, 0x10_0000);
    for loads in [[ram, text], [text, ram]] {
        let found = ranges(&memory(&loads, FILE, false).unwrap());
        assert_eq!(found, [(0x10_0000, 0x80_0000, 0x40_0000, 0x80_0000)]);
    }
    // RAM in parts, as makedumpfile leaves it: the copy lies over the border of two of them.
    let loads = [
        load(0x10_0000, 0x14_0000, 0x40_0000, 0x14_0000),
        load(0x24_0000, 0x10_0000, 0x80_0000, 0x10_0000),
        text,
    ];
    let found = ranges(&memory(&loads, FILE, false).unwrap());
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].2, 0x40_0000);
    // What RAM's segment leaves out, the copy has.
    let ram = load(0x10_0000, 0x80_0000, 0x40_0000, 0x18_0000);
    let found = ranges(&memory(&[ram, text], FILE, false).unwrap());
    let expected = [
        (0x10_0000, 0x18_0000, 0x40_0000, 0x18_0000),
        (0x28_0000, 0x68_0000, 0x8_1000, 0x8_0000),
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_has_memory_of_its_own_and_shares_some_is_refused() {
    refused(
        &[
            load(0, 0x2000, 0x1000, 0x2000),
            load(0x1000, 0x2000, 0x9000, 0x2000),
        ],
        "PT_LOAD segments overlap",
    );
}

#[test]
fn different_memory_has_different_bytes() {
    let shared: Vec<_> = (0..100)
        .map(|n| load(n << 30, 1 << 30, 0x1000, 1 << 30))
        .collect();
    refused(&shared, "overlap in the file");
}

#[test]
fn a_file_that_is_too_short_has_the_rest_nowhere() {
    let loads = [
        load(0, 0x3000, 0x1000, 0x2000),
        load(0x8000, 0x1000, 0x3000, 0x1000),
    ];
    let found = memory(&loads, 0x2000, true).unwrap();
    let pages = [0, 0x1000, 0x2000, 0x3000, 0x8000].map(|addr| at(&found, addr));
    let expected = [
        At::Byte(0x1000),
        At::NotStored,
        At::Zero,
        At::Outside,
        At::NotStored,
    ];
    assert_eq!(pages, expected);
}

#[test]
fn many_segments_are_sorted_out_at_once() {
    // Of each page the file has two copies, and every copy lies over others of both kinds.
    let many = 200_000;
    let shifted = (0..many).map(|n| load(n * 0x1000, 0x2000, FILE / 2 + n * 0x2000, 0x2000));
    let loads: Vec<_> = [load(0, (many + 1) * 0x1000, 0, (many + 1) * 0x1000)]
        .into_iter()
        .chain(shifted)
        .collect();
    let since = std::time::Instant::now();
    assert_eq!(memory(&loads, FILE, true).unwrap().len(), 1);
    assert!(since.elapsed().as_secs() < 10, "{:?}", since.elapsed());
}

#[test]
fn all_of_the_address_space_is_memory() {
    let loads = [
        load(0, u64::MAX, 0, 0),
        load(u64::MAX - 0xfff, 0x1000, 0, 0),
    ];
    let found = memory(&loads, FILE, false).unwrap();
    assert_eq!(
        found.iter().map(|one| one.range.len()).max(),
        Some(u64::MAX)
    );
}
