//! Keys, put in and taken out.

use alloc::vec::Vec;

use kho_mem::{Order, PAGE_SHIFT, PageRun, PhysAddr};

use super::error::{absent, present};
use super::nodes::{Link, NO_LEAF, index, read};
use super::{Tracker, TrackerError};
use crate::parts::{first_key, nth, parts};
use crate::v1::LEAF_BITS;
use crate::{Key, KeyRun};

impl Tracker {
    /// Whether `key` is in the tree. O(depth).
    #[must_use]
    #[inline(always)]
    pub fn contains(&self, key: Key) -> bool {
        let bit = key.leaf_bit();
        let leaf = self.leaf(self.find(key.get() >> LEAF_BITS));
        leaf.is_some_and(|leaf| read(&leaf.page, bit / 64) >> (bit % 64) & 1 == 1)
    }

    /// Puts `key` in. O(depth), and O(1) where it is in the leaf of the key before.
    ///
    /// # Errors
    ///
    /// It is there already, or no page is left for a node. All is as it was then.
    #[inline(always)]
    pub fn add(&mut self, key: Key) -> Result<(), TrackerError> {
        let leaf = self.leaf_of(key.get() >> LEAF_BITS)?;
        let Some((word, mask)) = self.word(leaf, key) else {
            return Err(NO_LEAF);
        };
        let bits = u64::from_le_bytes(*word);
        if bits & mask != 0 {
            return Err(present(key));
        }
        *word = (bits | mask).to_le_bytes();
        self.keys += 1;
        self.pages += key.order().pages();
        Ok(())
    }

    /// Takes `key` out. No node is freed. O(depth), and O(1) where it is in the leaf of the key before.
    ///
    /// # Errors
    ///
    /// It is not there.
    #[inline(always)]
    pub fn remove(&mut self, key: Key) -> Result<(), TrackerError> {
        let leaf = self.seek(key.get() >> LEAF_BITS);
        let Some((word, mask)) = self.word(leaf, key) else {
            return Err(no_word(leaf, key));
        };
        let bits = u64::from_le_bytes(*word);
        if bits & mask == 0 {
            return Err(absent(key));
        }
        *word = (bits & !mask).to_le_bytes();
        self.keys -= 1;
        self.pages -= key.order().pages();
        Ok(())
    }

    /// Puts the keys of folios in a row in: by the word and by the leaf.
    ///
    /// # Errors
    ///
    /// One of them is there already, they are no keys, or no page is left for a node. None of
    /// them is put in then.
    pub fn add_folios(&mut self, run: KeyRun) -> Result<(), TrackerError> {
        let first = first_key(run)?;
        if let Some(index) = self.search(first, run.keys, true) {
            return Err(TrackerError::Present {
                addr: nth(run, index),
                order: run.order,
            });
        }
        let savepoint = self.savepoint();
        let mut parts = parts(first, run.keys);
        let done = parts
            .try_for_each(|part| self.leaf_of(part.prefix).map(drop))
            .and_then(|()| self.set(first, run.keys, true));
        if let Err(error) = done {
            // The leaves that were made are empty still.
            self.rollback(savepoint)?;
            return Err(error);
        }
        self.keys += run.keys;
        self.pages += run.pages();
        Ok(())
    }

    /// Takes the keys of folios in a row out: by the word and by the leaf.
    ///
    /// # Errors
    ///
    /// One of them is not there, or they are no keys. None of them is taken out then.
    pub fn remove_folios(&mut self, run: KeyRun) -> Result<(), TrackerError> {
        let first = first_key(run)?;
        if let Some(index) = self.search(first, run.keys, false) {
            return Err(TrackerError::Absent {
                addr: nth(run, index),
                order: run.order,
            });
        }
        self.set(first, run.keys, false)?;
        self.keys -= run.keys;
        self.pages -= run.pages();
        Ok(())
    }

    /// Whether the keys of all folios of `run` are there, by the word and by the leaf.
    #[must_use]
    pub fn contains_folios(&self, run: KeyRun) -> bool {
        first_key(run).is_ok_and(|first| self.search(first, run.keys, false).is_none())
    }

    /// Puts a run of pages in: the fewest naturally aligned keys, front to back.
    ///
    /// # Errors
    ///
    /// As [`Tracker::add`], for any of the keys. None of them is put in then.
    pub fn add_pages(&mut self, run: PageRun) -> Result<(), TrackerError> {
        let keys = self.page_keys(run)?;
        let savepoint = self.savepoint();
        let done = self.each_or_none(&keys, Self::add, Self::remove);
        if done.is_err() {
            self.rollback(savepoint)?;
        }
        done
    }

