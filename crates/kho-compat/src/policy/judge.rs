//! The judgement that all policies share, with a rule for one string.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};

use super::{Found, Rule, masks};
use crate::{
    Ability, Alternative, Carrier, Compat, Expected, Finding, GrammarError, Manifest,
    ManifestEntry, Outcome, Owned, Reason, Side, Strings, Verdict,
};

/// Whether a handover can not do without what `owned` carries: what its own component says, whatever
/// component a string there names. What Linux's own carry is never that.
fn owner_is_mandatory(owned: Owned, side: &Side) -> bool {
    let mut owners = side.carried_in(Carrier::Owned(owned));
    !Owned::OF_LINUX.contains(&owned) && owners.any(|owner| !owner.is_optional())
}

/// Judges every string by `rule`. What no policy can judge is the same for all: subtrees and FLBs that
/// nobody here knows are left alone; metadata and memblock regions that can not be restored are lost.
/// Masks are judged by their bits, whoever judges.
#[must_use]
pub fn judge_strings(
    policy: &'static str,
    rule: &dyn Rule,
    manifest: &Manifest,
    side: &Side,
) -> Verdict {
    let entries = manifest.entries().iter();
    let said = Said::of(manifest, side);
    let findings = entries.map(|entry| finding(rule, entry, manifest, side, &said));
    Verdict::new(policy, findings.collect(), side)
}

/// What a manifest says of components beside their own findings.
struct Said<'a> {
    side: &'a Side,
    // What nothing is worth restoring without: the root, LUO, the handlers of files that are not
    // optional, and what these need. No flag makes it optional.
    required: BTreeSet<&'a str>,
    // What its writer says can be done without: believed of what this side never heard of.
    optional: BTreeSet<&'a str>,
    // The versions that strings say.
    versions: BTreeMap<String, BTreeSet<u32>>,
}

impl<'a> Said<'a> {
    fn of(manifest: &'a Manifest, side: &'a Side) -> Self {
        let entries = || manifest.entries().iter();
        let says = |entry: &&ManifestEntry| {
            entry.optional && matches!(entry.carrier, Carrier::Table | Carrier::Features)
        };
        let mut said = Self {
            side,
            required: BTreeSet::new(),
            optional: entries()
                .filter(says)
                .map(ManifestEntry::component)
                .collect(),
            versions: BTreeMap::new(),
        };
        // What strings say is asked where a table says it too.
        let has_table = entries().any(|entry| matches!(entry.carrier, Carrier::Table));
        for entry in entries() {
            if !entry.carrier.holds_composites() {
                continue;
            }
            let name = entry.component();
            if !matches!(entry.carrier, Carrier::FileHandler) || !said.may_lack(name) {
                let needs = side.needs(name).iter().map(String::as_str);
                said.required.extend(core::iter::once(name).chain(needs));
            }
            let tokens = has_table.then(|| entry.compat().ok()).flatten();
            for token in tokens.iter().flat_map(Compat::tokens) {
                let versions = said.versions.entry(token.name().to_string());
                versions.or_default().insert(token.version());
            }
        }
        said
    }

    fn may_lack(&self, name: &str) -> bool {
        let optional = match self.side.get(name) {
            Some(known) => known.is_optional(),
            None => self.optional.contains(name),
        };
        optional && !self.required.contains(name)
    }

    /// Why what the table says of `entry` can not be: a string says otherwise.
    fn contradicts(&self, entry: &ManifestEntry) -> Option<Reason> {
        if !matches!(entry.carrier, Carrier::Table) {
            return None;
        }
        let versions = self.versions.get(entry.component())?;
        let listed = entry.compat().ok()?.base().version();
        let version = *versions.first().filter(|_| !versions.contains(&listed))?;
        Some(Reason::TableContradicts { version })
    }
}

