//! A handover that is being made.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use kho_compat::{
    Compat, Component, Listing, Registry, RegistryError, Side, Strings, Writes, Writing,
};
use kho_mem::sync::Mutex;
use kho_mem::{Arena, Folio, put};
use kho_radix::{Failed, PreservedFolio, PreservedPages, Preserver, Tracker};
use zerocopy::IntoBytes;

use crate::memblock::v1::{MEMBLOCK_VERSION, REGION_VERSION};
use crate::metadata::v1::{METADATA_SUBTREE, METADATA_VERSION};
use crate::v4::{FDT_SIZE, VERSION};
use crate::{Entry, MEMBLOCK, METADATA, NAME, REGION, listed, metadata, scratch};

mod config;
mod error;
mod regions;
mod root;

pub use config::KhoConfig;
pub use error::KhoError;

use root::Change;

/// A handover that is being made in an arena: the root FDT, its subtrees, the tracker, the scratch
/// table. Cheap to clone; the clones are one.
///
/// ```
/// use kho_core::{Handover, Kho, KhoConfig};
/// use kho_mem::{Arena, ArenaConfig, PhysAddr};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let kho = Kho::new(arena, &KhoConfig::new().metadata("7.3.4", 2))?;
/// let mut blob = kho.preserver().alloc_preserve(5)?;
/// blob[..5].copy_from_slice(b"hello");
/// kho.add_subtree("greeting", blob, 5)?;
///
/// let entry = kho.entry();
/// let handed = kho.hand_over().unwrap().into_handed().unwrap();
/// let handover = Handover::open(&handed, entry)?;
/// assert_eq!(handover.subtree("greeting").unwrap().size, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Kho(Arc<Shared>);

struct Shared {
    preserver: Preserver,
    writing: Writing,
    side: Side,
    compatible: String,
    state: Mutex<State>,
}

struct State {
    // The root FDT, which is itself preserved.
    fdt: PreservedFolio,
    subtrees: Vec<Subtree>,
    regions: Vec<(String, PreservedPages)>,
    // Components beside those that the root and the subtrees bring, with how often each was listed.
    listed: Counts,
    // Not preserved: the next kernel reads it before anything else.
    scratch: Option<(Folio, u64)>,
}

/// A subtree and its blob.
struct Subtree {
    name: String,
    size: u64,
    blob: PreservedFolio,
    // Whether it is the memblock FDT that lists the regions here.
    regions: bool,
}

/// How often components were listed.
type Counts = BTreeMap<String, u64>;

impl Kho {
    /// Nothing is preserved in `arena` yet but what the handover itself takes.
    ///
    /// # Errors
    ///
    /// No page is left, the release is invalid, the linked components contradict each other or there are none, the side
    /// is to write a version that this crate does not, or one that the dialect can not say.
    pub fn new(arena: Arena, config: &KhoConfig) -> Result<Self, KhoError> {
        let side = match &config.side {
            Some(side) => side.clone(),
            None => Registry::linked().map_err(Clone::clone)?.side().clone(),
        };
        check_written(&side)?;
        if let Some(token) = listed::unsaid(&side, config.writing) {
            let writing = config.writing;
            return Err(KhoError::Unsaid { token, writing });
        }
        let compatible = side.compat(NAME, config.writing.strings)?.to_string();
        let tracker = Tracker::new(arena.clone())?.with_boundaries(config.boundaries.clone());
        let preserver = Preserver::with(arena, tracker);
        let scratch = scratch::write(preserver.arena(), &config.scratch)?;
        let fdt = preserver.alloc_preserve(FDT_SIZE)?;
        let state = State {
            fdt,
            subtrees: Vec::new(),
            regions: Vec::new(),
            listed: Counts::new(),
            scratch,
        };
        let kho = Self(Arc::new(Shared {
            preserver,
            writing: config.writing,
            side,
            compatible,
            state: Mutex::new(state),
        }));
        kho.0.write_root(&mut kho.0.state.lock(), Change::None)?;
        if let Some((release, count)) = &config.metadata {
            let ser = metadata::encode(release, *count)?;
            kho.add_bytes(METADATA_SUBTREE, ser.as_bytes())?;
        }
        Ok(kho)
    }

