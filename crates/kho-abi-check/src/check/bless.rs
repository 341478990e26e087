//! What `--bless` writes: snapshots of versions that are not history yet, the strings, the documents. All of it,
//! or nothing where the check still fails with it.

use kho_compat::Component;

use super::Check;
use super::variants::is_label;
use crate::diff::Changes;
use crate::tree::{Tree, join};
use crate::{Error, composites, docs, snapshot};

impl Check<'_> {
    pub(super) fn bless(&self) -> Result<(), Error> {
        for generation in &self.described {
            let component = generation.component;
            let (series, version) = (generation.series(), generation.version());
            // A name that is none of the grammar could lead out of the directory.
            if kho_compat::Token::new(component.name, version.number).is_err()
                || generation.variant.is_some_and(|one| !is_label(one.label))
                || self.failed.iter().any(|(name, _)| *name == component.name)
            {
                continue;
            }
            if let Some(past) = self.history.past(&series, version) {
                self.bless_needed(generation, past);
            }
            let path = self.snapshot(&series, version);
            let work = self.history.work(&series, version);
            if work.is_some_and(|text| text == generation.beside(text)) {
                continue;
            }
            // Without a repository nothing tells what is history: what is there is taken for it.
            // What was taken away on purpose comes back as it was, or with more of the same.
            let text = match self.history.past(&series, version) {
                None => generation.text().to_owned(),
                Some(past) => {
                    let now = generation.beside(&past.text);
                    let changes = Changes::of(&past.text, &now);
                    let guards = || self.only_guards(generation, &changes.added, &past.text);
                    let more = past.text == now || changes.is_empty() && guards();
                    if work.is_some() || !more {
                        continue;
                    }
                    now
                }
            };
            self.write(&path, &snapshot::file(&self.bless_source(component), &text));
        }
        if let Some((path, text)) = self.composites() {
            let file = snapshot::file("abi-check", &text);
            if self.work.read(&path).as_deref() != Some(file.as_str()) {
                self.write(&path, &file);
            }
        }
        if let Some(path) = &self.project.docs
            && let Some(text) = self.work.read(path)
        {
            let updated = docs::update(&text, &self.described);
            let updated = updated.map_err(|error| Error::File(path.clone(), error))?;
            if updated != text {
                self.write(path, &updated);
            }
        }
        Ok(())
    }

    /// The path and the text of the strings, where the components make up a registry.
    pub(super) fn composites(&self) -> Option<(String, String)> {
        let registry = self.registry.as_ref().ok()?;
        let text = composites::describe(registry, &self.own).ok()?;
        Some((join(&self.project.snapshots, composites::FILE), text))
    }

    /// What a snapshot names as its source: the test of the crate, as insta writes it from there.
    pub(super) fn bless_source(&self, component: &Component) -> String {
        let package = self.packages.get(component.crate_name);
        let source = package.map(|package| join(&package.dir, "tests/abi.rs"));
        source.unwrap_or_else(|| "abi-check".to_owned())
    }

    /// Has a file be written, if the check passes.
    pub(super) fn write(&self, path: &str, text: &str) {
        self.work.put(path, text);
        self.blessed.borrow_mut().push(path.to_owned());
    }
}
