//! How a handover is opened.

use kho_compat::{Judge, Policy, Registry, RegistryError, policy};

use crate::Entry;

/// How to open a handover. An [`Entry`] alone stands for the components that are linked, and for
/// [`SemverRange`](policy::SemverRange).
///
/// ```
/// use kho_compat::Registry;
/// use kho_core::{COMPONENT, Entry, OpenOptions, PhysAddr};
///
/// let registry = Registry::new([&COMPONENT, &kho_radix::COMPONENT])?;
/// let options = OpenOptions::new(Entry::new(PhysAddr::new(0x1000)))
///     .registry(&registry)
///     .policy(&kho_compat::policy::FeatureMasks);
/// # Ok::<(), kho_compat::RegistryError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions<'r> {
    pub(crate) entry: Entry,
    registry: Option<&'r Registry>,
    policy: &'r dyn Policy,
}

impl<'r> OpenOptions<'r> {
    /// The handover that begins at `entry`.
    #[must_use]
    pub const fn new(entry: Entry) -> Self {
        Self {
            entry,
            registry: None,
            policy: &policy::SemverRange,
        }
    }

    /// Sets the components that read the handover: without, those that are linked.
    #[must_use]
    pub const fn registry(mut self, registry: &'r Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Sets the policy by which the root is judged.
    #[must_use]
    pub const fn policy(mut self, policy: &'r dyn Policy) -> Self {
        self.policy = policy;
        self
    }

    pub(crate) fn judge(&self) -> Result<Judge<'r>, RegistryError> {
        let registry = match self.registry {
            Some(registry) => registry,
            None => Registry::linked().map_err(Clone::clone)?,
        };
        Ok(Judge::from(registry).by(self.policy))
    }
}

impl From<Entry> for OpenOptions<'_> {
    fn from(entry: Entry) -> Self {
        Self::new(entry)
    }
}
