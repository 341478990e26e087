//! The segments of a core as memory: each address once, whatever lists it.
//!
//! Dumps list memory more than once. QEMU's `dump-guest-memory paging=true` has a segment per virtual mapping, and
//! all of one page have the same bytes of the file. kdump has one for the kernel's text, whose memory lies in a
//! segment of RAM too: its bytes stand in the file twice. Such a segment adds no memory, and is an alias. Segments
//! that share memory where each has some of its own contradict each other.

use std::collections::BTreeMap;

use kho_mem::{PhysAddr, PhysRange};

use crate::image::{ImageError, Segment};

/// A segment as a program header has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) range: PhysRange,
    pub(crate) virt: u64,
    pub(crate) offset: u64,
    // Bytes that the file should have of it.
    pub(crate) stored: u64,
}

impl Load {
    /// How many of its bytes a file of `len` bytes has.
    pub(crate) fn present(&self, len: u64) -> u64 {
        self.stored.min(len.saturating_sub(self.offset))
    }
}

/// What stands for a stretch of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    /// The file's byte at the address and this, modulo 2^64.
    File(u64),
    NotStored,
    Zeros,
}

/// A stretch of memory. It may end where the address space does.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: u128,
    end: u128,
    source: Source,
}

impl Stretch {
    const fn len(&self) -> u128 {
        self.end - self.start
    }

    /// Where in the file its bytes stand.
    fn offset(&self) -> u64 {
        match self.source {
            Source::File(delta) => self.range().start().get().wrapping_add(delta),
            Source::NotStored | Source::Zeros => 0,
        }
    }

    fn range(&self) -> PhysRange {
        let start = u64::try_from(self.start).unwrap_or(u64::MAX);
        // All of the address space is one byte more than a length says.
        let len = u64::try_from(self.len()).unwrap_or(u64::MAX);
        PhysRange::new(PhysAddr::new(start), len).unwrap_or(PhysRange::EMPTY)
    }
}

/// The memory that `loads` list in a file of `len` bytes: in order of address, each address once. What a segment has
/// beyond its bytes in the file is zero where `zeros` says so, else not stored; and not stored is what the file is
/// too short for. Where the file has bytes of an address twice, those of the segment that is no alias count, of
/// aliases those of the longest. O(n log n).
pub(crate) fn memory(loads: &[Load], len: u64, zeros: bool) -> Result<Vec<Segment>, ImageError> {
    let mut stored = Vec::new();
    let (mut lost, mut rest) = (Vec::new(), Vec::new());
    for load in loads {
        let (start, end) = (u128::from(load.range.start().get()), load.range.end());
        let present = start + u128::from(load.present(len));
        let whole = start + u128::from(load.stored);
        let delta = load.offset.wrapping_sub(load.range.start().get());
        stored.push((delta, start, present));
        lost.push((0, present, whole));
        let tail = if zeros { &mut rest } else { &mut lost };
        tail.push((0, whole, end));
    }
    let stretch = |source: fn(u64) -> Source| {
        move |(delta, start, end)| Stretch {
            start,
            end,
            source: source(delta),
        }
    };
    let stored: Vec<_> = united(stored)
        .into_iter()
        .map(stretch(Source::File))
        .collect();
    let lost = united(lost).into_iter().map(stretch(|_| Source::NotStored));
    let rest = united(rest).into_iter().map(stretch(|_| Source::Zeros));
    let tails: Vec<_> = lost.chain(rest).collect();

    let alone = alone(&stored, &tails);
    let (mut own, mut aliases): (Vec<_>, Vec<_>) = stored.into_iter().partition(|one| {
        let next = alone.partition_point(|(_, end)| *end <= one.start);
        alone.get(next).is_some_and(|(start, _)| *start < one.end)
    });
    own.sort_unstable_by_key(|one| one.start);
    for (one, two) in own.iter().zip(own.iter().skip(1)) {
        if two.start < one.end {
            return Err(ImageError::damaged(
                "PT_LOAD segments overlap",
                two.offset(),
                format!("{} and {}", one.range(), two.range()),
                "segments that do not share memory",
            ));
        }
    }
    // Total: a dump reads in the same way each time.
    aliases.sort_unstable_by_key(|one| (u128::MAX - one.len(), one.start, one.offset()));
    let mut covered = Covered::default();
    let mut out = Vec::with_capacity(own.len());
    for one in own.into_iter().chain(aliases).chain(tails) {
        let new = covered.add(one.start, one.end).into_iter();
        out.extend(new.map(|(start, end)| Stretch { start, end, ..one }));
    }
    share_no_bytes(&out)?;
    out.sort_unstable_by_key(|one| one.start);
    Ok(segments(&out))
}

