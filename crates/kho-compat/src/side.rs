//! One side of a handover, as plain data: what it writes and what it can restore.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{Ability, Carrier, Compat, RegistryError, Strings, Token, Writing};

/// One side of a handover: a program with its linked components, a kernel, a release in a file.
///
/// Its components by name, checked: what they need is there, and nothing needs itself. What a component
/// lists and does without need not be there.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Side {
    abilities: BTreeMap<String, Ability>,
    // All that each lists, directly or not, in alphabetical order.
    needs: BTreeMap<String, Vec<String>>,
    // How it writes, and what else it takes.
    dialect: Option<Writing>,
    takes: Vec<Writing>,
    // Whether it compares strings whole, whatever a policy takes.
    whole: bool,
}

impl Side {
    /// The side that knows `abilities`.
    ///
    /// # Errors
    ///
    /// Two of one name, a need that is not there or that leads back, or a component that can not
    /// restore what it writes.
    pub fn new(abilities: impl IntoIterator<Item = Ability>) -> Result<Self, RegistryError> {
        let mut all = BTreeMap::new();
        for ability in abilities {
            let name = ability.name.clone();
            if let Some(version) = ability.writes.iter().find(|v| **v >= ability.version) {
                let (version, own) = (*version, ability.version);
                return Err(RegistryError::WritesNewer(name, version, own));
            }
            if !ability.restores.has(ability.version, ability.minor) {
                let (version, restores) =
                    (ability.version.to_string(), ability.restores.to_string());
                return Err(RegistryError::NotOwnVersion(name, version, restores));
            }
            if all.insert(name.clone(), ability).is_some() {
                return Err(RegistryError::Twice(name));
            }
        }
        let older = all.values().flat_map(|user| {
            // Those of its own version are its own.
            let older = user
                .generations
                .iter()
                .filter(|(version, _)| **version != user.version);
            older.flat_map(move |(_, of)| of.needs.iter().map(move |need| (user, of, need)))
        });
        for (user, of, need) in older {
            if !all.contains_key(need) && !of.lists.contains(need) {
                return Err(RegistryError::UnknownNeed(user.name.clone(), need.clone()));
            }
        }
        let needs = transitive(&all)?;
        Ok(Self {
            abilities: all,
            needs,
            dialect: None,
            takes: Vec::new(),
            whole: false,
        })
    }

    /// How this side writes its versions. `None` where that is not known: as the policy that judges it has
    /// it written then.
    #[must_use]
    pub const fn dialect(&self) -> Option<Writing> {
        self.dialect
    }

    /// This side, which writes `dialect`.
    #[must_use]
    pub const fn in_dialect(mut self, dialect: Writing) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// Dialects whose strings it compares with besides those of its own: what a release needs that is to be
    /// left for one of another dialect, or came from one, where strings are compared whole.
    #[must_use]
    pub fn takes(&self) -> &[Writing] {
        &self.takes
    }

    /// This side, which takes the strings of `dialects` besides those of its own.
    #[must_use]
    pub fn taking(mut self, dialects: impl IntoIterator<Item = Writing>) -> Self {
        self.takes = dialects.into_iter().collect();
        self
    }

    /// Whether strings are compared whole here, whatever a policy takes: so does a kernel that was released
    /// without any.
    #[must_use]
    pub const fn compares_whole(&self) -> bool {
        self.whole
    }

    /// This side, which compares strings whole.
    #[must_use]
    pub const fn comparing_whole(mut self, whole: bool) -> Self {
        self.whole = whole;
        self
    }

    /// Finds anew what each needs, after one was set to another version.
    fn resolved(mut self) -> Self {
        // A version whose needs lead back to it keeps the strings of the one before.
        if let Ok(needs) = transitive(&self.abilities) {
            self.needs = needs;
        }
        self
    }

