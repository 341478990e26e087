//! What can go wrong, by meaning.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::name::{NameError, SessionName};
use crate::session::Direction;

/// What was asked of the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Opening the device.
    Open {
        /// Where.
        path: PathBuf,
    },
    /// Making a session.
    CreateSession {
        /// Its name.
        session: SessionName,
    },
    /// Taking over a session of the kernel before.
    RetrieveSession {
        /// Its name.
        session: SessionName,
    },
    /// Preserving a file.
    Preserve {
        /// In this session.
        session: SessionName,
        /// Under this token.
        token: u64,
    },
    /// Opening a file that was preserved.
    Retrieve {
        /// Of this session.
        session: SessionName,
        /// Of this token.
        token: u64,
    },
    /// Finishing a session.
    Finish {
        /// Its name.
        session: SessionName,
    },
    /// Asking a descriptor for the name of the session that it is.
    Name,
}

impl Operation {
    /// The direction of the sessions that do it; `None` for what is not asked of a session.
    const fn goes(&self) -> Option<Direction> {
        match self {
            Self::Preserve { .. } => Some(Direction::Outgoing),
            Self::Retrieve { .. } | Self::Finish { .. } => Some(Direction::Incoming),
            _ => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path } => write!(f, "opening {}", path.display()),
            Self::CreateSession { session } => write!(f, "creating session `{session}`"),
            Self::RetrieveSession { session } => write!(f, "retrieving session `{session}`"),
            Self::Preserve { session, token } => {
                write!(
                    f,
                    "preserving a file as token {token:#x} of session `{session}`"
                )
            }
            Self::Retrieve { session, token } => {
                write!(f, "retrieving token {token:#x} of session `{session}`")
            }
            Self::Finish { session } => write!(f, "finishing session `{session}`"),
            Self::Name => f.write_str("asking a session for its name"),
        }
    }
}

/// Why a call did not do what it was asked to. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The running kernel has no live update orchestrator, or does not run it.
    #[error(
        "{}: no live update orchestrator here: the kernel needs CONFIG_LIVEUPDATE, and `kho=on liveupdate=on` on its command line",
        path.display()
    )]
    NotSupported {
        /// Where the device was looked for.
        path: PathBuf,
        /// What the system said.
        source: Errno,
    },
    /// What was opened or given is something else.
    #[error("{what}: found {found}, expected {expected}")]
    WrongFile {
        /// What was looked at.
        what: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Another process, or another part of this one, has the device open: there is one opener at a
    /// time.
    #[error("{}: another process has it open, and the kernel lets in one at a time", path.display())]
    Busy {
        /// The device.
        path: PathBuf,
    },
    /// This process may not open the device.
    #[error("{}: no permission: the device is for root, or for whom its owner and mode name", path.display())]
    PermissionDenied {
        /// The device.
        path: PathBuf,
        /// What the system said.
        source: Errno,
    },
    /// The kernel could not read what the one before handed over. All its sessions are lost, those that
    /// it understands too; it says so at every open until it is rebooted.
    #[error(
        "{}: the kernel could not restore what the one before handed over: all its sessions are lost (the kernel log says why)",
        path.display()
    )]
    RestoreFailed {
        /// The device.
        path: PathBuf,
    },
    /// Something is no name of a session; the kernel was not asked.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An outgoing session has that name already. (An incoming one may have it.)
    #[error("there is an outgoing session `{session}` already")]
    SessionExists {
        /// Its name.
        session: SessionName,
    },
    /// The kernel before handed no session of that name over, or it was retrieved and its last descriptor
    /// closed.
    #[error("no session `{session}` from the kernel before: none was handed over, or it has ended")]
    NoSuchSession {
        /// Its name.
        session: SessionName,
    },
    /// The session was retrieved before, and somebody has it open: it is given once.
    #[error("session `{session}` was retrieved before, and is open: the kernel gives it once")]
    AlreadyRetrieved {
        /// Its name.
        session: SessionName,
    },
    /// The session has a file of that token already.
    #[error("session `{session}` has a token {token:#x} already")]
    TokenExists {
        /// The session.
        session: SessionName,
        /// The token.
        token: u64,
    },
    /// The session has no file of that token.
    #[error("session `{session}` has no token {token:#x}")]
    NoSuchToken {
        /// The session.
        session: SessionName,
        /// The token.
        token: u64,
    },
    /// The file is preserved already, in this session or another.
    #[error(
        "the file for token {token:#x} of session `{session}` is preserved already, here or in another session"
    )]
    FdBusy {
        /// The session.
        session: SessionName,
        /// The token.
        token: u64,
    },
    /// The kernel has no handler that preserves files of this kind.
    #[error(
        "the file for token {token:#x} of session `{session}` is of a kind that this kernel does not preserve: expected a memfd, or what its loaded modules add"
    )]
    NoHandler {
        /// The session.
        session: SessionName,
        /// The token.
        token: u64,
    },
    /// The descriptor names a path alone (`O_PATH`): there is no open file behind it.
    #[error(
        "the descriptor for token {token:#x} of session `{session}` names a path alone (O_PATH): expected an open file"
    )]
    NotOpen {
        /// The session.
        session: SessionName,
        /// The token.
        token: u64,
    },
    /// A session of the kernel before was asked to preserve, or one of this kernel to give.
    #[error("{operation}: {}", wrong_direction(*direction))]
    WrongDirection {
        /// What was asked.
        operation: Operation,
        /// The session's direction.
        direction: Direction,
    },
    /// The file behind the descriptor does not know the call (`ENOTTY`): it is none of this driver.
    #[error(
        "{operation}: found a file that does not know the call, expected a session of /dev/liveupdate"
    )]
    UnknownCall {
        /// What was asked.
        operation: Operation,
    },
    /// Too much was asked for: the kernel says `E2BIG`.
    #[error("{operation}: more than the kernel takes")]
    TooBig {
        /// What was asked.
        operation: Operation,
    },
    /// Anything else.
    #[error("{operation}: {source}")]
    Other {
        /// What was asked.
        operation: Operation,
        /// What the system said.
        source: Errno,
    },
}

