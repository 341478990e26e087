//! The files of a workspace as edited so far, and the search for an item of a crate.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use super::source::{Entry, Part, Source, slice};

/// The files below a directory, some of them edited.
pub(super) struct Files {
    root: PathBuf,
    /// New contents by path; `None` where the file is deleted.
    pub(super) edited: BTreeMap<String, Option<String>>,
    parsed: RefCell<BTreeMap<(String, bool), Rc<Source>>>,
    /// The crates that declare the components of which there are snapshots.
    homes: BTreeMap<String, String>,
}

/// A file of a crate, and how it became part of it.
#[derive(Clone)]
pub(super) struct CrateFile {
    pub(super) name: String,
    modules: Vec<String>,
    is_optional: bool,
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
        let dir = files.root.join("crates");
        let says = |error: std::io::Error| format!("{}: {error}", dir.display());
        // Tests declare components as well: what a feature alone builds counts where nothing else does.
        let mut optional = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(says)? {
            let krate = entry.map_err(says)?.file_name();
            let krate = krate.to_string_lossy();
            if !dir.join(&*krate).join("src/lib.rs").exists() {
                continue;
            }
            let of = files.crate_files(&krate)?;
            for (file, entry) in entries(&of) {
                let name = name_of(&of, file, entry);
                let has_snapshots =
                    |name: &String| files.root.join("abi-snapshots").join(name).exists();
                let Some(name) = name.filter(has_snapshots) else {
                    continue;
                };
                let is_built = !file.is_optional && !entry.is_optional;
                let homes = if is_built {
                    &mut files.homes
                } else {
                    &mut optional
                };
                homes.insert(name, krate.to_string());
            }
        }
        for (name, krate) in optional {
            files.homes.entry(name).or_insert(krate);
        }
        Ok(files)
    }

    /// These files alone, of the crate `c`, which declares the component `c`.
    #[cfg(test)]
    pub(super) fn of(edited: BTreeMap<String, Option<String>>) -> Self {
        let (root, parsed) = (PathBuf::new(), RefCell::default());
        let homes = BTreeMap::from([("c".to_owned(), "c".to_owned())]);
        Self {
            root,
            edited,
            parsed,
            homes,
        }
    }

    /// The crates that declare components, in order.
    pub(super) fn homes(&self) -> BTreeSet<&str> {
        self.homes.values().map(String::as_str).collect()
    }

    /// The components of which there are snapshots, each with the crate that declares it.
    pub(super) fn components(&self) -> impl Iterator<Item = (&str, &str)> {
        let homes = self.homes.iter();
        homes.map(|(component, krate)| (component.as_str(), krate.as_str()))
    }

    /// The value of the only item that `at` names in a crate.
    pub(super) fn value(&self, krate: &str, at: &str) -> Result<String, String> {
        let found = self.find(krate, at)?;
        let [found] = found.as_slice() else {
            return Err(format!("`{at}` of {krate} is ambiguous"));
        };
        let value = found.part.value.as_ref();
        let value = value.ok_or_else(|| format!("{} has no value", found.path))?;
        Ok(slice(&found.file.source.text, value).to_owned())
    }

    /// The crate that declares `component`.
    pub(super) fn home(&self, component: &str) -> Result<&str, String> {
        let home = self.homes.get(component).map(String::as_str);
        home.ok_or_else(|| {
            let known: Vec<_> = self.homes.keys().map(String::as_str).collect();
            let known = known.join(", ");
            format!("no crate declares `{component}`; declared: {known}")
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
            is_optional: false,
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
                let names = match &module.file {
                    Some(path) => vec![format!("{dir}/{path}")],
                    None => {
                        let below = if is_root { "" } else { &format!("/{stem}") };
                        let own = format!("{dir}{below}/{relative}");
                        vec![format!("{own}.rs"), format!("{own}/mod.rs")]
                    }
                };
                for name in names {
                    let Some(source) = self.parse(&name)? else {
                        continue;
                    };
                    out.push(CrateFile {
                        name,
                        modules: [file.modules.as_slice(), &module.path].concat(),
                        is_optional: file.is_optional || module.is_optional,
                        declared: Some((file.name.clone(), module.whole.clone())),
                        source,
                    });
                }
            }
        }
        Ok(out)
    }

    /// What `at` names in a crate: `fn Tracker::add`, `struct MemfdSer.pos`, `component memfd.needs`. Of
    /// several, those that are built for tests or with a feature alone do not count, nor private constants
    /// and structs beside public ones.
    pub(super) fn find(&self, krate: &str, at: &str) -> Result<Vec<Found>, String> {
        let (kind, rest) = at.split_once(' ').ok_or("expected a kind and a path")?;
        let (path, part) = rest.split_at(rest.find(['.', '#']).unwrap_or(rest.len()));
        let part = part.trim_start_matches('.');
        let query: Vec<_> = path.split("::").collect();
        let files = self.crate_files(krate)?;
        let found = entries(&files).filter(|(_, entry)| entry.kind == kind);
        let mut found: Vec<_> = found.collect();
        let mut near: Vec<_> = found.iter().map(|(file, entry)| file.path(entry)).collect();
        found.retain(|(file, entry)| match kind {
            "component" if name_of(&files, file, entry).as_deref() == Some(path) => true,
            _ if path == "*" => entry.is_layout,
            _ => file.has(entry, &query),
        });
        let is_built =
            |(file, entry): &(&CrateFile, &Entry)| !file.is_optional && !entry.is_optional;
        let is_public = |(_, entry): &(&CrateFile, &Entry)| entry.is_public;
        for better in [&is_built as &dyn Fn(&_) -> bool, &is_public] {
            if found.iter().any(better) {
                found.retain(better);
            }
        }
        if found.is_empty() {
            let last = query.last().copied().unwrap_or_default();
            if near.iter().any(|path| path.contains(last)) {
                near.retain(|path| path.contains(last));
            }
            near.dedup();
            let near = near.join(", ");
            return Err(format!("{krate} has no `{kind} {path}`; it has {near}"));
        }
        let found = found.into_iter().map(|(file, entry)| {
            let mut out = Found {
                path: format!("{kind} {krate}::{}", file.path(entry)),
                file: file.clone(),
                part: entry.at.clone(),
                missing: None,
            };
            // What a generation says is asked of the one that the component writes by default.
            let of_generation =
                kind == "component" && OF_GENERATION.split(' ').any(|of| of == part);
            let written = entry.part("written").filter(|_| of_generation);
            let written = written.and_then(|written| item(&files, file, written, "generation"));
            let (file, entry, prefix) = match written {
                Some((file, generation)) => (file, generation, ""),
                None if of_generation => (file, entry, "written."),
                None => (file, entry, ""),
            };
            out.file = file.clone();
            match (part, entry.part(&format!("{prefix}{part}"))) {
                ("", _) => {}
                (_, None) => {
                    let new = entry.part(&format!("{prefix}new"));
                    let new = new.map(|new| (new.whole.end, part.to_owned()));
                    let names: Vec<_> = entry.parts.iter().map(|(name, _)| name.as_str()).collect();
                    let (path, names) = (&out.path, names.join(", "));
                    let error = || format!("{path} has no `{part}`; it has {names}");
                    out.missing = Some(new.ok_or_else(error)?);
                }
                (_, Some(given)) => {
                    out.part = given.clone();
                    // The constant, where a component is given one.
                    if let ("name" | "version", Some((file, entry))) =
                        (part, item(&files, file, given, "const"))
                    {
                        (out.file, out.part) = (file.clone(), entry.at.clone());
                    }
                }
            }
            Ok(out)
        });
        found.collect()
    }
}

