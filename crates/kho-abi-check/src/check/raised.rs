//! A component that is written in another version than before, or in one more.

use kho_compat::{Component, Role};

use super::Check;
use super::release::Need;
use super::versions::is_additive;
use crate::change::Change;
use crate::describe::Described;
use crate::diff::Changes;
use crate::history::{Past, Version};
use crate::rules;
use crate::snapshot::Abi;

impl Check<'_> {
    /// Another version is written by default than the base's, `before`.
    pub(super) fn bumped(&self, generation: &Described, before: u32) {
        let component = generation.component;
        let (name, series) = (component.name, generation.series());
        let past = self.history.newest_of(&series, before);
        let Some((last, past)) = past.or_else(|| self.history.newest(&series)) else {
            return self.added(generation);
        };
        let place = self.place(generation);
        let change = format!("{} -> {}", last.token(&series), generation.token());
        let changes = Changes::of(&past.text, generation.text()).with_added();
        let details = changes.details();
        let finding = if details.is_empty() {
            let title = format!("{change}, but nothing that is guarded changed");
            let mend = format!(
                "set it back to {last} at {place}; or, if something did change, guard it with a constant or a vector"
            );
            rules::BUMPED_WITHOUT_CHANGE.found(name, title).mend(mend)
        } else {
            let released = self.released(component, Need::Breaking).words;
            let refuses = self.who_refuses(component, last.number);
            let title = format!("{change}: {}.{released} {refuses}", digest(&changes));
            let finding = rules::VERSION_BUMPED.found(name, title).details(details);
            finding.structs(changes.structs)
        };
        self.add(finding.at(place.clone()));
        self.carried(component, Need::Breaking, &change, place);
    }

    /// A minor version more of a generation: `past` is the one before.
    pub(super) fn minor_raised(&self, generation: &Described, last: Version, past: &Past) {
        let component = generation.component;
        let name = component.name;
        let place = self.place(generation);
        let old = last.token(&generation.series());
        let change = format!("{old} -> {}", generation.token());
        let changes = Changes::of(&past.text, &generation.beside(&past.text));
        if is_additive(&changes) {
            let released = self.released(component, Need::Compatible).words;
            let title = format!("{change}: what a reader of {last} ignores was added.{released}");
            let finding = rules::MINOR_RAISED.found(name, title);
            let finding = finding.details(changes.added.words());
            self.add(finding.at(place.clone()));
            return self.carried(component, Need::Compatible, &change, place);
        }
        let changes = changes.with_added();
        let details = changes.details();
        let back = format!("set the minor version back to {}", last.minor);
        let finding = if details.is_empty() {
            let title = format!("{change}, but nothing that is guarded changed");
            let finding = rules::BUMPED_WITHOUT_CHANGE.found(name, title);
            finding.mend(format!("{back} at {place}"))
        } else {
            let title = format!("{change}: what {old} described before changed");
            let finding = rules::MINOR_NOT_ADDITIVE.found(name, title);
            finding.mend(format!(
                "undo the change of what was there; or {back} and give {name} its next version ({place})"
            ))
        };
        self.add(finding.details(details).structs(changes.structs).at(place));
    }

    /// A generation that is not written by default, and that the base does not have.
    pub(super) fn generation_added(&self, generation: &Described, before: u32) {
        let component = generation.component;
        let name = component.name;
        let place = self.place(generation);
        let token = generation.token();
        let mut about = match generation.generation.role {
            Role::Written => "read, and written for who asks",
            Role::ReadOnly => "read only",
            Role::Experimental => "an experiment, neither read nor written unless a program asks",
        }
        .to_owned();
        let since = generation.generation.since;
        if !since.is_empty() {
            about += &format!("; since {since}");
        }
        about += &match generation.generation.all_layouts().len() {
            1 => "; 1 struct".to_owned(),
            structs => format!("; {structs} structs"),
        };
        let title = format!("{token} is added beside {name}-v{before}: {about}");
        let finding = rules::GENERATION_ADDED.found(name, title);
        self.add(finding.at(place.clone()));
        // A new default makes a breaking release, which carries this as well.
        if !generation.is_experiment() && component.major() <= before {
            let change = format!("{token} is added");
            self.carried(component, Need::Compatible, &change, place);
        }
    }

    /// An experiment, beside what the base has of it.
    pub(super) fn experiment(&self, generation: &Described) {
        let name = generation.component.name;
        let of = self.history.experiments.get(&generation.series());
        let Some(past) = of.and_then(|versions| versions.get(&generation.version())) else {
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
        let finding = rules::EXPERIMENT_CHANGED
            .found(name, title)
            .details(details);
        self.add(finding.structs(changes.structs).at(self.place(generation)));
    }

    pub(super) fn added(&self, generation: &Described) {
        let component = generation.component;
        let structs = Abi::parse(generation.text()).map_or(0, |abi| abi.structs.len());
        let mut about = match component.summary {
            "" => format!("{structs} structs"),
            summary => format!("{summary}; {structs} structs"),
        };
        let needs = generation.generation.listed().map(|(need, _)| need);
        let needs: Vec<_> = needs.collect();
        if !needs.is_empty() {
            about += &format!("; needs {}", needs.join(", "));
        }
        let title = format!("{} is new: {about}", generation.token());
        let finding = rules::COMPONENT_ADDED.found(component.name, title);
        self.add(finding.at(self.place(generation)));
    }

    /// What each side makes of the other's memory after a bump.
    fn who_refuses(&self, component: &Component, old: u32) -> String {
        let (name, version) = (component.name, component.major());
        let forward = match self.base_state().get(name) {
            Some(theirs) if theirs.restores(version) => {
                format!("restore {name}-v{version} already")
            }
            _ => format!("refuse {name}-v{version}"),
        };
        let still = if component.restores().has(old, 0) {
            "still"
        } else {
            "no longer"
        };
        format!("Earlier releases {forward}. This one {still} restores {name}-v{old}.")
    }
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
        let lists = [
            (added, "added"),
            (removed, "removed"),
            (other, "moved or changed"),
        ];
        let words = lists
            .into_iter()
            .filter_map(|(names, what)| match names.len() {
                0 => None,
                1..=4 => Some(format!("{} {what}", names.join(", "))),
                more => Some(format!("{more} fields {what}")),
            });
        let words: Vec<_> = words.collect();
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
    let changed = "what is written or read changed in";
    match changes.behaviour.len() {
        0 => {}
        1 => parts.push(format!("{changed} 1 vector")),
        vectors => parts.push(format!("{changed} {vectors} vectors")),
    }
    parts.join(", ")
}