const fn wrong_direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Outgoing => {
            "the session goes to the next kernel, and only there can it be retrieved from and finished"
        }
        Direction::Incoming => {
            "the session came from the kernel before, and nothing more can be preserved in it"
        }
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What the system said of opening `path`.
pub(crate) fn of_open(path: &Path, errno: Errno) -> Error {
    let path = path.to_owned();
    match errno {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => Error::NotSupported {
            path,
            source: errno,
        },
        Errno::BUSY => Error::Busy { path },
        Errno::ACCESS | Errno::PERM => Error::PermissionDenied {
            path,
            source: errno,
        },
        Errno::IO => Error::RestoreFailed { path },
        _ => Error::Other {
            operation: Operation::Open { path },
            source: errno,
        },
    }
}

/// What the kernel said of `operation` on a session of this direction, or on the device.
pub(crate) fn of_call(operation: Operation, direction: Option<Direction>, errno: Errno) -> Error {
    match (errno, operation) {
        (Errno::EXIST, Operation::CreateSession { session }) => Error::SessionExists { session },
        (Errno::NOENT, Operation::RetrieveSession { session }) => Error::NoSuchSession { session },
        (Errno::INVAL, Operation::RetrieveSession { session }) => {
            Error::AlreadyRetrieved { session }
        }
        (Errno::EXIST, Operation::Preserve { session, token }) => {
            Error::TokenExists { session, token }
        }
        (Errno::BUSY, Operation::Preserve { session, token }) => Error::FdBusy { session, token },
        (Errno::NOENT | Errno::OPNOTSUPP, Operation::Preserve { session, token }) => {
            Error::NoHandler { session, token }
        }
        (Errno::BADF, Operation::Preserve { session, token }) => Error::NotOpen { session, token },
        (Errno::NOENT, Operation::Retrieve { session, token }) => {
            Error::NoSuchToken { session, token }
        }
        (Errno::INVAL, operation) => match direction {
            Some(direction) if operation.goes() != Some(direction) => Error::WrongDirection {
                operation,
                direction,
            },
            _ => Error::Other {
                operation,
                source: errno,
            },
        },
        (Errno::NOTTY, operation) => Error::UnknownCall { operation },
        (Errno::TOOBIG, operation) => Error::TooBig { operation },
        (source, operation) => Error::Other { operation, source },
    }
}

