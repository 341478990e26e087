//! The snapshots of all versions: in the working tree, in the base, in releases.

use std::collections::BTreeMap;
use std::fmt;

use kho_compat::Variant;

use crate::snapshot::{self, Abi};
use crate::tree::{Repo, Tree, Work, join};

/// A version with its minor version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) minor: u16,
}

impl Version {
    pub(crate) const fn new(number: u32, minor: u16) -> Self {
        Self { number, minor }
    }

    /// The token of the version: `memfd-v2`, or `memfd-v2.1`; in the series of a variant `radix-v1@16k`.
    pub(crate) fn token(self, series: &str) -> String {
        let (component, variant) = parts(series);
        format!("{component}-v{self}{variant}")
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, minor) = match text.split_once('.') {
            Some((number, minor)) => (number, minor.parse().ok().filter(|minor| *minor > 0)?),
            None => (text, 0),
        };
        Some(Self::new(number.parse().ok()?, minor))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            0 => write!(f, "{}", self.number),
            minor => write!(f, "{}.{minor}", self.number),
        }
    }
}

/// The series of snapshots of the component `name`: its name, and the label of a variant where they say what
/// differs there: `radix@16k`.
pub(crate) fn series(name: &str, variant: Option<&Variant>) -> String {
    match variant {
        Some(variant) => format!("{name}@{}", variant.label),
        None => name.to_owned(),
    }
}

/// The component of a series, and the rest of its name: nothing, `@16k`, or `+block2`.
pub(crate) fn parts(series: &str) -> (&str, &str) {
    series.split_at(series.find(['@', '+']).unwrap_or(series.len()))
}

/// Snapshots by series and version: the text of each, or the whole file where it is none.
pub(crate) type Snapshots = BTreeMap<String, BTreeMap<Version, String>>;

/// A snapshot that is history.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) text: String,
    /// The tag of a release that has it; `None` for the base.
    pub(crate) tag: Option<String>,
    /// Whether the working tree is built on what has it.
    pub(crate) merged: bool,
}

/// The snapshots of all versions.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) work: Snapshots,
    pub(crate) past: BTreeMap<String, BTreeMap<Version, Past>>,
    /// Snapshots of experiments that the base has: those may change, and are no history.
    pub(crate) experiments: Snapshots,
}

pub(crate) fn path(dir: &str, series: &str, version: Version) -> String {
    let (component, variant) = parts(series);
    join(dir, &format!("{component}/v{version}{variant}.snap"))
}

fn read(tree: &dyn Tree, dir: &str) -> Snapshots {
    let mut out = Snapshots::new();
    for (component, is_dir) in tree.list(dir) {
        if !is_dir {
            continue;
        }
        let of = join(dir, &component);
        for (name, _) in tree.list(&of) {
            let name_of = name.strip_prefix('v').and_then(|n| n.strip_suffix(".snap"));
            let (number, variant) = name_of.map_or(("", ""), parts);
            let Some(version) = Version::parse(number) else {
                continue;
            };
            let Some(file) = tree.read(&join(&of, &name)) else {
                continue;
            };
            let text = snapshot::contents(&file).unwrap_or(&file).to_owned();
            let series = out.entry(format!("{component}{variant}")).or_default();
            series.insert(version, text);
        }
    }
    out
}

/// Released versions, and experiments.
fn apart(snapshots: Snapshots) -> (Snapshots, Snapshots) {
    let (mut released, mut experiments) = (Snapshots::new(), Snapshots::new());
    for (component, versions) in snapshots {
        for (version, text) in versions {
            let of = if is_experiment(&text) {
                &mut experiments
            } else {
                &mut released
            };
            let of = of.entry(component.clone()).or_default();
            of.insert(version, text);
        }
    }
    (released, experiments)
}

/// Whether a snapshot is of an experiment.
pub(crate) fn is_experiment(text: &str) -> bool {
    Abi::parse(text).is_some_and(|abi| abi.head(ROLE) == Some(EXPERIMENT))
}

/// The line of a description that tells an experiment.
pub(crate) const ROLE: &str = "role";
pub(crate) const EXPERIMENT: &str = "experimental";

impl History {
    pub(crate) fn read(work: &Work, repo: Option<&Repo>, dir: &str) -> Self {
        let mut history = Self {
            work: read(work, dir),
            ..Self::default()
        };
        let base = repo.and_then(Repo::base);
        match (repo, &base) {
            (Some(repo), Some(base)) => {
                let (snapshots, experiments) = apart(read(base, dir));
                history.experiments = experiments;
                history.add(snapshots, None, true);
                // Most releases have the snapshots of the one before.
                let mut seen: Vec<_> = base.id(dir).into_iter().collect();
                for (tag, merged, revision) in repo.tags() {
                    let Some(id) = revision.id(dir) else { continue };
                    if seen.contains(&id) {
                        continue;
                    }
                    seen.push(id);
                    history.add(apart(read(&revision, dir)).0, Some(tag), merged);
                }
            }
            // Nothing to compare with: what the tree says is taken for history.
            _ => {
                let (snapshots, experiments) = apart(history.work.clone());
                history.experiments = experiments;
                history.add(snapshots, None, true);
            }
        }
        history
    }

    fn add(&mut self, snapshots: Snapshots, tag: Option<&str>, merged: bool) {
        for (component, versions) in snapshots {
            let known = self.past.entry(component).or_default();
            for (version, text) in versions {
                let past = known.entry(version).or_insert_with(|| Past {
                    text,
                    tag: None,
                    merged,
                });
                past.merged |= merged;
                if past.tag.is_none() {
                    past.tag = tag.map(str::to_owned);
                }
            }
        }
    }

    /// The snapshot of a version that is history.
    pub(crate) fn past(&self, series: &str, version: Version) -> Option<&Past> {
        self.past.get(series)?.get(&version)
    }

    /// The versions that this tree is built on, the newest first.
    pub(crate) fn merged(&self, series: &str) -> impl Iterator<Item = (Version, &Past)> {
        let versions = self.past.get(series).into_iter().flatten().rev();
        let merged = versions.filter(|(_, past)| past.merged);
        merged.map(|(version, past)| (*version, past))
    }

    /// The newest version that this tree is built on.
    pub(crate) fn newest(&self, series: &str) -> Option<(Version, &Past)> {
        self.merged(series).next()
    }

    /// The newest minor version of `number` that this tree is built on.
    pub(crate) fn newest_of(&self, series: &str, number: u32) -> Option<(Version, &Past)> {
        self.merged(series)
            .find(|(version, _)| version.number == number)
    }

    /// The snapshot of a version in the working tree.
    pub(crate) fn work(&self, series: &str, version: Version) -> Option<&str> {
        Some(self.work.get(series)?.get(&version)?.as_str())
    }
}
