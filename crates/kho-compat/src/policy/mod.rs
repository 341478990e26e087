//! Policies: how a handover is judged. One file each behind one trait.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

mod exact;
mod global;
mod restorable;
mod token;

pub use exact::CompositeExact;
pub use global::GlobalVersion;
pub use restorable::Restorable;
pub use token::CompositeByToken;

use crate::{
    Ability, Carrier, Compat, Decision, Dialect, Entry, Finding, Manifest, Outcome, Side, Token,
    Verdict, consequence,
};

/// Judges what is handed over against what the receiving side can restore.
///
/// A policy is deterministic: the same manifest and side give the same verdict.
pub trait Policy {
    /// The policy's name, as commands take and print it.
    fn name(&self) -> &'static str;

    /// What it promises, in a line.
    fn summary(&self) -> &'static str;

    /// Judges `manifest`: one finding per entry, in the manifest's order.
    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict;
}

/// The policies of this crate: adding one adds a file and a line here.
pub const ALL: &[&(dyn Policy + Sync)] = &[
    &GlobalVersion,
    &CompositeExact,
    &CompositeByToken,
    &Restorable,
];

/// The policy `name` of this crate.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static (dyn Policy + Sync)> {
    ALL.iter().copied().find(|policy| policy.name() == name)
}

/// What a policy has to say of one string, whose base is a known component of the right carrier.
pub(crate) trait Rule {
    /// What the component `name` could have written instead: what this side itself writes, unless
    /// the rule takes more or looks at less.
    fn expected(&self, name: &str, side: &Side) -> String {
        own_text(name, side, Dialect::Composite)
    }

    /// Why `compat` can not be restored.
    fn check(&self, compat: &Compat, side: &Side) -> Result<(), String>;
}

/// The string that `side` writes for the component `name`.
fn own_text(name: &str, side: &Side, dialect: Dialect) -> String {
    side.compat(name, dialect)
        .map_or_else(|_| String::new(), |own| own.to_string())
}

/// Judges each token of `compat` by what `side` knows of its component.
fn each_token(
    compat: &Compat,
    side: &Side,
    judge: impl Fn(&Ability, &Token) -> Result<(), String>,
) -> Result<(), String> {
    compat.tokens().try_for_each(|token| {
        let ability = side.get(token.name());
        let unknown = || format!("no linked component is called `{}`", token.name());
        judge(ability.ok_or_else(unknown)?, token)
    })
}

/// Judges every string by `rule`. What no policy can judge is the same for all: subtrees and FLBs that
/// nobody here knows are left alone, as are metadata and memblock regions that can not be restored.
pub(crate) fn judge_strings(
    policy: &'static str,
    rule: &dyn Rule,
    manifest: &Manifest,
    side: &Side,
) -> Verdict {
    let entries = manifest.entries().iter();
    let findings: Vec<_> = entries.map(|entry| finding(rule, entry, side)).collect();
    let rejected = findings
        .iter()
        .any(|finding| finding.outcome == Outcome::Rejected);
    Verdict {
        policy,
        decision: if rejected {
            Decision::Reject
        } else {
            Decision::Accept
        },
        findings,
    }
}

fn finding(rule: &dyn Rule, entry: &Entry, side: &Side) -> Finding {
    let (restorable, expected, reason) = match entry.carrier {
        Carrier::Subtree => {
            let known: Vec<_> = side
                .abilities()
                .filter_map(|c| c.subtree.as_deref())
                .collect();
            let is_known = side.subtree(&entry.found).is_some();
            let reason = if is_known {
                ""
            } else {
                "no linked component knows this subtree"
            };
            (is_known, known.join(", "), reason.to_string())
        }
        carrier => {
            let known = side
                .carried_in(carrier)
                .map(|c| rule.expected(&c.name, side));
            let expected = known.collect::<Vec<_>>().join(" or ");
            match judge_string(rule, entry, carrier, side) {
                Ok(()) => (true, expected, String::new()),
                Err(reason) => (false, expected, reason),
            }
        }
    };
    let mandatory = matches!(
        entry.carrier,
        Carrier::Root | Carrier::Luo | Carrier::FileHandler
    );
    let outcome = match (restorable, mandatory) {
        (true, _) => Outcome::Restorable,
        (false, false) => Outcome::LeftAlone,
        (false, true) => Outcome::Rejected,
    };
    Finding {
        carrier: entry.carrier,
        found: entry.found.clone(),
        expected: if expected.is_empty() {
            "nothing".to_string()
        } else {
            expected
        },
        outcome,
        reason,
        place: entry.place.clone(),
        uses: entry.uses,
        consequence: if restorable {
            ""
        } else {
            consequence(entry.carrier)
        },
    }
}

fn judge_string(
    rule: &dyn Rule,
    entry: &Entry,
    carrier: Carrier,
    side: &Side,
) -> Result<(), String> {
    let compat = entry
        .compat()
        .map_err(|e| format!("not a compat string: {e}"))?;
    let base = compat.base();
    match side.get(base.name()) {
        None => Err(format!("no linked component is called `{}`", base.name())),
        Some(component) if component.carrier != Some(carrier) => Err(format!(
            "`{}` is not what a {} names",
            base.name(),
            carrier.title()
        )),
        Some(_) => rule.check(&compat, side),
    }
}
