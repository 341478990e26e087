//! The page size of a handover.

use core::fmt;

use crate::{Order, PAGE_SHIFT, PhysAddr};

/// Bytes in a page of the kernel that wrote a handover.
///
/// The page size is a property of the handover, not of the machine that reads it. [`Pfn`](crate::Pfn),
/// [`PageRun`](crate::PageRun) and [`Order`] count frames of 4 KiB whatever the page size is, so that an
/// address has one frame number; this type converts to the handover's own pages.
///
/// ```
/// use kho_mem::{Order, PageSize, PhysAddr};
///
/// let size = PageSize::of(65536).unwrap();
/// assert_eq!((size.bytes(), size.frames(), size.order()), (65536, 16, Order::new(4).unwrap()));
/// assert!(size.is_aligned(PhysAddr::new(0x2_0000)) && !size.is_aligned(PhysAddr::new(0x1000)));
/// // A folio of order 1 is two pages of 64 KiB, or 2^5 frames.
/// assert_eq!(size.frames_of(1), Order::new(5));
/// assert_eq!(size.pages_of(Order::new(5).unwrap()), Some(1));
/// assert_eq!(PageSize::of(8192), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum PageSize {
    /// 4 KiB: x86-64, and the usual size of arm64.
    #[default]
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

impl PageSize {
    /// All sizes, the smallest first.
    pub const ALL: [Self; 3] = [Self::K4, Self::K16, Self::K64];

    /// The size of `bytes`; `None` for another than 4096, 16384 and 65536.
    #[must_use]
    pub const fn of(bytes: u64) -> Option<Self> {
        match bytes {
            0x1000 => Some(Self::K4),
            0x4000 => Some(Self::K16),
            0x1_0000 => Some(Self::K64),
            _ => None,
        }
    }

    /// log2 of the bytes.
    #[must_use]
    #[inline]
    pub const fn shift(self) -> u32 {
        PAGE_SHIFT + self.order().get() as u32
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// The bytes, as a length in memory.
    #[must_use]
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        1 << self.shift()
    }

    /// The frames of 4 KiB in a page.
    #[must_use]
    #[inline]
    pub const fn frames(self) -> u64 {
        self.order().pages()
    }

    /// log2 of the frames of 4 KiB in a page: the least order of preserved memory.
    #[must_use]
    #[inline]
    pub const fn order(self) -> Order {
        match self {
            Self::K4 => Order::ZERO,
            Self::K16 => Order::PAGE_16K,
            Self::K64 => Order::PAGE_64K,
        }
    }

    /// The largest folio: order 10 of 4 KiB pages, and 13 of larger ones, which a kernel can be built for
    /// on arm64 (its sections of memory are not larger).
    #[must_use]
    #[inline]
    pub const fn max_folio(self) -> Order {
        match self {
            Self::K4 => Order::MAX_FOLIO,
            Self::K16 => Order::MAX_FOLIO_16K,
            Self::K64 => Order::MAX_FOLIO_64K,
        }
    }

    /// Whether `addr` is the first byte of a page.
    #[must_use]
    #[inline]
    pub const fn is_aligned(self, addr: PhysAddr) -> bool {
        addr.get() & (self.bytes() - 1) == 0
    }

    /// The first byte of the page that holds `addr`.
    #[must_use]
    #[inline]
    pub const fn page_of(self, addr: PhysAddr) -> PhysAddr {
        PhysAddr::new(addr.get() & !(self.bytes() - 1))
    }

    /// A number of pages that `bytes` fill or begin.
    #[must_use]
    #[inline]
    pub const fn pages_for(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.bytes())
    }

    /// 2^`order` pages in frames of 4 KiB: an order that counts frames. `None` for more than the address
    /// space.
    #[must_use]
    #[inline]
    pub const fn frames_of(self, order: u8) -> Option<Order> {
        match order.checked_add(self.order().get()) {
            Some(order) => Order::new(order),
            None => None,
        }
    }

    /// log2 of the pages in 2^`order` frames of 4 KiB; `None` for less than a page.
    #[must_use]
    #[inline]
    pub const fn pages_of(self, order: Order) -> Option<u8> {
        order.get().checked_sub(self.order().get())
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.bytes() >> 10)
    }
}
