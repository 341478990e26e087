//! Descriptors that an exec passed on.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::FdFlags;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors that this program was started with, beyond standard input, output and error,
/// as far as they were named to it. They keep their numbers and stay inheritable, so that they can
/// be passed on again.
///
/// Taken once in a program's life, first thing: a descriptor that was inherited is nobody's until
/// then.
#[derive(Debug, Default)]
pub struct Inherited {
    fds: BTreeMap<RawFd, OwnedFd>,
}

impl Inherited {
    /// Takes the descriptors `numbers`, which the predecessor named.
    ///
    /// # Errors
    ///
    /// They were taken before; one of them is standard input, output or error, is not open, or is
    /// closed on exec, so that it can not have been inherited. None is taken then, and they may be
    /// asked for again.
    pub fn take(numbers: impl IntoIterator<Item = RawFd>) -> io::Result<Self> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let numbers: std::collections::BTreeSet<RawFd> = numbers.into_iter().collect();
        for number in &numbers {
            if *number <= 2 {
                return Err(invalid(format!(
                    "descriptor {number} is not one that is handed over"
                )));
            }
            // SAFETY:
            // - The number is not negative, which is all that a `BorrowedFd` may not be.
            // - It is used for one call, which reads the descriptor's flags and fails with EBADF
            //   where it is not open: nothing is read, written or closed through it.
            let fd = unsafe { BorrowedFd::borrow_raw(*number) };
            let flags = rustix::io::fcntl_getfd(fd)
                .map_err(|error| invalid(format!("descriptor {number}: {error}")))?;
            if flags.contains(FdFlags::CLOEXEC) {
                return Err(invalid(format!(
                    "descriptor {number} is closed on exec: it was not inherited"
                )));
            }
        }
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(io::Error::other(
                "the inherited descriptors were taken before",
            ));
        }
        let own = |number: RawFd| {
            // SAFETY:
            // - The descriptor is open, as just seen.
            // - It is not closed on exec, so no safe code of this program opened it: what the
            //   standard library and rustix open is. It was there when the program started, and the
            //   predecessor named it as handed over, so nothing else owns it.
            // - It is taken once: `TAKEN` is set once in the life of the process, and `numbers` is a
            //   set.
            (number, unsafe { OwnedFd::from_raw_fd(number) })
        };
        Ok(Self {
            fds: numbers.into_iter().map(own).collect(),
        })
    }

    /// The descriptor `number`.
    #[must_use]
    pub fn get(&self, number: RawFd) -> Option<&OwnedFd> {
        self.fds.get(&number)
    }

    /// Takes the descriptor `number` out: it is the caller's own.
    pub fn remove(&mut self, number: RawFd) -> Option<OwnedFd> {
        self.fds.remove(&number)
    }

    /// The numbers that are left.
    pub fn numbers(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.fds.keys().copied()
    }
}
