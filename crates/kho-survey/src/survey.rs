//! Everything that an image holds of a handover, gathered step by step without restoring anything.
//! A step that fails ends the survey; what the steps before it found stays.

use std::any::Any;

use kho_compat::{Admitted, Judge, Manifest, Policy, Refused, Registry, policy};
use kho_core::{
    Contents, Entry, Handover, OpenError, Owner, Owners, RootFdt, ScratchTable, Surveying,
};
use kho_image::{Scan, scratch_by_elimination};
use kho_luo::Surveyed;
use kho_mem::{PageSize, PhysAddr, PhysMem};
use kho_radix::Preserved;

use crate::Error;

/// What takes long, for whoever shows progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SurveyStep {
    /// Memory is searched for a handover: in bytes.
    Scan,
    /// Files are read: in files.
    Files,
    /// Contents are hashed: in bytes.
    Hash,
    /// Contents are looked for, not read: in bytes.
    Contents,
}

/// Is called with the step, how much of it is done, and of how much, where that is known. Returns
/// whether to go on.
pub type SurveyProgress<'p> = dyn FnMut(SurveyStep, u64, Option<u64>) -> bool + 'p;

/// Where in memory the handover begins, as far as that is known, and by which policy it is judged.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SurveyOptions<'p> {
    /// Where the handover begins, all of it: nothing is looked for.
    pub entry: Option<Entry>,
    /// The root FDT's address. Without it memory is searched for one.
    pub fdt: Option<PhysAddr>,
    /// The scratch table's address and bytes. Without them a setup_data node is looked for, and in
    /// memory that was cut down to its handover the table is found by elimination.
    pub scratch: Option<(PhysAddr, u64)>,
    /// The page size of the kernel that wrote the handover. Without it the setup_data node states it, or else
    /// it is the smallest under which the tracker holds what the root FDT points to.
    pub page_size: Option<PageSize>,
    /// The policy that says what is read, and by which the verdict is.
    pub policy: &'p dyn Policy,
}

/// Memory is searched for a handover, which [`SemverRange`](policy::SemverRange) judges.
impl Default for SurveyOptions<'_> {
    fn default() -> Self {
        Self {
            entry: None,
            fdt: None,
            scratch: None,
            page_size: None,
            policy: &policy::SemverRange,
        }
    }
}

