//! The memfd of an admitted handover.

use alloc::borrow::ToOwned;
use alloc::string::String;

use kho_compat::{Admitted, Compat, NotAdmitted};
use kho_luo::IncomingFile;
use kho_mem::{Damage, PhysMem};
use kho_radix::Restoring;

use crate::abi::{NAME, VERSION};
use crate::contents::Pieces;
use crate::{Memfd, contents};

/// A memfd that can not be restored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The verdict does not cover it.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// It is damaged, or was restored before.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Another handler's file.
    #[error("the file of token {token:#x} is of handler `{found}`, not a memfd")]
    NotMemfd {
        /// The file's token.
        token: u64,
        /// Its handler's compat string.
        found: String,
    },
}

/// A memfd that may be used: its contents, as they lie in memory.
#[derive(Clone)]
pub struct Restored<'m> {
    memfd: Memfd,
    mem: &'m dyn PhysMem,
}

/// Checks that `admitted` covers memfds, and the areas that their lists of folios lie in.
pub(crate) fn require(admitted: &Admitted) -> Result<(), NotAdmitted> {
    admitted.require(NAME, VERSION)?;
    admitted.require(kho_vmalloc::abi::NAME, kho_vmalloc::abi::VERSION)
}

impl Memfd {
    /// Restores the memfd of `file`, once.
    ///
    /// # Errors
    ///
    /// The verdict does not cover `memfd`, the file is another handler's, or it is damaged: see
    /// [`Memfd::read`].
    pub fn restore<'m>(
        restoring: &mut Restoring<'_, 'm>,
        file: &IncomingFile<'_>,
    ) -> Result<Restored<'m>, RestoreError> {
        require(restoring.verdict())?;
        let found = file.compatible();
        let ours =
            |compat: &Compat| compat.base().name() == NAME && compat.base().version() == VERSION;
        if !Compat::parse(found).is_ok_and(|compat| ours(&compat)) {
            let found = found.to_owned();
            return Err(RestoreError::NotMemfd {
                token: file.token(),
                found,
            });
        }
        let memfd = Self::read(restoring, file.entry())?;
        let mem = restoring.mem();
        Ok(Restored { memfd, mem })
    }
}

impl Restored<'_> {
    /// The memfd.
    #[must_use]
    pub const fn memfd(&self) -> &Memfd {
        &self.memfd
    }

    /// The contents in order, exactly as long as the file: views of memory, and holes.
    #[must_use]
    pub fn pieces(&self) -> Pieces<'_> {
        contents::pieces(&self.memfd, self.mem)
    }
}
