//! An admitted area's bytes.

use kho_mem::{Chunk, Located, MemError, PhysMem, PhysRange, pieces};
use kho_radix::{RestoreError, Restoring};

use crate::Area;
use crate::COMPONENT;
use crate::v1::VmallocSer;

/// An area that may be used: its bytes in order, as they lie in memory.
#[derive(Clone)]
pub struct RestoredArea<'m> {
    mem: &'m dyn PhysMem,
    area: Area,
}

impl Area {
    /// Restores the area that `ser` describes. Its memory is claimed: an area is restored once.
    ///
    /// # Errors
    ///
    /// The verdict does not cover `vmalloc`, or the area is damaged: see [`Area::read`].
    pub fn restore<'m>(
        restoring: &mut Restoring<'_, 'm>,
        ser: &Located<VmallocSer>,
    ) -> Result<RestoredArea<'m>, RestoreError> {
        restoring.found(&COMPONENT)?;
        let area = Self::read(restoring, ser)?;
        let mem = restoring.mem();
        Ok(RestoredArea { mem, area })
    }
}

impl<'m> RestoredArea<'m> {
    /// The area.
    #[must_use]
    pub const fn area(&self) -> &Area {
        &self.area
    }

    /// The area's bytes in order, in pieces of at most a run of pages: views, not copies.
    pub fn pieces(&self) -> impl Iterator<Item = Result<Chunk<'m>, MemError>> + '_ {
        let mem = self.mem;
        let bytes = self.area.order.bytes().unwrap_or(u64::MAX);
        let ranges = self
            .area
            .runs
            .iter()
            .filter_map(move |run| PhysRange::new(*run, bytes));
        ranges.flat_map(move |range| pieces(mem, range))
    }
}
