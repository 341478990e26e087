//! Releases of the crates that carry components.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kho_compat::Component;

use super::Check;
use crate::finding::Place;
use crate::packages::{Package, is_breaking, next_breaking, next_compatible};
use crate::rules;
use crate::tree::Tree;

/// Whether a crate makes the release that a change needs, in words.
#[derive(Default)]
pub(super) struct Released {
    pub(super) words: String,
    problem: String,
    mend: Option<String>,
    place: Option<Place>,
}

/// What release a change needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// One that cargo takes for compatible.
    Compatible,
    Breaking,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compatible => "new release",
            Self::Breaking => "breaking release",
        })
    }
}

impl Check<'_> {
    /// Says so where the crate that carries `component` makes no such release for `change`.
    pub(super) fn carried(&self, component: &Component, need: Need, change: &str, place: Place) {
        let released = self.released(component, need);
        if let Some(mend) = released.mend {
            let title = format!("{change}, but {}", released.problem);
            let finding = rules::CRATE_NOT_RELEASED.found(component.name, title);
            self.add(finding.at(released.place.unwrap_or(place)).mend(mend));
        }
    }

    /// Whether the crate that carries `component` makes such a release.
    pub(super) fn released(&self, component: &Component, need: Need) -> Released {
        let name = component.crate_name;
        let Some(package) = self.packages.get(name) else {
            return Released::default();
        };
        let carries = |words: String| Released {
            words,
            ..Released::default()
        };
        let Some(old) = self.old_version(component) else {
            return carries(format!(" {name} is new."));
        };
        let Some(now) = &package.version else {
            return Released {
                words: String::new(),
                problem: format!("the version of {name} can not be told"),
                mend: Some(format!("give {name} a version in {}", package.version_in)),
                place: Some(Place::new(&*package.version_in, 1)),
            };
        };
        let does = |old: &semver::Version| match need {
            Need::Breaking => is_breaking(old, now),
            Need::Compatible => *now >= next_compatible(old),
        };
        if does(&old) {
            return carries(format!(" {name} {old} -> {now} carries it."));
        }
        // A version that is above the last release already may carry more than one change.
        let last = self.last_release(name).filter(|(_, last)| does(last));
        if let Some((tag, _)) = last {
            return carries(format!(
                " {name} {now} carries it, which is a {need} after {tag}."
            ));
        }
        let needed = match need {
            Need::Breaking => next_breaking(&old),
            Need::Compatible => next_compatible(&old),
        };
        let place = self.version_line(package);
        let mut mend = format!("set the version of {name} to {needed} at {place}");
        if let (Need::Breaking, Some(place)) = (need, self.dependency_line(name)) {
            mend = format!("{mend}, and where the workspace depends on it ({place})");
        }
        Released {
            words: String::new(),
            problem: format!("{name} {old} -> {now} is no {need}"),
            mend: Some(mend),
            place: Some(place),
        }
    }

    /// Where the version of a crate stands.
    fn version_line(&self, package: &Package) -> Place {
        let text = self.work.read(&package.version_in).unwrap_or_default();
        let shared = if package.is_shared { "workspace." } else { "" };
        let table = format!("[{shared}package]");
        let mut lines = text.lines();
        let before = lines
            .by_ref()
            .take_while(|line| line.trim() != table)
            .count();
        let found = lines.position(|line| line.starts_with("version"));
        // The table's own line, and lines count from 1.
        let line = found.map_or(1, |found| before + 1 + found + 1);
        Place::new(&*package.version_in, line)
    }

    /// Where the workspace depends on the crate `name` by its version.
    fn dependency_line(&self, name: &str) -> Option<Place> {
        let text = self.work.read("Cargo.toml")?;
        let is_its = |line: &str| {
            let rest = line.strip_prefix(name).map(str::trim_start);
            rest.is_some_and(|rest| rest.starts_with('=') && rest.contains("version"))
        };
        let index = text.lines().position(is_its)?;
        Some(Place::new("Cargo.toml", index + 1))
    }

    /// The version of the crate `name` in the newest release that this tree is built on.
    fn last_release(&self, name: &str) -> Option<(String, semver::Version)> {
        let tags = self.repo?.tags().filter(|(_, merged, _)| *merged);
        let of_it = tags.filter(|(tag, ..)| {
            let own = tag.strip_prefix(name).and_then(|tag| tag.strip_prefix('-'));
            let version = own.unwrap_or(tag).strip_prefix('v');
            version.is_some_and(|version| version.parse::<semver::Version>().is_ok())
        });
        let versions = of_it.filter_map(|(tag, _, revision)| {
            let packages = crate::packages::packages(&revision);
            Some((tag.to_owned(), packages.get(name)?.version.clone()?))
        });
        versions.max_by(|a, b| a.1.cmp(&b.1))
    }

    /// The crate's version in the base.
    pub(super) fn old_version(&self, component: &Component) -> Option<semver::Version> {
        let package = self.base_packages.get(component.crate_name)?;
        package.version.clone()
    }

    /// Crates that carry components and take their version from one line.
    pub(super) fn shared_lines(&self) {
        let mut sharing: BTreeMap<&str, (&Package, BTreeSet<&str>)> = BTreeMap::new();
        for component in &self.own {
            let package = self.packages.get(component.crate_name);
            if let Some(package) = package.filter(|package| package.is_shared) {
                let line = sharing.entry(&package.version_in);
                let (_, crates) = line.or_insert_with(|| (package, BTreeSet::new()));
                crates.insert(component.crate_name);
            }
        }
        for (package, crates) in sharing.into_values().filter(|(_, crates)| crates.len() > 1) {
            let crates = Vec::from_iter(crates).join(", ");
            let title = format!("crates that carry components share one version: {crates}");
            let finding = rules::VERSION_LINE_SHARED.with_mend("", title);
            self.add(finding.at(self.version_line(package)));
        }
    }
}
