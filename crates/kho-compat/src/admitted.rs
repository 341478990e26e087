//! The right to restore.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};

use crate::{Carrier, Manifest, Outcome, Registry, Verdict};

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
    // By carrier as well: a version admitted for one is not admitted for another.
    bases: BTreeSet<(Carrier, String, u32)>,
    parts: BTreeSet<(String, u32)>,
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

impl Admitted {
    pub(crate) fn new(registry: &Registry, manifest: Manifest, verdict: Verdict) -> Self {
        let mut bases = BTreeSet::new();
        let mut parts = BTreeSet::new();
        let restorable = manifest
            .entries()
            .iter()
            .zip(&verdict.findings)
            .filter(|(_, finding)| finding.outcome == Outcome::Restorable);
        for (entry, _) in restorable {
            let Ok(compat) = entry.compat() else { continue };
            let base = compat.base();
            bases.insert((entry.carrier, base.name().to_string(), base.version()));
            for part in compat.parts() {
                parts.insert((part.name().to_string(), part.version()));
            }
            // A plain string vouches for what neither it nor the table lists.
            let listed = |need: &str| compat.parts().iter().any(|part| part.name() == need);
            for need in registry
                .needs(base.name())
                .iter()
                .filter(|need| !listed(need))
            {
                match (manifest.listed(need), registry.side().get(need)) {
                    (Some(version), _) => drop(parts.insert((need.clone(), version))),
                    // Which of those that can be restored it is, the format's reader has to know.
                    (None, Some(own)) => {
                        parts.extend(own.restorable().map(|version| (need.clone(), version)));
                    }
                    (None, None) => {}
                }
            }
        }
        Self {
            manifest,
            verdict,
            bases,
            parts,
        }
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
        let bases = self.bases.iter().map(|(_, name, version)| (name, *version));
        let parts = self.parts.iter().map(|(name, version)| (name, *version));
        let mut covered = bases.chain(parts).filter(|(name, _)| *name == component);
        if covered.clone().any(|(_, v)| v == version) {
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
