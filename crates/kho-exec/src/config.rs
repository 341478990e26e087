//! How a process takes part in live updates.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use kho_compat::file::{Answer, ManifestFile};
use kho_compat::{Carrier, Policy, Registry, RegistryError, Side, Writing, policy};
use kho_fd::FdTable;
use kho_luo::{FileHandler, FlbHandler, Handlers};
use kho_mem::{HugePages, PAGE_SIZE_U64, PhysAddr};

use crate::StartError;
use crate::arrival::handlers;

/// The environment variable that names the policy of a program that has not chosen one itself: see
/// [`Config::policy`].
pub const POLICY_ENV: &str = "KHO_POLICY";

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
    policy: Option<&'static (dyn Policy + Sync)>,
    pub(crate) handlers: Handlers,
    pub(crate) hand_back: bool,
    files: Option<u64>,
}

/// Pages that a handover takes for a file, beside its list of folios: its state, the list's area, its share of a block.
const PER_FILE: u64 = 4;
/// Folios that a page of a list names.
const PER_PAGE: u64 = 256;
/// Pages of the arena that a page of the tracker has a bit for.
const PER_LEAF: u64 = 32768;
/// Pages of a handover that does not grow: its root, what it announces, the upper levels of the tracker and a leaf of
/// each order.
const BASE: u64 = 64;
/// Files that there is room for, where nothing is said: one for so many pages of the arena, and at most so many.
const PAGES_OF_A_FILE: u64 = 128;
const FILES: u64 = 1 << 14;

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
            policy: None,
            handlers: Handlers::new(),
            hand_back: true,
            files: None,
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

    /// How many files and descriptors a handover is to find room for, however full the arena is: that many pages are
    /// kept free for it, and what is written runs out of memory before. Without it, one for each 512 KiB of the arena,
    /// and 16384 at most.
    #[must_use]
    pub const fn files(mut self, files: u64) -> Self {
        self.files = Some(files);
        self
    }

    /// Pages that are kept for a handover of an arena of `size` bytes: a bound, that all of it is in the smallest
    /// folios.
    pub(crate) fn reserve(&self, size: u64) -> u64 {
        let pages = size / PAGE_SIZE_U64;
        let files = self.files.unwrap_or((pages / PAGES_OF_A_FILE).min(FILES));
        // The leaves of all orders together are twice those of single pages.
        let whole = pages / PER_PAGE + 2 * pages / PER_LEAF + BASE;
        whole.saturating_add(files.saturating_mul(PER_FILE))
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

    /// The policy that governs how a handover is opened, read and taken over: `&policy::NewestCommon`. Without it,
    /// the one that the environment names ([`POLICY_ENV`]), or else [`SemverRange`](policy::SemverRange).
    ///
    /// One that judges [while restoring](policy::When::WhileRestoring) refuses a file when it is retrieved:
    /// [`Host::retrieve`](crate::Host::retrieve) fails, nothing can be finished from then on, and
    /// [`Host::hand_back`](crate::Host::hand_back) goes back.
    #[must_use]
    pub const fn policy(mut self, policy: &'static (dyn Policy + Sync)) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The policy: the one that was set, or else the one that `named` names.
    pub(crate) fn judging(
        &self,
        named: Option<OsString>,
    ) -> Result<&'static (dyn Policy + Sync), StartError> {
        match (self.policy, named) {
            (Some(policy), _) => Ok(policy),
            (None, None) => Ok(&policy::SemverRange),
            (None, Some(name)) => {
                let known = name.to_str().and_then(policy::by_name);
                known.ok_or_else(|| StartError::Policy(name.display().to_string()))
            }
        }
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
        // What it starts with: a policy that is not known is its own error then.
        let policy = self.judging(std::env::var_os(POLICY_ENV));
        file.policy = policy.ok().map(|policy| policy.name().to_owned());
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
            .field("policy", &self.policy.map(Policy::name))
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kho_memfd::MemfdHandler;

    use super::*;
    use crate::Host;

    #[test]
    fn a_program_judges_by_its_own_policy_or_by_the_one_that_is_named() {
        let name = |config: &Config, named: Option<&str>| {
            let policy = config.judging(named.map(OsString::from));
            policy.map(Policy::name).map_err(|error| error.to_string())
        };
        let (own, none) = (Config::new().policy(&policy::NewestCommon), Config::new());
        assert_eq!(name(&own, Some("check-at-restore")), Ok("newest-common"));
        assert_eq!(
            name(&none, Some("check-at-restore")),
            Ok("check-at-restore")
        );
        assert_eq!(name(&none, None), Ok("semver-range"));
        let error = "KHO_POLICY names no policy that this program knows: best";
        assert_eq!(name(&none, Some("best")), Err(error.to_owned()));
    }

    #[test]
    fn a_second_handler_of_memfds_is_refused() {
        let error = Host::start(Config::new().handler(MemfdHandler)).unwrap_err();
        assert!(matches!(error, StartError::DuplicateHandler(_)), "{error}");
    }
}
