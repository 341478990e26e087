//! The snapshots of all versions: in the working tree, in the base, in releases.

use std::collections::BTreeMap;

use crate::snapshot;
use crate::tree::{Repo, Tree, Work, join};

/// Snapshots by component and version: the text of each, or the whole file where it is none.
pub(crate) type Snapshots = BTreeMap<String, BTreeMap<u32, String>>;

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
    pub(crate) past: BTreeMap<String, BTreeMap<u32, Past>>,
}

pub(crate) fn path(dir: &str, component: &str, version: u32) -> String {
    join(dir, &format!("{component}/v{version}.snap"))
}

fn read(tree: &dyn Tree, dir: &str) -> Snapshots {
    let mut out = Snapshots::new();
    for (component, is_dir) in tree.list(dir) {
        if !is_dir {
            continue;
        }
        let of = join(dir, &component);
        let mut versions = BTreeMap::new();
        for (name, _) in tree.list(&of) {
            let number = name.strip_prefix('v').and_then(|n| n.strip_suffix(".snap"));
            let Some(version) = number.and_then(|number| number.parse().ok()) else {
                continue;
            };
            let Some(file) = tree.read(&join(&of, &name)) else {
                continue;
            };
            let text = snapshot::contents(&file).unwrap_or(&file).to_owned();
            versions.insert(version, text);
        }
        if !versions.is_empty() {
            out.insert(component, versions);
        }
    }
    out
}

impl History {
    pub(crate) fn read(work: &Work, repo: Option<&Repo>, dir: &str) -> Self {
        let mut history = Self {
            work: read(work, dir),
            ..Self::default()
        };
        let base = repo.and_then(Repo::base);
        match (repo, &base) {
            (Some(repo), Some(base)) => {
                history.add(read(base, dir), None, true);
                // Most releases have the snapshots of the one before.
                let mut seen: Vec<_> = base.id(dir).into_iter().collect();
                for (tag, merged, revision) in repo.tags() {
                    let Some(id) = revision.id(dir) else { continue };
                    if seen.contains(&id) {
                        continue;
                    }
                    seen.push(id);
                    history.add(read(&revision, dir), Some(tag), merged);
                }
            }
            // Nothing to compare with: what the tree says is taken for history.
            _ => history.add(history.work.clone(), None, true),
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
    pub(crate) fn past(&self, component: &str, version: u32) -> Option<&Past> {
        self.past.get(component)?.get(&version)
    }

    /// The newest version that this tree is built on.
    pub(crate) fn newest(&self, component: &str) -> Option<(u32, &Past)> {
        let versions = self.past.get(component)?.iter().rev();
        let mut merged = versions.filter(|(_, past)| past.merged);
        merged.next().map(|(version, past)| (*version, past))
    }

    /// The snapshot of a version in the working tree.
    pub(crate) fn work(&self, component: &str, version: u32) -> Option<&str> {
        Some(self.work.get(component)?.get(&version)?.as_str())
    }
}
