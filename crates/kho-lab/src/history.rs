//! A history: releases with the versions and layouts of their components.

use std::collections::BTreeMap;

use kho_compat::file::{ComponentFile, FeaturesFile, ManifestFileError, dialect};
use kho_compat::{Features, RegistryError, Side};
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, LayoutError};
use crate::measured::{Measured, MeasuredFile};

/// The format's name, in a history's `format`.
pub const FORMAT: &str = "kho-history-v1";

/// A history file, as it stands there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryFile {
    format: String,
    name: String,
    title: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    layouts: BTreeMap<String, Layout>,
    #[serde(rename = "release")]
    releases: Vec<ReleaseFile>,
    #[serde(default)]
    measured: Option<MeasuredFile>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseFile {
    name: String,
    #[serde(default)]
    date: String,
    #[serde(default)]
    text: String,
    source: String,
    #[serde(default)]
    dialect: Option<String>,
    #[serde(default)]
    takes: Vec<String>,
    #[serde(default)]
    compares_whole: bool,
    #[serde(default)]
    like: Option<String>,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    components: Components,
}

type Components = BTreeMap<String, ReleaseComponent>;

/// A component in a release, as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseComponent {
    version: u32,
    layout: String,
    #[serde(default)]
    restores: Option<String>,
    #[serde(default)]
    writes: Vec<u32>,
    #[serde(default)]
    knows: BTreeMap<String, String>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    carrier: Option<String>,
    #[serde(default)]
    subtree: Option<String>,
    #[serde(default)]
    features: Option<FeaturesFile>,
}

/// A history that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// It is not TOML, or lacks a member, or has an unknown one. The text has line and column.
    #[error("not a history file: {0}")]
    Toml(#[from] toml::de::Error),
    /// It is of another format.
    #[error("its format is `{0}`, expected `{FORMAT}`")]
    Format(String),
    /// There are no releases, or too many to compare each with each.
    #[error("it has {0} releases, expected 1 to {MAX_RELEASES}")]
    Count(usize),
    /// Two releases have one name.
    #[error("release `{0}` is listed twice")]
    Twice(String),
    /// A release is like one that is not before it.
    #[error("release `{0}` is like `{1}`, which is no release before it")]
    Like(String, String),
    /// A release leaves out, or a version's layout belongs to, what is not there.
    #[error("release `{0}`: {1}")]
    Release(String, String),
    /// A component names a layout that is not in the file.
    #[error("release `{0}`, component `{1}`: no layout `{2}` in this file")]
    UnknownLayout(String, String, String),
    /// A measured update names what is not there, or is measured twice.
    #[error("measured update from `{0}` to `{1}`: {2}")]
    Measured(String, String, &'static str),
    /// A layout is none.
    #[error("layout `{0}`: {1}")]
    Layout(String, LayoutError),
    /// A component is none.
    #[error("release `{0}`: {1}")]
    Component(String, ManifestFileError),
    /// The components of a release contradict each other.
    #[error("release `{0}`: {1}")]
    Side(String, RegistryError),
}

/// Releases in a history, at most: every policy looks at every pair.
pub const MAX_RELEASES: usize = 256;

/// Releases with the versions and layouts of their components, in order.
#[derive(Clone, Debug)]
pub struct History {
    /// A name for files: `linux`.
    pub name: String,
    /// What it is, in a line.
    pub title: String,
    /// What it tells.
    pub text: String,
    /// The layouts by name.
    pub layouts: BTreeMap<String, Layout>,
    /// The releases, the oldest first.
    pub releases: Vec<Release>,
    /// What real kernels did, where they were asked.
    pub measurements: Option<Measurements>,
}

/// What real kernels did with the updates of a history.
#[derive(Clone, Debug)]
pub struct Measurements {
    /// The policy that they follow themselves: its cells are compared with what they did.
    pub policy: String,
    /// How it was measured.
    pub source: String,
    // By the places of the releases that hand over and take over.
    updates: BTreeMap<(usize, usize), Measured>,
}

impl Measurements {
    /// What became of the update from release `from` to release `to`, by their places in the history.
    #[must_use]
    pub fn get(&self, from: usize, to: usize) -> Option<&Measured> {
        self.updates.get(&(from, to))
    }

    fn of(file: MeasuredFile, releases: &[Release]) -> Result<Self, HistoryError> {
        let mut updates = BTreeMap::new();
        for group in &file.updates {
            for to in &group.to {
                let wrong = |text| HistoryError::Measured(group.from.clone(), to.clone(), text);
                let place = |name: &String| -> Result<_, HistoryError> {
                    let place = releases.iter().position(|release| release.name == *name);
                    let place = place.ok_or_else(|| wrong("there is no such release"))?;
                    let kernel = file.kernels.get(name);
                    let kernel = kernel.ok_or_else(|| wrong("no kernel of the release was run"))?;
                    Ok((place, kernel.clone()))
                };
                let ((from, handing), (to, taking)) = (place(&group.from)?, place(to)?);
                let measured = Measured {
                    kernels: (handing, taking),
                    happened: group.happened,
                    text: group.text.clone(),
                };
                if updates.insert((from, to), measured).is_some() {
                    return Err(wrong("it is there twice"));
                }
            }
        }
        Ok(Self {
            policy: file.policy,
            source: file.source,
            updates,
        })
    }
}

/// A release of a history.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its name: `7.3`.
    pub name: String,
    /// When it came out, where that is known.
    pub date: String,
    /// What is particular about it.
    pub text: String,
    /// Where its facts come from.
    pub source: String,
    /// Its components.
    pub side: Side,
    /// The layouts of its components, by component.
    pub layouts: BTreeMap<String, Known>,
}

