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

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use kho_mem::{Arena, PAGE_SIZE_U64};
use kho_memfd::{FileError, FilePiece, MemFile};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const INDEX_MAGIC: u64 = u64::from_le_bytes(*b"kvindex1");
const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"kvseg--1");

/// Where the buckets begin, and how many there are at first.
const BUCKETS_AT: u64 = 4096;
const FIRST_BUCKETS: u64 = 512;
/// Bytes of a segment's and of a record's head.
const SEGMENT_HEAD: u64 = 32;
const RECORD_HEAD: u64 = 32;
/// Whether a record is in a chain.
const LIVE: u64 = 1;
const DEAD: u64 = 2;
/// A file grows by this much at first, then twofold, then by this much: pieces that folios fit.
const GROW_FIRST: u64 = 64 << 10;
const GROW_MOST: u64 = 2 << 20;
/// Key and value together.
const LONGEST: usize = 1 << 30;
/// How much is vacated with one write: this many records, or as soon as this many bytes were moved.
const VACATE_RECORDS: u32 = 64;
const VACATE_BYTES: u64 = 64 << 10;
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

struct Segment {
    file: Arc<MemFile>,
    // Where the next record goes.
    used: u64,
    dead: u64,
}

/// A record's head, checked: all of it lies in its segment.
#[derive(Clone, Copy)]
struct Record {
    place: u64,
    next: u64,
    hash: u64,
    key_len: u64,
    value_len: u64,
    room: u64,
    live: bool,
}

impl Record {
    const fn len(&self) -> u64 {
        RECORD_HEAD + (self.key_len + self.room).next_multiple_of(8)
    }
}

/// What leads to a record: its bucket, or the record before it.
#[derive(Clone, Copy)]
enum Link {
    Bucket(u64),
    Record(u64),
}

/// A value, where it lies.
pub(crate) struct Value<'t> {
    file: &'t MemFile,
    at: u64,
    len: u64,
}

impl Value<'_> {
    /// Bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Appends it to `out`.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) -> Result<()> {
        append(self.file, self.at, self.len, out)
    }
}

const fn segment_of(place: u64) -> u64 {
    place >> 32
}

const fn offset_of(place: u64) -> u64 {
    place & 0xffff_ffff
}

/// Numbers at `at` of `file`.
fn read<const N: usize>(file: &MemFile, at: u64) -> Result<[u64; N]> {
    let (mut words, mut buffer) = ([0; N], [0; 64]);
    let bytes = buffer.get_mut(..N * 8).unwrap_or_default();
    if file.read_at(at, bytes)? < N * 8 {
        return Err(damaged("the end of a file", at, file.size()));
    }
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.try_into().map_or(0, u64::from_le_bytes);
    }
    Ok(words)
}

/// Writes numbers at `at` of `file`, which is that large.
fn write<const N: usize>(file: &MemFile, at: u64, words: [u64; N]) -> Result<()> {
    let mut buffer = [0; 64];
    for (bytes, word) in buffer.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    put(file, at, buffer.get(..N * 8).unwrap_or_default())
}

/// Writes all of `bytes`, or fails.
fn put(file: &MemFile, at: u64, bytes: &[u8]) -> Result<()> {
    if file.write_at(at, bytes)? < bytes.len() {
        return Err(KvError::Full);
    }
    Ok(())
}

fn append(file: &MemFile, at: u64, len: u64, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    file.read_with(at, len, |piece| match piece {
        FilePiece::Data(bytes) => out.extend_from_slice(bytes),
        FilePiece::Hole(zeros) => {
            // As long as what was asked for, which lies in a file of this process.
            let zeros = usize::try_from(zeros).unwrap_or(0);
            out.resize(out.len() + zeros, 0);
        }
    })?;
    if (out.len() - before) as u64 != len {
        out.truncate(before);
        return Err(damaged("the end of a file", at, file.size()));
    }
    Ok(())
}

