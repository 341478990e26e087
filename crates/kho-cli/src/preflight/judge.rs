//! The judgement: what one end hands over against what the other can restore.

use std::collections::{BTreeMap, BTreeSet};

use kho_compat::policy::When;
use kho_compat::{
    Ability, Carrier, Compat, Decision, Dialect, Features, Finding, Manifest, Outcome, Place,
    Policy, Side, Token, Verdict, consequence,
};
use semver::VersionReq;

use super::end::{Amount, End, Item, Kernel, Kind, Listed, Spot, Uses, What};
use crate::compat::registry;
use crate::error::Failure;
use crate::human::count;

/// A finding, and where its two sides stand.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) finding: Finding,
    pub(super) from: Spot,
    pub(super) to: Vec<Spot>,
    /// Files of a handler, where they are known.
    pub(super) files: Option<Amount>,
}

/// What there is to say.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub(super) policy: &'static str,
    pub(super) when: When,
    pub(super) decision: Decision,
    pub(super) rows: Vec<Row>,
    /// What is not judged, and why.
    pub(super) unjudged: Vec<(String, String)>,
    pub(super) losses: Losses,
    pub(super) remarks: Vec<String>,
}

/// What is lost if one leaves all the same. A number that is not known is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    /// The machine stops.
    pub(super) machine: bool,
    /// All preserved memory, of whatever owner.
    pub(super) everything: bool,
    /// Whether sessions are lost as a whole.
    pub(super) all_sessions: bool,
    pub(super) sessions: Option<u64>,
    pub(super) files: Option<Amount>,
    pub(super) pages: Option<u64>,
    /// Of them, the files of the handlers that can not be restored.
    pub(super) handlers: Vec<(String, Option<Amount>)>,
}

/// Versions of a component, and where each stands.
type Versions = BTreeMap<u32, Spot>;

/// What the next one can restore.
struct Next<'e> {
    end: &'e End,
    side: Side,
    versions: BTreeMap<String, Versions>,
    masks: BTreeMap<String, (Features, Spot)>,
    /// Whether its strings list what they need.
    composites: bool,
}

/// What is asked of the next one.
#[derive(Default)]
struct Wanted {
    tokens: BTreeSet<Token>,
    /// Names of handlers and FLBs.
    handlers: BTreeMap<String, Carrier>,
    /// Components whose masks are known.
    masks: BTreeSet<String>,
}

impl Wanted {
    fn of(from: &End) -> Self {
        let mut wanted = Self::default();
        match &from.what {
            What::Kernel(kernel) => {
                for seen in &kernel.seen {
                    if let Some(carrier) = seen.carrier {
                        wanted.add(carrier, seen.compat.tokens().cloned());
                    }
                }
                let masks = kernel.masks.iter().map(|masks| masks.name.clone());
                wanted.masks.extend(masks);
            }
            What::Dump(dump) => wanted.items(&dump.items),
            What::Listed(Listed {
                in_use: Some((items, _)),
                ..
            }) => wanted.items(items),
            What::Listed(listed) => {
                for ability in listed.side.abilities() {
                    let versions = ability.writable();
                    let tokens = versions.filter_map(|v| Token::new(&ability.name, v).ok());
                    wanted.add(ability.carrier.unwrap_or(Carrier::Table), tokens);
                    if ability.features.is_some() {
                        wanted.masks.insert(ability.name.clone());
                    }
                }
            }
        }
        wanted
    }

    fn items(&mut self, items: &[Item]) {
        for item in items {
            self.add(item.carrier, item.tokens().into_iter());
            if item.carrier == Carrier::Features {
                self.masks.insert(item.found.clone());
            }
        }
    }

    fn add(&mut self, carrier: Carrier, tokens: impl Iterator<Item = Token>) {
        for (index, token) in tokens.enumerate() {
            if index == 0 && matches!(carrier, Carrier::FileHandler | Carrier::Flb) {
                self.handlers.insert(token.name().to_owned(), carrier);
            }
            self.tokens.insert(token);
        }
    }

    fn versions<'w>(&'w self, name: &'w str) -> impl Iterator<Item = u32> + 'w {
        let of_it = self.tokens.iter().filter(move |token| token.name() == name);
        of_it.map(Token::version)
    }
}

