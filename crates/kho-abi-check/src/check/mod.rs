//! The check itself: what is read once, and the order of its parts.

mod allowed;
mod bless;
mod conditional;
mod format;
mod kernel;
mod needed;
mod past;
mod raised;
mod release;
mod state;
mod unchanged;
mod variants;
mod versions;

pub use needed::describe_released;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use kho_compat::{Component, Registry, RegistryError};

use crate::describe::Described;
use crate::finding::{Finding, Place, Report, Severity};
use crate::history::{History, Version};
use crate::packages::{Package, packages};
use crate::rules;
use crate::source::{Library, Sources};
use crate::tree::{Repo, Tree, Work};
use crate::{Error, FailedVector, Options, Project, describe, docs};

/// Checks the components that are linked into this program and belong to crates of `project`.
///
/// A crate that nothing refers to is not linked, whatever its manifest says: `use my_format as _;`.
///
/// # Errors
///
/// The check could not be made. What it finds is in the report.
pub fn check_linked(project: &Project, options: &Options<'_>) -> Result<Report, Error> {
    check(inventory::iter::<Component>, project, options)
}

/// Checks those of `components` that belong to crates of `project`. The others count where
/// components need them.
///
/// # Errors
///
/// The check could not be made. What it finds is in the report.
pub fn check(
    components: impl IntoIterator<Item = &'static Component>,
    project: &Project,
    options: &Options<'_>,
) -> Result<Report, Error> {
    let work = Work::new(&project.root);
    let repo = Repo::open(&project.root, options.base.as_deref())?;
    let base = repo.as_ref().and_then(Repo::base);
    let base_packages = base.as_ref().map(|base| packages(base));
    let packages = packages(&work);
    let (all, own) = sorted(components, &packages);
    let (mut described, failed) = describe::all(&own, options.vectors);
    let history = History::read(&work, repo.as_ref(), &project.snapshots);
    name_as_recorded(&mut described, &history);
    let mut check = Check {
        project,
        options,
        registry: Registry::new(all.iter().copied()),
        history,
        library: Library::new(&work),
        base_library: base.as_ref().map(|base| Library::new(base)),
        repo: repo.as_ref(),
        work: &work,
        base: base.as_ref().map(|base| base as &dyn Tree),
        packages,
        base_packages: base_packages.unwrap_or_default(),
        described,
        failed,
        all: all.clone(),
        own,
        findings: RefCell::default(),
        blessed: RefCell::default(),
    };
    if options.bless {
        check.bless()?;
        check.history = History::read(&work, check.repo, &project.snapshots);
    }
    check.grammar();
    check.versions();
    check.removed();
    check.past();
    check.state();
    check.source();
    check.conditional();
    check.comments();
    check.vectors();
    check.unguarded_code();
    check.kernel();
    check.docs();
    check.allow()?;
    let mut report = Report {
        base: check.base_name(),
        prefix: check.repo.map_or("", Repo::prefix).to_owned(),
        components: check.own.len(),
        findings: check.findings.into_inner(),
        written: Vec::new(),
        withheld: check.blessed.into_inner(),
    };
    if report.passes() {
        report.written = std::mem::take(&mut report.withheld);
        report
            .written
            .iter()
            .try_for_each(|path| work.write(path))?;
    }
    report.sort(|name| users_last(&all, name));
    Ok(report)
}

struct Check<'a> {
    project: &'a Project,
    options: &'a Options<'a>,
    work: &'a Work,
    repo: Option<&'a Repo>,
    base: Option<&'a dyn Tree>,
    packages: BTreeMap<String, Package>,
    base_packages: BTreeMap<String, Package>,
    history: History,
    library: Library<'a>,
    base_library: Option<Library<'a>>,
    registry: Result<Registry, RegistryError>,
    /// All linked components, and those of this project.
    all: Vec<&'static Component>,
    own: Vec<&'static Component>,
    /// Every generation of those.
    described: Vec<Described>,
    /// Vectors that could not be made, with their components' names.
    failed: Vec<(&'static str, FailedVector)>,
    findings: RefCell<Vec<Finding>>,
    /// Files that are written, if the check passes.
    blessed: RefCell<Vec<String>>,
}

