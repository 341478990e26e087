//! How a handover is made.

use alloc::string::String;
use alloc::vec::Vec;

use kho_compat::{Side, Writing};
use kho_mem::{Pfn, PhysRange};

/// How a handover is made.
#[derive(Clone, Debug)]
pub struct KhoConfig {
    pub(super) writing: Writing,
    pub(super) side: Option<Side>,
    pub(super) scratch: Vec<PhysRange>,
    pub(super) metadata: Option<(String, u32)>,
    pub(super) boundaries: Vec<Pfn>,
}

impl Default for KhoConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl KhoConfig {
    /// The plain dialect, what the linked components write, no scratch areas, no kexec metadata.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            writing: Writing::PLAIN,
            side: None,
            scratch: Vec::new(),
            metadata: None,
            boundaries: Vec::new(),
        }
    }

    /// How versions are written.
    #[must_use]
    pub const fn writing(mut self, writing: Writing) -> Self {
        self.writing = writing;
        self
    }

    /// Which versions are written, instead of those of the linked components: this side's own, or the
    /// newest that the next side reads as well ([`Side::newest_common`]).
    #[must_use]
    pub fn side(mut self, side: Side) -> Self {
        self.side = Some(side);
        self
    }

    /// The scratch areas of the arena, for the table: low memory, global, then one per NUMA node.
    #[must_use]
    pub fn scratch(mut self, areas: impl IntoIterator<Item = PhysRange>) -> Self {
        self.scratch = areas.into_iter().collect();
        self
    }

    /// Adds kexec metadata: the release that hands over, and how many kexecs came before.
    #[must_use]
    pub fn metadata(mut self, release: impl Into<String>, kexec_count: u32) -> Self {
        self.metadata = Some((release.into(), kexec_count));
        self
    }

    /// The frames at which NUMA nodes begin: see [`kho_radix::Tracker::with_boundaries`].
    #[must_use]
    pub fn boundaries(mut self, pfns: impl IntoIterator<Item = Pfn>) -> Self {
        self.boundaries = pfns.into_iter().collect();
        self
    }
}
