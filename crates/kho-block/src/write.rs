//! A set that is being made.

use alloc::vec::Vec;
use core::marker::PhantomData;

use kho_mem::{Broken, Errno, PhysAddr};
use kho_radix::{PreservedFolio, Preserver, TrackerError};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Format;
use crate::v1::{BLOCK_SIZE, BlockHeader, MAX_BLOCKS, count_per_block};

/// What a set refuses. It is as it was then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// More entries than the format's 10000 blocks hold.
    #[error(
        "a set holds at most {max} entries of {entry_size} bytes in its {MAX_BLOCKS} blocks, not {asked}"
    )]
    TooMany {
        /// Entries asked for.
        asked: usize,
        /// Entries that fit.
        max: usize,
        /// Bytes of an entry.
        entry_size: usize,
    },
    /// Every entry that the blocks hold is taken: grow first.
    #[error("all {capacity} entries of the set are taken")]
    Full {
        /// Entries that the blocks hold.
        capacity: usize,
    },
    /// An entry does not fit a block of the format.
    #[error("invalid entry of {entry_size} bytes: expected at most {} in a block of block-v{}", BLOCK_SIZE - .format.header_len(), .format.version())]
    Entry {
        /// Bytes of an entry.
        entry_size: usize,
        /// The format.
        format: Format,
    },
    /// No page is left for a block.
    #[error("a block: {0}")]
    Tracker(#[from] TrackerError),
    /// A block does not hold what it was made for.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl BlockError {
    /// What a kernel returns in its place.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::TooMany { .. } | Self::Full { .. } => Errno::ENOSPC,
            Self::Entry { .. } => Errno::EINVAL,
            Self::Tracker(error) => error.errno(),
            Self::Broken(error) => error.errno(),
        }
    }
}