/// What carries the string of the component `name`.
fn carrier_of(name: &str) -> Option<Carrier> {
    let known = registry().ok().and_then(|registry| registry.get(name));
    match known {
        Some(component) => component.carrier,
        None => name.ends_with("-flb").then_some(Carrier::Flb),
    }
}

/// The requirement of `versions`. One that allows what lies between two of them would be too wide if
/// that is asked: then it is the newest of them without a gap.
fn requirement(versions: &Versions, asked: impl Iterator<Item = u32>) -> VersionReq {
    let (min, max) = match (versions.keys().next(), versions.keys().next_back()) {
        (Some(min), Some(max)) => (*min, *max),
        _ => (0, 0),
    };
    let in_gap = asked
        .filter(|asked| *asked > min && *asked < max && !versions.contains_key(asked))
        .max();
    let min = match in_gap {
        Some(gap) => {
            let above = versions.range(gap..).next();
            above.map_or(max, |(version, _)| *version)
        }
        None => min,
    };
    VersionReq::parse(&format!(">={min}, <={max}")).unwrap_or(VersionReq::STAR)
}

impl<'e> Next<'e> {
    fn of(end: &'e End, wanted: &Wanted) -> Result<Self, Failure> {
        let mut next = Self {
            end,
            side: Side::default(),
            versions: BTreeMap::new(),
            masks: BTreeMap::new(),
            composites: false,
        };
        let mut needs: BTreeMap<String, (u32, Vec<String>)> = BTreeMap::new();
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
                    match (item.carrier, item.features, Compat::parse(&item.found)) {
                        (Carrier::Features, Some(features), _) => {
                            let known = (features, item.spot.clone());
                            next.masks.insert(item.found.clone(), known);
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
                    (newest, requirement(versions, wanted.versions(&name)))
                }
                // Known by its masks alone: a version without masks says nothing.
                None if wanted.masks.contains(&name) => {
                    (wanted.versions(&name).max().unwrap_or(0), VersionReq::STAR)
                }
                None => (
                    u32::MAX,
                    requirement(
                        &Versions::from([(u32::MAX, Spot::default())]),
                        [].into_iter(),
                    ),
                ),
            };
            let Ok(mut ability) = Ability::new(&name, version) else {
                continue;
            };
            ability.restores = restores.into();
            ability.features = masks;
            ability.carrier = carriers.get(&name).copied().or_else(|| carrier_of(&name));
            ability.needs = needs
                .remove(&name)
                .map(|(_, needs)| needs)
                .unwrap_or_default();
            abilities.push(ability);
        }
        next.side = Side::new(abilities).map_err(|error| {
            Failure::Of(
                format!("--to {}", end.name),
                Box::new(Failure::Input(vec![
                    (
                        "error",
                        "its compat strings contradict each other".to_owned(),
                    ),
                    ("found", error.to_string()),
                ])),
            )
        })?;
        Ok(next)
    }

    /// Adds what its plain strings stand for: `luo-v5` alone means that blocks are `block-v1`, as in this
    /// build's component of that name and version.
    fn stand_for(&mut self, needs: &mut BTreeMap<String, (u32, Vec<String>)>) {
        let Ok(registry) = registry() else { return };
        for (name, (version, needs)) in needs {
            let own = registry.get(name);
            if !needs.is_empty() || own.is_none_or(|own| own.major() != *version) {
                continue;
            }
            for need in registry.needs(name) {
                let Some(own) = registry.get(need) else {
                    continue;
                };
                needs.push(need.clone());
                let spot = Spot::new(format!("what `{name}-v{version}` stands for"));
                let versions = self.versions.entry(need.clone()).or_default();
                if versions.is_empty() {
                    versions.insert(own.major(), spot);
                }
            }
        }
    }

    const fn kernel(&self) -> Option<&'e Kernel> {
        match &self.end.what {
            What::Kernel(kernel) => Some(kernel),
            _ => None,
        }
    }

    /// Whether it is known what its components need: its strings can be compared as composites.
    fn knows_needs(&self) -> bool {
        match &self.end.what {
            What::Listed(_) => true,
            _ => self.composites,
        }
    }

    /// Whether each token of `compat` is one that it has.
    fn has(&self, compat: &Compat) -> bool {
        compat.tokens().all(|token| {
            let versions = self.versions.get(token.name());
            versions.is_some_and(|versions| versions.contains_key(&token.version()))
        })
    }

    /// What it could restore of the component `name`: exactly.
    fn text(&self, name: &str) -> Option<String> {
        if let Some(versions) = self.versions.get(name) {
            let tokens = versions.keys().map(|version| format!("{name}-v{version}"));
            return Some(tokens.collect::<Vec<_>>().join(" or "));
        }
        let (features, _) = self.masks.get(name)?;
        Some(format!(
            "supported {:#x}, required {:#x}",
            features.supported, features.required
        ))
    }

    /// Where what was expected in place of `item` stands.
    fn spots(&self, item: &Item) -> Vec<Spot> {
        let name = item.component();
        if item.carrier == Carrier::Features
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
                let of_carrier = self.side.carried_in(item.carrier);
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

/// What `from` hands over.
fn handed_over(from: &End, next: &Next<'_>, policy: &dyn Policy) -> Result<Vec<Item>, Failure> {
    let mut items = match &from.what {
        What::Kernel(kernel) => return Ok(of_kernel(kernel)),
        What::Dump(dump) => return Ok(dump.items.clone()),
        What::Listed(Listed {
            in_use: Some((items, _)),
            ..
        }) => return Ok(items.clone()),
        What::Listed(listed) => {
            let side = &listed.side;
            let composite = policy.dialect().of_strings() != Dialect::Plain;
            let written = match listed.dialect {
                Some(dialect) => Manifest::written_by(side, dialect),
                None if composite && !next.knows_needs() => {
                    Manifest::written_by(side, Dialect::Plain)
                }
                None => policy.write(side, Some(&next.side)),
            };
            let written = written.map_err(Failure::Registry)?;
            Item::all_of(&written, |place: &Place| Spot::new(&place.path))
        }
    };
    // Masks that both sides know are judged, whatever is written.
    if let What::Listed(listed) = &from.what {
        let written: BTreeSet<_> = items
            .iter()
            .filter(|item| item.carrier == Carrier::Features)
            .map(|item| item.found.clone())
            .collect();
        let both = next.masks.keys().filter(|name| !written.contains(*name));
        for ability in both.filter_map(|name| listed.side.get(name)) {
            let Some(features) = ability.features else {
                continue;
            };
            items.push(Item {
                carrier: Carrier::Features,
                found: ability.name.clone(),
                uses: 1,
                optional: false,
                features: Some(features),
                spot: Spot::new(format!("component `{}`", ability.name)),
            });
        }
        items.extend(unsaid(&listed.side, &items));
    }
    Ok(items)
}

/// The components of `side` whose versions no string and no list in `items` says, as entries of a
/// table: who reads plain strings takes them for what those stand for.
fn unsaid(side: &Side, items: &[Item]) -> Vec<Item> {
    let said: BTreeSet<_> = items
        .iter()
        .filter(|item| item.carrier != Carrier::Subtree)
        .flat_map(|item| match item.carrier {
            Carrier::Features => vec![item.found.clone()],
            _ => item.tokens().iter().map(|t| t.name().to_owned()).collect(),
        })
        .collect();
    let users = || side.abilities().filter(|user| user.carrier.is_some());
    let unsaid = side.abilities().filter(|ability| {
        let is_needed = |user: &Ability| side.needs(&user.name).contains(&ability.name);
        ability.carrier.is_none() && !said.contains(&ability.name) && users().any(is_needed)
    });
    let item = |ability: &Ability| Item {
        carrier: Carrier::Table,
        found: format!("{}-v{}", ability.name, ability.version),
        uses: 1,
        optional: false,
        features: None,
        spot: Spot::new(format!("component `{}`", ability.name)),
    };
    unsaid.map(item).collect()
}

/// What a kernel hands over if all that it has is in use; of each component the newest version.
fn of_kernel(kernel: &Kernel) -> Vec<Item> {
    if kernel.kho.is_err() || kernel.idle.is_some() {
        return Vec::new();
    }
    let item = |carrier, found: &str, features, spot: &Spot| Item {
        carrier,
        found: found.to_owned(),
        uses: 1,
        optional: false,
        features,
        spot: spot.clone(),
    };
    let has_subtree = |name: &str| {
        let root = kernel.root.as_ref();
        root.is_none_or(|root| root.subtrees.iter().any(|subtree| subtree == name))
    };
    let mut items = Vec::new();
    if let Some(root) = &kernel.root {
        items.push(item(Carrier::Root, &root.compatible, None, &root.spot));
        let subtrees = root.subtrees.iter();
        items.extend(subtrees.map(|name| item(Carrier::Subtree, name, None, &root.spot)));
    }
    for carrier in [
        Carrier::Root,
        Carrier::Luo,
        Carrier::FileHandler,
        Carrier::Flb,
        Carrier::Memblock,
        Carrier::Region,
    ] {
        let in_use = match carrier {
            Carrier::Root => kernel.root.is_none(),
            Carrier::Luo | Carrier::FileHandler | Carrier::Flb => has_subtree("LUO"),
            _ => has_subtree("memblock"),
        };
        if !in_use {
            continue;
        }
        for seen in kernel.carried_in(carrier) {
            let base = seen.compat.base();
            let newer = kernel.carried_in(carrier).any(|other| {
                let other = other.compat.base();
                other.name() == base.name() && other.version() > base.version()
            });
            // Each FLB is one of its own, versions of one name included.
            if !newer || carrier == Carrier::Flb {
                items.push(item(carrier, &seen.compat.to_string(), None, &seen.spot));
            }
        }
    }
    for masks in &kernel.masks {
        let subtree = match carrier_of(&masks.name) {
            Some(Carrier::Luo | Carrier::FileHandler | Carrier::Flb) => has_subtree("LUO"),
            _ => true,
        };
        if subtree {
            let features = Some(masks.features);
            items.push(item(Carrier::Features, &masks.name, features, &masks.spot));
        }
    }
    items
}

/// How one item is judged.
enum Judged {
    /// By the policy.
    ByPolicy,
    /// Here: what becomes of it, why, and what a real kernel does about it.
    Here(Outcome, String, &'static str),
    /// Not at all, and why.
    Not(&'static str),
}

const NO_KHO: &str = "a kernel without KHO boots as if nothing had been handed over: all preserved \
                      state is lost";
const NO_LUO: &str =
    "a kernel without LUO does not look at it: all sessions are lost (not measured)";
const FLB_LOST: &str = "what it holds is lost (not measured)";
const UNSEEN: &str = "it has no string that would stand in a kernel image";
const UNUSED: &str = "the handover that stands for the next one has none";

fn judged(item: &Item, items: &[Item], next: &Next<'_>, uses: Option<&Uses>) -> Judged {
    let name = item.component();
    let is_known = next.side.get(&name).is_some();
    let kernel = match &next.end.what {
        What::Listed(_) => return Judged::ByPolicy,
        What::Dump(_) => {
            return match item.carrier {
                Carrier::Subtree => Judged::Not("subtrees have no versions"),
                Carrier::Metadata
                | Carrier::Memblock
                | Carrier::Region
                | Carrier::Flb
                | Carrier::Table
                    if !is_known =>
                {
                    Judged::Not(UNUSED)
                }
                Carrier::Features if !next.masks.contains_key(&name) => Judged::Not(UNUSED),
                _ => Judged::ByPolicy,
            };
        }
        What::Kernel(kernel) => kernel,
    };
    if let Err(reason) = &kernel.kho {
        let reason = format!("the next kernel has no KHO: {reason}");
        return Judged::Here(Outcome::Rejected, reason, NO_KHO);
    }
    let of_luo = |carrier| matches!(carrier, Carrier::Luo | Carrier::FileHandler | Carrier::Flb);
    let mask_of_luo = item.carrier == Carrier::Features && carrier_of(&name).is_some_and(of_luo);
    let has_luo = kernel.luo.is_some() || next.side.get("luo").is_some();
    if !has_luo && (of_luo(item.carrier) || mask_of_luo) {
        let empty = uses.is_some_and(|uses| uses.sessions == 0 && uses.flbs == 0);
        let outcome = if empty {
            Outcome::LeftAlone
        } else {
            Outcome::Rejected
        };
        let reason = "the next kernel has KHO, but nothing in its image shows LUO".to_owned();
        return Judged::Here(outcome, reason, if empty { "" } else { NO_LUO });
    }
    let unseen = |what: &str, trace: &str| {
        format!(
            "the next kernel has {what} ({trace}), but which version does not show in its image"
        )
    };
    // A kernel compares whole strings.
    let strings = matches!(
        item.carrier,
        Carrier::Root | Carrier::Luo | Carrier::FileHandler
    );
    let all = kernel.seen.iter().chain(&kernel.candidates);
    let of_it = || {
        let same = all.clone().map(|seen| seen.compat.to_string());
        same.filter(|text| Compat::parse(text).is_ok_and(|c| c.base().name() == name))
    };
    let composite = item.found.contains(';') || of_it().any(|text| text.contains(';'));
    let each_fits = || Compat::parse(&item.found).is_ok_and(|compat| next.has(&compat));
    if strings && composite && each_fits() && of_it().all(|text| text != item.found) {
        let own: Vec<_> = of_it().collect();
        let reason = format!(
            "a kernel compares whole strings, and has `{}`",
            own.join("`, `")
        );
        return Judged::Here(Outcome::Rejected, reason, consequence(item.carrier));
    }
    match item.carrier {
        Carrier::Subtree | Carrier::Metadata => Judged::Not(UNSEEN),
        Carrier::Table if !is_known => Judged::Not(UNSEEN),
        Carrier::Root if next.side.carried_in(Carrier::Root).next().is_none() => {
            let reason = unseen("KHO", kernel.kho.as_deref().unwrap_or_default());
            Judged::Here(Outcome::Rejected, reason, consequence(Carrier::Root))
        }
        Carrier::Luo if next.side.carried_in(Carrier::Luo).next().is_none() => {
            let reason = unseen("LUO", kernel.luo.as_deref().unwrap_or_default());
            Judged::Here(Outcome::Rejected, reason, consequence(Carrier::Luo))
        }
        Carrier::Features if !next.masks.contains_key(&name) => {
            let by_version = items
                .iter()
                .any(|other| other.carrier != Carrier::Features && other.component() == name);
            // What carries it says whether anybody would be told of it at all.
            if by_version || carrier_of(&name).is_none() && !is_known {
                return Judged::Not("the next kernel lists no masks of it");
            }
            let reason = "there are masks of it alone, and the next kernel lists none".to_owned();
            let carrier = carrier_of(&name).unwrap_or(Carrier::Features);
            Judged::Here(Outcome::Rejected, reason, consequence(carrier))
        }
        // An FLB is known by its whole name.
        Carrier::Flb => match Compat::parse(&item.found) {
            Ok(compat) if next.has(&compat) => Judged::Here(Outcome::Restorable, String::new(), ""),
            _ if next.masks.contains_key(&name) => Judged::ByPolicy,
            _ => {
                let reason = "no FLB of the next kernel is called so".to_owned();
                Judged::Here(Outcome::Lost, reason, FLB_LOST)
            }
        },
        _ => Judged::ByPolicy,
    }
}

/// Judges leaving `from` for `to`.
pub(super) fn judge(
    policy: &'static dyn Policy,
    from: &End,
    to: &End,
) -> Result<Judgement, Failure> {
    let wanted = Wanted::of(from);
    let next = Next::of(to, &wanted)?;
    let mut items = handed_over(from, &next, policy)?;
    let no_kho = next.kernel().is_some_and(|kernel| kernel.kho.is_err());
    if let What::Kernel(kernel) = &from.what
        && let (true, Ok(trace), None) = (no_kho && items.is_empty(), &kernel.kho, &kernel.idle)
    {
        // Of whatever version: it is lost.
        items.push(Item {
            carrier: Carrier::Root,
            found: "kho of unknown version".to_owned(),
            uses: 1,
            optional: false,
            features: None,
            spot: Spot::new(trace.clone()),
        });
    }
    let uses = match &from.what {
        What::Dump(dump) => dump.uses.as_ref(),
        What::Listed(listed) => listed.in_use.as_ref().map(|(_, uses)| uses),
        What::Kernel(_) => None,
    };
    let how: Vec<_> = items
        .iter()
        .map(|item| judged(item, &items, &next, uses))
        .collect();
    let mut manifest = Manifest::new();
    // A manifest has an entry per string: a module may have the one that the image has.
    let mut entries: BTreeMap<(Carrier, &str), usize> = BTreeMap::new();
    for (item, _) in items
        .iter()
        .zip(&how)
        .filter(|(_, how)| matches!(how, Judged::ByPolicy))
    {
        let next = entries.len();
        let key = (item.carrier, item.found.as_str());
        if *entries.entry(key).or_insert(next) == next {
            item.add_to(&mut manifest);
        }
    }
    let verdict = policy.judge(&manifest, &next.side);
    let mut rows = Vec::new();
    let mut unjudged: Vec<(String, String)> = Vec::new();
    for (item, how) in items.iter().zip(how) {
        let mut finding = match how {
            Judged::Not(why) => {
                let what = format!("{} `{}`", item.carrier.title(), item.found);
                unjudged.push((what, why.to_owned()));
                continue;
            }
            Judged::Here(outcome, reason, consequence) => Finding {
                carrier: item.carrier,
                found: item.features.map_or_else(
                    || item.found.clone(),
                    |features| format!("{} {features}", item.found),
                ),
                expected: String::new(),
                outcome,
                reason,
                place: Place::default(),
                uses: item.uses,
                consequence,
            },
            Judged::ByPolicy => {
                let entry = entries.get(&(item.carrier, item.found.as_str()));
                match entry.and_then(|entry| verdict.findings.get(*entry)) {
                    Some(finding) => finding.clone(),
                    None => continue,
                }
            }
        };
        finding.uses = item.uses;
        finding.reason = as_of_the_next(&finding.reason);
        if !matches!(to.what, What::Listed(_)) {
            finding.expected = expected(item, &finding, &next);
        }
        let files = uses
            .filter(|_| item.carrier == Carrier::FileHandler)
            .and_then(|uses| uses.handlers.get(&item.found).copied());
        rows.push(Row {
            finding,
            from: item.spot.clone(),
            to: next.spots(item),
            files,
        });
    }
    let findings: Vec<_> = rows.iter().map(|row| row.finding.clone()).collect();
    let decision = Verdict::decide(&findings);
    if let What::Dump(dump) = &from.what
        && let Some(unread) = &dump.unread
        && decision != Decision::Reject
    {
        // What could be lost is not known.
        let text = format!("{unread} is not read by this build: nothing says that it is restored");
        return Err(Failure::Unrestorable(text));
    }
    let losses = losses(&rows, uses, to);
    let remarks = remarks(from, &next, &items, &rows, &mut unjudged, policy);
    Ok(Judgement {
        policy: policy.name(),
        when: policy.when(),
        decision,
        rows,
        unjudged,
        losses,
        remarks,
    })
}

/// The policies speak of a handover that is here already.
fn as_of_the_next(reason: &str) -> String {
    // A component of which the next one lists masks alone has no version to name.
    let none = format!("-v{}", u32::MAX);
    let reason = match reason.split_once(", only ") {
        Some((head, only)) if only.contains(&none) => {
            format!("{head}, where masks of it are all there is")
        }
        _ => reason.to_owned(),
    };
    reason
        .replace(
            "no linked component is called",
            "no component of the next one is called",
        )
        .replace(
            "no linked component knows",
            "no component of the next one knows",
        )
        .replace("is not restorable here", "is not restorable there")
        .replace(
            "required and not supported here",
            "required, and not supported there",
        )
        .replace(
            "required here and were not supported there",
            "required by the next one, and not supported by this one",
        )
}

/// What could be restored in place of `item`, as it stands in the next one.
fn expected(item: &Item, finding: &Finding, next: &Next<'_>) -> String {
    let name = item.component();
    let own = next.text(&name);
    let there = Compat::parse(&item.found).is_ok_and(|compat| next.has(&compat));
    if there && finding.outcome != Outcome::Restorable && !finding.expected.is_empty() {
        // It could be restored, but for the policy.
        return finding.expected.clone();
    }
    let all = || {
        let of_carrier = next.side.carried_in(item.carrier);
        let texts = of_carrier.filter_map(|ability| next.text(&ability.name));
        texts.collect::<Vec<_>>().join(" or ")
    };
    let text = match (finding.outcome, item.carrier) {
        (_, Carrier::Subtree) => finding.expected.clone(),
        (_, Carrier::Features) => match next.masks.get(&name) {
            Some(_) => finding.expected.clone(),
            None => own.unwrap_or_default(),
        },
        // By the policy: its own text of the very component.
        (Outcome::Restorable, Carrier::Flb) => item.found.clone(),
        (Outcome::Restorable, Carrier::FileHandler) => own.unwrap_or_default(),
        (_, Carrier::FileHandler | Carrier::Flb) => own.unwrap_or_else(all),
        (Outcome::Rejected, _) if item.found.contains(';') => finding.expected.clone(),
        _ => own.unwrap_or_else(all),
    };
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        text
    }
}

fn losses(rows: &[Row], uses: Option<&Uses>, to: &End) -> Losses {
    let mut losses = Losses::default();
    let mut of_handlers = Vec::new();
    for row in rows {
        let finding = &row.finding;
        let carrier = match finding.carrier {
            // By what the component itself is carried in.
            Carrier::Table | Carrier::Features => {
                let name = finding.found.split([' ', ';']).next().unwrap_or_default();
                let name = match (finding.carrier, name.rsplit_once("-v")) {
                    (Carrier::Table, Some((name, _))) => name,
                    _ => name,
                };
                carrier_of(name).unwrap_or(finding.carrier)
            }
            carrier => carrier,
        };
        match (finding.outcome, carrier) {
            (Outcome::Rejected, _) if finding.consequence == NO_KHO => {
                losses.everything = true;
            }
            (Outcome::Rejected, Carrier::Root) => losses.everything = true,
            (Outcome::Rejected, Carrier::Luo) => {
                losses.all_sessions = true;
                let panics = finding.consequence != NO_LUO && to.kind != Kind::Program;
                if panics {
                    (losses.machine, losses.everything) = (true, true);
                }
            }
            (Outcome::Rejected, _) => losses.all_sessions = true,
            _ => {}
        }
        let of_handler = finding.carrier == Carrier::FileHandler
            && matches!(finding.outcome, Outcome::Rejected | Outcome::Lost);
        if of_handler {
            of_handlers.push((finding.found.clone(), row.files));
        }
    }
    losses.all_sessions |= losses.everything;
    if losses.all_sessions {
        losses.sessions = uses.map(|uses| uses.sessions);
        losses.files = uses.map(|uses| uses.all);
    } else {
        losses.sessions = Some(0);
        let sum = of_handlers
            .iter()
            .try_fold(Amount::default(), |mut sum, (_, files)| {
                let files = (*files)?;
                sum.files += files.files;
                sum.bytes = sum.bytes.saturating_add(files.bytes);
                sum.unsized_files += files.unsized_files;
                Some(sum)
            });
        losses.files = sum;
    }
    losses.pages = uses
        .and_then(|uses| uses.pages)
        .filter(|_| losses.everything);
    losses.handlers = of_handlers;
    losses
}

/// What else there is to say.
fn remarks(
    from: &End,
    next: &Next<'_>,
    items: &[Item],
    rows: &[Row],
    unjudged: &mut Vec<(String, String)>,
    policy: &dyn Policy,
) -> Vec<String> {
    let mut remarks = Vec::new();
    if let What::Kernel(kernel) = &from.what {
        match (&kernel.kho, &kernel.idle) {
            (Err(reason), _) => {
                remarks.push(format!(
                    "nothing is handed over: {} has no KHO ({reason})",
                    from.title
                ));
                return remarks;
            }
            (_, Some(reason)) => {
                remarks.push(format!("nothing is handed over: {reason}"));
                return remarks;
            }
            (Ok(trace), None) => {
                if !items.iter().any(|item| item.carrier == Carrier::Root) {
                    let what = "the root FDT's version".to_owned();
                    let why =
                        format!("it has KHO ({trace}), but no string of it stands in its image");
                    unjudged.push((what, why));
                }
            }
        }
        let subtrees = if kernel.root.is_some() {
            ""
        } else {
            " and subtrees"
        };
        unjudged.push((
            format!("the kexec metadata's version{subtrees}"),
            "no string of it stands in a kernel image".to_owned(),
        ));
        let older = kernel.seen.iter().filter(|seen| seen.carrier.is_none());
        let texts = kernel.candidates.iter().chain(older);
        let missing: Vec<_> = texts
            .filter(|seen| {
                let there = |there: &Kernel| {
                    let all = there.seen.iter().chain(&there.candidates);
                    all.clone().any(|other| other.compat == seen.compat)
                };
                next.kernel()
                    .is_none_or(|kernel| kernel.kho.is_ok() && !there(kernel))
            })
            .map(|seen| seen.compat.to_string())
            .collect();
        if !missing.is_empty() {
            unjudged.push((
                super::kernel::shown(&missing),
                "whether a handover carries it can not be told from the image".to_owned(),
            ));
        }
    } else if items.is_empty() {
        remarks.push("nothing is handed over: nothing is in use".to_owned());
        return remarks;
    }
    if matches!(
        &from.what,
        What::Kernel(_) | What::Listed(Listed { in_use: None, .. })
    ) {
        let who = from.kind.title();
        remarks.push(format!(
            "judged as if all that {who} can write were in use; a handover says what is"
        ));
    }
    if let Some(kernel) = next.kernel() {
        let taken = rows.iter().filter(|row| {
            let name = row.finding.found.split(";").next().unwrap_or_default();
            let handler = matches!(row.finding.carrier, Carrier::FileHandler | Carrier::Flb);
            let candidate = |seen: &super::end::Seen| seen.compat.base().to_string() == name;
            handler
                && row.finding.outcome == Outcome::Restorable
                && kernel.candidates.iter().any(candidate)
        });
        let taken: Vec<_> = taken.map(|row| row.finding.found.clone()).collect();
        if !taken.is_empty() {
            remarks.push(format!(
                "{} in the next kernel's image {} taken for what restores it",
                super::kernel::shown(&taken),
                if taken.len() == 1 { "is" } else { "are" }
            ));
        }
        let component = |row: &Row| {
            let base = Compat::parse(&row.finding.found);
            base.map_or_else(|_| String::new(), |compat| compat.base().name().to_owned())
        };
        let lacks = |row: &Row| {
            matches!(row.finding.carrier, Carrier::FileHandler | Carrier::Flb)
                && matches!(row.finding.outcome, Outcome::Rejected | Outcome::Lost)
                && row.finding.consequence != NO_KHO
                && !next.versions.contains_key(&component(row))
        };
        let modules = next
            .end
            .evidence
            .iter()
            .any(|text| text.contains(" below "));
        if rows.iter().any(lacks) && !modules {
            remarks.push(
                "a module of the next kernel may have it: --modules DIR reads them".to_owned(),
            );
        }
        let gaps: Vec<_> = next
            .versions
            .iter()
            .filter(|(name, versions)| {
                let (first, last) = (versions.keys().next(), versions.keys().next_back());
                let span = first
                    .zip(last)
                    .map_or(0, |(first, last)| u64::from(last - first) + 1);
                span != versions.len() as u64 && carrier_of(name) != Some(Carrier::Flb)
            })
            .map(|(name, _)| name.clone())
            .collect();
        if !gaps.is_empty() {
            let what = count(gaps.len() as u64, "component");
            remarks.push(format!(
                "{what} of the next kernel with versions that do not follow each other: {}",
                gaps.join(", ")
            ));
        }
    }
    if policy.when() == When::WhileRestoring {
        remarks.push(
            "under this policy the next one finds a mismatch only while it restores: what comes \
             before is restored by then"
                .to_owned(),
        );
    }
    if next.end.kind == Kind::Program
        && rows
            .iter()
            .any(|row| row.finding.outcome == Outcome::Rejected)
    {
        remarks.push(
            "a program built on these crates judges the same, and refuses before it restores anything"
                .to_owned(),
        );
    }
    remarks
}
