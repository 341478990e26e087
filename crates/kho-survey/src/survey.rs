//! Everything that an image holds of a handover, gathered step by step without restoring anything.
//! A step that fails ends the survey; what the steps before it found stays.

use kho_compat::{Admitted, Carrier, Compat, Manifest, Refused, Registry, policy};
use kho_core::{Entry, Handover, Memblock, Metadata, RootFdt, ScratchTable};
use kho_image::{Scan, scratch_by_elimination};
use kho_luo::{Body, Luo};
use kho_mem::{Order, PhysAddr, PhysMem};
use kho_memfd::Memfd;
use kho_radix::Preserved;

use crate::Error;

/// What takes long, for whoever shows progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Memory is searched for a handover: in bytes.
    Scan,
    /// Files are read: in files.
    Files,
    /// Contents are hashed: in bytes.
    Hash,
}

/// Is called with the step, how much of it is done, and of how much, where that is known. Returns
/// whether to go on.
pub type Progress<'p> = dyn FnMut(Step, u64, Option<u64>) -> bool + 'p;

/// Where in memory the handover begins, as far as that is known.
#[derive(Clone, Copy, Default, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The root FDT's address. Without it memory is searched for one.
    pub fdt: Option<PhysAddr>,
    /// The scratch table's address and bytes. Without them a setup_data node is looked for, and in
    /// memory that was cut down to its handover the table is found by elimination.
    pub scratch: Option<(PhysAddr, u64)>,
}

impl Options {
    /// Names the root FDT's address.
    #[must_use]
    pub const fn fdt(mut self, fdt: Option<PhysAddr>) -> Self {
        self.fdt = fdt;
        self
    }

    /// Names the scratch table's address and bytes.
    #[must_use]
    pub const fn scratch(mut self, scratch: Option<(PhysAddr, u64)>) -> Self {
        self.scratch = scratch;
        self
    }
}

/// How the scratch table was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScratchSource {
    /// Whoever asked named it.
    Argument,
    /// A setup_data node.
    SetupData,
    /// The one page left over in a cut-down dump.
    Elimination,
}

impl ScratchSource {
    /// The source as programs see it, for instance `setup_data`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Argument => "argument",
            Self::SetupData => "setup_data",
            Self::Elimination => "elimination",
        }
    }
}

/// What was gathered of one memfd: enough to show it, without its list of folios.
#[derive(Clone, Debug)]
pub struct MemfdFacts {
    /// The position.
    pub pos: u64,
    /// The bytes.
    pub size: u64,
    /// The seals.
    pub seals: u32,
    /// The flags.
    pub flags: u32,
    /// Entries of its list of folios.
    pub nr_folios: u64,
    /// Pages of the area that the list lies in.
    pub total_pages: u64,
    /// The area's flags.
    pub vmalloc_flags: u16,
    /// The area's order.
    pub vmalloc_order: u8,
    /// The area's chunks.
    pub chunks: u32,
    /// Orders in order of the file, run-length encoded; `None` for holes.
    pub orders: Box<[(Option<Order>, u64)]>,
}

impl MemfdFacts {
    fn new(memfd: &Memfd) -> Self {
        let mut orders: Vec<(Option<Order>, u64)> = Vec::new();
        for folio in memfd.folios() {
            let order = folio.addr.map(|_| folio.order);
            match orders.last_mut() {
                Some((last, count)) if *last == order => *count += 1,
                _ => orders.push((order, 1)),
            }
        }
        let area = memfd.area();
        Self {
            pos: memfd.pos(),
            size: memfd.size(),
            seals: memfd.seals(),
            flags: memfd.flags(),
            nr_folios: memfd.folios().len() as u64,
            total_pages: area.pages(),
            vmalloc_flags: area.flags(),
            vmalloc_order: area.order().get(),
            chunks: area.chunks(),
            orders: orders.into(),
        }
    }
}

