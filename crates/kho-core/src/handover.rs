//! A handover: root FDT, tracker and scratch table, checked against each other.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kho_compat::{
    Admitted, Announced, Carrier, Compat, Grammar, Judge, Manifest, NotAdmitted, Outcome, Place,
    Refused, Registry, RegistryError,
};
use kho_mem::{
    Damage, Defect, Errno, Link, PAGE_SIZE_U64, PageRun, PageSize, PhysAddr, PhysMem, PhysRange,
    is_backed,
};
use kho_radix::{Claims, Preserved, Reading};

use crate::v4::FDT_SIZE;
use crate::{COMPONENT, Listed, OpenOptions, RootFdt, Said, ScratchTable, Subtree};

/// What the boot parameters carry: where the handover begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The root FDT's address.
    pub fdt_addr: PhysAddr,
    /// Its bytes: a page of the kernel that wrote the handover, and the only trace of its page size.
    pub fdt_size: u64,
    /// The scratch table's address and bytes, where they are known: a handover can be read, but
    /// not booted, without.
    pub scratch: Option<(PhysAddr, u64)>,
}

impl Entry {
    /// A handover of 4 KiB pages whose root FDT lies at `fdt_addr`.
    #[must_use]
    pub const fn new(fdt_addr: PhysAddr) -> Self {
        Self {
            fdt_addr,
            fdt_size: FDT_SIZE as u64,
            scratch: None,
        }
    }

    /// Sets the page size.
    #[must_use]
    pub const fn with_page_size(mut self, size: PageSize) -> Self {
        self.fdt_size = size.bytes();
        self
    }

    /// The page size of the kernel that wrote the handover.
    ///
    /// # Errors
    ///
    /// The root FDT has the size of no page: neither 4, 16 nor 64 KiB.
    pub fn page_size(&self) -> Result<PageSize, Damage> {
        PageSize::of(self.fdt_size).ok_or_else(|| {
            let what = "fdt_size of the boot parameters";
            Damage::new(Defect::BadSize, what, self.fdt_addr)
                .found(self.fdt_size)
                .expected("4096, 16384 or 65536, the bytes of a page")
        })
    }

    /// Adds the scratch table's address and bytes.
    #[must_use]
    pub const fn with_scratch(mut self, addr: PhysAddr, size: u64) -> Self {
        self.scratch = Some((addr, size));
        self
    }
}

/// A handover of 4 KiB pages whose root FDT lies there.
impl From<PhysAddr> for Entry {
    fn from(fdt_addr: PhysAddr) -> Self {
        Self::new(fdt_addr)
    }
}

/// A handover that can not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its memory is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The policy rejects its root.
    #[error(transparent)]
    Incompatible(#[from] Refused),
    /// The policy takes its root, and no code here reads that layout; or the policy judges while restoring, and
    /// refuses the root or what it needs.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The linked components contradict each other: a defect of this program.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl OpenError {
    /// What a kernel returns in its place. Who asks for what was handed over hears [`refused_errno`]: a kernel
    /// that does not know the root goes on without any of it.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Damaged(damage) => damage.errno(),
            Self::Incompatible(refused) => refused_errno(refused),
            Self::NotAdmitted(_) | Self::Registry(_) => Errno::EINVAL,
        }
    }
}

/// What a kernel returns where its own check fails of what `refused` rejects first: all of a handover with another
/// root is as if it were not there (`ENOENT`), another LUO is `EINVAL` (and a panic), and a file of another handler
/// fails the open of `/dev/liveupdate` (`EIO`).
#[must_use]
pub fn refused_errno(refused: &Refused) -> Errno {
    let mut findings = refused.verdict().findings.iter();
    let first = findings.find(|finding| finding.outcome == Outcome::Rejected);
    match first.map(|finding| finding.entry.carrier) {
        Some(Carrier::Root) => Errno::ENOENT,
        Some(Carrier::FileHandler) => Errno::EIO,
        _ => Errno::EINVAL,
    }
}