impl Check<'_> {
    fn add(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    fn base_name(&self) -> String {
        let none = "the working tree's snapshots (there is no";
        match self.repo.map(Repo::base_name) {
            Some(Some(name)) => name,
            Some(None) => format!("{none} commit yet)"),
            None => format!("{none} repository here)"),
        }
    }

    /// The directory of the source of the crate that carries `component`.
    fn source_dir(&self, component: &Component) -> Option<String> {
        Some(self.packages.get(component.crate_name)?.source())
    }

    /// The source of the crate that carries `component`.
    fn sources(&self, component: &Component) -> Option<Rc<Sources>> {
        Some(self.library.get(&self.source_dir(component)?))
    }

    /// Where the version that `component` writes by default stands.
    fn default_place(&self, component: &Component) -> Place {
        let written = component.written();
        let version = Version::new(written.number, written.minor);
        self.version_place(component, version).0
    }

    /// Where the number of a generation stands.
    fn place(&self, generation: &Described) -> Place {
        let (place, _) = self.version_place(generation.component, generation.version());
        place
    }

    /// Where a version of `component` stands, and its constant; its snapshot where the source does not tell.
    fn version_place(&self, component: &Component, version: Version) -> (Place, Option<String>) {
        let sources = self.sources(component);
        let found = sources.as_ref();
        match found.and_then(|sources| sources.version(component.name, version.number)) {
            Some((place, name)) => (place, name.map(str::to_owned)),
            None => (Place::new(self.snapshot(component.name, version), 1), None),
        }
    }

    /// Where the struct `name` with these fields stands, of a generation of `component`: in the source of its
    /// crate, or in that of another.
    fn struct_place(
        &self,
        component: &Component,
        number: u32,
        (name, fields): (&str, &[&str]),
    ) -> Option<Place> {
        let own = self.source_dir(component);
        let others = self.packages.values().map(Package::source);
        own.into_iter().chain(others).find_map(|dir| {
            let sources = self.library.get(&dir);
            let found = sources.find_struct(name, fields, number)?;
            Some(found.place.clone())
        })
    }

    fn snapshot(&self, series: &str, version: Version) -> String {
        crate::history::path(&self.project.snapshots, series, version)
    }

    fn docs(&self) {
        let found = stale_docs(self.work, self.project, &self.described);
        self.findings.borrow_mut().extend(found);
    }
}

/// How many steps of needs a component has below it: what it needs comes before it.
fn users_last(all: &[&Component], name: &str) -> usize {
    let (mut steps, mut level) = (0, vec![name]);
    // Needs may go in a circle.
    while steps < all.len() {
        let needed = all.iter().filter(|one| level.contains(&one.name));
        let needed = needed.flat_map(|one| one.written().listed().map(|(need, _)| need));
        level = needed.collect();
        if level.is_empty() {
            break;
        }
        steps += 1;
    }
    steps
}

/// Takes names that are no part of the format from the snapshots.
fn name_as_recorded(described: &mut [Described], history: &History) {
    for one in described {
        let (series, version) = (one.series(), one.version());
        let past = history.past(&series, version);
        let recorded = past.map(|past| past.text.as_str());
        if let Some(recorded) = recorded.or_else(|| history.work(&series, version)) {
            one.name_as(recorded);
        }
    }
}

/// Checks the generated parts of the project's document alone.
pub fn check_docs(
    components: impl IntoIterator<Item = &'static Component>,
    project: &Project,
) -> Report {
    let work = Work::new(&project.root);
    let packages = packages(&work);
    let (_, own) = sorted(components, &packages);
    let (mut described, _) = describe::all(&own, None);
    name_as_recorded(
        &mut described,
        &History::read(&work, None, &project.snapshots),
    );
    let mut findings = Vec::from_iter(stale_docs(&work, project, &described));
    for finding in &mut findings {
        finding.severity = Severity::Error;
    }
    Report {
        base: "the components".to_owned(),
        prefix: String::new(),
        components: own.len(),
        findings,
        written: Vec::new(),
        withheld: Vec::new(),
    }
}

/// All components in order, and those that belong to crates of the project.
fn sorted(
    components: impl IntoIterator<Item = &'static Component>,
    packages: &BTreeMap<String, Package>,
) -> (Vec<&'static Component>, Vec<&'static Component>) {
    let mut all: Vec<_> = components.into_iter().collect();
    all.sort_by_key(|component| (component.name, component.crate_name));
    let mut own = all.clone();
    own.retain(|one| one.crate_name.is_empty() || packages.contains_key(one.crate_name));
    (all, own)
}

fn stale_docs(work: &Work, project: &Project, described: &[Described]) -> Option<Finding> {
    let path = project.docs.as_ref()?;
    let text = work.read(path)?;
    let (line, problem) = match docs::update(&text, described) {
        Ok(updated) if updated == text => return None,
        Ok(updated) => {
            let same = text.lines().zip(updated.lines());
            let same = same.take_while(|(old, new)| old == new).count();
            (same + 1, "is not what the components say".to_owned())
        }
        Err(error) => (1, format!("can not be written: {error}")),
    };
    let title = format!("the generated part of {path} {problem}");
    let finding = rules::DOCS_STALE.found("", title).mend(&*project.bless);
    Some(finding.at(Place::new(path, line)))
}
