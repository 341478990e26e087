//! Why there is no result.

use std::fmt;
use std::time::Duration;

use crate::journal;

/// Why a part has no result, or a bad one.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something is not as it must be.
    Failed(String),
    /// A guest does not come to its end in time.
    NoEnd {
        /// How long it was waited for.
        after: Duration,
        /// What its kernel wrote to the console.
        log: String,
    },
    /// It can not be run here.
    CanNot(String),
    /// The user said stop.
    Interrupted,
}

impl Failure {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::NoEnd { .. } => 1,
            Self::CanNot(_) => 2,
            Self::Interrupted => 130,
        }
    }

    /// Something is not as it must be: `what`, and the error.
    pub(crate) fn of(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) | Self::CanNot(text) => f.write_str(text),
            Self::NoEnd { after, log } => {
                write!(
                    f,
                    "no end after {} s\n{}",
                    after.as_secs(),
                    journal::tail(log)
                )
            }
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// A file that can not be read or written.
pub(crate) fn of_file(path: &std::path::Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |error| Failure::of(path.display(), error)
}
