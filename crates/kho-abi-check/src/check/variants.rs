//! What differs in a variant of a generation. What its version means is told of the generation itself.

use kho_compat::Variant;

use super::Check;
use crate::describe::Described;
use crate::diff::Changes;
use crate::finding::Severity;
use crate::history::parts;
use crate::rules;

/// Whether `label` can stand in the name of a file.
pub(super) fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl Check<'_> {
    /// What differs in a variant, against the history of its versions.
    pub(super) fn variant(&self, generation: &Described, variant: &Variant) {
        let name = generation.component.name;
        let (series, version) = (generation.series(), generation.version());
        let same = |one: &&Variant| one.label == variant.label;
        let of_label = generation.generation.variants.iter().filter(same);
        if !is_label(variant.label) || of_label.count() > 1 {
            let title =
                format!("invalid variant `{series}`: expected letters and digits, each once");
            let finding = rules::GRAMMAR.with_mend(name, title);
            return self.add(finding.at(self.place(generation)));
        }
        if let Some(past) = self.history.past(&series, version) {
            return self.unchanged(generation, past);
        }
        if generation.is_experiment() {
            self.experiment(generation);
            return self.written_down(generation);
        }
        let newest = self.history.newest_of(&series, version.number);
        if let Some((last, past)) = newest.or_else(|| self.history.newest(&series)) {
            // The same in another version is no finding of its own.
            let changes = Changes::of(&past.text, &generation.beside(&past.text));
            if last > version || changes == Changes::default() {
            } else if last.number == version.number {
                self.minor_raised(generation, last, past);
            } else if generation.is_default() {
                self.bumped(generation, last.number);
            }
        } else if self.history.newest_of(name, version.number).is_some() {
            let of = variant.of;
            let title = format!("{} is new: what differs in this {of}", generation.token());
            let finding = rules::VARIANT_ADDED.found(name, title);
            self.add(finding.at(self.place(generation)));
        }
        self.written_down(generation);
    }

    /// Variants of the base of which a generation says nothing more. Another version may be the same in all of
    /// them: that is listed.
    pub(super) fn missing_variants(&self) {
        for series in self.history.past.keys() {
            let (name, variant) = parts(series);
            let newest = self.history.newest(series);
            let Some((newest, _)) =
                newest.filter(|_| variant.starts_with('@') && !variant.contains('+'))
            else {
                continue;
            };
            for one in self.described.iter().filter(|one| one.series() == name) {
                let same = self.history.newest_of(series, one.generation.number);
                let gone = same.is_some() || one.is_default() && newest < one.version();
                if !gone || self.is_generation(series, one.version()) {
                    continue;
                }
                let was = same.map_or(newest, |(last, _)| last).token(series);
                let title = format!("{} states no variant of what {was} was", one.token());
                let mut finding = rules::VARIANT_REMOVED.with_mend(name, title);
                if same.is_none() {
                    finding.severity = Severity::Allowed;
                }
                self.add(finding.at(self.place(one)));
            }
        }
    }
}