/// The layouts that a release knows of a component, by their names in the history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Known {
    /// The one of the version that it writes.
    pub own: String,
    /// Those of other versions, which it restores or can write.
    pub others: BTreeMap<u32, String>,
}

impl Known {
    /// The name of the layout of `version`, where `own` is the version written.
    #[must_use]
    pub fn of(&self, version: u32, own: u32) -> Option<&str> {
        if version == own {
            return Some(&self.own);
        }
        self.others.get(&version).map(String::as_str)
    }

    /// Those that `side` reads of the component `name`, the own one first: it may know others only
    /// to write them.
    pub(crate) fn readable<'k>(
        &'k self,
        side: &'k Side,
        name: &'k str,
    ) -> impl Iterator<Item = &'k str> {
        let others = self.others.iter();
        let others = others.filter(|(version, _)| side.restores(name, **version));
        std::iter::once(self.own.as_str()).chain(others.map(|(_, layout)| layout.as_str()))
    }
}

impl History {
    /// Parses a history file: TOML, described in the crate's README.
    ///
    /// # Errors
    ///
    /// It is not TOML or lacks a member; a release is listed twice; a layout or component is none;
    /// the components of a release contradict each other.
    pub fn parse(text: &str) -> Result<Self, HistoryError> {
        let file: HistoryFile = toml::from_str(text)?;
        if file.format != FORMAT {
            return Err(HistoryError::Format(file.format));
        }
        if file.releases.is_empty() || file.releases.len() > MAX_RELEASES {
            return Err(HistoryError::Count(file.releases.len()));
        }
        for (name, layout) in &file.layouts {
            let checked = layout.check();
            checked.map_err(|error| HistoryError::Layout(name.clone(), error))?;
        }
        let mut whole: BTreeMap<String, Components> = BTreeMap::new();
        let mut releases = Vec::new();
        for release in file.releases {
            let components = release.components(&whole)?;
            releases.push(release.checked(&components, &file.layouts)?);
            if whole.insert(release.name.clone(), components).is_some() {
                return Err(HistoryError::Twice(release.name));
            }
        }
        let measured = file.measured.map(|file| Measurements::of(file, &releases));
        Ok(Self {
            name: file.name,
            title: file.title,
            text: file.text.trim().to_owned(),
            layouts: file.layouts,
            measurements: measured.transpose()?,
            releases,
        })
    }

