//! The shape of a tree for each page size.

use kho_mem::{Link, Order, PageSize, PhysAddr, PhysMem, PhysMemExt};
use zerocopy::little_endian::U64;

use crate::{Key, v1};

/// The root of a tree, and the page size of the kernel that wrote it.
///
/// A link alone is a tree of 4 KiB pages:
///
/// ```
/// use kho_mem::{Link, PageSize, PhysAddr};
/// use kho_radix::Root;
///
/// let link = Link::given(PhysAddr::new(0x1000_0000), "root");
/// assert_eq!(Root::from(link).page_size, PageSize::K4);
/// assert_eq!(Root::new(link, PageSize::K64).page_size, PageSize::K64);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// The link to the root node.
    pub link: Link,
    /// The page size: that of a node, and the least that is preserved.
    pub page_size: PageSize,
}

impl Root {
    /// The tree of pages of `page_size` whose root node `link` points to.
    #[must_use]
    pub const fn new(link: Link, page_size: PageSize) -> Self {
        Self { link, page_size }
    }

    /// Whether the tree holds a key for the page at `addr`, on its own or in a larger range. O(depth) for
    /// each order. The path to the key is all that is looked at: a tree that is damaged there holds none.
    ///
    /// This tells page sizes apart, which nothing in memory states: what a handover points to is preserved
    /// under its own size.
    #[must_use]
    pub fn holds(&self, mem: &dyn PhysMem, addr: PhysAddr) -> bool {
        let orders = self.page_size.order().get()..=Order::MAX.get();
        let mut keys = orders.filter_map(Order::new).filter_map(|order| {
            let below = order.bytes().map_or(u64::MAX, |bytes| bytes - 1);
            Key::encode(PhysAddr::new(addr.get() & !below), order)
        });
        keys.any(|key| match self.page_size {
            PageSize::K4 => Geometry::<12>::holds(mem, self.link.to, key),
            PageSize::K16 => Geometry::<14>::holds(mem, self.link.to, key),
            PageSize::K64 => Geometry::<16>::holds(mem, self.link.to, key),
        })
    }
}

impl From<Link> for Root {
    fn from(link: Link) -> Self {
        Self::new(link, PageSize::default())
    }
}

/// The numbers that shape a tree whose pages have 2^`SHIFT` bytes. A key has the same bits for every page
/// size, since its order can be counted in frames of 4 KiB; larger pages take the marker's highest places
/// away.
pub(crate) struct Geometry<const SHIFT: u32>;

const _: () = assert!(Geometry::<{ PageSize::K16.shift() }>::IS_SOUND);

const _: () = assert!(Geometry::<{ PageSize::K64.shift() }>::IS_SOUND);

// Trees of 4 KiB pages are written as well, by the numbers of `v1`.
const _: () = assert!(Geometry::<{ PageSize::K4.shift() }>::IS_SOUND);
const _: () = assert!(Geometry::<12>::DEPTH == v1::DEPTH);
const _: () = assert!(Geometry::<12>::TABLE_BITS == v1::TABLE_BITS);
const _: () = assert!(Geometry::<12>::LEAF_BITS == v1::LEAF_BITS);
const _: () = assert!(Geometry::<12>::KEY_BITS == v1::KEY_BITS);

impl<const SHIFT: u32> Geometry<SHIFT> {
    /// log2 of the entries in a table.
    pub(crate) const TABLE_BITS: u32 = SHIFT - 3;
    /// log2 of the bits in a leaf.
    pub(crate) const LEAF_BITS: u32 = SHIFT + 3;
    /// Bits of a key: the marker and the number of a page.
    pub(crate) const KEY_BITS: u32 = u64::BITS - SHIFT + 1;
    /// Levels, the leaves included.
    pub(crate) const DEPTH: u32 = (Self::KEY_BITS - Self::LEAF_BITS).div_ceil(Self::TABLE_BITS) + 1;
    /// 64-bit words of a node: a table's entries, and the words of a leaf's bitmap.
    pub(crate) const WORDS: usize = 1 << Self::TABLE_BITS;
    /// That a node is a page, and that its tables and leaves have room for every key.
    const IS_SOUND: bool = Self::WORDS * size_of::<u64>() == 1 << SHIFT
        && 1 << Self::LEAF_BITS == Self::WORDS * 64
        && Self::LEAF_BITS + (Self::DEPTH - 1) * Self::TABLE_BITS >= Self::KEY_BITS;

    /// Whether the tree whose root node lies at `root` holds `key`.
    fn holds(mem: &dyn PhysMem, root: PhysAddr, key: Key) -> bool {
        let word = |node: PhysAddr, index: u64| {
            let is_page = !node.is_null() && node.get() & ((1 << SHIFT) - 1) == 0;
            let at = node.get().checked_add(index * 8).filter(|_| is_page)?;
            mem.read::<U64>(PhysAddr::new(at)).ok().map(U64::get)
        };
        let mut node = Some(root);
        for level in (1..Self::DEPTH).rev() {
            let index = key.get() >> (Self::LEAF_BITS + Self::TABLE_BITS * (level - 1));
            let index = index & ((1 << Self::TABLE_BITS) - 1);
            node = node.and_then(|node| word(node, index)).map(PhysAddr::new);
        }
        let bit = key.get() & ((1 << Self::LEAF_BITS) - 1);
        let bits = node.and_then(|node| word(node, bit / 64));
        bits.is_some_and(|bits| bits >> (bit % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Depth, entries of a table, bits of a leaf and of a key.
    fn shape<const SHIFT: u32>() -> (u32, u32, u32, u32) {
        (
            Geometry::<SHIFT>::DEPTH,
            1 << Geometry::<SHIFT>::TABLE_BITS,
            1 << Geometry::<SHIFT>::LEAF_BITS,
            Geometry::<SHIFT>::KEY_BITS,
        )
    }

    #[test]
    fn shapes_are_those_of_the_format() {
        assert_eq!(shape::<12>(), (6, 512, 32_768, 53));
        assert_eq!(shape::<14>(), (5, 2048, 131_072, 51));
        assert_eq!(shape::<16>(), (4, 8192, 524_288, 49));
    }
}
