//! Memory dumps with a Kexec HandOver (KHO) in them.
//!
//! [`Image`] is a dump as physical memory: an ELF64 core, a kdump-compressed dump, a LiME dump or raw
//! memory, as it is, flattened, or packed by any usual tool. [`scan`] finds handovers in any memory by their root FDT, and the scratch
//! table by the setup_data node that points there; [`scratch_by_elimination`] finds the table in
//! a dump that was cut down to what its handover reaches.
//!
//! [`write_elf`] and [`write_raw`] are the way back: memory as a dump, with holes where it is zero.
//!
//! [`kernel`] reads kernel images and modules for the compat strings that they can restore,
//! without booting them.
//!
//! The README has a complete example.

mod dump;
mod elf;
mod image;
pub mod kernel;
mod kind;
mod scan;
mod scratch;
mod segments;
mod unpack;
mod write;

pub use dump::vmcoreinfo::VmcoreInfo;
pub use image::{Image, ImageError, ImageOptions, Progress};
pub use kernel::{KernelImage, KernelStrings};
pub use kind::ImageKind;
pub use scan::{FindError, NearMiss, RootPage, Scan, SetupNode, page_size, scan};
pub use scratch::scratch_by_elimination;
pub use unpack::{Compression, Unpacker};
pub use write::{WriteError, Written, write_elf, write_raw};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
