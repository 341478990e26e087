//! The core of a Kexec HandOver (KHO).
//!
//! [`Handover::open`] takes the addresses that a boot loader or a setup_data node carried
//! ([`Entry`]), reads the root FDT, the tracker and the scratch table from memory that is not
//! trusted, and checks them against each other. Beyond it are the subtrees, the kexec metadata
//! ([`Metadata`]), the `reserve_mem` regions ([`Memblock`]), and what later crates add: LUO.
//!
//! Reading gives descriptions. The contents of preserved memory come from [`Restored`],
//! which asks for an [`Admitted`] verdict. In an arena ([`Attached`]) what is
//! restored is used where it lies.
//!
//! [`Kho`] is the writing side: a handover that is being made.
//!
//! In Linux: `include/linux/kho/abi/kexec_handover.h` (root FDT), `kexec_metadata.h` and `memblock.h` beside
//! it. The formats' facts were read off a running Linux 7.3.4; see [`v4`]. The README has a complete
//! example.
//!
//! # Features
//!
//! `std` (default). Without it the crate is `no_std` + `alloc`. Where nothing runs constructors, give
//! a registry ([`OpenOptions::registry`], [`KhoConfig::side`]).
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod attached;
mod cut;
mod fdt;
mod generation;
mod handover;
mod kho;
mod listed;
pub mod memblock;
pub mod metadata;
mod options;
mod owner;
mod restore;
mod root;
mod scratch;
pub mod v4;

pub use attached::Attached;
pub use cut::{CutFdt, FdtFile};
pub use generation::{COMPONENT, FEATURES, MEMBLOCK, METADATA, NAME, REGION};
pub use handover::{Entry, Handover, OpenError, refused_errno};
pub use kho::{Kho, KhoConfig, KhoError};
pub use kho_compat::{
    Admitted, Announced, Listing, Manifest, Refused, Registry, Side, Strings, Writes, Writing,
};
pub use kho_mem::{
    Arena, ArenaConfig, Damage, Handed, Link, Located, PageRun, PhysAddr, PhysMem, PhysMemExt,
    PhysRange,
};
pub use kho_radix::{
    Failed, Preserved, PreservedFolio, PreservedPages, Preserver, Reading, RestoreError, Restoring,
    TrackerError,
};
pub use listed::{Listed, Said};
pub use memblock::{Memblock, MemblockFdt, Region, RegionNode};
pub use metadata::Metadata;
pub use options::OpenOptions;
pub use owner::{
    Contents, Files, Owner, Owners, Peek, Position, RestoredFile, Stopped, Survey, Surveying,
};
pub use restore::Restored;
pub use root::{RootFdt, Subtree};
pub use scratch::ScratchTable;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/subtree.md")]
struct OwnASubtree;
