//! The entries of a set.

use alloc::borrow::Cow;

use kho_mem::{Damage, Located, PhysAddr, PhysMemExt};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::BlockSet;

/// Iterator over a set's entries in order: see [`BlockSet::iter`]. Reading it changes nothing.
pub struct Entries<'s, 'm, T> {
    set: &'s BlockSet<'m, T>,
    // The block after the current one, and what is left of the current one.
    next: usize,
    bytes: Cow<'m, [u8]>,
    offset: usize,
    addr: PhysAddr,
}

impl<'s, 'm, T> Entries<'s, 'm, T> {
    pub(crate) const fn new(set: &'s BlockSet<'m, T>) -> Self {
        Self {
            set,
            next: 0,
            bytes: Cow::Borrowed(&[]),
            offset: 0,
            addr: PhysAddr::NULL,
        }
    }
}

impl<T: FromBytes + Immutable + KnownLayout + Unaligned> Entries<'_, '_, T> {
    /// Goes on to the next block; `None` after the last.
    fn enter(&mut self) -> Option<Result<(), Damage>> {
        let block = *self.set.blocks.get(self.next)?;
        self.next += 1;
        self.offset = 0;
        // The block is a preserved page, which was found to lie in memory.
        self.addr = self.set.format.entries(block.addr);
        match self.set.mem.bytes(self.addr, block.count * size_of::<T>()) {
            Ok(bytes) => {
                self.bytes = bytes;
                Some(Ok(()))
            }
            Err(error) => {
                // Nothing after an error.
                self.bytes = Cow::Borrowed(&[]);
                self.next = self.set.blocks.len();
                Some(Err(error.damage(self.set.name, block.addr)))
            }
        }
    }
}

impl<T: FromBytes + Immutable + KnownLayout + Unaligned> Iterator for Entries<'_, '_, T> {
    type Item = Result<Located<T>, Damage>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = self
                .bytes
                .get(self.offset..)
                .and_then(|rest| T::read_from_prefix(rest).ok());
            if let Some((entry, _)) = entry.filter(|_| size_of::<T>() > 0) {
                let addr = PhysAddr::new(self.addr.get() + self.offset as u64);
                self.offset += size_of::<T>();
                return Some(Ok(Located::new(entry, addr)));
            }
            if let Err(damage) = self.enter()? {
                return Some(Err(damage));
            }
        }
    }
}