fn finding(
    rule: &dyn Rule,
    entry: &ManifestEntry,
    manifest: &Manifest,
    side: &Side,
    said: &Said<'_>,
) -> Finding {
    let mut note = None;
    let (expected, judged) = match entry.carrier {
        Carrier::Subtree => {
            let known = side.abilities().filter_map(|c| c.subtree.clone());
            let known = known.map(Alternative::Subtree).collect();
            let own = side.subtree(&entry.found);
            (known, own.map(|_| ()).ok_or(Reason::UnknownSubtree))
        }
        Carrier::Features => masks::judge(entry, side),
        carrier => {
            let expected = |own: &Ability| rule.expected(own, carrier, side);
            let expected = if carrier == Carrier::Table {
                Expected::of(side.get(entry.component()).into_iter().map(expected))
            } else {
                Expected::of(side.carried_in(carrier).map(expected))
            };
            let (judged, strict) = judge_string(rule, entry, manifest, side);
            note = strict;
            (expected, judged)
        }
    };
    let reason = said.contradicts(entry).map_or(judged, Err).err();
    let outcome = match (&reason, entry.carrier) {
        (Some(Reason::TableContradicts { .. }), _) => Outcome::Rejected,
        (_, Carrier::Table | Carrier::Features) if side.unlinked(entry.component()).is_some() => {
            Outcome::LeftAlone
        }
        (None, _) => Outcome::Restorable,
        (_, Carrier::Subtree) => Outcome::LeftAlone,
        // An object that nobody here knows is its owner's affair; one of another version is lost.
        (_, Carrier::Flb) if side.get(entry.component()).is_none() => Outcome::LeftAlone,
        (_, Carrier::Flb) => Outcome::Lost,
        (_, Carrier::Owned(owned)) if !owner_is_mandatory(owned, side) => Outcome::Lost,
        (_, Carrier::Root | Carrier::Luo | Carrier::Owned(_)) => Outcome::Rejected,
        (_, Carrier::FileHandler | Carrier::Table | Carrier::Features)
            if said.may_lack(entry.component()) =>
        {
            Outcome::Lost
        }
        (_, Carrier::FileHandler | Carrier::Table | Carrier::Features) => Outcome::Rejected,
    };
    Finding {
        entry: entry.clone(),
        expected,
        outcome,
        reason,
        note,
        receiver: side
            .get(entry.component())
            .map(|own| own.receiver)
            .unwrap_or_default(),
    }
}

/// Why `entry` can not be restored, and what its string does not have as strings are written, where `rule` takes it
/// all the same.
fn judge_string(
    rule: &dyn Rule,
    entry: &ManifestEntry,
    manifest: &Manifest,
    side: &Side,
) -> (Result<(), Reason>, Option<GrammarError>) {
    // Nearly all are as they are written, and parsed once.
    let (compat, note) = match Compat::parse(&entry.found) {
        Ok(compat) => (Ok(compat), None),
        Err(strict) => match Compat::parse_as(&entry.found, rule.grammar()) {
            Ok(compat) => (Ok(compat), Some(strict)),
            Err(error) => (Err(Reason::NotACompatString(error)), None),
        },
    };
    let judged = compat.and_then(|compat| judge_parsed(rule, entry, &compat, manifest, side));
    (judged, note)
}

fn judge_parsed(
    rule: &dyn Rule,
    entry: &ManifestEntry,
    compat: &Compat,
    manifest: &Manifest,
    side: &Side,
) -> Result<(), Reason> {
    let carrier = entry.carrier;
    let name = compat.base().name();
    match side.get(name) {
        None => Err(Reason::UnknownComponent { name: name.into() }),
        Some(component) if carrier != Carrier::Table && component.carrier != Some(carrier) => {
            Err(Reason::NotWhatCarrierNames {
                name: name.into(),
                carrier,
            })
        }
        Some(own) => {
            let found = Found {
                own,
                compat,
                entry,
                manifest,
                side,
            };
            rule.check(&found)?;
            if !side.compares_whole() || !carrier.holds_composites() {
                return Ok(());
            }
            // Of a list its own string is looked for.
            let in_list = |own: &Compat| {
                let own = own.parts().is_empty().then(|| own.base());
                compat.strings() == Strings::List && own == Some(compat.base())
            };
            let own = side.own_strings(own, carrier, Strings::Plain);
            match own.unwrap_or_default().iter().any(in_list) {
                true => Ok(()),
                false => found.is_own_string(Strings::Plain),
            }
        }
    }
}
