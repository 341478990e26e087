//! A component of the handover's format.

use semver::Version;

use crate::layout::{Constant, Layout};
use crate::{Carrier, Features};

/// Whether a handover can do without a component.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Presence {
    /// What it carries is lost for good if it can not be restored: a mismatch rejects.
    Mandatory,
    /// The rest is worth restoring without it: a mismatch is reported.
    Optional,
}

/// A part of the handover's format with a version of its own.
///
/// A constant in the crate that implements it, registered with [`submit!`](crate::submit):
///
/// ```
/// use kho_compat::Component;
///
/// pub const COMPONENT: Component = Component::new("pci", 1, "^1")
///     .summary("PCI devices kept over a live update")
///     .needs(&["block"])
///     .optional();
/// kho_compat::submit! { COMPONENT }
/// # const BLOCK: Component = Component::new("block", 1, "^1");
/// # kho_compat::submit! { BLOCK }
/// # assert!(kho_compat::Registry::linked().unwrap().get("pci").is_some());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Component {
    /// The name in compat strings: `block`.
    pub name: &'static str,
    /// The version written. Its major is the number in `block-v1`; its minor counts additions
    /// that an older reader may ignore.
    pub version: Version,
    /// What this crate can read, as a semver requirement over the versions handed over. A
    /// handover names majors only, so `block-v1` is asked as 1.0.0.
    pub restores: &'static str,
    /// Versions that this crate can write besides its own: older ones, for an older reader.
    pub writes: &'static [u32],
    /// Its feature masks: what it can restore, and what whoever restores must support.
    pub features: Features,
    /// Names of the components that this one's format uses. A composite lists them.
    pub needs: &'static [&'static str],
    /// Whether a handover can do without it.
    pub presence: Presence,
    /// What it is, in a line.
    pub summary: &'static str,
    /// The crate that carries it.
    pub crate_name: &'static str,
    /// What carries its string as a base token; `None` for a component that only composites name.
    pub carrier: Option<Carrier>,
    /// The name of its subtree of the root FDT.
    pub subtree: Option<&'static str>,
    /// Bytes that its compat string may take, NUL included, where its field is of fixed size.
    pub field: Option<usize>,
    /// The structs that lie in memory.
    pub layouts: &'static [fn() -> Layout],
    /// The format's constants that belong to no single struct.
    pub constants: &'static [fn() -> Constant],
}

impl Component {
    /// A mandatory component that needs nothing. `major` is the number in its compat string,
    /// `restores` the semver requirement of what it can read.
    #[must_use]
    pub const fn new(name: &'static str, major: u32, restores: &'static str) -> Self {
        Self {
            name,
            version: Version::new(major as u64, 0, 0),
            restores,
            writes: &[],
            features: Features::BASE,
            needs: &[],
            presence: Presence::Mandatory,
            summary: "",
            crate_name: "",
            carrier: None,
            subtree: None,
            field: None,
            layouts: &[],
            constants: &[],
        }
    }

    /// Sets the components that this one's format uses.
    #[must_use]
    pub const fn needs(mut self, needs: &'static [&'static str]) -> Self {
        self.needs = needs;
        self
    }

    /// Sets the versions that it can write besides its own.
    #[must_use]
    pub const fn writes(mut self, versions: &'static [u32]) -> Self {
        self.writes = versions;
        self
    }

    /// Sets its feature masks.
    #[must_use]
    pub const fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// Says that a handover can do without it.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.presence = Presence::Optional;
        self
    }

    /// Says what it is, in a line.
    #[must_use]
    pub const fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Names the crate that carries it: `env!("CARGO_PKG_NAME")`.
    #[must_use]
    pub const fn of_crate(mut self, crate_name: &'static str) -> Self {
        self.crate_name = crate_name;
        self
    }

    /// Says what carries its string as a base token.
    #[must_use]
    pub const fn carried_in(mut self, carrier: Carrier) -> Self {
        self.carrier = Some(carrier);
        self
    }

    /// Names its subtree of the root FDT.
    #[must_use]
    pub const fn subtree(mut self, subtree: &'static str) -> Self {
        self.subtree = Some(subtree);
        self
    }

    /// Limits its compat string to a field of `bytes`, NUL included.
    #[must_use]
    pub const fn field(mut self, bytes: usize) -> Self {
        self.field = Some(bytes);
        self
    }

    /// Sets the structs that lie in memory.
    #[must_use]
    pub const fn layouts(mut self, layouts: &'static [fn() -> Layout]) -> Self {
        self.layouts = layouts;
        self
    }

    /// Sets the format's constants that belong to no single struct.
    #[must_use]
    pub const fn constants(mut self, constants: &'static [fn() -> Constant]) -> Self {
        self.constants = constants;
        self
    }

    /// The number in the compat string.
    #[must_use]
    pub fn major(&self) -> u32 {
        // Component::new is the only constructor, and takes a u32.
        u32::try_from(self.version.major).unwrap_or(u32::MAX)
    }
}

inventory::collect!(Component);

/// Describes a constant of the format by its own name: `constant!(MAX_BLOCKS)`.
///
/// ```
/// use kho_compat::{Component, constant};
///
/// /// Blocks in a set.
/// pub const MAX_BLOCKS: u64 = 10_000;
/// const BLOCK: Component =
///     Component::new("block", 1, "^1").constants(&[constant!(MAX_BLOCKS)]);
/// assert_eq!((BLOCK.constants[0])().value, "10000 (0x2710)");
/// ```
#[macro_export]
macro_rules! constant {
    ($name:ident) => {
        || $crate::Constant::new(stringify!($name), &$name)
    };
}
