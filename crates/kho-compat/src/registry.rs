//! The components that are linked into this program.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::policy::When;
use crate::{
    Ability, Admitted, Carrier, Compat, Component, Decision, Generation, GrammarError, Manifest,
    Outcome, Policy, Refused, Role, Side, Strings, Verdict, View, Writing,
};
use once_cell::race::OnceBox;

/// The components that are linked into this program, checked once: with their layouts, which only
/// code has, and as a [`Side`], which is plain data.
#[derive(Debug)]
pub struct Registry {
    components: BTreeMap<&'static str, &'static Component>,
    // Experiments that are on, by component.
    experiments: BTreeMap<&'static str, u32>,
    side: Side,
}

/// A set of components that is no registry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No component is registered.
    #[error(
        "no component is registered: on a target that runs no constructors, build the registry from \
         named components with `Registry::new`"
    )]
    Empty,
    /// Two linked components have one name.
    #[error("component `{0}` is registered twice: by crate `{1}` and by crate `{2}`")]
    Duplicate(&'static str, &'static str, &'static str),
    /// Two linked components own one subtree of the root FDT.
    #[error("subtree `{0}` has two owners: component `{1}` and component `{2}`")]
    Owners(&'static str, &'static str, &'static str),
    /// Two components of a side have one name.
    #[error("component `{0}` is listed twice")]
    Twice(String),
    /// A component needs one that is not there.
    #[error("component `{0}` needs `{1}`, which no linked crate registers")]
    UnknownNeed(String, String),
    /// A component needs itself in the end.
    #[error("component `{0}` needs itself: {1}")]
    CyclicNeed(String, String),
    /// A name that no compat string could hold.
    #[error("component `{0}` has a name that is not in the grammar: {1}")]
    Name(String, GrammarError),
    /// A component without a generation that is written, or with generations that are not in order.
    #[error(
        "invalid generations of component `{0}`: expected at least one that is written, in order of their numbers"
    )]
    Generations(String),
    /// A component that could not read what it writes.
    #[error("component `{0}` writes version {1} but restores {2} only")]
    NotOwnVersion(String, String, String),
    /// A component that says it can write, besides its own, a version that is not older.
    #[error("component `{0}` writes version {1} besides its own {2}, which is to be older")]
    WritesNewer(String, u32, u32),
    /// A component was asked to write a version that it can not.
    #[error("{0} can not be written here, where version {1} is")]
    NotWritable(String, u32),
    /// A compat string that is longer than its field.
    #[error("the string {1:?} of component `{0}` takes {2} bytes, its field has {3}")]
    TooLong(&'static str, String, usize, usize),
    /// A component was asked for that is not registered.
    #[error("no linked crate registers a component `{0}`")]
    Unknown(String),
}

static LINKED: OnceBox<Result<Registry, RegistryError>> = OnceBox::new();

impl Registry {
    /// The components that are linked into this program, collected once.
    ///
    /// A crate that nothing refers to is not linked, whatever `Cargo.toml` says. Refer to it
    /// (`use kho_memfd as _;`) and name the components you depend on in a test. Where no start-up
    /// code runs constructors (a bare-metal program) nothing is collected: use [`Registry::new`].
    ///
    /// # Errors
    ///
    /// The linked components contradict each other, or there are none; the same error each time.
    pub fn linked() -> Result<&'static Self, &'static RegistryError> {
        LINKED
            .get_or_init(|| Box::new(Self::new(inventory::iter::<Component>)))
            .as_ref()
    }

    /// The registry of `components`, for tests and for programs that do not use link-time
    /// collection. Interfaces between programs are left out ([`Component::interface`]).
    ///
    /// # Errors
    ///
    /// No component, a duplicate name, an unknown or cyclic need, a string that does not fit its field, a
    /// component that can not read what it writes.
    pub fn new(
        components: impl IntoIterator<Item = &'static Component>,
    ) -> Result<Self, RegistryError> {
        let mut all: BTreeMap<&'static str, &'static Component> = BTreeMap::new();
        for component in components.into_iter().filter(|one| !one.interface) {
            let generations = component.generations;
            let rise = |pair: &[Generation]| matches!(pair, [a, b] if a.number < b.number);
            if !generations.windows(2).all(rise)
                || !generations.iter().any(|one| one.role == Role::Written)
            {
                return Err(RegistryError::Generations(component.name.to_string()));
            }
            for string in generations.iter().filter_map(|one| one.announced_by) {
                let parsed = Compat::parse(string);
                parsed.map_err(|error| RegistryError::Name(component.name.to_string(), error))?;
            }
            if let Some(other) = all.insert(component.name, component) {
                let (one, two) = (other.crate_name, component.crate_name);
                return Err(RegistryError::Duplicate(component.name, one, two));
            }
        }
        if all.is_empty() {
            return Err(RegistryError::Empty);
        }
        Self::of(all, BTreeMap::new())
    }

