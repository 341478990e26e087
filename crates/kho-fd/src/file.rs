//! A descriptor as a file object.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// An open descriptor that can be handed over.
#[derive(Debug)]
pub struct FdFile {
    // One that was inherited is shared with the table, which passes it on if the handover goes back.
    fd: Arc<OwnedFd>,
}

impl FdFile {
    /// The descriptor `fd`. A `TcpListener`, a `UnixStream`, a `File` turn into one.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd) }
    }

    pub(crate) const fn shared(fd: Arc<OwnedFd>) -> Self {
        Self { fd }
    }

    /// Another descriptor of the same open file, closed on exec: what a `TcpListener` or a `File` is
    /// made of.
    ///
    /// # Errors
    ///
    /// The process has too many open files.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

impl AsFd for FdFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T: Into<OwnedFd>> From<T> for FdFile {
    fn from(fd: T) -> Self {
        Self::new(fd.into())
    }
}
