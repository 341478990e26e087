//! A generation whose version is history: it has to be what it was.

use kho_compat::Component;

use super::Check;
use super::versions::is_additive;
use crate::change::Change;
use crate::describe::Described;
use crate::diff::{Added, Changes};
use crate::finding::{Finding, Place};
use crate::history::Past;
use crate::packages::next_breaking;
use crate::rules::{self, Rule};
use crate::snapshot::Abi;
use crate::source::Sources;

impl Check<'_> {
    /// A generation at a version that is history: what it describes has to be what stands there.
    pub(super) fn unchanged(&mut self, generation: &Described, past: &Past) {
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
        let series = generation.series();
        let snapshot = crate::history::path(&self.project.snapshots, &series, version);
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
        let path = self.snapshot(&generation.series(), version);
        let words = added.words();
        let token = generation.token();
        if self.history.work(&generation.series(), version) == Some(now) {
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
}
