//! A component of the handover's format.

use semver::Version;

use crate::{
    Carrier, Features, Generation, Manifest, Owned, Reason, Receiver, Role, Token, Versions,
};

/// Whether a handover can do without a component.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Presence {
    /// What it carries is lost for good if it can not be restored: a mismatch rejects.
    Mandatory,
    /// The rest is worth restoring without it: a mismatch is reported.
    Optional,
}

/// A part of the handover's format with versions of its own.
///
/// A constant in the crate that implements it, registered with [`submit!`](crate::submit). What it
/// restores and writes follows from its [`Generation`]s:
///
/// ```
/// use kho_compat::{Component, Generation};
///
/// const V1: Generation = Generation::new(1).since("pci 0.1").read_only();
/// const V2: Generation = Generation::new(2).since("pci 0.2").needs(&[("block", 1)]);
/// pub const COMPONENT: Component = Component::new("pci", &[V1, V2])
///     .summary("PCI devices kept over a live update")
///     .optional();
/// kho_compat::submit! { COMPONENT }
/// # const BLOCK: Component = Component::new("block", &[Generation::new(1)]);
/// # kho_compat::submit! { BLOCK }
/// let registry = kho_compat::Registry::linked()?;
/// assert!(registry.restores("pci", 1) && registry.restores("pci", 2));
/// assert_eq!(registry.get("pci").map(Component::major), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Component {
    /// The name in compat strings: `block`.
    pub name: &'static str,
    /// Its formats, in order of their numbers.
    pub generations: &'static [Generation],
    /// Numbers that no release wrote: versions of development trees.
    pub unreleased: &'static [u32],
    /// Its feature masks: what it can restore, and what whoever restores must support.
    pub features: Features,
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
    /// Whether it is an interface between programs, of which no handover has anything.
    pub interface: bool,
    /// What it has to say itself of a version that was handed over.
    pub check: Option<Check>,
}

/// A component's own check: whether it restores what wrote the token, in a handover that announces all that.
/// [`ComponentCallback`](crate::policy::ComponentCallback) asks it.
pub type Check = fn(&Token, &Manifest) -> Result<(), Reason>;

/// What a component without generations is taken for, until a registry refuses it.
static NONE: Generation = Generation::new(0);

impl Component {
    /// A mandatory component of these generations, in order of their numbers. The newest that is
    /// written is what it writes by default.
    #[must_use]
    pub const fn new(name: &'static str, generations: &'static [Generation]) -> Self {
        Self {
            name,
            generations,
            unreleased: &[],
            features: Features::BASE,
            presence: Presence::Mandatory,
            summary: "",
            crate_name: "",
            carrier: None,
            subtree: None,
            field: None,
            interface: false,
            check: None,
        }
    }

    /// Sets its generations anew: a component of another side, for instance of an older release.
    #[must_use]
    pub const fn generations(mut self, generations: &'static [Generation]) -> Self {
        self.generations = generations;
        self
    }

    /// States numbers that no release wrote, and that no generation may have.
    #[must_use]
    pub const fn unreleased(mut self, numbers: &'static [u32]) -> Self {
        self.unreleased = numbers;
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

    /// Says that it owns a subtree of the root FDT, in which its string stands.
    #[must_use]
    pub const fn owned(mut self, owned: Owned) -> Self {
        self.carrier = Some(Carrier::Owned(owned));
        self.subtree = owned.subtree();
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

    /// Says that it is an interface between programs: a file, a message, the environment. It has versions and
    /// snapshots as what lies in memory has. A [`Registry`](crate::Registry) leaves it out, and with that so do
    /// handovers, manifests and verdicts.
    #[must_use]
    pub const fn interface(mut self) -> Self {
        self.interface = true;
        self
    }

    /// Brings a check of its own, in place of the versions that it [restores](Component::restores).
    ///
    /// ```
    /// use kho_compat::{Component, Generation, Manifest, Reason, Token};
    ///
    /// /// Version 3 is read if its writer had blocks of version 2.
    /// fn check(token: &Token, manifest: &Manifest) -> Result<(), Reason> {
    ///     match (token.version(), manifest.listed("block")) {
    ///         (2, _) | (3, Some(2)) => Ok(()),
    ///         _ => Err(Reason::Other("its blocks are older than itself".into())),
    ///     }
    /// }
    ///
    /// const PCI: Component = Component::new("pci", &[Generation::new(2)]).checked_by(check);
    /// ```
    #[must_use]
    pub const fn checked_by(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// The generation `number`.
    #[must_use]
    pub fn generation(&self, number: u32) -> Option<&'static Generation> {
        self.generations.iter().find(|one| one.number == number)
    }

    /// The generations that the string `announced` announces: more than one where evidence has to decide.
    pub fn announced_by<'a>(
        &self,
        announced: &'a str,
    ) -> impl Iterator<Item = &'static Generation> + 'a {
        let name = self.name;
        let all = self.generations.iter();
        all.filter(move |one| one.announced(name) == announced)
    }

    /// The generation that it writes by default: the newest of those that it writes.
    #[must_use]
    pub fn written(&self) -> &'static Generation {
        let mut newest_first = self.generations.iter().rev();
        let written = newest_first.find(|one| one.role == Role::Written);
        written.unwrap_or(&NONE)
    }

    /// The number in the compat string that it writes by default.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.written().number
    }

    /// The version that it writes by default.
    #[must_use]
    pub fn version(&self) -> Version {
        let written = self.written();
        Version::new(u64::from(written.number), u64::from(written.minor), 0)
    }

    /// The versions that it restores: its generations, without experiments.
    #[must_use]
    pub fn restores(&self) -> Versions {
        let known = self.generations.iter();
        let known = known.filter(|one| one.role != Role::Experimental);
        known.map(|one| one.number).collect()
    }

    /// The version that is read where nothing announces one: the oldest that it restores.
    #[must_use]
    pub fn unannounced(&self) -> u32 {
        // In order of their numbers.
        let mut known = self.generations.iter();
        let oldest = known.find(|one| one.role != Role::Experimental);
        oldest.map_or(0, |one| one.number)
    }

    /// Who takes it over: programs alone, where no Linux has had any of its generations.
    #[must_use]
    pub fn receiver(&self) -> Receiver {
        let other = |one: &Generation| !one.since.is_empty() && !one.since.starts_with("Linux ");
        match self.generations.iter().all(other) {
            true => Receiver::Program,
            false => Receiver::Kernel,
        }
    }

    /// The versions that its crate can write, experiments among them, in order.
    pub fn writable(&self) -> impl Iterator<Item = u32> {
        let all = self.generations.iter();
        let written = all.filter(|one| one.role != Role::ReadOnly);
        written.map(|one| one.number)
    }
}

inventory::collect!(Component);

/// Describes a constant of the format by its own name: `constant!(MAX_BLOCKS)`; with another value in a
/// [`Variant`](crate::Variant): `constant!(MAX_BLOCKS = 5_000_u64)`.
///
/// ```
/// use kho_compat::{Component, Generation, constant};
///
/// /// Blocks in a set.
/// pub const MAX_BLOCKS: u64 = 10_000;
/// const BLOCK: Component =
///     Component::new("block", &[Generation::new(1).constants(&[constant!(MAX_BLOCKS)])]);
/// assert_eq!((BLOCK.written().constants[0])().value, "10000 (0x2710)");
/// ```
#[macro_export]
macro_rules! constant {
    ($name:ident) => {
        || $crate::Constant::new(stringify!($name), &$name)
    };
    ($name:ident = $value:expr) => {
        || $crate::Constant::new(stringify!($name), &$value)
    };
}
