//! Each generation of each component against the history of its versions.

use std::collections::BTreeMap;

use kho_compat::Component;

use super::Check;
use crate::describe::Described;
use crate::diff::Changes;
use crate::finding::Place;
use crate::history::Version;
use crate::rules;

impl Check<'_> {
    pub(super) fn versions(&self) {
        for generation in &self.described {
            self.generation(generation);
        }
        self.missing_variants();
        self.unreleased();
        self.experiments();
        self.shared_lines();
    }

    fn generation(&self, generation: &Described) {
        if let Some(variant) = generation.variant {
            return self.variant(generation, variant);
        }
        let (name, version) = (generation.component.name, generation.version());
        let (before, is_default) = (self.written_before(name), generation.is_default());
        if let Some(before) = before.filter(|before| is_default && version.number < *before) {
            let next = Version::new(before.saturating_add(1), 0);
            return self.went_back(generation, Version::new(before, 0), next);
        }
        let raised = before.filter(|before| is_default && *before < version.number);
        let of_number = self.history.newest_of(name, version.number);
        if let Some((last, _)) = of_number.filter(|(last, _)| version < *last) {
            let next = Version::new(last.number, last.minor.saturating_add(1));
            return self.went_back(generation, last, next);
        }
        if let Some(past) = self.history.past(name, version) {
            if let Some(before) = raised.filter(|_| past.merged) {
                self.bumped(generation, before);
            }
            return self.unchanged(generation, past);
        }
        match (of_number, raised, before) {
            _ if generation.is_experiment() => self.experiment(generation),
            (Some((last, past)), ..) => self.minor_raised(generation, last, past),
            (None, Some(before), _) => self.bumped(generation, before),
            (None, None, _) if is_default => self.added(generation),
            (None, None, Some(before)) => self.generation_added(generation, before),
            (None, None, None) => {}
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
    fn went_back(&self, generation: &Described, last: Version, next: Version) {
        let (name, version) = (generation.component.name, generation.version());
        let place = self.place(generation);
        let (token, was) = (generation.token(), last.token(name));
        let title = format!("{token} after {was}: the version went back");
        let mend = format!(
            "set it to {last} at {place}, or to {next} with what changed (it was {version} in the past, and that is history)"
        );
        self.add(
            rules::VERSION_WENT_BACK
                .found(name, title)
                .at(place)
                .mend(mend),
        );
    }

    /// A generation whose number, or minor version, leaves a gap after those that are known.
    fn skipped(&self, generation: &Described, before: Option<u32>) {
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
        let Some(next) = missing.first().copied() else {
            return;
        };
        let list: Vec<_> = missing.iter().map(|version| version.token(name)).collect();
        let old = known.map_or_else(String::new, |known| format!(" after {name}-v{known}"));
        let title = format!("{}{old}: versions were skipped", generation.token());
        let details = format!("there is no snapshot of {}", list.join(", "));
        let place = self.place(generation);
        let mend = format!(
            "set it to {next} at {place}; or keep the snapshots of the versions between, if they were \
             written anywhere; or, if no release wrote them, state them with `Component::unreleased`"
        );
        let finding = rules::VERSION_SKIPPED.found(name, title).details([details]);
        self.add(finding.at(place).mend(mend));
    }

    /// A version that is not history yet has to be written down as it is.
    pub(super) fn written_down(&self, generation: &Described) {
        let (name, series) = (generation.component.name, generation.series());
        let path = self.snapshot(&series, generation.version());
        let bless = &*self.project.bless;
        let Some(text) = self.history.work(&series, generation.version()) else {
            let finding = rules::SNAPSHOT_MISSING.found(name, format!("{path} is missing"));
            return self.add(finding.at(self.place(generation)).mend(bless));
        };
        let now = generation.beside(text);
        if text == now {
            return;
        }
        let changes = Changes::of(text, &now).with_added();
        let title = format!("{path} is not what {} is now", generation.token());
        let finding = rules::SNAPSHOT_STALE.found(name, title).mend(bless);
        let finding = finding.details(changes.details()).structs(changes.structs);
        self.add(finding.at(Place::new(path, 1)));
    }
}

/// Whether there is more than there was, and all else as it was.
pub(super) fn is_additive(changes: &Changes) -> bool {
    changes.is_empty() && !changes.added.is_empty() && changes.added.head.is_empty()
}

pub(super) fn token(component: &Component) -> String {
    format!("{}-v{}", component.name, component.major())
}