impl<'p> SurveyOptions<'p> {
    /// Sets the policy.
    #[must_use]
    pub const fn policy(mut self, policy: &'p dyn Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Says where the handover begins.
    #[must_use]
    pub const fn entry(mut self, entry: Entry) -> Self {
        self.entry = Some(entry);
        self
    }

    /// Names the root FDT's address.
    #[must_use]
    pub const fn fdt(mut self, fdt: Option<PhysAddr>) -> Self {
        self.fdt = fdt;
        self
    }

    /// States the page size.
    #[must_use]
    pub const fn page_size(mut self, size: Option<PageSize>) -> Self {
        self.page_size = size;
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

/// What an owner found in its subtree.
#[derive(Debug)]
pub struct Found {
    /// The owner.
    pub owner: &'static Owner,
    /// What it found.
    pub contents: Box<dyn Contents>,
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
    /// What the owners of its subtrees found, in the order of their survey.
    pub found: Vec<Found>,
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
        options: &SurveyOptions<'_>,
        progress: &mut SurveyProgress<'_>,
    ) -> Self {
        let mut survey = Self {
            registry,
            entry: None,
            scratch_source: None,
            root: None,
            preserved: None,
            scratch: None,
            handover: None,
            found: Vec::new(),
            manifest: Manifest::new(),
            unclaimed: None,
            verdict: None,
            failure: None,
        };
        let _span = tracing::info_span!("survey").entered();
        match survey.run(mem, options, progress) {
            Ok(()) => {
                let preserved = survey.preserved.as_ref();
                let pages = preserved.map_or(0, Preserved::pages);
                let owners = survey.found.len();
                tracing::info!(pages, owners, "surveyed");
            }
            Err(error) => {
                tracing::warn!(%error, "the survey ended early");
                survey.failure = Some(error);
            }
        }
        survey
    }

    fn run(
        &mut self,
        mem: &'m dyn PhysMem,
        options: &SurveyOptions<'_>,
        progress: &mut SurveyProgress<'_>,
    ) -> Result<(), Error> {
        let judge = Judge::from(self.registry).by(options.policy);
        let mut entry = self.find(mem, options, progress)?;
        self.entry = Some(entry);

        let root = RootFdt::read(mem, entry)?;
        let admitted = Handover::admit_root(judge, &root);
        self.root = Some(root.clone());
        if let Err(error) = admitted {
            // Of another version: nothing behind the root is ours to interpret.
            root.add_to(&mut self.manifest);
            let OpenError::Incompatible(refused) = error else {
                self.verdict = Some(judge.admit(self.manifest.clone()));
                return Err(error.into());
            };
            self.verdict = Some(Err(refused));
            return Ok(());
        }
        let preserved = Handover::read_tracker(mem, entry, &root)?;
        self.preserved = Some(preserved.clone());
        if entry.scratch.is_none()
            && options.entry.is_none()
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
        self.contents(&handover, judge, progress)
    }

    fn find(
        &mut self,
        mem: &dyn PhysMem,
        options: &SurveyOptions<'_>,
        progress: &mut SurveyProgress<'_>,
    ) -> Result<Entry, Error> {
        if let Some(entry) = options.entry {
            self.scratch_source = entry.scratch.map(|_| ScratchSource::Argument);
            return Ok(entry);
        }
        let given = options.fdt.map(Entry::new);
        let mut entry = match (given, options.scratch) {
            // Nothing left to look for.
            (Some(entry), Some(_)) => {
                entry.with_page_size(kho_image::page_size(mem, entry.fdt_addr))
            }
            (given, _) => {
                let scan = kho_image::scan(mem, &mut |done, total| {
                    progress(SurveyStep::Scan, done, total)
                });
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
        if let Some(size) = options.page_size {
            entry = entry.with_page_size(size);
        }
        Ok(entry)
    }

    /// What lies behind an intact root.
    fn contents(
        &mut self,
        handover: &Handover<'m>,
        judge: Judge<'_>,
        progress: &mut SurveyProgress<'_>,
    ) -> Result<(), Error> {
        let mut reading = handover.reading()?;
        handover.add_to(&mut self.manifest);
        for owner in Owners::linked()?.iter() {
            let mut surveying = Surveying {
                handover,
                reading: &mut reading,
                judge,
                progress: &mut |done, total| progress(SurveyStep::Files, done, Some(total)),
            };
            let Some(mut contents) = owner.survey(&mut surveying)? else {
                continue;
            };
            contents.add_to(&mut self.manifest);
            let followed = contents.follow(&mut surveying);
            self.found.push(Found { owner, contents });
            followed?;
        }
        self.unclaimed = Some(reading.claims().unclaimed());
        self.verdict = Some(judge.admit(self.manifest.clone()));
        Ok(())
    }

    /// What LUO handed over.
    #[must_use]
    pub fn luo(&self) -> Option<&Surveyed> {
        let mut all = self.found.iter();
        all.find_map(|found| (&*found.contents as &dyn Any).downcast_ref())
    }

    pub(crate) fn luo_mut(&mut self) -> Option<&mut Surveyed> {
        let mut all = self.found.iter_mut();
        all.find_map(|found| (&mut *found.contents as &mut dyn Any).downcast_mut())
    }

    /// Whether the subtree `name` is one that no linked component knows.
    #[must_use]
    pub fn is_left_alone(&self, name: &str) -> bool {
        self.registry.subtree(name).is_none()
    }

    /// The release of the kernel that handed over, where it says so.
    #[must_use]
    pub fn release(&self) -> Option<&str> {
        self.found.iter().find_map(|found| found.contents.release())
    }

    /// What was not read since it is of a version that is not read here, in words.
    #[must_use]
    pub fn unread(&self) -> Option<String> {
        if self.handover.is_some() {
            return self.found.iter().find_map(|found| found.contents.unread());
        }
        let root = self.root.as_ref();
        root.map(|root| format!("what lies behind a root FDT of `{}`", root.compatible()))
    }
}
