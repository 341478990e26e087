//! What a handover contains, as plain data.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::compat::COMPOSITE;
use crate::compat::before_version;
use crate::{
    Compat, Component, Features, Grammar, GrammarError, Listing, Owned, RegistryError, Side,
    Strings, Token, Writing,
};

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
    /// The string or the number of a component that owns a subtree.
    Owned(Owned),
    /// A subtree of the root FDT, by its name: it has no string of its own.
    Subtree,
    /// The version table in the root FDT: a property, here written as a token.
    Table,
    /// The feature masks in the root FDT: a property, by its component's name.
    Features,
}

impl Carrier {
    /// All carriers but those of components that own a subtree.
    pub const ALL: [Self; 7] = [
        Self::Root,
        Self::Luo,
        Self::FileHandler,
        Self::Flb,
        Self::Subtree,
        Self::Table,
        Self::Features,
    ];

    /// The carrier as programs see it, for instance `file-handler`.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Root => "root",
            Self::Luo => "luo",
            Self::FileHandler => "file-handler",
            Self::Flb => "flb",
            Self::Owned(owned) => owned.id(),
            Self::Subtree => "subtree",
            Self::Table => "table",
            Self::Features => "features",
        }
    }

    /// The carrier of an [`id`](Self::id): of those that are listed here, else of a linked component, else
    /// one whose owner is not known here. `None` for what is no component's name, or longer than 31 bytes.
    #[must_use]
    pub fn by_id(id: &str) -> Option<Self> {
        let of_linux = Owned::OF_LINUX.map(Self::Owned);
        let linked = inventory::iter::<Component>.into_iter();
        let linked = linked.filter_map(|component| component.carrier);
        let mut known = Self::ALL.into_iter().chain(of_linux).chain(linked);
        let found = known.find(|carrier| carrier.id() == id);
        found.or_else(|| Owned::unknown(id).map(Self::Owned))
    }

    /// The subtree of the root FDT that its strings hang on, where there is one.
    #[must_use]
    pub const fn subtree(self) -> Option<&'static str> {
        match self {
            Self::Luo | Self::FileHandler | Self::Flb => Some("LUO"),
            Self::Owned(owned) => owned.subtree(),
            Self::Root | Self::Subtree | Self::Table | Self::Features => None,
        }
    }

    /// The node of the root FDT that a table or masks stand in, one property per component.
    #[must_use]
    pub const fn node(self) -> Option<&'static str> {
        match self {
            Self::Table => Some("compat"),
            Self::Features => Some("features"),
            _ => None,
        }
    }

    /// Whether its strings may list what their component needs. The others hold a number, a name, or a
    /// string of their own.
    #[must_use]
    pub const fn holds_composites(self) -> bool {
        matches!(self, Self::Root | Self::Luo | Self::FileHandler)
    }

    /// The carrier in a sentence.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Root => "root FDT",
            Self::Luo => "LUO header",
            Self::FileHandler => "file handler",
            Self::Flb => "FLB",
            Self::Owned(owned) => owned.title(),
            Self::Subtree => "subtree",
            Self::Table => "version table",
            Self::Features => "feature masks",
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
pub struct ManifestEntry {
    /// What carries it.
    pub carrier: Carrier,
    /// The string as it was found; a subtree's name for [`Carrier::Subtree`].
    pub found: String,
    /// How often: the number of files of a handler.
    pub uses: u64,
    /// Whether its writer says that the rest is worth restoring without it. No string says so.
    pub optional: bool,
    /// The minor version of an entry of [`Carrier::Table`]: additions that a reader may ignore.
    pub minor: u16,
    /// The masks of an entry of [`Carrier::Features`], whose string is a name.
    pub features: Option<Features>,
    /// Where it was seen first.
    pub place: Place,
}

impl ManifestEntry {
    /// The component that it names; the whole string where that is not in the grammar.
    #[must_use]
    pub fn component(&self) -> &str {
        match self.carrier {
            Carrier::Features | Carrier::Subtree => &self.found,
            // The base token's name, found without parsing the rest.
            _ => {
                let mut bytes = self.found.bytes();
                let end = bytes.position(|byte| matches!(byte, b';' | b','));
                let base = end.and_then(|end| self.found.get(..end));
                let base = base.unwrap_or(&self.found);
                before_version(base)
                    .and_then(|end| base.get(..end))
                    .unwrap_or(&self.found)
            }
        }
    }

    /// The string parsed, parts in any order: whether that matters is the policy's affair.
    ///
    /// # Errors
    ///
    /// It is not in the grammar.
    pub fn compat(&self) -> Result<Compat, GrammarError> {
        Compat::parse_as(&self.found, Grammar::Lenient)
    }
}

