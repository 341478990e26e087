//! What ends a survey.

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
    /// The callback asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// A file that could not be restored although the survey found it sound.
    #[must_use]
    pub fn of_restore(error: kho_memfd::RestoreError) -> Self {
        match error {
            kho_memfd::RestoreError::Damaged(damage) => damage.into(),
            other => Self::Unrestorable(other.to_string()),
        }
    }

    /// Memory that could not be read although the survey found it there.
    #[must_use]
    pub fn of_memory(error: &MemError) -> Self {
        error.damage("memfd contents", error.addr).into()
    }
}