/// A set of entries of type `T` that is being made for the next kernel.
///
/// Capacity and entries are two things: [`grow`](Self::grow) allocates and preserves blocks,
/// [`reserve_entry`](Self::reserve_entry) takes the next entry in them and can not fail for want of
/// memory. `&mut` is the lock: a kernel asks whoever grows or fills a set to hold one. What the blocks say is at any time what the entries are: blocks without entries are not
/// linked. It is never read back through: a set that was handed over is a
/// [`BlockSet`](crate::BlockSet).
///
/// ```
/// use kho_block::{Arena, ArenaConfig, OutgoingBlockSet, PhysAddr, Preserver};
/// use zerocopy::little_endian::U64;
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let mut set = OutgoingBlockSet::<U64>::new(Preserver::new(arena)?);
/// assert_eq!(set.head(), PhysAddr::NULL, "a set without entries");
/// set.grow(511)?; // 510 fit a block
/// set.reserve_entry()?.set(42);
/// assert_eq!((set.len(), set.blocks(), set.capacity()), (1, 2, 1020));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OutgoingBlockSet<T> {
    preserver: Preserver,
    format: Format,
    blocks: Vec<PreservedFolio>,
    // Entries that fit a block.
    per_block: usize,
    // Where the next entry goes: the block, and the entries before it there, fewer than fit.
    at: usize,
    slot: usize,
    entry: PhantomData<fn() -> T>,
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned> OutgoingBlockSet<T> {
    /// Entries that fit a block of version 1.
    pub const PER_BLOCK: usize = count_per_block(size_of::<T>());
    /// Entries that fit a set of version 1.
    pub const MAX: usize = Self::PER_BLOCK * MAX_BLOCKS;

    /// A set without blocks, which will be of version 1. An entry that fits no block does not compile.
    #[must_use]
    pub const fn new(preserver: Preserver) -> Self {
        const { assert!(count_per_block(size_of::<T>()) > 0, "an entry fits a block") }
        Self::of(preserver, Format::V1)
    }

    /// A set without blocks, which will be of `format`: see [`Format::written_by`]. An entry that fits
    /// no block of version 1 does not compile.
    ///
    /// # Errors
    ///
    /// An entry does not fit a block of `format`, whose header is larger than that of version 1.
    pub fn with_format(preserver: Preserver, format: Format) -> Result<Self, BlockError> {
        const { assert!(count_per_block(size_of::<T>()) > 0, "an entry fits a block") }
        if format.count_per_block(size_of::<T>()) == 0 {
            let entry_size = size_of::<T>();
            return Err(BlockError::Entry { entry_size, format });
        }
        Ok(Self::of(preserver, format))
    }

    const fn of(preserver: Preserver, format: Format) -> Self {
        Self {
            preserver,
            format,
            blocks: Vec::new(),
            // At least 1: an entry that fits no block is refused before.
            per_block: format.count_per_block(size_of::<T>()),
            at: 0,
            slot: 0,
            entry: PhantomData,
        }
    }

    /// The version of its blocks.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Entries that were reserved.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.at * self.per_block + self.slot
    }

    /// Whether no entry was reserved.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.at == 0 && self.slot == 0
    }

    /// Blocks, with and without entries.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Entries that the blocks hold.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.blocks.len() * self.per_block
    }

    /// The address of the first block, which the set's user hands over; 0 for a set without
    /// entries.
    #[must_use]
    pub fn head(&self) -> PhysAddr {
        let first = self.blocks.first().filter(|_| !self.is_empty());
        first.map_or(PhysAddr::NULL, PreservedFolio::addr)
    }

    /// Adds blocks until `count` entries fit, those there are included; all or nothing.
    ///
    /// # Errors
    ///
    /// More than the format's 10000 blocks, or no page is left.
    #[inline]
    pub fn grow(&mut self, count: usize) -> Result<(), BlockError> {
        if count <= self.capacity() {
            return Ok(());
        }
        self.add_blocks(count)
    }

    #[cold]
    fn add_blocks(&mut self, count: usize) -> Result<(), BlockError> {
        let max = self.per_block * MAX_BLOCKS;
        if count > max {
            return Err(BlockError::TooMany {
                asked: count,
                max,
                entry_size: size_of::<T>(),
            });
        }
        let before = self.blocks.len();
        let needed = count.div_ceil(self.per_block);
        let (preserver, blocks) = (&self.preserver, &mut self.blocks);
        preserver.step(|| {
            while blocks.len() < needed {
                match preserver.alloc_preserve(BLOCK_SIZE) {
                    Ok(block) => blocks.push(block),
                    Err(error) => {
                        blocks.truncate(before);
                        return Err(error.into());
                    }
                }
            }
            Ok(())
        })
    }

    /// Frees the trailing blocks that `count` entries do not need. Entries beyond `count` leave, the
    /// last one first.
    pub fn shrink(&mut self, count: usize) {
        while self.len() > count && self.prev().is_some() {}
        let needed = count.max(self.len()).div_ceil(self.per_block);
        self.blocks.truncate(needed);
    }

    /// Forgets all entries: counts and contents are 0 then. The blocks stay.
    pub fn clear(&mut self) {
        let used = self.len().div_ceil(self.per_block);
        self.blocks
            .iter_mut()
            .take(used)
            .for_each(|block| block.fill(0));
        (self.at, self.slot) = (0, 0);
    }

    /// Takes the next entry, all 0, to be filled.
    ///
    /// # Errors
    ///
    /// The blocks are full: [`grow`](Self::grow) first.
    #[inline]
    pub fn reserve_entry(&mut self) -> Result<&mut T, BlockError> {
        if self.slot == 0 {
            self.enter()?;
        }
        let (at, slot) = (self.at, self.slot);
        let from = self.format.header_len() + slot * size_of::<T>();
        let entry = self.blocks.get_mut(at).and_then(|block| {
            let block = block.first_chunk_mut::<BLOCK_SIZE>()?;
            let (head, entries) = block.split_at_mut_checked(from)?;
            let (entry, _) = T::mut_from_prefix(entries).ok()?;
            BlockHeader::of(head)?.count.set(slot as u64 + 1);
            Some(entry)
        });
        let entry = entry.ok_or_else(|| broken::<T>(self.format, slot + 1))?;
        self.slot += 1;
        if self.slot == self.per_block {
            (self.at, self.slot) = (at + 1, 0);
        }
        Ok(entry)
    }

    /// Takes the next entries of one block, all 0, to be filled: as many as are left in it, at most `max`
    /// and at least one. To write many, fill slice after slice: that is as fast as memory.
    ///
    /// # Errors
    ///
    /// The blocks are full: [`grow`](Self::grow) first. Or `max` is 0.
    ///
    /// ```
    /// # use kho_block::{Arena, ArenaConfig, OutgoingBlockSet, PhysAddr, Preserver};
    /// # use zerocopy::little_endian::U64;
    /// # let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
    /// let mut set = OutgoingBlockSet::<U64>::new(Preserver::new(arena)?);
    /// let (mut numbers, mut left) = ((1..).map(U64::new), 1000);
    /// set.grow(left)?;
    /// while left > 0 {
    ///     let entries = set.reserve_entries(left)?;
    ///     left -= entries.len();
    ///     for (entry, number) in entries.iter_mut().zip(&mut numbers) {
    ///         *entry = number;
    ///     }
    /// }
    /// assert_eq!(set.len(), 1000);
    /// assert_eq!(set.get(999), Some(&U64::new(1000)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve_entries(&mut self, max: usize) -> Result<&mut [T], BlockError> {
        let full = BlockError::Full {
            capacity: self.capacity(),
        };
        if max == 0 {
            return Err(full);
        }
        if self.slot == 0 {
            self.enter()?;
        }
        let (at, slot) = (self.at, self.slot);
        let count = max.min(self.per_block - slot);
        let from = self.format.header_len() + slot * size_of::<T>();
        let entries = self.blocks.get_mut(at).and_then(|block| {
            let (head, entries) = block.split_at_mut_checked(from)?;
            let entries = entries.get_mut(..count * size_of::<T>())?;
            BlockHeader::of(head)?.count.set((slot + count) as u64);
            <[T]>::mut_from_bytes(entries).ok()
        });
        let entries = entries.ok_or_else(|| broken::<T>(self.format, slot + count))?;
        self.slot += count;
        if self.slot == self.per_block {
            (self.at, self.slot) = (at + 1, 0);
        }
        Ok(entries)
    }

    /// Makes the block of the next entry, its first one, a part of the chain.
    #[cold]
    fn enter(&mut self) -> Result<(), BlockError> {
        let full = BlockError::Full {
            capacity: self.capacity(),
        };
        let (before, rest) = self.blocks.split_at_mut_checked(self.at).ok_or(full)?;
        let block = rest.first_mut().ok_or(full)?;
        let addr = block.addr();
        let described = self.format.describe(block, 1, size_of::<T>());
        let linked = described.and_then(|()| link(before.last_mut(), addr.get()));
        Ok(linked.ok_or_else(|| broken::<T>(self.format, 1))?)
    }

    /// Gives the last entry back: the way back of [`reserve_entry`](Self::reserve_entry). Returns
    /// what it was; `None` where the set is empty.
    pub fn prev(&mut self) -> Option<T> {
        let index = self.len().checked_sub(1)?;
        let last = self.get_mut(index)?;
        let entry = T::read_from_bytes(last.as_bytes()).ok()?;
        last.zero();
        let (at, slot) = (index / self.per_block, index % self.per_block);
        let (before, rest) = self.blocks.split_at_mut_checked(at)?;
        let block = rest.first_mut()?;
        BlockHeader::of(block)?.count.set(slot as u64);
        self.format.describe(block, slot as u64, size_of::<T>())?;
        if slot == 0 {
            link(before.last_mut(), 0)?;
        }
        (self.at, self.slot) = (at, slot);
        Some(entry)
    }

    /// The entry `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        let bytes = self
            .blocks
            .get(index / self.per_block)?
            .get(self.slot(index))?;
        (index < self.len())
            .then(|| T::ref_from_bytes(bytes).ok())
            .flatten()
    }

    /// The entry `index`, to be changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        if index >= self.len() {
            return None;
        }
        let (block, slot) = (index / self.per_block, self.slot(index));
        let bytes = self.blocks.get_mut(block)?.get_mut(slot)?;
        T::mut_from_bytes(bytes).ok()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Gives the blocks to the handover.
    pub fn hand_over(self) {
        self.blocks.into_iter().for_each(PreservedFolio::hand_over);
    }

    const fn slot(&self, index: usize) -> core::ops::Range<usize> {
        let at = self.format.header_len() + index % self.per_block * size_of::<T>();
        at..at + size_of::<T>()
    }
}

