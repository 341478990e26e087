//! Housekeeping, a little with each write: buckets are split, segments vacated.

use super::chain::BUCKETS_AT;
use super::record::{Link, RECORD_HEAD, Record};
use super::segment::SEGMENT_HEAD;
use super::words::{append, offset_of, segment_of};
use super::{Kv, KvError, Result, damaged};

/// How much is vacated with one write: this many records, or as soon as this many bytes were moved.
const VACATE_RECORDS: u32 = 64;
const VACATE_BYTES: u64 = 64 << 10;

impl Kv {
    pub(super) fn keep_house(&mut self) -> Result<()> {
        if self.resting {
            return Ok(());
        }
        if self.records > self.buckets {
            without_memory(self.split())?;
        }
        without_memory(self.vacate())
    }

    /// Splits the bucket whose turn it is in two.
    pub(super) fn split(&mut self) -> Result<()> {
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
    pub(super) fn pick(&mut self) {
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
    pub(super) fn vacate(&mut self) -> Result<()> {
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
    pub(super) fn relocate(&mut self, record: &Record) -> Result<()> {
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
