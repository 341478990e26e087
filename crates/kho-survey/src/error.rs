//! What ends a survey.

use kho_compat::RegistryError;
use kho_core::{OpenError, RestoreError, Stopped};
use kho_image::FindError;
use kho_mem::{Damage, MemError};

/// Why a survey ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The memory holds no handover, or several.
    #[error(transparent)]
    Find(#[from] FindError),
    /// What was handed over is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The verdict does not cover it.
    #[error("{0}")]
    Unrestorable(String),
    /// The linked components contradict each other: a defect of this program.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The callback asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Memory that could not be read although the survey found it there.
    #[must_use]
    pub fn of_memory(error: &MemError) -> Self {
        error.damage("memfd contents", error.addr).into()
    }
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Damaged(damage) => damage.into(),
            _ => Self::Interrupted,
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged(damage) => damage.into(),
            OpenError::Registry(error) => error.into(),
            // The policy's word, or that of the readers.
            error => Self::Unrestorable(error.to_string()),
        }
    }
}

/// What could not be restored although the survey found it sound.
impl From<RestoreError> for Error {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Damaged(damage) => damage.into(),
            RestoreError::NotAdmitted(error) => Self::Unrestorable(error.to_string()),
        }
    }
}
