//! Each component against the history of its versions.

use kho_compat::Component;

use super::Check;
use crate::change::Change;
use crate::diff::{Added, Changes};
use crate::finding::{Finding, Place};
use crate::history::Past;
use crate::packages::{is_breaking, next_breaking};
use crate::rules::{self, Rule};
use crate::snapshot::Abi;
use crate::source::Sources;

impl Check<'_> {
    pub(super) fn versions(&mut self) {
        let own = self.own.clone();
        for (index, component) in own.iter().enumerate() {
            let now = self.described.get(index).cloned().unwrap_or_default();
            let version = component.major();
            let newest = self
                .history
                .newest(component.name)
                .map(|(version, past)| (version, past.clone()));
            let same = self.history.past(component.name, version).cloned();
            match (newest, same) {
                (Some((newest, _)), _) if version < newest => {
                    self.went_back(component, newest);
                }
                (_, Some(past)) => self.unchanged(component, &past, &now),
                (Some((newest, past)), None) => {
                    self.bumped(component, newest, &past, &now);
                    self.written_down(component, &now);
                }
                (None, None) => {
                    self.added(component, &now);
                    self.written_down(component, &now);
                }
            }
        }
    }

    /// A component at a version that is history: what it describes has to be what stands there.
    fn unchanged(&mut self, component: &Component, past: &Past, now: &str) {
        if past.text == now {
            return;
        }
        let changes = Changes::of(&past.text, now);
        if changes.is_empty() && self.only_guards(component, &changes.added, &past.text) {
            self.extended(component, &changes.added, now);
            return;
        }
        let changes = changes.with_added();
        let mend = self.mend(component);
        let token = token(component);
        let mut add = |rule: &Rule, what: &str, changes: &[Change], structs, place| {
            if changes.is_empty() {
                return;
            }
            let finding = Finding::new(
                rule,
                component.name,
                format!("{what} of {token} changed, its version did not"),
            );
            let finding = finding
                .details(changes.iter().flat_map(Change::details))
                .structs(structs)
                .at(place)
                .mend(mend.clone());
            self.findings.push(finding);
        };
        // Places are looked up first: they need the sources.
        let snapshot =
            crate::history::path(&self.project.snapshots, component.name, component.major());
        let layout = changes.structs.first().map(|s| s.name.clone());
        let vector = changes.behaviour.iter().find_map(Change::vector);
        let vector_line = vector.and_then(|name| {
            let head = format!("vector {name}");
            past.text.lines().position(|line| line == head)
        });
        // Three lines stand before the text in a snapshot's file, and lines count from 1.
        let vector_place = Place::new(snapshot, vector_line.map_or(1, |line| line + 4));
        add(
            &rules::CHANGED_LAYOUT,
            "the layout",
            &changes.layouts,
            changes.structs.clone(),
            None,
        );
        add(
            &rules::CHANGED_CONSTANT,
            "a constant",
            &changes.constants,
            Vec::new(),
            None,
        );
        add(
            &rules::CHANGED_BEHAVIOUR,
            "what is written in memory",
            &changes.behaviour,
            Vec::new(),
            Some(vector_place),
        );
        add(
            &rules::NEEDS_CHANGED,
            "what is needed",
            &changes.needs,
            Vec::new(),
            None,
        );
        let layout_place = layout.and_then(|name| self.struct_place(component, &name));
        let constant = changes.constants.iter().find_map(Change::constant);
        let constant_place = constant.and_then(|name| self.const_place(component, name));
        let (version_place, _) = self.version_place(component);
        for finding in &mut self.findings {
            if finding.component == component.name && finding.place.is_none() {
                let place = match finding.rule {
                    rule if rule == rules::CHANGED_LAYOUT.id => layout_place.clone(),
                    rule if rule == rules::CHANGED_CONSTANT.id => constant_place.clone(),
                    _ => None,
                };
                finding.place = place.or_else(|| Some(version_place.clone()));
            }
        }
    }

    /// Whether what a description says of more was there before and not described.
    pub(super) fn only_guards(&mut self, component: &Component, added: &Added, past: &str) -> bool {
        if added.is_empty() {
            return false;
        }
        // Descriptions of old had no line for the carrier and the features.
        let old = Abi::parse(past).is_none_or(|abi| abi.head("features").is_none());
        let head = |key: &String| old && (key == "carrier" || key == "features");
        if !added.head.iter().all(head) {
            return false;
        }
        let constants = added.constants.iter().map(|(name, _)| name);
        let constants: Vec<_> = constants.cloned().collect();
        self.stood_in_base(component, &constants, |now, base, name| {
            let (now, base) = (now.find_const(name)?, base.find_const(name));
            Some(base.is_some_and(|base| (&now.value, &now.ty) == (&base.value, &base.ty)))
        }) && self.stood_in_base(component, &added.structs, |now, base, name| {
            let (now, base) = (now.find_struct(name)?, base.find_struct(name));
            Some(base.is_some_and(|base| now.text == base.text))
        })
    }

    /// Whether the source of the base has each of `names` as the source has it now: in the crate of
    /// `component`, or else in the one that has the name.
    fn stood_in_base(
        &mut self,
        component: &Component,
        names: &[String],
        same: impl Fn(&Sources, &Sources, &str) -> Option<bool>,
    ) -> bool {
        let Some(library) = &mut self.base_library else {
            return names.is_empty();
        };
        let own = self.packages.get_key_value(component.crate_name);
        let rest = self.own.iter().map(|other| other.crate_name);
        let rest = rest.filter_map(|name| self.packages.get_key_value(name));
        let crates: Vec<_> = own.into_iter().chain(rest).collect();
        names.iter().all(|wanted| {
            let mut found = crates.iter().filter_map(|(name, package)| {
                let now = self.library.get(&package.source());
                let empty = Sources::default();
                let base = match self.base_packages.get(*name) {
                    Some(package) => library.get(&package.source()),
                    None => &empty,
                };
                same(now, base, wanted)
            });
            found.next().unwrap_or(false)
        })
    }

    /// A description that covers more of the same.
    fn extended(&mut self, component: &Component, added: &Added, now: &str) {
        let version = component.major();
        let path = self.snapshot(component.name, version);
        let words = added.words();
        let token = token(component);
        if self.history.work(component.name, version) == Some(now) {
            let title = format!(
                "the snapshot of {token} describes more than it did: nothing that it described before changed"
            );
            let finding = Finding::new(&rules::GUARD_EXTENDED, component.name, title)
                .details(words)
                .at(Some(Place::new(path, 1)));
            self.add(finding);
            return;
        }
        let title = format!("{token} says more of itself than its snapshot");
        let mend = format!(
            "look at what was added, then: rm {path} && {}",
            self.project.bless
        );
        let finding = Finding::new(&rules::SNAPSHOT_STALE, component.name, title)
            .details(words)
            .at(Some(Place::new(path, 1)))
            .mend(mend);
        self.add(finding);
    }

    fn went_back(&mut self, component: &Component, newest: u32) {
        let (place, _) = self.version_place(component);
        let (name, version) = (component.name, component.major());
        let title = format!(
            "{} after {name}-v{newest}: the version went back",
            token(component)
        );
        let finding = Finding::new(&rules::VERSION_WENT_BACK, name, title)
            .at(Some(place.clone()))
            .mend(format!(
                "set it to {newest} at {place}, or to {} with what changed (it was {version} in the past, and that is history)",
                newest.saturating_add(1)
            ));
        self.add(finding);
    }

    fn bumped(&mut self, component: &Component, newest: u32, past: &Past, now: &str) {
        let (place, _) = self.version_place(component);
        let (name, version) = (component.name, component.major());
        let old = format!("{name}-v{newest}");
        let next = newest.saturating_add(1);
        // Versions of a development tree are no gap: their snapshots say what they were.
        let missing = |version: &u32| self.history.work(name, *version).is_none();
        let between: Vec<_> = (next..version).filter(missing).take(4).collect();
        if !between.is_empty() {
            let list: Vec<_> = between.iter().map(|v| format!("{name}-v{v}")).collect();
            let title = format!("{} after {old}: versions were skipped", token(component));
            let finding = Finding::new(&rules::VERSION_SKIPPED, name, title)
                .details([format!("there is no snapshot of {}", list.join(", "))])
                .at(Some(place.clone()))
                .mend(format!(
                    "set it to {next} at {place}; or keep the snapshots of the versions between, if they were written anywhere"
                ));
            self.add(finding);
        }
        let changes = Changes::of(&past.text, now).with_added();
        let details = changes.details();
        if details.is_empty() {
            let title = format!(
                "{old} -> {}, but nothing that is guarded changed",
                token(component)
            );
            let finding = Finding::new(&rules::BUMPED_WITHOUT_CHANGE, name, title)
                .at(Some(place.clone()))
                .mend(format!(
                    "set it back to {newest} at {place}; or, if something did change, guard it with a constant or a vector"
                ));
            self.add(finding);
        } else {
            let released = self.released(component);
            let title = format!(
                "{old} -> {}: {}.{} {}",
                token(component),
                digest(&changes),
                released.words,
                self.who_refuses(component, newest)
            );
            let finding = Finding::new(&rules::VERSION_BUMPED, name, title)
                .details(details)
                .structs(changes.structs)
                .at(Some(place.clone()));
            self.add(finding);
        }
        let released = self.released(component);
        if let Some(mend) = released.mend {
            let title = format!("{old} -> {}, but {}", token(component), released.problem);
            let finding = Finding::new(&rules::CRATE_NOT_RELEASED, name, title)
                .at(released.place.or(Some(place)))
                .mend(mend);
            self.add(finding);
        }
    }

    fn added(&mut self, component: &Component, now: &str) {
        let (place, _) = self.version_place(component);
        let structs = Abi::parse(now).map_or(0, |abi| abi.structs.len());
        let mut about = vec![format!("{structs} structs")];
        if !component.summary.is_empty() {
            about.insert(0, component.summary.to_owned());
        }
        let needs: Vec<_> = component.written().listed().map(|(need, _)| need).collect();
        if !needs.is_empty() {
            about.push(format!("needs {}", needs.join(", ")));
        }
        let title = format!("{} is new: {}", token(component), about.join("; "));
        let finding = Finding::new(&rules::COMPONENT_ADDED, component.name, title).at(Some(place));
        self.add(finding);
    }

    /// A version that is not history yet has to be written down as it is.
    fn written_down(&mut self, component: &Component, now: &str) {
        let version = component.major();
        let path = self.snapshot(component.name, version);
        let bless = self.project.bless.clone();
        match self.history.work(component.name, version) {
            Some(text) if text == now => {}
            Some(text) => {
                let changes = Changes::of(text, now).with_added();
                let title = format!("{path} is not what {} is now", token(component));
                let finding = Finding::new(&rules::SNAPSHOT_STALE, component.name, title)
                    .details(changes.details())
                    .structs(changes.structs)
                    .at(Some(Place::new(path, 1)))
                    .mend(bless);
                self.add(finding);
            }
            None => {
                let title = format!("{path} is missing");
                let (place, _) = self.version_place(component);
                let finding = Finding::new(&rules::SNAPSHOT_MISSING, component.name, title)
                    .at(Some(place))
                    .mend(bless);
                self.add(finding);
            }
        }
    }

    /// What has to be done for a change to be one.
    fn mend(&mut self, component: &Component) -> String {
        let (place, constant) = self.version_place(component);
        let next = component.major().saturating_add(1);
        let constant =
            constant.map_or_else(|| "the version".to_owned(), |name| format!("`{name}`"));
        let mut steps = vec![format!(
            "set {constant} to {next} ({place}) with `restores` and the snapshot's name in the tests to match"
        )];
        if let Some(old) = self.old_version(component)
            && let Some(package) = self.packages.get(component.crate_name)
        {
            let needed = next_breaking(&old);
            if package.version.as_ref().is_none_or(|now| *now < needed) {
                steps.push(format!(
                    "release {} {needed} ({})",
                    component.crate_name, package.version_in
                ));
            }
        }
        format!(
            "undo the change; or make it {}-v{next}: {}, then run: {}",
            component.name,
            steps.join(", "),
            self.project.bless
        )
    }

    /// The crate's version in the base.
    fn old_version(&self, component: &Component) -> Option<semver::Version> {
        let package = self.base_packages.get(component.crate_name)?;
        package.version.clone()
    }

    /// Whether the crate that carries `component` makes a breaking release.
    fn released(&self, component: &Component) -> Released {
        let name = component.crate_name;
        let Some(package) = self.packages.get(name) else {
            return Released::default();
        };
        let Some(old) = self.old_version(component) else {
            return Released {
                words: format!(" {name} is new."),
                ..Released::default()
            };
        };
        let Some(now) = &package.version else {
            return Released {
                words: String::new(),
                problem: format!("the version of {name} can not be told"),
                mend: Some(format!("give {name} a version in {}", package.version_in)),
                place: Some(Place::new(package.version_in.clone(), 1)),
            };
        };
        // A version that is above the last release already may carry more than one change.
        let last = self.last_release(name);
        if is_breaking(&old, now) {
            return Released {
                words: format!(" {name} {old} -> {now} carries it."),
                ..Released::default()
            };
        }
        if let Some((tag, last)) = last
            && is_breaking(&last, now)
        {
            return Released {
                words: format!(
                    " {name} {now} carries it, which is a breaking release after {tag}."
                ),
                ..Released::default()
            };
        }
        let needed = next_breaking(&old);
        let line = self.version_line(&package.version_in);
        let place = Place::new(package.version_in.clone(), line);
        Released {
            words: String::new(),
            problem: format!("{name} {old} -> {now} is no breaking release"),
            mend: Some(format!("set the version of {name} to {needed} at {place}")),
            place: Some(place),
        }
    }

    fn version_line(&self, manifest: &str) -> usize {
        use crate::tree::Tree;
        let text = self.work.read(manifest).unwrap_or_default();
        let found = text.lines().position(|line| line.starts_with("version"));
        found.map_or(1, |index| index + 1)
    }

    /// The version of the crate `name` in the newest release that this tree is built on.
    fn last_release(&self, name: &str) -> Option<(String, semver::Version)> {
        let mut tags: Vec<_> = self
            .repo?
            .tags()
            .filter(|(_, merged, _)| *merged)
            .filter_map(|(tag, _, revision)| {
                let version: semver::Version = tag.strip_prefix('v')?.parse().ok()?;
                Some((version, tag.to_owned(), revision))
            })
            .collect();
        tags.sort_by(|a, b| b.0.cmp(&a.0));
        tags.into_iter().find_map(|(_, tag, revision)| {
            let packages = crate::packages::packages(&revision);
            Some((tag, packages.get(name)?.version.clone()?))
        })
    }

    /// What each side makes of the other's memory after a bump.
    fn who_refuses(&self, component: &Component, old: u32) -> String {
        let (name, version) = (component.name, component.major());
        let state = self.base_state();
        let theirs = state.get(name);
        let forward = match theirs {
            Some(theirs) if theirs.restores(version) => {
                format!("Earlier releases restore {name}-v{version} already.")
            }
            _ => format!("Earlier releases refuse {name}-v{version}."),
        };
        let back = if component.restores().has(old, 0) {
            format!("This one still restores {name}-v{old}.")
        } else {
            format!("This one no longer restores {name}-v{old}.")
        };
        format!("{forward} {back}")
    }

    /// The history itself: nothing edited, nothing deleted.
    pub(super) fn past(&mut self) {
        let past = self.history.past.clone();
        for (name, versions) in &past {
            for (version, past) in versions {
                self.one_past(name, *version, past);
            }
        }
        self.orphans();
    }

    /// Snapshots that are no history and describe nothing that is there.
    fn orphans(&mut self) {
        let mut found = Vec::new();
        for (name, versions) in &self.history.work {
            let own = self.own.iter().find(|component| component.name == name);
            let current = own.map(|component| component.major());
            for version in versions.keys() {
                let ahead = current.is_none_or(|current| *version > current);
                if ahead && self.history.past(name, *version).is_none() {
                    found.push((name.clone(), *version, current));
                }
            }
        }
        for (name, version, current) in found {
            let path = self.snapshot(&name, version);
            let now = current.map_or_else(
                || format!("there is no component `{name}`"),
                |current| format!("the component is {name}-v{current}"),
            );
            let finding = Finding::new(
                &rules::SNAPSHOT_ORPHAN,
                &name,
                format!("{path} describes a version that is not there: {now}"),
            );
            let finding = finding
                .mend(format!("rm {path}"))
                .at(Some(Place::new(path, 1)));
            self.add(finding);
        }
    }

    fn one_past(&mut self, name: &str, version: u32, past: &Past) {
        let path = self.snapshot(name, version);
        let by = match &past.tag {
            Some(tag) => format!("released with {tag}"),
            None => format!("in {}", self.base_name()),
        };
        let from = match (&past.tag, self.repo.and_then(super::Repo::base_commit)) {
            (Some(tag), _) => tag.clone(),
            (None, Some(commit)) => commit.to_owned(),
            (None, None) => "HEAD".to_owned(),
        };
        let mend = format!("git restore --source={from} -- {path}");
        let Some(text) = self.history.work(name, version) else {
            if past.merged {
                let finding = Finding::new(
                    &rules::HISTORY_DELETED,
                    name,
                    format!("{path} is gone: it is {by}"),
                )
                .at(Some(Place::new(path, 1)))
                .mend(mend);
                self.add(finding);
            }
            return;
        };
        if text == past.text {
            return;
        }
        let changes = Changes::of(&past.text, text);
        // More of the same is told as such, where the snapshot is the component's current one.
        let told = [rules::GUARD_EXTENDED.id, rules::SNAPSHOT_STALE.id];
        let extended = self.findings.iter().any(|finding| {
            finding.component == name
                && told.contains(&finding.rule)
                && finding
                    .place
                    .as_ref()
                    .is_some_and(|place| place.file == path)
        });
        if extended && changes.is_empty() {
            return;
        }
        let changes = changes.with_added();
        let mut details = changes.details();
        if details.is_empty() {
            let lines = crate::diff::lines(&past.text, text);
            details = lines.into_iter().map(Into::into).collect();
        }
        let finding = Finding::new(
            &rules::HISTORY_EDITED,
            name,
            format!("{path} was edited: it is {by}"),
        )
        .details(details)
        .structs(changes.structs)
        .at(Some(Place::new(path, 1)))
        .mend(mend);
        self.add(finding);
    }
}

