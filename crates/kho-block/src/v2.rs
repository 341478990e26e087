//! Version 2 of the format: a header that says how large its entries are. An experiment: off unless
//! the feature `experimental-v2` is on. The linked component has it as an experiment: neither read nor
//! written.
//!
//! A program that reads and writes it takes handovers over by a registry with that experiment.
//!
//! ```
//! use kho_compat::Registry;
//!
//! let linked = Registry::linked()?;
//! let registry = linked.with_experiment(kho_block::NAME, kho_block::v2::VERSION)?;
//! assert!(registry.restores("block", 1) && registry.restores("block", 2));
//! assert_eq!(linked.restorable_text("block"), "block-v1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::format;
use core::mem::offset_of;

use kho_compat::{AbiLayout, Generation, constant};
use kho_mem::{Damage, Defect, Located};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::v1::{self, BLOCK_SIZE, MAX_BLOCKS};

/// The number in `block-v2`.
pub const VERSION: u32 = 2;

/// The header of a block. Its first half is that of version 1.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
pub struct BlockHeader {
    /// Physical address of the next block, 0 for none.
    pub next: U64,
    /// Entries in this block.
    pub count: U64,
    /// Bytes of an entry.
    pub entry_size: U32,
    /// 0.
    pub reserved: U32,
}

const _: () = assert!(size_of::<BlockHeader>() == 24);
const _: () = assert!(offset_of!(BlockHeader, next) == offset_of!(v1::BlockHeader, next));
const _: () = assert!(offset_of!(BlockHeader, count) == offset_of!(v1::BlockHeader, count));
const _: () = assert!(offset_of!(BlockHeader, entry_size) == 16);
const _: () = assert!(offset_of!(BlockHeader, reserved) == 20);

/// Writes what the header of `block` says beyond the one of version 1: the size of its entries, 0 for a block
/// without any. `None` where a header can not say it: no block has such entries.
pub(crate) fn encode(block: &mut [u8], count: u64, entry_size: usize) -> Option<()> {
    let (header, _) = BlockHeader::mut_from_prefix(block).ok()?;
    let size = if count > 0 { entry_size } else { 0 };
    header.entry_size.set(u32::try_from(size).ok()?);
    Some(())
}

/// Decodes the header of a block whose entries are of `entry_size` bytes: what version 1 has of it.
pub(crate) fn decode(
    header: &Located<BlockHeader>,
    entry_size: usize,
) -> Result<Located<v1::BlockHeader>, Damage> {
    let damage = |what, at| Damage::new(Defect::BadValue, what, at);
    let size = header.entry_size.get();
    if usize::try_from(size) != Ok(entry_size) {
        let at = header.addr_of(|header| &header.entry_size);
        return Err(damage("entry_size", at)
            .found(format!("{size} bytes"))
            .expected(format!("{entry_size} bytes")));
    }
    if header.reserved.get() != 0 {
        let at = header.addr_of(|header| &header.reserved);
        let found = format!("{:#x}", header.reserved.get());
        return Err(damage("reserved", at).found(found).expected(0));
    }
    let start = v1::BlockHeader {
        next: header.next,
        count: header.count,
    };
    Ok(Located::new(start, header.at()))
}

/// `block-v2`.
pub(crate) const GENERATION: Generation = Generation::new(VERSION)
    .experimental()
    .layouts(&[BlockHeader::layout])
    .constants(&[constant!(BLOCK_SIZE), constant!(MAX_BLOCKS)]);
