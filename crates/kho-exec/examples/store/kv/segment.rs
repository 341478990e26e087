//! Segments: the files that records lie in.

use std::sync::Arc;

use kho_mem::PAGE_SIZE_U64;
use kho_memfd::MemFile;

use super::record::Record;
use super::words::{put, read, segment_of, write};
use super::{Kv, KvError, Result, damaged};

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"kvseg--1");
/// Bytes of the head.
pub(super) const SEGMENT_HEAD: u64 = 32;
/// A file grows by this much at first, then twofold, then by this much: pieces that folios fit.
const GROW_FIRST: u64 = 64 << 10;
const GROW_MOST: u64 = 2 << 20;

pub(super) struct Segment {
    pub(super) file: Arc<MemFile>,
    // Where the next record goes.
    pub(super) used: u64,
    pub(super) dead: u64,
}

impl Segment {
    pub(super) fn open(file: Arc<MemFile>, wanted: u64) -> Result<Self> {
        let [magic, number, used, dead] = read(&file, 0)?;
        let place = wanted << 32;
        if magic != SEGMENT_MAGIC {
            return Err(damaged("a segment's magic number", place, magic));
        }
        if number != wanted {
            return Err(damaged("a segment's number", place, number));
        }
        if used < SEGMENT_HEAD
            || used > file.size()
            || used > u64::from(u32::MAX)
            || !used.is_multiple_of(8)
        {
            return Err(damaged("a segment's end", place, used));
        }
        if dead > used {
            return Err(damaged("a segment's dead bytes", place, dead));
        }
        Ok(Self { file, used, dead })
    }

    pub(super) const fn is_mostly_dead(&self) -> bool {
        self.dead > self.used / 2
    }

    pub(super) fn write_head(&self, number: u64) -> Result<()> {
        write(&self.file, 0, [SEGMENT_MAGIC, number, self.used, self.dead])
    }
}

impl Kv {
    pub(super) fn segment(&self, number: u64) -> Result<&Segment> {
        let slot = usize::try_from(number)
            .ok()
            .and_then(|at| self.segments.get(at));
        slot.and_then(Option::as_ref)
            .ok_or(damaged("the number of a segment", 0, number))
    }

    pub(super) fn segment_mut(&mut self, number: u64) -> Result<&mut Segment> {
        let slot = usize::try_from(number)
            .ok()
            .and_then(|at| self.segments.get_mut(at));
        slot.and_then(Option::as_mut)
            .ok_or(damaged("the number of a segment", 0, number))
    }

    /// Room for a record of `len` bytes, where at least `reserved` pages stay free.
    pub(super) fn reserve(&mut self, len: u64, reserved: u64) -> Result<u64> {
        let current = self.segment(self.current)?;
        let (file, end) = (Arc::clone(&current.file), current.used + len);
        let fits = end <= self.segment_size.max(file.size());
        let grows = end > file.size();
        if fits && !(grows && self.resting) {
            self.grow(&file, end, reserved)?;
        } else {
            self.open_segment(SEGMENT_HEAD + len, reserved)?;
            // The one that was current is full, and may be mostly dead.
            self.pick();
        }
        let number = self.current;
        let segment = self.segment_mut(number)?;
        let at = segment.used;
        segment.used += len;
        segment.write_head(number)?;
        self.used += len;
        Ok(number << 32 | at)
    }

    /// Makes a new segment the current one.
    pub(super) fn open_segment(&mut self, end: u64, reserved: u64) -> Result<()> {
        let file = Arc::new(MemFile::new(&self.arena));
        self.grow(&file, end, reserved)?;
        let free = self.segments.iter().position(Option::is_none);
        let at = free.unwrap_or(self.segments.len());
        let segment = Segment {
            file,
            used: SEGMENT_HEAD,
            dead: 0,
        };
        segment.write_head(at as u64)?;
        match self.segments.get_mut(at) {
            Some(slot) => *slot = Some(segment),
            None => self.segments.push(Some(segment)),
        }
        self.used += SEGMENT_HEAD;
        self.current = at as u64;
        self.write_head()
    }

    /// Pages that requests leave alone, since vacating and an upgrade need some.
    pub(super) fn reserved(&self) -> u64 {
        let pages = self.arena.range().len() / PAGE_SIZE_U64;
        self.arena.reserve() + pages / 64 + 2 * self.segment_size / PAGE_SIZE_U64
    }

    /// Makes `file` at least `end` bytes large, with pages for all of them, so that it can be
    /// written to while it is preserved. Leaves `reserved` pages free.
    pub(super) fn grow(&self, file: &MemFile, end: u64, reserved: u64) -> Result<()> {
        let before = file.size();
        let mut size = before;
        while size < end {
            let step = size.clamp(GROW_FIRST, GROW_MOST).min(self.segment_size);
            let free = self.arena.free_pages();
            let zeros = vec![0; usize::try_from(step).unwrap_or(0)];
            if free < reserved + step / PAGE_SIZE_U64 || put(file, size, &zeros).is_err() {
                file.truncate(before)?;
                return Err(KvError::Full);
            }
            size += step;
        }
        Ok(())
    }

    /// The record is in no chain any more.
    pub(super) fn bury(&mut self, record: Record) -> Result<()> {
        self.write_record(Record {
            live: false,
            ..record
        })?;
        let number = segment_of(record.place);
        let segment = self.segment_mut(number)?;
        segment.dead += record.len();
        segment.write_head(number)?;
        let mostly = segment.is_mostly_dead();
        if mostly && self.vacating.is_none() && number != self.current {
            self.vacating = Some((number, SEGMENT_HEAD));
        }
        Ok(())
    }
}
