//! Memory with something else in it.

use std::fs;

use kho_mem::{PAGE_MASK, PAGE_SIZE};

use crate::failure::{Failure, of_file};
use crate::image::Placed;

/// A handover's memory, to be altered.
pub(crate) struct Memory {
    bytes: Vec<u8>,
    base: u64,
}

impl Memory {
    pub(crate) fn read(placed: &Placed) -> Result<Self, Failure> {
        let bytes = fs::read(&placed.raw).map_err(of_file(&placed.raw))?;
        let base = placed.base;
        Ok(Self { bytes, base })
    }

    pub(crate) fn write(&self, placed: &Placed) -> Result<(), Failure> {
        fs::write(&placed.raw, &self.bytes).map_err(of_file(&placed.raw))
    }

    /// Where the byte at `addr` stands.
    fn offset(&self, addr: u64) -> Result<usize, Failure> {
        let offset = addr.checked_sub(self.base);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        offset.ok_or_else(|| outside(addr))
    }

    /// The `len` bytes at `addr`.
    pub(crate) fn get(&self, addr: u64, len: usize) -> Result<Vec<u8>, Failure> {
        let rest = self.bytes.get(self.offset(addr)?..);
        let bytes = rest.and_then(|rest| rest.get(..len));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| outside(addr))
    }

    /// Replaces the bytes at `addr`.
    pub(crate) fn put(&mut self, addr: u64, bytes: &[u8]) -> Result<(), Failure> {
        let offset = self.offset(addr)?;
        let rest = self.bytes.get_mut(offset..);
        let place = rest.and_then(|rest| rest.get_mut(..bytes.len()));
        place.ok_or_else(|| outside(addr))?.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn put_u64(&mut self, addr: u64, value: u64) -> Result<(), Failure> {
        self.put(addr, &value.to_le_bytes())
    }

    /// Puts `text` and a NUL over the text that stands at `addr` in a field of `len` bytes.
    pub(crate) fn put_text(&mut self, addr: u64, len: usize, text: &str) -> Result<(), Failure> {
        let mut field = text.as_bytes().to_vec();
        field.resize(len, 0);
        self.put(addr, &field)
    }

    /// Replaces the first `old` in the page at `addr`, which is as long.
    pub(crate) fn replace(&mut self, addr: u64, old: &str, new: &str) -> Result<(), Failure> {
        let page = self.get(addr, PAGE_SIZE)?;
        let mut places = page.windows(old.len());
        let at = places.position(|place| place == old.as_bytes());
        let at = at.filter(|_| old.len() == new.len());
        let at = at.ok_or_else(|| Failure::Failed(format!("no `{old}` at {addr:#x}")))?;
        self.put(addr + at as u64, new.as_bytes())
    }
}

fn outside(addr: u64) -> Failure {
    Failure::Failed(format!("{addr:#x} is outside the handover"))
}

/// The page that `addr` lies in: of an entry in a block, the block.
pub(crate) const fn page(addr: u64) -> u64 {
    addr & !PAGE_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_replaced_where_they_are() {
        let mut memory = Memory {
            bytes: vec![1; 8192],
            base: 0x1000,
        };
        memory.put_u64(0x1008, 7).unwrap();
        memory.put_text(0x2000, 8, "ab").unwrap();
        assert_eq!(memory.bytes[8..16], [7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&memory.bytes[4096..4105], b"ab\0\0\0\0\0\0\x01");
        memory.replace(0x2000, "ab", "xy").unwrap();
        assert_eq!(&memory.bytes[4096..4098], b"xy");
        assert!(memory.replace(0x2000, "ab", "xy").is_err());
        assert!(memory.put(0xfff, &[1]).is_err());
        assert!(memory.put(0x2fff, &[1, 1]).is_err());
        assert_eq!(page(0x2fff), 0x2000);
    }
}
