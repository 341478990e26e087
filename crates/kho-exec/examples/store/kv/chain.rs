//! The buckets of the index, and the chains of records that begin there.

use kho_memfd::FilePiece;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::record::{Link, RECORD_HEAD, Record};
use super::words::{offset_of, read, segment_of, write};
use super::{Kv, Result, damaged};

/// Where the buckets begin, and how many there are at first.
pub(super) const BUCKETS_AT: u64 = 4096;
pub(super) const FIRST_BUCKETS: u64 = 512;

impl Kv {
    /// What lies in memory depends on it: std's hasher may change from one compiler to the next.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }

    /// The largest power of two up to the number of buckets: those before `buckets - base` were
    /// split, so that they and their halves at `base` and above take a bit more of the hash.
    pub(super) const fn base(&self) -> u64 {
        1 << self.buckets.ilog2()
    }

    pub(super) const fn bucket_of(&self, hash: u64) -> u64 {
        let wide = hash & (2 * self.base() - 1);
        if wide < self.buckets {
            wide
        } else {
            wide - self.base()
        }
    }

    pub(super) fn bucket(&self, bucket: u64) -> Result<u64> {
        read(&self.index, BUCKETS_AT + 8 * bucket).map(|[place]| place)
    }

    pub(super) const fn most_records(&self) -> u64 {
        self.used / RECORD_HEAD
    }

    pub(super) fn find(&self, key: &[u8]) -> Result<Option<(Link, Record)>> {
        let hash = self.hash(key);
        self.walk(hash, |record| {
            Ok(record.hash == hash
                && record.key_len == key.len() as u64
                && self.is_key(record, key)?)
        })
    }

    /// The first record of the chain of `hash` that is `wanted`.
    pub(super) fn walk(
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

    pub(super) fn is_key(&self, record: &Record, key: &[u8]) -> Result<bool> {
        let file = &self.segment(segment_of(record.place))?.file;
        let (at, len) = (offset_of(record.place) + RECORD_HEAD, record.key_len);
        let (mut rest, mut equal) = (key, true);
        file.for_each_piece(at, len, |piece| match piece {
            FilePiece::Data(bytes) => {
                let (head, tail) = rest.split_at_checked(bytes.len()).unwrap_or_default();
                equal &= head == bytes;
                rest = tail;
            }
            FilePiece::Hole(_) => equal = false,
        })?;
        Ok(equal)
    }

    pub(super) fn set_link(&self, link: Link, to: u64) -> Result<()> {
        match link {
            Link::Bucket(bucket) => write(&self.index, BUCKETS_AT + 8 * bucket, [to]),
            Link::Record(place) => {
                let segment = self.segment(segment_of(place))?;
                write(&segment.file, offset_of(place), [to])
            }
        }
    }
}
