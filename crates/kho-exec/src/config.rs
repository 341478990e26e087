//! How a process takes part in live updates.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kho_compat::file::{Answer, ManifestFile};
use kho_compat::{Carrier, Policy, Registry, RegistryError, Side, Writing, policy};
use kho_fd::FdTable;
use kho_luo::{FileHandler, FlbHandler, Handlers};
use kho_mem::{HugePages, PhysAddr};

use crate::arrival::handlers;

/// How a process takes part in live updates.
#[derive(Clone)]
pub struct Config {
    pub(crate) base: PhysAddr,
    pub(crate) size: u64,
    pub(crate) huge: HugePages,
    pub(crate) writing: Writing,
    pub(crate) release: String,
    pub(crate) registry: Option<&'static Registry>,
    pub(crate) side: Option<Side>,
    pub(crate) next: Option<Side>,
    pub(crate) degrade: bool,
    pub(crate) policy: Arc<dyn Policy + Send + Sync>,
    pub(crate) handlers: Handlers,
    pub(crate) hand_back: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// A sparse arena of 64 GiB from 4 GiB on, the composite dialect, and the handlers of memfds
    /// ([`kho_memfd::MemFile`]) and descriptors ([`kho_fd::FdFile`]).
    #[must_use]
    pub fn new() -> Self {
        Self {
            base: PhysAddr::new(4 << 30),
            size: 64 << 30,
            huge: HugePages::Never,
            writing: Writing::COMPOSITE,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            registry: None,
            side: None,
            next: None,
            degrade: false,
            policy: Arc::new(policy::SemverRange),
            handlers: Handlers::new(),
            hand_back: true,
        }
    }

    /// The arena of a process that takes nothing over: `size` bytes from `base` on, both multiples
    /// of 4 MiB. It is sparse: what is not used takes no memory. A handover that is taken over
    /// brings its own.
    #[must_use]
    pub const fn arena(mut self, base: PhysAddr, size: u64) -> Self {
        self.base = base;
        self.size = size;
        self
    }

    /// Whether that arena asks for huge pages.
    #[must_use]
    pub const fn huge_pages(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }

    /// How versions are written. The composite dialect, which is the default, lets the next
    /// program see every component's version.
    #[must_use]
    pub const fn writing(mut self, writing: Writing) -> Self {
        self.writing = writing;
        self
    }

    /// This program's release, 1 to 64 bytes, for the kexec metadata.
    #[must_use]
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    /// The components by which a handover is read and judged, instead of those that are linked. What
    /// this program hands over is of their versions, unless [`Config::side`] says otherwise.
    #[must_use]
    pub const fn registry(mut self, registry: &'static Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Which versions this program writes, instead of those of its registry.
    #[must_use]
    pub fn side(mut self, side: Side) -> Self {
        self.side = Some(side);
        self
    }

    /// Who is to take over from this program, where that is known: of each component the newest
    /// version is written that this program can write and `next` restores. Without it, this program's
    /// own versions are.
    #[must_use]
    pub fn next(mut self, next: Side) -> Self {
        self.next = Some(next);
        self
    }

    /// Whether a handover is taken over of which optional parts are lost. It is refused, unless this
    /// says otherwise. Where it is taken over, [`Host::verdict`](crate::Host::verdict) says what is lost;
    /// files of it can not be retrieved, and their memory is freed when the handover is finished.
    ///
    /// Kexec metadata and `reserve_mem` regions of another version are no reason to refuse: a host
    /// makes no use of them.
    #[must_use]
    pub const fn degrade(mut self, degrade: bool) -> Self {
        self.degrade = degrade;
        self
    }

    /// The policy by which a handover is judged.
    #[must_use]
    pub fn policy(mut self, policy: impl Policy + Send + Sync + 'static) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Adds a handler for a kind of file of one's own: one for each component, and those of `memfd` and `fd`
    /// are there. [`Host::start`](crate::Host::start) refuses two.
    #[must_use]
    pub fn handler(mut self, handler: impl FileHandler) -> Self {
        self.handlers = self.handlers.with(handler);
        self
    }

    /// Adds an object that the files of these components' handlers depend on: one object for each name.
    #[must_use]
    pub fn flb<'c>(
        mut self,
        components: impl IntoIterator<Item = &'c str>,
        flb: impl FlbHandler,
    ) -> Self {
        self.handlers = self.handlers.with_flb(components, flb);
        self
    }

    /// The components by which a handover is read and judged.
    pub(crate) fn judged_by(&self) -> Result<&'static Registry, RegistryError> {
        match self.registry {
            Some(registry) => Ok(registry),
            None => Registry::linked().map_err(Clone::clone),
        }
    }

    /// The versions that this program writes.
    pub(crate) fn written(&self) -> Result<Side, RegistryError> {
        let side = match &self.side {
            Some(side) => side,
            None => self.judged_by()?.side(),
        };
        Ok(match &self.next {
            Some(next) => side.newest_common(next),
            None => side.clone(),
        })
    }

    /// Whether a handover that is refused goes back to the program that made it, by executing that
    /// again. It does, unless this says otherwise; then [`Host::start`](crate::Host::start) fails.
    #[must_use]
    pub const fn hand_back(mut self, hand_back: bool) -> Self {
        self.hand_back = hand_back;
        self
    }
}

/// What [`Host::start`](crate::Host::start) takes over, and what is handed over.
impl Answer for Config {
    fn manifest(&self, name: &str) -> Result<ManifestFile, RegistryError> {
        let registry = self.judged_by()?;
        let mut abilities: BTreeMap<_, _> = registry
            .side()
            .abilities()
            .map(|ability| (ability.name.clone(), ability.clone()))
            .collect();
        for mut written in self.written()?.abilities().cloned() {
            written.writes.retain(|older| *older < written.version);
            if let Some(read) = abilities.get(&written.name) {
                written.restores = read.restores.clone();
            }
            abilities.insert(written.name.clone(), written);
        }
        let side = Side::new(abilities.into_values())?
            .taking(registry.side().takes().iter().copied())
            .in_dialect(self.writing);
        let mut file = ManifestFile::of_side(name, &side);
        file.policy = Some(self.policy.name().to_owned());
        file.degrade = Some(self.degrade);
        let handlers = handlers(self, &FdTable::default());
        for (name, component) in &mut file.components {
            let is_handled = handlers.handles(name);
            let of_files = component.carrier.as_deref() == Some(Carrier::FileHandler.id());
            component.handler = (of_files && !is_handled).then_some(false);
        }
        Ok(file)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("base", &self.base)
            .field("size", &self.size)
            .field("writing", &self.writing)
            .field("policy", &self.policy.name())
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kho_memfd::MemfdHandler;

    use super::*;
    use crate::{Host, StartError};

    #[test]
    fn a_second_handler_of_memfds_is_refused() {
        let error = Host::start(Config::new().handler(MemfdHandler)).unwrap_err();
        assert!(matches!(error, StartError::DuplicateHandler(_)), "{error}");
    }
}
