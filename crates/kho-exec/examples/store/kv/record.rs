//! Records: key and value behind a head.

use super::segment::SEGMENT_HEAD;
use super::words::{offset_of, put, read, segment_of, write};
use super::{Kv, KvError, Result, damaged};

/// Bytes of the head.
pub(super) const RECORD_HEAD: u64 = 32;
/// Whether a record is in a chain.
const LIVE: u64 = 1;
const DEAD: u64 = 2;
/// Key and value together.
const LONGEST: usize = 1 << 30;

/// A record's head, checked: all of it lies in its segment.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub(super) place: u64,
    pub(super) next: u64,
    pub(super) hash: u64,
    pub(super) key_len: u64,
    pub(super) value_len: u64,
    pub(super) room: u64,
    pub(super) live: bool,
}

impl Record {
    pub(super) const fn len(&self) -> u64 {
        RECORD_HEAD + (self.key_len + self.room).next_multiple_of(8)
    }
}

/// What leads to a record: its bucket, or the record before it.
#[derive(Clone, Copy)]
pub(super) enum Link {
    Bucket(u64),
    Record(u64),
}

impl Kv {
    /// The record at `place`.
    pub(super) fn record(&self, place: u64) -> Result<Record> {
        let segment = self.segment(segment_of(place))?;
        let at = offset_of(place);
        let left = segment.used.saturating_sub(at);
        if at < SEGMENT_HEAD || !at.is_multiple_of(8) || left < RECORD_HEAD {
            return Err(damaged("the place of a record", place, segment.used));
        }
        let [next, hash, lens, rest] = read(&segment.file, at)?;
        let (key_len, value_len) = (lens & 0xffff_ffff, lens >> 32);
        let (room, live) = (rest & 0xffff_ffff, rest >> 32);
        let record = Record {
            place,
            next,
            hash,
            key_len,
            value_len,
            room,
            live: live == LIVE,
        };
        if record.len() > left || value_len > room {
            return Err(damaged("the lengths of a record", place, lens));
        }
        Ok(record)
    }

    pub(super) fn write_record(&self, record: Record) -> Result<()> {
        let words = [
            record.next,
            record.hash,
            record.key_len | record.value_len << 32,
            record.room | if record.live { LIVE } else { DEAD } << 32,
        ];
        let segment = self.segment(segment_of(record.place))?;
        write(&segment.file, offset_of(record.place), words)
    }

    /// Appends a record to the current segment, or to a new one; returns its place. Nothing leads
    /// there yet.
    pub(super) fn append(&mut self, next: u64, hash: u64, key: &[u8], value: &[u8]) -> Result<u64> {
        self.append_leaving(self.reserved(), next, hash, key, value)
    }

    /// As [`Kv::append`], where at least `reserved` pages stay free.
    pub(super) fn append_leaving(
        &mut self,
        reserved: u64,
        next: u64,
        hash: u64,
        key: &[u8],
        value: &[u8],
    ) -> Result<u64> {
        if key.len().saturating_add(value.len()) > LONGEST {
            return Err(KvError::TooLong);
        }
        let (key_len, value_len) = (key.len() as u64, value.len() as u64);
        let room = (key_len + value_len).next_multiple_of(8) - key_len;
        let place = self.reserve(RECORD_HEAD + key_len + room, reserved)?;
        let file = &self.segment(segment_of(place))?.file;
        let at = offset_of(place) + RECORD_HEAD;
        put(file, at, key)?;
        put(file, at + key_len, value)?;
        self.write_record(Record {
            place,
            next,
            hash,
            key_len,
            value_len,
            room,
            live: true,
        })?;
        Ok(place)
    }
}
