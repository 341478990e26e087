//! What lies in memory: the header that each block begins with. Entries are packed behind it.

use kho_compat::AbiLayout;
use kho_mem::PAGE_SIZE;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The number in `block-v1`.
pub const VERSION: u32 = 1;

/// Bytes in a block.
pub const BLOCK_SIZE: usize = PAGE_SIZE;

/// Blocks in a set, at most.
pub const MAX_BLOCKS: usize = 10_000;

/// The header of a block.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "kho_block_header_ser")]
pub struct BlockHeader {
    /// Physical address of the next block, 0 for none.
    pub next: U64,
    /// Entries in this block.
    pub count: U64,
}

const _: () = assert!(size_of::<BlockHeader>() == 16);

impl BlockHeader {
    /// The header that `block` begins with; `None` for less than a header.
    #[inline]
    pub(crate) fn of(block: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(block).ok().map(|(header, _)| header)
    }
}

/// Entries of `entry_size` bytes that fit a block of version 1; 0 where not even one does, and for entries
/// without bytes.
///
/// ```
/// assert_eq!(kho_block::v1::count_per_block(80), 51);
/// assert_eq!(kho_block::v1::count_per_block(64), 63);
/// ```
#[must_use]
pub const fn count_per_block(entry_size: usize) -> usize {
    crate::Format::V1.count_per_block(entry_size)
}
