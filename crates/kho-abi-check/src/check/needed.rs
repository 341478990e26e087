//! A version whose vectors show what it needs: they are recorded once more where the version of a need rose.
//!
//! The version itself stays. Its snapshot is history, so the vectors that differ stand beside it, in a file
//! named for the versions of all needs: `luo/v5+block2.snap`.

use std::path::Path;

use kho_compat::{Component, Registry, Strings, Token};

use super::Check;
use crate::change::Change;
use crate::describe::Described;
use crate::diff::Changes;
use crate::finding::Place;
use crate::history::{self, Past, Version};
use crate::snapshot::{self, Abi};
use crate::{FailedVector, rules};

impl Check<'_> {
    /// What a generation that is written needs, directly or not, in the versions of today.
    fn needed(&self, generation: &Described) -> Vec<Token> {
        let registry = self.registry.as_ref().ok();
        let registry = registry.filter(|_| generation.is_default());
        let name = generation.component.name;
        let compat = registry.and_then(|all| all.compat(name, Strings::Transitive).ok());
        compat.map_or_else(Vec::new, |compat| compat.parts().to_vec())
    }

    /// Those of its needs that the base has in an older version.
    fn risen(&self, generation: &Described) -> Vec<Token> {
        let before = self.base_state();
        let mut needed = self.needed(generation);
        needed.retain(|need| {
            let state = before.get(need.name());
            state.is_some_and(|state| state.version < need.version())
        });
        needed
    }

    /// The series of what it shows of the needs of today: `luo+block2`.
    fn beside_needs(&self, generation: &Described) -> String {
        beside(&generation.series(), &self.needed(generation))
    }

    /// Whether a series is what a generation shows of needs whose versions rise now.
    pub(super) fn is_of_risen_needs(&self, series: &str) -> bool {
        let mut all = self.described.iter();
        all.any(|one| !self.risen(one).is_empty() && self.beside_needs(one) == series)
    }

    /// The snapshot `past` of a generation, with the vectors that are recorded for the needs of today.
    pub(super) fn recorded(&self, generation: &Described, past: &str) -> String {
        let (series, version) = (self.beside_needs(generation), generation.version());
        let landed = self.history.past(&series, version);
        let landed = landed.map(|past| past.text.as_str());
        let work = || {
            let work = self.history.work(&series, version);
            work.filter(|_| !self.risen(generation).is_empty())
        };
        let shown = landed.or_else(work).and_then(Abi::parse);
        let (Some(shown), Some(mut abi)) = (shown, Abi::parse(past)) else {
            return past.to_owned();
        };
        for (name, lines) in &mut abi.vectors {
            if let Some((_, shown)) = shown.vectors.iter().find(|(of, _)| of == name) {
                lines.clone_from(shown);
            }
        }
        abi.render().trim_end().to_owned()
    }

    /// What a generation shows of needs whose versions rise now: the series and its text, where vectors alone
    /// differ from its snapshot `past`.
    fn shown(&self, generation: &Described, past: &Past) -> Option<(String, String)> {
        if self.risen(generation).is_empty() {
            return None;
        }
        let changes = Changes::of(&past.text, generation.text());
        let lists = [&changes.layouts, &changes.constants, &changes.needs];
        let is_vector = |change: &Change| matches!(change, Change::Vector { .. });
        let vectors_alone = lists.iter().all(|list| list.is_empty())
            && changes.added.is_empty()
            && changes.behaviour.iter().all(is_vector);
        if !vectors_alone || changes.behaviour.is_empty() {
            return None;
        }
        let (mut abi, then) = (Abi::parse(generation.text())?, Abi::parse(&past.text)?);
        let series = self.beside_needs(generation);
        let needed: Vec<_> = self
            .needed(generation)
            .iter()
            .map(Token::to_string)
            .collect();
        abi.vectors.retain(|vector| !then.vectors.contains(vector));
        let text = Abi {
            token: generation.version().token(&series),
            head: vec![("needs".to_owned(), needed.join(", "))],
            vectors: abi.vectors,
            ..Abi::default()
        };
        Some((series, text.render().trim_end().to_owned()))
    }

    /// Tells what a generation shows of needs whose versions rise now; whether that is all that differs.
    pub(super) fn needs_raised(&self, generation: &Described, past: &Past) -> bool {
        let Some((series, text)) = self.shown(generation, past) else {
            return false;
        };
        let (name, version) = (generation.component.name, generation.version());
        let path = self.snapshot(&series, version);
        let place = Place::new(&*path, 1);
        let work = self.history.work(&series, version);
        let bless = &*self.project.bless;
        if self.history.past(&series, version).is_some() {
            return false;
        }
        let risen: Vec<_> = self
            .risen(generation)
            .iter()
            .map(Token::to_string)
            .collect();
        let (token, risen) = (generation.token(), risen.join(", "));
        let finding = match work {
            Some(work) if work == text => {
                let title =
                    format!("what {token} writes and reads shows {risen}; it stays {token}");
                rules::NEED_RAISED.found(name, title)
            }
            Some(_) => {
                let title = format!("{path} is not what {token} shows of {risen}");
                rules::SNAPSHOT_STALE.found(name, title).mend(bless)
            }
            None => {
                let title = format!("{path} is missing: {token} shows {risen}");
                rules::SNAPSHOT_MISSING.found(name, title).mend(bless)
            }
        };
        let changes = Changes::of(&past.text, generation.text());
        self.add(finding.details(changes.details()).at(place));
        true
    }

    /// Writes what a generation shows of needs whose versions rise now.
    pub(super) fn bless_needed(&self, generation: &Described, past: &Past) {
        let version = generation.version();
        let shown = self.shown(generation, past);
        let shown = shown.filter(|(series, _)| self.history.past(series, version).is_none());
        let Some((series, text)) = shown else {
            return;
        };
        if self.history.work(&series, version) == Some(text.as_str()) {
            return;
        }
        self.write(
            &self.snapshot(&series, version),
            &snapshot::file(&self.bless_source(generation.component), &text),
        );
    }
}

