//! For the tests of this workspace: physical memory that can be edited ([`Memory`]), handovers
//! built in it byte by byte ([`Builder`]), and real captures taken apart ([`Anatomy`]), so that a
//! test can damage one thing in them.
//!
//! Everything here is written from the format's description, and shares no code with the crates
//! that it tests but the trait through which they read memory. It trusts its input: it is for
//! good images, and for making bad ones of them.

mod anatomy;
mod builder;
mod core;
mod dump;
pub mod kernel;
mod memory;
mod random;

pub use anatomy::{Anatomy, FileAt, NodeAt, SessionAt, node, prop};
pub use core::{Core, DIRECT_MAP};

pub use builder::{Builder, Built, MemfdSpec};
pub use dump::{Kdump, Laid, Packed, flatten};
pub use memory::Memory;
pub use random::Random;

use std::path::PathBuf;

/// The file `name` of the captures.
pub fn capture_path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/captures")).join(name)
}

/// The memory of the capture `name` (`small`, `files`, `sessions`, `thp`).
pub fn capture(name: &str) -> Memory {
    let path = capture_path(&format!("{name}.core.zst"));
    let packed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let core = zstd::decode_all(packed.as_slice()).expect("a capture is a zstd stream");
    Memory::from_elf(&core)
}
