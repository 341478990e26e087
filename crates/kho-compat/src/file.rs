//! A side, and what is in use of it, as a file: what a program answers when it is asked, what a release
//! is described by.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

mod answer;

pub use answer::Answer;
#[doc(hidden)]
pub use answer::{Linked, answer};

use serde::{Deserialize, Serialize};

use crate::{
    AbiMembers, Ability, Carrier, Component, Features, Generation, Manifest, Place, Presence,
    Registry, RegistryError, Side, Token, Writing, constant,
};

/// The name in `kho-manifest-v1`.
pub const NAME: &str = "kho-manifest";
/// The number in `kho-manifest-v1`.
pub const VERSION: u32 = 1;
/// The format's name, in [`ManifestFile::format`].
pub const FORMAT: &str = "kho-manifest-v1";
/// The environment variable that asks a program for its manifest: `1`.
pub const ASK_ENV: &str = "KHO_MANIFEST";
/// Stands in every program that answers: a program without it is not worth asking, since it would do
/// its work instead. It stays in programs whose answer is of a later version, so that who does not know that
/// version asks, and refuses the answer by its format.
pub const MARKER: &str = "kho-manifest-v1 is the answer to KHO_MANIFEST=1";

/// Components of a manifest file, at most.
pub const MAX_COMPONENTS: usize = 256;
/// Strings in use of a manifest file, at most.
pub const MAX_STRINGS: usize = 1024;

/// `kho-manifest-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .constants(&[
        constant!(FORMAT),
        constant!(ASK_ENV),
        constant!(MARKER),
        constant!(MAX_COMPONENTS),
        constant!(MAX_STRINGS),
    ])
    .members(&[
        ManifestFile::members,
        ComponentFile::members,
        FeaturesFile::members,
        InUse::members,
        UseFile::members,
    ]);

/// Manifest files as an interface between programs.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("manifest files: what a program or a release restores and writes")
    .of_crate(env!("CARGO_PKG_NAME"))
    .interface();

crate::submit! { COMPONENT }

/// A manifest file, in JSON.
///
/// ```
/// use kho_compat::file::ManifestFile;
///
/// let file = ManifestFile::parse(
///     r#"{
///         "format": "kho-manifest-v1",
///         "name": "my-service 1.2",
///         "components": {
///             "block": { "version": 2, "restores": ">=1, <3", "writes": [1] },
///             "luo": { "version": 5, "needs": ["block"], "carrier": "luo", "subtree": "LUO" }
///         }
///     }"#,
/// )?;
/// assert!(file.side()?.restores("block", 1));
/// assert!(!file.side()?.restores("luo", 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, AbiMembers)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ManifestFile {
    /// [`FORMAT`].
    pub format: String,
    /// Whose it is: a program and its version, a release.
    pub name: String,
    /// How its versions are written: `plain`, `composite` and so on. Without it as the strings in use are,
    /// and where there are none as the policy has them written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// Dialects whose strings it compares with besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<String>,
    /// The name of the policy by which it judges what it takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Whether it takes over what optional parts are lost of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degrade: Option<bool>,
    /// The components by name.
    pub components: BTreeMap<String, ComponentFile>,
    /// What is in use, where that is known: only this is judged then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<InUse>,
}

/// A component in a manifest file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, AbiMembers)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ComponentFile {
    /// The version written.
    pub version: u32,
    /// Additions to that version that an older reader may ignore.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub minor: u16,
    /// What it restores: semver requirements, ` || ` between alternatives. Without it its own version
    /// alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<String>,
    /// Versions that it can write besides its own: older ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<u32>,
    /// Components that its strings list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Of those, what it does without and this side does not know, each with the version listed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, u32>,
    /// Whether a handover can do without it.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub optional: bool,
    /// What carries its string: `root`, `luo`, `file-handler` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    /// Whether there is a handler of its files. Without one they are neither handed nor taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<bool>,
    /// Its subtree of the root FDT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtree: Option<String>,
    /// Its feature masks, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<FeaturesFile>,
}

/// Feature masks in a manifest file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, AbiMembers)]
#[serde(deny_unknown_fields)]
pub struct FeaturesFile {
    /// What it can restore.
    pub supported: u64,
    /// What whoever restores must support.
    pub required: u64,
    /// What is in use; all that is supported where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<u64>,
}

