//! Handovers that are opened again in edited memory.

use kho_abi_check::Failure;
use kho_compat::Registry;
use kho_core::{Entry, Handover, OpenOptions, RootFdt};
use kho_mem::PhysMem;
use kho_radix::{Preserved, Reading};

use crate::dump::Dump;
use crate::edits::Refusal;

/// A handover that was opened.
pub(crate) struct Opened {
    entry: Entry,
    preserved: Preserved,
}

impl Opened {
    /// Opens the handover that begins at `entry`.
    pub(crate) fn new(dump: &Dump, entry: Entry, registry: &Registry) -> Result<Self, Failure> {
        let handover = Handover::open(dump.mem(), OpenOptions::new(entry).registry(registry))?;
        let preserved = handover.preserved().clone();
        Ok(Self { entry, preserved })
    }

    /// The handover in `mem`, not judged, in which the tracker must be as it was; and its
    /// reading.
    pub(crate) fn again<'m>(
        &self,
        mem: &'m dyn PhysMem,
    ) -> Result<(Handover<'m>, Reading<'m>), Refusal> {
        let root = RootFdt::read(mem, self.entry.fdt_addr)?;
        let handover = Handover::assemble(mem, self.entry, root, self.preserved.clone(), None)?;
        let reading = handover.reading()?;
        Ok((handover, reading))
    }
}