/// What a survey gathered. What was not found, or not reached, is `None`.
pub struct Survey<'m> {
    pub(crate) registry: &'static Registry,
    /// Where the handover begins.
    pub entry: Option<Entry>,
    /// How the scratch table was found.
    pub scratch_source: Option<ScratchSource>,
    /// The root FDT.
    pub root: Option<RootFdt>,
    /// Preserved memory.
    pub preserved: Option<Preserved>,
    /// The scratch table.
    pub scratch: Option<ScratchTable>,
    /// The handover: its root is of a version that is read here, and its parts agree.
    pub handover: Option<Handover<'m>>,
    /// The kexec metadata.
    pub metadata: Option<Metadata>,
    /// The `reserve_mem` regions.
    pub memblock: Option<Memblock>,
    /// What LUO handed over.
    pub luo: Option<Luo>,
    /// Per session, per file; `None` for files that are no memfds of a known version.
    pub memfds: Vec<Vec<Option<MemfdFacts>>>,
    /// All that it announces, as far as it was read.
    pub manifest: Manifest,
    /// Preserved ranges and pages that nothing known uses.
    pub unclaimed: Option<(u64, u64)>,
    /// The verdict on the manifest.
    pub verdict: Option<Result<Admitted, Refused>>,
    /// What ended the survey early.
    pub failure: Option<Error>,
}

impl<'m> Survey<'m> {
    /// Surveys the handover in `mem`, with the components of `registry`. `progress` is told of what
    /// takes long, and ends the survey where it returns false.
    #[must_use]
    pub fn of(
        mem: &'m dyn PhysMem,
        registry: &'static Registry,
        options: &Options,
        progress: &mut Progress<'_>,
    ) -> Self {
        let mut survey = Self {
            registry,
            entry: None,
            scratch_source: None,
            root: None,
            preserved: None,
            scratch: None,
            handover: None,
            metadata: None,
            memblock: None,
            luo: None,
            memfds: Vec::new(),
            manifest: Manifest::new(),
            unclaimed: None,
            verdict: None,
            failure: None,
        };
        if let Err(error) = survey.run(mem, options, progress) {
            survey.failure = Some(error);
        }
        survey
    }

    fn run(
        &mut self,
        mem: &'m dyn PhysMem,
        options: &Options,
        progress: &mut Progress<'_>,
    ) -> Result<(), Error> {
        let registry = self.registry;
        let mut entry = self.find(mem, options, progress)?;
        self.entry = Some(entry);

        let root = Handover::read_root(mem, entry)?;
        let admitted = Handover::admit_root(registry, &root);
        self.root = Some(root.clone());
        if let Err(refused) = admitted {
            // Of another version: nothing behind the root is ours to interpret.
            root.add_to(&mut self.manifest);
            self.verdict = Some(Err(refused));
            return Ok(());
        }
        let preserved = Handover::read_tracker(mem, entry, &root)?;
        self.preserved = Some(preserved.clone());
        if entry.scratch.is_none()
            && let Some((addr, size)) = scratch_by_elimination(mem, &preserved, root.at())
        {
            entry = entry.with_scratch(addr, size);
            self.entry = Some(entry);
            self.scratch_source = Some(ScratchSource::Elimination);
        }
        if let Some((addr, size)) = entry.scratch {
            self.scratch = Some(ScratchTable::read(mem, addr, size)?);
        }
        let handover = Handover::assemble(mem, entry, root, preserved, self.scratch.clone())?;
        self.handover = Some(handover.clone());
        self.contents(&handover, progress)
    }

    fn find(
        &mut self,
        mem: &dyn PhysMem,
        options: &Options,
        progress: &mut Progress<'_>,
    ) -> Result<Entry, Error> {
        let given = options.fdt.map(Entry::new);
        let mut entry = match (given, options.scratch) {
            // Nothing left to look for.
            (Some(entry), Some(_)) => entry,
            (given, _) => {
                let scan =
                    kho_image::scan(mem, &mut |done, total| progress(Step::Scan, done, total));
                if scan.stopped {
                    return Err(Error::Interrupted);
                }
                match given {
                    Some(entry) => scan.entry_of(entry.fdt_addr)?,
                    None if options.scratch.is_some() => {
                        // The table is chosen: which nodes name others does not matter.
                        let without = Scan {
                            setup: Vec::new(),
                            ..scan
                        };
                        without.entry()?
                    }
                    None => scan.entry()?,
                }
            }
        };
        self.scratch_source = entry.scratch.map(|_| ScratchSource::SetupData);
        if let Some((addr, size)) = options.scratch {
            entry = entry.with_scratch(addr, size);
            self.scratch_source = Some(ScratchSource::Argument);
        }
        Ok(entry)
    }

