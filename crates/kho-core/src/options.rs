//! How a handover is opened.

use kho_compat::{Registry, RegistryError};

use crate::Entry;

/// How to open a handover. An [`Entry`] alone stands for the components that are linked.
///
/// ```
/// use kho_compat::Registry;
/// use kho_core::{COMPONENT, Entry, OpenOptions, PhysAddr};
///
/// let registry = Registry::new([&COMPONENT, &kho_radix::COMPONENT])?;
/// let options = OpenOptions::new(Entry::new(PhysAddr::new(0x1000))).registry(&registry);
/// # Ok::<(), kho_compat::RegistryError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions<'r> {
    pub(crate) entry: Entry,
    registry: Option<&'r Registry>,
}

impl<'r> OpenOptions<'r> {
    /// The handover that begins at `entry`.
    #[must_use]
    pub const fn new(entry: Entry) -> Self {
        Self {
            entry,
            registry: None,
        }
    }

    /// Sets the components that read the handover: without, those that are linked.
    #[must_use]
    pub const fn registry(mut self, registry: &'r Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    pub(crate) fn components(&self) -> Result<&'r Registry, RegistryError> {
        match self.registry {
            Some(registry) => Ok(registry),
            None => Registry::linked().map_err(Clone::clone),
        }
    }
}

impl From<Entry> for OpenOptions<'_> {
    fn from(entry: Entry) -> Self {
        Self::new(entry)
    }
}
