//! Everything that an image holds of a handover, gathered step by step without restoring anything.
//! A step that fails ends the survey; what the steps before it found stays.

use kho_compat::{Admitted, Carrier, Compat, Manifest, Refused, Registry, policy};
use kho_core::{Entry, Handover, Memblock, Metadata, RootFdt, ScratchTable};
use kho_image::{Image, scratch_by_elimination};
use kho_luo::{Body, Luo};
use kho_mem::{Damage, Order, PhysAddr};
use kho_memfd::Memfd;
use kho_radix::Preserved;

use crate::args::ImageArgs;
use crate::compat::registry;
use crate::error::Failure;
use crate::progress::{Bar, interrupted};

/// How the scratch table was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScratchSource {
    /// `--scratch`.
    Argument,
    /// A setup_data node.
    SetupData,
    /// The one page left over in a cut-down dump.
    Elimination,
}

impl ScratchSource {
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Argument => "argument",
            Self::SetupData => "setup_data",
            Self::Elimination => "elimination",
        }
    }
}

/// What was gathered of one memfd: enough to show it, without its list of folios.
#[derive(Clone, Debug)]
pub(crate) struct MemfdFacts {
    pub(crate) pos: u64,
    pub(crate) size: u64,
    pub(crate) seals: u32,
    pub(crate) flags: u32,
    pub(crate) nr_folios: u64,
    pub(crate) total_pages: u64,
    pub(crate) vmalloc_flags: u16,
    pub(crate) vmalloc_order: u8,
    pub(crate) chunks: u32,
    /// Orders in order of the file, run-length encoded; `None` for holes.
    pub(crate) orders: Box<[(Option<Order>, u64)]>,
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

/// What a survey gathered.
pub(crate) struct Survey<'i> {
    pub(crate) image: &'i Image,
    pub(crate) entry: Option<Entry>,
    pub(crate) scratch_source: Option<ScratchSource>,
    pub(crate) root: Option<RootFdt>,
    pub(crate) preserved: Option<Preserved>,
    pub(crate) scratch: Option<ScratchTable>,
    pub(crate) handover: Option<Handover<'i>>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) memblock: Option<Memblock>,
    pub(crate) luo: Option<Luo>,
    /// Per session, per file; `None` for files that are no memfds of a known version.
    pub(crate) memfds: Vec<Vec<Option<MemfdFacts>>>,
    pub(crate) manifest: Manifest,
    /// Preserved ranges and pages that nothing known uses.
    pub(crate) unclaimed: Option<(u64, u64)>,
    pub(crate) verdict: Option<Result<Admitted, Refused>>,
    pub(crate) failure: Option<Failure>,
}