    /// The component `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Ability> {
        self.abilities.get(name)
    }

    /// All components, in alphabetical order.
    pub fn abilities(&self) -> impl Iterator<Item = &Ability> {
        self.abilities.values()
    }

    /// All components in the order in which a reader meets them: the root, LUO, file handlers, what else
    /// carries a string, and what only others name.
    #[must_use]
    pub fn as_read(&self) -> Vec<&Ability> {
        let mut abilities: Vec<_> = self.abilities().collect();
        abilities.sort_by_key(|ability| match ability.carrier {
            Some(Carrier::Root) => 0,
            Some(Carrier::Luo) => 1,
            Some(Carrier::FileHandler) => 2,
            Some(_) => 3,
            None => 4,
        });
        abilities
    }

    /// The components whose strings `carrier` carries as base tokens.
    pub fn carried_in(&self, carrier: Carrier) -> impl Iterator<Item = &Ability> {
        self.abilities()
            .filter(move |ability| ability.carrier == Some(carrier))
    }

    /// The component that owns the subtree `name` of the root FDT.
    #[must_use]
    pub fn subtree(&self, name: &str) -> Option<&Ability> {
        self.abilities()
            .find(|ability| ability.subtree.as_deref() == Some(name))
    }

    /// All that `name` needs, directly or not, in alphabetical order.
    #[must_use]
    pub fn needs(&self, name: &str) -> &[String] {
        self.needs.get(name).map_or(&[], |needs| needs)
    }

    /// The component `user` and what it needs, directly or not, in the order in which a reader meets them: a
    /// user before what it needs. What is listed and not needed to read it is not among them.
    #[must_use]
    pub fn in_turn<'s>(&'s self, user: &'s str) -> Vec<&'s str> {
        let needs = |name: &str| {
            let own = self.get(name).into_iter();
            own.flat_map(|own| own.needs.iter().filter(|need| !own.lists.contains(*need)))
        };
        let (mut pending, mut at) = (alloc::vec![user], 0);
        while let Some(name) = pending.get(at) {
            let more: Vec<&str> = needs(name).map(String::as_str).collect();
            for need in more {
                if !pending.contains(&need) {
                    pending.push(need);
                }
            }
            at += 1;
        }
        pending.sort_unstable();
        let mut order = Vec::with_capacity(pending.len());
        while !pending.is_empty() {
            let is_needed = |name: &str| {
                let mut others = pending.iter();
                others.any(|other| self.needs(other).iter().any(|need| need == name))
            };
            let first = pending.iter().position(|name| !is_needed(name));
            order.push(pending.remove(first.unwrap_or(0)));
        }
        order
    }

    /// The version that plain strings stand for of the component `need`: the one that its users were
    /// released with. `None` where no component lists it, or none says.
    #[must_use]
    pub fn stands_for(&self, need: &str) -> Option<u32> {
        let mut users = self.abilities();
        users.find_map(|user| user.stands_for.get(need).copied())
    }

    /// The version of the component `name` that is read where no string and no list announces it: the one
    /// that plain strings stand for, or else the oldest that it restores.
    #[must_use]
    pub fn unannounced(&self, name: &str) -> Option<u32> {
        let oldest = || self.get(name)?.restorable().next();
        self.stands_for(name).or_else(oldest)
    }

    /// What the plain string of `user` stands for: all that it lists, directly or not, each with its
    /// version, what is needed before what is listed alone. Where a side does not tell, it is what this
    /// side writes.
    pub(crate) fn plain(&self, user: &Token) -> Vec<(String, u32)> {
        let mut found: Vec<(String, u32)> = Vec::new();
        let mut todo = alloc::vec![(user.name().to_string(), user.version())];
        while let Some((name, version)) = todo.pop() {
            let Some(ability) = self.get(&name) else {
                continue;
            };
            let stood_for: Vec<_> = match ability.stood_for(version) {
                Some(known) => known
                    .into_iter()
                    .map(|(need, of)| (need.to_string(), of))
                    .collect(),
                None => {
                    let needs = ability.needs.iter();
                    let own = |need: &String| Some((need.clone(), self.get(need)?.version));
                    needs.filter_map(own).collect()
                }
            };
            for (need, version) in stood_for {
                if found.iter().all(|(known, _)| *known != need) {
                    found.push((need.clone(), version));
                    todo.push((need, version));
                }
            }
        }
        found
    }

    /// Whether the string of `user` may list `name` although this side does not have it: `user`, or what
    /// it needs, does without.
    pub(crate) fn does_without(&self, user: &str, name: &str) -> bool {
        let users = core::iter::once(user).chain(self.needs(user).iter().map(String::as_str));
        let mut users = users.filter_map(|user| self.get(user));
        !self.abilities.contains_key(name) && users.any(|user| user.lists.contains(name))
    }

    /// The version that strings list of `name`, where it is no component of this side and those who
    /// list it do without it.
    #[must_use]
    pub fn unlinked(&self, name: &str) -> Option<u32> {
        if self.abilities.contains_key(name) {
            return None;
        }
        let mut users = self.abilities().filter(|user| user.lists.contains(name));
        users.find_map(|user| user.stands_for.get(name).copied())
    }

    /// The components that strings list and that this side does not have, in alphabetical order, each
    /// with its version: see [`Side::unlinked`].
    pub fn all_unlinked(&self) -> impl Iterator<Item = (&str, u32)> {
        let names = self.abilities().flat_map(|user| &user.lists);
        let names: BTreeSet<_> = names.map(String::as_str).collect();
        let version = |name| Some((name, self.unlinked(name)?));
        names.into_iter().filter_map(version)
    }

    /// Whether the component `name` restores what `name-vversion` wrote. False for one that is not
    /// known here.
    #[must_use]
    pub fn restores(&self, name: &str, version: u32) -> bool {
        self.get(name)
            .is_some_and(|ability| ability.restores(version))
    }

    /// The versions that the component `name` restores, as tokens: `block-v1 or block-v2`.
    #[must_use]
    pub fn restorable_text(&self, name: &str) -> String {
        let versions = self.get(name).into_iter().flat_map(Ability::restorable);
        let tokens: Vec<_> = versions
            .map(|version| alloc::format!("{name}-v{version}"))
            .collect();
        tokens.join(" or ")
    }

    /// What this side writes for `next`: of each component the newest version that it can write and
    /// `next` restores. A component that has none in common, or that `next` does not have, stays at
    /// its own version: a policy refuses it then.
    ///
    /// ```
    /// use kho_compat::{Ability, Side};
    ///
    /// let mut block = Ability::new("block", 2)?;
    /// block.writes = vec![1];
    /// let ours = Side::new([block])?;
    /// let next = Side::new([Ability::new("block", 1)?])?;
    /// let written = ours.newest_common(&next);
    /// assert_eq!(written.get("block").map(|block| block.version), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn newest_common(&self, next: &Self) -> Self {
        let mut written = self.clone();
        for ability in written.abilities.values_mut() {
            let theirs = next.get(&ability.name).map(|next| &next.restores);
            let restores = |version: &u32| {
                theirs.is_some_and(|theirs| theirs.has(*version, ability.minor_of(*version)))
            };
            let common = ability.writable().filter(restores).max();
            ability.write_as(common.unwrap_or(ability.version));
        }
        written.resolved()
    }

    /// This side with `version` of the component `name` as the one that it writes.
    ///
    /// # Errors
    ///
    /// `name` is not known here, or it can not write that version.
    pub fn writing(mut self, name: &str, version: u32) -> Result<Self, RegistryError> {
        let ability = self
            .abilities
            .get_mut(name)
            .ok_or_else(|| RegistryError::Unknown(name.to_string()))?;
        if !ability.writable().any(|writable| writable == version) {
            let token = alloc::format!("{name}-v{version}");
            return Err(RegistryError::NotWritable(token, ability.version));
        }
        ability.write_as(version);
        Ok(self.resolved())
    }

    /// The compat string that the component `name` writes.
    ///
    /// # Errors
    ///
    /// `name` is not known here.
    pub fn compat(&self, name: &str, strings: Strings) -> Result<Compat, RegistryError> {
        let token = |name: &str| {
            let known = self.get(name).map(|ability| ability.version);
            let version = known.or_else(|| self.unlinked(name));
            let version = version.ok_or_else(|| RegistryError::Unknown(name.to_string()))?;
            let token = Token::new(name, version);
            token.map_err(|error| RegistryError::Name(name.to_string(), error))
        };
        let base = token(name)?;
        let own = self.get(name);
        let is_list =
            strings == Strings::List && own.is_some_and(|own| own.carrier == Some(Carrier::Root));
        let needs = match strings {
            Strings::Direct => own.map_or(&[][..], |own| &own.needs),
            Strings::Transitive => self.needs(name),
            Strings::List if is_list => self.needs(name),
            Strings::Plain | Strings::List => &[],
        };
        let parts = needs.iter().map(|need| token(need));
        let parts = parts.collect::<Result<_, _>>()?;
        let compat = Compat::new(base, parts);
        let compat = compat.map_err(|error| RegistryError::Name(name.to_string(), error))?;
        let is_list = is_list && !compat.parts().is_empty();
        Ok(if is_list { compat.into_list() } else { compat })
    }

    /// The strings that stand for the component `own` where `carrier` carries it: first the one that this
    /// side writes, then those that it takes besides. A side whose dialect is not known writes `otherwise`.
    ///
    /// ```
    /// use kho_compat::{Ability, Carrier, Side, Strings, Writing};
    ///
    /// let mut luo = Ability::new("luo", 5)?;
    /// luo.needs = vec!["block".into()];
    /// let side = Side::new([luo, Ability::new("block", 1)?])?;
    /// let own = |side: &Side, carrier| {
    ///     let strings = side.own_strings(&side.get("luo")?.clone(), carrier, Strings::Transitive);
    ///     Some(strings.ok()?.first()?.to_string())
    /// };
    /// assert_eq!(own(&side, Carrier::Luo).as_deref(), Some("luo-v5;block-v1"));
    /// assert_eq!(own(&side, Carrier::Table).as_deref(), Some("luo-v5"));
    /// let plain = side.in_dialect(Writing::PLAIN);
    /// assert_eq!(own(&plain, Carrier::Luo).as_deref(), Some("luo-v5"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A component's name is none that a compat string could hold.
    pub fn own_strings(
        &self,
        own: &Ability,
        carrier: Carrier,
        otherwise: Strings,
    ) -> Result<Vec<Compat>, RegistryError> {
        let of_side = self.dialect.map(|dialect| dialect.strings);
        let written = own.strings.or(of_side).unwrap_or(otherwise);
        let takes = self.takes.iter().map(|dialect| dialect.strings);
        let all = core::iter::once(written).chain(takes);
        all.map(|strings| self.compat(&own.name, strings.in_carrier(carrier)))
            .collect()
    }
}

