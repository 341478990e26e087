//! The crates of a project, from their manifests.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::tree::{Tree, join};

/// A crate of the project.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Package {
    /// Its directory; `""` for the root's.
    pub(crate) dir: String,
    /// Its version, where it could be told.
    pub(crate) version: Option<semver::Version>,
    /// The manifest that the version stands in.
    pub(crate) version_in: String,
    /// Whether that is the line of the workspace.
    pub(crate) is_shared: bool,
}

impl Package {
    /// Where its code lies.
    pub(crate) fn source(&self) -> String {
        join(&self.dir, "src")
    }
}

/// The crates of the project by name.
pub(crate) fn packages(tree: &dyn Tree) -> BTreeMap<String, Package> {
    let mut out = BTreeMap::new();
    let Some(root) = manifest(tree, "") else {
        return out;
    };
    let workspace = root.get("workspace").and_then(Value::as_table);
    let shared = workspace
        .and_then(|table| table.get("package"))
        .and_then(|package| package.get("version"))
        .and_then(Value::as_str);
    let list = |key: &str| -> Vec<String> {
        let list = workspace
            .and_then(|table| table.get(key))
            .and_then(Value::as_array);
        let list = list.into_iter().flatten().filter_map(Value::as_str);
        list.map(|path| path.trim_end_matches('/').to_owned())
            .collect()
    };
    let excluded = list("exclude");
    let mut dirs = vec![String::new()];
    for pattern in list("members") {
        dirs.extend(expand(tree, &pattern));
    }
    for dir in dirs {
        if excluded.contains(&dir) {
            continue;
        }
        let Some(manifest) = manifest(tree, &dir) else {
            continue;
        };
        let Some(package) = manifest.get("package").and_then(Value::as_table) else {
            continue;
        };
        let Some(name) = package.get("name").and_then(Value::as_str) else {
            continue;
        };
        let own = package.get("version").and_then(Value::as_str);
        let version_in = if own.is_some() { &dir } else { "" };
        let version = own.or(shared).and_then(|text| text.parse().ok());
        let package = Package {
            version,
            is_shared: own.is_none(),
            version_in: join(version_in, "Cargo.toml"),
            dir,
        };
        out.insert(name.to_owned(), package);
    }
    out
}

fn manifest(tree: &dyn Tree, dir: &str) -> Option<Table> {
    tree.read(&join(dir, "Cargo.toml"))?.parse().ok()
}

/// The directories of a pattern of workspace members, in which `*` stands for any part of a name.
fn expand(tree: &dyn Tree, pattern: &str) -> Vec<String> {
    let mut dirs = vec![String::new()];
    for part in pattern.split('/').filter(|part| *part != ".") {
        let mut next = Vec::new();
        for dir in &dirs {
            if part.contains('*') {
                let entries = tree.list(dir).into_iter();
                let found = entries.filter(|(name, is_dir)| *is_dir && matches(part, name));
                next.extend(found.map(|(name, _)| join(dir, &name)));
            } else {
                next.push(join(dir, part));
            }
        }
        dirs = next;
    }
    dirs
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.filter_map(|at| rest.get(at..))
                .any(|rest| matches(tail, rest))
        }),
    }
}

/// Whether `new` is a breaking release after `old`, as cargo understands versions.
pub(crate) fn is_breaking(old: &semver::Version, new: &semver::Version) -> bool {
    let key = |version: &semver::Version| match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    };
    key(new) > key(old)
}

/// The next release after `old` that cargo takes for compatible, with something new.
pub(crate) fn next_compatible(old: &semver::Version) -> semver::Version {
    match old.major {
        0 => semver::Version::new(0, old.minor, old.patch + 1),
        major => semver::Version::new(major, old.minor + 1, 0),
    }
}

/// The next breaking release after `old`.
pub(crate) fn next_breaking(old: &semver::Version) -> semver::Version {
    match (old.major, old.minor) {
        (0, 0) => semver::Version::new(0, 0, old.patch + 1),
        (0, minor) => semver::Version::new(0, minor + 1, 0),
        (major, _) => semver::Version::new(major + 1, 0, 0),
    }
}
