//! Each generation of each component against the history of its versions.

use std::collections::BTreeMap;

use kho_compat::{Component, Role};

use super::Check;
use super::release::Need;
use crate::change::Change;
use crate::describe::Described;
use crate::diff::{Added, Changes};
use crate::finding::{Finding, Place};
use crate::history::{Past, Version};
use crate::packages::next_breaking;
use crate::rules::{self, Rule};
use crate::snapshot::Abi;
use crate::source::Sources;

impl Check<'_> {
    pub(super) fn versions(&mut self) {
        for generation in self.described.clone() {
            self.generation(&generation);
        }
        self.unreleased();
        self.experiments();
        self.shared_lines();
    }

    fn generation(&mut self, generation: &Described) {
        let component = generation.component;
        let (name, version) = (component.name, generation.version());
        let before = self.written_before(name);
        if let (true, Some(before)) = (generation.is_default(), before)
            && version.number < before
        {
            let next = Version::new(before, 0);
            return self.went_back(generation, next, Version::new(before.saturating_add(1), 0));
        }
        let is_raised = generation.is_default() && before.is_some_and(|n| n < version.number);
        let of_number = self.history.newest_of(name, version.number);
        let of_number = of_number.map(|(last, past)| (last, past.clone()));
        if let Some((last, _)) = of_number
            && version < last
        {
            let next = Version::new(last.number, last.minor.saturating_add(1));
            return self.went_back(generation, last, next);
        }
        if let Some(past) = self.history.past(name, version).cloned() {
            if let (true, Some(before), true) = (is_raised, before, past.merged) {
                self.bumped(generation, before);
            }
            return self.unchanged(generation, &past);
        }
        match (of_number, before) {
            _ if generation.is_experiment() => self.experiment(generation),
            (Some((last, past)), _) => self.minor_raised(generation, last, &past),
            (None, Some(before)) if is_raised => self.bumped(generation, before),
            (None, Some(before)) if !generation.is_default() => {
                self.generation_added(generation, before);
            }
            (None, _) if generation.is_default() => self.added(generation),
            (None, _) => {}
        }
        self.skipped(generation, before);
        self.written_down(generation);
    }

    /// The version that the base writes by default of the component `name`.
    fn written_before(&self, name: &str) -> Option<u32> {
        let state = self.base_state();
        let stated = state.get(name).map(|state| state.version);
        stated.or_else(|| self.history.newest(name).map(|(version, _)| version.number))
    }

    /// A generation at a version that is history: what it describes has to be what stands there.
    fn unchanged(&mut self, generation: &Described, past: &Past) {
        let now = generation.beside(&past.text);
        if past.text == now {
            return;
        }
        let component = generation.component;
        let version = generation.version();
        let changes = Changes::of(&past.text, &now);
        if changes.is_empty() && self.only_guards(generation, &changes.added, &past.text) {
            self.extended(generation, &changes.added, &now);
            return;
        }
        let mend = self.mend(generation, is_additive(&changes));
        let changes = changes.with_added();
        let token = generation.token();
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
        let snapshot = crate::history::path(&self.project.snapshots, component.name, version);
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
        let layout_place = self.first_place(component, version.number, &changes.structs);
        let constant = changes.constants.iter().find_map(Change::constant);
        let constant_place =
            constant.and_then(|name| self.const_place(component, version.number, name));
        let (version_place, _) = self.version_place(component, version);
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
    pub(super) fn only_guards(
        &mut self,
        generation: &Described,
        added: &Added,
        past: &str,
    ) -> bool {
        if added.is_empty() {
            return false;
        }
        // Descriptions of old had no line for the carrier and the features.
        let old = Abi::parse(past).is_none_or(|abi| abi.head("features").is_none());
        let head = |key: &String| old && (key == "carrier" || key == "features");
        if !added.head.iter().all(head) {
            return false;
        }
        let component = generation.component;
        let constants = added.constants.iter().map(|(name, _)| name);
        let constants: Vec<_> = constants.cloned().collect();
        // Of several of one name each has to have stood there.
        self.stood_in_base(component, &constants, |now, base, name| {
            let of = |sources: &Sources| {
                let mut all: Vec<_> = sources
                    .consts_of(name)
                    .map(|item| (item.in_format, item.value.clone(), item.ty.clone()))
                    .collect();
                if all.iter().any(|(in_format, ..)| *in_format) {
                    all.retain(|(in_format, ..)| *in_format);
                }
                all
            };
            let (now, base) = (of(now), of(base));
            let stood = now.iter().all(|item| base.contains(item));
            (!now.is_empty()).then_some(stood)
        }) && self.stood_in_base(component, &added.structs, |now, base, name| {
            let stood = |item: &str| base.structs_of(name).any(|base| base.text == item);
            let mut now = now.structs_of(name).peekable();
            now.peek()?;
            Some(now.all(|item| stood(&item.text)))
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
    fn extended(&mut self, generation: &Described, added: &Added, now: &str) {
        let (name, version) = (generation.component.name, generation.version());
        let path = self.snapshot(name, version);
        let words = added.words();
        let token = generation.token();
        if self.history.work(name, version) == Some(now) {
            let title = format!(
                "the snapshot of {token} describes more than it did: nothing that it described before changed"
            );
            let finding = Finding::new(&rules::GUARD_EXTENDED, name, title)
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
        let finding = Finding::new(&rules::SNAPSHOT_STALE, name, title)
            .details(words)
            .at(Some(Place::new(path, 1)))
            .mend(mend);
        self.add(finding);
    }

    /// A version below `last`, which the base has.
    fn went_back(&mut self, generation: &Described, last: Version, next: Version) {
        let component = generation.component;
        let (name, version) = (component.name, generation.version());
        let (place, _) = self.version_place(component, version);
        let title = format!(
            "{} after {}: the version went back",
            generation.token(),
            last.token(name)
        );
        let finding = Finding::new(&rules::VERSION_WENT_BACK, name, title)
            .at(Some(place.clone()))
            .mend(format!(
                "set it to {last} at {place}, or to {next} with what changed (it was {version} in the past, and that is history)"
            ));
        self.add(finding);
    }

    /// A generation whose number, or minor version, leaves a gap after those that are known.
    fn skipped(&mut self, generation: &Described, before: Option<u32>) {
        let component = generation.component;
        let (name, version) = (component.name, generation.version());
        let known = self.history.merged(name).map(|(version, _)| version.number);
        let known = known.chain(before).max();
        // Versions of a development tree are no gap: their snapshots say what they were.
        let work = self.history.work.get(name);
        let recorded = || work.into_iter().flat_map(BTreeMap::keys);
        let is_told = |number: &u32| {
            recorded().any(|version| version.number == *number)
                || component.unreleased.contains(number)
                || component.generation(*number).is_some()
        };
        let numbers = known.map_or(0..0, |known| known.saturating_add(1)..version.number);
        let numbers = numbers.filter(|number| !is_told(number));
        let last = self.history.newest_of(name, version.number);
        let first = last.map_or(0, |(last, _)| last.minor.saturating_add(1));
        let minors = (first..version.minor).map(|minor| Version::new(version.number, minor));
        let minors = minors.filter(|wanted| recorded().all(|version| version != wanted));
        let missing = numbers.map(|number| Version::new(number, 0)).chain(minors);
        let missing: Vec<_> = missing.take(4).collect();
        let Some(next) = missing.first() else {
            return;
        };
        let list: Vec<_> = missing.iter().map(|version| version.token(name)).collect();
        let old = known.map_or_else(String::new, |known| format!(" after {name}-v{known}"));
        let title = format!("{}{old}: versions were skipped", generation.token());
        let details = format!("there is no snapshot of {}", list.join(", "));
        let next = *next;
        let (place, _) = self.version_place(component, version);
        let finding = Finding::new(&rules::VERSION_SKIPPED, name, title)
            .details([details])
            .at(Some(place.clone()))
            .mend(format!(
                "set it to {next} at {place}; or keep the snapshots of the versions between, if they were \
                 written anywhere; or, if no release wrote them, state them with `Component::unreleased`"
            ));
        self.add(finding);
    }

    /// Another version is written by default than the base's, `before`.
    fn bumped(&mut self, generation: &Described, before: u32) {
        let component = generation.component;
        let name = component.name;
        let past = self.history.newest_of(name, before);
        let Some((last, past)) = past.or_else(|| self.history.newest(name)) else {
            return self.added(generation);
        };
        let (old, past) = (last.token(name), past.clone());
        let (place, _) = self.version_place(component, generation.version());
        let now = generation.text();
        let token = generation.token();
        let changes = Changes::of(&past.text, now).with_added();
        let details = changes.details();
        if details.is_empty() {
            let title = format!("{old} -> {token}, but nothing that is guarded changed");
            let finding = Finding::new(&rules::BUMPED_WITHOUT_CHANGE, name, title)
                .at(Some(place.clone()))
                .mend(format!(
                    "set it back to {last} at {place}; or, if something did change, guard it with a constant or a vector"
                ));
            self.add(finding);
        } else {
            let released = self.released(component, Need::Breaking);
            let title = format!(
                "{old} -> {token}: {}.{} {}",
                digest(&changes),
                released.words,
                self.who_refuses(component, last.number)
            );
            let finding = Finding::new(&rules::VERSION_BUMPED, name, title)
                .details(details)
                .structs(changes.structs)
                .at(Some(place.clone()));
            self.add(finding);
        }
        self.carried(
            component,
            Need::Breaking,
            &format!("{old} -> {token}"),
            place,
        );
    }

    /// A minor version more of a generation: `past` is the one before.
    fn minor_raised(&mut self, generation: &Described, last: Version, past: &Past) {
        let component = generation.component;
        let name = component.name;
        let (place, _) = self.version_place(component, generation.version());
        let change = format!("{} -> {}", last.token(name), generation.token());
        let changes = Changes::of(&past.text, &generation.beside(&past.text));
        if is_additive(&changes) {
            let released = self.released(component, Need::Compatible);
            let title = format!(
                "{change}: what a reader of {last} ignores was added.{}",
                released.words
            );
            let finding = Finding::new(&rules::MINOR_RAISED, name, title)
                .details(changes.added.words())
                .at(Some(place.clone()));
            self.add(finding);
            return self.carried(component, Need::Compatible, &change, place);
        }
        let changes = changes.with_added();
        let details = changes.details();
        let (rule, title, mend) = if details.is_empty() {
            let title = format!("{change}, but nothing that is guarded changed");
            let mend = format!("set the minor version back to {} at {place}", last.minor);
            (&rules::BUMPED_WITHOUT_CHANGE, title, mend)
        } else {
            let title = format!(
                "{change}: what {} described before changed",
                last.token(name)
            );
            let mend = format!(
                "undo the change of what was there; or set the minor version back to {} and give {name} its \
                 next version ({place})",
                last.minor
            );
            (&rules::MINOR_NOT_ADDITIVE, title, mend)
        };
        let finding = Finding::new(rule, name, title)
            .details(details)
            .structs(changes.structs)
            .at(Some(place))
            .mend(mend);
        self.add(finding);
    }

    /// A generation that is not written by default, and that the base does not have.
    fn generation_added(&mut self, generation: &Described, before: u32) {
        let component = generation.component;
        let name = component.name;
        let (place, _) = self.version_place(component, generation.version());
        let token = generation.token();
        let role = match generation.generation.role {
            Role::Written => "read, and written for who asks",
            Role::ReadOnly => "read only",
            Role::Experimental => "an experiment, neither read nor written unless a program asks",
        };
        let mut about = vec![role.to_owned()];
        let since = generation.generation.since;
        if !since.is_empty() {
            about.push(format!("since {since}"));
        }
        about.push(match generation.generation.all_layouts().len() {
            1 => "1 struct".to_owned(),
            structs => format!("{structs} structs"),
        });
        let title = format!(
            "{token} is added beside {name}-v{before}: {}",
            about.join("; ")
        );
        let finding = Finding::new(&rules::GENERATION_ADDED, name, title).at(Some(place.clone()));
        self.add(finding);
        // A new default makes a breaking release, which carries this as well.
        if !generation.is_experiment() && component.major() <= before {
            self.carried(
                component,
                Need::Compatible,
                &format!("{token} is added"),
                place,
            );
        }
    }

    /// An experiment, beside what the base has of it.
    fn experiment(&mut self, generation: &Described) {
        let component = generation.component;
        let (name, version) = (component.name, generation.version());
        let of = self.history.experiments.get(name);
        let Some(past) = of.and_then(|versions| versions.get(&version)) else {
            if let Some(before) = self.written_before(name) {
                self.generation_added(generation, before);
            }
            return;
        };
        let changes = Changes::of(past, &generation.beside(past)).with_added();
        let details = changes.details();
        if details.is_empty() {
            return;
        }
        let title = format!("{}, an experiment, changed", generation.token());
        let (place, _) = self.version_place(component, version);
        let finding = Finding::new(&rules::EXPERIMENT_CHANGED, name, title)
            .details(details)
            .structs(changes.structs)
            .at(Some(place));
        self.add(finding);
    }

    fn added(&mut self, generation: &Described) {
        let component = generation.component;
        let (place, _) = self.version_place(component, generation.version());
        let structs = Abi::parse(generation.text()).map_or(0, |abi| abi.structs.len());
        let mut about = vec![format!("{structs} structs")];
        if !component.summary.is_empty() {
            about.insert(0, component.summary.to_owned());
        }
        let needs: Vec<_> = generation
            .generation
            .listed()
            .map(|(need, _)| need)
            .collect();
        if !needs.is_empty() {
            about.push(format!("needs {}", needs.join(", ")));
        }
        let title = format!("{} is new: {}", generation.token(), about.join("; "));
        let finding = Finding::new(&rules::COMPONENT_ADDED, component.name, title).at(Some(place));
        self.add(finding);
    }

    /// A version that is not history yet has to be written down as it is.
    fn written_down(&mut self, generation: &Described) {
        let component = generation.component;
        let (name, version) = (component.name, generation.version());
        let path = self.snapshot(name, version);
        let bless = self.project.bless.clone();
        let Some(text) = self.history.work(name, version) else {
            let title = format!("{path} is missing");
            let (place, _) = self.version_place(component, version);
            let finding = Finding::new(&rules::SNAPSHOT_MISSING, name, title)
                .at(Some(place))
                .mend(bless);
            return self.add(finding);
        };
        let now = generation.beside(text);
        if text == now {
            return;
        }
        let changes = Changes::of(text, &now).with_added();
        let title = format!("{path} is not what {} is now", generation.token());
        let finding = Finding::new(&rules::SNAPSHOT_STALE, name, title)
            .details(changes.details())
            .structs(changes.structs)
            .at(Some(Place::new(path, 1)))
            .mend(bless);
        self.add(finding);
    }

    /// What has to be done for a change to be one.
    fn mend(&mut self, generation: &Described, is_additive: bool) -> String {
        let component = generation.component;
        let (name, version) = (component.name, generation.version());
        let (place, constant) = self.version_place(component, version);
        let token = generation.token();
        let bless = &self.project.bless;
        let minor = version.minor.saturating_add(1);
        let minor = if is_additive {
            format!(
                "; or, if a reader of {token} may ignore what was added, raise its minor version to {minor} \
                 ({place}), then run: {bless}"
            )
        } else {
            String::new()
        };
        if !generation.is_default() {
            return format!(
                "undo the change: what was handed over as {token} lies in memory as its snapshot says{minor}"
            );
        }
        let next = version.number.saturating_add(1);
        let constant =
            constant.map_or_else(|| "the version".to_owned(), |name| format!("`{name}`"));
        let mut steps = vec![format!(
            "set {constant} to {next} ({place}) and the snapshot's name in the tests to match"
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
            "undo the change{minor}; or make it {name}-v{next}: {}, then run: {bless}",
            steps.join(", "),
        )
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
}

/// Whether there is more than there was, and all else as it was.
fn is_additive(changes: &Changes) -> bool {
    changes.is_empty() && !changes.added.is_empty() && changes.added.head.is_empty()
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