/// All that each component needs, directly or not: each found once, from what its needs need.
fn transitive(
    all: &BTreeMap<String, Ability>,
) -> Result<BTreeMap<String, Vec<String>>, RegistryError> {
    let mut done: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in all.keys() {
        // Depth-first with the path kept, so that a cycle can be shown.
        let mut path: Vec<(&str, usize)> = alloc::vec![(name, 0)];
        let mut on_path: BTreeSet<&str> = BTreeSet::from([name.as_str()]);
        while let Some((at, next)) = path.last_mut() {
            let user = *at;
            let needs = all.get(user).map_or(&[][..], |ability| &ability.needs);
            let need = needs.get(*next).filter(|_| !done.contains_key(user));
            let Some(need) = need else {
                let mut found = BTreeSet::new();
                for need in needs {
                    found.insert(need.as_str());
                    found.extend(done.get(need.as_str()).into_iter().flatten());
                }
                done.entry(user).or_insert(found);
                on_path.remove(user);
                path.pop();
                continue;
            };
            *next += 1;
            if !all.contains_key(need) {
                if all.get(user).is_some_and(|user| user.lists.contains(need)) {
                    continue;
                }
                return Err(RegistryError::UnknownNeed(user.to_string(), need.clone()));
            }
            if on_path.contains(need.as_str()) {
                let mut chain: Vec<_> = path.iter().map(|(name, _)| *name).collect();
                chain.push(need);
                return Err(RegistryError::CyclicNeed(
                    need.clone(),
                    chain.join(" needs "),
                ));
            }
            if !done.contains_key(need.as_str()) {
                on_path.insert(need);
                path.push((need, 0));
            }
        }
    }
    let names = |needs: BTreeSet<&str>| needs.into_iter().map(ToString::to_string).collect();
    let done = done.into_iter();
    Ok(done
        .map(|(name, needs)| (name.to_string(), names(needs)))
        .collect())
}