/// Whether a crate makes a breaking release, in words.
#[derive(Default)]
struct Released {
    words: String,
    problem: String,
    mend: Option<String>,
    place: Option<Place>,
}

pub(super) fn token(component: &Component) -> String {
    format!("{}-v{}", component.name, component.major())
}

/// A change in half a sentence.
fn digest(changes: &Changes) -> String {
    let mut parts = Vec::new();
    for layout in &changes.structs {
        let (mut added, mut removed, mut other) = (Vec::new(), Vec::new(), Vec::new());
        for row in layout.rows.iter().filter(|row| !row.is_same()) {
            match (&row.old, &row.new) {
                (None, Some(new)) => added.push(format!("`{}`", new.name)),
                (Some(old), None) => removed.push(format!("`{}`", old.name)),
                (_, Some(new)) => other.push(format!("`{}`", new.name)),
                (None, None) => {}
            }
        }
        let mut words = Vec::new();
        let mut list = |what: &str, names: &[String]| {
            if names.len() > 4 {
                words.push(format!("{} fields {what}", names.len()));
            } else if !names.is_empty() {
                words.push(format!("{} {what}", names.join(", ")));
            }
        };
        list("added", &added);
        list("removed", &removed);
        list("moved or changed", &other);
        let size = match layout.size {
            (Some(old), Some(new)) if old < new => format!(" grew from {old} to {new} bytes"),
            (Some(old), Some(new)) if old > new => format!(" shrank from {old} to {new} bytes"),
            (Some(_), None) => " was removed".to_owned(),
            _ => " changed".to_owned(),
        };
        let fields = if words.is_empty() || layout.size.1.is_none() {
            String::new()
        } else {
            format!(" ({})", words.join("; "))
        };
        parts.push(format!("struct {}{size}{fields}", layout.name));
    }
    let is_told = |change: &&Change| {
        let mut structs = changes.structs.iter();
        structs.any(|told| change.structure() == Some(&told.name))
    };
    let more = changes.layouts.iter().filter(|change| !is_told(change));
    let more = more.chain(&changes.constants).chain(&changes.needs);
    let more: Vec<_> = more.map(ToString::to_string).collect();
    if more.len() > 3 {
        parts.push(format!("{} other changes", more.len()));
    } else {
        parts.extend(more);
    }
    let vectors = changes.behaviour.len();
    if vectors > 0 {
        let plural = if vectors == 1 { "" } else { "s" };
        parts.push(format!(
            "what is written or read changed in {vectors} vector{plural}"
        ));
    }
    parts.join(", ")
}