/// All compat strings of a handover: gathered without restoring anything, judged by a
/// [`Policy`](crate::Policy).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    entries: Vec<ManifestEntry>,
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

    /// What `side` hands over when every component of it is in use, written so: for
    /// judging before there is a handover. In the order in which a reader meets them: the root
    /// first, with the table or the masks that stand in it, then what LUO carries, then the rest.
    ///
    /// # Errors
    ///
    /// A component's name is none that a compat string could hold.
    pub fn written_by(side: &Side, writing: Writing) -> Result<Self, RegistryError> {
        let mut manifest = Self::new();
        let mut listed = false;
        for ability in side.as_read() {
            if !listed && ability.carrier != Some(Carrier::Root) {
                listed = true;
                manifest.list(side, writing.list)?;
            }
            let place = Place::new(0, format!("component `{}`", ability.name));
            if let Some(carrier) = ability.carrier {
                let strings = writing.strings.in_carrier(carrier);
                let compat = side.compat(&ability.name, strings)?.to_string();
                manifest.add(carrier, &compat, place.clone());
            }
            if let Some(subtree) = &ability.subtree {
                manifest.add(Carrier::Subtree, subtree, place);
            }
        }
        if !listed {
            manifest.list(side, writing.list)?;
        }
        Ok(manifest)
    }

    /// Adds the table or the masks of all that `side` knows.
    fn list(&mut self, side: &Side, list: Listing) -> Result<(), RegistryError> {
        let place = |name: &str| Place::new(0, format!("component `{name}`"));
        for ability in side.abilities() {
            let name = &ability.name;
            match list {
                Listing::None => {}
                Listing::Versions => {
                    let token = Token::new(name, ability.version)
                        .map_err(|error| RegistryError::Name(name.clone(), error))?;
                    self.add_listed(&token, ability.is_optional(), place(name));
                    self.set_minor(&token, ability.minor);
                }
                Listing::Masks => {
                    if let Some(features) = ability.features {
                        self.add_features(name, features, place(name));
                    }
                }
            }
        }
        if list == Listing::Versions {
            for (name, version) in side.all_unlinked() {
                let token = Token::new(name, version)
                    .map_err(|error| RegistryError::Name(name.to_string(), error))?;
                self.add_listed(&token, false, place(name));
            }
        }
        Ok(())
    }

    /// Adds an entry of the version table; `optional` is what its writer says of it.
    pub fn add_listed(&mut self, token: &Token, optional: bool, place: Place) {
        let text = token.to_string();
        let is_new = !self.has(Carrier::Table, &text);
        self.add(Carrier::Table, &text, place);
        if let Some(entry) = self.entry_mut(Carrier::Table, &text) {
            // Listed twice, it is optional if both say so.
            entry.optional = optional && (is_new || entry.optional);
        }
    }

    /// Sets the minor version of an entry of the version table. No effect on what is not listed.
    pub fn set_minor(&mut self, token: &Token, minor: u16) {
        if let Some(entry) = self.entry_mut(Carrier::Table, &token.to_string()) {
            entry.minor = minor;
        }
    }

    /// Adds the feature masks of the component `name`.
    pub fn add_features(&mut self, name: &str, features: Features, place: Place) {
        self.add(Carrier::Features, name, place);
        if let Some(entry) = self.entry_mut(Carrier::Features, name) {
            // Listed twice, what either requires is required, and what both support is supported.
            let both = entry.features.map_or(features, |other| Features {
                supported: other.supported & features.supported,
                required: other.required | features.required,
                active: other.active | features.active,
            });
            entry.features = Some(both);
            entry.optional = both.required == 0;
        }
    }

    fn has(&self, carrier: Carrier, found: &str) -> bool {
        self.index.contains_key(&(carrier, found.to_string()))
    }

    fn entry_mut(&mut self, carrier: Carrier, found: &str) -> Option<&mut ManifestEntry> {
        let index = *self.index.get(&(carrier, found.to_string()))?;
        self.entries.get_mut(index)
    }

    /// The version that the table lists of the component `name`.
    #[must_use]
    pub fn listed(&self, name: &str) -> Option<u32> {
        self.of(Carrier::Table)
            .filter_map(|entry| entry.compat().ok())
            .find(|compat| compat.base().name() == name)
            .map(|compat| compat.base().version())
    }

    /// The minor version of `token`: what the table lists of it, 0 where it does not.
    #[must_use]
    pub fn minor(&self, token: &Token) -> u16 {
        let key = (Carrier::Table, token.to_string());
        let entry = self
            .index
            .get(&key)
            .and_then(|index| self.entries.get(*index));
        entry.map_or(0, |entry| entry.minor)
    }

    /// The feature masks of the component `name`.
    #[must_use]
    pub fn features(&self, name: &str) -> Option<Features> {
        let mut entries = self.of(Carrier::Features);
        entries.find(|entry| entry.found == name)?.features
    }

    /// What the table and the masks list of the component `name`, alone.
    pub(crate) fn listing(&self, name: &str) -> Self {
        let mut alone = Self::new();
        let lists = |entry: &&ManifestEntry| {
            matches!(entry.carrier, Carrier::Table | Carrier::Features) && entry.component() == name
        };
        for entry in self.entries.iter().filter(lists) {
            let key = (entry.carrier, entry.found.clone());
            alone.index.insert(key, alone.entries.len());
            alone.entries.push(entry.clone());
        }
        alone
    }

    /// How it is written, recognised by what is there: a composite string, a string list, masks, a table. Composites
    /// that list direct needs only look like those that list all.
    #[must_use]
    pub fn writing(&self) -> Writing {
        let has = |carrier| self.of(carrier).next().is_some();
        let strings = |between: &str| {
            let mut all = self.entries.iter();
            all.any(|entry| entry.carrier.holds_composites() && entry.found.contains(between))
        };
        Writing {
            strings: if strings(COMPOSITE) {
                Strings::Transitive
            } else if strings(Compat::BETWEEN_STRINGS) {
                Strings::List
            } else {
                Strings::Plain
            },
            list: if has(Carrier::Features) {
                Listing::Masks
            } else if has(Carrier::Table) {
                Listing::Versions
            } else {
                Listing::None
            },
        }
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
                self.entries.push(ManifestEntry {
                    carrier,
                    found: found.to_string(),
                    uses,
                    optional: false,
                    minor: 0,
                    features: None,
                    place,
                });
            }
        }
    }

    /// The entries in the order they were found.
    #[must_use]
    pub fn entries(&self) -> &[ManifestEntry] {
        &self.entries
    }

    /// The entries of one carrier.
    pub fn of(&self, carrier: Carrier) -> impl Iterator<Item = &ManifestEntry> {
        self.entries
            .iter()
            .filter(move |entry| entry.carrier == carrier)
    }
}