    /// Hands `bytes` over as the subtree `name`.
    fn add_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), KhoError> {
        let mut blob = self.0.preserver.alloc_preserve(bytes.len())?;
        put(&mut blob, 0, bytes, "bytes of a subtree's blob")?;
        let added = self.add_subtree(name, blob, bytes.len() as u64);
        added.map_err(|failed| failed.error)
    }

    /// What preserves memory in this handover.
    #[must_use]
    pub fn preserver(&self) -> &Preserver {
        &self.0.preserver
    }

    /// The arena.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        self.0.preserver.arena()
    }

    /// How this handover writes versions.
    #[must_use]
    pub fn writing(&self) -> Writing {
        self.0.writing
    }

    /// Which versions this handover writes.
    #[must_use]
    pub fn side(&self) -> &Side {
        &self.0.side
    }

    /// The compat string of the component `name`, as this handover writes it.
    ///
    /// # Errors
    ///
    /// The side does not know it.
    pub fn compat(&self, name: &str) -> Result<Compat, RegistryError> {
        self.0.side.compat(name, self.0.writing.strings)
    }

    /// Announces that the components `names` are in use, and all that they need: the table or the masks
    /// list them from here on, where the dialect has them. The root, the owners of subtrees and the
    /// regions are listed without being asked for.
    ///
    /// Announced twice, a component is to be [withdrawn](Self::withdraw) twice.
    ///
    /// ```
    /// use kho_compat::Writing;
    /// use kho_core::{Handover, Kho, KhoConfig};
    /// use kho_mem::{Arena, ArenaConfig, PhysAddr};
    ///
    /// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
    /// let kho = Kho::new(arena, &KhoConfig::new().writing(Writing::TABLE))?;
    /// kho.announce(&["memblock"])?;
    ///
    /// let entry = kho.entry();
    /// let handed = kho.hand_over().unwrap().into_handed().unwrap();
    /// let handover = Handover::open(&handed, entry)?;
    /// let names: Vec<_> = handover.listed().iter().map(|listed| listed.name.as_str()).collect();
    /// assert_eq!(names, ["kho", "memblock", "radix", "vmalloc"]);
    /// assert_eq!(handover.announced().version_of("memblock"), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The side does not know one, or the root FDT is full: it is one page. Nothing is listed then
    /// that was not.
    pub fn announce(&self, names: &[&str]) -> Result<(), KhoError> {
        if let Some(name) = names.iter().find(|name| self.0.side.get(name).is_none()) {
            return Err(RegistryError::Unknown((*name).to_owned()).into());
        }
        let mut state = self.0.state.lock();
        let mut listed = state.listed.clone();
        for name in names {
            *listed.entry((*name).to_owned()).or_insert(0) += 1;
        }
        self.0.relist(&mut state, listed)
    }

    /// Takes back what one [`Kho::announce`] of `names` did. A name that is not listed stays so.
    pub fn withdraw(&self, names: &[&str]) {
        let mut state = self.0.state.lock();
        let mut listed = state.listed.clone();
        for name in names {
            match listed.get_mut(*name) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(listed.remove(*name)),
            }
        }
        // Smaller than what is there: it fits.
        if let Err(error) = self.0.relist(&mut state, listed) {
            tracing::error!(%error, "the components stay listed");
        }
    }

    /// Hands `size` bytes of `blob` over as the subtree `name`. The component that owns it is listed
    /// with it.
    ///
    /// # Errors
    ///
    /// The name is taken, reserved, or is none, the size is 0 or more than the folio has, or the root FDT is
    /// full: it is one page. The blob comes back, and the root FDT is as it was.
    pub fn add_subtree(
        &self,
        name: &str,
        blob: PreservedFolio,
        size: u64,
    ) -> Result<(), Failed<PreservedFolio, KhoError>> {
        let mut state = self.0.state.lock();
        let room = blob.len() as u64;
        let checked = if size == 0 || size > room {
            Err(KhoError::BadSize { size, room })
        } else if !blob.is_of(&self.0.preserver) {
            Err(KhoError::Foreign)
        } else if listed::is_reserved(name) {
            Err(KhoError::Reserved(name.to_owned()))
        } else if state.subtrees.iter().any(|subtree| subtree.name == name) {
            Err(KhoError::Duplicate {
                what: "subtree",
                name: name.to_owned(),
            })
        } else {
            Ok(())
        };
        match checked {
            Ok(()) => self.0.insert(&mut state, name, blob, size, false),
            Err(error) => Err(Failed {
                error,
                returned: blob,
            }),
        }
    }

    /// Takes the subtree `name` out of the root FDT, and gives its blob back.
    pub fn remove_subtree(&self, name: &str) -> Option<PreservedFolio> {
        let mut state = self.0.state.lock();
        let index = state
            .subtrees
            .iter()
            .position(|subtree| subtree.name == name)?;
        // Smaller than what is there: it fits.
        let written = self.0.write_root(&mut state, Change::Remove(index));
        written
            .inspect_err(|error| tracing::error!(%error, name, "the subtree stays"))
            .ok()?;
        Some(state.subtrees.remove(index).blob)
    }

    /// Writes to the blob of the subtree `name`; `None` where there is none.
    pub fn with_subtree<T>(&self, name: &str, write: impl FnOnce(&mut [u8]) -> T) -> Option<T> {
        let mut state = self.0.state.lock();
        let subtree = state
            .subtrees
            .iter_mut()
            .find(|subtree| subtree.name == name)?;
        let size = usize::try_from(subtree.size).ok()?;
        Some(write(subtree.blob.get_mut(..size)?))
    }

    /// Where the handover begins: what the boot parameters carry to the next kernel.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let state = self.0.state.lock();
        let entry = Entry::new(state.fdt.addr());
        match &state.scratch {
            Some((table, size)) => entry.with_scratch(table.addr(), *size),
            None => entry,
        }
    }

    /// Whether there are clones.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Gives everything to the handover: the arena is then what the next kernel finds.
    ///
    /// # Errors
    ///
    /// There is a clone, or the tracker is broken ([`Preserver::check`]): nothing changes. What others still
    /// own of the arena shows when it is turned into handed memory: [`Arena::into_handed`] refuses then.
    pub fn hand_over(self) -> Result<Arena, Self> {
        if self.0.preserver.check().is_err() {
            return Err(self);
        }
        let Shared {
            preserver, state, ..
        } = Arc::try_unwrap(self.0).map_err(Self)?;
        let State {
            fdt,
            subtrees,
            regions,
            scratch,
            listed: _,
        } = state.into_inner();
        fdt.hand_over();
        subtrees
            .into_iter()
            .for_each(|subtree| subtree.blob.hand_over());
        regions
            .into_iter()
            .for_each(|(_, region)| region.hand_over());
        if let Some((table, _)) = scratch {
            table.hand_over();
        }
        match preserver.hand_over() {
            Ok(arena) => Ok(arena),
            Err(preserver) => {
                preserver.give();
                Ok(preserver.arena().clone())
            }
        }
    }
}

