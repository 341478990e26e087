//! Going through a set entry by entry, forth and back.

use kho_mem::{Damage, Link, Located, PhysMemExt};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::BlockSet;

/// A place between two entries of a set: see [`BlockSet::cursor`]. Moving it changes nothing in
/// the set.
#[derive(Debug)]
pub struct Cursor<'s, 'm, T> {
    set: &'s BlockSet<'m, T>,
    next: u64,
}

impl<'m, T: FromBytes + Immutable + KnownLayout + Unaligned> BlockSet<'m, T> {
    /// The entry `index` with its address; `None` past the end. O(1): blocks before the last are
    /// full.
    ///
    /// # Errors
    ///
    /// Memory that does not keep its word: the entry was there when the set was read.
    pub fn get(&self, index: u64) -> Option<Result<Located<T>, Damage>> {
        let per_block = self.per_block as u64;
        let block = usize::try_from(index.checked_div(per_block)?).ok()?;
        let block = self.blocks.get(block)?;
        let slot = index % per_block;
        if slot >= block.count as u64 {
            return None;
        }
        let addr = Located::<T>::place_of(self.format.entries(block.addr), slot);
        Some(self.mem.follow(Link::given(addr, self.name)))
    }

    /// A cursor before the first entry.
    #[must_use]
    pub const fn cursor(&self) -> Cursor<'_, 'm, T> {
        Cursor { set: self, next: 0 }
    }
}

impl<T: FromBytes + Immutable + KnownLayout + Unaligned> Cursor<'_, '_, T> {
    /// The next entry with its address, and steps over it; `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`BlockSet::get`]; the cursor stays.
    pub fn read_entry(&mut self) -> Option<Result<Located<T>, Damage>> {
        let entry = self.set.get(self.next)?;
        self.next += u64::from(entry.is_ok());
        Some(entry)
    }

    /// Steps back over the entry before; `None` at the start.
    ///
    /// # Errors
    ///
    /// As [`BlockSet::get`]; the cursor stays.
    pub fn prev(&mut self) -> Option<Result<Located<T>, Damage>> {
        let before = self.next.checked_sub(1)?;
        let entry = self.set.get(before)?;
        self.next -= u64::from(entry.is_ok());
        Some(entry)
    }
}
