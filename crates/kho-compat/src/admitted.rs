//! The right to restore.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::announced::ReadAs;
use crate::policy::When;
use crate::turns::{self, Turns};
use crate::{
    Announced, Carrier, Component, Decision, Finding, Generation, Manifest, Outcome, Policy,
    Refused, Registry, Side, Token, Verdict,
};

/// A handover that a policy did not reject: the right to restore from it.
///
/// Only [`Registry::admit`] makes one, by a policy that did not reject: with
/// [`SemverRange`](crate::policy::SemverRange), holding it proves that every mandatory string of the
/// manifest is restorable by a linked component. [`Admitted::require`] answers for a component
/// and version that they were among those. It is about versions: it opens any handover that
/// carries the same ones, and no other. A policy of one's own is trusted as code is.
///
/// Of a policy that judges [while restoring](When::WhileRestoring) it proves nothing beforehand: each
/// component is judged by itself in its [`Admitted::require`], and [`Admitted::failed`] is the first
/// that was refused. Nothing is to be finished then.
///
/// ```compile_fail,E0277
/// // There is no other way to make one.
/// fn make<T: Default>() -> T {
///     T::default()
/// }
/// let forged: kho_compat::Admitted = make();
/// ```
#[derive(Clone, Debug)]
pub struct Admitted {
    manifest: Manifest,
    verdict: Verdict,
    // Versions by component. A name has one carrier, which the verdict was about.
    covered: BTreeMap<String, BTreeSet<u32>>,
    // The version of each component that was handed over: what strings and the table say first, then
    // what plain strings stand for.
    handed_over: BTreeMap<String, u32>,
    // What the plain string of each user stands for.
    plain: BTreeMap<Token, Vec<(String, u32)>>,
    // What the policy reads as another version than is announced, or is not announced.
    read_as: ReadAs,
    // What the policy takes and is not restored here, and what is.
    unread: BTreeMap<(String, u32), String>,
    // Of a policy that judges while restoring.
    turns: Option<Arc<Turns>>,
}

/// Restoring was asked for something that can not be restored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct NotAdmitted {
    /// The component asked for.
    pub component: String,
    /// The version asked for.
    pub version: u32,
    /// What could be restored of that component: what the verdict covers, or what is known.
    pub covered: String,
    /// Why.
    pub refusal: Refusal,
}

/// Why something is not admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The verdict does not cover it.
    NotCovered,
    /// No code here reads its layout, whatever a policy says.
    NoReader,
    /// The policy refused it while restoring.
    Late {
        /// The policy.
        policy: &'static str,
        /// The components that had been given out by then, in the order of their turns.
        given: Vec<Token>,
    },
}

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (component, version, covered) = (&self.component, self.version, &self.covered);
        match &self.refusal {
            Refusal::NotCovered => write!(
                f,
                "{component}-v{version} was not admitted: the verdict covers {covered}"
            ),
            Refusal::NoReader => write!(
                f,
                "no code here reads the layout of {component}-v{version}: expected {covered}"
            ),
            Refusal::Late { policy, given } => write!(
                f,
                "{component}-v{version} was refused while restoring, by policy `{policy}`: expected \
                 {covered}; given out by then: {}",
                turns::text(given)
            ),
        }
    }
}

impl NotAdmitted {
    /// `version` of `component`, of which the verdict covers `covered`.
    #[must_use]
    pub fn new(component: impl Into<String>, version: u32, covered: impl Into<String>) -> Self {
        Self {
            component: component.into(),
            version,
            covered: covered.into(),
            refusal: Refusal::NotCovered,
        }
    }

    /// `version` of `component`, whose layout no code here reads, whatever a policy says of it: `expected` is.
    #[must_use]
    pub fn no_reader(
        component: impl Into<String>,
        version: u32,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            refusal: Refusal::NoReader,
            ..Self::new(component, version, expected)
        }
    }

    /// The generation of `component` that has the number `version`: the layout that a policy's word alone
    /// does not make readable.
    ///
    /// # Errors
    ///
    /// Its crate does not know one.
    pub fn unless_known(component: &Component, version: u32) -> Result<&'static Generation, Self> {
        if let Some(known) = component.generation(version) {
            return Ok(known);
        }
        let name = component.name;
        let known = component.generations.iter();
        let tokens = known.map(|known| alloc::format!("{name}-v{}", known.number));
        let expected = tokens.collect::<Vec<_>>().join(" or ");
        Err(Self::no_reader(name, version, expected))
    }
}

/// The component of the subtree `name`, where it has no string of its own, and what it needs: of each the
/// version that is read where nothing announces one.
fn without_string(side: &Side, name: &str) -> Vec<(String, u32)> {
    let own = side.subtree(name).filter(|own| own.carrier.is_none());
    let token = own.and_then(|own| Token::new(&own.name, side.unannounced(&own.name)?).ok());
    let Some(token) = token else {
        return Vec::new();
    };
    let mut found = side.plain(&token);
    found.push((token.name().to_string(), token.version()));
    found
}

