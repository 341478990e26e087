//! Versioned components of a Kexec HandOver (KHO) and the registry that knows them.
//!
//! A [`Component`] is a part of the handover's format with a version of its own: the root, the
//! tracker, linked blocks, LUO, the memfd handler. Each component crate registers its own with
//! [`submit!`]; [`Registry::linked`] is all of those that are linked into this program.
//!
//! From the registry come the compat strings ([`Compat`]), written in one of several ways ([`Writing`]). A [`Manifest`]
//! says what a handover contains, a [`Policy`] judges it, and the [`Verdict`] is what restoring
//! depends on: only [`Registry::admit`] makes an [`Admitted`], and every restore function of this
//! family of crates asks for one.
//!
//! ```
//! use kho_compat::{Compat, Component, Generation, Registry, Strings};
//!
//! static BLOCK: Component = Component::new("block", &[Generation::new(1)]);
//! static LUO: Component = Component::new("luo", &[Generation::new(5).needs(&[("block", 1)])]);
//!
//! let registry = Registry::new([&BLOCK, &LUO])?;
//! let composite = registry.compat("luo", Strings::Transitive)?;
//! assert_eq!(composite.to_string(), "luo-v5;block-v1");
//! assert_eq!(composite.field_len(), 16);
//!
//! let error = Compat::parse("luo-v5;Block-v1").unwrap_err();
//! assert_eq!(error.to_string(), "byte 7: a name is lower-case letters, digits, '-' and '_', found 'B'");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate knows nothing of memory: addresses are plain numbers that it passes on in findings. In Linux: the
//! `*_COMPATIBLE` strings of `include/linux/kho/abi/`, which have no registry there.
//!
//! # Features
//!
//! `std` (default). Without it the crate is `no_std` + `alloc`. Where nothing runs constructors (a
//! target without an operating system), [`Registry::linked`] is an error: name the components in
//! [`Registry::new`]. `file` (off) adds manifests as JSON
//! files and `answer_manifest!`.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;
// The derives name this crate.
#[cfg(feature = "file")]
extern crate self as kho_compat;

mod ability;
mod admitted;
mod announced;
mod compat;
mod component;
mod consequence;
pub mod describe;
mod features;
#[cfg(feature = "file")]
pub mod file;
mod generation;
mod judge;
mod layout;
mod losses;
mod manifest;
mod owned;
pub mod policy;
mod reason;
mod registry;
mod side;
mod turns;
mod verdict;
mod versions;
mod view;
mod writing;

pub use ability::Ability;
pub use admitted::{Admitted, NotAdmitted, Refusal};
pub use announced::{Announced, Writes};
pub use compat::{Compat, Grammar, GrammarError, GrammarErrorKind, Token};
pub use component::{Check, Component, Presence};
pub use consequence::{Consequence, Receiver};
pub use describe::{Branch, Fact, Tone, count, size};
pub use features::Features;
pub use generation::{Generation, Role, Variant};
#[doc(no_inline)]
pub use inventory::submit;
pub use judge::Judge;
pub use kho_compat_derive::{AbiLayout, AbiMembers};
pub use layout::{
    AbiConst, AbiLayout, AbiMembers, AbiType, Bits, Constant, Field, Layout, TypeName,
};
pub use losses::Losses;
pub use manifest::{Carrier, Manifest, ManifestEntry, Place};
pub use owned::Owned;
pub use policy::Policy;
pub use reason::{Alternative, Expected, Reason};
pub use registry::{Registry, RegistryError};
pub use side::Side;
pub use verdict::{Decision, Finding, Outcome, Refused, Verdict};
pub use versions::Versions;
pub use view::{View, Viewed};
pub use writing::{Listing, Strings, Writing};

/// What the derives refer to.
#[doc(hidden)]
pub mod __private {
    pub use alloc::vec::Vec;
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
