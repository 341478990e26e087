//! Everything that memory holds of a Kexec HandOver (KHO), gathered without restoring anything.
//!
//! [`Survey::of`] finds the handover, reads what hangs on it and judges what it announces.
//! [`Survey::json`] is the survey as JSON, the facts of a capture among it, and [`Survey::hash`]
//! computes each file's checksum.
//!
//! The README has a complete example.

mod error;
mod hash;
mod report;
mod survey;

pub use error::Error;
pub use hash::{Hasher, Hashes};
pub use kho_compat::{Admitted, Manifest, Refused, Registry};
pub use kho_core::{Entry, Handover, PhysAddr, PhysMem};
pub use report::{flbs_json, memfd_json, name_json};
pub use survey::{MemfdFacts, Options, Progress, ScratchSource, Step, Survey};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
