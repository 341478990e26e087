//! What lies in memory: the header that each block begins with. Entries are packed behind it.

use kho_compat::AbiLayout;
use kho_mem::PAGE_SIZE;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The number in `block-v1`.
pub const VERSION: u32 = 1;

/// Bytes in a block.
pub const BLOCK_SIZE: usize = PAGE_SIZE;

/// Blocks in a set, at most: 40,960,000 bytes. A block holds 127 entries of 32 bytes, so that a set holds 1,270,000 of
/// them; 630,000 of 64 bytes (the files of a session), 510,000 of 80 (the sessions).
///
/// Nothing in the layout needs it. It bounds what a chain that goes on and on costs its reader: both sides stop there, a
/// writer with an error, a reader with damage. So it is a part of the format: a writer with a larger one makes sets that
/// readers of this version refuse.
///
/// ```
/// use kho_block::v1::{BLOCK_SIZE, MAX_BLOCKS, count_per_block};
///
/// assert_eq!(MAX_BLOCKS * BLOCK_SIZE, 40_960_000);
/// assert_eq!(MAX_BLOCKS * count_per_block(32), 1_270_000);
/// assert_eq!(MAX_BLOCKS * count_per_block(64), 630_000);
/// assert_eq!(MAX_BLOCKS * count_per_block(80), 510_000);
/// ```
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
