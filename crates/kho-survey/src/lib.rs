//! Everything that memory holds of a Kexec HandOver (KHO), gathered without restoring anything.
//!
//! [`Survey::of`] finds the handover, reads what hangs on it and judges what it announces.
//! What hangs on a subtree is read by its [`Owner`](kho_core::Owner), any that is linked.
//! [`Survey::json`] is the survey as JSON, the facts of a capture among it, and [`Survey::hash`]
//! computes each file's checksum.
//!
//! The README has a complete example.

mod error;
mod hash;
mod report;
mod survey;

pub use error::Error;
pub use hash::Hasher;
pub use kho_compat::{Admitted, Manifest, Refused, Registry};
pub use kho_core::{Entry, Handover, PhysAddr, PhysMem};
pub use report::{members_json, value};
pub use survey::{Found, ScratchSource, Survey, SurveyOptions, SurveyProgress, SurveyStep};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
