//! Linked blocks: grown, written, restored, read.

use std::hint::black_box;
use std::time::Duration;

use kho_block::{BlockSet, OutgoingBlockSet};
use kho_core::Preserver;
use kho_mem::{ARENA_ALIGN, Arena, ArenaConfig, Handed, Link, PAGE_SIZE_U64, PhysAddr};
use kho_radix::{Claims, Preserved, Reading};
use zerocopy::little_endian::U64;

use crate::data::entry;
use crate::radix::timed;
use crate::{Data, Result, Work, Workload};

/// Four words: 32 bytes.
pub type Entry = [U64; 4];

const BASE: PhysAddr = PhysAddr::new(1 << 32);
const LEAST: u64 = 64 << 20;
const NAME: &str = "entries";

/// An empty set in an arena that holds `count` entries.
pub fn set(count: u64) -> Result<(Arena, Preserver, OutgoingBlockSet<Entry>)> {
    let pages = count / OutgoingBlockSet::<Entry>::PER_BLOCK as u64 + 64;
    let size = (pages * PAGE_SIZE_U64 * 9 / 8).max(LEAST);
    let config = ArenaConfig::new(BASE, size.next_multiple_of(ARENA_ALIGN));
    let arena = Arena::heap(&config)?;
    let preserver = Preserver::new(arena.clone())?;
    let set = OutgoingBlockSet::new(preserver.clone());
    Ok((arena, preserver, set))
}

/// The same with room for all of them.
pub fn grown(count: u64) -> Result<(Arena, Preserver, OutgoingBlockSet<Entry>)> {
    let (arena, preserver, mut set) = set(count)?;
    set.grow(usize::try_from(count)?)?;
    Ok((arena, preserver, set))
}

/// Grows the set by one entry, `count` times.
pub fn grow_each(set: &mut OutgoingBlockSet<Entry>, count: u64) -> Result<()> {
    let count = usize::try_from(count)?;
    for have in 1..=count {
        set.grow(have)?;
    }
    Ok(())
}

/// Writes `count` entries, one call each.
pub fn write_each(set: &mut OutgoingBlockSet<Entry>, count: u64) -> Result<()> {
    for index in 0..count {
        *set.reserve_entry()? = entry(index).map(U64::new);
    }
    Ok(())
}

/// Writes `count` entries, block after block.
pub fn write_slices(set: &mut OutgoingBlockSet<Entry>, count: u64) -> Result<()> {
    let mut index = 0;
    while index < count {
        for to in set.reserve_entries(usize::try_from(count - index)?)? {
            *to = entry(index).map(U64::new);
            index += 1;
        }
    }
    Ok(())
}

/// A set that was handed over, and what its reader knows of it.
#[derive(Debug)]
pub struct Written {
    handed: Handed,
    head: PhysAddr,
    claims: Claims,
}

impl Written {
    /// A set of `count` entries.
    pub fn new(count: u64) -> Result<Self> {
        let (arena, preserver, mut set) = grown(count)?;
        write_each(&mut set, count)?;
        let head = set.head();
        set.hand_over();
        let root = preserver.root();
        preserver.hand_over().map_err(|_| "the set is in use")?;
        let handed = arena.into_handed().map_err(|_| "the arena is in use")?;
        let preserved = Preserved::read(&handed, Link::given(root, "root"))?;
        let claims = Claims::new(&preserved);
        Ok(Self {
            handed,
            head,
            claims,
        })
    }

    /// Restores the set, with every check: each block is a preserved page of its own, in use nowhere
    /// else, and full before the last.
    pub fn restore(&mut self) -> Result<BlockSet<'_, Entry>> {
        let mut reading = Reading::lent(&self.handed, &mut self.claims);
        Ok(BlockSet::read(&mut reading, Link::given(self.head, NAME))?)
    }

    /// Takes the claims of a restore back, so that there may be another.
    pub fn forget(&mut self) {
        self.claims.take_back_to(0);
    }
}

/// Reads every entry of a set; returns how many there are.
pub fn read_each(set: &BlockSet<'_, Entry>) -> Result<u64> {
    let (mut sum, mut count) = (0u64, 0);
    for entry in set.iter() {
        for word in entry?.iter() {
            sum = sum.wrapping_add(word.get());
        }
        count += 1;
    }
    black_box(sum);
    Ok(count)
}

fn read(written: &mut Written, entries: u64) -> Result<Duration> {
    let set = written.restore()?;
    let took = timed(|| {
        let read = read_each(&set)?;
        if read == entries {
            return Ok(());
        }
        Err(format!("{read} of {entries} entries were read").into())
    })?;
    drop(set);
    written.forget();
    Ok(took)
}

pub(crate) fn workloads(data: Data) -> Vec<Workload> {
    let count = data.entries;
    let work = Work::Entries(count, count * size_of::<Entry>() as u64);
    let made = move || Written::new(count);
    let written = |name, write: fn(&mut OutgoingBlockSet<Entry>, u64) -> Result<()>| {
        Workload::new(name, work, move || {
            let (_arena, _preserver, mut set) = grown(count)?;
            timed(|| write(&mut set, count))
        })
    };
    vec![
        Workload::new("block_grow_per_entry", work, move || {
            let (_arena, _preserver, mut set) = set(count)?;
            timed(|| grow_each(&mut set, count))
        }),
        written("block_write_32B", write_each),
        written("block_write_32B_slices", write_slices),
        Workload::on("block_restore", work, made, |written| {
            let took = timed(|| written.restore().map(|set| set.len()))?;
            written.forget();
            Ok(took)
        }),
        Workload::on("block_read_32B", work, made, move |written| {
            read(written, count)
        }),
    ]
}
