//! What the guest and its host have in common: the plan that the guest follows, the facts that it reports,
//! and how either is written down.
//!
//! The guest is this package's program: the init of a small Linux under QEMU, which `cargo xtask vm`
//! boots. It finds its [`Plan`] in its initramfs, and writes [`Report`]s to a serial port, each in a
//! [frame](mod@frame) of its own. What a file holds follows from its [`FileSpec`] alone, so that either end
//! knows without being told.

pub mod cpio;
pub mod frame;
pub mod name;
mod plan;
mod report;
mod spec;

pub use liveupdate::SessionName;
pub use plan::{PLANS, Plan, Step};
pub use report::{Fact, Found, Report, Seen, Tried, Wrong};
pub use spec::{FileSpec, Hasher, seed_of};

/// The parameter of the kernel's command line that says which plan is followed.
pub const PARAM_PLAN: &str = "kho_guest.plan";
/// The parameter of the kernel's command line that says which port is reported to.
pub const PARAM_PORT: &str = "kho_guest.port";
