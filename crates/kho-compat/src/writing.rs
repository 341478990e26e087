//! How versions are written: which strings, and which list beside them.

use core::fmt;

use crate::Carrier;

/// What a compat string names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Strings {
    /// The base token alone: `luo-v5`. What Linux 7.2 and 7.3 write and read.
    Plain,
    /// The base token and what it needs itself: its needs' own needs are theirs to tell. The other
    /// setting of the composite proposal. It differs from [`Strings::Transitive`] where something
    /// needed needs something.
    Direct,
    /// The base token and all it needs, directly or not: `luo-v5;block-v1`.
    Transitive,
    /// The same tokens as a device tree's string list, the base token first: `"kho-v4", "radix-v1"`, shown as
    /// `kho-v4, radix-v1`. What is no property of a device tree has its base token alone. Whoever looks for one
    /// string in the list, as `fdt_node_check_compatible` of Linux does, finds the base token.
    List,
}

impl Strings {
    /// Those of `carrier`: where it [holds no composites](Carrier::holds_composites), plain ones.
    #[must_use]
    pub const fn in_carrier(self, carrier: Carrier) -> Self {
        if carrier.holds_composites() {
            self
        } else {
            Self::Plain
        }
    }

    /// These strings with no list beside them.
    #[must_use]
    pub const fn alone(self) -> Writing {
        Writing {
            strings: self,
            list: Listing::None,
        }
    }
}

/// What a node of the root FDT lists beside the strings, of every component in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Listing {
    /// Nothing: there is no such node.
    None,
    /// Versions.
    Versions,
    /// Feature masks.
    Masks,
}

/// How versions are written into memory: the dialect of a handover.
///
/// ```
/// use kho_compat::{Listing, Strings, Writing};
///
/// let table = Writing::by_id("table").unwrap();
/// assert_eq!((table.strings, table.list), (Strings::Plain, Listing::Versions));
/// assert_eq!(Strings::Direct.alone().id(), "composite-direct");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Writing {
    /// What each string names.
    pub strings: Strings,
    /// What is listed beside them.
    pub list: Listing,
}

impl Writing {
    /// Plain strings.
    pub const PLAIN: Self = Strings::Plain.alone();
    /// Strings with all needs.
    pub const COMPOSITE: Self = Strings::Transitive.alone();
    /// Strings with direct needs.
    pub const COMPOSITE_DIRECT: Self = Strings::Direct.alone();
    /// A string list of all needs in the root FDT, plain strings elsewhere.
    pub const STRING_LIST: Self = Strings::List.alone();
    /// Plain strings and a table of versions.
    pub const TABLE: Self = Self {
        strings: Strings::Plain,
        list: Listing::Versions,
    };
    /// Plain strings and feature masks.
    pub const FEATURES: Self = Self {
        strings: Strings::Plain,
        list: Listing::Masks,
    };

    /// All that commands and files have a word for.
    pub const ALL: [Self; 6] = [
        Self::PLAIN,
        Self::COMPOSITE,
        Self::COMPOSITE_DIRECT,
        Self::TABLE,
        Self::FEATURES,
        Self::STRING_LIST,
    ];

    /// The word for it in commands and files. A list gives its name to any strings beside it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match (self.list, self.strings) {
            (Listing::None, Strings::Plain) => "plain",
            (Listing::None, Strings::Transitive) => "composite",
            (Listing::None, Strings::Direct) => "composite-direct",
            (Listing::None, Strings::List) => "string-list",
            (Listing::Versions, _) => "table",
            (Listing::Masks, _) => "features",
        }
    }

    /// The one of [`Writing::ALL`] with this [`id`](Self::id).
    #[must_use]
    pub fn by_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|writing| writing.id() == id)
    }
}

impl fmt::Display for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
