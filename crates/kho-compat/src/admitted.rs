//! The right to restore.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{
    Announced, Carrier, Component, Generation, Manifest, Outcome, Registry, Side, Token, Verdict,
};

/// A handover that a policy did not reject: the right to restore from it.
///
/// Only [`Registry::admit`] makes one, by a policy that did not reject: with
/// [`SemverRange`](crate::policy::SemverRange), holding it proves that every mandatory string of the
/// manifest is restorable by a linked component. [`Admitted::require`] answers for a component
/// and version that they were among those. It is about versions: it opens any handover that
/// carries the same ones, and no other. A policy of one's own is trusted as code is.
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
}

/// Restoring was asked for something that the verdict does not cover.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{component}-v{version} was not admitted: the verdict covers {covered}")]
pub struct NotAdmitted {
    /// The component asked for.
    pub component: String,
    /// The version asked for.
    pub version: u32,
    /// What the verdict covers of that component.
    pub covered: String,
}

impl NotAdmitted {
    /// The generation of `component` that has the number `version`.
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
        Err(Self {
            component: name.to_string(),
            version,
            covered: tokens.collect::<Vec<_>>().join(" and "),
        })
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
    pub(crate) fn new(registry: &Registry, manifest: Manifest, verdict: Verdict) -> Self {
        let (mut named, mut listed) = (BTreeMap::new(), BTreeMap::new());
        let (mut covered, mut plain) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::new());
        let (mut announced, mut unannounced) = (BTreeSet::new(), Vec::new());
        for finding in &verdict.findings {
            let entry = &finding.entry;
            let is_restorable = finding.outcome == Outcome::Restorable;
            if entry.carrier == Carrier::Subtree && is_restorable {
                unannounced.extend(without_string(registry.side(), &entry.found));
                continue;
            }
            let Ok(compat) = entry.compat() else { continue };
            let parts = compat.parts().iter();
            let parts = parts.filter(|_| entry.carrier.holds_composites());
            // What nobody here knows announces nothing.
            let known = core::iter::once(compat.base()).chain(parts);
            for token in known.filter(|token| registry.get(token.name()).is_some()) {
                let (name, version) = (token.name().to_string(), token.version());
                announced.insert(name.clone());
                if is_restorable {
                    covered.entry(name.clone()).or_default().insert(version);
                    let handed_over = match entry.carrier {
                        Carrier::Table => &mut listed,
                        _ => &mut named,
                    };
                    handed_over.entry(name).or_insert(version);
                }
            }
            if is_restorable && entry.carrier != Carrier::Table {
                let stands_for = || registry.side().plain(compat.base());
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
            if !announced.contains(need) && registry.restores(need, *version) {
                covered.entry(need.clone()).or_default().insert(*version);
                handed_over.entry(need.clone()).or_insert(*version);
            }
        }
        Self {
            manifest,
            verdict,
            covered,
            handed_over,
            plain,
        }
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
            let stands_for = self.plain.get(announced.base()?)?;
            let found = stands_for.iter().find(|(need, _)| need == component)?;
            let is_covered = self.require(component, found.1).is_ok();
            is_covered.then_some(found.1)
        };
        let announced = announced.version_of(component);
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
        NotAdmitted::unless_known(component, version)
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
        let covered = self.covered.get(component);
        if covered.is_some_and(|covered| covered.contains(&version)) {
            return Ok(());
        }
        let first = covered.and_then(BTreeSet::first);
        let text = first.map_or_else(
            || "no version of it".to_string(),
            |version| alloc::format!("{component}-v{version}"),
        );
        Err(NotAdmitted {
            component: component.to_string(),
            version,
            covered: text,
        })
    }
}