impl Writes for Kho {
    type Error = KhoError;

    fn written(&self, component: &Component) -> Result<u32, KhoError> {
        let name = component.name;
        let ability = self.side().get(name);
        let version = ability
            .ok_or_else(|| RegistryError::Unknown(name.to_owned()))?
            .version;
        let token = alloc::format!("{name}-v{version}");
        if !component.writable().any(|writable| writable == version) {
            let newest = component.writable().last().unwrap_or_default();
            return Err(RegistryError::NotWritable(token, newest).into());
        }
        let writing = self.writing();
        // A string list is the root's alone.
        let in_strings = matches!(writing.strings, Strings::Direct | Strings::Transitive);
        let is_said = in_strings || writing.list == Listing::Versions;
        if self.side().unannounced(name) == Some(version) || is_said {
            return Ok(version);
        }
        Err(KhoError::Unsaid { token, writing })
    }
}

impl core::fmt::Debug for Kho {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kho")
            .field("compatible", &self.0.compatible)
            .field("preserver", &self.0.preserver)
            .finish()
    }
}

/// Whether `side` writes what this crate does, of the components that it knows.
fn check_written(side: &Side) -> Result<(), RegistryError> {
    let written = [
        (NAME, VERSION),
        (kho_radix::NAME, kho_radix::v1::VERSION),
        (METADATA.name, METADATA_VERSION),
        (MEMBLOCK.name, MEMBLOCK_VERSION),
        (REGION.name, REGION_VERSION),
    ];
    written.into_iter().try_for_each(|(name, version)| {
        let asked = side.get(name).map_or(version, |ability| ability.version);
        if asked == version {
            return Ok(());
        }
        let token = alloc::format!("{name}-v{asked}");
        Err(RegistryError::NotWritable(token, version))
    })
}
