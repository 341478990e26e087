//! Preserved vmalloc areas of a Kexec HandOver (KHO).
//!
//! An area is virtually contiguous memory of scattered pages. What is handed over is a 16-byte
//! descriptor ([`v1::VmallocSer`]) and a list of chunk pages with the physical address of each
//! run of pages. [`Area::read`] checks all of it; [`Area::restore`], which needs an `Admitted`
//! verdict, opens its bytes. [`PreservedArea`] is the writing side.
//!
//! A [`Format`] is a version of the descriptor. Who points to a descriptor reads it as the version that was announced
//! ([`Area::read_at`], [`Area::restore_at`]) and writes the one that its handover writes ([`Format::written_by`]); who
//! contains one reads it as the version that its own layout has ([`Area::read_as`]).
//!
//! In Linux: `kho_vmalloc` of `include/linux/kho/abi/kexec_handover.h`. The format's facts were read off a running Linux 7.3.4; see [`v1`]. The README has a complete
//! example.
//!
//! # Features
//!
//! `std` (default). Without it the crate is `no_std` + `alloc`. `experimental-v2` (off) adds version 2
//! of the format, `v2`, which no kernel knows.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod format;
mod generation;
mod preserve;
mod read;
mod restore;
pub mod v1;
#[cfg(feature = "experimental-v2")]
pub mod v2;

pub use format::Format;
pub use generation::{COMPONENT, NAME};
pub use kho_compat::{Announced, NotAdmitted, Writes};
pub use kho_mem::{Damage, Folio, Link, Located, PhysAddr, PhysMem, PhysMemExt};
pub use kho_radix::{Failed, Preserver, Reading, RestoreError, Restoring};
pub use preserve::{PreserveError, PreservedArea};
pub use read::Area;
pub use restore::RestoredArea;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
