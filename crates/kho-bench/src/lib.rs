//! What this workspace is measured by.
//!
//! A [`Workload`] is a piece of work with a name, its data ([`Data`]) and how much of it there is. The
//! same workloads are timed by the criterion bench `kho`, counted in instructions by `kho-bench counted`
//! ([`counted`]), and run at many sizes by `kho-bench scaling` ([`scaling`]). `cargo xtask bench` runs all
//! of these and reads what they print.
//!
//! Beside our own code stand peers of the field, on the same data: `roaring`, `BTreeSet`, `rkyv` and
//! `bincode` ([`peers`]).
//!
//! Sizes, orders and seeds are parameters everywhere, so that nothing is fast for one shape of data
//! alone.

pub mod block;
pub mod capture;
pub mod compat;
pub mod counted;
pub mod data;
pub mod handover;
pub mod luo;
pub mod memory;
pub mod parallel;
pub mod peers;
pub mod radix;
pub mod scaling;
mod workload;

pub use data::Data;
pub use workload::{Work, Workload, all};

/// Why something could not be measured.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What was measured, or why it was not.
pub type Result<T> = std::result::Result<T, Error>;
