//! What the Live Update Orchestrator (LUO) of a Linux kernel handed over.
//!
//! [`Luo::read`] reads and checks the header, every session, every file entry and the
//! file-lifecycle-bound objects (FLBs): descriptions, from which a manifest is gathered. After a
//! verdict, [`Luo::restore`] opens the sessions; a file is found by its token.
//!
//! The live side is an [`Orchestrator`], which preserves files through [`FileHandler`]s and freezes
//! them, and an [`Incoming`] handover, from which they are retrieved, and which is finished.
//!
//! In Linux: `include/linux/kho/abi/luo.h`. The formats' facts were read off a running Linux 7.3.4; see [`v5`]. The README has a complete
//! example.
//!
//! # Features
//!
//! `std` (default): the locks are those of the standard library. Without it the crate is `no_std` +
//! `alloc`, and they spin.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod files;
mod flb;
mod generation;
mod handler;
mod header;
mod incoming;
mod name;
mod outgoing;
mod owner;
mod read;
mod restore;
mod session;
mod steps;
mod token;
pub mod v5;

pub use files::{Column, FileContents, FileOwner, FileOwners, RestoreFile, SurveyFile};
pub use flb::Flb;
pub use generation::{COMPONENT, FEATURES, NAME};
pub use handler::{
    DuplicateHandler, FileHandler, FileRef, FlbHandler, HandlerError, Handlers, Held, Retrieve,
};
pub use header::Header;
pub use incoming::{
    Incoming, IncomingError, IncomingSession, TakeOverError, TakeOverOptions, survey,
};
pub use kho_compat::{Admitted, Announced, Manifest, NotAdmitted, Policy, Refused, Registry};
pub use kho_core::{Attached, Failed, Handover, Kho, KhoError};
pub use kho_mem::{Arena, Broken, Damage, Link, MemError, PhysAddr};
pub use kho_radix::{Claims, Reading, Restoring};
pub use name::SessionName;
pub use outgoing::{Frozen, LuoError, Orchestrator, OutgoingSession, SetError};
pub use owner::Surveyed;
pub use read::{Body, Luo};
pub use restore::{AdmittedFile, AdmittedSession, AdmittedSessions};
pub use session::{File, Handler, Session};
pub use token::FileToken;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
