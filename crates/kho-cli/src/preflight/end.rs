//! One end of the way: what a kernel, a handover, a file or a program says of itself, as plain data.

use std::collections::BTreeMap;
use std::fmt;

use kho_compat::{Carrier, Compat, Entry, Features, Manifest, Place, Side, Token, Writing};
use serde_json::{Value, json};

/// One end, read.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// What was given: a path, or `running`.
    pub(super) name: String,
    /// What it is, as programs see it.
    pub(super) kind: Kind,
    /// Whose it is: `Linux 7.3.4`.
    pub(super) title: String,
    /// What it came in: `x86 boot image, zstd`.
    pub(super) form: String,
    pub(super) release: Option<String>,
    pub(super) arch: Option<String>,
    /// What is known of it, and from where.
    pub(super) evidence: Vec<String>,
    /// What a person should know besides.
    pub(super) notes: Vec<String>,
    pub(super) what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Running,
    Kernel,
    Dump,
    Manifest,
    Program,
}

impl Kind {
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::Running => "running-kernel",
            Self::Kernel => "kernel-image",
            Self::Dump => "memory-dump",
            Self::Manifest => "manifest-file",
            Self::Program => "program",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Running => "the running kernel",
            Self::Kernel => "a kernel image",
            Self::Dump => "a handover in a memory dump",
            Self::Manifest => "a manifest file",
            Self::Program => "a program",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Kernel(Kernel),
    Dump(Dump),
    Listed(Listed),
}

/// What is seen of a kernel from outside.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// What shows that it has KHO, or that it has none.
    pub(super) kho: Result<String, String>,
    /// What shows that it has LUO.
    pub(super) luo: Option<String>,
    /// Strings that it compares with. Those without a carrier are nodes of older kernels.
    pub(super) seen: Vec<Seen>,
    /// Strings whose carrier can not be told.
    pub(super) candidates: Vec<Seen>,
    /// Its feature masks.
    pub(super) masks: Vec<Masks>,
    /// Whether its modules were read.
    pub(super) with_modules: bool,
    /// Why it hands nothing over although it could.
    pub(super) idle: Option<String>,
    /// What the running kernel says of what it will hand over.
    pub(super) root: Option<Root>,
}

/// A string of a kernel.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) compat: Compat,
    pub(super) carrier: Option<Carrier>,
    pub(super) spot: Spot,
}

/// Feature masks of a kernel.
#[derive(Clone, Debug)]
pub(super) struct Masks {
    pub(super) name: String,
    pub(super) features: Features,
    pub(super) spot: Spot,
}

/// The root FDT that a running kernel shows.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) compatible: String,
    pub(super) subtrees: Vec<String>,
    pub(super) spot: Spot,
}

/// What is in use in a handover.
#[derive(Clone, Debug)]
pub(super) struct Dump {
    pub(super) items: Vec<Item>,
    pub(super) uses: Option<Uses>,
    /// What was not read, since it is of a version that this build does not know.
    pub(super) unread: Option<String>,
}

/// What a program or a file lists.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) side: Side,
    pub(super) writing: Option<Writing>,
    pub(super) in_use: Option<(Vec<Item>, Uses)>,
}

/// What is handed over under one string.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) entry: Entry,
    /// Where it stands.
    pub(super) spot: Spot,
}

impl Item {
    /// `found` in `carrier`, once.
    pub(super) fn new(
        carrier: Carrier,
        found: &str,
        features: Option<Features>,
        spot: Spot,
    ) -> Self {
        let entry = Entry {
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
    pub(super) fn all_of(manifest: &Manifest, spot: impl Fn(&Place) -> Spot) -> Vec<Self> {
        let item = |entry: &Entry| Self {
            entry: entry.clone(),
            spot: spot(&entry.place),
        };
        manifest.entries().iter().map(item).collect()
    }

    /// What a manifest tells it from others by.
    pub(super) fn key(&self) -> (Carrier, &str) {
        (self.entry.carrier, &self.entry.found)
    }

    /// The component that it names.
    pub(super) fn component(&self) -> String {
        let entry = &self.entry;
        match (entry.carrier, entry.compat()) {
            (Carrier::Features | Carrier::Subtree, _) | (_, Err(_)) => entry.found.clone(),
            (_, Ok(compat)) => compat.base().name().to_owned(),
        }
    }

    /// Its tokens; none where it has no version, or is not in the grammar.
    pub(super) fn tokens(&self) -> Vec<Token> {
        match self.entry.carrier {
            Carrier::Features | Carrier::Subtree => Vec::new(),
            _ => {
                let compat = self.entry.compat();
                compat.map_or_else(|_| Vec::new(), |compat| compat.tokens().cloned().collect())
            }
        }
    }

    /// Whether it is written as a composite, in the grammar or not.
    pub(super) fn is_composite(&self) -> bool {
        self.entry.found.contains(';')
    }

    /// Adds it to `manifest`.
    pub(super) fn add_to(&self, manifest: &mut Manifest) {
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
pub(super) struct Uses {
    pub(super) sessions: u64,
    pub(super) all: Amount,
    /// By the string of its handler.
    pub(super) handlers: BTreeMap<String, Amount>,
    pub(super) flbs: u64,
    /// Pages preserved in all, files included.
    pub(super) pages: Option<u64>,
}

/// A number of files and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Amount {
    pub(super) files: u64,
    /// Of those whose size is known.
    pub(super) bytes: u64,
    /// Files whose size is not known.
    pub(super) unsized_files: u64,
}

impl Amount {
    pub(super) const fn add(&mut self, size: Option<u64>) {
        self.files += 1;
        match size {
            Some(size) => self.bytes = self.bytes.saturating_add(size),
            None => self.unsized_files += 1,
        }
    }

    /// Files of which nobody knows how long they are.
    pub(super) const fn of_unknown_size(files: u64) -> Self {
        Self {
            files,
            bytes: 0,
            unsized_files: files,
        }
    }

    /// These and `other`.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            bytes: self.bytes.saturating_add(other.bytes),
            unsized_files: self.unsized_files + other.unsized_files,
        }
    }

    /// Their bytes, if all are known.
    pub(super) fn exactly(self) -> Option<u64> {
        (self.unsized_files == 0).then_some(self.bytes)
    }
}

/// Where something stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Spot {
    /// What stands around it: a section, a path inside the handover, a component.
    pub(super) what: String,
    /// Whether it is a place in memory rather than one in a file.
    pub(super) memory: bool,
    /// Its address: physical in a handover, linked in a kernel.
    pub(super) address: Option<u64>,
    /// Its offset in the file; in what was unpacked from it where it is compressed.
    pub(super) offset: Option<u64>,
}

impl Spot {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            memory: false,
            address: None,
            offset: None,
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "what": self.what, "address": self.address, "file_offset": self.offset })
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

/// Text of others as it may be printed.
pub(super) fn printable(text: &str) -> String {
    if kho_mem::is_printable(text) {
        text.to_owned()
    } else {
        text.escape_debug().to_string()
    }
}
