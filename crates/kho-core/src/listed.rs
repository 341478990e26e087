//! What the root FDT says of components beside the strings: the version table and the feature masks.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use kho_compat::{
    Ability, Carrier, Features, Listing, Manifest, Place, Side, Strings, Token, Writing,
};
use kho_mem::Defect;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::v4::{LISTED_OPTIONAL, ListedFeatures, ListedVersion};

/// A component that the root FDT lists, in the node `compat` or `features`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The component's name.
    pub name: String,
    /// What is said of it.
    pub said: Said,
}

/// What the root FDT says of a component that it lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Said {
    /// In the version table.
    Version {
        /// The version that was written.
        version: u32,
        /// Additions to it that a reader may ignore.
        minor: u16,
        /// Whether the rest is worth restoring without it.
        optional: bool,
    },
    /// In the feature masks.
    Features(Features),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version {
                version,
                minor,
                optional,
            } => {
                write!(f, "version {version}")?;
                if *minor > 0 {
                    write!(f, ".{minor}")?;
                }
                f.write_str(if *optional { ", optional" } else { "" })
            }
            Self::Features(features) => write!(
                f,
                "supported {:#x}, required {:#x}, active {:#x}",
                features.supported, features.required, features.active
            ),
        }
    }
}

/// Bits of [`ListedVersion::flags`]: the minor version. Readers of before there was one refuse any other
/// than 0.
const MINOR: u32 = 0xff_ff00;

/// A value that is none of its node's: the defect, what was found, what was expected.
pub(crate) type BadValue = (Defect, String, String);

impl Listed {
    /// Reads the property `name` of the node of `carrier`.
    pub(crate) fn read(carrier: Carrier, name: &str, value: &[u8]) -> Result<Self, BadValue> {
        if let Err(error) = Token::new(name, 0) {
            let expected = "a component's name".to_string();
            return Err((Defect::BadText, error.to_string(), expected));
        }
        let said = if carrier == Carrier::Features {
            Said::masks(value)
        } else {
            Said::version(value)
        };
        Ok(Self {
            name: name.to_string(),
            said: said?,
        })
    }

    /// Adds it to `manifest`, from the root FDT at `at`.
    pub(crate) fn add_to(&self, manifest: &mut Manifest, at: u64) {
        let node = self.said.carrier().node().unwrap_or_default();
        let place = Place::new(at, alloc::format!("root FDT, {node}/{}", self.name));
        match self.said {
            Said::Version {
                version,
                minor,
                optional,
            } => {
                // The name was found to be one when it was read.
                if let Ok(token) = Token::new(&self.name, version) {
                    manifest.add_listed(&token, optional, place);
                    manifest.set_minor(&token, minor);
                }
            }
            Said::Features(features) => manifest.add_features(&self.name, features, place),
        }
    }
}

fn bad_size<T>(value: &[u8]) -> BadValue {
    let bytes = |len: usize| alloc::format!("{len} bytes");
    (Defect::BadSize, bytes(value.len()), bytes(size_of::<T>()))
}

impl Said {
    /// What is said of `ability` where `carrier` says it.
    fn of(ability: &Ability, carrier: Carrier) -> Option<Self> {
        if carrier == Carrier::Features {
            return ability.features.map(Self::Features);
        }
        Some(Self::Version {
            version: ability.version,
            minor: ability.minor,
            optional: ability.is_optional(),
        })
    }

    const fn carrier(&self) -> Carrier {
        match self {
            Self::Version { .. } => Carrier::Table,
            Self::Features(_) => Carrier::Features,
        }
    }

    fn version(value: &[u8]) -> Result<Self, BadValue> {
        let ser =
            ListedVersion::read_from_bytes(value).map_err(|_| bad_size::<ListedVersion>(value))?;
        let flags = ser.flags.get();
        let minor = (flags & MINOR) >> MINOR.trailing_zeros();
        if flags & !(LISTED_OPTIONAL | MINOR) != 0 {
            let (found, expected) = (alloc::format!("{flags:#x}"), "flags 0 or 0x1".to_string());
            return Err((Defect::UnknownFlags, found, expected));
        }
        Ok(Self::Version {
            version: ser.version.get(),
            minor: u16::try_from(minor).unwrap_or(u16::MAX),
            optional: flags & LISTED_OPTIONAL != 0,
        })
    }

