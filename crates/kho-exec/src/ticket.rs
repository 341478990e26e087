//! What one process tells the next: where the handover is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};

use kho_compat::{AbiMembers, Component, Generation, constant};
use kho_core::Entry;
use kho_mem::PhysAddr;
use rustix::fs::MemfdFlags;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Program;
use crate::arrival::REASON_MAX;
use crate::exec::RETURNED_ENV;
use crate::faults::faults;
use crate::inherit::{HANDOVER_ENV, STORED_PREFIX, STORED_TICKET, TICKET_MAX, address};
use crate::program::Text;

/// The name in `kho-ticket-v1`.
const NAME: &str = "kho-ticket";
/// The number in `kho-ticket-v1`.
const VERSION: u32 = 1;
pub(crate) const FORMAT: &str = "kho-ticket-v1";

/// `kho-ticket-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .constants(&[
        constant!(FORMAT),
        constant!(TICKET_MAX),
        constant!(HANDOVER_ENV),
        constant!(RETURNED_ENV),
        constant!(REASON_MAX),
        constant!(STORED_PREFIX),
        constant!(STORED_TICKET),
    ])
    .members(&[
        Ticket::members,
        Mark::members,
        Program::members,
        Text::members,
    ]);

/// Tickets and the environment that names them, as an interface between programs.
pub const TICKET: Component = Component::new(NAME, &[GENERATION])
    .summary("tickets: where a handover is, and who made it, for the next program")
    .of_crate(env!("CARGO_PKG_NAME"))
    .interface();

kho_compat::submit! { TICKET }

/// A point in time of a handover, comparable between its two processes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, AbiMembers)]
pub struct Mark {
    /// What happened.
    pub what: String,
    /// When, in nanoseconds of the system's monotonic clock.
    pub at: u64,
    /// Page faults of the process until then, which an exec does not set back. Of what the program before did, the
    /// last mark has them, and only where that program says so ([`FAULTS_ENV`](crate::FAULTS_ENV)).
    #[serde(skip)]
    pub faults: Option<u64>,
}

/// Now, in nanoseconds of the system's monotonic clock, which an exec does not set back.
#[must_use]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Notes that something happens now.
pub(crate) fn mark(marks: &mut Vec<Mark>, what: &str) {
    marks.push(Mark {
        what: what.to_owned(),
        at: now(),
        faults: faults(),
    });
}

/// Where a handover is, for the process that takes it over. What it says of the previous program is
/// read whatever the rest is, so that any version of it can be handed back. Members that are not known are
/// ignored: a later minor version may have more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, AbiMembers)]
pub(crate) struct Ticket {
    pub(crate) format: String,
    pub(crate) previous: Option<Program>,
    pub(crate) arena: RawFd,
    pub(crate) base: u64,
    pub(crate) size: u64,
    pub(crate) fdt: u64,
    pub(crate) scratch: Option<(u64, u64)>,
    // The descriptors that were frozen, by the numbers written down, and what they are called here.
    pub(crate) fds: BTreeMap<RawFd, RawFd>,
    pub(crate) marks: Vec<Mark>,
}

#[derive(Deserialize)]
struct Previous {
    previous: Option<Program>,
}

impl Ticket {
    pub(crate) fn entry(&self) -> Entry {
        let entry = Entry::new(PhysAddr::new(self.fdt));
        match self.scratch {
            Some((addr, size)) => entry.with_scratch(PhysAddr::new(addr), size),
            None => entry,
        }
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

    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: String,
        }
        let parsed = serde_json::from_slice::<Self>(text);
        if let Ok(ticket) = &parsed
            && ticket.format == FORMAT
        {
            return parsed.map_err(|error| error.to_string());
        }
        // Another format may have other members.
        let found: Format = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if found.format != FORMAT {
            return Err(format!(
                "found format `{}`, expected `{FORMAT}`",
                found.format
            ));
        }
        parsed.map_err(|error| error.to_string())
    }

    /// The program that wrote a ticket of whatever format.
    pub(crate) fn previous(text: &[u8]) -> Option<Program> {
        serde_json::from_slice::<Previous>(text).ok()?.previous
    }

    /// What a ticket's file holds: its first line lists the descriptors that come with it.
    pub(crate) fn text(&self) -> io::Result<Vec<u8>> {
        let mut text: String = self
            .numbers()
            .iter()
            .map(|number| format!("{number} "))
            .collect();
        text.push('\n');
        text.push_str(&serde_json::to_string(self)?);
        Ok(text.into_bytes())
    }

    /// The ticket as a file, to be inherited.
    pub(crate) fn file(&self) -> io::Result<File> {
        file_of(&self.text()?)
    }
}

/// A ticket's file that holds `text`.
pub(crate) fn file_of(text: &[u8]) -> io::Result<File> {
    let memfd = rustix::fs::memfd_create("kho-ticket", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memfd);
    file.write_all(text)?;
    Ok(file)
}

/// What the environment says of a ticket for this very process.
pub(crate) fn for_this_process(file: &File) -> OsString {
    address("process", std::process::id(), file.as_raw_fd()).into()
}

/// What the environment says of a ticket for a child of this process.
pub(crate) fn for_a_child(file: &File) -> OsString {
    address("parent", std::process::id(), file.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_formats_are_the_interfaces_names() {
        for (component, format) in [
            (super::TICKET, super::FORMAT),
            (crate::SUPERVISOR, crate::channel::FORMAT),
        ] {
            assert_eq!(format, format!("{}-v{}", component.name, component.major()));
        }
    }
}
