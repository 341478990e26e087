//! Descriptors in a live update between processes: a listening socket, a pipe, an eventfd, a memfd
//! of the system.
//!
//! [`FdFile`] is a descriptor as a file object; [`FdHandler`] hands it over: at freeze it is made
//! inheritable, and the exec keeps it open. The next process finds its number and what it must turn
//! out to be in memory, and what really is open in its [`FdTable`]. A number that is something else
//! there is refused.
//!
//! The format is this project's own: see [`v1`]. In Linux: nothing; a kexec keeps no descriptors. The README
//! has an example.

mod file;
mod generation;
mod handler;
mod owner;
mod table;
pub mod v1;

pub use file::FdFile;
pub use generation::{COMPONENT, NAME};
pub use handler::{FdHandler, PreservedFd};
pub use table::FdTable;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