    /// What lies behind an intact root.
    fn contents(
        &mut self,
        handover: &Handover<'m>,
        progress: &mut Progress<'_>,
    ) -> Result<(), Error> {
        let registry = self.registry;
        let mut reading = handover.reading()?;
        handover.add_to(&mut self.manifest);

        let metadata = Metadata::read(handover)?;
        if let (Some(metadata), Some(subtree)) = (
            &metadata,
            handover.subtree(kho_core::metadata::v1::METADATA_SUBTREE),
        ) {
            metadata.add_to(&mut self.manifest, subtree.addr);
        }
        self.metadata = metadata;

        let memblock = Memblock::read(handover, &mut reading)?;
        if let Some(memblock) = &memblock {
            memblock.add_to(&mut self.manifest);
        }
        self.memblock = memblock;

        let luo = Luo::read(handover, &mut reading)?;
        if let Some(luo) = &luo {
            luo.add_to(&mut self.manifest);
        }
        self.luo = luo;
        if let Some(body) = self.luo.as_ref().and_then(Luo::body) {
            let ours: Vec<bool> = body
                .handlers()
                .iter()
                .map(|h| is_memfd(registry, &h.compatible))
                .collect();
            let (mut done, total) = (0, body.files());
            let mut memfds = Vec::with_capacity(body.sessions().len());
            for session in body.sessions() {
                let mut files = Vec::with_capacity(session.files().len());
                for file in session.files() {
                    if !progress(Step::Files, done, Some(total)) {
                        return Err(Error::Interrupted);
                    }
                    done += 1;
                    let facts = if ours.get(file.handler()).is_some_and(|ours| *ours) {
                        let read = Memfd::read(&mut reading, file);
                        let read = read.map_err(|damage| {
                            damage
                                .within(format!("session `{}`", session.name()))
                                .within("LUO")
                        });
                        Some(MemfdFacts::new(&read?))
                    } else {
                        None
                    };
                    files.push(facts);
                }
                memfds.push(files);
            }
            self.memfds = memfds;
        }
        self.unclaimed = Some(reading.claims().unclaimed());
        self.verdict = Some(registry.admit(&policy::SemverRange, self.manifest.clone()));
        Ok(())
    }

    /// The body of LUO, where it was read.
    #[must_use]
    pub fn body(&self) -> Option<&Body> {
        self.luo.as_ref().and_then(Luo::body)
    }

    /// Bytes of all memfds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let files = self.memfds.iter().flatten().flatten();
        files.fold(0, |sum, facts| facts.size.saturating_add(sum))
    }

    /// Whether the subtree `name` is one that no linked component knows.
    #[must_use]
    pub fn is_left_alone(&self, name: &str) -> bool {
        self.registry.subtree(name).is_none()
    }

    /// The release of the kernel that handed over, where it says so.
    #[must_use]
    pub fn release(&self) -> Option<&str> {
        match &self.metadata {
            Some(Metadata::V1 {
                previous_release, ..
            }) => Some(previous_release),
            _ => None,
        }
    }

    /// What was not read since it is of a version that is not read here, in words.
    #[must_use]
    pub fn unread(&self) -> Option<String> {
        match (&self.handover, &self.luo) {
            (None, _) => self
                .root
                .as_ref()
                .map(|root| format!("what lies behind a root FDT of `{}`", root.compatible())),
            (Some(_), Some(luo)) if luo.body().is_none() => Some(format!(
                "what lies behind a LUO header of `{}`",
                luo.compatible()
            )),
            _ => None,
        }
    }

    /// The bytes of a file, by the indices of its session and of the file; `None` where its
    /// contents were not read.
    #[must_use]
    pub fn file_size(&self, session: usize, file: usize) -> Option<u64> {
        let facts = self.memfds.get(session)?.get(file)?.as_ref();
        facts.map(|facts| facts.size)
    }
}

/// Whether `compatible` is a memfd of a version that the linked handler restores.
fn is_memfd(registry: &Registry, compatible: &str) -> bool {
    let mut manifest = Manifest::new();
    manifest.add(
        Carrier::FileHandler,
        compatible,
        kho_compat::Place::default(),
    );
    Compat::parse(compatible).is_ok_and(|compat| compat.base().name() == kho_memfd::NAME)
        && registry.admit(&policy::SemverRange, manifest).is_ok()
}