    /// The same components, where `number` of the component `name` is restored and written although it is
    /// an experiment. Experiments of other components that are on stay on.
    ///
    /// ```
    /// use kho_compat::{Component, Generation, Registry};
    ///
    /// static PCI: Component =
    ///     Component::new("pci", &[Generation::new(1), Generation::new(2).experimental()]);
    ///
    /// let registry = Registry::new([&PCI])?;
    /// assert!(!registry.restores("pci", 2));
    /// let trying = registry.with_experiment("pci", 2)?;
    /// assert!(trying.restores("pci", 1) && trying.restores("pci", 2));
    /// assert!(registry.with_experiment("pci", 3).is_err());
    /// # Ok::<(), kho_compat::RegistryError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// No component of that name is linked, or it has no such experiment.
    pub fn with_experiment(&self, name: &str, number: u32) -> Result<Self, RegistryError> {
        let unknown = || RegistryError::Unknown(name.to_string());
        let component = self.get(name).ok_or_else(unknown)?;
        let experiment = component.generation(number);
        if experiment.is_none_or(|one| one.role != Role::Experimental) {
            let token = alloc::format!("{name}-v{number}");
            return Err(RegistryError::NotWritable(token, component.major()));
        }
        let mut experiments = self.experiments.clone();
        experiments.insert(component.name, number);
        let experimenting = Self::of(self.components.clone(), experiments)?;
        Ok(match self.side.dialect() {
            Some(dialect) => experimenting.in_dialect(dialect),
            None => experimenting,
        })
    }

    /// The same components, whose side writes `dialect`.
    #[must_use]
    pub fn in_dialect(&self, dialect: Writing) -> Self {
        Self {
            components: self.components.clone(),
            experiments: self.experiments.clone(),
            side: self.side.clone().in_dialect(dialect),
        }
    }

    fn of(
        all: BTreeMap<&'static str, &'static Component>,
        experiments: BTreeMap<&'static str, u32>,
    ) -> Result<Self, RegistryError> {
        let mut owners = BTreeMap::new();
        for component in all.values() {
            if let Some(subtree) = component.subtree
                && let Some(other) = owners.insert(subtree, component.name)
            {
                return Err(RegistryError::Owners(subtree, other, component.name));
            }
        }
        let abilities = all
            .values()
            .map(|component| Ability::of(component, experiments.get(component.name).copied()));
        let side = Side::new(abilities.collect::<Result<Vec<_>, _>>()?)?;
        for component in all.values() {
            let Some(field) = component.field else {
                continue;
            };
            for strings in [Strings::Plain, Strings::Transitive] {
                let compat = side.compat(component.name, strings)?;
                if compat.field_len() > field {
                    let len = compat.field_len();
                    let text = compat.to_string();
                    return Err(RegistryError::TooLong(component.name, text, len, field));
                }
            }
        }
        Ok(Self {
            components: all,
            experiments,
            side,
        })
    }

    /// The components as plain data: one side of a handover.
    #[must_use]
    pub const fn side(&self) -> &Side {
        &self.side
    }

