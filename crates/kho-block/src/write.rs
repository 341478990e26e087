//! A set that is being made.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::mem::offset_of;

use kho_core::{PreservedFolio, Preserver, TrackerError};
use kho_mem::PhysAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Format;
use crate::abi::{BLOCK_SIZE, BlockHeader, MAX_BLOCKS, count_per_block};
use crate::format::MAX_HEADER;

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
    /// No page is left for a block.
    #[error("a block: {0}")]
    Tracker(#[from] TrackerError),
}

/// A set of entries of type `T` that is being made for the next kernel.
///
/// Capacity and entries are two things: [`grow`](Self::grow) allocates and preserves blocks,
/// [`reserve_entry`](Self::reserve_entry) takes the next entry in them and can not fail for want of
/// memory. What the blocks say is at any time what the entries are: blocks without entries are not
/// linked. It is never read back through: a set that was handed over is a
/// [`BlockSet`](crate::BlockSet).
///
/// ```
/// use kho_block::OutgoingSet;
/// use kho_core::Preserver;
/// use kho_mem::{Arena, ArenaConfig, PhysAddr};
/// use zerocopy::little_endian::U64;
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let mut set = OutgoingSet::<U64>::new(Preserver::new(arena)?);
/// assert_eq!(set.head(), PhysAddr::NULL, "a set without entries");
/// set.grow(511)?; // 510 fit a block
/// set.reserve_entry()?.set(42);
/// assert_eq!((set.len(), set.blocks(), set.capacity()), (1, 2, 1020));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OutgoingSet<T> {
    preserver: Preserver,
    format: Format,
    blocks: Vec<PreservedFolio>,
    len: usize,
    entry: PhantomData<fn() -> T>,
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned> OutgoingSet<T> {
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

    /// A set without blocks, which will be of `format`: see [`Format::written_by`]. An entry that does
    /// not fit a block of every version does not compile.
    #[must_use]
    pub const fn with_format(preserver: Preserver, format: Format) -> Self {
        const {
            let fits = size_of::<T>() > 0 && size_of::<T>() <= BLOCK_SIZE - MAX_HEADER;
            assert!(fits, "an entry fits a block of every version");
        }
        Self::of(preserver, format)
    }

    const fn of(preserver: Preserver, format: Format) -> Self {
        Self {
            preserver,
            format,
            blocks: Vec::new(),
            len: 0,
            entry: PhantomData,
        }
    }

    /// The version of its blocks.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Entries that fit one of its blocks.
    const fn per_block(&self) -> usize {
        // At least 1: an entry that fits no block does not compile.
        self.format.count_per_block(size_of::<T>())
    }

    /// Entries that were reserved.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry was reserved.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Blocks, with and without entries.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Entries that the blocks hold.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.blocks.len() * self.per_block()
    }

    /// The address of the first block, which the set's user hands over; 0 for a set without
    /// entries.
    #[must_use]
    pub fn head(&self) -> PhysAddr {
        let first = self.blocks.first().filter(|_| self.len > 0);
        first.map_or(PhysAddr::NULL, PreservedFolio::addr)
    }

    /// Adds blocks until `count` entries fit, those there are included; all or nothing.
    ///
    /// # Errors
    ///
    /// More than the format's 10000 blocks, or no page is left.
    pub fn grow(&mut self, count: usize) -> Result<(), BlockError> {
        let max = self.per_block() * MAX_BLOCKS;
        if count > max {
            return Err(BlockError::TooMany {
                asked: count,
                max,
                entry_size: size_of::<T>(),
            });
        }
        let before = self.blocks.len();
        let needed = count.div_ceil(self.per_block());
        if needed <= before {
            return Ok(());
        }
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
        while self.len > count {
            self.prev();
        }
        let needed = count.div_ceil(self.per_block());
        self.blocks.truncate(needed);
    }

    /// Forgets all entries: counts and contents are 0 then. The blocks stay.
    pub fn clear(&mut self) {
        let used = self.len.div_ceil(self.per_block());
        self.blocks
            .iter_mut()
            .take(used)
            .for_each(|block| block.fill(0));
        self.len = 0;
    }

    /// Takes the next entry, all 0, to be filled.
    ///
    /// # Errors
    ///
    /// The blocks are full: [`grow`](Self::grow) first.
    pub fn reserve_entry(&mut self) -> Result<&mut T, BlockError> {
        let full = BlockError::Full {
            capacity: self.capacity(),
        };
        if self.len >= self.capacity() {
            return Err(full);
        }
        let index = self.len;
        self.len += 1;
        self.sync(index / self.per_block());
        self.get_mut(index).ok_or(full)
    }

    /// Gives the last entry back: the way back of [`reserve_entry`](Self::reserve_entry). Returns
    /// what it was; `None` where the set is empty.
    pub fn prev(&mut self) -> Option<T> {
        let index = self.len.checked_sub(1)?;
        let last = self.get_mut(index)?;
        let entry = T::read_from_bytes(last.as_bytes()).ok()?;
        last.zero();
        self.len = index;
        self.sync(index / self.per_block());
        Some(entry)
    }

    /// The entry `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        let bytes = self
            .blocks
            .get(index / self.per_block())?
            .get(self.slot(index))?;
        (index < self.len)
            .then(|| T::ref_from_bytes(bytes).ok())
            .flatten()
    }

    /// The entry `index`, to be changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let (block, slot) = (index / self.per_block(), self.slot(index));
        let bytes = self.blocks.get_mut(block)?.get_mut(slot)?;
        (index < self.len)
            .then(|| T::mut_from_bytes(bytes).ok())
            .flatten()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(|index| self.get(index))
    }

    /// Gives the blocks to the handover.
    pub fn hand_over(self) {
        self.blocks.into_iter().for_each(PreservedFolio::hand_over);
    }

    const fn slot(&self, index: usize) -> core::ops::Range<usize> {
        let at = self.format.header_len() + index % self.per_block() * size_of::<T>();
        at..at + size_of::<T>()
    }

    /// Writes the count of the block `index`, and the link that leads to it.
    fn sync(&mut self, index: usize) {
        let count = self.len.saturating_sub(index * self.per_block());
        let addr = self.blocks.get(index).map_or(0, |block| block.addr().get());
        self.header(index, offset_of!(BlockHeader, count), count as u64);
        if let Some(block) = self.blocks.get_mut(index) {
            self.format.describe(block, count as u64, size_of::<T>());
        }
        if let Some(before) = index.checked_sub(1) {
            let next = if count > 0 { addr } else { 0 };
            self.header(before, offset_of!(BlockHeader, next), next);
        }
    }

    fn header(&mut self, index: usize, at: usize, value: u64) {
        let block = self.blocks.get_mut(index);
        if let Some(word) = block.and_then(|block| block.get_mut(at..at + size_of::<u64>())) {
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
}

impl<T> core::fmt::Debug for OutgoingSet<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OutgoingSet")
            .field("entries", &self.len)
            .field("blocks", &self.blocks.len())
            .finish()
    }
}
