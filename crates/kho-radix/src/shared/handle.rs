//! A thread's way into a shared tracker: keys put in and taken out.

use core::fmt;

use super::path::Path;
use super::sync::{AtomicU64, Ordering};
use crate::parts::{first_key, nth, parts};
use crate::tracker::{absent, present};
use crate::v1::LEAF_BITS;
use crate::{Key, KeyRun, TrackerError};

/// What holds as long as this crate has no defect.
const NO_WORD: TrackerError = TrackerError::Broken("a leaf, with a word for each of its keys");

/// A thread's way into a [`SharedTracker`](crate::SharedTracker): it knows the leaf that was used last, so
/// that keys in a row are O(1) each, and others O(depth).
///
/// It may be sent to another thread, and any number of them may be in use at a time.
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, Order, PhysAddr};
/// use kho_radix::{KeyRun, SharedTracker};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let tracker = SharedTracker::new(&arena, 16)?;
/// let mut handle = tracker.handle();
/// let (pfn, order) = (PhysAddr::new(0x1040_0000).pfn(), Order::new(2).unwrap());
/// let folios = KeyRun { pfn, keys: 100, order };
/// handle.add_folios(folios)?;
/// // One of these is there, so that none of them is put in.
/// let last = PhysAddr::new(0x1040_0000 + 99 * 0x4000);
/// let more = KeyRun { pfn: last.pfn(), keys: 2, ..folios };
/// assert!(handle.add_folios(more).is_err());
/// assert_eq!(tracker.keys(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Handle<'t>(Path<'t>);

impl<'t> Handle<'t> {
    pub(super) const fn new(path: Path<'t>) -> Self {
        Self(path)
    }

    /// Whether `key` is in the tree.
    #[inline]
    pub fn contains(&mut self, key: Key) -> bool {
        self.word(key)
            .is_some_and(|(word, mask)| word.load(Ordering::Acquire) & mask != 0)
    }

    /// Puts `key` in.
    ///
    /// # Errors
    ///
    /// It is there already, or no page is left for a node.
    #[inline]
    pub fn add(&mut self, key: Key) -> Result<(), TrackerError> {
        let leaf = self.0.go_to(key.get() >> LEAF_BITS)?;
        let bit = key.leaf_bit();
        let word = leaf.get(bit / 64).ok_or(NO_WORD)?;
        let mask = (1u64 << (bit % 64)).to_le();
        // What happens to a word happens in one order, whatever the ordering: of all that set the bit one
        // finds it clear. The tree needs no more, its node was there before. AcqRel is for those who use
        // the keys: what this thread did to the memory that it preserves comes before (Release) what a thread
        // does that finds the key there (Acquire), in `contains`, a walk, or an error.
        if word.fetch_or(mask, Ordering::AcqRel) & mask != 0 {
            return Err(present(key));
        }
        Ok(())
    }

