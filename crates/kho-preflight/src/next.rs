//! The next end as a side: what it can restore, and where each of it stands.

use std::collections::{BTreeMap, BTreeSet};

use kho_compat::{
    Ability, Alternative, Carrier, Compat, Features, Generation, Registry, Side, Strings, Token,
};
use semver::VersionReq;

use crate::Error;
use crate::end::{End, Kernel, What};
use crate::item::{Item, Spot};
use crate::wanted::Wanted;

/// Versions of a component, and where each stands.
pub(crate) type Versions = BTreeMap<u32, Spot>;

/// What the next one can restore.
pub(crate) struct Next<'e> {
    pub(crate) end: &'e End,
    /// This build's components.
    pub(crate) registry: &'static Registry,
    pub(crate) side: Side,
    pub(crate) versions: BTreeMap<String, Versions>,
    pub(crate) masks: BTreeMap<String, (Features, Spot)>,
    /// Whether its strings list what they need.
    composites: bool,
}

/// What carries the string of the component `name`.
pub(crate) fn carrier_of(registry: &Registry, name: &str) -> Option<Carrier> {
    match registry.get(name) {
        Some(component) => component.carrier,
        None => name.ends_with("-flb").then_some(Carrier::Flb),
    }
}

impl<'e> Next<'e> {
    pub(crate) fn of(
        end: &'e End,
        wanted: &Wanted,
        registry: &'static Registry,
    ) -> Result<Self, Error> {
        let mut next = Self {
            end,
            registry,
            side: Side::default(),
            versions: BTreeMap::new(),
            masks: BTreeMap::new(),
            composites: false,
        };
        let mut needs: BTreeMap<String, (u32, Vec<String>)> = BTreeMap::new();
        let mut strings: BTreeMap<String, Strings> = BTreeMap::new();
        let mut carriers: BTreeMap<String, Carrier> = BTreeMap::new();
        let mut take = |versions: &mut BTreeMap<String, Versions>,
                        carrier: Carrier,
                        compat: &Compat,
                        spot: &Spot| {
            let base = compat.base();
            carriers.entry(base.name().to_owned()).or_insert(carrier);
            let own = needs.entry(base.name().to_owned()).or_default();
            if own.0 <= base.version() {
                let parts = compat.parts().iter().map(|part| part.name().to_owned());
                *own = (base.version(), parts.collect());
            }
            for token in compat.tokens() {
                let versions = versions.entry(token.name().to_owned()).or_default();
                versions
                    .entry(token.version())
                    .or_insert_with(|| spot.clone());
            }
        };
        match &end.what {
            What::Kernel(kernel) => {
                for seen in &kernel.seen {
                    if let Some(carrier) = seen.carrier {
                        take(&mut next.versions, carrier, &seen.compat, &seen.spot);
                    }
                }
                for (name, carrier) in &wanted.handlers {
                    if kernel.names(name) {
                        continue;
                    }
                    let called = kernel.candidates.iter();
                    for seen in called.filter(|seen| seen.compat.base().name() == name) {
                        take(&mut next.versions, *carrier, &seen.compat, &seen.spot);
                    }
                }
                for masks in &kernel.masks {
                    let known = (masks.features, masks.spot.clone());
                    next.masks.entry(masks.name.clone()).or_insert(known);
                }
            }
            What::Dump(dump) => {
                for item in &dump.items {
                    let entry = &item.entry;
                    match (entry.carrier, entry.features, entry.compat()) {
                        (Carrier::Features, Some(features), _) => {
                            let known = (features, item.spot.clone());
                            next.masks.insert(entry.found.clone(), known);
                        }
                        (Carrier::Subtree | Carrier::Features, ..) | (_, _, Err(_)) => {}
                        (Carrier::Table, _, Ok(compat)) => {
                            let name = compat.base().name().to_owned();
                            let versions = next.versions.entry(name).or_default();
                            versions
                                .entry(compat.base().version())
                                .or_insert_with(|| item.spot.clone());
                        }
                        (carrier, _, Ok(compat)) => {
                            take(&mut next.versions, carrier, &compat, &item.spot);
                        }
                    }
                }
            }
            What::Listed(listed) => {
                for ability in listed.side.abilities() {
                    let spot = Spot::new(format!("component `{}`", ability.name));
                    let versions = ability.restorable().map(|v| (v, spot.clone()));
                    next.versions
                        .insert(ability.name.clone(), versions.collect());
                }
                next.side = listed.side.clone();
                return Ok(next);
            }
        }
        // A list of all that stands in a string is that string again.
        for (name, (_, needs)) in &needs {
            let own = if needs.is_empty() {
                Strings::Plain
            } else {
                Strings::Direct
            };
            strings.insert(name.clone(), own);
        }
        next.composites = needs.values().any(|(_, needs)| !needs.is_empty());
        next.stand_for(&mut needs);
        let mut abilities = Vec::new();
        let names: BTreeSet<_> = next
            .versions
            .keys()
            .chain(next.masks.keys())
            .cloned()
            .collect();
        for name in names {
            let masks = next.masks.get(&name).map(|(features, _)| *features);
            let (version, restores) = match next.versions.get(&name) {
                Some(versions) => {
                    let newest = versions.keys().next_back().copied().unwrap_or(0);
                    (newest, versions.keys().copied().collect())
                }
                // Known by its masks alone: a version without masks says nothing.
                None if wanted.masks.contains(&name) => {
                    let wanted = wanted.versions(&name).max().unwrap_or(0);
                    (wanted, VersionReq::STAR.into())
                }
                None => (u32::MAX, kho_compat::Versions::from_iter([u32::MAX])),
            };
            let Ok(mut ability) = Ability::new(&name, version) else {
                continue;
            };
            ability.restores = restores;
            ability.features = masks;
            ability.strings = strings.get(&name).copied();
            ability.carrier = carriers
                .get(&name)
                .copied()
                .or_else(|| carrier_of(registry, &name));
            ability.needs = needs
                .remove(&name)
                .map(|(_, needs)| needs)
                .unwrap_or_default();
            abilities.push(ability);
        }
        next.side = Side::new(abilities).map_err(Error::Strings)?;
        Ok(next)
    }

