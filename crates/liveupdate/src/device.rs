//! The device.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, major, open, stat};

use crate::error::{self, Error, Operation, Rejected};
use crate::name::SessionName;
use crate::session::{Direction, Session, describe};
use crate::sys;

/// The major number of the kernel's small devices ("misc"), of which this is one.
const MISC_MAJOR: u32 = 10;

/// `/dev/liveupdate`, open.
///
/// The kernel lets one opener in at a time: as long as this lives, everybody else finds it busy.
/// Sessions outlive it, so it is best closed as soon as they are made or retrieved.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
}

impl Device {
    /// Where the kernel has it.
    pub const PATH: &str = "/dev/liveupdate";

    /// Opens [`Device::PATH`].
    ///
    /// # Errors
    ///
    /// | the system says | meaning |
    /// |---|---|
    /// | `ENOENT`, `ENODEV`, `ENXIO` | [`Error::NotSupported`] |
    /// | `EBUSY` | [`Error::Busy`] |
    /// | `EACCES`, `EPERM` | [`Error::PermissionDenied`] |
    /// | `EIO` | [`Error::RestoreFailed`] |
    pub fn open() -> Result<Self, Error> {
        Self::open_at(Self::PATH)
    }

    /// Opens the device at `path`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); [`Error::WrongFile`] where there is something else.
    pub fn open_at(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |errno| error::of_open(path, errno);
        // Opening a device can have effects (a watchdog begins to count): looked at before.
        let found = stat(path).map_err(failed)?;
        judge(&found, &path.display())?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = open(path, flags, Mode::empty()).map_err(failed)?;
        // What stood there may have been replaced.
        judge(&fstat(&fd).map_err(failed)?, &path.display())?;
        Ok(Self { fd })
    }

    /// The device that was opened by somebody else: a service manager, a parent.
    ///
    /// # Errors
    ///
    /// [`Error::WrongFile`] where it is no device of this kind, with `fd` as it was.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
        let judged = match fstat(&fd) {
            Ok(found) => judge(&found, &"the descriptor"),
            Err(source) => Err(Error::Other {
                operation: Operation::Open {
                    path: Self::PATH.into(),
                },
                source,
            }),
        };
        match judged {
            Ok(()) => Ok(Self { fd }),
            Err(error) => Err(Rejected { error, given: fd }),
        }
    }

    /// Makes a session, which goes to the next kernel if it is still open at the kexec. It may have
    /// the name of an incoming one.
    ///
    /// # Errors
    ///
    /// | the kernel says | meaning |
    /// |---|---|
    /// | (not asked) | [`Error::Name`] |
    /// | `EEXIST` | [`Error::SessionExists`] |
    pub fn create_session<N>(&self, name: N) -> Result<Session, Error>
    where
        N: TryInto<SessionName, Error: Into<Error>>,
    {
        let session = name.try_into().map_err(Into::into)?;
        match sys::create_session(self.fd.as_fd(), session.field()) {
            Ok(fd) => Ok(Session::new(fd, session, Direction::Outgoing)),
            Err(errno) => {
                let operation = Operation::CreateSession { session };
                Err(error::of_call(operation, None, errno))
            }
        }
    }

    /// Takes over a session that the kernel before handed over. It is given once, and dropping it
    /// finishes it: see [`Session`]. The interface can not list sessions: their names must be known.
    ///
    /// # Errors
    ///
    /// | the kernel says | meaning |
    /// |---|---|
    /// | (not asked) | [`Error::Name`] |
    /// | `ENOENT` | [`Error::NoSuchSession`] |
    /// | `EINVAL` | [`Error::AlreadyRetrieved`] |
    pub fn retrieve_session<N>(&self, name: N) -> Result<Session, Error>
    where
        N: TryInto<SessionName, Error: Into<Error>>,
    {
        let session = name.try_into().map_err(Into::into)?;
        match sys::retrieve_session(self.fd.as_fd(), session.field()) {
            Ok(fd) => Ok(Session::new(fd, session, Direction::Incoming)),
            Err(errno) => {
                let operation = Operation::RetrieveSession { session };
                Err(error::of_call(operation, None, errno))
            }
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Device> for OwnedFd {
    fn from(device: Device) -> Self {
        device.fd
    }
}

impl TryFrom<OwnedFd> for Device {
    type Error = Rejected<OwnedFd>;

    fn try_from(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
        Self::from_fd(fd)
    }
}

/// Whether `found` can be the device.
fn judge(found: &Stat, what: &dyn fmt::Display) -> Result<(), Error> {
    let kind = FileType::from_raw_mode(found.st_mode);
    let mut text = describe(kind);
    if kind == FileType::CharacterDevice {
        let major = major(found.st_rdev);
        if major == MISC_MAJOR {
            return Ok(());
        }
        text.push_str(&format!(" of major number {major}"));
    }
    Err(Error::WrongFile {
        what: what.to_string(),
        found: text,
        expected: "/dev/liveupdate, a character device of major number 10",
    })
}
