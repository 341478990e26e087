//! What lies in memory: the tree's nodes and the numbers that shape it.
//!
//! Six levels of one-page nodes. Levels 5 to 1 are tables of 512 physical addresses, level 0 is a
//! bitmap of 32768 bits. Linux calls the structs `kho_radix_node` and `kho_radix_leaf`.

use kho_compat::AbiLayout;
use kho_mem::{PAGE_SHIFT, PAGE_SIZE};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The number in `radix-v1`.
pub const VERSION: u32 = 1;

/// Levels of the tree, the leaves included.
pub const DEPTH: u32 = 6;

/// log2 of the entries in a table.
pub const TABLE_BITS: u32 = 9;

/// Entries in a table.
pub const TABLE_ENTRIES: usize = 1 << TABLE_BITS;

/// log2 of the bits in a leaf.
pub const LEAF_BITS: u32 = PAGE_SHIFT + 3;

/// 64-bit words in a leaf.
pub const LEAF_WORDS: usize = PAGE_SIZE / size_of::<u64>();

/// Bits of a key: the marker and a page frame number of order 0.
pub const KEY_BITS: u32 = u64::BITS - PAGE_SHIFT + 1;

/// Where the marker bit of an order-0 key stands; order `n` has it `n` bits lower.
pub const MARKER_SHIFT: u32 = u64::BITS - PAGE_SHIFT;

/// A table: physical addresses of the nodes one level down, 0 for none.
#[derive(AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[abi(
    c_name = "kho_radix_node",
    constants(DEPTH, TABLE_BITS, TABLE_ENTRIES, KEY_BITS, MARKER_SHIFT)
)]
pub struct RadixNode {
    /// One per value of the level's index.
    pub table: [U64; TABLE_ENTRIES],
}

/// A leaf: one bit per key.
#[derive(AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[abi(c_name = "kho_radix_leaf", constants(LEAF_BITS, LEAF_WORDS))]
pub struct RadixLeaf {
    /// Bit `n` of word `w` is the key whose low bits are `64 * w + n`.
    pub bitmap: [U64; LEAF_WORDS],
}

const _: () = assert!(size_of::<RadixNode>() == PAGE_SIZE);

const _: () = assert!(size_of::<RadixLeaf>() == PAGE_SIZE);

const _: () = assert!(LEAF_BITS + (DEPTH - 1) * TABLE_BITS >= KEY_BITS);
