//! What Linux says where these crates have an error of their own.

use core::fmt;

use crate::{Broken, Damage, Defect, MemError, OutOfMemory};

/// The error number that a kernel returns, or would return, in place of one of these crates' errors:
/// `docs/errno.md` has all of them, and what is known of each.
///
/// ```
/// use kho_mem::{Errno, OutOfMemory};
///
/// let errno = OutOfMemory { pages: 1 }.errno();
/// assert_eq!((errno, errno.number()), (Errno::ENOMEM, 12));
/// assert_eq!(errno.to_string(), "ENOMEM");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
#[repr(i32)]
pub enum Errno {
    /// Not permitted.
    EPERM = 1,
    /// There is none.
    ENOENT = 2,
    /// What was handed over can not be used.
    EIO = 5,
    /// A descriptor that is not open.
    EBADF = 9,
    /// No memory is left.
    ENOMEM = 12,
    /// An address that is not there.
    EFAULT = 14,
    /// It is in use.
    EBUSY = 16,
    /// There is one already.
    EEXIST = 17,
    /// An argument, or what is in memory, is invalid.
    EINVAL = 22,
    /// Larger than a file can be.
    EFBIG = 27,
    /// No room is left.
    ENOSPC = 28,
    /// The caller would wait for itself.
    EDEADLK = 35,
    /// Not supported.
    EOPNOTSUPP = 95,
}

impl Errno {
    /// Its number on Linux, but for the few machines that number some of them otherwise (alpha, mips, parisc,
    /// sparc).
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Damage {
    /// What a kernel says of it: a page that can not be restored is `EIO`, unknown flags are `EOPNOTSUPP`,
    /// what is missing is `ENOENT`, and the rest `EINVAL`.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self.defect() {
            Defect::NotPreserved
            | Defect::Shared
            | Defect::OutsideMemory
            | Defect::NotStored
            | Defect::Unreadable => Errno::EIO,
            Defect::UnknownFlags => Errno::EOPNOTSUPP,
            Defect::Missing => Errno::ENOENT,
            _ => Errno::EINVAL,
        }
    }
}

impl MemError {
    /// `EFAULT`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::EFAULT
    }
}

impl OutOfMemory {
    /// `ENOMEM`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::ENOMEM
    }
}

impl Broken {
    /// `EINVAL`, as behind a `WARN_ON`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}
