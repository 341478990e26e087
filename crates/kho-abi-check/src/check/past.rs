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
        for (series, versions) in &self.history.work {
            let (name, _) = parts(series);
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
                if ahead && !off && self.history.past(series, *version).is_none() {
                    found.push((series.clone(), *version, own.map(|own| token(own))));
                }
            }
        }
        for (series, version, current) in found {
            let path = self.snapshot(&series, version);
            let (name, variant) = parts(&series);
            let now = match (current, variant.strip_prefix('@')) {
                (None, _) => format!("there is no component `{name}`"),
                (Some(current), None) => format!("the component is {current}"),
                (Some(current), Some(label)) => {
                    format!("the component is {current}, of which nothing differs in `{label}`")
                }
            };
            let finding = Finding::new(
                &rules::SNAPSHOT_ORPHAN,
                name,
                format!("{path} describes a version that is not there: {now}"),
            );
            let finding = finding
                .mend(format!("rm {path}"))
                .at(Some(Place::new(path, 1)));
            self.add(finding);
        }
    }

    fn one_past(&mut self, series: &str, version: Version, past: &Past) {
        let path = self.snapshot(series, version);
        let (name, _) = parts(series);
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
        let Some(text) = self.history.work(series, version) else {
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

    /// Experiments of the base that are gone. One whose feature is off still has its snapshot.
    pub(super) fn experiments(&mut self) {
        let mut gone = Vec::new();
        for (series, versions) in &self.history.experiments {
            for version in versions.keys() {
                if self.history.work(series, *version).is_none()
                    && !self.is_generation(series, *version)
                {
                    gone.push((series.clone(), *version));
                }
            }
        }
        for (series, version) in gone {
            let title = format!("{}, an experiment, is gone", version.token(&series));
            let place = Place::new(self.snapshot(&series, version), 1);
            let (name, _) = parts(&series);
            let finding = Finding::new(&rules::EXPERIMENT_CHANGED, name, title).at(Some(place));
            self.add(finding);
        }
    }

    fn is_generation(&self, series: &str, version: Version) -> bool {
        let mut all = self.described.iter();
        all.any(|one| one.series() == series && one.version() == version)
    }

    /// Generations and snapshots of numbers that were never released.
    pub(super) fn unreleased(&mut self) {
        let mut found = Vec::new();
        for component in &self.own {
            for number in component.unreleased {
                let token = format!("{}-v{number}", component.name);
                if let Some(generation) = component.generation(*number) {
                    let version = Version::new(*number, generation.minor);
                    let title = format!("{token} is a generation, and stated as never released");
                    found.push((*component, version, None, title));
                    continue;
                }
                let work = self.history.work.get(component.name).into_iter().flatten();
                for (version, _) in work.filter(|(version, _)| version.number == *number) {
                    let path = self.snapshot(component.name, *version);
                    let title =
                        format!("{path} describes {token}, which is stated as never released");
                    found.push((*component, *version, Some(path), title));
                }
            }
        }
        for (component, version, path, title) in found {
            let number = version.number;
            let (declared, _) = self.version_place(component, version);
            let from = format!("take {number} from `Component::unreleased`");
            let mend = match &path {
                Some(path) => format!("rm {path}; or {from}"),
                None => format!("{from}; or remove the generation"),
            };
            let place = path.map_or(declared, |path| Place::new(path, 1));
            let finding = Finding::new(&rules::UNRELEASED_NUMBER, component.name, title)
                .at(Some(place))
                .mend(mend);
            self.add(finding);
        }
    }
}
