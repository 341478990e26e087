//! Writing what is to be written: snapshots of versions that are not history yet, the strings, the
//! documents.

use std::fs;

use super::Check;
use crate::diff::Changes;
use crate::tree::{Tree, join};
use crate::{Error, composites, docs, snapshot};

impl Check<'_> {
    pub(super) fn bless(&mut self) -> Result<(), Error> {
        let own = self.own.clone();
        for (component, now) in own.iter().zip(self.described.clone()) {
            let (name, version) = (component.name, component.major());
            // A name that is none of the grammar could lead out of the directory.
            if kho_compat::Token::new(name, version).is_err() {
                continue;
            }
            if self.failed.iter().any(|(failed, _)| *failed == name) {
                continue;
            }
            let path = self.snapshot(name, version);
            let work = self.history.work(name, version);
            if work == Some(now.as_str()) {
                continue;
            }
            // Without a repository nothing tells what is history: what is there is taken for it.
            // What was taken away on purpose comes back as it was, or with more of the same.
            let there = work.is_some();
            if let Some(past) = self.history.past(name, version).cloned() {
                let changes = Changes::of(&past.text, &now);
                let more = past.text == now
                    || changes.is_empty()
                        && self.only_guards(component, &changes.added, &past.text);
                if there || !more {
                    continue;
                }
            }
            let dir = self
                .packages
                .get(component.crate_name)
                .map(|p| p.dir.clone());
            let source =
                dir.map_or_else(|| "abi-check".to_owned(), |dir| join(&dir, "tests/abi.rs"));
            self.write(&path, &snapshot::file(&source, &now))?;
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
            let updated = docs::update(&text, &self.own, &self.described);
            let updated = updated.map_err(|error| Error::File(path.clone(), error))?;
            if updated != text {
                self.write(&path, &updated)?;
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
