//! Linked-block serialization of a Kexec HandOver (KHO).
//!
//! A *block* is a page with a header and entries of one size; a *set* is a chain of blocks.
//! [`BlockSet::read`] checks a whole set; [`BlockSet::restore`] does so for an admitted handover.
//! [`OutgoingBlockSet`] is a set that is being made. All are typed over the entry: no caller computes an
//! offset.
//!
//! A [`Format`] is a version of the header. A set is read as the version that was announced to the
//! [`Reading`], and written as the one that its handover [writes](Writes).
//!
//! In Linux: `include/linux/kho/abi/block.h`. The format's facts were read off a running Linux 7.3.4; see [`v1`]. The README has a complete
//! example.
//!
//! # Features
//!
//! `std` (default). Without it the crate is `no_std` + `alloc`. `experimental-v2` (off) adds version 2
//! of the format, `v2`, which no kernel knows.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod cursor;
mod format;
mod generation;
mod iter;
mod read;
pub mod v1;
#[cfg(feature = "experimental-v2")]
pub mod v2;
mod write;

pub use cursor::Cursor;
pub use format::Format;
pub use generation::{COMPONENT, NAME};
pub use iter::Entries;
pub use kho_compat::{Admitted, Announced, NotAdmitted, Writes};
pub use kho_mem::{
    Arena, ArenaConfig, Damage, Link, Located, Order, PageSize, PhysAddr, PhysMem, PhysMemExt,
    SliceMem,
};
pub use kho_radix::{
    Claims, Preserved, PreservedFolio, Preserver, Reading, RestoreError, Restoring, TrackerError,
};
pub use read::BlockSet;
pub use write::{BlockError, OutgoingBlockSet};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
