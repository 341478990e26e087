//! Feature masks: what a component can restore, asks for and uses, a bit each.

use core::fmt;

/// Feature masks of a component, 64 bits each, as the draft of June 2026 has them. They are additive:
/// a bit never changes what the others mean, and a component that changes incompatibly gets a new bit
/// that its reader must support.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Features {
    /// What it can restore.
    pub supported: u64,
    /// What whoever restores must support.
    pub required: u64,
    /// What is in use.
    pub active: u64,
}

impl Features {
    /// The one feature that every component has: its layout as it was first.
    pub const BASE: Self = Self::of(1, 1);

    /// A component that supports the features `supported`, uses all of them, and asks its reader
    /// for `required`.
    #[must_use]
    pub const fn of(supported: u64, required: u64) -> Self {
        Self {
            supported,
            required,
            active: supported,
        }
    }

    /// Features that a reader which supports `supported` would have to know and does not.
    #[must_use]
    pub const fn missing(self, supported: u64) -> u64 {
        self.required & !supported
    }

    /// Features in use that such a reader does not know and may ignore, with what they carry.
    #[must_use]
    pub const fn ignored(self, supported: u64) -> u64 {
        self.active & !self.required & !supported
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::BASE
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "supported {:#x}, required {:#x}, active {:#x}",
            self.supported, self.required, self.active
        )
    }
}
