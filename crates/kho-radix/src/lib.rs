//! The tracker of a Kexec HandOver (KHO): which pages the predecessor preserved.
//!
//! A radix tree of six levels whose keys encode an address and an order ([`Key`]). [`Preserved`]
//! reads a whole tree from memory that is not trusted, checks it in one pass, and answers: is
//! this range preserved, with which order. [`Claims`] makes sure that each preserved range is
//! used once. [`Reading`] is the context that every reader of preserved memory takes.
//!
//! [`Tracker`] is the writing side: a tree in pages of an arena. [`Preserver`] puts memory in and
//! gives owners out ([`PreservedFolio`]), so that what is dropped is no longer preserved. [`SharedTracker`]
//! is filled by many threads at once, without a lock, and [`Leaves`] lets many threads read a tree.
//!
//! ```
//! use kho_mem::{Order, PhysAddr};
//! use kho_radix::Key;
//!
//! let key = Key::encode(PhysAddr::new(0x20_0000), Order::new(9).unwrap()).unwrap();
//! assert_eq!(key.get(), 0x0000_0800_0000_0001);
//! assert_eq!(key.addr(), PhysAddr::new(0x20_0000));
//! assert_eq!(key.order().get(), 9);
//! ```
//!
//! In Linux: `kho_radix_node` and `kho_radix_leaf` of `include/linux/kho/abi/kexec_handover.h`. The format is
//! described by the constants and structs of [`v1`]; its facts were read off a running Linux 7.3.4.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod claim;
mod error;
mod generation;
mod geometry;
mod key;
mod leaf;
mod leaves;
mod owned;
mod parts;
mod preserved;
mod preserver;
mod reading;
mod seen;
#[cfg(target_has_atomic = "64")]
mod shared;
mod tracker;
pub mod v1;
mod walk;

pub use claim::Claims;
pub use error::RestoreError;
pub use generation::{COMPONENT, NAME};
pub use geometry::Root;
pub use key::Key;
pub use kho_compat::{Admitted, Announced, NotAdmitted};
pub use kho_mem::{
    Arena, Damage, Link, Located, Order, OutOfMemory, PageRun, PageSize, Pages, PhysAddr, PhysMem,
    PhysRange,
};
pub use leaves::{Leaf, Leaves};
pub use owned::{PreservedFolio, PreservedPages};
pub use preserved::{KeyRun, Preserved, PreservedRange};
pub use preserver::{Failed, Preserver};
pub use reading::{Reading, Restoring};
#[cfg(target_has_atomic = "64")]
pub use shared::{Handle, SharedTracker};
pub use tracker::{Savepoint, Tracker, TrackerError};
pub use walk::{walk_keys, walk_runs};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
