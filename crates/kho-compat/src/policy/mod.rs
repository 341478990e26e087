//! Policies: how versions are written, and how a handover is judged. One file each behind one trait.
//!
//! | policy | written as | found |
//! |---|---|---|
//! | [`GlobalVersion`] | the root's number | before anything is restored |
//! | [`CompositeExact`] | composite strings | before anything is restored |
//! | [`CompositeByToken`] | composite strings | before anything is restored |
//! | [`SemverRange`] | composite strings | before anything is restored |
//! | [`NewestCommon`] | a table of integers, the newest that both sides know | before anything is restored |
//! | [`CheckAtRestore`] | a table of integers | by each component, when its turn comes |
//! | [`FeatureMasks`] | masks in place of numbers | before anything is restored |
//!
//! What is found before anything is restored can be found before leaving as well, where the next side
//! is known: the judgement is the same.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

mod exact;
mod global;
mod late;
mod masks;
mod newest;
mod range;
mod token;

pub use exact::CompositeExact;
pub use global::GlobalVersion;
pub use late::CheckAtRestore;
pub use masks::FeatureMasks;
pub use newest::NewestCommon;
pub use range::SemverRange;
pub use token::CompositeByToken;

use crate::{
    Ability, Alternative, Carrier, Compat, Expected, Finding, Manifest, ManifestEntry, Outcome,
    Owned, Reason, RegistryError, Side, Strings, Token, Verdict, Writing,
};

/// When a policy finds a mismatch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum When {
    /// Before anything is restored, and so before leaving too, where the next side is known.
    BeforeRestoring,
    /// While restoring: each component looks at its own version when its turn comes.
    WhileRestoring,
}

impl When {
    /// `before-restoring` or `while-restoring`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::BeforeRestoring => "before-restoring",
            Self::WhileRestoring => "while-restoring",
        }
    }

    /// `before restoring` or `while restoring`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::BeforeRestoring => "before restoring",
            Self::WhileRestoring => "while restoring",
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// Whether a component sees what the components that it needs need themselves: a setting of the
/// policies that write composite strings. Both were proposed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Needs {
    /// A string lists all that its component needs, directly or not.
    #[default]
    Transitive,
    /// A string lists what its component needs itself. A component that starts to need another one
    /// leaves its users' strings as they are.
    Direct,
}

impl Needs {
    /// The strings that list them.
    #[must_use]
    pub const fn strings(self) -> Strings {
        match self {
            Self::Transitive => Strings::Transitive,
            Self::Direct => Strings::Direct,
        }
    }
}

/// How versions are written, and how what is handed over is judged against what the receiving side
/// can restore.
///
/// A policy is deterministic: the same manifest and side give the same verdict.
pub trait Policy {
    /// The policy's name, as commands take and print it.
    fn name(&self) -> &'static str;

    /// What it promises, in a line.
    fn summary(&self) -> &'static str;

    /// How versions are written where this policy judges.
    fn writing(&self) -> Writing {
        Writing::COMPOSITE
    }

    /// When it finds a mismatch.
    fn when(&self) -> When {
        When::BeforeRestoring
    }

    /// The versions that `side` writes, as a side, where `next` is to read them: its own.
    fn as_written(&self, side: &Side, next: Option<&Side>) -> Side {
        let _ = next;
        side.clone()
    }

    /// What `side` writes if all that it knows is in use. `next` is who is to read it, where that is
    /// known before leaving.
    ///
    /// # Errors
    ///
    /// A component's name is none that a compat string could hold.
    fn write(&self, side: &Side, next: Option<&Side>) -> Result<Manifest, RegistryError> {
        Manifest::written_by(&self.as_written(side, next), self.writing())
    }

    /// The version as which `component` is read where this policy takes it, of which `manifest` announces a
    /// version or none: the announced one, where numbers say what the layout is. A layout that no code here reads is
    /// not read, whatever this says.
    fn reads_as(
        &self,
        component: &str,
        announced: Option<u32>,
        manifest: &Manifest,
        side: &Side,
    ) -> Option<u32> {
        let _ = (component, manifest, side);
        announced
    }

    /// Judges `manifest`: one finding per entry, in the manifest's order.
    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict;
}

/// The policies of this crate: adding one adds a file and a line here.
pub const ALL: &[&(dyn Policy + Sync)] = &[
    &GlobalVersion,
    &CompositeExact(Needs::Transitive),
    &CompositeExact(Needs::Direct),
    &CompositeByToken(Needs::Transitive),
    &CompositeByToken(Needs::Direct),
    &SemverRange,
    &NewestCommon,
    &CheckAtRestore,
    &FeatureMasks,
];

/// The policy `name` of `policies`: of [`ALL`], and of one's own.
#[must_use]
pub fn find<'p>(
    policies: &[&'p (dyn Policy + Sync)],
    name: &str,
) -> Option<&'p (dyn Policy + Sync)> {
    policies
        .iter()
        .copied()
        .find(|policy| policy.name() == name)
}

