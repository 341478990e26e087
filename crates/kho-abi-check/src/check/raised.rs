//! A component that is written in another version than before, or in one more.

use kho_compat::{Component, Role};

use super::Check;
use super::release::Need;
use super::versions::is_additive;
use crate::change::Change;
use crate::describe::Described;
use crate::diff::Changes;
use crate::finding::Finding;
use crate::history::{Past, Version};
use crate::rules;
use crate::snapshot::Abi;

impl Check<'_> {
    /// Another version is written by default than the base's, `before`.
    pub(super) fn bumped(&mut self, generation: &Described, before: u32) {
        let component = generation.component;
        let name = component.name;
        let series = generation.series();
        let past = self.history.newest_of(&series, before);
        let Some((last, past)) = past.or_else(|| self.history.newest(&series)) else {
            return self.added(generation);
        };
        let (old, past) = (last.token(&series), past.clone());
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
    pub(super) fn minor_raised(&mut self, generation: &Described, last: Version, past: &Past) {
        let component = generation.component;
        let name = component.name;
        let (place, _) = self.version_place(component, generation.version());
        let old = last.token(&generation.series());
        let change = format!("{old} -> {}", generation.token());
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
            let title = format!("{change}: what {old} described before changed");
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
    pub(super) fn generation_added(&mut self, generation: &Described, before: u32) {
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
    pub(super) fn experiment(&mut self, generation: &Described) {
        let component = generation.component;
        let (name, version) = (component.name, generation.version());
        let of = self.history.experiments.get(&generation.series());
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

    pub(super) fn added(&mut self, generation: &Described) {
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
