//! A generation whose version is history: it has to be what it was.

use std::rc::Rc;

use kho_compat::Component;

use super::Check;
use super::versions::is_additive;
use crate::change::Change;
use crate::describe::Described;
use crate::diff::{Added, Changes};
use crate::finding::Place;
use crate::history::Past;
use crate::packages::next_breaking;
use crate::rules;
use crate::snapshot::Abi;
use crate::source::Sources;

impl Check<'_> {
    /// A generation at a version that is history: what it describes has to be what stands there.
    pub(super) fn unchanged(&self, generation: &Described, past: &Past) {
        let then = self.recorded(generation, &past.text);
        if self.needs_raised(generation, past) {
            return;
        }
        let now = generation.beside(&then);
        if then == now {
            return;
        }
        let (component, version) = (generation.component, generation.version());
        let changes = Changes::of(&then, &now);
        if changes.is_empty() && self.only_guards(generation, &changes.added, &past.text) {
            self.extended(generation, &changes.added, &now);
            return;
        }
        let mend = self.mend(generation, is_additive(&changes));
        let changes = changes.with_added();
        let (token, number) = (generation.token(), version.number);
        let moved = changes.structs.first();
        let moved = moved.map(|moved| (moved.name.as_str(), moved.fields()));
        let layout =
            moved.and_then(|(name, fields)| self.struct_place(component, number, (name, &fields)));
        let constant = changes.constants.iter().find_map(Change::constant);
        let sources = constant.and_then(|_| self.sources(component));
        let constant = constant.zip(sources.as_ref());
        let constant = constant.and_then(|(name, sources)| sources.find_const(name, number));
        let constant = constant.map(|item| item.place.clone());
        let vector = changes.behaviour.iter().find_map(Change::vector);
        let line = vector.and_then(|name| {
            let head = format!("vector {name}");
            past.text.lines().position(|line| line == head)
        });
        // Three lines stand before the text in a snapshot's file, and lines count from 1.
        let line = line.map_or(1, |line| line + 4);
        let snapshot = self.snapshot(&generation.series(), version);
        let vector = Some(Place::new(snapshot, line));
        // Structs alone have tables.
        let mut structs = changes.structs;
        let written = acted(&changes.behaviour, [&then, &now]);
        let told = [
            (rules::CHANGED_LAYOUT, "the layout", layout),
            (rules::CHANGED_CONSTANT, "a constant", constant),
            (rules::CHANGED_BEHAVIOUR, written, vector),
            (rules::NEEDS_CHANGED, "what is needed", None),
        ];
        let (layouts, constants) = (changes.layouts, changes.constants);
        let changed = [layouts, constants, changes.behaviour, changes.needs];
        for (changed, (rule, what, place)) in changed.into_iter().zip(told) {
            let structs = std::mem::take(&mut structs);
            if changed.is_empty() {
                continue;
            }
            let title = format!("{what} of {token} changed, its version did not");
            let finding = rule.found(component.name, title).structs(structs);
            let finding = finding.details(changed.iter().flat_map(Change::details));
            let place = place.unwrap_or_else(|| self.place(generation));
            self.add(finding.at(place).mend(&*mend));
        }
    }

    /// Whether what a description says of more was there before and not described.
    pub(super) fn only_guards(&self, generation: &Described, added: &Added, past: &str) -> bool {
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
                let all = sources.consts_of(name);
                let all = all.map(|item| (item.in_format, item.value.clone(), item.ty.clone()));
                let mut all: Vec<_> = all.collect();
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
        &self,
        component: &Component,
        names: &[String],
        same: impl Fn(&Sources, &Sources, &str) -> Option<bool>,
    ) -> bool {
        let Some(library) = &self.base_library else {
            return names.is_empty();
        };
        let own = self.packages.get_key_value(component.crate_name);
        let rest = self.own.iter().map(|other| other.crate_name);
        let rest = rest.filter_map(|name| self.packages.get_key_value(name));
        let crates: Vec<_> = own.into_iter().chain(rest).collect();
        names.iter().all(|wanted| {
            let mut found = crates.iter().filter_map(|(name, package)| {
                let now = self.library.get(&package.source());
                let base = self.base_packages.get(*name);
                let base = base.map_or_else(Rc::default, |base| library.get(&base.source()));
                same(&now, &base, wanted)
            });
            found.next().unwrap_or(false)
        })
    }

    /// A description that covers more of the same.
    fn extended(&self, generation: &Described, added: &Added, now: &str) {
        let (series, version) = (generation.series(), generation.version());
        let path = self.snapshot(&series, version);
        let token = generation.token();
        let (rule, title, mend) = if self.history.work(&series, version) == Some(now) {
            let what = "describes more than it did: nothing that it described before changed";
            let title = format!("the snapshot of {token} {what}");
            (&rules::GUARD_EXTENDED, title, None)
        } else {
            let title = format!("{token} says more of itself than its snapshot");
            let bless = &self.project.bless;
            let mend = format!("look at what was added, then: rm {path} && {bless}");
            (&rules::SNAPSHOT_STALE, title, Some(mend))
        };
        let mut finding = rule.found(generation.component.name, title);
        finding.mend = mend;
        self.add(finding.details(added.words()).at(Place::new(path, 1)));
    }

    /// What has to be done for a change to be one.
    fn mend(&self, generation: &Described, is_additive: bool) -> String {
        let component = generation.component;
        let (name, version) = (component.name, generation.version());
        let (place, constant) = self.version_place(component, version);
        let token = generation.token();
        let bless = &self.project.bless;
        let mut undo = "undo the change".to_owned();
        if !generation.is_default() {
            undo +=
                &format!(": what was handed over as {token} lies in memory as its snapshot says");
        }
        if is_additive {
            let minor = version.minor.saturating_add(1);
            undo += &format!(
                "; or, if a reader of {token} may ignore what was added, raise its minor version to {minor} \
                 ({place}), then run: {bless}"
            );
        }
        if !generation.is_default() {
            return undo;
        }
        let next = version.number.saturating_add(1);
        let constant =
            constant.map_or_else(|| "the version".to_owned(), |name| format!("`{name}`"));
        let mut steps = format!(
            "set {constant} to {next} ({place}) and the snapshot's name in the tests to match"
        );
        let crate_name = component.crate_name;
        if let Some(old) = self.old_version(component)
            && let Some(package) = self.packages.get(crate_name)
        {
            let needed = next_breaking(&old);
            if package.version.as_ref().is_none_or(|now| *now < needed) {
                steps += &format!(", release {crate_name} {needed} ({})", package.version_in);
            }
        }
        format!("{undo}; or make it {name}-v{next}: {steps}, then run: {bless}")
    }
}

/// What of a component's acts the vectors are about that changed: what it writes, what it reads, or both.
fn acted(changed: &[Change], descriptions: [&str; 2]) -> &'static str {
    let abis = descriptions.map(|text| Abi::parse(text).unwrap_or_default());
    let is_reading = |name: &str| {
        let vectors = abis.iter().flat_map(|abi| &abi.vectors);
        let mut lines = vectors
            .filter(|(of, _)| of == name)
            .flat_map(|(_, lines)| lines);
        let says = |line: &String| line.contains(": read") || line.contains("refused: ");
        name.contains("read") || name.contains("retrieved") || lines.any(says)
    };
    let mut names = changed.iter().filter_map(Change::vector).peekable();
    let reads = names.peek().is_some_and(|first| is_reading(first));
    match names.find(|name| is_reading(name) != reads) {
        Some(_) => "what is written and read",
        None if reads => "what is read",
        None => "what is written in memory",
    }
}