    /// Adds what its plain strings stand for: `luo-v5` alone means that blocks are `block-v1`, as in this
    /// build's component of that name and version.
    fn stand_for(&mut self, needs: &mut BTreeMap<String, (u32, Vec<String>)>) {
        for (name, (version, needs)) in needs {
            let own = self.registry.get(name);
            let generation = own.and_then(|own| own.generation(*version));
            for (need, stands_for) in generation
                .into_iter()
                .filter(|_| needs.is_empty())
                .flat_map(Generation::listed)
                .collect::<Vec<_>>()
            {
                needs.push(need.to_owned());
                let spot = Spot::new(format!("what `{name}-v{version}` stands for"));
                let versions = self.versions.entry(need.to_owned()).or_default();
                if versions.is_empty() {
                    versions.insert(stands_for, spot);
                }
            }
        }
    }

    /// What carries the string of the component `name`.
    pub(crate) fn carrier_of(&self, name: &str) -> Option<Carrier> {
        carrier_of(self.registry, name)
    }

    pub(crate) const fn kernel(&self) -> Option<&'e Kernel> {
        match &self.end.what {
            What::Kernel(kernel) => Some(kernel),
            _ => None,
        }
    }

    /// Whether it is known what its components need: its strings can be compared as composites.
    pub(crate) fn knows_needs(&self) -> bool {
        match &self.end.what {
            What::Listed(_) => true,
            _ => self.composites,
        }
    }

    /// Whether each token of `compat` is one that it has.
    pub(crate) fn has(&self, compat: &Compat) -> bool {
        compat.tokens().all(|token| {
            let versions = self.versions.get(token.name());
            versions.is_some_and(|versions| versions.contains_key(&token.version()))
        })
    }

    /// Whether of the component `name` its masks are all that is known.
    pub(crate) fn has_masks_alone(&self, name: &str) -> bool {
        self.masks.contains_key(name) && !self.versions.contains_key(name)
    }

    /// What it could restore of the component `name`: exactly.
    pub(crate) fn alternatives(&self, name: &str) -> Option<Vec<Alternative>> {
        if let Some(versions) = self.versions.get(name) {
            let tokens = versions.keys().map(|version| Token::new(name, *version));
            let compats = tokens.flatten().map(|token| Compat::from(token).into());
            return Some(compats.collect());
        }
        let (features, _) = self.masks.get(name)?;
        Some(vec![Alternative::Masks {
            supported: features.supported,
            required: features.required,
        }])
    }

    /// Where what was expected in place of `item` stands.
    pub(crate) fn spots(&self, item: &Item) -> Vec<Spot> {
        let name = item.component();
        let carrier = item.entry.carrier;
        if carrier == Carrier::Features
            && let Some((_, spot)) = self.masks.get(&name)
        {
            return vec![spot.clone()];
        }
        let own = self.versions.get(&name);
        if let (Some(versions), Some(token)) = (own, item.tokens().first())
            && let Some(spot) = versions.get(&token.version())
        {
            return vec![spot.clone()];
        }
        let names = match own {
            Some(_) => vec![name],
            None => {
                let of_carrier = self.side.carried_in(carrier);
                of_carrier.map(|ability| ability.name.clone()).collect()
            }
        };
        let spots = names.iter().flat_map(|name| {
            let versions = self
                .versions
                .get(name)
                .into_iter()
                .flat_map(Versions::values);
            versions.chain(self.masks.get(name).map(|(_, spot)| spot))
        });
        // Where a side has many, the first few say it.
        spots.take(8).cloned().collect()
    }
}
