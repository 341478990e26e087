//! A hash table that lies in files of an arena: after an upgrade it is used where it lies.
//!
//! The *index* is a file of buckets. A bucket is the place of the first record of its chain, and a
//! record has the place of the next. Records lie in *segments*, files of some megabytes each, one
//! behind the other in the order in which they were written. A value that fits where the old one
//! stood is written over it; otherwise the record is written anew and the old one is dead.
//!
//! No request waits for all of the table. The index grows by one bucket at a time (linear hashing:
//! the bucket that is next in turn is split in two), and a segment of which more than half is dead is
//! vacated, a few records with each write.
//!
//! Everything that counts is in the files at all times, so that nothing is left to be done when they
//! are handed over. What comes back from a handover was written by another program: every place and
//! length is checked before it is used, and what is wrong is an error.
//!
//! All numbers are little-endian. A place is the segment's number in the upper 32 bits and the
//! offset in it in the lower; 0 is none.
//!
//! ```text
//! index    magic seed buckets records slots current segment_size | at 4096: buckets of 8 bytes
//! segment  magic number used dead | records, each aligned to 8
//! record   next hash key_len:4 value_len:4 room:4 live:4 | key, value, up to `room` bytes of value
//! ```

mod chain;
mod house;
mod record;
mod segment;
#[cfg(test)]
mod tests;
mod words;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use kho_mem::Arena;
use kho_memfd::{FileError, MemFile};

use chain::{BUCKETS_AT, FIRST_BUCKETS};
use record::{Link, RECORD_HEAD, Record};
use segment::{SEGMENT_HEAD, Segment};
pub(crate) use words::Value;
use words::{offset_of, put, read, segment_of, write};

const INDEX_MAGIC: u64 = u64::from_le_bytes(*b"kvindex1");
/// More segments than the largest arena holds.
const MOST_SLOTS: u64 = 1 << 24;

/// What the table refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KvError {
    /// What lies in the files is not what this program writes.
    #[error("the table is damaged: {what} at {at:#x} is {found:#x}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// The place, or the offset in the index.
        at: u64,
        /// What is there.
        found: u64,
    },
    /// The arena is full, but for what an upgrade needs.
    #[error("no memory is left")]
    Full,
    /// Too long for a record.
    #[error("key and value are longer than 1 GiB")]
    TooLong,
    /// The file refuses.
    #[error(transparent)]
    File(FileError),
}

impl From<FileError> for KvError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::OutOfMemory(_) => Self::Full,
            other => Self::File(other),
        }
    }
}

type Result<T> = std::result::Result<T, KvError>;

const fn damaged(what: &'static str, at: u64, found: u64) -> KvError {
    KvError::Damaged { what, at, found }
}

/// The table.
pub(crate) struct Kv {
    arena: Arena,
    index: Arc<MemFile>,
    // By number; a number whose segment was vacated is used again.
    segments: Vec<Option<Segment>>,
    seed: u64,
    buckets: u64,
    records: u64,
    current: u64,
    segment_size: u64,
    // Bytes of all segments that are used: no chain has more records than fit there.
    used: u64,
    // The segment that is being vacated, and how far that is.
    vacating: Option<(u64, u64)>,
    resting: bool,
}

impl Kv {
    /// An empty table, whose files take their pages from `arena`.
    pub(crate) fn new(arena: &Arena) -> Result<Self> {
        let size = (arena.range().len() / 64).clamp(1 << 20, 128 << 20);
        Self::with_segments_of(arena, 1 << size.ilog2())
    }

    fn with_segments_of(arena: &Arena, segment_size: u64) -> Result<Self> {
        let mut this = Self {
            arena: arena.clone(),
            index: Arc::new(MemFile::new(arena)),
            segments: Vec::new(),
            // So that nobody can choose keys that fall into one bucket.
            seed: std::hash::RandomState::new().build_hasher().finish(),
            buckets: FIRST_BUCKETS,
            records: 0,
            current: 0,
            segment_size,
            used: 0,
            vacating: None,
            resting: false,
        };
        let end = BUCKETS_AT + 8 * this.buckets;
        this.grow(&this.index, end, 0)?;
        this.open_segment(SEGMENT_HEAD, 0)?;
        Ok(this)
    }

