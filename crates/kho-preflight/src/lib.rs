//! Judges, before leaving, whether the next kernel or program restores what this one hands over through
//! Kexec HandOver (KHO).
//!
//! An [`End`] is what is left or what takes over: the running kernel, a kernel image with its modules, a
//! handover in a memory dump, a manifest file, a program. [`Preflight::open`] recognises a file by its
//! content. [`Preflight::judge`] compares two ends under a [`Policy`](kho_compat::Policy) and gives a
//! [`Report`]: the decision, a [`MoveFinding`] per string, what is lost, what is not judged, and the same as
//! JSON ([`Report::json`]).
//!
//! ```
//! use kho_compat::file::ManifestFile;
//! use kho_compat::{Component, Decision, Generation, Registry, policy};
//! use kho_preflight::{End, Preflight};
//!
//! let this = ManifestFile::parse(
//!     r#"{
//!         "format": "kho-manifest-v1",
//!         "name": "my-service 1.3",
//!         "components": {
//!             "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
//!             "block": { "version": 2, "writes": [1] }
//!         }
//!     }"#,
//! )?;
//! let next = ManifestFile::parse(
//!     r#"{
//!         "format": "kho-manifest-v1",
//!         "name": "my-service 1.2",
//!         "components": {
//!             "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
//!             "block": { "version": 1 }
//!         }
//!     }"#,
//! )?;
//! let from = End::manifest("this.json".to_owned(), &this)?;
//! let to = End::manifest("next.json".to_owned(), &next)?;
//!
//! // What this build knows itself: of kernels it tells which component a string belongs to.
//! static LUO: Component = Component::new("luo", &[Generation::new(5)]);
//! let registry = Box::leak(Box::new(Registry::new([&LUO])?));
//! let preflight = Preflight::new(registry);
//!
//! let report = preflight.judge(&from, &to, &policy::SemverRange)?;
//! assert_eq!(report.decision, Decision::Reject);
//! let finding = &report.findings[0];
//! assert_eq!(finding.item.entry.found, "luo-v5;block-v2");
//! let why = finding.why.as_ref().map(ToString::to_string);
//! assert_eq!(why.as_deref(), Some("block-v2 is not restorable there, only block-v1"));
//! assert_eq!(report.json()["decision"], "reject");
//!
//! // Where the policy has this side write what both know, nothing is lost.
//! let report = preflight.judge(&from, &to, &policy::NewestCommon)?;
//! assert_eq!(report.decision, Decision::Accept);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing is printed and nothing is kept: a report says what it is made of. Of what is given a program
//! alone is run, and only one with the mark of those that answer for their manifest.

mod advice;
mod boot;
pub mod command_line;
mod condition;
mod conditions;
mod config;
mod content;
mod defect;
mod defects;
mod dump;
mod end;
mod entry;
mod error;
mod facts;
mod handed;
mod initrd;
mod item;
mod judge;
mod kernel;
mod listed;
mod losses;
mod next;
mod open;
mod program;
mod reason;
mod release;
mod remarks;
mod report;
mod running;
mod scope;
pub mod system;
mod wanted;
pub mod words;

use kho_compat::Registry;

pub use condition::{Condition, ConditionKind, Cost, State};
pub use defect::{DEFECTS, Defect, MetDefect, Trigger};
pub use defects::of_survey as known_defects;
pub use end::{End, EndKind};
pub use error::Error;
pub use item::{Amount, Item, Spot};
pub use losses::MoveLosses;
pub use open::{EndOptions, EndRole, Progress, Step};
pub use program::ask;
pub use reason::{Part, Unjudged, Why};
pub use release::Releases;
pub use report::{MoveFinding, Report};

/// Opens ends and judges moves, with what this build knows of the components.
#[derive(Clone, Copy, Debug)]
pub struct Preflight {
    registry: &'static Registry,
}

impl Preflight {
    /// Knows the components of `registry`: [`Registry::linked`] are those of this program. The handover
    /// in a dump is read with them, and of a kernel's plain strings they say what these stand for.
    #[must_use]
    pub const fn new(registry: &'static Registry) -> Self {
        Self { registry }
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
