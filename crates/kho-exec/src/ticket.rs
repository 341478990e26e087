//! What one process tells the next: where the handover is.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use kho_core::Entry;
use kho_mem::PhysAddr;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Program;

/// The environment variable that carries the ticket.
pub const HANDOVER_ENV: &str = "KHO_HANDOVER";
/// The environment variable that names a supervisor: its descriptor and its process.
pub const SUPERVISOR_ENV: &str = "KHO_SUPERVISOR";

pub(crate) const FORMAT: &str = "kho-ticket-v1";

/// A point in time of a handover, comparable between its two processes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// What happened.
    pub what: String,
    /// When, in nanoseconds of the system's monotonic clock.
    pub at: u64,
}

/// Now, in nanoseconds of the system's monotonic clock, which an exec does not set back.
#[must_use]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Where a handover is, for the process that takes it over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) format: String,
    // Whom it is for: this very process (an exec keeps the number), or any child of that one. A
    // child of a service inherits its environment, and must not take it for its own.
    pub(crate) process: Option<u32>,
    pub(crate) parent: Option<u32>,
    pub(crate) arena: RawFd,
    pub(crate) base: u64,
    pub(crate) size: u64,
    pub(crate) fdt: u64,
    pub(crate) scratch: Option<(u64, u64)>,
    // The descriptors that were frozen, by the numbers written down, and what they are called here.
    pub(crate) fds: BTreeMap<RawFd, RawFd>,
    pub(crate) previous: Option<Program>,
    // Why it comes back to the program that handed it over.
    pub(crate) returned: Option<String>,
    pub(crate) marks: Vec<Mark>,
}

impl Ticket {
    pub(crate) fn entry(&self) -> Entry {
        let entry = Entry::new(PhysAddr::new(self.fdt));
        match self.scratch {
            Some((addr, size)) => entry.with_scratch(PhysAddr::new(addr), size),
            None => entry,
        }
    }

    /// Whether it is for this process.
    pub(crate) fn is_ours(&self) -> bool {
        let process = std::process::id();
        let parent = std::os::unix::process::parent_id();
        self.process.is_none_or(|wanted| wanted == process)
            && self.parent.is_none_or(|wanted| wanted == parent)
    }

    /// Every descriptor that must be inherited with it, by its number here.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        let mut numbers = vec![self.arena];
        numbers.extend(self.previous.as_ref().map(|program| program.exe));
        numbers.extend(self.fds.values());
        numbers
    }

    /// The same ticket where the descriptors have other numbers; `None` where one of them is missing.
    pub(crate) fn renumbered(&self, number: impl Fn(RawFd) -> Option<RawFd>) -> Option<Self> {
        let mut ticket = self.clone();
        ticket.arena = number(self.arena)?;
        if let Some(program) = &mut ticket.previous {
            program.exe = number(program.exe)?;
        }
        for here in ticket.fds.values_mut() {
            *here = number(*here)?;
        }
        Some(ticket)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let ticket: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if ticket.format != FORMAT {
            return Err(format!(
                "found format `{}`, expected `{FORMAT}`",
                ticket.format
            ));
        }
        Ok(ticket)
    }

    pub(crate) fn text(&self) -> String {
        // Numbers and strings: nothing of it can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
