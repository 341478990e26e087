//! What one side knows of one component.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{
    Carrier, Check, Component, Features, Generation, GrammarError, Presence, Receiver,
    RegistryError, Role, Strings, Token, Versions,
};

/// What one side knows of a component.
#[allow(
    unpredictable_function_pointer_comparisons,
    reason = "at worst two equal checks are told apart"
)]
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Ability {
    /// The component's name.
    pub name: String,
    /// The version that it writes: the number in its token.
    pub version: u32,
    /// The minor version that it writes: additions that an older reader may ignore.
    pub minor: u16,
    /// The versions that it restores.
    pub restores: Versions,
    /// Versions that it can write besides its own, in order.
    pub writes: Vec<u32>,
    /// Components that its strings list.
    pub needs: Vec<String>,
    /// Of those, the versions that its plain string stands for, where they are known.
    pub stands_for: BTreeMap<String, u32>,
    /// Of those, what it does without: listed, and not needed to read or write it.
    pub lists: BTreeSet<String>,
    /// Whether a handover can do without it.
    pub presence: Presence,
    /// What carries its string as a base token.
    pub carrier: Option<Carrier>,
    /// Its subtree of the root FDT.
    pub subtree: Option<String>,
    /// Its feature masks, where it has any.
    pub features: Option<Features>,
    /// How its own string is written, where that is known of it apart from the side's
    /// [dialect](crate::Side::dialect).
    pub strings: Option<Strings>,
    /// Who takes it over.
    pub receiver: Receiver,
    /// Its own check, where the side is a program that links it.
    pub check: Option<Check>,
    // Of each version that it restores, where that is known.
    pub(crate) generations: BTreeMap<u32, Announces>,
}

/// What one generation of a component announces beside its own number.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Announces {
    minor: u16,
    pub(crate) needs: Vec<String>,
    stands_for: BTreeMap<String, u32>,
    pub(crate) lists: BTreeSet<String>,
}

impl Announces {
    fn of(generation: &Generation) -> Self {
        let listed = || generation.listed();
        Self {
            minor: generation.minor,
            needs: listed().map(|(need, _)| need.to_string()).collect(),
            stands_for: listed().map(|(need, of)| (need.to_string(), of)).collect(),
            lists: generation
                .lists
                .iter()
                .map(|(name, _)| name.to_string())
                .collect(),
        }
    }
}

impl Ability {
    /// A mandatory component that writes `version` and restores that one alone.
    ///
    /// # Errors
    ///
    /// The name is not in the grammar.
    pub fn new(name: &str, version: u32) -> Result<Self, GrammarError> {
        Token::new(name, version)?;
        Ok(Self {
            name: name.to_string(),
            version,
            minor: 0,
            restores: Versions::from_iter([version]),
            writes: Vec::new(),
            needs: Vec::new(),
            stands_for: BTreeMap::new(),
            lists: BTreeSet::new(),
            presence: Presence::Mandatory,
            carrier: None,
            subtree: None,
            features: None,
            strings: None,
            check: None,
            receiver: Receiver::Kernel,
            generations: BTreeMap::new(),
        })
    }

    /// Makes `version` the one that it writes, with what that one announces.
    pub(crate) fn write_as(&mut self, version: u32) {
        if version != self.version {
            self.version = version;
            self.announce();
        }
    }

    /// Takes over what the generation of its version announces.
    fn announce(&mut self) {
        let version = self.version;
        if let Some(announces) = self.generations.get(&version).cloned() {
            self.minor = announces.minor;
            self.needs = announces.needs;
            self.stands_for = announces.stands_for;
            self.lists = announces.lists;
        }
    }

    /// The minor version that it writes of `version`.
    pub(crate) fn minor_of(&self, version: u32) -> u16 {
        let announces = self.generations.get(&version);
        let own = if version == self.version {
            self.minor
        } else {
            0
        };
        announces.map_or(own, |announces| announces.minor)
    }

    /// What the plain string of `version` stands for: components that it lists, each with its version,
    /// those that it needs first. `None` where that is not known.
    pub(crate) fn stood_for(&self, version: u32) -> Option<Vec<(&str, u32)>> {
        let (stands_for, lists) = match self.generations.get(&version) {
            Some(announces) => (&announces.stands_for, &announces.lists),
            None if version == self.version && self.stands_for.len() == self.needs.len() => {
                (&self.stands_for, &self.lists)
            }
            None => return None,
        };
        let mut all: Vec<_> = stands_for
            .iter()
            .map(|(need, of)| (need.as_str(), *of))
            .collect();
        all.sort_by_key(|(need, _)| lists.contains(*need));
        Some(all)
    }

    /// Whether it restores what `version` wrote.
    #[must_use]
    pub fn restores(&self, version: u32) -> bool {
        self.restores.has(version, 0)
    }

    /// The versions that it restores, in order: see [`Versions::near`].
    pub fn restorable(&self) -> impl Iterator<Item = u32> {
        self.restores.near(self.version)
    }

    /// The versions that it can write, in order.
    pub fn writable(&self) -> impl Iterator<Item = u32> + '_ {
        let older = self.writes.iter().copied().filter(|v| *v < self.version);
        older.chain([self.version])
    }

    /// Whether it is worth restoring anything without it.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.presence == Presence::Optional
    }
}

impl TryFrom<&Component> for Ability {
    type Error = RegistryError;

    fn try_from(component: &Component) -> Result<Self, RegistryError> {
        Self::of(component, None)
    }
}

impl Ability {
    /// What `component` can, with the experiment of that number.
    pub(crate) fn of(
        component: &Component,
        experiment: Option<u32>,
    ) -> Result<Self, RegistryError> {
        let name = component.name.to_string();
        let is_on = |one: &Generation| Some(one.number) == experiment;
        let known = component.generations.iter();
        let known = known.filter(|one| one.role != Role::Experimental || is_on(one));
        let written = known.clone().filter(|one| one.role != Role::ReadOnly);
        let mut writes: Vec<u32> = written.map(|one| one.number).collect();
        let newest = writes.pop().unwrap_or_default();
        let mut ability =
            Self::new(&name, newest).map_err(|error| RegistryError::Name(name.clone(), error))?;
        ability.restores = known.clone().map(|one| one.number).collect();
        ability.writes = writes;
        ability.features = Some(component.features);
        ability.generations = known.map(|one| (one.number, Announces::of(one))).collect();
        ability.announce();
        ability.presence = component.presence;
        ability.carrier = component.carrier;
        ability.subtree = component.subtree.map(ToString::to_string);
        ability.check = component.check;
        ability.receiver = component.receiver();
        Ok(ability)
    }
}
