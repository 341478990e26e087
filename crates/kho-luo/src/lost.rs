//! What a verdict gives up: optional parts that nothing here restores.

use alloc::collections::BTreeSet;
use alloc::string::String;

use kho_compat::{Admitted, Carrier, Entry, Finding, Outcome, Side};

use crate::Handler;

/// What is lost of an admitted handover, by the strings that its files and objects carry.
#[derive(Debug)]
pub(crate) struct Lost<'a> {
    handlers: BTreeSet<&'a str>,
    flbs: BTreeSet<&'a str>,
    // Components that the table or the masks list.
    listed: BTreeSet<&'a str>,
}

impl<'a> Lost<'a> {
    pub(crate) fn of(admitted: &'a Admitted) -> Self {
        let strings = |carrier| {
            lost(admitted)
                .filter(move |(entry, _)| entry.carrier == carrier)
                .map(|(entry, _)| subject(entry))
        };
        Self {
            handlers: strings(Carrier::FileHandler).collect(),
            flbs: strings(Carrier::Flb).collect(),
            listed: strings(Carrier::Table)
                .chain(strings(Carrier::Features))
                .collect(),
        }
    }

    /// Whether the files of `handler` are lost.
    pub(crate) fn has(&self, handler: &Handler) -> bool {
        self.handlers.contains(handler.compatible.as_str())
    }

    /// Whether the object `name` is lost.
    pub(crate) fn has_flb(&self, name: &str) -> bool {
        self.flbs.contains(name)
    }

    /// What the component `name` needs, or itself, and is listed and lost.
    pub(crate) fn need(&self, name: &str, side: &'a Side) -> Option<&'a str> {
        let mut needs = side.needs(name).iter().map(String::as_str);
        let own = side.get(name).map(|own| own.name.as_str());
        own.into_iter()
            .chain(&mut needs)
            .find(|need| self.listed.contains(need))
    }
}

/// The whole string of a file or an object; the component of what is listed.
fn subject(entry: &Entry) -> &str {
    match entry.carrier {
        Carrier::Table | Carrier::Features => entry.component(),
        _ => &entry.found,
    }
}

fn lost(admitted: &Admitted) -> impl Iterator<Item = (&Entry, &Finding)> {
    let findings = &admitted.verdict().findings;
    let all = admitted.manifest().entries().iter().zip(findings);
    all.filter(|(_, finding)| finding.outcome == Outcome::Lost)
}

/// The findings about what a program that takes sessions over would miss. Kexec metadata and
/// `reserve_mem` regions are not among them: no session depends on them, and nothing is read of
/// another version.
pub(crate) fn losses<'a>(
    admitted: &'a Admitted,
    side: &'a Side,
) -> impl Iterator<Item = &'a Finding> {
    let carrier = |entry: &Entry| match entry.carrier {
        Carrier::Table | Carrier::Features => side.get(entry.component())?.carrier,
        carrier => Some(carrier),
    };
    let unused = |carrier| {
        matches!(
            carrier,
            Some(Carrier::Metadata | Carrier::Memblock | Carrier::Region)
        )
    };
    lost(admitted)
        .filter(move |(entry, _)| !unused(carrier(entry)))
        .map(|(_, finding)| finding)
}