/// The policy `name` of this crate.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static (dyn Policy + Sync)> {
    find(ALL, name)
}

impl fmt::Debug for dyn Policy + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a policy has to say of one string, whose base is a known component of the right carrier.
pub(crate) trait Rule {
    /// What the component `name` could have written instead: what this side itself writes, unless
    /// the rule takes more or looks at less.
    fn expected(&self, name: &str, side: &Side) -> Vec<Compat> {
        own_string(name, side, Strings::Transitive)
    }

    /// Why `compat` can not be restored.
    fn check(&self, compat: &Compat, manifest: &Manifest, side: &Side) -> Result<(), Reason>;
}

/// The string that `side` writes for the component `name`; none where it writes none.
fn own_string(name: &str, side: &Side, strings: Strings) -> Vec<Compat> {
    side.compat(name, strings).into_iter().collect()
}

/// Judges each token of `compat` by what `side` knows of its component. What is listed, not linked and
/// not needed by anything here is passed over: whoever needs it has its own string.
fn each_token(
    compat: &Compat,
    side: &Side,
    judge: impl Fn(&Ability, &Token) -> Result<(), Reason>,
) -> Result<(), Reason> {
    compat
        .tokens()
        .try_for_each(|token| match side.get(token.name()) {
            Some(own) => judge(own, token),
            None if side.does_without(compat.base().name(), token.name()) => Ok(()),
            None => Err(unknown(token.name())),
        })
}

fn unknown(name: &str) -> Reason {
    Reason::UnknownComponent { name: name.into() }
}

/// The versions that the component `name` restores.
fn restorable<'a>(name: &'a str, side: &'a Side) -> impl Iterator<Item = Token> + 'a {
    let versions = side.get(name).into_iter().flat_map(Ability::restorable);
    versions.filter_map(|version| Token::new(name, version).ok())
}

/// Whether `own` restores the version of `token` in `manifest`.
fn in_range(own: &Ability, token: &Token, manifest: &Manifest, side: &Side) -> Result<(), Reason> {
    let (restores, version) = (&own.restores, token.version());
    if restores.has_number(version) || restores.has(version, manifest.minor(token)) {
        return Ok(());
    }
    Err(Reason::NotRestorable {
        token: token.clone(),
        restorable: restorable(token.name(), side).collect(),
    })
}

/// The rule of the policies that take all versions which a component says it restores.
struct InRange;

impl Rule for InRange {
    fn expected(&self, name: &str, side: &Side) -> Vec<Compat> {
        restorable(name, side).map(Compat::from).collect()
    }

    fn check(&self, compat: &Compat, manifest: &Manifest, side: &Side) -> Result<(), Reason> {
        each_token(compat, side, |own, token| {
            in_range(own, token, manifest, side)
        })
    }
}

/// Whether a handover can not do without what `owned` carries: what its own component says, whatever
/// component a string there names. What Linux's own carry is never that.
fn owner_is_mandatory(owned: Owned, side: &Side) -> bool {
    let mut owners = side.carried_in(Carrier::Owned(owned));
    !Owned::OF_LINUX.contains(&owned) && owners.any(|owner| !owner.is_optional())
}

/// Judges every string by `rule`. What no policy can judge is the same for all: subtrees and FLBs that
/// nobody here knows are left alone; metadata and memblock regions that can not be restored are lost.
/// Masks are judged by their bits, whoever judges.
pub(crate) fn judge_strings(
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
    let (expected, judged) = match entry.carrier {
        Carrier::Subtree => {
            let known = side.abilities().filter_map(|c| c.subtree.clone());
            let known = known.map(Alternative::Subtree).collect();
            let own = side.subtree(&entry.found);
            (known, own.map(|_| ()).ok_or(Reason::UnknownSubtree))
        }
        Carrier::Features => masks::judge(entry, side),
        carrier => {
            let expected = if carrier == Carrier::Table {
                let own = side.get(entry.component()).into_iter();
                Expected::of(own.map(|own| rule.expected(&own.name, side)))
            } else {
                let known = side.carried_in(carrier);
                Expected::of(known.map(|own| rule.expected(&own.name, side)))
            };
            let judged = judge_string(rule, entry, carrier, manifest, side);
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
    }
}

fn judge_string(
    rule: &dyn Rule,
    entry: &ManifestEntry,
    carrier: Carrier,
    manifest: &Manifest,
    side: &Side,
) -> Result<(), Reason> {
    let compat = entry.compat().map_err(Reason::NotACompatString)?;
    let name = compat.base().name();
    match side.get(name) {
        None => Err(unknown(name)),
        Some(component) if carrier != Carrier::Table && component.carrier != Some(carrier) => {
            Err(Reason::NotWhatCarrierNames {
                name: name.into(),
                carrier,
            })
        }
        Some(_) => rule.check(&compat, manifest, side),
    }
}
