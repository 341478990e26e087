//! Each generation of each component against the history of its versions.

use std::collections::BTreeMap;

use kho_compat::Component;

use super::Check;
use crate::describe::Described;
use crate::diff::Changes;
use crate::finding::{Finding, Place};
use crate::history::Version;
use crate::rules;

impl Check<'_> {
    pub(super) fn versions(&mut self) {
        for generation in self.described.clone() {
            self.generation(&generation);
        }
        self.missing_variants();
        self.unreleased();
        self.experiments();
        self.shared_lines();
    }

    fn generation(&mut self, generation: &Described) {
        if let Some(variant) = generation.variant {
            return self.variant(generation, variant);
        }
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
    pub(super) fn written_before(&self, name: &str) -> Option<u32> {
        let state = self.base_state();
        let stated = state.get(name).map(|state| state.version);
        stated.or_else(|| self.history.newest(name).map(|(version, _)| version.number))
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

    /// A version that is not history yet has to be written down as it is.
    pub(super) fn written_down(&mut self, generation: &Described) {
        let component = generation.component;
        let (name, version) = (component.name, generation.version());
        let path = self.snapshot(&generation.series(), version);
        let bless = self.project.bless.clone();
        let Some(text) = self.history.work(&generation.series(), version) else {
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
}

/// Whether there is more than there was, and all else as it was.
pub(super) fn is_additive(changes: &Changes) -> bool {
    changes.is_empty() && !changes.added.is_empty() && changes.added.head.is_empty()
}

pub(super) fn token(component: &Component) -> String {
    format!("{}-v{}", component.name, component.major())
}
