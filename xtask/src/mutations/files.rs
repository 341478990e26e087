//! The files of a workspace as edited so far, and the search for an item of a crate.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use super::source::{Entry, Part, Source};

/// The files below a directory, some of them edited.
pub(super) struct Files {
    root: PathBuf,
    /// New contents by path; `None` where the file is deleted.
    pub(super) edited: BTreeMap<String, Option<String>>,
    parsed: RefCell<BTreeMap<(String, bool), Rc<Source>>>,
    homes: BTreeMap<String, String>,
}

/// A file of a crate, and how it became part of it.
#[derive(Clone)]
pub(super) struct CrateFile {
    pub(super) name: String,
    modules: Vec<String>,
    optional: bool,
    /// The file and the place of its `mod` item.
    pub(super) declared: Option<(String, Range<usize>)>,
    pub(super) source: Rc<Source>,
}

/// What an edit is about.
pub(super) struct Found {
    pub(super) file: CrateFile,
    pub(super) path: String,
    pub(super) part: Part,
    /// Where a list that is not there can be added, as a call of this name.
    pub(super) missing: Option<(usize, String)>,
}

impl CrateFile {
    pub(super) fn path(&self, entry: &Entry) -> String {
        [self.modules.as_slice(), &entry.path].concat().join("::")
    }

    /// Whether `query` names the entry: its last part is the name, the others stand before it in order.
    fn has(&self, entry: &Entry, query: &[&str]) -> bool {
        let mut query = query.iter().rev();
        let mut path = entry.path.iter().rev().chain(self.modules.iter().rev());
        let (last, name) = (query.next(), path.next());
        last.zip(name).is_some_and(|(last, name)| last == name)
            && query.all(|part| path.any(|name| name == part))
    }
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Result<Self, String> {
        let mut files = Self {
            root,
            edited: BTreeMap::new(),
            parsed: RefCell::default(),
            homes: BTreeMap::new(),
        };
        for name in files.crates()? {
            let components = files.components(&name)?;
            files.homes.extend(
                components
                    .into_iter()
                    .map(|component| (component, name.clone())),
            );
        }
        Ok(files)
    }

    /// The crates of the workspace, in order.
    fn crates(&self) -> Result<Vec<String>, String> {
        let dir = self.root.join("crates");
        let entries = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let mut names: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| dir.join(name).join("src/lib.rs").exists())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The crates that declare components, in order.
    pub(super) fn homes(&self) -> Vec<&str> {
        let mut homes: Vec<_> = self.homes.values().map(String::as_str).collect();
        homes.sort_unstable();
        homes.dedup();
        homes
    }

    /// The crate that declares `component`.
    pub(super) fn home(&self, component: &str) -> Result<&str, String> {
        let home = self.homes.get(component).map(String::as_str);
        home.ok_or_else(|| {
            let known: Vec<_> = self.homes.keys().map(String::as_str).collect();
            format!(
                "no crate declares the component `{component}`; declared: {}",
                known.join(", ")
            )
        })
    }

    pub(super) fn read(&self, name: &str) -> Option<String> {
        match self.edited.get(name) {
            Some(content) => content.clone(),
            None => fs::read_to_string(self.root.join(name)).ok(),
        }
    }

    pub(super) fn write(&mut self, name: &str, content: Option<String>) {
        self.edited.insert(name.to_owned(), content);
    }

    pub(super) fn parse(&self, name: &str) -> Result<Option<Rc<Source>>, String> {
        let Some(text) = self.read(name) else {
            return Ok(None);
        };
        let key = (name.to_owned(), self.edited.contains_key(name));
        if let Some(known) = self.parsed.borrow().get(&key)
            && known.text == text
        {
            return Ok(Some(Rc::clone(known)));
        }
        let source = Source::parse(text).map_err(|error| {
            let line = error.span().start().line;
            format!("{name}:{line}: {error}")
        })?;
        let source = Rc::new(source);
        let mut parsed = self.parsed.borrow_mut();
        parsed.insert(key, Rc::clone(&source));
        Ok(Some(source))
    }

    /// Whether each edited file of Rust parses, and differs from what it was.
    #[cfg(test)]
    pub(super) fn parses(&self) -> Result<(), String> {
        for (name, content) in &self.edited {
            if *content == fs::read_to_string(self.root.join(name)).ok() {
                return Err(format!("{name} is what it was"));
            }
            if name.ends_with(".rs") {
                self.parse(name)?;
            }
        }
        Ok(())
    }

    /// The files of a crate's library, as its modules name them.
    pub(super) fn crate_files(&self, krate: &str) -> Result<Vec<CrateFile>, String> {
        let root = format!("crates/{krate}/src/lib.rs");
        let source = self.parse(&root)?;
        let source = source.ok_or_else(|| format!("no crate `{krate}`: there is no {root}"))?;
        let mut out = vec![CrateFile {
            name: root,
            modules: Vec::new(),
            optional: false,
            declared: None,
            source,
        }];
        let mut next = 0;
        while let Some(file) = out.get(next).cloned() {
            next += 1;
            let (dir, base) = file.name.rsplit_once('/').unwrap_or_default();
            let stem = base.trim_end_matches(".rs");
            let is_root = next == 1 || stem == "mod";
            for module in &file.source.modules {
                let relative = module.path.join("/");
                let own = if is_root {
                    dir.to_owned()
                } else {
                    format!("{dir}/{stem}")
                };
                let names = match &module.file {
                    Some(path) => vec![format!("{dir}/{path}")],
                    None => vec![
                        format!("{own}/{relative}.rs"),
                        format!("{own}/{relative}/mod.rs"),
                    ],
                };
                for name in names {
                    let Some(source) = self.parse(&name)? else {
                        continue;
                    };
                    out.push(CrateFile {
                        name,
                        modules: [file.modules.as_slice(), &module.path].concat(),
                        optional: file.optional || module.optional,
                        declared: Some((file.name.clone(), module.whole.clone())),
                        source,
                    });
                }
            }
        }
        Ok(out)
    }

