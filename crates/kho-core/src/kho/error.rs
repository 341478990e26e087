//! Errors from building a handover.

use alloc::string::String;

use kho_compat::{RegistryError, Writing};
use kho_mem::{Broken, Errno, OutOfMemory, PhysRange};
use kho_radix::TrackerError;

use crate::scratch::MAX_AREAS;
use crate::v4::{FDT_SIZE, LISTED_NAME_MAX, SCRATCH_ALIGN};

/// What a handover that is being made refuses. It is as it was then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KhoError {
    /// The root FDT is one page, and this is more.
    #[error("`{name}` does not fit {what}: it would take {needed} bytes, a page has {FDT_SIZE}")]
    FdtFull {
        /// The FDT.
        what: &'static str,
        /// What was to be added.
        name: String,
        /// Bytes that the FDT would have.
        needed: usize,
    },
    /// The name is taken.
    #[error("there is a {what} `{name}` already")]
    Duplicate {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A device tree has no node of that name.
    #[error("`{0}` is no name of a device tree's node")]
    BadName(String),
    /// A node of that name lists components, and is no subtree.
    #[error("`{0}` is no name for a subtree: the node lists components")]
    Reserved(String),
    /// A component whose name no property of a device tree can have.
    #[error(
        "component `{0}` can not be listed: a property's name has at most {LISTED_NAME_MAX} bytes"
    )]
    LongName(String),
    /// The version of a component that has no string of its own, and that nothing in this dialect
    /// would say: its reader would take it for the one that plain strings stand for.
    #[error("{token} can not be said in the {writing} dialect")]
    Unsaid {
        /// The component and the version that is to be written, as a token.
        token: String,
        /// The dialect.
        writing: Writing,
    },
    /// A blob has at least one byte, and no more than its folio.
    #[error("a blob of {size} bytes in a folio of {room}")]
    BadSize {
        /// Its bytes.
        size: u64,
        /// The folio's bytes.
        room: u64,
    },
    /// The blob is preserved in another handover.
    #[error("the blob is preserved in another handover")]
    Foreign,
    /// Scratch areas that no reader takes.
    #[error(
        "scratch area {0}: areas are aligned to {SCRATCH_ALIGN:#x}, apart, below 2^52, and at most {MAX_AREAS}"
    )]
    BadScratch(PhysRange),
    /// The release is not 1 to 64 bytes without a NUL.
    #[error("`{0}` is no kernel's release: 1 to 64 printable bytes are")]
    BadRelease(String),
    /// No page is left.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The tracker refuses.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// The linked components contradict each other.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What is to be written does not fit where it is written to.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl KhoError {
    /// What a kernel returns in its place.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::FdtFull { .. } => Errno::ENOMEM,
            Self::Duplicate { .. } => Errno::EEXIST,
            Self::BadName(_)
            | Self::Reserved(_)
            | Self::LongName(_)
            | Self::Unsaid { .. }
            | Self::BadSize { .. }
            | Self::Foreign
            | Self::BadScratch(_)
            | Self::BadRelease(_)
            | Self::Registry(_) => Errno::EINVAL,
            Self::OutOfMemory(error) => error.errno(),
            Self::Tracker(error) => error.errno(),
            Self::Broken(error) => error.errno(),
        }
    }
}