    /// The component `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'static Component> {
        self.components.get(name).copied()
    }

    /// All components, in alphabetical order.
    pub fn components(&self) -> impl Iterator<Item = &'static Component> {
        self.components.values().copied()
    }

    /// The components whose strings `carrier` carries as base tokens.
    pub fn carried_in(&self, carrier: Carrier) -> impl Iterator<Item = &'static Component> {
        self.components()
            .filter(move |component| component.carrier == Some(carrier))
    }

    /// The component that owns the subtree `name` of the root FDT.
    #[must_use]
    pub fn subtree(&self, name: &str) -> Option<&'static Component> {
        self.components()
            .find(|component| component.subtree == Some(name))
    }

    /// All that `name` needs, directly or not, in alphabetical order.
    #[must_use]
    pub fn needs(&self, name: &str) -> &[String] {
        self.side.needs(name)
    }

    /// Whether the component `name` can restore what `name-vmajor` wrote. False for a component
    /// that is not linked.
    #[must_use]
    pub fn restores(&self, name: &str, major: u32) -> bool {
        self.side.restores(name, major)
    }

    /// The versions that the component `name` restores, as tokens: `block-v1 or block-v2`.
    #[must_use]
    pub fn restorable_text(&self, name: &str) -> String {
        self.side.restorable_text(name)
    }

    /// The compat string that the component `name` writes.
    ///
    /// # Errors
    ///
    /// `name` is not linked.
    pub fn compat(&self, name: &str, strings: Strings) -> Result<Compat, RegistryError> {
        self.side.compat(name, strings)
    }

    /// Judges `manifest` by `policy`. The only way to an [`Admitted`], and so to restoring.
    ///
    /// A policy that judges [while restoring](When::WhileRestoring) refuses nothing here: each component is
    /// judged in its turn ([`Admitted::require`]).
    ///
    /// # Errors
    ///
    /// The policy rejects the handover before anything is restored.
    pub fn admit(&self, policy: &dyn Policy, manifest: Manifest) -> Result<Admitted, Refused> {
        let _span = tracing::info_span!("judge", policy = policy.name()).entered();
        let verdict = policy.judge(&manifest, &self.side);
        tell(&verdict);
        if verdict.decision == Decision::Reject && policy.when() == When::BeforeRestoring {
            return Err(Refused(verdict));
        }
        Ok(Admitted::new(self, policy, manifest, verdict))
    }
}

/// Tells what was found, as a kernel does of a string that it does not know.
fn tell(verdict: &Verdict) {
    for finding in &verdict.findings {
        let (found, place) = (&finding.entry, &finding.entry.place);
        match finding.outcome {
            Outcome::Rejected | Outcome::Lost => {
                let reason = finding.reason_text(View::Here);
                tracing::warn!(%found, %place, reason, "{}", finding.outcome.id());
            }
            Outcome::LeftAlone => tracing::debug!(%found, %place, "left alone"),
            Outcome::Restorable => tracing::trace!(%found, %place, "restorable"),
        }
    }
    let (decision, findings) = (verdict.decision.id(), verdict.findings.len());
    tracing::info!(decision, findings, "judged");
}

#[cfg(test)]
mod tests {
    use super::*;

    static BLOCK: Component = Component::new("block", &[Generation::new(1)]);
    static RADIX: Component = Component::new("radix", &[Generation::new(1)]);
    static LUO: Component = Component::new("luo", &[Generation::new(5).needs(&[("block", 1)])]);
    static KHO: Component = Component::new(
        "kho",
        &[Generation::new(4).needs(&[("radix", 1), ("luo", 5)])],
    );

    fn composite(registry: &Registry, name: &str) -> String {
        registry
            .compat(name, Strings::Transitive)
            .unwrap()
            .to_string()
    }