    /// The release `name`, and its place in the order.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        let mut releases = self.releases.iter();
        releases.position(|release| release.name == name)
    }
}

impl ReleaseFile {
    fn wrong(&self, text: String) -> HistoryError {
        HistoryError::Release(self.name.clone(), text)
    }

    /// Its components with those that it has from another release.
    fn components(
        &self,
        before: &BTreeMap<String, Components>,
    ) -> Result<Components, HistoryError> {
        let like = |like: &String| {
            let unknown = || HistoryError::Like(self.name.clone(), like.clone());
            before.get(like).cloned().ok_or_else(unknown)
        };
        let components = self.like.as_ref().map(like).transpose()?;
        let mut components = components.unwrap_or_default();
        for name in &self.without {
            if components.remove(name).is_none() {
                let text = format!("it is without `{name}`, which it would not have anyway");
                return Err(self.wrong(text));
            }
        }
        components.extend(self.components.clone());
        Ok(components)
    }

    fn checked(
        &self,
        components: &Components,
        layouts: &BTreeMap<String, Layout>,
    ) -> Result<Release, HistoryError> {
        let mut abilities = Vec::new();
        let mut known = BTreeMap::new();
        for (name, component) in components {
            let mut file = ComponentFile::default();
            file.version = component.version;
            file.restores.clone_from(&component.restores);
            file.writes.clone_from(&component.writes);
            file.needs.clone_from(&component.needs);
            file.optional = component.optional;
            file.carrier.clone_from(&component.carrier);
            file.subtree.clone_from(&component.subtree);
            file.features = component.features;
            let ability = file.ability(name);
            let ability = ability.map_err(|e| HistoryError::Component(self.name.clone(), e));
            let mut ability = ability?;
            // Every component has a mask under the policy of masks: this is the one of those that never
            // thought of any.
            ability.features.get_or_insert(Features::BASE);
            abilities.push(ability);
            known.insert(name.clone(), self.known(name, component, layouts)?);
        }
        let side = Side::new(abilities);
        let side = side.map_err(|error| HistoryError::Side(self.name.clone(), error))?;
        let named = |member, id: &String| {
            let found = dialect(member, id);
            found.map_err(|error| HistoryError::Component(self.name.clone(), error))
        };
        let takes = self.takes.iter().map(|id| named("takes", id));
        let side = side.taking(takes.collect::<Result<Vec<_>, _>>()?);
        let side = side.comparing_whole(self.compares_whole);
        let side = match &self.dialect {
            Some(id) => side.in_dialect(named("dialect", id)?),
            None => side,
        };
        Ok(Release {
            name: self.name.clone(),
            date: self.date.clone(),
            text: self.text.trim().to_owned(),
            source: self.source.clone(),
            side,
            layouts: known,
        })
    }

    fn known(
        &self,
        name: &str,
        component: &ReleaseComponent,
        layouts: &BTreeMap<String, Layout>,
    ) -> Result<Known, HistoryError> {
        let exists = |layout: &String| -> Result<String, HistoryError> {
            let unknown =
                || HistoryError::UnknownLayout(self.name.clone(), name.to_owned(), layout.clone());
            let (name, _) = layouts.get_key_value(layout).ok_or_else(unknown)?;
            Ok(name.clone())
        };
        let mut others = BTreeMap::new();
        for (version, layout) in &component.knows {
            let component_knows = format!("component `{name}` knows");
            let number = version.parse::<u32>().map_err(|_| {
                self.wrong(format!(
                    "{component_knows} version `{version}`, which is no number"
                ))
            })?;
            if number == component.version {
                return Err(self.wrong(format!("{component_knows} its own version {number} twice")));
            }
            others.insert(number, exists(layout)?);
        }
        let writes = component.writes.iter();
        let unknown = writes.filter(|version| !others.contains_key(version)).min();
        if let Some(version) = unknown {
            let text = format!(
                "component `{name}` writes version {version}, whose layout it does not know"
            );
            return Err(self.wrong(text));
        }
        Ok(Known {
            own: exists(&component.layout)?,
            others,
        })
    }
}
