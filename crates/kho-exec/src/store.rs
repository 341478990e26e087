//! systemd's file descriptor store: where a service's descriptors outlive it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use std::time::Duration;

use rustix::fs::MemfdFlags;

use crate::channel::send_bytes;
use crate::ticket::Ticket;

/// The name of the memfd that holds the ticket, and what the names of the others begin with.
const TICKET: &str = "kho-ticket";
const PREFIX: &str = "kho-fd-";
/// The first descriptor that systemd passes.
const FIRST: RawFd = 3;

/// systemd's notification socket.
#[derive(Debug)]
pub(crate) struct Store {
    socket: UnixDatagram,
}

impl Store {
    /// The store, where the environment says that there is one.
    pub(crate) fn from_env() -> Option<Self> {
        let path = std::env::var_os("NOTIFY_SOCKET")?;
        let addr = match path.as_bytes().split_first()? {
            (b'@', name) => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(&path),
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect_addr(&addr.ok()?).ok()?;
        // A manager that does not read holds nothing either.
        socket
            .set_write_timeout(Some(Duration::from_secs(5)))
            .ok()?;
        Some(Self { socket })
    }

    fn put(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        // Not watched: a socket whose peer hangs up stays in the store.
        let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}");
        send_bytes(&self.socket, text.as_bytes(), &[fd])
    }

    /// Stores a handover: its descriptors, and the ticket last.
    pub(crate) fn sealed(
        &self,
        ticket: &Ticket,
        fds: &[(RawFd, BorrowedFd<'_>)],
    ) -> io::Result<()> {
        self.remove(ticket.numbers());
        for (number, fd) in fds {
            self.put(&format!("{PREFIX}{number}"), *fd)?;
        }
        let memfd = rustix::fs::memfd_create(TICKET, MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memfd);
        file.write_all(ticket.text().as_bytes())?;
        self.put(TICKET, file.as_fd())
    }

    /// Removes a handover: it is finished, or did not happen.
    pub(crate) fn remove(&self, numbers: Vec<RawFd>) {
        let names = numbers
            .into_iter()
            .map(|number| format!("{PREFIX}{number}"));
        for name in std::iter::once(TICKET.to_owned()).chain(names) {
            let text = format!("FDSTOREREMOVE=1\nFDNAME={name}");
            // What is not removed is closed with the service.
            let _ = send_bytes(&self.socket, text.as_bytes(), &[]);
        }
    }
}

/// The descriptors that systemd passes to this process, by name.
pub(crate) fn listed() -> Vec<(RawFd, String)> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let count = number("LISTEN_FDS").unwrap_or(0);
    let fds = (FIRST..).take(usize::try_from(count).unwrap_or(0));
    fds.zip(names.split(':').map(ToOwned::to_owned)).collect()
}

/// The number, among `listed`, of the ticket.
pub(crate) fn ticket_number(listed: &[(RawFd, String)]) -> Option<RawFd> {
    let ticket = listed.iter().find(|(_, name)| name == TICKET)?;
    Some(ticket.0)
}

/// The number here of what was stored as `number`.
pub(crate) fn number_of(listed: &[(RawFd, String)], number: RawFd) -> Option<RawFd> {
    let name = format!("{PREFIX}{number}");
    listed
        .iter()
        .find(|(_, other)| *other == name)
        .map(|(here, _)| *here)
}

/// Reads a ticket that was stored.
pub(crate) fn read(fd: OwnedFd) -> io::Result<String> {
    let mut file = File::from(fd);
    file.seek(SeekFrom::Start(0))?;
    let mut text = String::new();
    file.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}
