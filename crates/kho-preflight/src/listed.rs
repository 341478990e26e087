//! What a manifest file lists, or a program answers.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kho_compat::Carrier;
use kho_compat::file::{ManifestFile, ManifestFileError};

use crate::boot::Boot;
use crate::end::{End, EndKind, Listed, What};
use crate::facts::Facts;
use crate::item::{Amount, Item, Spot, Uses};
use crate::words::printable;
use crate::{Error, Progress};
use kho_compat::{count, size};

/// A manifest file is shorter.
const MANIFEST_MAX: u64 = 16 << 20;

/// Reads the manifest file `path`, which is open as `file`.
pub(crate) fn read(path: &Path, file: &File) -> Result<End, Error> {
    let no_manifest = |found: String| Error::Manifest {
        found: printable(&found),
    };
    let again = |error: io::Error| no_manifest(error.to_string());
    let mut bytes = Vec::new();
    let mut file = file.try_clone().map_err(again)?;
    io::Seek::rewind(&mut file).map_err(again)?;
    file.take(MANIFEST_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(again)?;
    if bytes.len() as u64 > MANIFEST_MAX {
        return Err(no_manifest(format!("more than {}", size(MANIFEST_MAX))));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        no_manifest(format!("no text at file offset {:#x}", error.valid_up_to()))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file = ManifestFile::parse(text).map_err(|error| match error {
        // Its own words say that it is no manifest.
        ManifestFileError::Json(error) => no_manifest(error.to_string()),
        error => no_manifest(error.to_string()),
    })?;
    End::manifest(path.display().to_string(), &file)
}

impl End {
    /// What `file` lists, under the name `name`.
    ///
    /// # Errors
    ///
    /// It contradicts itself.
    pub fn manifest(name: String, file: &ManifestFile) -> Result<Self, Error> {
        listed(name, EndKind::Manifest, file)
    }

    /// What the program at `path` answers to `KHO_MANIFEST=1`. It is run whatever it is: a program that
    /// does not answer does its work instead.
    ///
    /// # Errors
    ///
    /// It can not be run, does not answer in time or with a manifest; `progress` said stop.
    pub fn program(path: &Path, progress: &mut Progress<'_>) -> Result<Self, Error> {
        let answer = crate::ask(path, progress)?;
        listed(path.display().to_string(), EndKind::Program, &answer)
    }
}

/// What a file lists, or a program answered.
fn listed(name: String, kind: EndKind, file: &ManifestFile) -> Result<End, Error> {
    let wrong = |error: ManifestFileError| Error::Contradiction {
        of: kind,
        found: printable(&error.to_string()),
    };
    let side = file.side().map_err(wrong)?;
    let manifest = file.in_use().map_err(wrong)?;
    let in_use = manifest.zip(file.in_use.as_ref()).map(|(manifest, said)| {
        let items = Item::all_of(&manifest, |place| Spot::new(&place.path));
        let bytes = said.bytes;
        let handlers = items.iter().filter_map(|item| {
            let entry = &item.entry;
            let of_files = entry.carrier == Carrier::FileHandler;
            of_files.then(|| (entry.found.clone(), Amount::of_unknown_size(entry.uses)))
        });
        let flbs = items
            .iter()
            .filter(|item| item.entry.carrier == Carrier::Flb);
        let uses = Uses {
            sessions: said.sessions,
            all: Amount {
                files: said.files,
                bytes: bytes.unwrap_or(0),
                unsized_files: if bytes.is_some() { 0 } else { said.files },
            },
            flbs: flbs.count() as u64,
            handlers: handlers.collect(),
            pages: None,
        };
        (items, uses)
    });
    let components = count(side.abilities().count() as u64, "component");
    let mut evidence = vec![match kind {
        EndKind::Program => format!("what the program answers: {components}"),
        _ => format!("what the file lists: {components}"),
    }];
    if let Some((_, uses)) = &in_use {
        evidence.push(format!("what it says is in use: {uses}"));
    }
    if let Some(policy) = &file.policy {
        let policy = printable(policy);
        evidence.push(format!("it judges what it takes over by policy `{policy}`"));
    }
    let whole = file.degrade == Some(false);
    if whole {
        evidence.push("it refuses a handover of which optional parts are lost".to_owned());
    }
    let unhandled = file.components.iter();
    let unhandled = unhandled.filter(|(_, component)| component.handler == Some(false));
    Ok(End {
        name,
        kind,
        title: printable(&file.name),
        form: match kind {
            EndKind::Program => "program built on these crates",
            _ => "manifest file",
        }
        .to_owned(),
        release: None,
        arch: None,
        evidence,
        notes: Vec::new(),
        what: What::Listed(Listed {
            side,
            in_use,
            policy: file.policy.clone(),
            whole,
            unhandled: unhandled.map(|(name, _)| name.clone()).collect(),
        }),
        boot: Boot::default(),
        facts: Facts::default(),
    })
}
