//! The memfd file handler of a Live Update.
//!
//! [`Memfd::read`] reads and checks what a kernel handed over of a memfd: position, size, seals,
//! and the list of its folios. [`Memfd::restore`], which needs an `Admitted` verdict, opens the
//! contents: in pieces ([`RestoredMemfd::pieces`], views of memory and holes) or as
//! `std::io::Read` (`RestoredMemfd::reader`).
//!
//! [`MemFile`] is a memfd of one's own, over the folios of an arena; [`MemfdHandler`] hands it over in a
//! live update.
//!
//! A [`Format`] is a version of a memfd's state. It contains the descriptor of the vmalloc area that lists the folios,
//! so that each version has one version of vmalloc with it: `v3` says what that costs.
//!
//! A restore that was not admitted does not compile:
//!
//! ```compile_fail,E0308
//! use kho_memfd::{Memfd, Reading};
//!
//! fn restore(reading: &mut Reading<'_>, file: &kho_luo::AdmittedFile<'_>) {
//!     let _ = Memfd::restore(reading, file);
//! }
//! ```
//!
//! In Linux: `include/linux/kho/abi/memfd.h`. The format's facts were read off a running Linux 7.3.4; see [`v2`]. The README has a complete
//! example.
//!
//! # Features
//!
//! `std` (default): a [`MemFile`] is `std::io::Read`, `Write` and `Seek`, and a restored memfd has a
//! `std::io::Read`er. Without it the crate is `no_std` + `alloc`. `experimental-v3` (off) adds version 3 of the
//! format, `v3`, which no kernel knows.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod contents;
mod file;
mod format;
mod generation;
mod handler;
#[cfg(feature = "std")]
mod io;
mod owner;
mod pages;
mod read;
mod restore;
mod seals;
pub mod v2;
#[cfg(feature = "experimental-v3")]
pub mod v3;
mod write;

pub use contents::MemfdPieces;
pub use file::{FileError, FilePiece, MemFile};
pub use format::Format;
pub use generation::{COMPONENT, FEATURES, NAME};
pub use handler::MemfdHandler;
#[cfg(feature = "std")]
pub use io::Reader;
pub use kho_core::{Admitted, Attached, Kho};
pub use kho_luo::{AdmittedFile, FileHandler, HandlerError, Held, Retrieve};
pub use kho_mem::{Arena, Damage, Folio, Link, MemError, Order, PhysAddr, Piece};
pub use kho_radix::{Reading, Restoring};
pub use kho_vmalloc::Area;
pub use read::{FolioEntry, Memfd};
pub use restore::{MemfdError, RestoredMemfd};
pub use seals::Seals;
pub use write::PreservedMemfd;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
