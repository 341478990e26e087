//! A laboratory for versioning policies of Kexec HandOver (KHO).
//!
//! A [`History`] is a list of releases, with the versions and layouts of their components. [`Run`] sends
//! every policy over every ordered pair of releases, and compares what it decides with what happens
//! when the one's structures are written and read with the other's layouts. [`plan()`] finds the
//! shortest chain of updates that a policy allows.

mod builtin;
mod cost;
mod history;
mod layout;
mod measured;
mod plan;
mod report;
mod run;
mod why;

pub use builtin::{BUILTIN, builtin};
pub use cost::{forced_edits, version_bytes};
pub use history::{FORMAT, History, HistoryError, Known, MAX_RELEASES, Measurements, Release};
pub use layout::{Field, Layout, LayoutError, Property, Struct};
pub use measured::{Happened, Measured};
pub use plan::{NoPlan, Plan, Step, plan};
pub use report::{heat_map, report};
pub use run::{Cell, Kernels, Kind, Matrix, MeasuredCell, Run, Totals};
pub use why::Why;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