/// A handover in memory, opened for reading.
///
/// Holding one proves that the root FDT is well-formed and of a version that the policy takes and a linked
/// component reads, that the tracker holds what [`Preserved`] promises, that the scratch areas, where they
/// are known, are clear of it, and that every subtree's blob is preserved memory of its own.
#[derive(Clone)]
pub struct Handover<'m> {
    mem: &'m dyn PhysMem,
    parts: Arc<Parts>,
}

/// What was read and checked of a handover, apart from the memory it lies in.
#[derive(Debug)]
pub(crate) struct Parts {
    entry: Entry,
    root: RootFdt,
    preserved: Preserved,
    scratch: Option<ScratchTable>,
    subtrees: Vec<Subtree>,
    listed: Vec<Listed>,
}

impl<'m> Handover<'m> {
    /// Opens the handover that begins at an [`Entry`], or as [`OpenOptions`] say. Nothing is restored.
    ///
    /// # Errors
    ///
    /// The memory is damaged, or the policy rejects the root, or no component reads its version.
    pub fn open<'r>(
        mem: &'m dyn PhysMem,
        options: impl Into<OpenOptions<'r>>,
    ) -> Result<Self, OpenError> {
        let options = options.into();
        let _span = tracing::info_span!("open", fdt = %options.entry.fdt_addr).entered();
        Self::open_as(mem, options).inspect_err(|error| tracing::warn!(%error, "not opened"))
    }

    fn open_as(mem: &'m dyn PhysMem, options: OpenOptions<'_>) -> Result<Self, OpenError> {
        let (entry, judge) = (options.entry, options.judge()?);
        let root = RootFdt::read(mem, entry)?;
        Self::admit_root(judge, &root)?;
        let preserved = Self::read_tracker(mem, entry, &root)?;
        let scratch = match entry.scratch {
            Some((at, size)) => Some(ScratchTable::read(mem, at, size)?),
            None => None,
        };
        Ok(Self::assemble(mem, entry, root, preserved, scratch)?)
    }

    /// The second step of [`Handover::open`], after [`RootFdt::read`]: whether `judge` takes what `root` leads to:
    /// its own version, and those of what it needs, where it lists them; and whether they are read here. What else
    /// it lists is judged with the rest of the handover.
    ///
    /// # Errors
    ///
    /// It does not, or they are not.
    pub fn admit_root<'r>(
        judge: impl Into<Judge<'r>>,
        root: &RootFdt,
    ) -> Result<Admitted, OpenError> {
        let judge = judge.into();
        let base = Compat::parse_as(root.compatible(), Grammar::Lenient).ok();
        let base = base.as_ref().map_or("", |compat| compat.base().name());
        let needs = judge.registry.needs(base);
        let mut manifest = Manifest::new();
        root.add_some(&mut manifest, |name| {
            name == base || needs.iter().any(|need| need == name)
        });
        let admitted = judge.admit(manifest)?;
        let listed = root.listed().unwrap_or_default();
        Self::require_root(&announced(root, &listed), &admitted)?;
        Ok(admitted)
    }

    /// Checks that `admitted` covers the versions of the root and of the tracker that it leads to, and that they
    /// are read here.
    fn require_root(announced: &Announced, admitted: &Admitted) -> Result<(), NotAdmitted> {
        admitted.found(announced, &COMPONENT)?;
        admitted.found_announced(announced, &kho_radix::COMPONENT)
    }

    /// Checks that `admitted`, a verdict on all of this handover, covers its root and the tracker.
    ///
    /// # Errors
    ///
    /// It does not, or no code here reads them.
    pub fn require(&self, admitted: &Admitted) -> Result<(), NotAdmitted> {
        Self::require_root(&self.announced(), admitted)
    }

    /// The third step: the tracker that `root` leads to, of pages of the size that `entry` has.
    ///
    /// # Errors
    ///
    /// As [`Preserved::read`].
    pub fn read_tracker(
        mem: &dyn PhysMem,
        entry: Entry,
        root: &RootFdt,
    ) -> Result<Preserved, Damage> {
        let root = kho_radix::Root::new(root.tracker()?, entry.page_size()?);
        Preserved::read(mem, root)
    }

    /// The last step: checks what the steps before it read against each other.
    ///
    /// # Errors
    ///
    /// A scratch area lies over preserved memory; a subtree's blob is not preserved or shares
    /// memory with another; the FDT is used as something else, or what it lists is damaged.
    pub fn assemble(
        mem: &'m dyn PhysMem,
        entry: Entry,
        root: RootFdt,
        preserved: Preserved,
        scratch: Option<ScratchTable>,
    ) -> Result<Self, Damage> {
        if let Some(scratch) = &scratch {
            scratch.check_clear_of(&preserved, root.at())?;
        }
        if preserved.has_node(root.at()) {
            return Err(Damage::new(Defect::Shared, "root FDT", root.at())
                .found("a page that is a node of the tracker as well")
                .expected("a page of its own"));
        }
        let listed = root.listed()?;
        let subtrees = root.subtrees()?;
        let parts = Parts {
            entry,
            root,
            preserved,
            scratch,
            subtrees,
            listed,
        };
        let handover = Self::of(mem, Arc::new(parts));
        handover.reading()?;
        let subtrees = handover.subtrees().len();
        tracing::debug!(subtrees, "handover opened");
        Ok(handover)
    }

    pub(crate) const fn of(mem: &'m dyn PhysMem, parts: Arc<Parts>) -> Self {
        Self { mem, parts }
    }

    pub(crate) fn into_parts(self) -> Arc<Parts> {
        self.parts
    }

    /// The memory it lies in.
    #[must_use]
    pub const fn mem(&self) -> &'m dyn PhysMem {
        self.mem
    }

    /// Where it begins.
    #[must_use]
    pub fn entry(&self) -> Entry {
        self.parts.entry
    }

    /// The root FDT.
    #[must_use]
    pub fn root(&self) -> &RootFdt {
        &self.parts.root
    }

    /// The page size of the kernel that wrote it.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.preserved().page_size()
    }

    /// The preserved memory.
    #[must_use]
    pub fn preserved(&self) -> &Preserved {
        &self.parts.preserved
    }

    /// The pages that it reaches: what is preserved, the tracker's nodes, the root FDT, the scratch table. The
    /// last two may be preserved as well.
    pub(crate) fn reached(&self) -> impl Iterator<Item = PageRun> + '_ {
        let frames = self.page_size().frames();
        let page = move |at: PhysAddr| PageRun {
            pfn: at.pfn(),
            pages: frames,
        };
        let (entry, preserved) = (self.entry(), self.preserved());
        let nodes = preserved.nodes().iter().map(move |at| page(*at));
        let table = entry.scratch.map(|(at, size)| PageRun {
            pfn: at.pfn(),
            pages: (at.get() % PAGE_SIZE_U64 + size).div_ceil(PAGE_SIZE_U64),
        });
        let root = [page(entry.fdt_addr)];
        preserved.page_runs().chain(nodes).chain(root).chain(table)
    }

    /// The pages that it reaches, in order, in as few runs as can be: preserved memory, the tracker's nodes,
    /// the root FDT, the scratch table. All that an image of it needs.
    #[must_use]
    pub fn page_runs(&self) -> Vec<PageRun> {
        let mut all: Vec<_> = self.reached().collect();
        all.sort_unstable_by_key(|run| run.pfn.get());
        all.into_iter().fold(Vec::new(), joined)
    }

    /// The scratch table, where the entry named one.
    #[must_use]
    pub fn scratch(&self) -> Option<&ScratchTable> {
        self.parts.scratch.as_ref()
    }

    /// The subtrees in the FDT's order.
    #[must_use]
    pub fn subtrees(&self) -> &[Subtree] {
        &self.parts.subtrees
    }

    /// The subtree `name`.
    #[must_use]
    pub fn subtree(&self, name: &str) -> Option<&Subtree> {
        self.parts
            .subtrees
            .iter()
            .find(|subtree| subtree.name == name)
    }

    /// The components that the root FDT lists, in its order.
    #[must_use]
    pub fn listed(&self) -> &[Listed] {
        &self.parts.listed
    }

    /// What it announces of components' versions: in the root's string, and in the version table.
    #[must_use]
    pub fn announced(&self) -> Announced {
        announced(&self.parts.root, &self.parts.listed)
    }

    /// What it announces of the component whose string `compatible` stands in `carrier`: that string, and what
    /// the root lists of the component and of what it needs in `registry`, but for versions that the string
    /// announces itself. Enough to judge by whether what hangs on the string is read, before all strings are known.
    #[must_use]
    pub fn announces(&self, registry: &Registry, carrier: Carrier, compatible: &str) -> Manifest {
        let compat = Compat::parse_as(compatible, Grammar::Lenient).ok();
        let base = compat.as_ref().map_or("", |compat| compat.base().name());
        let needs = registry.needs(base);
        let in_string = |name: &str| {
            let mut tokens = compat.iter().flat_map(Compat::tokens);
            tokens.any(|token| token.name() == name)
        };
        let mut manifest = Manifest::new();
        for listed in self.listed() {
            let is_version = matches!(listed.said, Said::Version { .. });
            let is_part = listed.name == base || needs.contains(&listed.name);
            if is_part && !(is_version && in_string(&listed.name)) {
                listed.add_to(&mut manifest, self.root().at().get());
            }
        }
        manifest.add(carrier, compatible, Place::default());
        manifest
    }

    /// The context of reading this handover, in which the core's own claims are made: the root FDT
    /// and every subtree's blob. One for a check that changes nothing, one for restoring.
    ///
    /// # Errors
    ///
    /// Two blobs share memory. [`Handover::open`] has seen that they do not.
    pub fn reading(&self) -> Result<Reading<'m>, Damage> {
        let mut claims = Claims::new(&self.parts.preserved);
        let root = Link::given(self.parts.root.at(), "root FDT");
        if self.parts.preserved.lookup(root.to).is_some() {
            claims.bytes(root, self.page_size().bytes())?;
        }
        for subtree in &self.parts.subtrees {
            let within = |damage: Damage| {
                damage
                    .within(format!("subtree `{}`", subtree.name))
                    .within("root FDT")
            };
            let blob = Link {
                to: subtree.addr,
                at: root.at,
                name: "blob",
            };
            claims.bytes(blob, subtree.size).map_err(within)?;
            let range = PhysRange::new(subtree.addr, subtree.size);
            if !range.is_some_and(|range| is_backed(self.mem, range)) {
                let damage = blob.damage(Defect::OutsideMemory).found(subtree.addr);
                return Err(within(damage));
            }
        }
        Ok(Reading::new(self.mem, claims).with(self.announced()))
    }

    /// Adds the root's string, what it lists, and the subtrees' names to `manifest`.
    pub fn add_to(&self, manifest: &mut Manifest) {
        self.parts.root.add_to(manifest);
        for subtree in &self.parts.subtrees {
            let place = Place::new(subtree.addr.get(), format!("subtree `{}`", subtree.name));
            manifest.add(Carrier::Subtree, &subtree.name, place);
        }
    }
}

/// What the string of `root`, and the version table that it lists, announce.
fn announced(root: &RootFdt, listed: &[Listed]) -> Announced {
    let versions = listed.iter().filter_map(|listed| match listed.said {
        Said::Version { version, .. } => Some((listed.name.clone(), version)),
        Said::Features(_) => None,
    });
    Announced::listed(versions).in_string(root.compatible())
}

/// `runs` and one more, that does not begin before them.
fn joined(mut runs: Vec<PageRun>, run: PageRun) -> Vec<PageRun> {
    match runs.last_mut() {
        // What is preserved may be the root FDT or the table as well.
        Some(last) if run.pfn.get() <= last.end() => {
            last.pages = last.pages.max(run.end().saturating_sub(last.pfn.get()));
        }
        _ => runs.push(run),
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_are_one() {
        let run = |pfn: u64, pages| PageRun {
            pfn: PhysAddr::new(pfn << kho_mem::PAGE_SHIFT).pfn(),
            pages,
        };
        let runs = [run(1, 2), run(2, 1), run(3, 4), run(9, 1)];
        let joined = runs.into_iter().fold(Vec::new(), joined);
        assert_eq!(joined, [run(1, 6), run(9, 1)]);
    }
}
