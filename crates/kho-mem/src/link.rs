//! Addresses found in memory, and values with the address that they were read from.

use core::fmt;
use core::ops::Deref;

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use crate::{Damage, Defect, PhysAddr};

/// An address that was found in memory: what it points to, where it stands, and what it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The address found.
    pub to: PhysAddr,
    /// Where it was found.
    pub at: PhysAddr,
    /// What errors call the thing that it points to.
    pub name: &'static str,
}

impl Link {
    /// An address that was not found in memory but given: it stands for its own place.
    #[must_use]
    #[inline]
    pub const fn given(addr: PhysAddr, name: &'static str) -> Self {
        Self {
            to: addr,
            at: addr,
            name,
        }
    }

    /// The same link under another name.
    #[must_use]
    #[inline]
    pub const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Whether it leads nowhere.
    #[must_use]
    #[inline]
    pub const fn is_null(&self) -> bool {
        self.to.is_null()
    }

    /// A defect of this link.
    #[must_use]
    pub fn damage(&self, defect: Defect) -> Damage {
        Damage::new(defect, self.name, self.at)
    }
}

/// A value and the address that it was read from.
///
/// It gives the places of its own fields, and the links that stand in them:
///
/// ```
/// use kho_mem::{Located, PhysAddr};
/// use zerocopy::little_endian::{U32, U64};
///
/// #[repr(C)]
/// struct Entry {
///     flags: U32,
///     count: U32,
///     next: U64,
/// }
///
/// let entry = Entry { flags: U32::new(0), count: U32::new(7), next: U64::new(0x5000) };
/// let entry = Located::new(entry, PhysAddr::new(0x4000));
/// assert_eq!(entry.count.get(), 7);
/// assert_eq!(entry.addr_of(|entry| &entry.count), PhysAddr::new(0x4004));
/// let next = entry.link(|entry| &entry.next, "next entry");
/// assert_eq!((next.to, next.at), (PhysAddr::new(0x5000), PhysAddr::new(0x4008)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Located<T> {
    at: PhysAddr,
    value: T,
}

impl<T> Located<T> {
    /// `value`, which was read from `at`.
    #[must_use]
    #[inline]
    pub const fn new(value: T, at: PhysAddr) -> Self {
        Self { at, value }
    }

    /// Where it was read from.
    #[must_use]
    #[inline]
    pub const fn at(&self) -> PhysAddr {
        self.at
    }

    /// The value alone.
    #[must_use]
    #[inline]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The address of a field. A reference to anything else than a part of the value yields the
    /// value's own address.
    #[inline]
    pub fn addr_of<'v, F: 'v>(&'v self, field: impl FnOnce(&'v T) -> &'v F) -> PhysAddr {
        self.place(field(&self.value))
    }

    /// The link in a field.
    #[inline]
    pub fn link<'v>(&'v self, field: impl FnOnce(&'v T) -> &'v U64, name: &'static str) -> Link {
        let field = field(&self.value);
        Link {
            to: PhysAddr::new(field.get()),
            at: self.place(field),
            name,
        }
    }

    /// A field as a value of its own.
    #[inline]
    pub fn part<'v, F: Copy + 'v>(&'v self, field: impl FnOnce(&'v T) -> &'v F) -> Located<F> {
        let field = field(&self.value);
        Located::new(*field, self.place(field))
    }

    #[inline]
    fn place<F>(&self, field: &F) -> PhysAddr {
        let start = core::ptr::from_ref(&self.value).addr();
        let offset = core::ptr::from_ref(field).addr().wrapping_sub(start);
        let is_part = offset <= size_of::<T>().saturating_sub(size_of::<F>());
        let offset = if is_part { offset } else { 0 };
        PhysAddr::new(self.at.get().wrapping_add(offset as u64))
    }
}

impl<T: FromBytes> Located<T> {
    /// The value of zero bytes at `at`: for the places of fields of a value that is not at hand.
    #[must_use]
    #[inline]
    pub fn zeroed(at: PhysAddr) -> Self {
        Self::new(T::new_zeroed(), at)
    }

    /// Where the value `index` of a row of values of type `T` stands, whose first begins at `first`.
    ///
    /// ```
    /// use kho_mem::{Located, PhysAddr};
    ///
    /// assert_eq!(Located::<[u8; 64]>::place_of(PhysAddr::new(0x1010), 3), PhysAddr::new(0x10d0));
    /// ```
    #[must_use]
    #[inline]
    pub const fn place_of(first: PhysAddr, index: u64) -> PhysAddr {
        let offset = index.wrapping_mul(size_of::<T>() as u64);
        PhysAddr::new(first.get().wrapping_add(offset))
    }

    /// The values of type `T` that fill `bytes`, which lie at `at`, in order. Bytes after the last
    /// whole value are left out.
    #[inline]
    pub fn all(bytes: &[u8], at: PhysAddr) -> impl Iterator<Item = Self> {
        let mut next = at.get();
        // A value without bytes fills nothing.
        bytes
            .chunks_exact(size_of::<T>().max(1))
            .map_while(move |bytes| {
                let value = T::read_from_bytes(bytes).ok()?;
                let at = PhysAddr::new(next);
                next = next.wrapping_add(size_of::<T>() as u64);
                Some(Self { at, value })
            })
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.value, self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_at_the_end_of_the_address_space_wrap() {
        let top = Located::new([U64::new(1), U64::new(2)], PhysAddr::new(u64::MAX - 7));
        let last = top.link(|pair| &pair[1], "last");
        assert_eq!((last.to.get(), last.at.get()), (2, 0));
    }

    #[test]
    fn a_reference_elsewhere_is_no_field() {
        static OTHER: U64 = U64::new(9);
        let value = Located::new(U64::new(1), PhysAddr::new(0x1000));
        assert_eq!(value.addr_of(|_| &OTHER), value.at());
    }

    #[test]
    fn values_in_bytes_have_their_addresses() {
        let bytes = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        let all: Vec<_> = Located::<U64>::all(&bytes, PhysAddr::new(0x1000)).collect();
        let all: Vec<_> = all.iter().map(|one| (one.get(), one.at().get())).collect();
        assert_eq!(all, [(1, 0x1000), (2, 0x1008)]);
        assert_eq!(Located::<()>::all(&bytes, PhysAddr::NULL).count(), 0);
    }
}