/// Lets `block`, where there is one, lead to `next`.
fn link(block: Option<&mut PreservedFolio>, next: u64) -> Option<()> {
    if let Some(block) = block {
        BlockHeader::of(block)?.next.set(next);
    }
    Some(())
}

/// A block without the `count` entries that were to fit it.
#[cold]
fn broken<T>(format: Format, count: usize) -> Broken {
    let room = format.count_per_block(size_of::<T>());
    Broken::new("entries of a block", count, room)
}

impl<T> core::fmt::Debug for OutgoingBlockSet<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OutgoingBlockSet")
            .field("entries", &(self.at * self.per_block + self.slot))
            .field("blocks", &self.blocks.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use kho_mem::{Arena, ArenaConfig};
    use zerocopy::little_endian::U64;

    use super::*;

    /// A set of two blocks with an entry, which takes more entries for one block than fit.
    fn set(slot: usize) -> OutgoingBlockSet<U64> {
        let config = ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20);
        let preserver = Preserver::new(Arena::heap(&config).unwrap()).unwrap();
        let mut set = OutgoingBlockSet::<U64>::new(preserver);
        set.grow(1020).unwrap();
        set.reserve_entry().unwrap().set(42);
        set.per_block = 1000;
        set.slot = slot;
        set
    }

    fn check(
        mut set: OutgoingBlockSet<U64>,
        step: impl Fn(&mut OutgoingBlockSet<U64>) -> Option<Broken>,
    ) {
        let (len, block) = (set.len(), set.blocks[0].to_vec());
        let error = step(&mut set);
        let expected = Broken::new("entries of a block", len + 1, 510);
        assert_eq!(error, Some(expected));
        assert_eq!((set.len(), set.blocks[0].to_vec()), (len, block));
    }

    fn error<T>(done: Result<T, BlockError>) -> Option<Broken> {
        match done {
            Err(BlockError::Broken(broken)) => Some(broken),
            _ => None,
        }
    }

    #[test]
    fn an_entry_past_its_block_is_an_error() {
        check(set(510), |set| error(set.reserve_entry()));
    }

    #[test]
    fn entries_past_their_block_are_an_error() {
        check(set(510), |set| error(set.reserve_entries(1)));
    }

    #[test]
    fn giving_entries_back_ends_where_one_can_not_be() {
        let mut set = set(511);
        assert_eq!(set.prev(), None);
        set.shrink(0);
        assert_eq!((set.len(), set.blocks()), (511, 1));
    }
}
