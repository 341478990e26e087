//! Judged while restoring: what each component finds when its turn comes.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use once_cell::race::OnceBox;

use crate::{
    Alternative, Carrier, Expected, Finding, Manifest, NotAdmitted, Outcome, Policy, Refusal, Side,
    Token,
};

/// The components that a policy lets pass while restoring, in the order of their turns, and the first that
/// it refused. A policy is deterministic, so that its answers are there from the start; what a component
/// finds is acted upon in its turn, and not before.
#[derive(Debug)]
pub(crate) struct Turns {
    policy: &'static str,
    // What could be restored in place of each that is refused.
    refused: BTreeMap<Token, String>,
    // A slot for each that can pass; filled from the front.
    passed: Box<[OnceBox<Token>]>,
    failed: OnceBox<NotAdmitted>,
}

/// What `policy` says of each component of a manifest by itself, in its turn: of the token that a string begins
/// with, of each that only strings list, of each that the table or the masks have. `findings` are those of all of
/// the manifest.
#[must_use]
pub fn judged_alone(
    policy: &dyn Policy,
    manifest: &Manifest,
    findings: &[Finding],
    side: &Side,
) -> Vec<Finding> {
    let lists =
        |entry: &&Finding| matches!(entry.entry.carrier, Carrier::Table | Carrier::Features);
    let listed = |name: &str| {
        let mut all = findings.iter().filter(lists);
        all.any(|finding| finding.entry.component() == name)
    };
    let mut all = Vec::new();
    for finding in findings {
        let entry = &finding.entry;
        let compat = entry.compat().ok();
        // Who compares whole strings has nothing to ask of a part.
        let has_parts = entry.carrier.holds_composites() && !side.compares_whole();
        let Some(compat) = compat.filter(|_| has_parts) else {
            all.push(finding.clone());
            continue;
        };
        let alone = |carrier, token: &Token| {
            let mut one = manifest.listing(token.name());
            one.add_uses(carrier, &token.to_string(), entry.place.clone(), entry.uses);
            let judged = policy.judge(&one, side).findings.into_iter();
            judged.filter(move |finding| finding.entry.carrier == carrier)
        };
        all.extend(alone(entry.carrier, compat.base()));
        let parts = compat.parts().iter();
        for part in parts.filter(|part| !listed(part.name()) && side.get(part.name()).is_some()) {
            all.extend(alone(Carrier::Table, part));
        }
    }
    all
}

impl Turns {
    /// `passing` is how many versions can pass.
    pub(crate) fn new(policy: &'static str, findings: &[Finding], passing: usize) -> Self {
        let stopped =
            |finding: &&Finding| matches!(finding.outcome, Outcome::Rejected | Outcome::Lost);
        let refused = findings.iter().filter(stopped);
        let refused = refused.filter_map(|finding| {
            let token = finding.entry.compat().ok()?.base().clone();
            // Of the component itself, where it is known.
            let own = finding.expected.any_of.iter().filter(|one| match one {
                Alternative::Compat(compat) => compat.base().name() == token.name(),
                _ => true,
            });
            let own: Expected = own.cloned().collect();
            let expected = match own.any_of.is_empty() {
                true => finding.expected.to_string(),
                false => own.to_string(),
            };
            Some((token, expected))
        });
        Self {
            policy,
            refused: refused.collect(),
            passed: (0..passing).map(|_| OnceBox::new()).collect(),
            failed: OnceBox::new(),
        }
    }

    pub(crate) fn failed(&self) -> Option<&NotAdmitted> {
        self.failed.get()
    }

    pub(crate) fn passed(&self) -> Vec<Token> {
        self.passed
            .iter()
            .map_while(OnceBox::get)
            .cloned()
            .collect()
    }

    /// The turn of `component`, which passes.
    pub(crate) fn pass(&self, component: &str, version: u32) {
        let Ok(token) = Token::new(component, version) else {
            return;
        };
        for slot in &self.passed {
            // Taken by another thread meanwhile, it is looked at as one that was taken before.
            if slot.get().is_none() && slot.set(Box::new(token.clone())).is_ok() {
                return;
            }
            if slot.get() == Some(&token) {
                return;
            }
        }
    }

    /// The turn of `component`, which is refused. The first to be so ends the restoring.
    pub(crate) fn refuse(&self, component: &str, version: u32) -> NotAdmitted {
        let token = Token::new(component, version).ok();
        let own = token.and_then(|token| self.refused.get(&token));
        // Refused in another version: what announces it contradicts itself.
        let mut others = self.refused.iter();
        let other = others.find(|(token, _)| token.name() == component);
        let error = match own.or(other.map(|(_, expected)| expected)) {
            Some(expected) => NotAdmitted {
                refusal: Refusal::Late {
                    policy: self.policy,
                    given: self.passed(),
                },
                ..NotAdmitted::new(component, version, expected)
            },
            // Nothing announced it: the policy has not been asked.
            None => NotAdmitted::no_reader(component, version, "another version"),
        };
        self.fail(&error);
        error
    }

    pub(crate) fn fail(&self, error: &NotAdmitted) {
        // Another one before it stays.
        let _ = self.failed.set(Box::new(error.clone()));
    }
}

/// Tokens in a sentence.
pub(crate) fn text(tokens: &[Token]) -> String {
    let tokens: Vec<_> = tokens.iter().map(ToString::to_string).collect();
    if tokens.is_empty() {
        return "nothing".to_string();
    }
    tokens.join(", ")
}
