//! Preserved vmalloc areas of a Kexec HandOver (KHO).
//!
//! An area is virtually contiguous memory of scattered pages. What is handed over is a 16-byte
//! descriptor ([`v1::VmallocSer`]) and a list of chunk pages with the physical address of each
//! run of pages. [`Area::read`] checks all of it; [`Area::restore`], which needs an `Admitted`
//! verdict, opens its bytes. [`PreservedArea`] is the writing side.
//!
//! In Linux: `kho_vmalloc` of `include/linux/kho/abi/kexec_handover.h`. The format's facts were read off a running Linux 7.3.4; see [`v1`]. The README has a complete
//! example.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod generation;
mod preserve;
mod read;
mod restore;
pub mod v1;

pub use generation::{COMPONENT, NAME};
pub use kho_mem::{Damage, Folio, Link, Located, PhysAddr, PhysMem, PhysMemExt};
pub use kho_radix::{Failed, Preserver, Reading, RestoreError, Restoring};
pub use preserve::{PreserveError, PreservedArea};
pub use read::Area;
pub use restore::RestoredArea;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