    /// Takes a run of pages out, the same that was put in.
    ///
    /// # Errors
    ///
    /// One of its keys is not there. None of them is taken out then.
    pub fn remove_pages(&mut self, run: PageRun) -> Result<(), TrackerError> {
        let keys = self.page_keys(run)?;
        if let Some(key) = keys.iter().find(|key| !self.contains(**key)) {
            return Err(absent(*key));
        }
        self.each_or_none(&keys, Self::remove, Self::add)
    }

    /// Does `step` with each key. Where it fails with one, `undo` is done with those before.
    pub(super) fn each_or_none(
        &mut self,
        keys: &[Key],
        step: impl Fn(&mut Self, Key) -> Result<(), TrackerError>,
        undo: impl Fn(&mut Self, Key) -> Result<(), TrackerError>,
    ) -> Result<(), TrackerError> {
        for (done, key) in keys.iter().enumerate() {
            if let Err(error) = step(self, *key) {
                let mut before = keys.iter().take(done);
                before.try_for_each(|key| undo(self, *key))?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether a run of pages is there as it would be put in.
    #[must_use]
    pub fn contains_pages(&self, run: PageRun) -> bool {
        self.page_keys(run)
            .is_ok_and(|keys| keys.iter().all(|key| self.contains(*key)))
    }

    /// The keys of a run of pages, front to back: at most two per order and boundary.
    pub(super) fn page_keys(&self, run: PageRun) -> Result<Vec<Key>, TrackerError> {
        let order = Order::ZERO;
        let no_key = TrackerError::NoKey { run, order };
        let end = run.end();
        if end > kho_mem::Pfn::LIMIT || run.pages == 0 {
            return Err(no_key);
        }
        let mut keys = Vec::new();
        let mut pfn = run.pfn.get();
        while pfn < end {
            let next = self
                .boundaries
                .partition_point(|boundary| boundary.get() <= pfn);
            let until = self
                .boundaries
                .get(next)
                .map_or(end, |boundary| end.min(boundary.get()));
            let order = pfn.trailing_zeros().min((until - pfn).ilog2());
            let order = u8::try_from(order)
                .ok()
                .and_then(Order::new)
                .ok_or(no_key)?;
            keys.push(Key::encode(PhysAddr::new(pfn << PAGE_SHIFT), order).ok_or(no_key)?);
            pfn += order.pages();
        }
        Ok(keys)
    }

    /// The index of the first of `count` keys from `first` on that is there (`present`) or not.
    fn search(&self, first: Key, count: u64, present: bool) -> Option<u64> {
        for part in parts(first, count) {
            let Some(leaf) = self.leaf(self.find(part.prefix)) else {
                if present {
                    continue;
                }
                return Some(part.index);
            };
            for (word, mask) in part.words() {
                let bits = read(&leaf.page, word);
                let hit = if present { bits & mask } else { !bits & mask };
                if hit != 0 {
                    let bit = (word * 64) as u64 + u64::from(hit.trailing_zeros());
                    return Some(part.index + bit - part.from as u64);
                }
            }
        }
        None
    }
    /// Sets or clears `count` keys from `first` on, none of which is so yet and whose leaves are there.
    pub(super) fn set(&mut self, first: Key, count: u64, member: bool) -> Result<(), TrackerError> {
        for part in parts(first, count) {
            let leaf = index(self.find(part.prefix));
            let words = self
                .leaves
                .get_mut(leaf)
                .and_then(|leaf| leaf.page.as_chunks_mut::<8>().0.get_mut(part.range()));
            let Some(words) = words else {
                // The keys before are as they were.
                return self.set(first, part.index, !member).and(Err(NO_LEAF));
            };
            for (word, (_, mask)) in words.iter_mut().zip(part.words()) {
                let bits = u64::from_le_bytes(*word);
                let bits = if member { bits | mask } else { bits & !mask };
                *word = bits.to_le_bytes();
            }
        }
        Ok(())
    }
}

/// Why `key` has no word in its leaf: there is none, or it is lost.
#[cold]
const fn no_word(leaf: Link, key: Key) -> TrackerError {
    match leaf {
        0 => absent(key),
        _ => NO_LEAF,
    }
}
