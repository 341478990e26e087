//! Keys: an address and an order in one number.

use core::fmt;

use kho_mem::{Order, PAGE_SHIFT, PageRun, Pfn, PhysAddr};

use crate::v1::{KEY_BITS, LEAF_BITS, MARKER_SHIFT, TABLE_BITS};

/// The key of a naturally aligned range of 2^order pages: `(1 << (52 - order)) | (pa >> (12 +
/// order))`. The highest set bit gives the order, the rest the address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

impl Key {
    /// The key `key` as it stands in a tree; `None` for 0 and for more than 53 bits, which encode
    /// no range.
    #[must_use]
    #[inline]
    pub const fn new(key: u64) -> Option<Self> {
        if key == 0 || key >> KEY_BITS != 0 {
            None
        } else {
            Some(Self(key))
        }
    }

    /// The key of 2^order pages at `addr`; `None` where `addr` is not aligned to that size.
    #[must_use]
    #[inline]
    pub const fn encode(addr: PhysAddr, order: Order) -> Option<Self> {
        let order = order.get() as u32;
        // Order 52 is all of the address space: its shift is 64, and only address 0 is aligned.
        let index = if PAGE_SHIFT + order == u64::BITS {
            if !addr.is_null() {
                return None;
            }
            0
        } else {
            let shift = PAGE_SHIFT + order;
            if addr.get() & ((1 << shift) - 1) != 0 {
                return None;
            }
            addr.get() >> shift
        };
        Some(Self(1 << (MARKER_SHIFT - order) | index))
    }

    /// The key as a number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The order of the range.
    #[must_use]
    #[inline]
    pub const fn order(self) -> Order {
        let order = MARKER_SHIFT - self.0.ilog2();
        // A key has 1 to 53 bits, so the order is 52 to 0.
        #[allow(clippy::cast_possible_truncation)]
        match Order::new(order as u8) {
            Some(order) => order,
            None => Order::MAX,
        }
    }

    /// The range's first frame.
    #[must_use]
    #[inline]
    pub const fn pfn(self) -> Pfn {
        self.addr().pfn()
    }

    /// The range's first byte.
    #[must_use]
    #[inline]
    pub const fn addr(self) -> PhysAddr {
        let pages = (self.0 ^ (1 << self.0.ilog2())) << self.order().get();
        PhysAddr::new(pages << PAGE_SHIFT)
    }

    /// The range.
    #[must_use]
    #[inline]
    pub const fn run(self) -> PageRun {
        PageRun {
            pfn: self.pfn(),
            pages: self.order().pages(),
        }
    }

    /// The index into the table of `level` (1 to 5) on the way to this key.
    #[must_use]
    #[inline]
    pub const fn table_index(self, level: u32) -> usize {
        slot(self.0 >> LEAF_BITS, level as usize)
    }

    /// The bit in the leaf.
    #[must_use]
    #[inline]
    pub const fn leaf_bit(self) -> usize {
        bit(self.0)
    }
}

/// The entry of a table of `level` on the path to the leaf whose keys begin with `prefix`.
#[inline]
pub(crate) const fn slot(prefix: u64, level: usize) -> usize {
    let index = prefix >> (TABLE_BITS as usize * (level - 1)) & ((1 << TABLE_BITS) - 1);
    index as usize
}

/// The bit of the key `key` in its leaf.
#[inline]
pub(crate) const fn bit(key: u64) -> usize {
    (key & ((1 << LEAF_BITS) - 1)) as usize
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Key({:#x}: {}, order {})",
            self.0,
            self.addr(),
            self.order()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Computed by hand from the formula.
    const VECTORS: &[(u64, u8, u64)] = &[
        (0x1000, 0, 0x0010_0000_0000_0001),
        (0x20_0000, 9, 0x0000_0800_0000_0001),
        (0, 0, 0x0010_0000_0000_0000),
        (0xffff_ffff_ffff_f000, 0, 0x001f_ffff_ffff_ffff),
        (0, 52, 1),
        (1 << 63, 51, 3),
    ];

    #[test]
    fn keys_are_as_the_format_says() {
        for (addr, order, key) in VECTORS {
            let encoded = Key::encode(PhysAddr::new(*addr), Order::new(*order).unwrap()).unwrap();
            assert_eq!(encoded.get(), *key, "{encoded:?}");
            assert_eq!(
                (encoded.addr().get(), encoded.order().get()),
                (*addr, *order)
            );
        }
    }

    #[test]
    fn what_encodes_no_range_is_no_key() {
        assert_eq!(Key::new(0), None);
        assert_eq!(Key::new(1 << 53), None);
        assert_eq!(
            Key::encode(PhysAddr::new(0x1000), Order::new(1).unwrap()),
            None
        );
        assert_eq!(Key::encode(PhysAddr::new(0x1001), Order::ZERO), None);
        assert_eq!(Key::encode(PhysAddr::new(0x1000), Order::MAX), None);
    }

    #[test]
    fn indices_take_the_key_apart() {
        let key = Key::new(0x0010_0000_0000_0001).unwrap();
        assert_eq!(key.table_index(5), 2);
        assert_eq!((1..5).map(|level| key.table_index(level)).max(), Some(0));
        assert_eq!(key.leaf_bit(), 1);
    }

    proptest::proptest! {
        #[test]
        fn encoding_and_decoding_are_inverses(index: u64, order in 0u8..=52) {
            let order = Order::new(order).unwrap();
            let addr = if order == Order::MAX { 0 } else {
                index >> order.get() >> PAGE_SHIFT << PAGE_SHIFT << order.get()
            };
            let key = Key::encode(PhysAddr::new(addr), order).unwrap();
            assert_eq!((key.addr().get(), key.order()), (addr, order));
            assert_eq!(Key::new(key.get()), Some(key));
        }
    }
}