    /// The table that lies in `index` and the segments that `segment` gives by number. They are
    /// read, not written.
    pub(crate) fn open<E: From<KvError>>(
        arena: &Arena,
        index: Arc<MemFile>,
        mut segment: impl FnMut(u64) -> std::result::Result<Option<Arc<MemFile>>, E>,
    ) -> std::result::Result<Self, E> {
        let [magic, seed, buckets, records, slots, current, segment_size] = read(&index, 0)?;
        let bad = |what, at, found| Err(damaged(what, at, found).into());
        if magic != INDEX_MAGIC {
            return bad("the index's magic number", 0, magic);
        }
        let room = index.size().saturating_sub(BUCKETS_AT) / 8;
        if buckets < FIRST_BUCKETS || buckets > room {
            return bad("the number of buckets", 16, buckets);
        }
        if slots > MOST_SLOTS {
            return bad("the number of segments", 32, slots);
        }
        if !(SEGMENT_HEAD..=1 << 30).contains(&segment_size) {
            return bad("the size of segments", 48, segment_size);
        }
        let (mut segments, mut all) = (Vec::new(), 0);
        for number in 0..slots {
            let found = segment(number)?.map(|file| Segment::open(file, number));
            let found = found.transpose()?;
            all += found.as_ref().map_or(0, |segment| segment.used);
            segments.push(found);
        }
        let this = Self {
            arena: arena.clone(),
            index,
            segments,
            seed,
            buckets,
            records,
            current,
            segment_size,
            used: all,
            vacating: None,
            resting: false,
        };
        this.segment(current)?;
        if records > this.most_records() {
            return bad("the number of records", 24, records);
        }
        Ok(this)
    }

    /// The index.
    pub(crate) fn index(&self) -> Arc<MemFile> {
        Arc::clone(&self.index)
    }

    /// The segments by number.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (u64, Arc<MemFile>)> {
        let numbered = (0..).zip(&self.segments);
        numbered.filter_map(|(number, slot)| Some((number, Arc::clone(&slot.as_ref()?.file))))
    }

    /// Keys.
    pub(crate) const fn len(&self) -> u64 {
        self.records
    }

    /// While `resting`, the files that there are stay: none grows or goes. Keys can be read and
    /// written; what does not fit goes to a new segment, and housekeeping waits.
    pub(crate) const fn rest(&mut self, resting: bool) {
        self.resting = resting;
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        let Some((_, record)) = self.find(key)? else {
            return Ok(None);
        };
        Ok(Some(Value {
            file: &self.segment(segment_of(record.place))?.file,
            at: offset_of(record.place) + RECORD_HEAD + record.key_len,
            len: record.value_len,
        }))
    }

    /// Sets `key` to `value`. What it was is lost.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let len = value.len() as u64;
        match self.find(key)? {
            // Unless most of the room would be left over.
            Some((_, record)) if len <= record.room && record.room <= 2 * len + 64 => {
                let file = &self.segment(segment_of(record.place))?.file;
                let at = offset_of(record.place);
                put(file, at + RECORD_HEAD + record.key_len, value)?;
                self.write_record(Record {
                    value_len: len,
                    ..record
                })?;
            }
            Some((link, old)) => {
                let new = self.append(old.next, old.hash, key, value)?;
                self.set_link(link, new)?;
                self.bury(old)?;
            }
            None => {
                let hash = self.hash(key);
                let bucket = self.bucket_of(hash);
                let first = self.bucket(bucket)?;
                let new = self.append(first, hash, key, value)?;
                self.set_link(Link::Bucket(bucket), new)?;
                self.records += 1;
                self.write_head()?;
            }
        }
        self.keep_house()
    }

    /// Removes `key`; returns whether it was there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<bool> {
        let Some((link, record)) = self.find(key)? else {
            return Ok(false);
        };
        self.set_link(link, record.next)?;
        self.bury(record)?;
        self.records = self.records.saturating_sub(1);
        self.write_head()?;
        self.keep_house()?;
        Ok(true)
    }

    fn write_head(&self) -> Result<()> {
        let head = [
            INDEX_MAGIC,
            self.seed,
            self.buckets,
            self.records,
            self.segments.len() as u64,
            self.current,
            self.segment_size,
        ];
        write(&self.index, 0, head)
    }
}