/// Memory without bytes of the file joins the segment before it.
fn segments(stretches: &[Stretch]) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::with_capacity(stretches.len());
    for one in stretches {
        let range = one.range();
        let zeros = one.source != Source::NotStored;
        if !matches!(one.source, Source::File(_))
            && let Some(last) = out.last_mut()
            && last.range.end() == one.start
            && (last.zeros == zeros || last.stored == last.range.len())
            && let Some(len) = last.range.len().checked_add(range.len())
            && let Some(joined) = PhysRange::new(last.range.start(), len)
        {
            (last.range, last.zeros) = (joined, zeros);
            continue;
        }
        let is_stored = matches!(one.source, Source::File(_));
        out.push(Segment {
            range,
            offset: one.offset(),
            stored: if is_stored { range.len() } else { 0 },
            zeros,
        });
    }
    out
}

/// Different memory has different bytes. Without this a small file could hold much memory.
fn share_no_bytes(stretches: &[Stretch]) -> Result<(), ImageError> {
    let stored = stretches.iter();
    let stored = stored.filter(|one| matches!(one.source, Source::File(_)));
    let mut stored: Vec<_> = stored.collect();
    stored.sort_unstable_by_key(|one| one.offset());
    for (one, two) in stored.iter().zip(stored.iter().skip(1)) {
        if u128::from(one.offset()) + one.len() > u128::from(two.offset()) {
            return Err(ImageError::damaged(
                "PT_LOAD segments overlap in the file",
                two.offset(),
                format!(
                    "the bytes of {} among those of {}",
                    two.range(),
                    one.range()
                ),
                "segments that do not share bytes",
            ));
        }
    }
    Ok(())
}

/// Intervals of the same number, where those that touch are one; in order of that number and their start.
fn united(mut all: Vec<(u64, u128, u128)>) -> Vec<(u64, u128, u128)> {
    all.retain(|(_, start, end)| start < end);
    all.sort_unstable();
    let mut out: Vec<(u64, u128, u128)> = Vec::with_capacity(all.len());
    for (of, start, end) in all {
        match out.last_mut() {
            Some((last, _, until)) if *last == of && start <= *until => *until = end.max(*until),
            _ => out.push((of, start, end)),
        }
    }
    out
}

/// Memory that one of `stored` lists and nothing else does.
fn alone(stored: &[Stretch], tails: &[Stretch]) -> Vec<(u128, u128)> {
    let mut events = Vec::new();
    for one in stored.iter().chain(tails) {
        let is_stored = i64::from(matches!(one.source, Source::File(_)));
        events.push((one.start, 1, is_stored));
        events.push((one.end, -1, -is_stored));
    }
    events.sort_unstable();
    let (mut all, mut with_bytes) = (0i64, 0i64);
    let (mut out, mut from) = (Vec::new(), 0);
    for (at, one, is_stored) in events {
        if all == 1 && with_bytes == 1 && from < at {
            out.push((from, at));
        }
        all += one;
        with_bytes += is_stored;
        from = at;
    }
    out
}

/// Memory that is accounted for: start and end of intervals that do not touch.
#[derive(Default)]
struct Covered(BTreeMap<u128, u128>);

impl Covered {
    /// Adds an interval. Returns what of it was not in there. O(log n), over all calls.
    fn add(&mut self, start: u128, end: u128) -> Vec<(u128, u128)> {
        let touching = self.0.range(..=end).rev();
        let mut touching: Vec<_> = touching
            .take_while(|(_, until)| **until >= start)
            .map(|(from, until)| (*from, *until))
            .collect();
        touching.reverse();
        let (mut new, mut at) = (Vec::new(), start);
        for (from, until) in &touching {
            if at < *from {
                new.push((at, *from));
            }
            at = at.max(*until);
            self.0.remove(from);
        }
        if at < end {
            new.push((at, end));
        }
        let from = touching.first().map_or(start, |(from, _)| start.min(*from));
        self.0.insert(from, at.max(end));
        new
    }
}

#[cfg(test)]
mod tests;
