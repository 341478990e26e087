//! Writing what is to be written: snapshots of versions that are not history yet, the strings, the
//! documents.

use std::fs;

use super::Check;
use super::variants::is_label;
use crate::describe::Described;
use crate::diff::Changes;
use crate::tree::{Tree, join};
use crate::{Error, composites, docs, snapshot};

impl Check<'_> {
    pub(super) fn bless(&mut self) -> Result<(), Error> {
        for generation in self.described.clone() {
            let component = generation.component;
            let (series, version) = (generation.series(), generation.version());
            let name = series.as_str();
            // A name that is none of the grammar could lead out of the directory.
            if kho_compat::Token::new(component.name, version.number).is_err()
                || generation.variant.is_some_and(|one| !is_label(one.label))
            {
                continue;
            }
            if self
                .failed
                .iter()
                .any(|(failed, _)| *failed == component.name)
            {
                continue;
            }
            let path = self.snapshot(name, version);
            let work = self.history.work(name, version);
            if work.is_some_and(|text| text == generation.beside(text)) {
                continue;
            }
            // Without a repository nothing tells what is history: what is there is taken for it.
            // What was taken away on purpose comes back as it was, or with more of the same.
            let there = work.is_some();
            if let Some(past) = self.history.past(name, version).cloned() {
                let now = generation.beside(&past.text);
                let changes = Changes::of(&past.text, &now);
                let more = past.text == now
                    || changes.is_empty()
                        && self.only_guards(&generation, &changes.added, &past.text);
                if there || !more {
                    continue;
                }
                self.snapshot_file(&generation, &path, &now)?;
                continue;
            }
            self.snapshot_file(&generation, &path, generation.text())?;
        }
        if let Some((path, text)) = self.composites() {
            let file = snapshot::file("abi-check", &text);
            if self.work.read(&path).as_deref() != Some(file.as_str()) {
                self.write(&path, &file)?;
            }
        }
        if let Some(path) = self.project.docs.clone()
            && let Some(text) = self.work.read(&path)
        {
            let updated = docs::update(&text, &self.described);
            let updated = updated.map_err(|error| Error::File(path.clone(), error))?;
            if updated != text {
                self.write(&path, &updated)?;
            }
        }
        Ok(())
    }

    /// Writes the snapshot of a generation as insta has it from the test of its crate.
    fn snapshot_file(
        &mut self,
        generation: &Described,
        path: &str,
        text: &str,
    ) -> Result<(), Error> {
        let package = self.packages.get(generation.component.crate_name);
        let source = package.map(|package| join(&package.dir, "tests/abi.rs"));
        let source = source.unwrap_or_else(|| "abi-check".to_owned());
        self.write(path, &snapshot::file(&source, text))
    }

    /// The path and the text of the strings, where the components make up a registry.
    pub(super) fn composites(&self) -> Option<(String, String)> {
        let registry = self.registry.as_ref().ok()?;
        let text = composites::describe(registry, &self.own).ok()?;
        Some((join(&self.project.snapshots, composites::FILE), text))
    }

    fn write(&mut self, path: &str, text: &str) -> Result<(), Error> {
        let file = self.project.root.join(path);
        let error = |error| Error::Write(path.to_owned(), error);
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).map_err(error)?;
        }
        fs::write(&file, text).map_err(error)?;
        self.written.push(path.to_owned());
        Ok(())
    }
}
