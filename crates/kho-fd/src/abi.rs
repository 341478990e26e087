//! What lies in memory: a descriptor's number, and what it must turn out to be.

use kho_compat::{AbiLayout, Carrier, Component, Generation};
use kho_luo::abi::COMPAT_LEN;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The name in `fd-v1`.
pub const NAME: &str = "fd";
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

/// `fd-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .since("kho-fd 0.1.0")
    .layouts(&[FdSer::layout]);

/// The descriptor handler as a component.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("file handler of descriptors that an exec keeps; between processes only")
    .of_crate(env!("CARGO_PKG_NAME"))
    .carried_in(Carrier::FileHandler)
    .field(COMPAT_LEN);

kho_compat::submit! { COMPONENT }
