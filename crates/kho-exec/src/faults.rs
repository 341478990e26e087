//! Page faults of the process, counted over an exec.

use nix::sys::resource::{UsageWho, getrusage};

/// The environment variable in which a program leaves the page faults of the process until the exec, for
/// [`Mark::faults`](crate::Mark::faults). Nothing depends on it, and it is no part of a ticket.
pub const FAULTS_ENV: &str = "KHO_FAULTS";

/// Page faults of this process so far.
pub(crate) fn faults() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    u64::try_from(usage.minor_page_faults() + usage.major_page_faults()).ok()
}

/// What the program before left of them.
pub(crate) fn before() -> Option<u64> {
    std::env::var(FAULTS_ENV).ok()?.parse().ok()
}