/// A step that failed, and what it was given, by value.
#[derive(Debug)]
pub struct Rejected<T> {
    /// Why.
    pub error: Error,
    /// What was given, as it was.
    pub given: T,
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug> std::error::Error for Rejected<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionName {
        SessionName::new("vm").unwrap()
    }

    #[test]
    fn what_an_open_says() {
        let said = |errno| of_open(Path::new("/dev/liveupdate"), errno).to_string();
        for errno in [Errno::NOENT, Errno::NODEV, Errno::NXIO] {
            let text = said(errno);
            assert!(text.contains("CONFIG_LIVEUPDATE"), "{text}");
            assert!(text.contains("kho=on liveupdate=on"), "{text}");
        }
        assert!(said(Errno::BUSY).contains("another process"));
        assert!(said(Errno::ACCESS).contains("no permission"));
        assert!(said(Errno::PERM).contains("no permission"));
        assert!(said(Errno::IO).contains("sessions are lost"));
        assert!(said(Errno::MFILE).starts_with("opening /dev/liveupdate: "));
    }

    #[test]
    fn the_same_errno_means_another_thing_in_another_call() {
        let session = session();
        let token = 7;
        let create = Operation::CreateSession { session };
        let again = Operation::RetrieveSession { session };
        let preserve = Operation::Preserve { session, token };
        let retrieve = Operation::Retrieve { session, token };
        let finish = Operation::Finish { session };
        let (out, inc) = (Some(Direction::Outgoing), Some(Direction::Incoming));
        let other = |operation: &Operation, source| Error::Other {
            operation: operation.clone(),
            source,
        };
        let wrong = |operation: &Operation, direction: Option<Direction>| Error::WrongDirection {
            operation: operation.clone(),
            direction: direction.unwrap(),
        };
        #[rustfmt::skip]
        let cases = [
            (&create, None, Errno::EXIST, Error::SessionExists { session }),
            (&create, None, Errno::INVAL, other(&create, Errno::INVAL)),
            (&create, None, Errno::NOMEM, other(&create, Errno::NOMEM)),
            (&again, None, Errno::NOENT, Error::NoSuchSession { session }),
            (&again, None, Errno::INVAL, Error::AlreadyRetrieved { session }),
            (&preserve, out, Errno::EXIST, Error::TokenExists { session, token }),
            (&preserve, out, Errno::BUSY, Error::FdBusy { session, token }),
            (&preserve, out, Errno::NOENT, Error::NoHandler { session, token }),
            (&preserve, out, Errno::BADF, Error::NotOpen { session, token }),
            (&preserve, out, Errno::INVAL, other(&preserve, Errno::INVAL)),
            (&preserve, inc, Errno::INVAL, wrong(&preserve, inc)),
            (&retrieve, inc, Errno::NOENT, Error::NoSuchToken { session, token }),
            (&retrieve, inc, Errno::INVAL, other(&retrieve, Errno::INVAL)),
            (&retrieve, out, Errno::INVAL, wrong(&retrieve, out)),
            (&finish, out, Errno::INVAL, wrong(&finish, out)),
            (&finish, inc, Errno::BUSY, other(&finish, Errno::BUSY)),
        ];
        for (operation, direction, errno, expected) in cases {
            let found = of_call(operation.clone(), direction, errno);
            assert_eq!(found, expected, "{operation}: {errno}");
        }
    }

    #[test]
    fn every_text_says_which_session_and_token() {
        let (session, token) = (session(), 7);
        let preserve = Operation::Preserve { session, token };
        for errno in [
            Errno::EXIST,
            Errno::BUSY,
            Errno::NOENT,
            Errno::BADF,
            Errno::NOMEM,
        ] {
            let text = of_call(preserve.clone(), Some(Direction::Outgoing), errno).to_string();
            assert!(text.contains("`vm`") && text.contains("0x7"), "{text}");
        }
    }

    #[test]
    fn a_cause_is_there_where_the_system_named_one() {
        use std::error::Error as _;
        let error = of_open(Path::new("/dev/liveupdate"), Errno::NOENT);
        assert_eq!(
            error.source().and_then(|source| source.downcast_ref()),
            Some(&Errno::NOENT)
        );
        assert!(Error::from(NameError::Empty).source().is_none());
    }
}
