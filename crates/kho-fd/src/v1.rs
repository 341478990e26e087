//! What lies in memory: a descriptor's number, and what it must turn out to be.

use kho_compat::AbiLayout;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The number in `fd-v1`.
pub const VERSION: u32 = 1;

/// A descriptor: the file entry's `data` is its address. Not a format of Linux: this project's own.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
pub struct FdSer {
    /// Its number in the process that handed over.
    pub number: U32,
    /// The file type bits of its mode (`S_IFMT`).
    pub kind: U32,
    /// Device of its inode.
    pub dev: U64,
    /// Number of its inode.
    pub ino: U64,
}

const _: () = assert!(size_of::<FdSer>() == 24);
