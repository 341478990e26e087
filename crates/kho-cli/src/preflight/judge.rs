//! The judgement: what one end hands over against what the other can restore.

use std::collections::BTreeMap;

use kho_compat::policy::When;
use kho_compat::{
    Alternative, Carrier, Consequence, Decision, Expected, Finding, Manifest, Outcome, Policy,
    Reason,
};

use super::end::{Amount, End, Item, Spot, What};
use super::handed::handed_over;
use super::losses::Losses;
use super::next::Next;
use super::reason::{Unjudged, Why};
use super::remarks::remarks;
use super::scope::{Judged, judged};
use super::wanted::Wanted;
use crate::error::Failure;

/// A finding, and where its two sides stand.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What is handed over.
    pub(super) item: Item,
    pub(super) outcome: Outcome,
    pub(super) expected: Expected,
    /// Why it is not restorable.
    pub(super) why: Option<Why>,
    pub(super) consequence: Consequence,
    /// Where what is expected stands.
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
    pub(super) unjudged: Vec<(String, Unjudged)>,
    pub(super) losses: Losses,
    pub(super) remarks: Vec<String>,
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
        let (found, spot) = ("kho of unknown version", Spot::new(trace.clone()));
        items.push(Item::new(Carrier::Root, found, None, spot));
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
        if *entries.entry(item.key()).or_insert(next) == next {
            item.add_to(&mut manifest);
        }
    }
    let verdict = policy.judge(&manifest, &next.side);
    let mut rows = Vec::new();
    let mut unjudged: Vec<(String, Unjudged)> = Vec::new();
    for (item, how) in items.iter().zip(how) {
        let mut row = match how {
            Judged::Not(why) => {
                let (title, found) = (item.entry.carrier.title(), &item.entry.found);
                unjudged.push((format!("{title} `{found}`"), why));
                continue;
            }
            Judged::Here(outcome, why, consequence) => Row {
                expected: expected(item, outcome, None, &next),
                item: item.clone(),
                outcome,
                why,
                consequence,
                to: Vec::new(),
                files: None,
            },
            Judged::ByPolicy => {
                let entry = entries.get(&item.key());
                match entry.and_then(|entry| verdict.findings.get(*entry)) {
                    Some(finding) => by_policy(item, finding, &next),
                    None => continue,
                }
            }
        };
        row.to = next.spots(item);
        row.files = uses
            .filter(|_| item.entry.carrier == Carrier::FileHandler)
            .and_then(|uses| uses.handlers.get(&item.entry.found).copied());
        rows.push(row);
    }
    let decision = Decision::of(rows.iter().map(|row| row.outcome));
    if let What::Dump(dump) = &from.what
        && let Some(unread) = &dump.unread
        && decision != Decision::Reject
    {
        // What could be lost is not known.
        let text = format!("{unread} is not read by this build: nothing says that it is restored");
        return Err(Failure::Unrestorable(text));
    }
    let losses = Losses::of(&rows, uses, to);
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

/// What the policy finds of `item`.
fn by_policy(item: &Item, finding: &Finding, next: &Next<'_>) -> Row {
    let mut item = item.clone();
    // Listed twice, masks are judged as one.
    item.entry.features = finding.entry.features;
    let why = finding.reason.clone().map(|reason| match reason {
        // A component of which the next one lists masks alone has no version to name.
        Reason::NotRestorable { token, .. } | Reason::NotTheVersion { token, .. }
            if next.has_masks_alone(token.name()) =>
        {
            Why::MasksAlone { token }
        }
        reason => Why::Policy(reason),
    });
    let expected = match next.end.what {
        What::Listed(_) => finding.expected.clone(),
        _ => expected(&item, finding.outcome, Some(&finding.expected), next),
    };
    Row {
        item,
        outcome: finding.outcome,
        expected,
        why,
        consequence: finding.consequence(),
        to: Vec::new(),
        files: None,
    }
}

/// What could be restored in place of `item`, as it stands in the next one; by the policy it would be
/// `by_policy`.
fn expected(
    item: &Item,
    outcome: Outcome,
    by_policy: Option<&Expected>,
    next: &Next<'_>,
) -> Expected {
    let name = item.component();
    let of_policy = || by_policy.cloned().unwrap_or_default();
    let there = item.entry.compat().is_ok_and(|compat| next.has(&compat));
    if there && outcome != Outcome::Restorable && by_policy.is_some() {
        // It could be restored, but for the policy.
        return of_policy();
    }
    let own = next.alternatives(&name);
    let all = || {
        let of_carrier = next.side.carried_in(item.entry.carrier);
        let all = of_carrier.filter_map(|ability| next.alternatives(&ability.name));
        all.flatten().collect()
    };
    let any_of: Vec<Alternative> = match (outcome, item.entry.carrier) {
        (_, Carrier::Subtree) => return of_policy(),
        (_, Carrier::Features) if next.masks.contains_key(&name) => return of_policy(),
        (_, Carrier::Features) | (Outcome::Restorable, Carrier::FileHandler) => {
            own.unwrap_or_default()
        }
        // By the policy: its own text of the very component.
        (Outcome::Restorable, Carrier::Flb) => {
            let compat = item.entry.compat().into_iter();
            compat.map(Alternative::Compat).collect()
        }
        (_, Carrier::FileHandler | Carrier::Flb) => own.unwrap_or_else(all),
        (Outcome::Rejected, _) if item.is_composite() => return of_policy(),
        _ => own.unwrap_or_else(all),
    };
    any_of.into_iter().collect()
}
