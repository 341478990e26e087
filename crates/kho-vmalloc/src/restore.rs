//! An admitted area's bytes.

use kho_compat::NotAdmitted;
use kho_mem::{Chunk, Link, Located, MemError, PhysMem, PhysRange, pieces};
use kho_radix::{RestoreError, Restoring};

use crate::v1::VmallocSer;
use crate::{Area, COMPONENT, Format, NAME};

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
    /// The verdict does not cover `vmalloc-v1`, another version was handed over, or the area is damaged: see
    /// [`Area::read`].
    pub fn restore<'m>(
        restoring: &mut Restoring<'_, 'm>,
        ser: &Located<VmallocSer>,
    ) -> Result<RestoredArea<'m>, RestoreError> {
        handed_over_as(Format::V1, restoring)?;
        let area = Self::read(restoring, ser)?;
        let mem = restoring.mem();
        Ok(RestoredArea { mem, area })
    }

    /// As [`Area::restore`], for the descriptor that `link` points to, of the version that was handed over: for
    /// whoever points to a descriptor.
    ///
    /// # Errors
    ///
    /// The verdict does not cover that version of `vmalloc`, or the area is damaged: see [`Area::read_as`].
    pub fn restore_at<'m>(
        restoring: &mut Restoring<'_, 'm>,
        link: Link,
    ) -> Result<RestoredArea<'m>, RestoreError> {
        let format = Format::of_generation(restoring.found(&COMPONENT)?);
        let area = Self::read_as(format, restoring, link)?;
        let mem = restoring.mem();
        Ok(RestoredArea { mem, area })
    }
}

/// Checks that areas were handed over as `format`: the verdict covers it, and it was announced to whoever asks.
fn handed_over_as(format: Format, restoring: &Restoring<'_, '_>) -> Result<(), NotAdmitted> {
    let found = Format::of_generation(restoring.found(&COMPONENT)?);
    if found == format {
        return Ok(());
    }
    let covered = alloc::format!("{NAME}-v{}", found.version());
    Err(NotAdmitted::new(NAME, format.version(), covered))
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
