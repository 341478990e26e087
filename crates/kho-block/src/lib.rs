//! Linked-block serialization of a Kexec HandOver (KHO).
//!
//! A *block* is a page with a header and entries of one size; a *set* is a chain of blocks.
//! [`BlockSet::read`] checks a whole set; [`BlockSet::restore`] does so for an admitted handover.
//! [`OutgoingSet`] is a set that is being made. All are typed over the entry: no caller computes an
//! offset.
//!
//! The format's facts were read off a running Linux 7.3.4; see [`abi`]. The README has a complete
//! example.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod abi;
mod cursor;
mod iter;
mod read;
mod restore;
mod write;

pub use cursor::Cursor;
pub use iter::Entries;
pub use read::BlockSet;
pub use write::{BlockError, OutgoingSet};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
