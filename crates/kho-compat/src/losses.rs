//! What is lost, and what is lost with it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::{Carrier, Finding, Outcome, Reason, Side, Verdict};

/// What a verdict gives up: by the strings that files and objects carry, and by the components that the
/// table or the masks list.
#[derive(Clone, Debug)]
pub struct Losses<'v> {
    findings: Vec<&'v Finding>,
    strings: BTreeMap<(Carrier, &'v str), &'v Finding>,
    listed: BTreeSet<&'v str>,
}

impl Verdict {
    /// What is lost.
    #[must_use]
    pub fn losses(&self) -> Losses<'_> {
        Losses::of(&self.findings)
    }
}

impl<'v> Losses<'v> {
    pub(crate) fn of(findings: &'v [Finding]) -> Self {
        let lost = findings.iter().filter(|f| f.outcome == Outcome::Lost);
        let findings: Vec<_> = lost.collect();
        let is_listed =
            |f: &&&Finding| matches!(f.entry.carrier, Carrier::Table | Carrier::Features);
        let listed = findings.iter().filter(is_listed);
        let key = |f: &&'v Finding| ((f.entry.carrier, f.entry.found.as_str()), *f);
        Self {
            listed: listed.map(|f| f.entry.component()).collect(),
            strings: findings.iter().map(key).collect(),
            findings,
        }
    }

    /// Whether nothing is lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// The finding that gives up the string `found` of `carrier`. Its reason says why: its own version,
    /// or a need that is lost.
    #[must_use]
    pub fn get(&self, carrier: Carrier, found: &str) -> Option<&'v Finding> {
        self.strings.get(&(carrier, found)).copied()
    }

    /// What makes the component `name` of `side` unusable: the first of itself and its needs that is
    /// listed and lost.
    #[must_use]
    pub fn need<'s>(&self, name: &str, side: &'s Side) -> Option<&'s str> {
        let own = side.get(name).map(|own| own.name.as_str());
        let needs = side.needs(name).iter().map(|need| need.as_str());
        own.into_iter()
            .chain(needs)
            .find(|need| self.listed.contains(need))
    }

    /// The findings about what a program that takes sessions over would miss. What owners of other subtrees
    /// carry is not among them: no session depends on it, and nothing is read of another version.
    pub fn of_sessions(&self, side: &Side) -> impl Iterator<Item = &'v Finding> {
        let carrier = |finding: &Finding| match finding.entry.carrier {
            Carrier::Table | Carrier::Features => side.get(finding.entry.component())?.carrier,
            carrier => Some(carrier),
        };
        let unused = move |finding: &Finding| matches!(carrier(finding), Some(Carrier::Owned(_)));
        let findings = self.findings.iter().copied();
        findings.filter(move |finding| !unused(finding))
    }

    /// The components that `side` wrote and nobody reads: those that are lost, and those without a string
    /// of their own all of whose users are.
    #[must_use]
    pub fn components<'a>(&self, side: &'a Side) -> BTreeSet<&'a str>
    where
        'v: 'a,
    {
        let own = self.findings.iter().map(|f| f.entry.component());
        let mut lost: BTreeSet<&'a str> = own.collect();
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for user in side.abilities() {
            for need in &user.needs {
                users.entry(need).or_default().push(&user.name);
            }
        }
        loop {
            let named = side.abilities().filter(|one| one.carrier.is_none());
            let kept = named.filter(|one| !lost.contains(one.name.as_str()));
            let unused = kept.filter(|one| {
                let users = users.get(one.name.as_str());
                users.is_some_and(|users| users.iter().all(|user| lost.contains(user)))
            });
            let more: Vec<&'a str> = unused.map(|one| one.name.as_str()).collect();
            if more.is_empty() {
                return lost;
            }
            lost.extend(more);
        }
    }
}

/// Gives up the files of each handler that needs what is lost.
pub(crate) fn give_up_users(findings: &mut [Finding], side: &Side) {
    let losses = Losses::of(findings);
    let need = |finding: &Finding| {
        let is_kept = finding.outcome == Outcome::Restorable;
        (is_kept && finding.entry.carrier == Carrier::FileHandler)
            .then(|| losses.need(finding.entry.component(), side))?
    };
    let needs: Vec<Option<&str>> = findings.iter().map(need).collect();
    for (finding, need) in findings.iter_mut().zip(needs) {
        if let Some(need) = need {
            finding.outcome = Outcome::Lost;
            finding.reason = Some(Reason::NeedLost { need: need.into() });
        }
    }
}