impl Kv {
    /// An empty table, whose files take their pages from `arena`.
    pub(crate) fn new(arena: &Arena) -> Result<Self> {
        let size = (arena.range().len() / 64).clamp(1 << 20, 16 << 20);
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

    // Finding.

    /// What lies in memory depends on it: std's hasher may change from one compiler to the next.
    fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    /// The largest power of two up to the number of buckets: those before `buckets - base` were
    /// split, so that they and their halves at `base` and above take a bit more of the hash.
    const fn base(&self) -> u64 {
        1 << self.buckets.ilog2()
    }

    const fn bucket_of(&self, hash: u64) -> u64 {
        let wide = hash & (2 * self.base() - 1);
        if wide < self.buckets {
            wide
        } else {
            wide - self.base()
        }
    }

    fn bucket(&self, bucket: u64) -> Result<u64> {
        read(&self.index, BUCKETS_AT + 8 * bucket).map(|[place]| place)
    }

    const fn most_records(&self) -> u64 {
        self.used / RECORD_HEAD
    }

    fn find(&self, key: &[u8]) -> Result<Option<(Link, Record)>> {
        let hash = self.hash(key);
        self.walk(hash, |record| {
            Ok(record.hash == hash
                && record.key_len == key.len() as u64
                && self.is_key(record, key)?)
        })
    }

    /// The first record of the chain of `hash` that is `wanted`.
    fn walk(
        &self,
        hash: u64,
        mut wanted: impl FnMut(&Record) -> Result<bool>,
    ) -> Result<Option<(Link, Record)>> {
        let bucket = self.bucket_of(hash);
        let (mut link, mut place) = (Link::Bucket(bucket), self.bucket(bucket)?);
        let mut left = self.most_records();
        while place != 0 {
            let record = self.record(place)?;
            if !record.live || self.bucket_of(record.hash) != bucket || left == 0 {
                return Err(damaged("the bucket of a record", place, bucket));
            }
            if wanted(&record)? {
                return Ok(Some((link, record)));
            }
            (link, place) = (Link::Record(place), record.next);
            left -= 1;
        }
        Ok(None)
    }

    fn is_key(&self, record: &Record, key: &[u8]) -> Result<bool> {
        let file = &self.segment(segment_of(record.place))?.file;
        let (at, len) = (offset_of(record.place) + RECORD_HEAD, record.key_len);
        let (mut rest, mut equal) = (key, true);
        file.read_with(at, len, |piece| match piece {
            FilePiece::Data(bytes) => {
                let (head, tail) = rest.split_at_checked(bytes.len()).unwrap_or_default();
                equal &= head == bytes;
                rest = tail;
            }
            FilePiece::Hole(_) => equal = false,
        })?;
        Ok(equal)
    }

    fn segment(&self, number: u64) -> Result<&Segment> {
        let slot = usize::try_from(number)
            .ok()
            .and_then(|at| self.segments.get(at));
        slot.and_then(Option::as_ref)
            .ok_or(damaged("the number of a segment", 0, number))
    }

    fn segment_mut(&mut self, number: u64) -> Result<&mut Segment> {
        let slot = usize::try_from(number)
            .ok()
            .and_then(|at| self.segments.get_mut(at));
        slot.and_then(Option::as_mut)
            .ok_or(damaged("the number of a segment", 0, number))
    }

    /// The record at `place`.
    fn record(&self, place: u64) -> Result<Record> {
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

    // Changing.

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

    fn write_record(&self, record: Record) -> Result<()> {
        let words = [
            record.next,
            record.hash,
            record.key_len | record.value_len << 32,
            record.room | if record.live { LIVE } else { DEAD } << 32,
        ];
        let segment = self.segment(segment_of(record.place))?;
        write(&segment.file, offset_of(record.place), words)
    }

    fn set_link(&self, link: Link, to: u64) -> Result<()> {
        match link {
            Link::Bucket(bucket) => write(&self.index, BUCKETS_AT + 8 * bucket, [to]),
            Link::Record(place) => {
                let segment = self.segment(segment_of(place))?;
                write(&segment.file, offset_of(place), [to])
            }
        }
    }

    /// Appends a record to the current segment, or to a new one; returns its place. Nothing leads
    /// there yet.
    fn append(&mut self, next: u64, hash: u64, key: &[u8], value: &[u8]) -> Result<u64> {
        self.append_leaving(self.reserved(), next, hash, key, value)
    }

    /// As [`Kv::append`], where at least `reserved` pages stay free.
    fn append_leaving(
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

    /// Room for a record of `len` bytes, where at least `reserved` pages stay free.
    fn reserve(&mut self, len: u64, reserved: u64) -> Result<u64> {
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
    fn open_segment(&mut self, end: u64, reserved: u64) -> Result<()> {
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
    fn reserved(&self) -> u64 {
        let pages = self.arena.range().len() / PAGE_SIZE_U64;
        pages / 64 + 2 * self.segment_size / PAGE_SIZE_U64
    }

    /// Makes `file` at least `end` bytes large, with pages for all of them, so that it can be
    /// written to while it is preserved. Leaves `reserved` pages free.
    fn grow(&self, file: &MemFile, end: u64, reserved: u64) -> Result<()> {
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
    fn bury(&mut self, record: Record) -> Result<()> {
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

    // Housekeeping, a little with each write.

    fn keep_house(&mut self) -> Result<()> {
        if self.resting {
            return Ok(());
        }
        if self.records > self.buckets {
            without_memory(self.split())?;
        }
        without_memory(self.vacate())
    }

    /// Splits the bucket whose turn it is in two.
    fn split(&mut self) -> Result<()> {
        let base = self.base();
        let (from, to) = (self.buckets - base, self.buckets);
        self.grow(&self.index, BUCKETS_AT + 8 * (to + 1), 0)?;
        let mut chain = Vec::new();
        // Any hash of this bucket.
        self.walk(from, |record| {
            chain.push(*record);
            Ok(false)
        })?;
        let (mut staying, mut moving) = (0, 0);
        for record in chain.into_iter().rev() {
            let first = if record.hash & base == 0 {
                &mut staying
            } else {
                &mut moving
            };
            if record.next != *first {
                self.set_link(Link::Record(record.place), *first)?;
            }
            *first = record.place;
        }
        self.set_link(Link::Bucket(to), moving)?;
        self.set_link(Link::Bucket(from), staying)?;
        self.buckets += 1;
        self.write_head()
    }

    /// Looks for a segment to vacate: the emptiest.
    fn pick(&mut self) {
        if self.vacating.is_some() {
            return;
        }
        let numbered = (0..).zip(&self.segments);
        let mostly = numbered.filter_map(|(number, slot)| {
            let segment = slot.as_ref()?;
            (number != self.current && segment.is_mostly_dead())
                .then_some((segment.used - segment.dead, number))
        });
        self.vacating = mostly.min().map(|(_, number)| (number, SEGMENT_HEAD));
    }

    /// Moves a few records out of the segment that is being vacated; frees it when it is empty.
    fn vacate(&mut self) -> Result<()> {
        let Some((number, mut at)) = self.vacating else {
            return Ok(());
        };
        let mut moved = 0;
        for _ in 0..VACATE_RECORDS {
            let segment = self.segment(number)?;
            if at >= segment.used || segment.dead + SEGMENT_HEAD >= segment.used {
                self.used = self.used.saturating_sub(segment.used);
                if let Ok(at) = usize::try_from(number)
                    && let Some(slot) = self.segments.get_mut(at)
                {
                    *slot = None;
                }
                self.vacating = None;
                self.pick();
                return Ok(());
            }
            let record = self.record(number << 32 | at)?;
            if record.live {
                self.relocate(&record)?;
                moved += record.len();
            }
            at += record.len();
            self.vacating = Some((number, at));
            if moved >= VACATE_BYTES {
                break;
            }
        }
        Ok(())
    }

    /// Moves a record to the current segment.
    fn relocate(&mut self, record: &Record) -> Result<()> {
        let found = self.walk(record.hash, |other| Ok(other.place == record.place))?;
        let lost = damaged("the bucket of a record", record.place, record.hash);
        let (link, _) = found.ok_or(lost)?;
        let mut bytes = Vec::new();
        let file = &self.segment(segment_of(record.place))?.file;
        let at = offset_of(record.place) + RECORD_HEAD;
        append(file, at, record.key_len + record.value_len, &mut bytes)?;
        let key_len = usize::try_from(record.key_len).unwrap_or(0);
        let (key, value) = bytes.split_at_checked(key_len).unwrap_or_default();
        // Its memory comes back: it may take of what is set aside.
        let reserved = self.reserved() / 2;
        let new = self.append_leaving(reserved, record.next, record.hash, key, value)?;
        self.set_link(link, new)?;
        // It is being vacated: nothing is picked.
        self.bury(*record)
    }
}

/// Housekeeping that finds no memory waits for better times.
fn without_memory(done: Result<()>) -> Result<()> {
    match done {
        Err(KvError::Full) => Ok(()),
        other => other,
    }
}

impl Segment {
    fn open(file: Arc<MemFile>, wanted: u64) -> Result<Self> {
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

    const fn is_mostly_dead(&self) -> bool {
        self.dead > self.used / 2
    }

    fn write_head(&self, number: u64) -> Result<()> {
        write(&self.file, 0, [SEGMENT_MAGIC, number, self.used, self.dead])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use kho_mem::{ArenaConfig, PhysAddr};
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn arena(size: u64) -> Arena {
        Arena::heap(&ArenaConfig::new(PhysAddr::new(1 << 30), size)).unwrap()
    }

    /// What an upgrade does to a table.
    fn again(kv: Kv) -> Result<Kv> {
        let segments: HashMap<_, _> = kv.segments().collect();
        let (arena, index) = (kv.arena.clone(), kv.index());
        drop(kv);
        Kv::open(&arena, index, |number| {
            Ok::<_, KvError>(segments.get(&number).cloned())
        })
    }

    fn value(kv: &Kv, key: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        kv.get(key).unwrap()?.append_to(&mut out).unwrap();
        Some(out)
    }

    fn made_up(seed: u64, len: usize) -> Vec<u8> {
        let bytes = (0..).map(|at: u64| seed.wrapping_mul(31).wrapping_add(at).to_le_bytes()[0]);
        bytes.take(len).collect()
    }

    #[derive(Clone, Debug)]
    enum Op {
        Set(u16, usize),
        Remove(u16),
        Get(u16),
        Rest(bool),
        Upgrade,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let key = || prop_oneof![0..40u16, 0..2000u16];
        let len = prop_oneof![4 => 0..200usize, 1 => 0..6000usize];
        let op = prop_oneof![
            12 => (key(), len).prop_map(|(key, len)| Op::Set(key, len)),
            5 => key().prop_map(Op::Remove),
            2 => key().prop_map(Op::Get),
            1 => any::<bool>().prop_map(Op::Rest),
            1 => Just(Op::Upgrade),
        ];
        prop::collection::vec(op, 1..2500)
    }

    fn config(cases: u32) -> ProptestConfig {
        ProptestConfig {
            rng_seed: RngSeed::Fixed(0x006b_686f),
            failure_persistence: None,
            ..ProptestConfig::with_cases(cases)
        }
    }

    fn run(ops: &[Op]) -> (Kv, HashMap<u16, Vec<u8>>) {
        let mut kv = Kv::with_segments_of(&arena(64 << 20), 8192).unwrap();
        let mut model = HashMap::new();
        for (count, op) in (0u64..).zip(ops) {
            match op {
                Op::Set(key, len) => {
                    let value = made_up(count, *len);
                    kv.set(&key.to_be_bytes(), &value).unwrap();
                    model.insert(*key, value);
                }
                Op::Remove(key) => {
                    let was = kv.remove(&key.to_be_bytes()).unwrap();
                    assert_eq!(was, model.remove(key).is_some());
                }
                Op::Get(key) => assert_eq!(
                    value(&kv, &key.to_be_bytes()).as_ref(),
                    model.get(key),
                    "key {key}"
                ),
                Op::Rest(resting) => kv.rest(*resting),
                Op::Upgrade => kv = again(kv).unwrap(),
            }
            assert_eq!(kv.len(), model.len() as u64);
        }
        (kv, model)
    }

    proptest! {
        #![proptest_config(config(24))]

        #[test]
        fn it_is_a_map(ops in ops()) {
            let (kv, model) = run(&ops);
            let kv = again(kv).unwrap();
            for (key, wanted) in &model {
                assert_eq!(value(&kv, &key.to_be_bytes()).as_ref(), Some(wanted));
            }
            let used: u64 = kv.segments.iter().flatten().map(|segment| segment.used).sum();
            assert_eq!(kv.used, used);
        }

        #[test]
        fn damage_is_an_error(
            ops in ops(),
            hits in prop::collection::vec((any::<prop::sample::Index>(), 0..4096u64, any::<u64>(), 0..64u32), 1..8),
        ) {
            let (kv, model) = run(&ops);
            let mut files = vec![kv.index()];
            files.extend(kv.segments().map(|(_, file)| file));
            for (file, at, word, shift) in hits {
                let file = file.get(&files);
                // Small numbers hit more.
                let at = at * 8 % file.size();
                file.write_at(at, &(word >> shift).to_le_bytes()).unwrap();
            }
            // Whatever comes of it, it ends, and does not panic.
            let Ok(mut kv) = again(kv) else { return Ok(()) };
            for key in model.keys() {
                let key = key.to_be_bytes();
                if let Ok(Some(value)) = kv.get(&key) {
                    let _ = value.append_to(&mut Vec::new());
                }
                let _ = kv.set(&key, b"something else, longer than before");
                let _ = kv.remove(&key);
                let _ = kv.set(&key, b"again");
            }
        }
    }

    #[test]
    fn it_grows_bucket_by_bucket() {
        let mut kv = Kv::with_segments_of(&arena(64 << 20), 1 << 20).unwrap();
        for key in 0..10_000u32 {
            kv.set(&key.to_be_bytes(), &key.to_le_bytes()).unwrap();
        }
        assert_eq!((kv.len(), kv.buckets), (10_000, 10_000));
        for key in 0..10_000u32 {
            assert_eq!(
                value(&kv, &key.to_be_bytes()),
                Some(key.to_le_bytes().to_vec())
            );
        }
    }

    #[test]
    fn garbage_is_vacated() {
        let mut kv = Kv::with_segments_of(&arena(64 << 20), 64 << 10).unwrap();
        for round in 0..200u64 {
            for key in 0..50u64 {
                // Ever another length, so that values do not fit where they stood.
                let len = 100 + usize::try_from((round * 7 + key) % 9).unwrap() * 150;
                kv.set(&key.to_be_bytes(), &made_up(round + key, len))
                    .unwrap();
            }
        }
        let live = 50 * (SEGMENT_HEAD + 8 + 1300);
        assert!(
            kv.used < 4 * live + (128 << 10),
            "{} bytes for at most {live}",
            kv.used
        );
        for key in 0..50u64 {
            kv.remove(&key.to_be_bytes()).unwrap();
        }
        let left = kv.segments.iter().flatten().count();
        assert!(left <= 2, "{left} segments for nothing");
    }

    #[test]
    fn a_full_arena_is_an_error_and_what_was_there_stays() {
        let arena = arena(8 << 20);
        let mut kv = Kv::with_segments_of(&arena, 256 << 10).unwrap();
        let mut count = 0u64;
        while kv.set(&count.to_be_bytes(), &made_up(count, 5000)).is_ok() {
            count += 1;
        }
        assert!(arena.free_pages() > 100, "room for an upgrade is left");
        assert!(count > 1000 && kv.len() == count);
        for key in 0..count {
            assert_eq!(value(&kv, &key.to_be_bytes()), Some(made_up(key, 5000)));
        }
        // What is removed can be used again.
        for key in (0..count).step_by(2).chain((1..count).step_by(4)) {
            assert!(kv.remove(&key.to_be_bytes()).unwrap());
        }
        for key in 0..count / 2 {
            kv.set(&(key | 1 << 32).to_be_bytes(), &made_up(key, 5000))
                .unwrap();
        }
    }

    #[test]
    fn files_stay_as_large_as_they_are_while_it_rests() {
        let mut kv = Kv::with_segments_of(&arena(64 << 20), 64 << 10).unwrap();
        for key in 0..600u32 {
            kv.set(&key.to_be_bytes(), b"first").unwrap();
        }
        let before: HashMap<_, _> = kv.segments().map(|(at, file)| (at, file.size())).collect();
        let index = kv.index().size();
        kv.rest(true);
        for key in 0..20_000u32 {
            kv.set(&key.to_be_bytes(), b"second, which is longer than first")
                .unwrap();
        }
        assert_eq!(kv.index().size(), index);
        for (number, file) in kv.segments() {
            if let Some(before) = before.get(&number) {
                assert_eq!(file.size(), *before);
            }
        }
        kv.rest(false);
        for key in 0..20_000u32 {
            let wanted = b"second, which is longer than first".to_vec();
            assert_eq!(value(&kv, &key.to_be_bytes()), Some(wanted));
        }
    }
}
