//! What the components say together: names, strings, who is gone, who is affected.

use std::collections::BTreeMap;

use kho_compat::{
    Compat, Component, Consequence, Listing, Outcome, Registry, RegistryError, Strings, Token,
    Writing,
};

use super::Check;
use super::versions::token;
use crate::composites::{self, State};
use crate::describe::Described;
use crate::finding::Place;
use crate::history::parts;
use crate::rules;
use crate::snapshot::{self, Abi};
use crate::tree::{Tree, join};

impl Check<'_> {
    /// Names, fields, needs, and the strings themselves.
    pub(super) fn grammar(&self) {
        for (index, component) in self.all.iter().enumerate() {
            let name = component.name;
            for other in self.all.iter().skip(index + 1) {
                let same = match component.subtree {
                    _ if name == other.name => format!("two components are called `{name}`"),
                    Some(subtree) if component.subtree == other.subtree => {
                        format!(
                            "`{name}` and `{}` both own the subtree {subtree}",
                            other.name
                        )
                    }
                    _ => continue,
                };
                let crates = [component.crate_name, other.crate_name].join(" and ");
                let finding = rules::TOKEN_NOT_UNIQUE.found(other.name, same);
                let finding = finding.details([format!("in the crates {crates}")]);
                let finding = finding.at(self.default_place(other));
                self.add(finding.mend("rename one of them"));
            }
        }
        let error = match &self.registry {
            Ok(registry) => return self.strings(registry),
            Err(RegistryError::Empty) if self.all.iter().any(|one| one.interface) => return,
            Err(error) => error,
        };
        let (rule, name) = match error {
            // Said above.
            RegistryError::Duplicate(..) | RegistryError::Twice(_) => return,
            RegistryError::UnknownNeed(name, _) | RegistryError::CyclicNeed(name, _) => {
                (rules::NEEDS_BROKEN, name.as_str())
            }
            RegistryError::TooLong(name, ..) => (rules::STRING_TOO_LONG, *name),
            RegistryError::Generations(name)
            | RegistryError::NotOwnVersion(name, ..)
            | RegistryError::WritesNewer(name, ..) => (rules::RESTORES_BROKEN, name.as_str()),
            RegistryError::Name(name, _) => (rules::GRAMMAR, name.as_str()),
            _ => (rules::GRAMMAR, ""),
        };
        let place = self.all.iter().find(|component| component.name == name);
        let place = place.map(|component| self.default_place(component));
        self.add(rule.with_mend(name, error.to_string()).at(place));
    }

    /// Each string, as whoever reads it takes it apart.
    fn strings(&self, registry: &Registry) {
        for component in self.own.iter().filter(|one| !one.interface) {
            let name = component.name;
            for writing in Writing::ALL {
                let problem = match registry.compat(name, writing.strings) {
                    Ok(compat) => match Compat::parse(&compat.to_string()) {
                        Ok(parsed) if parsed == compat => continue,
                        Ok(_) => format!("`{compat}` is read as another string"),
                        Err(error) => format!("`{compat}`: {error}"),
                    },
                    Err(error) => error.to_string(),
                };
                let title = format!("{writing} dialect: {problem}");
                self.add(rules::GRAMMAR.with_mend(name, title));
            }
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
    pub(super) fn removed(&self) {
        let state = self.base_state();
        // A base without that file: whatever has a snapshot there.
        let names: Vec<_> = if state.is_empty() {
            let all = self.history.past.keys().map(String::as_str);
            all.filter(|series| parts(series).1.is_empty()).collect()
        } else {
            state.keys().map(String::as_str).collect()
        };
        for name in names {
            if self.own.iter().any(|component| component.name == name) {
                continue;
            }
            let Some((version, past)) = self.history.newest(name) else {
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
            let is_new = |one: &&Described| !self.history.past.contains_key(one.component.name);
            let alike = self.described.iter().filter(is_new).find(same);
            let renamed = alike.map(|described| {
                let other = described.component.name;
                format!(", and `{other}` looks the same: renamed")
            });
            let title = format!("`{name}` is gone{}", renamed.unwrap_or_default());
            let mend = if self.all.iter().any(|component| component.name == name) {
                "its crate is none of this project's any more: allow that in the allow-list, with a reason"
            } else {
                "link its crate again (refer to it by name); or allow its removal in the allow-list, with a reason"
            };
            let lost =
                format!("what earlier releases hand over as {name}-v{version} can not be restored");
            let finding = rules::COMPONENT_REMOVED.found(name, title).details([lost]);
            let place = Place::new(self.snapshot(name, version), 1);
            self.add(finding.at(place).mend(mend));
        }
    }

    /// What the components write and restore together, against the base.
    pub(super) fn state(&self) {
        let Some((path, text)) = self.composites() else {
            return;
        };
        let now = composites::parse(&text);
        let file = self.work.read(&path);
        let written = file.as_deref().and_then(snapshot::contents);
        if written != Some(text.trim_end()) {
            let (problem, words) = match written {
                Some(old) => (
                    "not what the components say",
                    crate::diff::lines(old, &text),
                ),
                None => ("missing", Vec::new()),
            };
            let finding = rules::COMPOSITES_STALE.found("", format!("{path} is {problem}"));
            let finding = finding.details(words).at(Place::new(path, 1));
            self.add(finding.mend(&*self.project.bless));
        }
        let before = self.base_state();
        for component in &self.own {
            let name = component.name;
            if let (Some(before), Some(now)) = (before.get(name), now.get(name)) {
                self.compare(component, before, now);
            }
        }
    }

    fn compare(&self, component: &Component, before: &State, now: &State) {
        let (place, name) = (self.default_place(component), component.name);
        let differs = |key: &&'static str| before.get(key) != now.get(key);
        let strings = Writing::ALL.into_iter();
        let strings = strings.filter(|writing| writing.list == Listing::None);
        let changed: Vec<_> = strings.map(Writing::id).filter(differs).collect();
        if let (Some(carrier), false) = (component.carrier, changed.is_empty()) {
            let told = |key: &&str| format!("{key}: {} -> {}", before.get(key), now.get(key));
            let mut details: Vec<_> = changed.iter().map(told).collect();
            let plain = changed.contains(&Writing::PLAIN.id());
            details.extend(self.refused_by(component, plain));
            let of = carrier.title();
            let (what, consequence) = if plain {
                let then = Consequence::at(component.receiver(), carrier, Outcome::Rejected);
                let then = format!("a {of} of another version than the receiver's: {then}");
                ("its own version", then)
            } else {
                let text = now.get(Writing::PLAIN.id());
                let told = "who reads that alone, as Linux 7.2 and 7.3 do, is not told";
                ("what it needs", format!("plain stays {text}: {told}"))
            };
            details.push(consequence);
            let title = format!("the string of `{name}` ({of}) changes, because of {what}");
            let finding = rules::DEPENDENTS.found(name, title).details(details);
            self.add(finding.at(place.clone()));
        }
        if before.version != now.version {
            return;
        }
        let show = |text: &str| if text.is_empty() { "nothing" } else { text }.to_owned();
        let keys = ["restores", "writes", "presence"]
            .into_iter()
            .filter(differs);
        let told = |key| format!("{key}: {} -> {}", show(before.get(key)), show(now.get(key)));
        let details: Vec<_> = keys.map(told).collect();
        if !details.is_empty() {
            let title = format!("what {} restores or asks for changes", token(component));
            let finding = rules::RESTORES_CHANGED.found(name, title);
            self.add(finding.details(details).at(place));
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
        let name = component.name;
        let tokens: Vec<Token> = if plain {
            Vec::from_iter(Token::new(name, component.major()))
        } else {
            let registry = self.registry.as_ref().ok();
            let compat = registry.and_then(|r| r.compat(name, Strings::Transitive).ok());
            compat.map_or_else(Vec::new, |compat| compat.parts().to_vec())
        };
        // By what they refuse: releases that restore the same share a line.
        type Refusal<'t> = (bool, &'t str, Option<String>, &'t Token);
        let mut refusals: BTreeMap<Refusal<'_>, Vec<String>> = BTreeMap::new();
        for (release, state) in releases {
            for token in tokens.iter().filter(|_| state.contains_key(name)) {
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