fn entries<'a>(files: &'a [CrateFile]) -> impl Iterator<Item = (&'a CrateFile, &'a Entry)> + Clone {
    let of = |file: &'a CrateFile| std::iter::repeat(file).zip(&file.source.entries);
    files.iter().flat_map(of)
}

/// What a component takes from its generation.
const OF_GENERATION: &str = "version needs lists layouts constants variants since";

/// The item of this kind that `part`, a path, names in a crate: of several, that of the same file, or a public
/// one.
fn item<'a>(
    files: &'a [CrateFile],
    file: &'a CrateFile,
    part: &Part,
    kind: &str,
) -> Option<(&'a CrateFile, &'a Entry)> {
    let value = slice(&file.source.text, part.value.as_ref()?);
    let mut query: Vec<_> = value.split("::").collect();
    query.retain(|part| !["crate", "self", "super"].contains(part));
    let is_named =
        |(file, entry): &(&CrateFile, &Entry)| entry.kind == kind && file.has(entry, &query);
    let named = entries(files).filter(is_named);
    named.min_by_key(|(of, entry)| {
        let is_optional = entry.is_optional || of.is_optional;
        (of.name != file.name, !entry.is_public, is_optional)
    })
}

/// The name of a component.
fn name_of(files: &[CrateFile], file: &CrateFile, entry: &Entry) -> Option<String> {
    let given = entry.part("name")?;
    let (file, part) = match item(files, file, given, "const") {
        Some((file, entry)) => (file, &entry.at),
        None => (file, given),
    };
    let text = slice(&file.source.text, part.value.as_ref()?);
    Some(text.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}
