//! A handover that is being made.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use kho_compat::{Compat, Listing, Registry, RegistryError, Side, Strings, Writes, Writing};
use kho_mem::sync::Mutex;
use kho_mem::{
    Arena, Folio, Order, OutOfMemory, PAGE_SIZE, PageRun, Pages, PhysAddr, PhysRange, is_printable,
};
use kho_radix::{Failed, PreservedFolio, PreservedPages, Preserver, Tracker, TrackerError};
use vm_fdt::FdtWriter;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::Entry;
use crate::listed;
use crate::memblock::v1::{
    MEMBLOCK_SUBTREE, MEMBLOCK_VERSION, PROP_SIZE, PROP_START, REGION_VERSION,
};
use crate::metadata::v1::{KexecMetadata, METADATA_SUBTREE, METADATA_VERSION, RELEASE_LEN};
use crate::scratch::{MAX_AREAS, PHYS_LIMIT};
use crate::v4::{
    FDT_SIZE, LISTED_NAME_MAX, PROP_BLOB, PROP_BLOB_SIZE, PROP_COMPATIBLE, PROP_TRACKER,
    SCRATCH_ALIGN, ScratchEntry, VERSION,
};
use crate::{MEMBLOCK, METADATA, NAME, REGION};

/// What a handover that is being made refuses. It is as it was then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KhoError {
    /// The root FDT is one page, and this is more.
    #[error("`{name}` does not fit {what}: it would take {needed} bytes, a page has {FDT_SIZE}")]
    FdtFull {
        /// The FDT.
        what: &'static str,
        /// What was to be added.
        name: String,
        /// Bytes that the FDT would have.
        needed: usize,
    },
    /// The name is taken.
    #[error("there is a {what} `{name}` already")]
    Duplicate {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A device tree has no node of that name.
    #[error("`{0}` is no name of a device tree's node")]
    BadName(String),
    /// A node of that name lists components, and is no subtree.
    #[error("`{0}` is no name for a subtree: the node lists components")]
    Reserved(String),
    /// A component whose name no property of a device tree can have.
    #[error(
        "component `{0}` can not be listed: a property's name has at most {LISTED_NAME_MAX} bytes"
    )]
    Unlistable(String),
    /// The version of a component that has no string of its own, and that nothing in this dialect
    /// would say: its reader would take it for the one that plain strings stand for.
    #[error("{token} can not be said in the {writing} dialect")]
    Unsaid {
        /// The component and the version that is to be written, as a token.
        token: String,
        /// The dialect.
        writing: Writing,
    },
    /// A blob has at least one byte, and no more than its folio.
    #[error("a blob of {size} bytes in a folio of {room}")]
    BadSize {
        /// Its bytes.
        size: u64,
        /// The folio's bytes.
        room: u64,
    },
    /// The blob is preserved in another handover.
    #[error("the blob is preserved in another handover")]
    Foreign,
    /// Scratch areas that no reader takes.
    #[error(
        "scratch area {0}: areas are aligned to {SCRATCH_ALIGN:#x}, apart, below 2^52, and at most {MAX_AREAS}"
    )]
    BadScratch(PhysRange),
    /// The release is not 1 to 64 bytes without a NUL.
    #[error("`{0}` is no kernel's release: 1 to 64 printable bytes are")]
    BadRelease(String),
    /// No page is left.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The tracker refuses.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// The linked components contradict each other.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// How a handover is made.
#[derive(Clone, Debug)]
pub struct KhoConfig {
    writing: Writing,
    side: Option<Side>,
    scratch: Vec<PhysRange>,
    metadata: Option<(String, u32)>,
    boundaries: Vec<u64>,
}