/// The series of what one of `series` shows of these needs.
fn beside(series: &str, needed: &[Token]) -> String {
    let label = |need: &Token| {
        let name = need.name().chars().filter(char::is_ascii_alphanumeric);
        format!("{}{}", name.collect::<String>(), need.version())
    };
    let label = needed.iter().map(label).collect::<String>();
    format!("{series}+{label}")
}

/// As [`describe`](crate::describe()), as the snapshot in `dir` has it: names that are no part of the format, and
/// vectors where a file beside it records what they show of the versions that the needs of `component` have now.
///
/// # Errors
///
/// A vector could not be made.
pub fn describe_released(
    component: &Component,
    registry: &Registry,
    dir: &Path,
) -> Result<String, FailedVector> {
    let mut text = crate::describe(component)?;
    let compat = registry.compat(component.name, Strings::Transitive).ok();
    let needed = compat.map_or_else(Vec::new, |compat| compat.parts().to_vec());
    let written = component.written();
    let version = Version::new(written.number, written.minor);
    let read = |series: &str| {
        let file = std::fs::read_to_string(dir.join(history::path("", series, version)));
        Abi::parse(snapshot::contents(&file.ok()?)?)
    };
    let then = read(component.name);
    if let (Some(then), Some(mut now)) = (&then, Abi::parse(&text))
        && now.name_as(then)
    {
        text = now.render();
    }
    let shown = read(&beside(component.name, &needed));
    let (Some(shown), Some(then), Some(mut abi)) = (shown, read(component.name), Abi::parse(&text))
    else {
        return Ok(text);
    };
    for vector in abi
        .vectors
        .iter_mut()
        .filter(|vector| shown.vectors.contains(vector))
    {
        let recorded = then.vectors.iter().find(|(name, _)| *name == vector.0);
        recorded
            .into_iter()
            .for_each(|recorded| vector.clone_from(recorded));
    }
    Ok(abi.render())
}
