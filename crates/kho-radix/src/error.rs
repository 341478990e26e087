//! Why preserved memory was not restored.

use kho_compat::NotAdmitted;
use kho_mem::{Damage, Errno};

/// Preserved memory that could not be restored. Every restore function of these crates fails with
/// it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RestoreError {
    /// The verdict does not cover it.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// It is damaged, not preserved, or restored already.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

impl RestoreError {
    /// What a kernel returns in its place.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::NotAdmitted(_) => Errno::EINVAL,
            Self::Damaged(damage) => damage.errno(),
        }
    }
}
