//! Descriptors that an exec passed on.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::parent_id;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use rustix::io::FdFlags;

use crate::channel;

/// The environment variable that names a ticket: `process:PID:FD`, for that very process, or
/// `parent:PID:FD`, for a child of that one.
pub const HANDOVER_ENV: &str = "KHO_HANDOVER";
/// The environment variable that names a supervisor: `FD:PID`, its socket and its process. A supervisor whose
/// messages are not of `kho-supervisor-v1` names their format: `FD:PID:FORMAT`.
pub const SUPERVISOR_ENV: &str = "KHO_SUPERVISOR";
/// What the names of descriptors begin with that a service manager stores for a handover.
pub(crate) const STORED_PREFIX: &str = "kho-";
/// The name of a stored ticket.
pub(crate) const STORED_TICKET: &str = "kho-ticket";

/// The longest ticket that is read.
pub(crate) const TICKET_MAX: u64 = 64 << 20;
/// The first descriptor that a service manager passes.
const LISTEN_FIRST: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors that this program was started with for a handover: those that its environment
/// names. Each is owned here, and closed on exec again, so that no child gets it by accident.
///
/// A *ticket* is a file whose first line lists the numbers of the descriptors that come with it;
/// what follows is the predecessor's affair.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    fds: BTreeMap<RawFd, OwnedFd>,
    // Of stored ones: the name that the service manager knows.
    names: Vec<(String, RawFd)>,
    ticket: Option<Vec<u8>>,
    ticket_file: Option<File>,
    stored: bool,
    supervisor: Option<OwnedFd>,
    // The format of its messages.
    messages: Option<String>,
}

impl Inherited {
    /// Takes what the environment names. To be called once, first thing in a program.
    ///
    /// The environment that a process was started with is its parent's word, and safe code can not
    /// change it: that, and not a caller, says which descriptors are nobody's here. A second call
    /// finds nothing.
    ///
    /// A ticket for another process (children inherit the environment), or one whose descriptor was
    /// not inherited, is none.
    ///
    /// # Errors
    ///
    /// The ticket can not be read.
    pub(crate) fn from_env() -> io::Result<Self> {
        let mut this = Self::default();
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Ok(this);
        }
        let supervisor = std::env::var(SUPERVISOR_ENV).ok();
        if let Some((number, format)) =
            supervisor.and_then(|text| supervisor_in(&text, parent_id()))
        {
            this.supervisor = this.own(number);
            this.messages = this.supervisor.as_ref().map(|_| format);
        }
        if let Some(number) = ticket_number()
            && let Some(fd) = this.own(number)
        {
            let (file, text) = read_ticket(fd)?;
            this.ticket_file = Some(file);
            for number in first_line(&text) {
                if let Some(fd) = this.claim(number) {
                    this.fds.insert(number, fd);
                }
            }
            close_on_exec(&this.fds)?;
            this.ticket = Some(text);
            return Ok(this);
        }
        let listed = listed();
        if listed.iter().any(|(name, _)| name == STORED_TICKET) {
            for (name, number) in listed {
                let Some(fd) = this.own(number) else { continue };
                if name == STORED_TICKET {
                    let (file, text) = read_ticket(fd)?;
                    this.ticket_file = Some(file);
                    this.ticket = Some(text);
                    this.stored = true;
                } else {
                    this.fds.insert(number, fd);
                    this.names.push((name, number));
                }
            }
            // Of a handover that was finished, which the service manager was not told of: see `finished`.
            if this.ticket.as_ref().is_some_and(Vec::is_empty) {
                tracing::warn!(
                    "what is stored is of a handover that was finished: it is not taken over"
                );
                let supervisor = (this.supervisor.take(), this.messages.take());
                this = Self::default();
                (this.supervisor, this.messages) = supervisor;
            }
        }
        Ok(this)
    }

    /// Owns the descriptor `number`, which the environment names, and closes it on exec.
    fn own(&self, number: RawFd) -> Option<OwnedFd> {
        let fd = self.claim(number)?;
        rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
        Some(fd)
    }

    /// Owns the descriptor `number`, which the environment names.
    fn claim(&self, number: RawFd) -> Option<OwnedFd> {
        if number <= 2 || self.fds.contains_key(&number) {
            return None;
        }
        // SAFETY:
        // - The number is not negative, which is all that a `BorrowedFd` may not be.
        // - It is used for one call, which reads the descriptor's flags and fails where it is not
        //   open; nothing is read, written or closed through it. No other thread closes it meanwhile:
        //   a descriptor that was inherited is nobody's before this function takes it.
        let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) });
        // What this program opened itself is closed on exec, as the standard library opens things:
        // then the environment is an old one, of a program that was executed in between.
        if !flags.is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC)) {
            return None;
        }
        // SAFETY:
        // - The descriptor is open, as just seen.
        // - The environment of the process names it as passed on for a handover, and `TAKEN` lets this
        //   function run once per process, before which nothing in this program has a claim on an
        //   inherited descriptor; `fds` and the callers take no number twice (what `fds` has is not claimed again, and
        //   the ticket's own and the supervisor's are closed on exec by the time the list is looked at).
        // - Safe code can not name other numbers: it can not change the environment. A parent that
        //   names numbers which this program goes on to open itself, without closing them on exec and
        //   before calling this, breaks it, as it could by passing any descriptor at all.
        Some(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// What the ticket says behind its first line; `None` where there is no ticket.
    pub(crate) fn ticket(&self) -> Option<&[u8]> {
        self.ticket.as_deref().map(ticket_body)
    }

    /// Whether the ticket came out of a service manager's store. Then descriptors have other
    /// numbers than it says: see [`Inherited::named`].
    pub(crate) const fn is_stored(&self) -> bool {
        self.stored
    }

    /// The number here of what was stored under `name`.
    pub(crate) fn named(&self, name: &str) -> Option<RawFd> {
        let (_, number) = self.names.iter().find(|(other, _)| other == name)?;
        Some(*number)
    }

    /// The names of all that was stored.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// The format of the supervisor's messages, where there is a supervisor and it is not the one known here.
    pub(crate) fn other_messages(&self) -> Option<&str> {
        self.messages
            .as_deref()
            .filter(|format| *format != channel::FORMAT)
    }

    /// The supervisor's socket, taken out.
    pub(crate) const fn take_supervisor(&mut self) -> Option<OwnedFd> {
        self.supervisor.take()
    }

    /// The ticket's file, taken out.
    pub(crate) const fn take_ticket_file(&mut self) -> Option<File> {
        self.ticket_file.take()
    }

    /// The whole ticket, its first line included.
    pub(crate) fn whole_ticket(&self) -> Option<&[u8]> {
        self.ticket.as_deref()
    }

    /// The descriptors, by number, shared: whoever may have to pass them on once more, and who uses
    /// them.
    pub(crate) fn into_fds(self) -> BTreeMap<RawFd, Arc<OwnedFd>> {
        self.fds
            .into_iter()
            .map(|(number, fd)| (number, Arc::new(fd)))
            .collect()
    }
}