    fn masks(value: &[u8]) -> Result<Self, BadValue> {
        let ser = ListedFeatures::read_from_bytes(value);
        let ser = ser.map_err(|_| bad_size::<ListedFeatures>(value))?;
        Ok(Self::Features(Features {
            supported: ser.supported.get(),
            required: ser.required.get(),
            active: ser.active.get(),
        }))
    }

    /// The value of its property.
    fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Version {
                version,
                minor,
                optional,
            } => ListedVersion {
                version: U32::new(version),
                flags: U32::new(
                    u32::from(minor) << MINOR.trailing_zeros()
                        | if optional { LISTED_OPTIONAL } else { 0 },
                ),
            }
            .as_bytes()
            .to_vec(),
            Self::Features(features) => ListedFeatures {
                supported: U64::new(features.supported),
                required: U64::new(features.required),
                active: U64::new(features.active),
            }
            .as_bytes()
            .to_vec(),
        }
    }
}

/// What carries `list`; `None` where strings say it all.
pub(crate) const fn lists(list: Listing) -> Option<Carrier> {
    match list {
        Listing::None => None,
        Listing::Versions => Some(Carrier::Table),
        Listing::Masks => Some(Carrier::Features),
    }
}

/// A node that lists components, to be written.
pub(crate) struct Node<'n> {
    pub(crate) name: &'static str,
    /// By the components' names.
    pub(crate) properties: Vec<(&'n str, Vec<u8>)>,
}

impl<'n> Node<'n> {
    /// The node of `carrier` that lists `names`. One that `side` does not know is not listed.
    pub(crate) fn of(
        side: &Side,
        carrier: Carrier,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        let unlinked = |name| {
            let version = side.unlinked(name).filter(|_| carrier == Carrier::Table)?;
            let (minor, optional) = (0, false);
            Some(Said::Version {
                version,
                minor,
                optional,
            })
        };
        let said = |name| match side.get(name) {
            Some(ability) => Said::of(ability, carrier),
            None => unlinked(name),
        };
        let value = |name: &'n str| Some((name, said(name)?.to_bytes()));
        Self {
            name: carrier.node().unwrap_or_default(),
            properties: names.into_iter().filter_map(value).collect(),
        }
    }
}

/// Whether a subtree can not have this name: a node of it says something else.
pub(crate) fn is_reserved(name: &str) -> bool {
    let mut nodes = Carrier::ALL.into_iter().filter_map(Carrier::node);
    nodes.any(|node| node == name)
}

/// A component of `side` whose version nothing says that is written so, as a token; `None` where there
/// is none.
///
/// A component without a string of its own is named by the strings of those who need it, or by a
/// table. Where neither does, it is read as the version that plain strings stand for.
pub(crate) fn unsaid(side: &Side, writing: Writing) -> Option<String> {
    if writing.list == Listing::Versions {
        return None;
    }
    let unsaid = |ability: &&Ability| {
        let unannounced = side.unannounced(&ability.name);
        ability.carrier.is_none()
            && unannounced.is_some_and(|version| version != ability.version)
            && !is_said(side, writing.strings, &ability.name)
    };
    let ability = side.abilities().find(unsaid)?;
    Some(alloc::format!("{}-v{}", ability.name, ability.version))
}

/// Whether the strings of all that need `name`, and of at least one, list it.
fn is_said(side: &Side, strings: Strings, name: &str) -> bool {
    let has = |needs: &[String]| needs.iter().any(|need| need == name);
    let mut users = side
        .abilities()
        .filter(|user| user.carrier.is_some() || user.subtree.is_some())
        .filter(|user| user.name == name || has(side.needs(&user.name)))
        .peekable();
    users.peek().is_some()
        && users.all(|user| {
            user.carrier.is_some_and(Carrier::holds_composites)
                && match strings {
                    Strings::Plain => false,
                    Strings::List => {
                        user.carrier == Some(Carrier::Root) && has(side.needs(&user.name))
                    }
                    Strings::Direct => has(&user.needs),
                    Strings::Transitive => has(side.needs(&user.name)),
                }
        })
}
