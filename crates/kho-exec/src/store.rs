//! systemd's file descriptor store: where a service's descriptors outlive it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::inherit::{STORED_PREFIX, STORED_TICKET};

use rustix::net::SendFlags;

use crate::channel::send_bytes;

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
        send_bytes(&self.socket, text.as_bytes(), &[fd], SendFlags::empty())
    }

    /// Stores a handover: its descriptors, and the ticket last.
    pub(crate) fn sealed(&self, ticket: &File, fds: &[(RawFd, BorrowedFd<'_>)]) -> io::Result<()> {
        for (number, fd) in fds {
            self.put(&name_of(*number), *fd)?;
        }
        self.put(STORED_TICKET, ticket.as_fd())
    }

    /// Removes what is stored under `names`, the ticket first: it is finished, or did not happen.
    pub(crate) fn remove(&self, names: impl IntoIterator<Item = String>) {
        for name in std::iter::once(STORED_TICKET.to_owned()).chain(names) {
            let text = format!("FDSTOREREMOVE=1\nFDNAME={name}");
            // What is not removed is closed with the service. A manager that does not read is not
            // waited for again.
            if send_bytes(&self.socket, text.as_bytes(), &[], SendFlags::empty()).is_err() {
                return;
            }
        }
    }
}

/// What a descriptor is stored as that is written down as `number`.
pub(crate) fn name_of(number: RawFd) -> String {
    format!("{STORED_PREFIX}fd-{number}")
}
