//! The contents of preserved memory, for an admitted handover.

use kho_compat::Admitted;
use kho_mem::{Damage, PhysAddr, PhysMem, PhysRange, Pieces, pieces};
use kho_radix::{Claims, RestoreError};

use crate::Handover;
use crate::abi::{NAME, VERSION};

/// Restored memory: its bytes as they lie there.
#[derive(Clone, Copy)]
pub struct Restored<'m> {
    mem: &'m dyn PhysMem,
    range: PhysRange,
}

impl<'m> Handover<'m> {
    /// Restores the folio that begins at `addr`, once.
    ///
    /// # Errors
    ///
    /// The verdict does not cover this handover's root, no preserved range begins at `addr`, or
    /// it was claimed before.
    pub fn restore(
        &self,
        admitted: &Admitted,
        claims: &mut Claims,
        addr: PhysAddr,
    ) -> Result<Restored<'m>, RestoreError> {
        admitted.require(NAME, VERSION)?;
        let folio = claims.folio(addr, "folio", addr)?;
        let len = folio.order.bytes().unwrap_or(u64::MAX);
        self.restored(addr, len)
    }

    /// Restores a run of `pages` pages from `addr` on that was preserved as such, once.
    ///
    /// # Errors
    ///
    /// As [`Handover::restore`], and preserved ranges do not fill the run.
    pub fn restore_pages(
        &self,
        admitted: &Admitted,
        claims: &mut Claims,
        addr: PhysAddr,
        pages: u64,
    ) -> Result<Restored<'m>, RestoreError> {
        admitted.require(NAME, VERSION)?;
        claims.pages(addr, pages, "pages", addr)?;
        self.restored(addr, pages.saturating_mul(kho_mem::PAGE_SIZE_U64))
    }

    fn restored(&self, addr: PhysAddr, len: u64) -> Result<Restored<'m>, RestoreError> {
        let range = PhysRange::new(addr, len)
            .ok_or_else(|| Damage::new(kho_mem::Defect::Wraps, "restored memory", addr))?;
        Ok(Restored {
            mem: self.mem(),
            range,
        })
    }
}

impl<'m> Restored<'m> {
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
