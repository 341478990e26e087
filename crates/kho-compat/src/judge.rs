//! Who judges: components, by a policy.

use crate::{Admitted, Manifest, Policy, Refused, Registry, policy};

/// Who judges a handover: the components of a registry, by a policy. A [`Registry`] alone stands for
/// [`SemverRange`](policy::SemverRange).
///
/// What opens, reads, attaches or restores takes one by value, so that one policy governs all of it.
/// What no policy decides stays with the readers: damage, and a layout that no code here reads.
///
/// ```
/// use kho_compat::{Component, Generation, Judge, Registry, policy};
///
/// static BLOCK: Component = Component::new("block", &[Generation::new(1)]);
/// let registry = Registry::new([&BLOCK])?;
/// let judge = Judge::from(&registry);
/// assert_eq!(judge.policy.name(), "semver-range");
/// assert_eq!(judge.by(&policy::CheckAtRestore).policy.name(), "check-at-restore");
/// # Ok::<(), kho_compat::RegistryError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Judge<'r> {
    /// The components.
    pub registry: &'r Registry,
    /// The policy.
    pub policy: &'r dyn Policy,
}

impl<'r> Judge<'r> {
    /// Sets the policy.
    #[must_use]
    pub const fn by(mut self, policy: &'r dyn Policy) -> Self {
        self.policy = policy;
        self
    }

    /// As [`Registry::admit`].
    ///
    /// # Errors
    ///
    /// The policy rejects the handover before anything is restored.
    pub fn admit(&self, manifest: Manifest) -> Result<Admitted, Refused> {
        self.registry.admit(self.policy, manifest)
    }
}

impl<'r> From<&'r Registry> for Judge<'r> {
    fn from(registry: &'r Registry) -> Self {
        Self {
            registry,
            policy: &policy::SemverRange,
        }
    }
}
