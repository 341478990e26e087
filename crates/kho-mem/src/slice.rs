//! Memory that is one slice of bytes.

use crate::{Chunk, MemError, MemErrorKind, PhysAddr, PhysMem, PhysRange};

/// Physical memory that is a single slice with a base address: a raw image, or a test's bytes.
#[derive(Clone, Copy, Debug)]
pub struct SliceMem<'b> {
    base: PhysAddr,
    bytes: &'b [u8],
}

impl<'b> SliceMem<'b> {
    /// `bytes` as the memory from `base` on. What would lie past the end of the address space is
    /// left out.
    #[must_use]
    pub fn new(base: PhysAddr, bytes: &'b [u8]) -> Self {
        let room = u128::from(u64::MAX) + 1 - u128::from(base.get());
        let len = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
        Self {
            base,
            bytes: bytes.get(..len).unwrap_or(bytes),
        }
    }
}

impl PhysMem for SliceMem<'_> {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        let outside = MemError {
            addr,
            len: len as u64,
            kind: MemErrorKind::Outside,
        };
        let from = addr.get().checked_sub(self.base.get()).ok_or(outside)?;
        let from = usize::try_from(from).map_err(|_| outside)?;
        let rest = self
            .bytes
            .get(from..)
            .filter(|rest| !rest.is_empty())
            .ok_or(outside)?;
        Ok(Chunk::Bytes(rest.get(..len).unwrap_or(rest)))
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        let range = PhysRange::new(self.base, self.bytes.len() as u64)?;
        (u128::from(from.get()) < range.end() && !range.is_empty()).then_some(range)
    }
}
