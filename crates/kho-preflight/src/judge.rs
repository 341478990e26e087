//! The judgement: what one end hands over against what the other can restore.

use std::collections::BTreeMap;

use kho_compat::{
    Alternative, Carrier, Consequence, Decision, Expected, Manifest, Outcome, Policy, Reason,
    Receiver,
};

use crate::advice::advice;
use crate::condition::Condition;
use crate::conditions::{HERE, Move};
use crate::defect::MetDefect;
use crate::end::{End, EndKind, What};
use crate::handed::handed_over;
use crate::item::{Item, Spot};
use crate::losses::MoveLosses;
use crate::next::Next;
use crate::reason::{Unjudged, Why};
use crate::remarks::{nothing, remarks, unread};
use crate::scope::{Judged, judged, other_strings};
use crate::wanted::Wanted;
use crate::{Error, MoveFinding, Preflight, Report};

impl Preflight {
    /// Judges leaving `from` for `to` under `policy`.
    ///
    /// # Errors
    ///
    /// What could be lost is not known, since `from` holds what this build does not read, or one of the
    /// ends contradicts itself.
    pub fn judge<'e>(
        &self,
        from: &'e End,
        to: &'e End,
        policy: &dyn Policy,
    ) -> Result<Report<'e>, Error> {
        let _span = tracing::info_span!("judge", policy = policy.name()).entered();
        let wanted = Wanted::of(from);
        let next = Next::of(to, &wanted, self.registry)?;
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
                Judged::Here(outcome, why, consequence) => MoveFinding {
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
                        Some(finding) => match other_strings(item, &next) {
                            Some(own) if finding.outcome == Outcome::Restorable => MoveFinding {
                                item: item.clone(),
                                outcome: Outcome::Rejected,
                                expected: own.iter().cloned().collect(),
                                why: Some(Why::OtherStrings { own }),
                                consequence: Consequence::of(item.entry.carrier),
                                to: Vec::new(),
                                files: None,
                            },
                            _ => handled(by_policy(item, finding, &next), &next),
                        },
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
        // Nothing is read behind a root that a kernel does not take: it boots, and all is lost.
        let is_cold = |row: &MoveFinding| {
            let root = row.item.entry.carrier == Carrier::Root;
            root && row.consequence == Consequence::ColdBoot && row.outcome == Outcome::Rejected
        };
        if rows.iter().any(is_cold) {
            let lost =
                |row: &&mut MoveFinding| matches!(row.outcome, Outcome::Rejected | Outcome::Lost);
            for row in rows.iter_mut().filter(lost) {
                row.consequence = Consequence::ColdBoot;
            }
        }
        let mut formats = Decision::of(rows.iter().map(|row| row.outcome));
        if let What::Listed(listed) = &to.what
            && listed.whole
            && verdict.losses().of_sessions(&next.side).next().is_some()
        {
            formats = Decision::Reject;
        }
        if let What::Dump(dump) = &from.what
            && let Some(unread) = &dump.unread
            && formats != Decision::Reject
        {
            // What could be lost is not known.
            return Err(Error::Unread(unread.clone()));
        }
        let journey = Move {
            from,
            to,
            rows: &rows,
            uses,
        };
        let (conditions, defects) = (journey.conditions(), journey.defects());
        let costs = conditions.iter().map(Condition::decision);
        let costs = costs.chain(defects.iter().map(MetDefect::decision));
        let decision = costs.fold(formats, Decision::max);
        let findings = rows.len();
        tracing::info!(decision = decision.id(), findings, "judged");
        let losses = MoveLosses::of(&rows, &conditions, &defects, uses, &next);
        let mut remarks = Vec::new();
        let nothing = nothing(from, &items);
        match &nothing {
            Some(nothing) => remarks.push(nothing.clone()),
            None => remarks = self::remarks(from, &next, &items, &rows, &mut unjudged, policy),
        }
        let unread = unread(&rows, &manifest, &next, policy);
        remarks.extend(unread.values().cloned());
        let noted = verdict.findings.iter();
        let noted = noted.filter_map(|finding| Some((&finding.entry, finding.note.as_ref()?)));
        remarks.extend(noted.map(|(entry, note)| {
            format!(
                "{} `{entry}`: {note}; the policy takes it",
                entry.carrier.title()
            )
        }));
        let mut next_steps = advice(&rows, formats, &conditions, &defects, self.registry);
        if let What::Kernel(kernel) = &from.what
            && kernel.kho.is_ok()
            && (kernel.idle.is_some() || kernel.no_sessions.is_some())
        {
            next_steps.push(format!("to hand sessions over, {HERE}"));
        }
        Ok(Report {
            from,
            to,
            policy: policy.name(),
            when: policy.when(),
            decision,
            formats,
            next: next_steps,
            conditions,
            defects,
            nothing,
            unread: unread.into_keys().collect(),
            findings: rows,
            unjudged,
            losses,
            remarks,
        })
    }
}

/// What the policy finds of `item`.
fn by_policy(item: &Item, finding: &kho_compat::Finding, next: &Next<'_>) -> MoveFinding {
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
    MoveFinding {
        item,
        outcome: finding.outcome,
        expected,
        why,
        consequence: match next.end.kind {
            EndKind::Kernel | EndKind::Running => finding.consequence_at(Receiver::Kernel),
            EndKind::Program => finding.consequence_at(Receiver::Program),
            EndKind::Dump | EndKind::Manifest => finding.consequence(),
        },
        to: Vec::new(),
        files: None,
    }
}

/// `row`, unless the next program has no handler of its files.
fn handled(mut row: MoveFinding, next: &Next<'_>) -> MoveFinding {
    let carrier = row.item.entry.carrier;
    if let What::Listed(listed) = &next.end.what
        && carrier == Carrier::FileHandler
        && row.outcome == Outcome::Restorable
        && listed.unhandled.contains(&row.item.component())
    {
        row.outcome = Outcome::Rejected;
        row.why = Some(Why::NoHandler);
        row.consequence = Consequence::of(carrier);
    }
    row
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