    /// The components that a crate declares.
    fn components(&self, krate: &str) -> Result<Vec<String>, String> {
        let files = self.crate_files(krate)?;
        let mut out = Vec::new();
        for file in &files {
            for entry in &file.source.entries {
                if entry.kind == "component" && !file.optional && !entry.optional {
                    out.extend(name_of(&files, file, entry));
                }
            }
        }
        Ok(out)
    }

    /// What `at` names in a crate: `fn Tracker::add`, `struct MemfdSer.pos`, `component memfd.needs`. Of
    /// several, those that are built for tests or with a feature alone do not count,
    /// nor private ones beside public ones.
    pub(super) fn find(&self, krate: &str, at: &str) -> Result<Vec<Found>, String> {
        let (kind, rest) = at
            .split_once(' ')
            .ok_or_else(|| format!("`{at}`: expected a kind and a path"))?;
        let split = rest.find(['.', '#']).unwrap_or(rest.len());
        let (path, part) = rest.split_at(split);
        let part = part.trim_start_matches('.');
        let query: Vec<_> = path.split("::").collect();
        let files = self.crate_files(krate)?;
        let entries = files
            .iter()
            .flat_map(|file| file.source.entries.iter().map(move |entry| (file, entry)));
        let of_kind: Vec<_> = entries.filter(|(_, entry)| entry.kind == kind).collect();
        let mut found = of_kind.clone();
        found.retain(|(file, entry)| match kind {
            "component" if name_of(&files, file, entry).as_deref() == Some(path) => true,
            _ if path == "*" => entry.is_layout(&file.source.text),
            _ => file.has(entry, &query),
        });
        let is_used = |(file, entry): &(&CrateFile, &Entry)| !file.optional && !entry.optional;
        let is_public = |(_, entry): &(&CrateFile, &Entry)| entry.public || entry.kind == "fn";
        for better in [&is_used as &dyn Fn(&_) -> bool, &is_public] {
            if found.iter().any(better) {
                found.retain(better);
            }
        }
        if found.is_empty() {
            let named = |(file, entry): &(&CrateFile, &Entry)| file.path(entry);
            let last = query.last().copied().unwrap_or_default();
            let mut near: Vec<_> = of_kind.iter().map(named).collect();
            if near.iter().any(|path| path.contains(last)) {
                near.retain(|path| path.contains(last));
            }
            near.dedup();
            return Err(format!(
                "{krate} has no `{kind} {path}`; it has {}",
                near.join(", ")
            ));
        }
        let found = found.into_iter().map(|(file, entry)| {
            let path = file.path(entry);
            let mut missing = None;
            let (file, found) = match (part, entry.part(part)) {
                ("", _) => (file.clone(), entry.at.clone()),
                // The constant, where a component is given one.
                ("name" | "version", Some(given)) => match constant(&files, file, given) {
                    Some((file, entry)) => (file.clone(), entry.at.clone()),
                    None => (file.clone(), given.clone()),
                },
                (_, Some(found)) => (file.clone(), found.clone()),
                (_, None) => {
                    let names: Vec<_> = entry.parts.iter().map(|(name, _)| name.as_str()).collect();
                    let new = entry.part("new");
                    let new = new.ok_or_else(|| {
                        format!(
                            "{kind} {krate}::{path} has no `{part}`; it has {}",
                            names.join(", ")
                        )
                    })?;
                    missing = Some((new.whole.end, part.to_owned()));
                    (file.clone(), Part::default())
                }
            };
            Ok(Found {
                file,
                path: format!("{kind} {krate}::{path}"),
                part: found,
                missing,
            })
        });
        found.collect()
    }
}

/// The constant that `part`, a path, names in a crate: of several, that of the same file.
fn constant<'a>(
    files: &'a [CrateFile],
    file: &'a CrateFile,
    part: &Part,
) -> Option<(&'a CrateFile, &'a Entry)> {
    let value = file.source.text.get(part.value.clone()?)?;
    let query: Vec<_> = value
        .split("::")
        .filter(|part| !["crate", "self", "super"].contains(part))
        .collect();
    let own = std::iter::once(file).chain(files);
    let mut entries =
        own.flat_map(|file| file.source.entries.iter().map(move |entry| (file, entry)));
    entries.find(|(file, entry)| entry.kind == "const" && file.has(entry, &query))
}

/// The name of a component.
fn name_of(files: &[CrateFile], file: &CrateFile, entry: &Entry) -> Option<String> {
    let given = entry.part("name")?;
    let (file, range) = match constant(files, file, given) {
        Some((file, entry)) => (file, entry.at.value.clone()?),
        None => (file, given.value.clone()?),
    };
    let text = file.source.text.get(range)?;
    text.strip_prefix('"')?.strip_suffix('"').map(str::to_owned)
}