impl Default for KhoConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl KhoConfig {
    /// The plain dialect, what the linked components write, no scratch areas, no kexec metadata.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            writing: Writing::PLAIN,
            side: None,
            scratch: Vec::new(),
            metadata: None,
            boundaries: Vec::new(),
        }
    }

    /// How versions are written.
    #[must_use]
    pub const fn writing(mut self, writing: Writing) -> Self {
        self.writing = writing;
        self
    }

    /// Which versions are written, instead of those of the linked components: this side's own, or the
    /// newest that the next side reads as well ([`Side::newest_common`]).
    #[must_use]
    pub fn side(mut self, side: Side) -> Self {
        self.side = Some(side);
        self
    }

    /// The scratch areas of the arena, for the table: low memory, global, then one per NUMA node.
    #[must_use]
    pub fn scratch(mut self, areas: impl IntoIterator<Item = PhysRange>) -> Self {
        self.scratch = areas.into_iter().collect();
        self
    }

    /// Adds kexec metadata: the release that hands over, and how many kexecs came before.
    #[must_use]
    pub fn metadata(mut self, release: impl Into<String>, kexec_count: u32) -> Self {
        self.metadata = Some((release.into(), kexec_count));
        self
    }

    /// The page numbers at which NUMA nodes begin: see [`Tracker::with_boundaries`].
    #[must_use]
    pub fn boundaries(mut self, pfns: impl IntoIterator<Item = u64>) -> Self {
        self.boundaries = pfns.into_iter().collect();
        self
    }
}

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

