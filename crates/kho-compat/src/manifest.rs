//! What a handover contains, as plain data.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::{Compat, Dialect, GrammarError, RegistryError, Side};

/// What carries a compat string.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Carrier {
    /// The root FDT's `compatible`.
    Root,
    /// `luo_ser.compatible`.
    Luo,
    /// `luo_file_ser.compatible`: the handler of a file.
    FileHandler,
    /// `luo_flb_ser.name`: a file-lifecycle-bound object.
    Flb,
    /// The version number of the kexec metadata, here written as a token.
    Metadata,
    /// The `compatible` of the memblock FDT.
    Memblock,
    /// The `compatible` of a region in the memblock FDT.
    Region,
    /// A subtree of the root FDT, by its name: it has no string of its own.
    Subtree,
}

impl Carrier {
    /// The carrier as programs see it, for instance `file-handler`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Luo => "luo",
            Self::FileHandler => "file-handler",
            Self::Flb => "flb",
            Self::Metadata => "kexec-metadata",
            Self::Memblock => "memblock",
            Self::Region => "reserve-mem",
            Self::Subtree => "subtree",
        }
    }

    /// The carrier in a sentence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Root => "root FDT",
            Self::Luo => "LUO header",
            Self::FileHandler => "file handler",
            Self::Flb => "FLB",
            Self::Metadata => "kexec metadata",
            Self::Memblock => "memblock FDT",
            Self::Region => "reserve_mem region",
            Self::Subtree => "subtree",
        }
    }
}

/// Where something was read.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Place {
    /// The physical address.
    pub addr: u64,
    /// What stands there, from the handover inwards.
    pub path: String,
}

impl Place {
    /// `path`, whose bytes lie at `addr`.
    #[must_use]
    pub fn new(addr: u64, path: impl ToString) -> Self {
        Self {
            addr,
            path: path.to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.path, self.addr)
    }
}

/// One string of a handover, with how often it stands there and where it was seen first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What carries it.
    pub carrier: Carrier,
    /// The string as it was found; a subtree's name for [`Carrier::Subtree`].
    pub found: String,
    /// How often: the number of files of a handler.
    pub uses: u64,
    /// Where it was seen first.
    pub place: Place,
}

impl Entry {
    /// The string parsed.
    ///
    /// # Errors
    ///
    /// It is not in the grammar.
    pub fn compat(&self) -> Result<Compat, GrammarError> {
        Compat::parse(&self.found)
    }
}

/// All compat strings of a handover: gathered without restoring anything, judged by a
/// [`Policy`](crate::Policy).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    entries: Vec<Entry>,
    // A hostile handover may name another handler in each of its files.
    index: BTreeMap<(Carrier, String), usize>,
}

impl Manifest {
    /// A manifest without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
            index: BTreeMap::new(),
        }
    }

    /// What `side` hands over when every component of it is in use, written in `dialect`: for
    /// judging before there is a handover.
    ///
    /// # Errors
    ///
    /// A component's name is none that a compat string could hold.
    pub fn written_by(side: &Side, dialect: Dialect) -> Result<Self, RegistryError> {
        let mut manifest = Self::new();
        for ability in side.abilities() {
            let place = Place::new(0, format!("component `{}`", ability.name));
            if let Some(carrier) = ability.carrier {
                // Numbers and regions have no composites.
                let dialect = match carrier {
                    Carrier::Root | Carrier::Luo | Carrier::FileHandler => dialect,
                    _ => Dialect::Plain,
                };
                let compat = side.compat(&ability.name, dialect)?.to_string();
                manifest.add(carrier, &compat, place.clone());
            }
            if let Some(subtree) = &ability.subtree {
                manifest.add(Carrier::Subtree, subtree, place);
            }
        }
        Ok(manifest)
    }

    /// Adds one use of `found`. Strings that are there already are counted.
    pub fn add(&mut self, carrier: Carrier, found: &str, place: Place) {
        self.add_uses(carrier, found, place, 1);
    }

    /// Adds `uses` uses of `found`, first seen at `place`.
    pub fn add_uses(&mut self, carrier: Carrier, found: &str, place: Place, uses: u64) {
        let key = (carrier, found.to_string());
        match self
            .index
            .get(&key)
            .and_then(|index| self.entries.get_mut(*index))
        {
            Some(entry) => entry.uses = entry.uses.saturating_add(uses),
            None => {
                self.index.insert(key, self.entries.len());
                self.entries.push(Entry {
                    carrier,
                    found: found.to_string(),
                    uses,
                    place,
                });
            }
        }
    }

    /// The entries in the order they were found.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries of one carrier.
    pub fn of(&self, carrier: Carrier) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.carrier == carrier)
    }
}
