//! The right to restore.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::announced::named;
use crate::{Carrier, Entry, Manifest, Outcome, Registry, Verdict};

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
    // Components and versions. A name has one carrier, which the verdict was about.
    covered: BTreeSet<(String, u32)>,
    // Of them, what no string and no table says: what plain strings stand for.
    plain: BTreeMap<String, u32>,
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
    /// Checks that `version` of `component` is among those that its crate reads.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn unless_known(component: &str, version: u32, known: &[u32]) -> Result<u32, Self> {
        if known.contains(&version) {
            return Ok(version);
        }
        let tokens = known
            .iter()
            .map(|known| alloc::format!("{component}-v{known}"));
        Err(Self {
            component: component.to_string(),
            version,
            covered: tokens.collect::<Vec<_>>().join(" and "),
        })
    }
}

impl Admitted {
    pub(crate) fn new(registry: &Registry, manifest: Manifest, verdict: Verdict) -> Self {
        let (mut said, mut covered) = (BTreeSet::new(), BTreeSet::new());
        let (mut vouched, mut plain) = (BTreeSet::new(), BTreeMap::new());
        for finding in &verdict.findings {
            let entry = &finding.entry;
            let Ok(compat) = entry.compat() else { continue };
            let is_restorable = finding.outcome == Outcome::Restorable;
            for token in compat.tokens() {
                said.insert(token.name().to_string());
                if is_restorable {
                    covered.insert((token.name().to_string(), token.version()));
                }
            }
            if is_restorable && entry.carrier != Carrier::Table {
                vouched.extend(registry.needs(compat.base().name()));
            }
        }
        // A plain string stands for what no string and no table says. What was said and is not
        // restorable is not covered.
        for need in vouched.into_iter().filter(|need| !said.contains(*need)) {
            if let Some(version) = registry.side().plain(need) {
                covered.insert((need.clone(), version));
                plain.insert(need.clone(), version);
            }
        }
        Self {
            manifest,
            verdict,
            covered,
            plain,
        }
    }

    /// The version of `component` that was handed over, as far as what was judged says it: the first
    /// string that names it, the table, or what a plain string stands for.
    #[must_use]
    pub fn version_of(&self, component: &str) -> Option<u32> {
        let named = |entry: &Entry| match entry.carrier {
            Carrier::Table => None,
            _ => named(&entry.compat().ok()?, component),
        };
        let mut entries = self.manifest.entries().iter();
        let said = entries.find_map(named);
        let said = said.or_else(|| self.manifest.listed(component));
        said.or_else(|| self.plain.get(component).copied())
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
        let mut covered = self.covered.iter().filter(|(name, _)| name == component);
        if covered.clone().any(|(_, v)| *v == version) {
            return Ok(());
        }
        let text = covered.next().map_or_else(
            || "no version of it".to_string(),
            |(_, version)| alloc::format!("{component}-v{version}"),
        );
        Err(NotAdmitted {
            component: component.to_string(),
            version,
            covered: text,
        })
    }
}
