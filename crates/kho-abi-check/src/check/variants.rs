//! What differs in a variant of a generation. What its version means is told of the generation itself.

use kho_compat::Variant;

use super::Check;
use crate::describe::Described;
use crate::diff::Changes;
use crate::finding::{Finding, Severity};
use crate::history::parts;
use crate::rules;

/// Whether `label` can stand in the name of a file.
pub(super) fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl Check<'_> {
    /// What differs in a variant, against the history of its versions.
    pub(super) fn variant(&mut self, generation: &Described, variant: &Variant) {
        let component = generation.component;
        let (series, version) = (generation.series(), generation.version());
        let (place, _) = self.version_place(component, version);
        let same = |one: &&Variant| one.label == variant.label;
        if !is_label(variant.label)
            || generation.generation.variants.iter().filter(same).count() > 1
        {
            let title =
                format!("invalid variant `{series}`: expected letters and digits, each once");
            let finding = Finding::new(&rules::GRAMMAR, component.name, title).at(Some(place));
            return self.add(finding.mend(rules::GRAMMAR.mend));
        }
        if let Some(past) = self.history.past(&series, version).cloned() {
            return self.unchanged(generation, &past);
        }
        if generation.is_experiment() {
            self.experiment(generation);
            return self.written_down(generation);
        }
        let newest = self.history.newest_of(&series, version.number);
        let newest = newest.or_else(|| self.history.newest(&series));
        if let Some((last, past)) = newest.map(|(last, past)| (last, past.clone())) {
            // The same in another version is no finding of its own.
            let changes = Changes::of(&past.text, &generation.beside(&past.text));
            if last > version || changes == Changes::default() {
            } else if last.number == version.number {
                self.minor_raised(generation, last, &past);
            } else if generation.is_default() {
                self.bumped(generation, last.number);
            }
        } else if self
            .history
            .newest_of(component.name, version.number)
            .is_some()
        {
            let of = variant.of;
            let title = format!("{} is new: what differs in this {of}", generation.token());
            let finding = Finding::new(&rules::VARIANT_ADDED, component.name, title);
            self.add(finding.at(Some(place)));
        }
        self.written_down(generation);
    }

    /// Variants of the base of which a generation says nothing more. Another version may be the same in all of
    /// them: that is listed.
    pub(super) fn missing_variants(&mut self) {
        let mut found = Vec::new();
        for series in self.history.past.keys() {
            let (name, variant) = parts(series);
            let Some((newest, _)) = self.history.newest(series).filter(|_| !variant.is_empty())
            else {
                continue;
            };
            let says = |of: &Described| {
                let mut all = self.described.iter();
                all.any(|one| one.series() == *series && one.version() == of.version())
            };
            let all = self.described.iter();
            for one in all.filter(|one| one.series() == name && !says(one)) {
                let same = self.history.newest_of(series, one.generation.number);
                if same.is_some() || one.is_default() && newest < one.version() {
                    let last = same.map_or(newest, |(last, _)| last);
                    found.push((series.clone(), last, same.is_some(), one.clone()));
                }
            }
        }
        for (series, last, is_error, generation) in found {
            let component = generation.component;
            let (place, _) = self.version_place(component, generation.version());
            let (was, token) = (last.token(&series), generation.token());
            let title = format!("{token} states no variant of what {was} was");
            let mut finding = Finding::new(&rules::VARIANT_REMOVED, component.name, title)
                .at(Some(place))
                .mend(rules::VARIANT_REMOVED.mend);
            if !is_error {
                finding.severity = Severity::Allowed;
            }
            self.add(finding);
        }
    }
}
