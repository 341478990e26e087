//! The memfd of an admitted handover.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kho_compat::{Compat, Grammar, NotAdmitted};
use kho_luo::{AdmittedFile, FileToken};
use kho_mem::{Damage, Defect, Errno, Link, MemError, PAGE_SIZE_U64, PhysMem, PhysRange};
use kho_radix::Restoring;

use crate::contents::MemfdPieces;
use crate::read::STATE;
use crate::{COMPONENT, Format, Memfd, NAME, contents};

/// A memfd that can not be restored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemfdError {
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
        token: FileToken,
        /// Its handler's compat string.
        found: String,
    },
}

impl MemfdError {
    /// What a kernel returns in its place.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::NotAdmitted(_) | Self::NotMemfd { .. } => Errno::EINVAL,
            Self::Damaged(damage) => damage.errno(),
        }
    }
}

/// A memfd that may be used: its contents, as they lie in memory.
#[derive(Clone)]
pub struct RestoredMemfd<'m> {
    memfd: Memfd,
    mem: &'m dyn PhysMem,
}

/// Checks that the verdict covers the versions that the file's string announces: of the memfd whose state `link`
/// points to, and of the area that its list of folios lies in; and that the one contains the other.
pub(crate) fn require(restoring: &Restoring<'_, '_>, link: Link) -> Result<(), MemfdError> {
    let memfd = Format::of_generation(restoring.found(&COMPONENT)?);
    let (vmalloc, contains) = (restoring.found(&kho_vmalloc::COMPONENT)?, memfd.area());
    if vmalloc.number == contains.version() {
        return Ok(());
    }
    let token = |version| format!("{}-v{version}", kho_vmalloc::NAME);
    let expected = token(contains.version());
    Err(
        Damage::new(Defect::BadValue, "version of its list", link.at)
            .found(token(vmalloc.number))
            .expected(format!(
                "{expected}, which {NAME}-v{} contains",
                memfd.version()
            ))
            .within(NAME)
            .into(),
    )
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
        file: &AdmittedFile<'_>,
    ) -> Result<RestoredMemfd<'m>, MemfdError> {
        let found = file.compatible();
        if !Compat::parse_as(found, Grammar::Lenient)
            .is_ok_and(|compat| compat.base().name() == NAME)
        {
            let found = found.to_owned();
            return Err(MemfdError::NotMemfd {
                token: file.token(),
                found,
            });
        }
        let memfd = restoring.in_string(found, |restoring| {
            require(restoring, file.entry().link(STATE))?;
            Ok::<_, MemfdError>(Self::read(restoring, file.entry())?)
        })?;
        let mem = restoring.mem();
        Ok(RestoredMemfd { memfd, mem })
    }
}

impl RestoredMemfd<'_> {
    /// The memfd.
    #[must_use]
    pub const fn memfd(&self) -> &Memfd {
        &self.memfd
    }

    /// What the dump does not store of the contents: offset and bytes of each part, in order, apart. The contents
    /// are not read for it.
    ///
    /// # Errors
    ///
    /// A folio is not in memory.
    pub fn find_not_stored(&self) -> Result<Vec<(u64, u64)>, MemError> {
        let mut out: Vec<(u64, u64)> = Vec::new();
        for folio in self.memfd.folios() {
            let start = folio.index.saturating_mul(PAGE_SIZE_U64);
            let len = self.memfd.size().saturating_sub(start);
            let len = folio.order.bytes().map_or(len, |bytes| bytes.min(len));
            let contents = folio.contents();
            let Some(range) = contents.and_then(|addr| PhysRange::new(addr, len)) else {
                continue;
            };
            for (offset, len) in kho_mem::not_stored(self.mem, range)? {
                match out.last_mut() {
                    Some((at, before)) if *at + *before == start + offset => *before += len,
                    _ => out.push((start + offset, len)),
                }
            }
        }
        Ok(out)
    }

    /// The contents in order, exactly as long as the file: views of memory, and holes.
    #[must_use]
    pub fn pieces(&self) -> MemfdPieces<'_> {
        contents::pieces(&self.memfd, self.mem)
    }
}
