//! Sessions.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::error::{self, Error, Operation, Rejected};
use crate::name::SessionName;
use crate::sys;

/// Where a session goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// It was made under this kernel, and goes to the next one.
    Outgoing,
    /// It was made under the kernel before.
    Incoming,
}

/// A session: files by token, that go to the next kernel together or came from the one before.
///
/// It lives as long as a descriptor of it is open, in any process; the device need not stay open.
/// When the last one is closed, by dropping this or by the end of the process, the kernel ends the session:
///
/// - an outgoing session's files are no longer preserved. To hand them over, keep it open until the
///   kexec;
/// - an incoming session is **finished**: files that were not retrieved are gone, and it can not
///   be retrieved a second time.
///
/// There is one type for both directions, since a descriptor that was passed to this process (by a
/// service manager that kept it, by the program before) may be of either. Asked for what it does not do, a
/// session answers [`Error::WrongDirection`].
#[derive(Debug)]
pub struct Session {
    fd: OwnedFd,
    name: SessionName,
    direction: Direction,
}

impl Session {
    pub(crate) const fn new(fd: OwnedFd, name: SessionName, direction: Direction) -> Self {
        Self {
            fd,
            name,
            direction,
        }
    }

    /// The session behind a descriptor that was passed to this process.
    ///
    /// # Errors
    ///
    /// [`Error::WrongFile`] or [`Error::UnknownCall`] where it is no session, with `fd` as it was.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
        match identify(fd.as_fd()) {
            Ok((name, direction)) => Ok(Self::new(fd, name, direction)),
            Err(error) => Err(Rejected { error, given: fd }),
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn name(&self) -> &SessionName {
        &self.name
    }

    /// Where it goes.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// What the kernel says that it is called.
    ///
    /// # Errors
    ///
    /// A kernel from before this call says `EINVAL` ([`Error::Other`]).
    pub fn ask_name(&self) -> Result<SessionName, Error> {
        match sys::name(self.fd.as_fd()) {
            Ok(field) => Ok(SessionName::of_field(field)?),
            Err(errno) => Err(error::of_call(Operation::Name, None, errno)),
        }
    }

    /// Preserves the file behind `fd`, which the next kernel gives under `token`. The kernel keeps the
    /// file itself: `fd` may be closed.
    ///
    /// Of a memfd contents, size, position and seals go over. From now on it can not grow or shrink
    /// (`EPERM`); writes within its size go over still, and so does the position. Seals that are added later
    /// do not. The kernel fills its holes: a sparse file takes all of its size in memory, and one
    /// larger than that brings the machine down.
    ///
    /// # Errors
    ///
    /// | the kernel says | meaning |
    /// |---|---|
    /// | `EEXIST` | [`Error::TokenExists`] |
    /// | `EBUSY` | [`Error::FdBusy`]: this file, by whatever descriptor, in whatever session; one that came from the kernel before, until its session is finished |
    /// | `ENOENT` | [`Error::NoHandler`] |
    /// | `EBADF` | [`Error::NotOpen`] |
    /// | `EINVAL` on an incoming session | [`Error::WrongDirection`] |
    pub fn preserve(&self, fd: impl AsFd, token: u64) -> Result<(), Error> {
        let number = fd.as_fd().as_raw_fd();
        sys::preserve(self.fd.as_fd(), number, token).map_err(|errno| {
            let session = self.name;
            self.failed(Operation::Preserve { session, token }, errno)
        })
    }

    /// Opens the file that was preserved under `token`. Asked again, it gives the same file, and a
    /// further descriptor of it.
    ///
    /// The interface can not list tokens: they must be known, or tried.
    ///
    /// # Errors
    ///
    /// | the kernel says | meaning |
    /// |---|---|
    /// | `ENOENT` | [`Error::NoSuchToken`] |
    /// | `EINVAL` on an outgoing session | [`Error::WrongDirection`] |
    pub fn retrieve(&self, token: u64) -> Result<OwnedFd, Error> {
        sys::retrieve(self.fd.as_fd(), token).map_err(|errno| {
            let session = self.name;
            self.failed(Operation::Retrieve { session, token }, errno)
        })
    }

    /// Ends an incoming session: what was retrieved is this system's alone and can be preserved again, and
    /// what was not is gone.
    ///
    /// Closing the session does the same. What this adds is an answer.
    ///
    /// # Errors
    ///
    /// Nothing has changed then, and the session is given back.
    ///
    /// | the kernel says | meaning |
    /// |---|---|
    /// | `EINVAL` on an outgoing session | [`Error::WrongDirection`] |
    /// | anything else | [`Error::Other`]: a file's handler can not finish yet |
    pub fn finish(self) -> Result<(), Rejected<Self>> {
        match sys::finish(self.fd.as_fd()) {
            Ok(()) => Ok(()),
            Err(errno) => {
                let session = self.name;
                let error = self.failed(Operation::Finish { session }, errno);
                Err(Rejected { error, given: self })
            }
        }
    }

    fn failed(&self, operation: Operation, errno: Errno) -> Error {
        error::of_call(operation, Some(self.direction), errno)
    }
}

/// What session `fd` is.
fn identify(fd: BorrowedFd<'_>) -> Result<(SessionName, Direction), Error> {
    let other = |source| Error::Other {
        operation: Operation::Name,
        source,
    };
    let no_session = |found: String| Error::WrongFile {
        what: "the descriptor".to_owned(),
        found,
        expected: "a session of /dev/liveupdate",
    };
    // A session has no file type. Devices and sockets are not asked: they may have calls of their own.
    let kind = FileType::from_raw_mode(fstat(fd).map_err(other)?.st_mode);
    if !matches!(kind, FileType::Unknown | FileType::RegularFile) {
        return Err(no_session(describe(kind)));
    }
    let field = sys::name(fd).map_err(|errno| match errno {
        // What the driver says to calls that it does not know: a session of a kernel from before this one.
        Errno::INVAL => no_session("a file that does not tell a session's name".to_owned()),
        errno => error::of_call(Operation::Name, None, errno),
    })?;
    let name = SessionName::of_field(field)?;
    // There is no call that tells. The kernel looks at the direction first, then whether the token is
    // taken, then at the file, and -1 is none: nothing can come of this.
    let direction = match sys::preserve(fd, -1, 0) {
        Err(Errno::BADF | Errno::EXIST) => Direction::Outgoing,
        Err(Errno::INVAL) => Direction::Incoming,
        Err(errno) => return Err(other(errno)),
        Ok(()) => return Err(other(Errno::BADF)),
    };
    Ok((name, direction))
}

/// A kind of file in words.
pub(crate) fn describe(kind: FileType) -> String {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a file of another kind",
    }
    .to_owned()
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Session> for OwnedFd {
    fn from(session: Session) -> Self {
        session.fd
    }
}

impl TryFrom<OwnedFd> for Session {
    type Error = Rejected<OwnedFd>;

    fn try_from(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
        Self::from_fd(fd)
    }
}