impl<'i> Survey<'i> {
    /// Surveys `image`.
    pub(crate) fn of(image: &'i Image, args: &ImageArgs) -> Self {
        let mut survey = Self {
            image,
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
        if let Err(failure) = survey.run(args) {
            survey.failure = Some(failure);
        }
        survey
    }

    fn run(&mut self, args: &ImageArgs) -> Result<(), Failure> {
        let registry = registry()?;
        let image = self.image;
        let mut entry = self.find(args)?;
        self.entry = Some(entry);
        let damaged = |damage: Damage| Failure::damaged(damage, image);

        let root = Handover::read_root(image, entry).map_err(damaged)?;
        let admitted = Handover::admit_root(registry, &root);
        self.root = Some(root.clone());
        if let Err(refused) = admitted {
            // Of another version: nothing behind the root is ours to interpret.
            root.add_to(&mut self.manifest);
            self.verdict = Some(Err(refused));
            return Ok(());
        }
        let preserved = Handover::read_tracker(image, entry, &root).map_err(damaged)?;
        self.preserved = Some(preserved.clone());
        if entry.scratch.is_none()
            && let Some((addr, size)) = scratch_by_elimination(image, &preserved, root.at())
        {
            entry = entry.with_scratch(addr, size);
            self.entry = Some(entry);
            self.scratch_source = Some(ScratchSource::Elimination);
        }
        if let Some((addr, size)) = entry.scratch {
            self.scratch = Some(ScratchTable::read(image, addr, size).map_err(damaged)?);
        }
        let handover = Handover::assemble(image, entry, root, preserved, self.scratch.clone())
            .map_err(damaged)?;
        self.handover = Some(handover.clone());
        self.contents(&handover, registry)
    }

    fn find(&mut self, args: &ImageArgs) -> Result<Entry, Failure> {
        let image = self.image;
        let none = |error| Failure::find(error, image);
        let given = args.fdt.map(Entry::new);
        let mut entry = match (given, args.scratch) {
            // Nothing left to look for.
            (Some(entry), Some(_)) => entry,
            (given, _) => {
                let mut bar = Bar::new("scanning");
                let scan = kho_image::scan(self.image, &mut |done, total| bar.at(done, total));
                if scan.stopped {
                    return Err(Failure::Interrupted);
                }
                match given {
                    Some(entry) => scan.entry_of(entry.fdt_addr).map_err(none)?,
                    None if args.scratch.is_some() => {
                        // The table is chosen: which nodes name others does not matter.
                        let without = kho_image::Scan {
                            setup: Vec::new(),
                            ..scan
                        };
                        without.entry().map_err(none)?
                    }
                    None => scan.entry().map_err(none)?,
                }
            }
        };
        self.scratch_source = entry.scratch.map(|_| ScratchSource::SetupData);
        if let Some((addr, size)) = args.scratch {
            entry = entry.with_scratch(addr, size);
            self.scratch_source = Some(ScratchSource::Argument);
        }
        Ok(entry)
    }

    /// What lies behind an intact root.
    fn contents(
        &mut self,
        handover: &Handover<'i>,
        registry: &'static Registry,
    ) -> Result<(), Failure> {
        let image = self.image;
        let damaged = |damage: Damage| Failure::damaged(damage, image);
        let mut reading = handover.reading().map_err(damaged)?;
        handover.add_to(&mut self.manifest);

        let metadata = Metadata::read(handover).map_err(damaged)?;
        if let (Some(metadata), Some(subtree)) = (
            &metadata,
            handover.subtree(kho_core::metadata::v1::METADATA_SUBTREE),
        ) {
            metadata.add_to(&mut self.manifest, subtree.addr);
        }
        self.metadata = metadata;

        let memblock = Memblock::read(handover, &mut reading).map_err(damaged)?;
        if let Some(memblock) = &memblock {
            memblock.add_to(&mut self.manifest);
        }
        self.memblock = memblock;

        let luo = Luo::read(handover, &mut reading).map_err(damaged)?;
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
            let mut memfds = Vec::with_capacity(body.sessions().len());
            for session in body.sessions() {
                let mut files = Vec::with_capacity(session.files().len());
                for file in session.files() {
                    if interrupted() {
                        return Err(Failure::Interrupted);
                    }
                    let facts = if ours.get(file.handler()).is_some_and(|ours| *ours) {
                        let read = Memfd::read(&mut reading, file);
                        let read = read.map_err(|damage| {
                            damage
                                .within(format!("session `{}`", session.name()))
                                .within("LUO")
                        });
                        Some(MemfdFacts::new(&read.map_err(damaged)?))
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
    pub(crate) fn body(&self) -> Option<&Body> {
        self.luo.as_ref().and_then(Luo::body)
    }

    /// Bytes of all memfds.
    pub(crate) fn bytes(&self) -> u64 {
        let files = self.memfds.iter().flatten().flatten();
        files.fold(0, |sum, facts| facts.size.saturating_add(sum))
    }

    /// Whether the subtree `name` is one that no linked component knows.
    pub(crate) fn is_left_alone(&self, name: &str) -> bool {
        registry().is_ok_and(|registry| registry.subtree(name).is_none())
    }

    /// Where the byte at `addr` stands in the file.
    pub(crate) fn locate(&self, addr: u64) -> Option<u64> {
        self.image.locate(PhysAddr::new(addr))
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
