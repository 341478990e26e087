//! systemd's file descriptor store: where a service's descriptors outlive it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kho_mem::sync::Mutex;
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::net::SendFlags;

use crate::channel::send_bytes;
use crate::inherit::{STORED_PREFIX, STORED_TICKET};

/// systemd's notification socket.
#[derive(Debug)]
pub(crate) struct Store {
    socket: Arc<UnixDatagram>,
    // What a manager that does not read is still to be told, in order.
    telling: Mutex<Option<JoinHandle<()>>>,
}

/// How long a manager that does not read is waited for before a handover is called off.
const PATIENCE: Duration = Duration::from_secs(1);

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
        socket.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self {
            socket: Arc::new(socket),
            telling: Mutex::default(),
        })
    }

    fn put(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        // Not watched: a socket whose peer hangs up stays in the store.
        let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}");
        send_bytes(&self.socket, text.as_bytes(), &[fd], SendFlags::empty())
    }

    /// Stores a handover: its descriptors, and the ticket last.
    pub(crate) fn sealed(&self, ticket: &File, fds: &[(RawFd, BorrowedFd<'_>)]) -> io::Result<()> {
        let telling = self.telling.lock();
        if telling.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Err(io::Error::other(
                "it has not read yet that the handover before is finished",
            ));
        }
        let since = Instant::now();
        for (number, fd) in fds {
            self.put(&name_of(*number), *fd)?;
            if since.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.put(STORED_TICKET, ticket.as_fd())
    }

    /// Removes what is stored under `names`, the ticket first: it is finished, or did not happen. A manager that does
    /// not read is not waited for: it is told on a thread of its own, when it reads.
    pub(crate) fn remove(&self, names: impl IntoIterator<Item = String>) {
        let names = std::iter::once(STORED_TICKET.to_owned()).chain(names);
        let mut texts: VecDeque<_> = names
            .map(|name| format!("FDSTOREREMOVE=1\nFDNAME={name}"))
            .collect();
        let mut telling = self.telling.lock();
        let is_told = telling.as_ref().is_none_or(JoinHandle::is_finished);
        let tell = |socket: &UnixDatagram, text: &str, flags| {
            send_bytes(socket, text.as_bytes(), &[], flags)
        };
        while is_told && let Some(text) = texts.front() {
            match tell(&self.socket, text, SendFlags::DONTWAIT) {
                Ok(()) => drop(texts.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What is not removed is closed with the service.
                Err(error) => return tracing::warn!(%error, "the service manager is not told"),
            }
        }
        if texts.is_empty() {
            return;
        }
        tracing::warn!(
            "the service manager does not read: it is told what is finished when it does"
        );
        let (socket, before) = (Arc::clone(&self.socket), telling.take());
        let started = quiet_thread("kho-tell", move || {
            let _ = before.map(JoinHandle::join);
            for text in texts {
                while let Err(error) = tell(&socket, &text, SendFlags::empty()) {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        return tracing::warn!(%error, "the service manager is not told");
                    }
                }
            }
        });
        match started {
            Ok(started) => *telling = Some(started),
            Err(error) => tracing::warn!(%error, "the service manager is not told"),
        }
    }
}

/// Starts a thread that no signal is handled on: one that it noted would be lost if the program is executed then.
pub(crate) fn quiet_thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    before.thread_set_mask()?;
    started
}

/// What a descriptor is stored as that is written down as `number`.
pub(crate) fn name_of(number: RawFd) -> String {
    format!("{STORED_PREFIX}fd-{number}")
}
