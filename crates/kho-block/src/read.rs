//! Reading and checking a set.

use alloc::format;
use alloc::vec::Vec;
use core::marker::PhantomData;

use kho_mem::{Damage, Defect, Link, PhysAddr, PhysMem};
use kho_radix::{Claims, Reading, RestoreError, Restoring};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::v1::MAX_BLOCKS;
use crate::{COMPONENT, NAME};
use crate::{Entries, Format};

/// A set of entries of type `T` in a predecessor's memory, checked as a whole.
///
/// Holding one proves that the chain ends, has at most 10000 blocks, that each block is a
/// preserved page of its own, and that each block but the last is full and the last is not empty.
pub struct BlockSet<'m, T> {
    pub(crate) mem: &'m dyn PhysMem,
    pub(crate) blocks: Vec<Block>,
    pub(crate) name: &'static str,
    pub(crate) format: Format,
    pub(crate) per_block: usize,
    entries: u64,
    entry: PhantomData<fn() -> T>,
}

/// A block of a set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) addr: PhysAddr,
    pub(crate) count: usize,
}

impl<'m, T: FromBytes + Immutable + KnownLayout + Unaligned> BlockSet<'m, T> {
    /// Reads the set whose head `head` points to, and claims its blocks. A null link is a set
    /// without entries; errors call the set by the link's name. Its blocks are of the version that
    /// was announced to `reading`, or version 1 where none was.
    ///
    /// # Errors
    ///
    /// A block that is unaligned, outside memory, not preserved as a single page, or in use
    /// elsewhere; a chain that comes back to itself or is too long; a count of 0, above what a
    /// block holds, or below that in a block that is not the last. Entries of another size, where a
    /// header says one. A version that is not known here.
    pub fn read(reading: &mut Reading<'m>, head: Link) -> Result<Self, Damage> {
        match Format::announced(reading.announced()) {
            Ok(format) => Self::read_as(format, reading, head),
            Err(error) => Err(
                Damage::new(Defect::BadValue, "version of its blocks", head.at)
                    .found(format!("{NAME}-v{}", error.version))
                    .expected(error.covered)
                    .within(head.name),
            ),
        }
    }

    /// Restores the set whose head `head` points to: reads it for an admitted handover. Its blocks
    /// are claimed, so a set is restored once.
    ///
    /// They are of the version that was announced to `restoring`, or that any string names that the
    /// verdict is about; version 1 where none does.
    ///
    /// # Errors
    ///
    /// The verdict does not cover that version of `block`, or the set is damaged: see
    /// [`BlockSet::read`].
    pub fn restore(restoring: &mut Restoring<'_, 'm>, head: Link) -> Result<Self, RestoreError> {
        let format = Format::of_generation(restoring.found(&COMPONENT)?);
        Ok(Self::read_as(format, restoring, head)?)
    }

    fn read_as(format: Format, reading: &mut Reading<'m>, head: Link) -> Result<Self, Damage> {
        let mut set = Self {
            mem: reading.mem(),
            blocks: Vec::new(),
            name: head.name,
            format,
            per_block: format.count_per_page(reading.page_size(), size_of::<T>()),
            entries: 0,
            entry: PhantomData,
        };
        reading
            .claims_mut()
            .all_or_none(|claims| set.chain(claims, head))
            .map_err(|damage| {
                damage
                    .within(format!("block {}", set.blocks.len()))
                    .within(head.name)
            })?;
        Ok(set)
    }

    fn chain(&mut self, claims: &mut Claims, head: Link) -> Result<(), Damage> {
        let full = self.per_block;
        let mut next = head;
        while !next.is_null() {
            if self.blocks.len() == MAX_BLOCKS {
                return Err(Damage::new(Defect::TooMany, "chain", next.at)
                    .found("one more block")
                    .expected(format!("at most {MAX_BLOCKS} blocks")));
            }
            claims.page(next).map_err(|damage| {
                // Only here, on the way out, is the chain searched.
                let mut blocks = self.blocks.iter();
                match blocks.position(|block| block.addr == next.to) {
                    Some(index) => Damage::new(Defect::Cycle, "chain", next.at)
                        .found(format!("{}, which is block {index} of this set", next.to))
                        .expected("0 or a block of its own"),
                    None => damage,
                }
            })?;
            let header = self.format.header(self.mem, next, size_of::<T>())?;
            let count = usize::try_from(header.count.get()).unwrap_or(usize::MAX);
            let addr = next.to;
            next = header.link(|header| &header.next, self.name);
            let last = next.is_null();
            if count == 0 || count > full || (count < full && !last) {
                let (at, count) = (header.addr_of(|header| &header.count), header.count.get());
                return Err(Damage::new(Defect::BadCount, "count", at)
                    .found(if last {
                        format!("{count}")
                    } else {
                        format!("{count}, with {} as the next block", next.to)
                    })
                    .expected(if last {
                        format!("1 to {full}")
                    } else {
                        format!("{full}: only the last block of a set is not full")
                    }));
            }
            self.blocks.push(Block { addr, count });
            self.entries += count as u64;
        }
        Ok(())
    }

    /// The version of its blocks.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Entries in the set.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.entries
    }

    /// Whether the set has no entries.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Blocks in the set.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The entries in order, each with its address.
    #[must_use]
    pub const fn iter(&self) -> Entries<'_, 'm, T> {
        Entries::new(self)
    }
}

impl<T> core::fmt::Debug for BlockSet<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BlockSet")
            .field("name", &self.name)
            .field("entries", &self.entries)
            .finish()
    }
}
