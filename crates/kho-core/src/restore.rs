//! The contents of preserved memory, for an admitted handover.

use alloc::boxed::Box;
use alloc::vec::Vec;

use kho_mem::{Damage, Link, MemError, PhysMem, PhysRange, Piece, Pieces, not_stored, pieces};
use kho_radix::{RestoreError, Restoring};

use crate::{COMPONENT, RestoredFile, Subtree};

/// Restored memory: its bytes as they lie there.
#[derive(Clone, Copy)]
pub struct Restored<'m> {
    mem: &'m dyn PhysMem,
    range: PhysRange,
}

impl<'m> Restored<'m> {
    /// Restores the folio that `link` points to, once.
    ///
    /// # Errors
    ///
    /// The verdict does not cover the handover's root, no preserved folio begins there, or it was
    /// claimed before.
    pub fn folio(restoring: &mut Restoring<'_, 'm>, link: Link) -> Result<Self, RestoreError> {
        restoring.found(&COMPONENT)?;
        let folio = restoring.folio(link)?;
        Self::of(restoring, link, folio.order.bytes().unwrap_or(u64::MAX))
    }

    /// Restores the run of `pages` pages that `link` points to and that was preserved as such, once.
    ///
    /// # Errors
    ///
    /// As [`Restored::folio`], and preserved ranges do not fill the run.
    pub fn pages(
        restoring: &mut Restoring<'_, 'm>,
        link: Link,
        pages: u64,
    ) -> Result<Self, RestoreError> {
        restoring.found(&COMPONENT)?;
        restoring.pages(link, pages)?;
        Self::of(
            restoring,
            link,
            pages.saturating_mul(restoring.page_size().bytes()),
        )
    }

    /// The blob of a subtree, which reading the handover has claimed. The verdict on what is in it is
    /// its owner's affair.
    ///
    /// # Errors
    ///
    /// The verdict does not cover the handover's root.
    pub fn subtree(restoring: &Restoring<'_, 'm>, subtree: &Subtree) -> Result<Self, RestoreError> {
        restoring.found(&COMPONENT)?;
        Self::of(restoring, Link::given(subtree.addr, "blob"), subtree.size)
    }

    fn of(restoring: &Restoring<'_, 'm>, link: Link, len: u64) -> Result<Self, RestoreError> {
        let range = PhysRange::new(link.to, len)
            .ok_or_else(|| Damage::new(kho_mem::Defect::Wraps, "restored memory", link.at))?;
        Ok(Self {
            mem: restoring.mem(),
            range,
        })
    }

    /// Where it lies.
    #[must_use]
    pub const fn range(&self) -> PhysRange {
        self.range
    }

    /// Its bytes in order: views, not copies.
    pub fn pieces(&self) -> Pieces<'m> {
        pieces(self.mem, self.range)
    }
}

impl RestoredFile for Restored<'_> {
    fn size(&self) -> u64 {
        self.range.len()
    }

    fn pieces(&self) -> Box<dyn Iterator<Item = Result<Piece<'_>, MemError>> + '_> {
        Box::new(Restored::pieces(self).map(|chunk| chunk.map(Piece::from)))
    }

    fn not_stored(&self) -> Result<Vec<(u64, u64)>, MemError> {
        not_stored(self.mem, self.range)
    }
}
