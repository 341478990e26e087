//! What the components say together: names, strings, who is gone, who is affected.

use std::collections::BTreeMap;

use kho_compat::{Compat, Component, Consequence, Listing, RegistryError, Strings, Token, Writing};

use super::Check;
use super::versions::token;
use crate::composites::{self, State};
use crate::describe::Described;
use crate::finding::{Finding, Place};
use crate::history::parts;
use crate::rules;
use crate::snapshot::{self, Abi};
use crate::tree::{Tree, join};

impl Check<'_> {
    /// Names, fields, needs, and the strings themselves.
    pub(super) fn grammar(&mut self) {
        for (index, component) in self.all.clone().into_iter().enumerate() {
            let rest = self.all.clone();
            for other in rest.iter().skip(index + 1) {
                let same = if component.name == other.name {
                    format!("two components are called `{}`", component.name)
                } else if component.subtree.is_some() && component.subtree == other.subtree {
                    let subtree = component.subtree.unwrap_or_default();
                    format!(
                        "`{}` and `{}` both own the subtree {subtree}",
                        component.name, other.name
                    )
                } else {
                    continue;
                };
                let place = self.default_place(other);
                let crates = [component.crate_name, other.crate_name];
                let finding = Finding::new(&rules::TOKEN_NOT_UNIQUE, other.name, same)
                    .details([format!("in the crates {}", crates.join(" and "))])
                    .at(Some(place))
                    .mend("rename one of them");
                self.add(finding);
            }
        }
        let error = match &self.registry {
            Ok(_) => return self.strings(),
            Err(error) => error.clone(),
        };
        let (rule, name) = match &error {
            // Said above.
            RegistryError::Duplicate(..) | RegistryError::Twice(_) => return,
            RegistryError::UnknownNeed(name, _) | RegistryError::CyclicNeed(name, _) => {
                (&rules::NEEDS_BROKEN, name.clone())
            }
            RegistryError::TooLong(name, ..) => (&rules::STRING_TOO_LONG, (*name).to_owned()),
            RegistryError::Generations(name)
            | RegistryError::NotOwnVersion(name, ..)
            | RegistryError::WritesNewer(name, ..) => (&rules::RESTORES_BROKEN, name.clone()),
            RegistryError::Name(name, _) => (&rules::GRAMMAR, name.clone()),
            _ => (&rules::GRAMMAR, String::new()),
        };
        let place = self.all.clone().into_iter().find(|c| c.name == name);
        let place = place.map(|component| self.default_place(component));
        let finding = Finding::new(rule, &name, error.to_string())
            .at(place)
            .mend(rule.mend);
        self.add(finding);
    }

    /// Each string, as whoever reads it takes it apart.
    fn strings(&mut self) {
        let Ok(registry) = &self.registry else {
            return;
        };
        let mut bad = Vec::new();
        for component in &self.own {
            for writing in Writing::ALL {
                let problem = match registry.compat(component.name, writing.strings) {
                    Ok(compat) => match Compat::parse(&compat.to_string()) {
                        Ok(parsed) if parsed == compat => continue,
                        Ok(_) => format!("`{compat}` is read as another string"),
                        Err(error) => format!("`{compat}`: {error}"),
                    },
                    Err(error) => error.to_string(),
                };
                bad.push((component.name, format!("{writing} dialect: {problem}")));
            }
        }
        for (name, title) in bad {
            let finding = Finding::new(&rules::GRAMMAR, name, title).mend(rules::GRAMMAR.mend);
            self.add(finding);
        }
    }

    /// The components of the base, as its composites.snap has them.
    pub(super) fn base_state(&self) -> BTreeMap<String, State> {
        let path = join(&self.project.snapshots, composites::FILE);
        let base = self.base.unwrap_or(self.work);
        let file = base.read(&path).unwrap_or_default();
        composites::parse(snapshot::contents(&file).unwrap_or_default())
    }

    /// Components of the base that are gone.
    pub(super) fn removed(&mut self) {
        let state = self.base_state();
        // A base without that file: whatever has a snapshot there.
        let names: Vec<_> = if state.is_empty() {
            let past = self.history.past.iter();
            let merged = past.filter(|(_, versions)| versions.values().any(|past| past.merged));
            let names = merged.filter(|(series, _)| parts(series).1.is_empty());
            names.map(|(name, _)| name.clone()).collect()
        } else {
            state.keys().cloned().collect()
        };
        for name in names {
            if self.own.iter().any(|component| component.name == name) {
                continue;
            }
            let Some((version, past)) = self.history.newest(&name) else {
                continue;
            };
            let past = Abi::parse(&past.text);
            let same = |described: &&Described| {
                let now = Abi::parse(described.text());
                past.as_ref().zip(now.as_ref()).is_some_and(|(past, now)| {
                    (&past.structs, &past.constants, &past.vectors)
                        == (&now.structs, &now.constants, &now.vectors)
                })
            };
            let mut new = self
                .described
                .iter()
                .filter(|described| !self.history.past.contains_key(described.component.name));
            let alike = new.find(same).map(|described| described.component);
            let title = match alike {
                Some(other) => format!(
                    "`{name}` is gone, and `{}` looks the same: renamed",
                    other.name
                ),
                None => format!("`{name}` is gone"),
            };
            let place = Place::new(self.snapshot(&name, version), 1);
            let linked = self.all.iter().any(|component| component.name == name);
            let mend = if linked {
                "its crate is none of this project's any more: allow that in the allow-list, with a reason"
            } else {
                "link its crate again (refer to it by name); or allow its removal in the allow-list, with a reason"
            };
            let finding = Finding::new(&rules::COMPONENT_REMOVED, &name, title)
                .details([format!(
                    "what earlier releases hand over as {name}-v{version} can not be restored"
                )])
                .at(Some(place))
                .mend(mend);
            self.add(finding);
        }
    }

    /// What the components write and restore together, against the base.
    pub(super) fn state(&mut self) {
        let Some((path, text)) = self.composites() else {
            return;
        };
        let now = composites::parse(&text);
        let file = self.work.read(&path);
        let written = file.as_deref().and_then(snapshot::contents);
        if written != Some(text.trim_end()) {
            let words = written.map_or_else(Vec::new, |old| crate::diff::lines(old, &text));
            let title = if written.is_some() {
                format!("{path} is not what the components say")
            } else {
                format!("{path} is missing")
            };
            let finding = Finding::new(&rules::COMPOSITES_STALE, "", title)
                .details(words)
                .at(Some(Place::new(path, 1)))
                .mend(self.project.bless.clone());
            self.add(finding);
        }
        let before = self.base_state();
        let own = self.own.clone();
        for component in own {
            let name = component.name;
            if let (Some(before), Some(now)) = (before.get(name), now.get(name)) {
                self.compare(component, before, now);
            }
        }
    }

    fn compare(&mut self, component: &Component, before: &State, now: &State) {
        let place = self.default_place(component);
        let name = component.name;
        let of_strings = |writing: &Writing| writing.list == Listing::None;
        let changed: Vec<_> = Writing::ALL
            .into_iter()
            .filter(of_strings)
            .map(Writing::id)
            .filter(|key| before.get(key) != now.get(key))
            .collect();
        if let (Some(carrier), false) = (component.carrier, changed.is_empty()) {
            let mut details: Vec<_> = changed
                .iter()
                .map(|key| format!("{key}: {} -> {}", before.get(key), now.get(key)))
                .collect();
            let plain = changed.contains(&Writing::PLAIN.id());
            let what = if plain {
                "its own version"
            } else {
                "what it needs"
            };
            details.extend(self.refused_by(component, plain));
            if plain {
                details.push(format!(
                    "a {} of another version than the receiver's: {}",
                    carrier.title(),
                    Consequence::of(carrier)
                ));
            } else {
                details.push(format!(
                    "plain stays {}: who reads that alone, as Linux 7.2 and 7.3 do, is not told",
                    now.get(Writing::PLAIN.id())
                ));
            }
            let title = format!(
                "the string of `{name}` ({}) changes, because of {what}",
                carrier.title()
            );
            let finding = Finding::new(&rules::DEPENDENTS, name, title)
                .details(details)
                .at(Some(place.clone()));
            self.add(finding);
        }
        if before.version != now.version {
            return;
        }
        let details: Vec<_> = ["restores", "writes", "presence"]
            .iter()
            .filter(|key| before.get(key) != now.get(key))
            .map(|key| {
                let show = |text: &str| if text.is_empty() { "nothing" } else { text }.to_owned();
                format!("{key}: {} -> {}", show(before.get(key)), show(now.get(key)))
            })
            .collect();
        if !details.is_empty() {
            let title = format!("what {} restores or asks for changes", token(component));
            let finding = Finding::new(&rules::RESTORES_CHANGED, name, title)
                .details(details)
                .at(Some(place));
            self.add(finding);
        }
    }

    /// Which earlier releases refuse what `component` writes now.
    fn refused_by(&self, component: &Component, plain: bool) -> Vec<String> {
        let path = join(&self.project.snapshots, composites::FILE);
        let mut releases = vec![("the base".to_owned(), self.base_state())];
        for (tag, _, revision) in self.repo.into_iter().flat_map(super::Repo::tags) {
            let file = revision.read(&path).unwrap_or_default();
            let text = snapshot::contents(&file).unwrap_or_default();
            releases.push((tag.to_owned(), composites::parse(text)));
        }
        let tokens: Vec<Token> = if plain {
            Token::new(component.name, component.major())
                .into_iter()
                .collect()
        } else {
            let compat = self.registry.as_ref().ok();
            let compat = compat.and_then(|r| r.compat(component.name, Strings::Transitive).ok());
            compat.map_or_else(Vec::new, |compat| compat.parts().to_vec())
        };
        // By what they refuse: releases that restore the same share a line.
        type Refusal<'t> = (bool, &'t str, Option<String>, &'t Token);
        let mut refusals: BTreeMap<Refusal<'_>, Vec<String>> = BTreeMap::new();
        for (release, state) in releases {
            if !state.contains_key(component.name) {
                continue;
            }
            for token in &tokens {
                let restores = match state.get(token.name()) {
                    Some(theirs) if theirs.restores(token.version()) => continue,
                    Some(theirs) => Some(theirs.get("restores").to_owned()),
                    None => None,
                };
                let key = (restores.is_some(), token.name(), restores, token);
                refusals.entry(key).or_default().push(release.clone());
            }
        }
        let line = |((_, name, restores, token), who): (Refusal<'_>, Vec<String>)| {
            let who = who.join(", ");
            match restores {
                Some(only) => format!("{who}: restores {name} {only} only and refuses {token}"),
                None => format!("{who}: does not know {token}"),
            }
        };
        refusals.into_iter().map(line).collect()
    }
}