    /// Takes `key` out. No node is freed.
    ///
    /// # Errors
    ///
    /// It is not there.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Result<(), TrackerError> {
        let Some((word, mask)) = self.word(key) else {
            return Err(absent(key));
        };
        // As in `add`: one of all that clear the bit finds it set, and what came before a removal comes before
        // what a thread does that puts the key in again.
        if word.fetch_and(!mask, Ordering::AcqRel) & mask == 0 {
            return Err(absent(key));
        }
        Ok(())
    }

    /// Puts the keys of folios in a row in: by the word and by the leaf, front to back.
    ///
    /// # Errors
    ///
    /// One of them is there already, they are no keys, or no page is left for a node. None of them is put in
    /// then.
    ///
    /// # What others see
    ///
    /// The row is looked through first: where one of its keys is there, nothing is changed, and nobody sees
    /// anything of it. Else the keys are put in one word after another, and others may see some of them
    /// before the rest.
    ///
    /// Only if another thread puts one of the keys in meanwhile, this call meets it half way, and takes back
    /// what it has put in, itself and nothing else. Until then:
    /// - a walk may see keys that this call takes back;
    /// - another `add` or `add_folios` of such a key fails, since it is there: of two rows that overlap one is
    ///   put in, of three in a chain it may be that one fails because of a row that fails in the end too;
    /// - another `remove` of such a key would take it out, and this call would not notice. So a key is taken
    ///   out by those who know that it was put in, because the call that did so has returned. Otherwise the
    ///   tree stays well formed, but a key that a third thread puts in at that moment may be taken back with
    ///   this row.
    pub fn add_folios(&mut self, run: KeyRun) -> Result<(), TrackerError> {
        let first = first_key(run)?;
        let there = |index| TrackerError::Present {
            addr: nth(run, index),
            order: run.order,
        };
        if let Some(index) = self.search(first, run.keys, true) {
            return Err(there(index));
        }
        for part in parts(first, run.keys) {
            self.0.go_to(part.prefix)?;
        }
        match self.set(first, run.keys, true)? {
            Some(index) => Err(there(index)),
            None => Ok(()),
        }
    }

    /// Takes the keys of folios in a row out: by the word and by the leaf, front to back.
    ///
    /// # Errors
    ///
    /// One of them is not there, or they are no keys. None of them is taken out then.
    ///
    /// # What others see
    ///
    /// As with [`Handle::add_folios`]: nothing where a key was missing before. Where another thread takes one
    /// of them out meanwhile, keys that this call took out are put back; until then they are seen to be gone,
    /// and an `add` of one of them would succeed and leave it in, once, for both. Who takes out only what was
    /// put in on its behalf never meets that.
    pub fn remove_folios(&mut self, run: KeyRun) -> Result<(), TrackerError> {
        let first = first_key(run)?;
        let gone = |index| TrackerError::Absent {
            addr: nth(run, index),
            order: run.order,
        };
        if let Some(index) = self.search(first, run.keys, false) {
            return Err(gone(index));
        }
        match self.set(first, run.keys, false)? {
            Some(index) => Err(gone(index)),
            None => Ok(()),
        }
    }

    /// Whether the keys of all folios of `run` are there, each at the moment when it is looked at.
    #[must_use]
    pub fn contains_folios(&mut self, run: KeyRun) -> bool {
        first_key(run).is_ok_and(|first| self.search(first, run.keys, false).is_none())
    }

    /// The index of the first of `count` keys from `first` on that is there (`member`) or not.
    fn search(&mut self, first: Key, count: u64, member: bool) -> Option<u64> {
        for part in parts(first, count) {
            let Some(leaf) = self.0.seek(part.prefix) else {
                if member {
                    continue;
                }
                return Some(part.index);
            };
            for (index, mask) in part.words() {
                // Acquire: as in `contains`.
                let word = leaf
                    .get(index)
                    .map_or(0, |word| word.load(Ordering::Acquire));
                let bits = u64::from_le(word);
                let hit = if member { bits & mask } else { !bits & mask };
                if hit != 0 {
                    return Some(part.index + place(index, hit) - part.from as u64);
                }
            }
        }
        None
    }

    /// Sets or clears `count` keys from `first` on, whose leaves are there. Where one of them is so already,
    /// returns its index, and has taken back what was done.
    pub(super) fn set(
        &mut self,
        first: Key,
        count: u64,
        member: bool,
    ) -> Result<Option<u64>, TrackerError> {
        for part in parts(first, count) {
            let leaf = self.0.seek(part.prefix);
            for (index, mask) in part.words() {
                let at = |bits| part.index + place(index, bits) - part.from as u64;
                let Some(word) = leaf.and_then(|leaf| leaf.get(index)) else {
                    self.take_back(first, at(mask), member)?;
                    return Err(NO_WORD);
                };
                let changed = change(word, mask, member);
                if changed != mask {
                    // Of this word what was changed; all words before, which were changed whole.
                    change(word, changed, !member);
                    self.take_back(first, at(mask), member)?;
                    return Ok(Some(at(mask & !changed)));
                }
            }
        }
        Ok(None)
    }

    /// Takes back what [`Handle::set`] did to `count` keys from `first` on.
    pub(super) fn take_back(
        &mut self,
        first: Key,
        count: u64,
        member: bool,
    ) -> Result<(), TrackerError> {
        for part in parts(first, count) {
            let leaf = self.0.seek(part.prefix);
            for (index, mask) in part.words() {
                let word = leaf.and_then(|leaf| leaf.get(index)).ok_or(NO_WORD)?;
                change(word, mask, !member);
            }
        }
        Ok(())
    }

    /// The word of `key`, and the mask as it stands in memory; `None` where there is no leaf for it.
    #[inline]
    fn word(&mut self, key: Key) -> Option<(&'t AtomicU64, u64)> {
        let bit = key.leaf_bit();
        let word = self.0.seek(key.get() >> LEAF_BITS)?.get(bit / 64)?;
        Some((word, (1u64 << (bit % 64)).to_le()))
    }
}

impl fmt::Debug for Handle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.0.pool().first())
    }
}
/// Sets or clears the bits `mask` of a leaf's word; returns those that were not so before.
#[inline]
fn change(word: &AtomicU64, mask: u64, member: bool) -> u64 {
    // AcqRel: see `Handle::add`, and `Handle::remove`.
    let changed = if member {
        !word.fetch_or(mask.to_le(), Ordering::AcqRel)
    } else {
        word.fetch_and(!mask.to_le(), Ordering::AcqRel)
    };
    u64::from_le(changed) & mask
}

/// The number in its leaf of the first of the bits `bits` of the word `index`.
const fn place(index: usize, bits: u64) -> u64 {
    index as u64 * 64 + bits.trailing_zeros() as u64
}
