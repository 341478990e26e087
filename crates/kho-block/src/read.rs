//! Reading and checking a set.

use alloc::format;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::mem::offset_of;

use kho_mem::{Damage, Defect, PhysAddr, PhysMem};
use kho_radix::Claims;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::abi::{BlockHeader, MAX_BLOCKS};
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
    /// Reads the set whose head address `head` was found at `at`, and claims its blocks. A head of
    /// 0 is a set without entries. `name` is what errors call the set. Its blocks are of version 1:
    /// see [`BlockSet::read_as`].
    ///
    /// # Errors
    ///
    /// As [`BlockSet::read_as`].
    pub fn read(
        mem: &'m dyn PhysMem,
        claims: &mut Claims,
        head: PhysAddr,
        at: PhysAddr,
        name: &'static str,
    ) -> Result<Self, Damage> {
        Self::read_as(Format::V1, mem, claims, head, at, name)
    }

    /// As [`BlockSet::read`], where the blocks are of `format`.
    ///
    /// # Errors
    ///
    /// A block that is unaligned, outside memory, not preserved as a single page, or in use
    /// elsewhere; a chain that comes back to itself or is too long; a count of 0, above what a
    /// block holds, or below that in a block that is not the last. Entries of another size, where a
    /// header says one.
    pub fn read_as(
        format: Format,
        mem: &'m dyn PhysMem,
        claims: &mut Claims,
        head: PhysAddr,
        at: PhysAddr,
        name: &'static str,
    ) -> Result<Self, Damage> {
        let mut set = Self {
            mem,
            blocks: Vec::new(),
            name,
            format,
            entries: 0,
            entry: PhantomData,
        };
        claims
            .all_or_none(|claims| set.chain(claims, head, at))
            .map_err(|damage| {
                damage
                    .within(format!("block {}", set.blocks.len()))
                    .within(name)
            })?;
        Ok(set)
    }

    fn chain(&mut self, claims: &mut Claims, head: PhysAddr, at: PhysAddr) -> Result<(), Damage> {
        let full = self.format.count_per_block(size_of::<T>());
        let (mut addr, mut addr_at) = (head, at);
        while !addr.is_null() {
            if self.blocks.len() == MAX_BLOCKS {
                return Err(Damage::new(Defect::TooMany, "chain", addr_at)
                    .found("one more block")
                    .expected(format!("at most {MAX_BLOCKS} blocks")));
            }
            claims.page(addr, self.name, addr_at).map_err(|damage| {
                // Only here, on the way out, is the chain searched.
                match self.blocks.iter().position(|block| block.addr == addr) {
                    Some(index) => Damage::new(Defect::Cycle, "chain", addr_at)
                        .found(format!("{addr}, which is block {index} of this set"))
                        .expected("0 or a block of its own"),
                    None => damage,
                }
            })?;
            let header = self
                .format
                .header(self.mem, addr, addr_at, size_of::<T>())?;
            let next = header.next;
            // Both stand where version 1 has them, in every version.
            let count = usize::try_from(header.count).unwrap_or(usize::MAX);
            let last = next.is_null();
            if count == 0 || count > full || (count < full && !last) {
                let at = PhysAddr::new(addr.get() + offset_of!(BlockHeader, count) as u64);
                return Err(Damage::new(Defect::BadCount, "count", at)
                    .found(if last {
                        format!("{}", header.count)
                    } else {
                        format!("{}, with {next} as the next block", header.count)
                    })
                    .expected(if last {
                        format!("1 to {full}")
                    } else {
                        format!("{full}: only the last block of a set is not full")
                    }));
            }
            self.blocks.push(Block { addr, count });
            self.entries += count as u64;
            addr_at = PhysAddr::new(addr.get() + offset_of!(BlockHeader, next) as u64);
            addr = next;
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