/// Makes `fd` survive an exec, or end with it.
///
/// # Errors
///
/// The system refuses.
pub(crate) fn set_inheritable(fd: impl AsFd, inheritable: bool) -> io::Result<()> {
    let flags = if inheritable {
        FdFlags::empty()
    } else {
        FdFlags::CLOEXEC
    };
    Ok(rustix::io::fcntl_setfd(fd, flags)?)
}

/// Closes all of `fds` on exec: those whose numbers follow each other with one call.
fn close_on_exec(fds: &BTreeMap<RawFd, OwnedFd>) -> io::Result<()> {
    let mut numbers = fds.keys().copied().peekable();
    while let Some(first) = numbers.next() {
        let mut last = first;
        while let Some(next) = numbers.next_if(|next| *next == last + 1) {
            last = next;
        }
        // SAFETY: the call takes numbers and flags, and no address. With this flag it closes nothing: it sets a flag of
        // descriptors that are all owned by `fds`.
        let done = unsafe {
            libc::syscall(
                libc::SYS_close_range,
                first,
                last,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        };
        if done != 0 {
            // A system before Linux 5.11.
            let rest = fds.range(first..=last).map(|(_, fd)| fd);
            rest.into_iter()
                .try_for_each(|fd| set_inheritable(fd, false))?;
        }
    }
    Ok(())
}

fn ticket_number() -> Option<RawFd> {
    let text = std::env::var(HANDOVER_ENV).ok()?;
    ticket_in(&text, std::process::id(), parent_id())
}

/// What the environment says of the descriptor `number`, for the process `process` or for a child of it.
pub(crate) fn address(who: &str, process: u32, number: RawFd) -> String {
    format!("{who}:{process}:{number}")
}

/// The descriptor that `text` names for the process `own`, whose parent is `parent`.
pub(crate) fn ticket_in(text: &str, own: u32, parent: u32) -> Option<RawFd> {
    let mut parts = text.splitn(3, ':');
    let (who, process, number) = (parts.next()?, parts.next()?, parts.next()?);
    let here = match who {
        "process" => own,
        "parent" => parent,
        _ => return None,
    };
    (process.parse() == Ok(here))
        .then(|| number.parse().ok())
        .flatten()
}

/// The socket that `text` names for a child of `parent`, and the format of its messages.
pub(crate) fn supervisor_in(text: &str, parent: u32) -> Option<(RawFd, String)> {
    let mut parts = text.splitn(3, ':');
    let (number, process) = (parts.next()?, parts.next()?);
    let format = parts.next().unwrap_or(channel::FORMAT);
    if process.parse() != Ok(parent) {
        return None;
    }
    Some((number.parse().ok()?, format.to_owned()))
}

/// What a service manager passes to this process for a handover: name and number.
fn listed() -> Vec<(String, RawFd)> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let count = usize::try_from(number("LISTEN_FDS").unwrap_or(0)).unwrap_or(0);
    let all = names
        .split(':')
        .map(ToOwned::to_owned)
        .zip(LISTEN_FIRST..)
        .take(count);
    all.filter(|(name, _)| name.starts_with(STORED_PREFIX))
        .collect()
}

/// What a ticket says behind its first line.
pub(crate) fn ticket_body(ticket: &[u8]) -> &[u8] {
    let line = ticket.iter().position(|byte| *byte == b'\n');
    line.and_then(|line| ticket.get(line + 1..))
        .unwrap_or_default()
}

/// Reads a whole ticket, its first line included.
///
/// # Errors
///
/// It can not be read, or is longer than any that is written.
pub(crate) fn read_ticket(fd: OwnedFd) -> io::Result<(File, Vec<u8>)> {
    let file = File::from(fd);
    let len = file.metadata()?.len();
    if len > TICKET_MAX {
        return Err(io::Error::other(format!(
            "a ticket of {len} bytes: at most {TICKET_MAX} are read"
        )));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok((file, bytes))
}

fn first_line(text: &[u8]) -> impl Iterator<Item = RawFd> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words = line.split(u8::is_ascii_whitespace);
    words.filter_map(|word| str::from_utf8(word).ok()?.parse().ok())
}
