//! What is written of sets for given inputs: the part of the format that no struct shows.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_block::{BlockError, Format, OutgoingBlockSet};
use kho_core::Preserver;
use kho_mem::{PageSize, PhysAddr};
use zerocopy::little_endian::U64;

use crate::dump::{Dump, arena, number};

// The format's number, written once more: a dump must not change with the constant.
const BLOCK: usize = 4096;

/// Three of them fill a block of version 1.
type Entry = [[u8; 16]; 85];

fn entry(number: u8) -> Entry {
    let mut entry = [[0; 16]; 85];
    for (part, byte) in [(0, 0xe0), (84, 0xf0)] {
        if let Some(part) = entry.get_mut::<usize>(part) {
            part.fill(byte | number);
        }
    }
    entry
}

fn fill(
    set: &mut OutgoingBlockSet<Entry>,
    numbers: std::ops::RangeInclusive<u8>,
) -> Result<(), Failure> {
    for number in numbers {
        *set.reserve_entry()? = entry(number);
    }
    Ok(())
}

/// Adds the blocks of the set at `head`.
fn blocks(dump: &mut Dump, head: PhysAddr) -> Result<(), Failure> {
    for at in dump.chain(head)? {
        dump.memory("block", at, BLOCK)?;
    }
    Ok(())
}

/// A set after each of its steps, whose entries and blocks `make` makes.
fn set(
    make: impl FnOnce(&mut OutgoingBlockSet<Entry>) -> Result<(), Failure>,
) -> Result<Text, Failure> {
    let preserver = Preserver::new(arena()?)?;
    let root = preserver.root();
    let mut set = OutgoingBlockSet::with_format(preserver.clone(), Format::V1)?;
    make(&mut set)?;
    let head = set.head();
    set.hand_over();
    let mut dump = Dump::new(preserver.hand_over().map_err(|_| "still shared")?)?;
    let shown = dump.name(head);
    dump.line(format!("head {shown}"));
    blocks(&mut dump, head)?;
    dump.preserved(root)?;
    Ok(dump.finish().into())
}

/// A set without entries.
pub(crate) fn none() -> Result<Text, Failure> {
    set(|set| Ok(set.grow(1)?))
}

/// A set of one entry.
pub(crate) fn one() -> Result<Text, Failure> {
    set(|set| {
        set.grow(1)?;
        fill(set, 1..=1)
    })
}

/// A set whose block is full.
pub(crate) fn full() -> Result<Text, Failure> {
    set(|set| {
        set.grow(3)?;
        fill(set, 1..=3)
    })
}

/// A set of a full block and one more entry.
pub(crate) fn more() -> Result<Text, Failure> {
    set(|set| {
        set.grow(4)?;
        fill(set, 1..=4)
    })
}

/// A set from which entries and blocks were taken.
pub(crate) fn less() -> Result<Text, Failure> {
    set(|set| {
        set.grow(7)?;
        fill(set, 1..=7)?;
        for _ in 0..3 {
            set.prev().ok_or("no entry")?;
        }
        set.shrink(5);
        Ok(())
    })
}

/// A set that was cleared and filled once more.
pub(crate) fn again() -> Result<Text, Failure> {
    set(|set| {
        set.grow(4)?;
        fill(set, 1..=4)?;
        set.clear();
        fill(set, 9..=9)
    })
}

/// Small entries, which are packed.
pub(crate) fn packed() -> Result<Text, Failure> {
    let preserver = Preserver::new(arena()?)?;
    let mut set = OutgoingBlockSet::new(preserver.clone());
    set.grow(511)?;
    for number in 1..=511 {
        *set.reserve_entry()? = U64::new(number);
    }
    let head = set.head();
    set.hand_over();
    let mut dump = Dump::new(preserver.hand_over().map_err(|_| "still shared")?)?;
    for at in dump.chain(head)? {
        // Words, those that count up as a range.
        let page = dump.read(at, BLOCK)?;
        let mut runs: Vec<(usize, u64, u64)> = Vec::new();
        for (slot, value) in page.chunks(8).map(number).enumerate() {
            match runs.last_mut() {
                Some((from, _, last)) if *from >= 16 && value == last.wrapping_add(1) => {
                    *last = value;
                }
                _ if value != 0 || slot < 2 => runs.push((slot * 8, value, value)),
                _ => {}
            }
        }
        let shown = dump.name(at);
        let mut line = format!("block at {shown}:");
        for (from, first, last) in runs {
            let (first, last) = match from {
                0 => {
                    let next = dump.name(PhysAddr::new(first));
                    (format!("{next}"), String::new())
                }
                _ if first == last => (format!("{first}"), String::new()),
                _ => (format!("{first}"), format!(" to {last}")),
            };
            let _ = write!(line, " {from:#x}: {first}{last}");
        }
        dump.line(line);
    }
    Ok(dump.finish().into())
}

/// How many entries fit a block.
pub(crate) fn capacity() -> Result<Text, Failure> {
    let sizes = [1, 8, 64, 80, 4080, 4081];
    Ok(counts(&sizes, |size| Format::V1.count_per_block(size)))
}

pub(crate) fn capacity_16k() -> Result<Text, Failure> {
    let sizes = [1, 8, 64, 80, 16368, 16369];
    Ok(counts(&sizes, |size| {
        Format::V1.count_per_page(PageSize::K16, size)
    }))
}

pub(crate) fn capacity_64k() -> Result<Text, Failure> {
    let sizes = [1, 8, 64, 80, 65520, 65521];
    Ok(counts(&sizes, |size| {
        Format::V1.count_per_page(PageSize::K64, size)
    }))
}

fn counts(sizes: &[usize], count: impl Fn(usize) -> usize) -> Text {
    let lines = sizes
        .iter()
        .map(|size| format!("{size} bytes: {}", count(*size)));
    lines.collect::<Vec<_>>().join("\n").into()
}

/// The largest set.
pub(crate) fn largest() -> Result<Text, Failure> {
    let preserver = Preserver::new(arena()?)?;
    let mut text = String::new();
    for grown in [
        OutgoingBlockSet::<[u8; 64]>::new(preserver.clone()).grow(usize::MAX),
        OutgoingBlockSet::<[u8; 80]>::new(preserver.clone()).grow(usize::MAX),
    ] {
        if let Err(BlockError::TooMany { max, .. }) = grown {
            let _ = writeln!(text, "{max} entries");
        }
    }
    Ok(text.into())
}
