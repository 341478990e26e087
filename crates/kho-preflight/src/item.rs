//! What is handed over, how much of it, and where it stands.

use std::collections::BTreeMap;
use std::fmt;

use kho_compat::{Carrier, Features, Manifest, ManifestEntry, Place, Token};

use kho_compat::{count, size};

/// What is handed over under one string.
#[derive(Clone, Debug)]
pub struct Item {
    /// The string, and how often it is used.
    pub entry: ManifestEntry,
    /// Where it stands.
    pub spot: Spot,
}

impl Item {
    /// `found` in `carrier`, once.
    pub(crate) fn new(
        carrier: Carrier,
        found: &str,
        features: Option<Features>,
        spot: Spot,
    ) -> Self {
        let entry = ManifestEntry {
            carrier,
            found: found.to_owned(),
            uses: 1,
            minor: 0,
            optional: false,
            features,
            place: Place::new(spot.address.unwrap_or(0), &spot.what),
        };
        Self { entry, spot }
    }

    /// The entries of `manifest`, each with the place that `spot` makes of its own.
    pub(crate) fn all_of(manifest: &Manifest, spot: impl Fn(&Place) -> Spot) -> Vec<Self> {
        let item = |entry: &ManifestEntry| Self {
            entry: entry.clone(),
            spot: spot(&entry.place),
        };
        manifest.entries().iter().map(item).collect()
    }

    /// What a manifest tells it from others by.
    pub(crate) fn key(&self) -> (Carrier, &str) {
        (self.entry.carrier, &self.entry.found)
    }

    /// The component that it names.
    pub(crate) fn component(&self) -> String {
        let entry = &self.entry;
        match (entry.carrier, entry.compat()) {
            (Carrier::Features | Carrier::Subtree, _) | (_, Err(_)) => entry.found.clone(),
            (_, Ok(compat)) => compat.base().name().to_owned(),
        }
    }

    /// Its tokens; none where it has no version, or is not in the grammar.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        match self.entry.carrier {
            Carrier::Features | Carrier::Subtree => Vec::new(),
            _ => {
                let compat = self.entry.compat();
                compat.map_or_else(|_| Vec::new(), |compat| compat.tokens().cloned().collect())
            }
        }
    }

    /// Whether it is written as a composite, in the grammar or not.
    pub(crate) fn is_composite(&self) -> bool {
        self.entry.found.contains(';')
    }

    /// Adds it to `manifest`.
    pub(crate) fn add_to(&self, manifest: &mut Manifest) {
        let entry = &self.entry;
        let place = entry.place.clone();
        match (entry.carrier, entry.features, self.tokens().as_slice()) {
            (Carrier::Features, Some(features), _) => {
                manifest.add_features(&entry.found, features, place);
            }
            // A file may say of a table what no table could: a composite is judged as one.
            (Carrier::Table, _, [token]) => {
                manifest.add_listed(token, entry.optional, place);
                manifest.set_minor(token, entry.minor);
            }
            _ => manifest.add_uses(entry.carrier, &entry.found, place, entry.uses),
        }
    }
}

/// How much is in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses {
    pub(crate) sessions: u64,
    pub(crate) all: Amount,
    /// By the string of its handler.
    pub(crate) handlers: BTreeMap<String, Amount>,
    pub(crate) flbs: u64,
    /// Pages preserved in all, files included.
    pub(crate) pages: Option<u64>,
}

/// How much that is, in words.
impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", count(self.sessions, "session"), self.all)?;
        match self.pages {
            Some(pages) => write!(f, "; {} preserved", count(pages, "page")),
            None => Ok(()),
        }
    }
}

/// A number of files and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Of those whose size is known.
    pub bytes: u64,
    /// Files whose size is not known.
    pub unsized_files: u64,
}

impl Amount {
    pub(crate) const fn add(&mut self, size: Option<u64>) {
        self.files += 1;
        match size {
            Some(size) => self.bytes = self.bytes.saturating_add(size),
            None => self.unsized_files += 1,
        }
    }

    /// Files of which nobody knows how long they are.
    pub(crate) const fn of_unknown_size(files: u64) -> Self {
        Self {
            files,
            bytes: 0,
            unsized_files: files,
        }
    }

    /// These and `other`.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            bytes: self.bytes.saturating_add(other.bytes),
            unsized_files: self.unsized_files + other.unsized_files,
        }
    }

    /// Their bytes, if all are known.
    #[must_use]
    pub fn exactly(self) -> Option<u64> {
        (self.unsized_files == 0).then_some(self.bytes)
    }
}

/// Files and their bytes, in words.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&count(self.files, "file"))?;
        let unknown = self.unsized_files;
        if self.files == 0 {
            Ok(())
        } else if unknown == 0 {
            write!(f, ", {}", size(self.bytes))
        } else if unknown == self.files {
            f.write_str(", bytes unknown")
        } else {
            write!(f, ", {} and {unknown} of unknown size", size(self.bytes))
        }
    }
}

/// Where something stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spot {
    /// What stands around it: a section, a path inside the handover, a component.
    pub what: String,
    /// Whether it is a place in memory rather than one in a file.
    pub memory: bool,
    /// Its address: physical in a handover, linked in a kernel.
    pub address: Option<u64>,
    /// Its offset in the file; in what was unpacked from it where it is compressed.
    pub offset: Option<u64>,
}

impl Spot {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            memory: false,
            address: None,
            offset: None,
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match (self.memory, self.address, self.offset) {
            (true, Some(address), _) => write!(f, " at {address:#x}"),
            (_, _, Some(offset)) => write!(f, ", offset {offset:#x}"),
            _ => Ok(()),
        }
    }
}
