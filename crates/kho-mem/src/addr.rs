//! Addresses, page frame numbers, orders, and the page geometry.

use core::fmt;

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a frame, the unit of frame numbers, and in a page of an arena: the one place where 4096
/// comes from. A handover's own page may be larger: see [`PageSize`](crate::PageSize).
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// [`PAGE_SIZE`] where an address or a file offset is computed.
pub const PAGE_SIZE_U64: u64 = 1 << PAGE_SHIFT;
/// The bits of an address inside its page.
pub const PAGE_MASK: u64 = PAGE_SIZE_U64 - 1;

/// A physical address, in bytes. Zero means "none" in every KHO format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// "None", as all KHO formats write it.
    pub const NULL: Self = Self(0);

    /// The address `addr`.
    #[must_use]
    #[inline]
    pub const fn new(addr: u64) -> Self {
        Self(addr)
    }

    /// The address as a number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is "none".
    #[must_use]
    #[inline]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Whether the address is a page's first byte.
    #[must_use]
    #[inline]
    pub const fn is_page_aligned(self) -> bool {
        self.0 & PAGE_MASK == 0
    }

    /// The page that holds this address.
    #[must_use]
    #[inline]
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 >> PAGE_SHIFT)
    }

    /// The address `bytes` further on; `None` where that leaves the 64-bit space.
    #[must_use]
    #[inline]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl fmt::Display for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhysAddr({:#x})", self.0)
    }
}

impl fmt::LowerHex for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// A frame number: a physical address divided by 4 KiB, whatever the page size of a handover.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Pfn(u64);

impl Pfn {
    /// One more than the largest frame number of a 64-bit address space.
    pub const LIMIT: u64 = 1 << (u64::BITS - PAGE_SHIFT);

    /// The frame `pfn`; `None` where its address would not fit 64 bits.
    #[must_use]
    #[inline]
    pub const fn new(pfn: u64) -> Option<Self> {
        if pfn < Self::LIMIT {
            Some(Self(pfn))
        } else {
            None
        }
    }

    /// The frame number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The frame's first byte.
    #[must_use]
    #[inline]
    pub const fn addr(self) -> PhysAddr {
        PhysAddr(self.0 << PAGE_SHIFT)
    }
}

/// log2 of a number of frames of 4 KiB.
///
/// A folio of 4 KiB pages has an order of at most [`Order::MAX_FOLIO`]; a run of pages may be recorded
/// with any order up to [`Order::MAX`]. Orders that count a handover's larger pages are
/// [converted](crate::PageSize::frames_of).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Order(u8);

impl Order {
    /// A single page.
    pub const ZERO: Self = Self(0);
    /// The largest folio of 4 KiB pages (4 MiB).
    pub const MAX_FOLIO: Self = Self(10);
    /// The largest folio of 16 KiB pages (128 MiB).
    pub(crate) const MAX_FOLIO_16K: Self = Self(15);
    /// The largest folio of 64 KiB pages (512 MiB).
    pub(crate) const MAX_FOLIO_64K: Self = Self(17);
    /// A page of 16 KiB.
    pub(crate) const PAGE_16K: Self = Self(2);
    /// A page of 64 KiB.
    pub(crate) const PAGE_64K: Self = Self(4);
    /// All of a 64-bit address space.
    pub const MAX: Self = Self(52);

    /// The order `order`; `None` above [`Order::MAX`].
    #[must_use]
    #[inline]
    pub const fn new(order: u8) -> Option<Self> {
        if order <= Self::MAX.0 {
            Some(Self(order))
        } else {
            None
        }
    }

    /// The order as a number, 0 to 52.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Pages in a block of this order.
    #[must_use]
    #[inline]
    pub const fn pages(self) -> u64 {
        1 << self.0
    }

    /// Bytes in a block of this order; `None` for [`Order::MAX`] alone, which is all of the
    /// address space.
    #[must_use]
    #[inline]
    pub const fn bytes(self) -> Option<u64> {
        PAGE_SIZE_U64.checked_mul(self.pages())
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A range of bytes that does not leave the address space. Its end may be 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PhysRange {
    start: PhysAddr,
    len: u64,
}

impl PhysRange {
    /// No bytes.
    pub const EMPTY: Self = Self {
        start: PhysAddr::NULL,
        len: 0,
    };

    /// `len` bytes from `start`; `None` where they leave the address space.
    #[must_use]
    #[inline]
    pub const fn new(start: PhysAddr, len: u64) -> Option<Self> {
        // start + len may be 2^64 exactly: the last byte decides.
        if len > 0 && start.0.checked_add(len - 1).is_none() {
            return None;
        }
        Some(Self { start, len })
    }

    /// The first byte.
    #[must_use]
    #[inline]
    pub const fn start(&self) -> PhysAddr {
        self.start
    }

    /// Length in bytes.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the range has no byte.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One past the last byte. Wider than an address, since it may be 2^64.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> u128 {
        self.start.0 as u128 + self.len as u128
    }

    /// Whether `addr` lies in the range.
    #[must_use]
    #[inline]
    pub const fn contains(&self, addr: PhysAddr) -> bool {
        addr.0 >= self.start.0 && addr.0 - self.start.0 < self.len
    }

    /// Whether the two share a byte.
    #[must_use]
    #[inline]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.len > 0
            && other.len > 0
            && (self.start.0 as u128) < other.end()
            && (other.start.0 as u128) < self.end()
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start.0, self.end())
    }
}

/// A run of whole pages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PageRun {
    /// The first frame.
    pub pfn: Pfn,
    /// How many frames.
    pub pages: u64,
}

impl PageRun {
    /// The first byte's address.
    #[must_use]
    #[inline]
    pub const fn addr(&self) -> PhysAddr {
        self.pfn.addr()
    }

    /// One past the last frame's number: at most [`Pfn::LIMIT`] for pages of the address space.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> u64 {
        self.pfn.get().saturating_add(self.pages)
    }
}

impl fmt::Display for PageRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = (u128::from(self.pfn.get()) + u128::from(self.pages)) << PAGE_SHIFT;
        write!(f, "{:#x}..{end:#x}", self.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_may_end_at_the_top_but_not_pass_it() {
        let top = PhysAddr::new(u64::MAX - 0xfff);
        let range = PhysRange::new(top, PAGE_SIZE_U64).unwrap();
        assert_eq!(range.end(), 1 << 64);
        assert!(range.contains(PhysAddr::new(u64::MAX)));
        assert_eq!(PhysRange::new(top, PAGE_SIZE_U64 + 1), None);
    }

    #[test]
    fn overlap_is_strict() {
        let at = |start, len| PhysRange::new(PhysAddr::new(start), len).unwrap();
        assert!(!at(0, 16).overlaps(&at(16, 16)));
        assert!(at(0, 17).overlaps(&at(16, 16)));
        assert!(!at(8, 0).overlaps(&at(0, 16)));
    }

    #[test]
    fn orders_and_frames_have_their_limits() {
        assert_eq!(Order::new(53), None);
        assert_eq!(Order::MAX.bytes(), None);
        assert_eq!(Order::MAX_FOLIO.bytes(), Some(4 << 20));
        assert_eq!(Pfn::new(1 << 52), None);
        assert_eq!(Pfn::new((1 << 52) - 1).unwrap().addr().get(), !PAGE_MASK);
    }
}