/// What is in use of a side.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, AbiMembers)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct InUse {
    /// The strings, as they are handed over.
    pub strings: Vec<UseFile>,
    /// Sessions in all.
    #[serde(default)]
    pub sessions: u64,
    /// Files in all.
    #[serde(default)]
    pub files: u64,
    /// Bytes of the files, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A string in use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, AbiMembers)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UseFile {
    /// What carries it: `root`, `luo`, `file-handler` and so on.
    pub carrier: String,
    /// The string.
    pub found: String,
    /// How often: the number of files of a handler.
    #[serde(default = "one")]
    pub uses: u64,
}

const fn one() -> u64 {
    1
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// A file that is no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestFileError {
    /// It is not JSON, or has not the members of a manifest.
    #[error("not a manifest file: {0}")]
    Json(#[from] serde_json::Error),
    /// It is of another format.
    #[error("its format is `{0}`, expected `{FORMAT}`")]
    Format(String),
    /// More than a side has room for.
    #[error("{0} has {1} entries, at most {2} are taken")]
    TooMany(&'static str, usize, usize),
    /// A member that is named, and what is wrong with it.
    #[error("{0}: {1}")]
    Member(String, String),
    /// Its components contradict each other.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl ManifestFile {
    /// The manifest of a program: all that `registry` knows.
    #[must_use]
    pub fn of(name: &str, registry: &Registry) -> Self {
        Self::of_side(name, registry.side())
    }

    /// The manifest of whoever has `side`.
    #[must_use]
    pub fn of_side(name: &str, side: &Side) -> Self {
        let id = |writing: Writing| writing.id().to_string();
        let component = |ability: &Ability| {
            let component = ComponentFile::of(ability, side);
            (ability.name.clone(), component)
        };
        Self {
            format: FORMAT.to_string(),
            name: name.to_string(),
            dialect: side.dialect().map(id),
            takes: side.takes().iter().copied().map(id).collect(),
            policy: None,
            degrade: None,
            components: side.abilities().map(component).collect(),
            in_use: None,
        }
    }

    /// Parses a manifest file.
    ///
    /// # Errors
    ///
    /// It is not JSON, lacks a member, has an unknown one, or is of another format.
    pub fn parse(text: &str) -> Result<Self, ManifestFileError> {
        #[derive(Deserialize)]
        struct Format {
            format: String,
        }
        // First: another format may have other members.
        let found: Format = serde_json::from_str(text)?;
        if found.format != FORMAT {
            return Err(ManifestFileError::Format(found.format));
        }
        let file: Self = serde_json::from_str(text)?;
        let strings = file
            .in_use
            .as_ref()
            .map_or(0, |in_use| in_use.strings.len());
        for (member, found, most) in [
            ("components", file.components.len(), MAX_COMPONENTS),
            ("in_use.strings", strings, MAX_STRINGS),
        ] {
            if found > most {
                return Err(ManifestFileError::TooMany(member, found, most));
            }
        }
        Ok(file)
    }

    /// The file's text.
    ///
    /// # Errors
    ///
    /// Never: there is nothing in it that JSON could not hold.
    pub fn to_json(&self) -> Result<String, ManifestFileError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// The side that it describes.
    ///
    /// # Errors
    ///
    /// A component is none, or they contradict each other.
    pub fn side(&self) -> Result<Side, ManifestFileError> {
        let abilities = self
            .components
            .iter()
            .map(|(name, component)| component.ability(name));
        let side = Side::new(abilities.collect::<Result<Vec<_>, _>>()?)?;
        let takes = self.takes.iter().map(|id| dialect("takes", id));
        let side = side.taking(takes.collect::<Result<Vec<_>, _>>()?);
        let dialect = match &self.dialect {
            Some(id) => Some(dialect("dialect", id)?),
            None => self.in_use()?.map(|manifest| manifest.writing()),
        };
        Ok(match dialect {
            Some(dialect) => side.in_dialect(dialect),
            None => side,
        })
    }

    /// What it says is in use.
    ///
    /// # Errors
    ///
    /// A carrier is none.
    pub fn in_use(&self) -> Result<Option<Manifest>, ManifestFileError> {
        let Some(in_use) = &self.in_use else {
            return Ok(None);
        };
        let mut manifest = Manifest::new();
        for (index, used) in in_use.strings.iter().enumerate() {
            let member = format!("in_use.strings[{index}].carrier");
            let carrier = carrier(&member, &used.carrier)?;
            let place = Place::new(0, format!("in_use.strings[{index}]"));
            manifest.add_uses(carrier, &used.found, place, used.uses);
        }
        Ok(Some(manifest))
    }
}

/// The dialect that the member `member` names.
///
/// # Errors
///
/// There is none of that name.
pub fn dialect(member: &str, id: &str) -> Result<Writing, ManifestFileError> {
    Writing::by_id(id).ok_or_else(|| {
        let expected = Writing::ALL.map(Writing::id).join(", ");
        let text = format!("`{id}` is none of {expected}");
        ManifestFileError::Member(member.to_string(), text)
    })
}

fn carrier(member: &str, id: &str) -> Result<Carrier, ManifestFileError> {
    Carrier::by_id(id).ok_or_else(|| {
        let known = Carrier::ALL.iter().map(Carrier::id).collect::<Vec<_>>();
        let text = format!(
            "invalid carrier `{id}`: expected {}, or the name of a component",
            known.join(", ")
        );
        ManifestFileError::Member(member.to_string(), text)
    })
}

impl ComponentFile {
    /// The component `name` as one side knows it.
    ///
    /// # Errors
    ///
    /// The name, the requirement or the carrier is none.
    pub fn ability(&self, name: &str) -> Result<Ability, ManifestFileError> {
        let member = |member: &str, text: String| {
            ManifestFileError::Member(format!("components.{name}{member}"), text)
        };
        let mut ability = Ability::new(name, self.version)
            .map_err(|error| member("", format!("no component's name: {error}")))?;
        if let Some(restores) = &self.restores {
            ability.restores = restores.parse().map_err(|error| {
                let text = format!("{restores:?} is no version requirement: {error}");
                member(".restores", text)
            })?;
        }
        ability.writes.clone_from(&self.writes);
        ability.writes.sort_unstable();
        ability.needs.clone_from(&self.needs);
        for (listed, version) in &self.lists {
            if !self.needs.contains(listed) {
                let text = format!("`{listed}` is not among its needs");
                return Err(member(".lists", text));
            }
            Token::new(listed, *version)
                .map_err(|error| member(".lists", format!("no component's name: {error}")))?;
        }
        ability.minor = self.minor;
        ability.lists.extend(self.lists.keys().cloned());
        ability.stands_for.clone_from(&self.lists);
        if self.optional {
            ability.presence = Presence::Optional;
        }
        if let Some(id) = &self.carrier {
            ability.carrier = Some(carrier(&format!("components.{name}.carrier"), id)?);
        }
        ability.subtree.clone_from(&self.subtree);
        if let Some(features) = self.features {
            ability.features = Some(Features {
                supported: features.supported,
                required: features.required,
                active: features.active.unwrap_or(features.supported),
            });
        }
        Ok(ability)
    }
}

impl ComponentFile {
    /// A component of `side`.
    fn of(ability: &Ability, side: &Side) -> Self {
        let features = ability.features;
        let version = |name: &String| Some((name.clone(), side.unlinked(name)?));
        Self {
            version: ability.version,
            minor: ability.minor,
            restores: Some(ability.restores.to_string()),
            writes: ability.writes.clone(),
            needs: ability.needs.clone(),
            lists: ability.lists.iter().filter_map(version).collect(),
            optional: ability.is_optional(),
            carrier: ability.carrier.map(|carrier| carrier.id().to_string()),
            handler: None,
            subtree: ability.subtree.clone(),
            features: features.map(|features| FeaturesFile {
                supported: features.supported,
                required: features.required,
                active: (features.active != features.supported).then_some(features.active),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Owned, Strings};

    static BLOCK: Component = Component::new("block", &[Generation::new(1), Generation::new(2)]);
    static LUO: Component = Component::new("luo", &[Generation::new(5).needs(&[("block", 1)])])
        .carried_in(Carrier::Luo)
        .subtree("LUO")
        .features(Features::of(0b11, 0b01));
    static ROOT: Component = Component::new("kho", &[Generation::new(4).lists(&[("vmalloc", 1)])]);
    static EXTRA: Component = Component::new("extra", &[Generation::new(1)]).optional();

    /// A file says nothing of older generations, nor what plain strings stand for.
    fn as_a_file_says(side: &Side) -> Side {
        let abilities = side.abilities().map(|ability| {
            let mut ability = ability.clone();
            ability.stands_for.clear();
            ability.generations.clear();
            ability.check = None;
            ability.receiver = crate::Receiver::Kernel;
            ability
        });
        Side::new(abilities).unwrap()
    }

    #[test]
    fn the_format_is_the_interfaces_name() {
        assert_eq!(FORMAT, format!("{NAME}-v{VERSION}"));
        assert!(MARKER.starts_with(FORMAT) && MARKER.contains(ASK_ENV));
        assert!(
            Registry::new([&COMPONENT, &BLOCK])
                .unwrap()
                .get(NAME)
                .is_none()
        );
    }

    #[test]
    fn a_registry_goes_into_a_file_and_comes_back() {
        let registry = Registry::new([&BLOCK, &LUO, &EXTRA]).unwrap();
        let file = ManifestFile::of("test 1.0", &registry);
        let back = ManifestFile::parse(&file.to_json().unwrap()).unwrap();
        assert_eq!(back, file);
        assert_eq!(back.side().unwrap(), as_a_file_says(registry.side()));
        assert_eq!(back.in_use().unwrap(), None);
    }

    #[test]
    fn what_is_listed_and_not_linked_is_in_the_file() {
        let registry = Registry::new([&ROOT]).unwrap();
        let file = ManifestFile::of("test 1.0", &registry);
        let back = ManifestFile::parse(&file.to_json().unwrap()).unwrap();
        let kho = |side: &Side| side.compat("kho", Strings::Transitive).unwrap().to_string();
        assert_eq!(kho(&back.side().unwrap()), "kho-v4;vmalloc-v1");
        let side = back.side().unwrap();
        assert_eq!(
            side.unlinked("vmalloc"),
            registry.side().unlinked("vmalloc")
        );
    }

    #[test]
    fn a_carrier_that_is_not_known_here_is_read() {
        let text = r#"{"format": "kho-manifest-v1", "name": "x",
            "components": {"nvme": {"version": 1, "carrier": "nvme", "subtree": "nvme"}},
            "in_use": {"strings": [{"carrier": "nvme", "found": "nvme-v1"}]}}"#;
        let file = ManifestFile::parse(text).unwrap();
        let carrier = file.side().unwrap().get("nvme").unwrap().carrier.unwrap();
        assert_eq!((carrier.id(), carrier.title()), ("nvme", "nvme"));
        let in_use = file.in_use().unwrap().unwrap();
        assert_eq!(in_use.of(carrier).count(), 1);
        let known = Carrier::by_id("kexec-metadata").unwrap();
        assert_eq!(known, Carrier::Owned(Owned::KEXEC_METADATA));
        assert_eq!(known.title(), "kexec metadata");
        assert_eq!(Carrier::by_id(&"x".repeat(32)), None);
    }

    #[test]
    fn what_is_no_manifest_is_refused_where_it_is_wrong() {
        let error = |text: &str| {
            let file = match ManifestFile::parse(text) {
                Ok(file) => file,
                Err(error) => return error.to_string(),
            };
            match file.side() {
                Err(error) => error.to_string(),
                Ok(_) => file.in_use().unwrap_err().to_string(),
            }
        };
        let with = |rest: &str| {
            format!(r#"{{"format": "kho-manifest-v1", "name": "x", "components": {rest}}}"#)
        };
        for (text, expected) in [
            ("{".to_owned(), "EOF while parsing"),
            (
                with("{}").replace("-v1", "-v2"),
                "its format is `kho-manifest-v2`",
            ),
            (with("{\"a\": {}}"), "missing field `version`"),
            (
                with("{\"a\": {\"version\": 1, \"x\": 2}}"),
                "unknown field `x`",
            ),
            (
                with("{\"A\": {\"version\": 1}}"),
                "components.A: no component's name: byte 0",
            ),
            (
                with("{\"a\": {\"version\": 1, \"restores\": \"one\"}}"),
                "components.a.restores: \"one\" is no version requirement",
            ),
            (
                with("{\"a\": {\"version\": 1, \"carrier\": \"No\"}}"),
                "components.a.carrier: invalid carrier `No`: expected root, luo,",
            ),
            (
                with("{\"a\": {\"version\": 1, \"needs\": [\"b\"]}}"),
                "component `a` needs `b`",
            ),
            (
                with("{\"a\": {\"version\": 1, \"writes\": [1]}}"),
                "writes version 1 besides its own 1",
            ),
            (
                with("{}, \"in_use\": {\"strings\": [{\"carrier\": \"X\", \"found\": \"y\"}]}"),
                "in_use.strings[0].carrier: invalid carrier `X`",
            ),
        ] {
            let error = error(&text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
