//! Client of the Linux Live Update Orchestrator, `/dev/liveupdate`: what a program calls to keep files
//! when the kernel under it is replaced by kexec.
//!
//! Before the update a program opens the [`Device`], creates a [`Session`], and preserves files in
//! it, each under a token of its choice. The session is kept open until the kexec. Under the next kernel
//! it is retrieved by its name, the files by their tokens; then it is finished.
//!
//! The README has an example of a memfd that is kept.
//!
//! # What the kernel says, and what it means
//!
//! Every call ends in an [`Error`] by meaning. Some errors of the system stand for several things, told
//! apart by the call and the session's direction. Measured on Linux 7.3.4, but for those marked *:
//!
//! | call | says | when | [`Error`] |
//! |---|---|---|---|
//! | open | `ENOENT` | no `liveupdate=on` on the command line, or no `CONFIG_LIVEUPDATE`: the device is not there | [`NotSupported`](Error::NotSupported) |
//! | open | `ENODEV`, `ENXIO` * | a device file without a driver | [`NotSupported`](Error::NotSupported) |
//! | open | `EBUSY` | it is open, in whatever process | [`Busy`](Error::Busy) |
//! | open | `EACCES` | the caller is not root: its mode is 0600 | [`PermissionDenied`](Error::PermissionDenied) |
//! | open | `EIO` | what was handed over can not be read: one file of an unknown version is enough | [`RestoreFailed`](Error::RestoreFailed) |
//! | create | `EEXIST` | an outgoing session has the name | [`SessionExists`](Error::SessionExists) |
//! | create | `EINVAL` | the name is empty, or not ended by a NUL (never asked here) | [`Name`](Error::Name) |
//! | retrieve session | `ENOENT` | no incoming session of the name; it was, and its last descriptor is closed | [`NoSuchSession`](Error::NoSuchSession) |
//! | retrieve session | `EINVAL` | it was retrieved, and is open, finished or not | [`AlreadyRetrieved`](Error::AlreadyRetrieved) |
//! | preserve | `ENOENT` | no handler for the file: anything but memfds | [`NoHandler`](Error::NoHandler) |
//! | preserve | `EEXIST` | the token is taken | [`TokenExists`](Error::TokenExists) |
//! | preserve | `EBUSY` | the file is preserved, here or elsewhere, or came in a session that is not finished | [`FdBusy`](Error::FdBusy) |
//! | preserve | `EBADF` | an `O_PATH` descriptor | [`NotOpen`](Error::NotOpen) |
//! | preserve | `EINVAL` | the session is an incoming one | [`WrongDirection`](Error::WrongDirection) |
//! | retrieve | `ENOENT` | no such token; any token, once the session is finished | [`NoSuchToken`](Error::NoSuchToken) |
//! | retrieve, finish | `EINVAL` | the session is an outgoing one | [`WrongDirection`](Error::WrongDirection) |
//! | retrieve session, retrieve | `EMFILE` | no descriptor is free: nothing has changed, and it can be asked again | [`Other`](Error::Other) |
//! | any | `E2BIG` | an argument is longer than the kernel knows and not zero there (never sent from here) | [`TooBig`](Error::TooBig) |
//! | any | `EINVAL` | a number that the driver does not know (`ENOTTY` is what other files say) | [`Other`](Error::Other) |
//!
//! What a name is, beyond 1 to 63 bytes without a NUL, is not the kernel's concern: slashes, control
//! characters and bytes that are no text are taken.
//!
//! # Safety
//!
//! All of this crate is safe to call. The calls themselves are in one private module, where the proof of each
//! `unsafe` block stands.

pub mod abi;
mod device;
mod error;
mod name;
mod session;
mod sys;

pub use device::Device;
pub use error::{Error, Operation, Rejected};
pub use name::{NameError, SessionName};
pub use rustix::io::Errno;
pub use session::{Direction, Session};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