/// What a root FDT says of a subtree.
struct Blob<'s> {
    name: &'s str,
    addr: PhysAddr,
    size: u64,
    regions: bool,
}

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
        let scratch = scratch_table(preserver.arena(), &config.scratch)?;
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
        kho.0.write_root(&mut kho.0.state.lock(), None, None)?;
        if let Some((release, count)) = &config.metadata {
            kho.add_metadata(release, *count)?;
        }
        Ok(kho)
    }

    fn add_metadata(&self, release: &str, kexec_count: u32) -> Result<(), KhoError> {
        let bytes = release.as_bytes();
        let mut field = [0; RELEASE_LEN];
        match field.get_mut(..bytes.len()) {
            Some(head)
                if !bytes.is_empty() && bytes.len() < RELEASE_LEN && is_printable(release) =>
            {
                head.copy_from_slice(bytes);
            }
            _ => return Err(KhoError::BadRelease(release.to_owned())),
        }
        let ser = KexecMetadata {
            version: U32::new(METADATA_VERSION),
            previous_release: field,
            kexec_count: U32::new(kexec_count),
        };
        let mut blob = self
            .0
            .preserver
            .alloc_preserve(size_of::<KexecMetadata>())?;
        fill(&mut blob, ser.as_bytes());
        let size = size_of::<KexecMetadata>() as u64;
        self.add_subtree(METADATA_SUBTREE, blob, size)
            .map_err(|failed| failed.error)
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

    /// Says that the components `names` are in use, and all that they need: the table or the masks
    /// list them from here on, where the dialect has them. The root, the owners of subtrees and the
    /// regions are listed without being asked for.
    ///
    /// Listed twice, a component is to be [unlisted](Self::unlist) twice.
    ///
    /// ```
    /// use kho_compat::Writing;
    /// use kho_core::{Handover, Kho, KhoConfig};
    /// use kho_mem::{Arena, ArenaConfig, PhysAddr};
    ///
    /// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
    /// let kho = Kho::new(arena, &KhoConfig::new().writing(Writing::TABLE))?;
    /// kho.list(&["memblock"])?;
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
    pub fn list(&self, names: &[&str]) -> Result<(), KhoError> {
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

    /// Takes back what one [`Kho::list`] of `names` did. A name that is not listed stays so.
    pub fn unlist(&self, names: &[&str]) {
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
            tracing::debug!(%error, "still listed");
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
        self.0.write_root(&mut state, None, Some(index)).ok()?;
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

    /// Hands a region of memory over under a name, as `reserve_mem=` does.
    ///
    /// # Errors
    ///
    /// The name is taken or is none, its FDT (a page) or the root FDT is full, or no page is left.
    /// The pages come back, and everything is as it was.
    pub fn reserve_mem(&self, name: &str, pages: Pages) -> Result<(), Failed<Pages, KhoError>> {
        let preserver = &self.0.preserver;
        let mut returned = None;
        let done = preserver.step(|| {
            let region = preserver.preserve_pages(pages).map_err(|failed| {
                returned = Some(failed.returned);
                KhoError::from(failed.error)
            })?;
            self.add_region(name, region).map_err(|(error, region)| {
                returned = Some(region.unpreserve());
                error
            })
        });
        match (done, returned) {
            (Err(error), Some(returned)) => Err(Failed { error, returned }),
            _ => Ok(()),
        }
    }

    fn add_region(
        &self,
        name: &str,
        region: PreservedPages,
    ) -> Result<(), (KhoError, PreservedPages)> {
        let mut state = self.0.state.lock();
        if state.regions.iter().any(|(other, _)| other == name) {
            let error = KhoError::Duplicate {
                what: "reserve_mem region",
                name: name.to_owned(),
            };
            return Err((error, region));
        }
        let listed = state
            .regions
            .iter()
            .map(|(name, region)| (name.as_str(), region.run()));
        let listed: Vec<_> = listed.chain([(name, region.run())]).collect();
        let tree = match memblock_fdt(&listed) {
            Ok(tree) => tree,
            Err(error) => return Err((error, region)),
        };
        let size = tree.len() as u64;
        let at = state
            .subtrees
            .iter()
            .position(|s| s.name == MEMBLOCK_SUBTREE);
        match at {
            // Somebody else's: what it holds is not ours to write over.
            Some(at)
                if !state
                    .subtrees
                    .get(at)
                    .is_some_and(|subtree| subtree.regions) =>
            {
                let error = KhoError::Duplicate {
                    what: "subtree",
                    name: MEMBLOCK_SUBTREE.to_owned(),
                };
                return Err((error, region));
            }
            Some(at) => {
                let before = state.subtrees.get_mut(at);
                let before = before.map(|subtree| core::mem::replace(&mut subtree.size, size));
                if let Err(error) = self.0.write_root(&mut state, None, None) {
                    if let (Some(subtree), Some(before)) = (state.subtrees.get_mut(at), before) {
                        subtree.size = before;
                    }
                    return Err((error, region));
                }
                if let Some(subtree) = state.subtrees.get_mut(at) {
                    fill(&mut subtree.blob, &tree);
                }
            }
            None => {
                let mut blob = match self.0.preserver.alloc_preserve(PAGE_SIZE) {
                    Ok(blob) => blob,
                    Err(error) => return Err((error.into(), region)),
                };
                fill(&mut blob, &tree);
                let added = self
                    .0
                    .insert(&mut state, MEMBLOCK_SUBTREE, blob, size, true);
                if let Err(failed) = added {
                    return Err((failed.error, region));
                }
            }
        }
        state.regions.push((name.to_owned(), region));
        Ok(())
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
    /// There is a clone: nothing changes. What others still own of the arena shows when it is turned
    /// into handed memory: [`Arena::into_handed`] refuses then.
    pub fn hand_over(self) -> Result<Arena, Self> {
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

    fn written(&self, component: &str, known: &[u32]) -> Result<u32, KhoError> {
        let ability = self.side().get(component);
        let version = ability
            .ok_or_else(|| RegistryError::Unknown(component.to_owned()))?
            .version;
        let token = alloc::format!("{component}-v{version}");
        if !known.contains(&version) {
            let newest = known.last().copied().unwrap_or_default();
            return Err(RegistryError::NotWritable(token, newest).into());
        }
        let writing = self.writing();
        let is_said = writing.strings != Strings::Plain || writing.list == Listing::Versions;
        if known.first() == Some(&version) || is_said {
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

impl Shared {
    /// Adds a subtree, once the root FDT has room for it.
    fn insert(
        &self,
        state: &mut State,
        name: &str,
        blob: PreservedFolio,
        size: u64,
        regions: bool,
    ) -> Result<(), Failed<PreservedFolio, KhoError>> {
        let added = Blob {
            name,
            addr: blob.addr(),
            size,
            regions,
        };
        if let Err(error) = self.write_root(state, Some(added), None) {
            return Err(Failed {
                error,
                returned: blob,
            });
        }
        state.subtrees.push(Subtree {
            name: name.to_owned(),
            size,
            blob,
            regions,
        });
        Ok(())
    }

    /// Lists `listed` instead of what was listed, once the root FDT has room for it.
    fn relist(&self, state: &mut State, listed: Counts) -> Result<(), KhoError> {
        let before = core::mem::replace(&mut state.listed, listed);
        if listed::lists(self.writing.list).is_none() {
            return Ok(());
        }
        let written = self.write_root(state, None, None);
        if written.is_err() {
            state.listed = before;
        }
        written
    }

    /// The components in use, in alphabetical order: the root, the owners of subtrees, the regions,
    /// those that were listed, and all that they need.
    fn in_use<'s>(&'s self, subtrees: &[Blob<'_>], listed: &'s Counts) -> BTreeSet<&'s str> {
        let owners = subtrees.iter().flat_map(|subtree| {
            let region = subtree.regions.then(|| self.side.get(REGION.name));
            let owner = self.side.subtree(subtree.name);
            [owner, region.flatten()].into_iter().flatten()
        });
        let users = owners.map(|owner| owner.name.as_str());
        let users = users.chain([NAME]).chain(listed.keys().map(String::as_str));
        let all = users.flat_map(|user| {
            let needs = self.side.needs(user).iter().map(String::as_str);
            needs.chain([user])
        });
        all.collect()
    }

    /// Writes the root FDT with the subtrees there are, one more, or one less.
    fn write_root(
        &self,
        state: &mut State,
        more: Option<Blob<'_>>,
        less: Option<usize>,
    ) -> Result<(), KhoError> {
        let there = state.subtrees.iter().enumerate();
        let there = there
            .filter(|(index, _)| Some(*index) != less)
            .map(|(_, subtree)| Blob {
                name: &subtree.name,
                addr: subtree.blob.addr(),
                size: subtree.size,
                regions: subtree.regions,
            });
        let name = more.as_ref().map(|more| more.name.to_owned());
        let all: Vec<_> = there.chain(more).collect();
        let list = listed::lists(self.writing.list).map(|carrier| {
            let in_use = self.in_use(&all, &state.listed);
            listed::Node::of(&self.side, carrier, in_use)
        });
        if let Some(node) = &list
            && let Some((name, _)) = node
                .properties
                .iter()
                .find(|(name, _)| name.len() > LISTED_NAME_MAX)
        {
            return Err(KhoError::Unlistable((*name).to_owned()));
        }
        let name = name.unwrap_or_else(|| match &list {
            Some(node) => node.name.to_owned(),
            None => PROP_COMPATIBLE.to_owned(),
        });
        let tree = root_fdt(&self.compatible, self.preserver.root(), list, &all)
            .map_err(|_| KhoError::BadName(name.clone()))?;
        if tree.len() > FDT_SIZE {
            return Err(KhoError::FdtFull {
                what: "the root FDT",
                name,
                needed: tree.len(),
            });
        }
        fill(&mut state.fdt, &tree);
        Ok(())
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

fn root_fdt(
    compatible: &str,
    tracker: PhysAddr,
    list: Option<listed::Node<'_>>,
    subtrees: &[Blob<'_>],
) -> Result<Vec<u8>, vm_fdt::Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string(PROP_COMPATIBLE, compatible)?;
    // Little-endian, unlike the cells of other device trees.
    fdt.property(PROP_TRACKER, &tracker.get().to_le_bytes())?;
    if let Some(list) = list {
        let node = begin(&mut fdt, list.name)?;
        for (name, value) in list.properties {
            fdt.property(name, &value)?;
        }
        fdt.end_node(node)?;
    }
    for subtree in subtrees {
        let node = begin(&mut fdt, subtree.name)?;
        fdt.property(PROP_BLOB, &subtree.addr.get().to_le_bytes())?;
        fdt.property(PROP_BLOB_SIZE, &subtree.size.to_le_bytes())?;
        fdt.end_node(node)?;
    }
    fdt.end_node(root)?;
    fdt.finish()
}

fn begin(fdt: &mut FdtWriter, name: &str) -> Result<vm_fdt::FdtWriterNode, vm_fdt::Error> {
    if name.is_empty() {
        return Err(vm_fdt::Error::InvalidNodeName);
    }
    fdt.begin_node(name)
}

fn memblock_fdt(regions: &[(&str, PageRun)]) -> Result<Vec<u8>, KhoError> {
    let name = regions.last().map_or("", |(name, _)| name);
    let write = || -> Result<Vec<u8>, vm_fdt::Error> {
        let mut fdt = FdtWriter::new()?;
        let root = fdt.begin_node("")?;
        fdt.property_string(PROP_COMPATIBLE, &token(&MEMBLOCK))?;
        for (name, run) in regions {
            let node = begin(&mut fdt, name)?;
            fdt.property_string(PROP_COMPATIBLE, &token(&REGION))?;
            fdt.property(PROP_START, &run.addr().get().to_le_bytes())?;
            let size = run.pages * PAGE_SIZE as u64;
            fdt.property(PROP_SIZE, &size.to_le_bytes())?;
            fdt.end_node(node)?;
        }
        fdt.end_node(root)?;
        fdt.finish()
    };
    let tree = write().map_err(|_| KhoError::BadName(name.to_owned()))?;
    if tree.len() > FDT_SIZE {
        return Err(KhoError::FdtFull {
            what: "the memblock FDT",
            name: name.to_owned(),
            needed: tree.len(),
        });
    }
    Ok(tree)
}

fn token(component: &kho_compat::Component) -> String {
    alloc::format!("{}-v{}", component.name, component.major())
}

fn scratch_table(arena: &Arena, areas: &[PhysRange]) -> Result<Option<(Folio, u64)>, KhoError> {
    if areas.is_empty() {
        return Ok(None);
    }
    for (index, area) in areas.iter().enumerate() {
        let aligned = (area.start().get() | area.len()).is_multiple_of(SCRATCH_ALIGN);
        let apart = areas.iter().take(index).all(|other| !other.overlaps(area));
        if !aligned || !apart || area.end() > PHYS_LIMIT || index as u64 >= MAX_AREAS {
            return Err(KhoError::BadScratch(*area));
        }
    }
    let entries: Vec<_> = areas
        .iter()
        .map(|area| ScratchEntry {
            addr: U64::new(area.start().get()),
            size: U64::new(area.len()),
        })
        .collect();
    let bytes = entries.as_bytes();
    let order = bytes
        .len()
        .div_ceil(PAGE_SIZE)
        .next_power_of_two()
        .trailing_zeros();
    let order = u8::try_from(order)
        .ok()
        .and_then(Order::new)
        .unwrap_or(Order::MAX);
    let mut table = arena.alloc_zeroed(order)?;
    if let Some(head) = table.get_mut(..bytes.len()) {
        head.copy_from_slice(bytes);
    }
    Ok(Some((table, bytes.len() as u64)))
}

/// Writes `bytes` to the start of `folio`, which has room for them; the rest is 0.
fn fill(folio: &mut PreservedFolio, bytes: &[u8]) {
    if let Some((head, tail)) = folio.split_at_mut_checked(bytes.len()) {
        head.copy_from_slice(bytes);
        tail.fill(0);
    }
}