impl Admitted {
    pub(crate) fn new(
        registry: &Registry,
        policy: &dyn Policy,
        manifest: Manifest,
        verdict: Verdict,
    ) -> Self {
        let side = registry.side();
        let (mut named, mut listed) = (BTreeMap::new(), BTreeMap::new());
        let (mut covered, mut plain) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::new());
        let (mut announced, mut unannounced) = (BTreeSet::new(), Vec::new());
        let mut read_as = Vec::new();
        let mut unread = BTreeMap::new();
        let is_late = policy.when() == When::WhileRestoring;
        let alone =
            is_late.then(|| turns::judged_alone(policy, &manifest, &verdict.findings, side));
        let findings: &[Finding] = alone.as_deref().unwrap_or(&verdict.findings);
        for finding in findings {
            let entry = &finding.entry;
            if entry.carrier == Carrier::Features && finding.outcome == Outcome::Restorable {
                let name = entry.component().to_string();
                if let Some(version) = policy.reads_as(&name, None, &manifest, side) {
                    covered.entry(name.clone()).or_default().insert(version);
                    read_as.push((name, None, version));
                }
            }
            let is_restorable = finding.outcome == Outcome::Restorable;
            if entry.carrier == Carrier::Subtree && is_restorable {
                unannounced.extend(without_string(side, &entry.found));
                continue;
            }
            let Ok(compat) = entry.compat() else { continue };
            let parts = compat.parts().iter();
            let parts = parts.filter(|_| entry.carrier.holds_composites());
            // What nobody here knows announces nothing.
            let known = core::iter::once(compat.base()).chain(parts);
            for token in known.filter(|token| registry.get(token.name()).is_some()) {
                let name = token.name().to_string();
                announced.insert(name.clone());
                if is_restorable {
                    let announced = Some(token.version());
                    let version = policy.reads_as(&name, announced, &manifest, side);
                    let version = version.unwrap_or(token.version());
                    if version != token.version() {
                        read_as.push((name.clone(), announced, version));
                    }
                    if !registry.restores(&name, version) {
                        // The policy takes what this registry has no reader for.
                        let expected = registry.restorable_text(&name);
                        unread.insert((name, version), expected);
                        continue;
                    }
                    covered.entry(name.clone()).or_default().insert(version);
                    let handed_over = match entry.carrier {
                        Carrier::Table => &mut listed,
                        _ => &mut named,
                    };
                    handed_over.entry(name).or_insert(version);
                }
            }
            if is_restorable && entry.carrier != Carrier::Table {
                let stands_for = || side.plain(compat.base());
                plain
                    .entry(compat.base().clone())
                    .or_insert_with(stands_for);
            }
        }
        let mut handed_over = named;
        for (name, version) in listed {
            handed_over.entry(name).or_insert(version);
        }
        // A plain string stands for what neither strings nor the table name, and so does a subtree whose
        // component has no string. What they name and is not restorable is not covered.
        for (need, version) in plain.values().flatten().chain(&unannounced) {
            if announced.contains(need) {
                continue;
            }
            if registry.restores(need, *version) {
                covered.entry(need.clone()).or_default().insert(*version);
                handed_over.entry(need.clone()).or_insert(*version);
            } else if registry.get(need).is_some() {
                let expected = registry.restorable_text(need);
                unread.insert((need.clone(), *version), expected);
            }
        }
        let passing = covered.values().map(BTreeSet::len).sum();
        let turns = alone.map(|alone| Arc::new(Turns::new(policy.name(), &alone, passing)));
        Self {
            manifest,
            verdict,
            covered,
            handed_over,
            plain,
            read_as: read_as.into(),
            unread,
            turns,
        }
    }

    /// What was announced, as this verdict reads it: what the policy reads as another version than is
    /// announced has that one.
    #[must_use]
    pub fn announced(&self, announced: &Announced) -> Announced {
        announced.read_as(&self.read_as)
    }

    /// The version of `component` that was handed over, as far as what was judged tells: the first
    /// string that names it, the table, or what a plain string stands for.
    #[must_use]
    pub fn version_of(&self, component: &str) -> Option<u32> {
        self.handed_over.get(component).copied()
    }

    /// As [`Admitted::version_of`], for whoever has `announced`: its own string, the table, what its
    /// plain string stands for, or else what the others say.
    #[must_use]
    pub fn version_for(&self, announced: &Announced, component: &str) -> Option<u32> {
        let plain = || {
            let version = self.stands_for(announced, component)?;
            self.covers(component, version).then_some(version)
        };
        let announced = self.announced(announced).version_of(component);
        announced
            .or_else(plain)
            .or_else(|| self.version_of(component))
    }

    /// The generation of `component` that was handed over to whoever has `announced`: of the version of
    /// [`Admitted::version_for`], or where nothing tells, the one that is read
    /// [unannounced](Component::unannounced).
    ///
    /// # Errors
    ///
    /// The verdict does not cover it, or its crate does not know it.
    pub fn found(
        &self,
        announced: &Announced,
        component: &Component,
    ) -> Result<&'static Generation, NotAdmitted> {
        let version = self.version_for(announced, component.name);
        let version = version.unwrap_or_else(|| component.unannounced());
        self.require(component.name, version)?;
        let known = NotAdmitted::unless_known(component, version);
        known.inspect_err(|error| self.fail(error))
    }

    /// As [`Admitted::found`], of a component that the one with the string needs. What nothing announces, and what
    /// no plain string stands for, is its user's own.
    ///
    /// # Errors
    ///
    /// As [`Admitted::found`].
    pub fn found_announced(
        &self,
        announced: &Announced,
        component: &Component,
    ) -> Result<(), NotAdmitted> {
        if self.version_for(announced, component.name).is_some() {
            return self.found(announced, component).map(|_| ());
        }
        // The version that the user's plain string stands for, where that is not restored here.
        let version = self.stands_for(announced, component.name);
        match version {
            Some(version) if self.unread.contains_key(&(component.name.into(), version)) => {
                self.require(component.name, version)
            }
            _ => Ok(()),
        }
    }

    /// As [`Admitted::found`], of `component` and of each of `registry` that it needs, in the order in which
    /// they are read: a user before what it needs.
    ///
    /// # Errors
    ///
    /// As [`Admitted::found`].
    pub fn found_all(
        &self,
        announced: &Announced,
        component: &Component,
        registry: &Registry,
    ) -> Result<(), NotAdmitted> {
        self.found(announced, component)?;
        let side = registry.side();
        let needs = side.in_turn(component.name).into_iter().skip(1);
        let mut needs = needs.filter_map(|need| registry.get(need));
        needs.try_for_each(|need| self.found(announced, need).map(|_| ()))
    }

    /// The manifest that was judged.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The verdict, with its findings about what is left alone.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Checks that `component` was admitted with `version`. Every restore function calls this
    /// with what it found in memory, so that the verdict on one handover does not open another.
    ///
    /// # Errors
    ///
    /// It was not.
    pub fn require(&self, component: &str, version: u32) -> Result<(), NotAdmitted> {
        if self.covers(component, version) {
            if let Some(turns) = &self.turns {
                turns.pass(component, version);
            }
            return Ok(());
        }
        if let Some(expected) = self.unread.get(&(component.to_string(), version)) {
            let error = NotAdmitted::no_reader(component, version, expected);
            self.fail(&error);
            return Err(error);
        }
        if let Some(turns) = &self.turns {
            return Err(turns.refuse(component, version));
        }
        let first = self.covered.get(component).and_then(BTreeSet::first);
        let text = first.map_or_else(
            || "no version of it".to_string(),
            |version| alloc::format!("{component}-v{version}"),
        );
        Err(NotAdmitted::new(component, version, text))
    }

    /// As [`Admitted::require`], of the component whose string `announced` begins with, in the version as
    /// which it is read. A string outside the grammar is never admitted.
    ///
    /// # Errors
    ///
    /// It was not.
    pub fn require_base(&self, announced: &Announced, found: &str) -> Result<(), NotAdmitted> {
        let Some(base) = announced.base() else {
            return Err(NotAdmitted::new(found, 0, "no version of it"));
        };
        let version = self.version_for(announced, base.name());
        self.require(base.name(), version.unwrap_or(base.version()))
    }

    /// The version of `component` that the plain string of whoever has `announced` stands for.
    fn stands_for(&self, announced: &Announced, component: &str) -> Option<u32> {
        let mut needs = self.plain.get(announced.base()?)?.iter();
        needs.find_map(|(need, version)| (need == component).then_some(*version))
    }

    fn covers(&self, component: &str, version: u32) -> bool {
        let covered = self.covered.get(component);
        covered.is_some_and(|covered| covered.contains(&version))
    }

    fn fail(&self, error: &NotAdmitted) {
        if let Some(turns) = &self.turns {
            turns.fail(error);
        }
    }

    /// Whether its policy judges while restoring.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.turns.is_some()
    }

    /// What its policy refuses while restoring, where it refuses something: the verdict that all components
    /// come to together.
    #[must_use]
    pub fn refused(&self) -> Option<Refused> {
        let verdict = &self.verdict;
        (verdict.decision == Decision::Reject).then(|| Refused(verdict.clone()))
    }

    /// What was refused first while restoring. From then on nothing of the handover is to be finished; it can
    /// be handed back. `None` of a policy that judged before.
    #[must_use]
    pub fn failed(&self) -> Option<&NotAdmitted> {
        self.turns.as_ref()?.failed()
    }

    /// The components that have been given out, in the order of their turns, where the policy judges while
    /// restoring.
    #[must_use]
    pub fn given(&self) -> Vec<Token> {
        self.turns
            .as_ref()
            .map_or_else(Vec::new, |turns| turns.passed())
    }
}
