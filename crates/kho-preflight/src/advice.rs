//! What to do next where a move is not accepted.

use std::collections::BTreeSet;

use kho_compat::{Decision, Reason, Registry, Token};

use crate::condition::Condition;
use crate::config::{KHO, LUO};
use crate::defect::MetDefect;
use crate::reason::Why;
use crate::report::MoveFinding;

/// Formats that no generation here has: what announces each, its first release, and the first without it.
const OLDER: &[(&str, &str, &str)] = &[
    ("kho-v1", "Linux 6.16", "Linux 7.1"),
    ("kho-v3", "Linux 7.1", "Linux 7.2"),
    ("luo-v1", "Linux 6.19", "Linux 7.2"),
    ("luo-session-v2", "Linux 6.19", "Linux 7.2"),
    ("luo-flb-v1", "Linux 7.0", "Linux 7.2"),
    ("memfd-v1", "Linux 6.19", "Linux 7.1"),
];

/// What to do next, each once: about what is rejected, then about what is not met.
pub(crate) fn advice(
    rows: &[MoveFinding],
    formats: Decision,
    conditions: &[Condition],
    defects: &[MetDefect],
    registry: &Registry,
) -> Vec<String> {
    let outcomes = rows.iter().map(|row| row.outcome);
    // A program may refuse what optional parts are lost of.
    let gravest = match formats {
        Decision::Reject => outcomes.max_by_key(|outcome| Decision::of([*outcome])),
        Decision::Accept | Decision::Degrade => None,
    };
    let rejected = rows.iter().filter(|row| Some(row.outcome) == gravest);
    let of_rows = rejected.flat_map(|row| of_row(row, registry));
    let unmet = conditions.iter();
    let unmet = unmet.filter(|condition| condition.decision() != Decision::Accept);
    let unmet = unmet.map(|condition| condition.advice.clone());
    let defects = defects.iter();
    let defects = defects.filter(|found| found.decision() != Decision::Accept);
    let defects = defects.map(|found| found.defect.advice.to_owned());
    let mut said = BTreeSet::new();
    let all = of_rows.chain(unmet).chain(defects);
    all.filter(|text| !text.is_empty() && said.insert(text.clone()))
        .collect()
}

fn of_row(row: &MoveFinding, registry: &Registry) -> Vec<String> {
    let token = match &row.why {
        Some(Why::NoKho { .. }) => {
            return vec![format!(
                "take a kernel that is built with {KHO}=y, and for sessions with {LUO}=y"
            )];
        }
        Some(Why::NoLuo) => return vec![format!("take a kernel that is built with {LUO}=y")],
        Some(Why::NoHandler) => {
            return vec!["take a program that registers a handler of such files".to_owned()];
        }
        Some(
            Why::Policy(Reason::NotRestorable { token, .. } | Reason::NotTheVersion { token, .. })
            | Why::MasksAlone { token },
        ) => Some(token.clone()),
        _ => row.item.tokens().into_iter().next(),
    };
    token.iter().map(|token| takers(token, registry)).collect()
}

/// The releases that take `token`: from the first of its generation to the one before the next.
fn takers(token: &Token, registry: &Registry) -> String {
    let component = registry.get(token.name());
    let generations = component.map_or(&[][..], |component| component.generations);
    let released = generations.iter().filter(|one| !one.since.is_empty());
    let since = |version: u32| released.clone().find(|one| one.number == version);
    let newer = released.clone().filter(|one| one.number > token.version());
    let newer = newer.min_by_key(|one| one.number).map(|one| one.since);
    let text = token.to_string();
    let older = || OLDER.iter().find(|(announced, ..)| *announced == text);
    let known = since(token.version()).map(|one| (one.since, newer));
    match known.or_else(|| older().map(|(_, first, gone)| (*first, Some(*gone)))) {
        Some((first, None)) => {
            format!("{token} is taken from {first} on, as far as this build knows")
        }
        Some((first, Some(gone))) => {
            format!("{token} is taken from {first} on, up to before {gone}")
        }
        None => format!("{token}: which releases take it is not known here"),
    }
}
