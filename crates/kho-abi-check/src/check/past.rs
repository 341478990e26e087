//! The history itself: nothing edited, nothing deleted, nothing that describes what is not there.

use super::Check;
use super::versions::token;
use crate::describe::Described;
use crate::diff::Changes;
use crate::finding::{Finding, Place};
use crate::history::{Past, Version, is_experiment, parts};
use crate::rules;

impl Check<'_> {
    /// The history itself: nothing edited, nothing deleted.
    pub(super) fn past(&self) {
        for (name, versions) in &self.history.past {
            for (version, past) in versions {
                self.one_past(name, *version, past);
            }
        }
        self.orphans();
    }

    /// Snapshots that are no history and describe nothing that is there.
    fn orphans(&self) {
        for (series, versions) in &self.history.work {
            let (name, variant) = parts(series);
            let own = self.own.iter().find(|component| component.name == name);
            let generations = self.described.iter();
            let of_it = generations.filter(|generation| generation.series() == *series);
            for (version, text) in versions {
                // What is above all generations, or above the minor version of its own. An experiment's
                // feature may be off.
                let mut newest = of_it.clone().map(Described::version);
                let ahead = match newest.clone().find(|one| one.number == version.number) {
                    Some(own) => *version > own,
                    None => newest.all(|one| *version > one),
                };
                let off = own.is_some() && is_experiment(text);
                if !ahead
                    || off
                    || self.is_of_risen_needs(series)
                    || self.history.past(series, *version).is_some()
                {
                    continue;
                }
                let path = self.snapshot(series, *version);
                let is = own.map(|own| format!("the component is {}", token(own)));
                let now = match (is, variant.strip_prefix('@')) {
                    (None, _) => format!("there is no component `{name}`"),
                    (Some(is), None) => is,
                    (Some(is), Some(label)) => {
                        format!("{is}, of which nothing differs in `{label}`")
                    }
                };
                let title = format!("{path} describes a version that is not there: {now}");
                let finding = rules::SNAPSHOT_ORPHAN.found(name, title);
                self.add(finding.mend(format!("rm {path}")).at(Place::new(path, 1)));
            }
        }
    }

    fn one_past(&self, series: &str, version: Version, past: &Past) {
        let path = self.snapshot(series, version);
        let (name, _) = parts(series);
        let by = match &past.tag {
            Some(tag) => format!("released with {tag}"),
            None => format!("in {}", self.base_name()),
        };
        let commit = || self.repo.and_then(super::Repo::base_commit);
        let from = past.tag.as_deref().or_else(commit).unwrap_or("HEAD");
        let mend = format!("git restore --source={from} -- {path}");
        let place = Place::new(&*path, 1);
        let Some(text) = self.history.work(series, version) else {
            if past.merged {
                let title = format!("{path} is gone: it is {by}");
                let finding = rules::HISTORY_DELETED.found(name, title);
                self.add(finding.at(place).mend(mend));
            }
            return;
        };
        if text == past.text {
            return;
        }
        let changes = Changes::of(&past.text, text);
        // More of the same is told as such, where the snapshot is the component's current one.
        let told = [rules::GUARD_EXTENDED.id, rules::SNAPSHOT_STALE.id];
        let is_told = |finding: &Finding| {
            let file = finding.place.as_ref().map(|place| &place.file);
            finding.component == name && told.contains(&finding.rule) && file == Some(&path)
        };
        if changes.is_empty() && self.findings.borrow().iter().any(is_told) {
            return;
        }
        let changes = changes.with_added();
        let mut details = changes.details();
        if details.is_empty() {
            let lines = crate::diff::lines(&past.text, text);
            details = lines.into_iter().map(Into::into).collect();
        }
        let title = format!("{path} was edited: it is {by}");
        let finding = rules::HISTORY_EDITED.found(name, title).details(details);
        self.add(finding.structs(changes.structs).at(place).mend(mend));
    }

    /// Experiments of the base that are gone. One whose feature is off still has its snapshot.
    pub(super) fn experiments(&self) {
        for (series, versions) in &self.history.experiments {
            for version in versions.keys() {
                if self.history.work(series, *version).is_some()
                    || self.is_generation(series, *version)
                {
                    continue;
                }
                let title = format!("{}, an experiment, is gone", version.token(series));
                let finding = rules::EXPERIMENT_CHANGED.found(parts(series).0, title);
                self.add(finding.at(Place::new(self.snapshot(series, *version), 1)));
            }
        }
    }

    pub(super) fn is_generation(&self, series: &str, version: Version) -> bool {
        let mut all = self.described.iter();
        all.any(|one| one.series() == series && one.version() == version)
    }

    /// Generations and snapshots of numbers that were never released.
    pub(super) fn unreleased(&self) {
        for component in &self.own {
            for number in component.unreleased {
                let name = component.name;
                let token = format!("{name}-v{number}");
                let from = format!("take {number} from `Component::unreleased`");
                let tell = |title: String, place: Place, mend: String| {
                    let finding = rules::UNRELEASED_NUMBER.found(name, title);
                    self.add(finding.at(place).mend(mend));
                };
                if let Some(generation) = component.generation(*number) {
                    let version = Version::new(*number, generation.minor);
                    let (place, _) = self.version_place(component, version);
                    tell(
                        format!("{token} is a generation, and stated as never released"),
                        place,
                        format!("{from}; or remove the generation"),
                    );
                    continue;
                }
                let work = self.history.work.get(name).into_iter().flatten();
                for (version, _) in work.filter(|(version, _)| version.number == *number) {
                    let path = self.snapshot(name, *version);
                    tell(
                        format!("{path} describes {token}, which is stated as never released"),
                        Place::new(&*path, 1),
                        format!("rm {path}; or {from}"),
                    );
                }
            }
        }
    }
}
