//! Checks that a handover format changes only together with its version.
//!
//! A [`Component`](kho_compat::Component) describes what lies in memory: its structs and its constants.
//! [`vectors!`] adds what its code writes for given inputs. [`check`] compares both with the snapshots of
//! each version, and those with their history in git, and says in words what differs, whether the version
//! was bumped for it, who is affected, and what mends it.
//!
//! It is a function over the components that are linked, so that any project with its own has the same
//! check in a test:
//!
//! ```no_run
//! use kho_abi_check::{Format, Options, Project};
//!
//! // In a test of the workspace's root crate; `use my_format as _;` links the components.
//! let project = Project::new(env!("CARGO_MANIFEST_DIR")).bless_with("ABI_BLESS=1 cargo test");
//! let report = kho_abi_check::check_linked(&project, &Options::from_env())?;
//! assert!(report.passes(), "{}", report.render(Format::Human));
//! # Ok::<(), kho_abi_check::Error>(())
//! ```
//!
//! Snapshots are files of insta's form, `abi-snapshots/<component>/v<N>.snap` for each generation of a
//! component (`v<N>.<M>.snap` for a minor version, `v<N>@<label>.snap` for what differs in a variant), and
//! `abi-snapshots/composites.snap` for the compat strings of all components. [`Options::bless`]
//! writes them, but never over one that the base or a release has.
//!
//! This crate runs the command `git`. Where that or a repository is missing, the snapshots of the
//! working tree are all that is compared with, and the report says so.

mod allow;
mod change;
mod check;
mod composites;
mod describe;
mod diff;
mod docs;
mod finding;
mod history;
pub mod kernel;
mod packages;
mod project;
mod render;
pub mod rules;
mod snapshot;
mod source;
mod tree;
mod vector;

pub use allow::Date;
pub use check::{check, check_docs, check_linked, describe_released};
pub use describe::{describe, describe_generation, describe_variant};
pub use diff::{Added, Changes, Row, StructDiff};
pub use finding::{Detail, Finding, Place, Report, Severity, Verdict};
#[doc(no_inline)]
pub use inventory::submit;
pub use project::{Options, Project};
pub use render::Format;
pub use rules::Rule;
pub use snapshot::{Abi, Field, Struct};
pub use vector::{Cause, FailedVector, Failure, Text, Vector, Vectors, vectors_of};

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such revision.
    #[error("there is no revision `{0}` here")]
    NoRevision(String),
    /// A file of the project that the check depends on can not be read.
    #[error("{0}: {1}")]
    File(String, String),
    /// A file could not be written.
    #[error("{0}: {1}")]
    Write(String, std::io::Error),
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
