//! What to do next where a move is not accepted.

use std::collections::BTreeSet;

use kho_compat::{Decision, Outcome, Reason, Registry, Token};

use crate::condition::Condition;
use crate::config::{KHO, LUO};
use crate::defect::MetDefect;
use crate::reason::Why;
use crate::report::MoveFinding;

/// What to do next, each once: about what is rejected, then about what is not met.
pub(crate) fn advice(
    rows: &[MoveFinding],
    conditions: &[Condition],
    defects: &[MetDefect],
    registry: &Registry,
) -> Vec<String> {
    let rejected = rows.iter().filter(|row| row.outcome == Outcome::Rejected);
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

/// The releases that take `token`.
fn takers(token: &Token, registry: &Registry) -> String {
    let component = registry.get(token.name());
    let generations = component.map_or(&[][..], |component| component.generations);
    let since = |version: u32| generations.iter().find(|one| one.number == version);
    let newer = generations
        .iter()
        .filter(|one| one.number > token.version());
    let newer = newer
        .min_by_key(|one| one.number)
        .filter(|one| !one.since.is_empty());
    match (
        since(token.version()).filter(|one| !one.since.is_empty()),
        newer,
    ) {
        (Some(one), None) => format!("{token} is taken by {} and later", one.since),
        (Some(one), Some(newer)) => {
            format!(
                "{token} is taken by {} and later, before {}",
                one.since, newer.since
            )
        }
        (None, _) => format!("{token} is taken by no release that this build knows"),
    }
}