    #[test]
    fn needs_are_transitive_sorted_and_listed_once() {
        static BASE: Component = Component::new(
            "base",
            &[Generation::new(2).needs(&[("luo", 5), ("block", 1), ("kho", 4)])],
        );
        let registry = Registry::new([&BASE, &KHO, &LUO, &RADIX, &BLOCK]).unwrap();
        assert_eq!(
            composite(&registry, "base"),
            "base-v2;block-v1;kho-v4;luo-v5;radix-v1"
        );
        assert_eq!(
            composite(&registry, "kho"),
            "kho-v4;block-v1;luo-v5;radix-v1"
        );
        assert_eq!(composite(&registry, "block"), "block-v1");
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        static CYCLE_A: Component = Component::new("a", &[Generation::new(1).needs(&[("b", 1)])]);
        static CYCLE_B: Component = Component::new("b", &[Generation::new(1).needs(&[("a", 1)])]);
        static LONG: Component =
            Component::new("luo", &[Generation::new(5).needs(&[("block", 1)])]).field(8);
        static BAD_NAME: Component = Component::new("Luo", &[Generation::new(5)]);
        static NOTHING: Component = Component::new("luo", &[]);
        static READ_ONLY: Component =
            Component::new("luo", &[Generation::new(4), Generation::new(5).read_only()]);
        static ONLY_READ: Component = Component::new("luo", &[Generation::new(4).read_only()]);
        static DISORDER: Component =
            Component::new("luo", &[Generation::new(5), Generation::new(4)]);
        static LUO_SUBTREE: Component = Component::new("luo", &[Generation::new(5)]).subtree("LUO");
        static OTHER_SUBTREE: Component =
            Component::new("other", &[Generation::new(1)]).subtree("LUO");
        let check = |components: &[&'static Component], message: &str| {
            let error = Registry::new(components.iter().copied())
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
        };
        check(&[], "no component is registered");
        check(
            &[&LUO],
            "`luo` needs `block`, which no linked crate registers",
        );
        check(&[&BLOCK, &BLOCK], "`block` is registered twice");
        check(
            &[&LUO_SUBTREE, &OTHER_SUBTREE],
            "subtree `LUO` has two owners: component `luo` and component `other`",
        );
        check(&[&CYCLE_A, &CYCLE_B], "`a` needs itself: a needs b needs a");
        check(&[&LONG, &BLOCK], "takes 16 bytes, its field has 8");
        check(&[&BAD_NAME], "not in the grammar: byte 0");
        for bad in [&NOTHING, &ONLY_READ, &DISORDER] {
            check(&[bad], "invalid generations of component `luo`");
        }
        assert!(Registry::new([&READ_ONLY]).is_ok());
    }

    #[test]
    fn what_is_listed_and_not_needed_need_not_be_linked() {
        static ROOT: Component = Component::new(
            "kho",
            &[Generation::new(4)
                .needs(&[("radix", 1)])
                .lists(&[("block", 2)])],
        );
        let without = Registry::new([&ROOT, &RADIX]).unwrap();
        assert_eq!(composite(&without, "kho"), "kho-v4;block-v2;radix-v1");
        assert_eq!(without.side().unlinked("block"), Some(2));
        // What is linked says its own version.
        let with = Registry::new([&ROOT, &RADIX, &BLOCK]).unwrap();
        assert_eq!(composite(&with, "kho"), "kho-v4;block-v1;radix-v1");
        assert_eq!(with.side().unlinked("block"), None);
        assert_eq!(with.side().stands_for("block"), Some(2));
    }

    #[test]
    fn a_program_without_components_has_no_linked_registry() {
        assert_eq!(Registry::linked().unwrap_err(), &RegistryError::Empty);
    }

    #[test]
    fn experiments_stay_on_beside_each_other_and_in_a_dialect() {
        static A: Component = Component::new(
            "a",
            &[Generation::new(1), Generation::new(2).experimental()],
        );
        static B: Component = Component::new(
            "b",
            &[Generation::new(5), Generation::new(6).experimental()],
        );
        let registry = Registry::new([&A, &B]).unwrap();
        let one = registry.with_experiment("a", 2).unwrap();
        let both = one.in_dialect(Writing::TABLE);
        let both = both.with_experiment("b", 6).unwrap();
        assert!(both.restores("a", 2) && both.restores("b", 6));
        assert_eq!(both.side().dialect(), Some(Writing::TABLE));
        assert!(one.restores("a", 2) && !one.restores("b", 6) && !registry.restores("a", 2));
    }

    #[test]
    fn a_range_of_versions_can_be_restored() {
        static BLOCK2: Component = Component::new(
            "block",
            &[Generation::new(1).read_only(), Generation::new(2)],
        );
        let registry = Registry::new([&BLOCK2]).unwrap();
        assert!(registry.restores("block", 1) && registry.restores("block", 2));
        assert!(!registry.restores("block", 0) && !registry.restores("block", 3));
        assert!(!registry.restores("other", 1));
        assert_eq!(registry.restorable_text("block"), "block-v1 or block-v2");
    }
}
