//! What else there is to say of a judgement.

use std::collections::BTreeMap;

use kho_compat::policy::When;
use kho_compat::{Carrier, Consequence, Manifest, Outcome, Policy, Token};

use crate::end::{End, EndKind, Kernel, Listed, Seen, What};
use crate::item::Item;
use crate::next::Next;
use crate::reason::Unjudged;
use crate::report::MoveFinding;
use crate::words::shown;
use kho_compat::count;

/// That nothing is handed over, and why.
pub(crate) fn nothing(from: &End, items: &[Item]) -> Option<String> {
    let why = match &from.what {
        What::Kernel(Kernel { kho: Err(why), .. }) => format!("{} has no KHO ({why})", from.title),
        What::Kernel(Kernel { idle, .. }) => idle.clone()?,
        _ if items.is_empty() => "nothing is in use".to_owned(),
        _ => return None,
    };
    Some(format!("nothing is handed over: {why}"))
}

/// What the policy takes and the next one lists no reader of: the token, and what is to be said.
pub(crate) fn unread(
    rows: &[MoveFinding],
    manifest: &Manifest,
    next: &Next<'_>,
    policy: &dyn Policy,
) -> BTreeMap<Token, String> {
    let taken = rows.iter().filter(|row| row.outcome == Outcome::Restorable);
    let mut unread = BTreeMap::new();
    for token in taken.flat_map(|row| row.item.tokens()) {
        let (name, version) = (token.name(), token.version());
        let Some(ability) = next.side.get(name) else {
            continue;
        };
        let read_as = policy.reads_as(name, Some(version), manifest, &next.side);
        if !next.side.restores(name, read_as.unwrap_or(version)) {
            let own = ability.restorable().map(|v| format!("{name}-v{v}"));
            let own = own.collect::<Vec<_>>().join(", ");
            let text = format!(
                "the policy takes {token}, and the next one lists no reader of it, only of {own}: \
                 restoring it fails unless other code reads it"
            );
            unread.insert(token, text);
        }
    }
    unread
}

/// What else there is to say.
pub(crate) fn remarks(
    from: &End,
    next: &Next<'_>,
    items: &[Item],
    rows: &[MoveFinding],
    unjudged: &mut Vec<(String, Unjudged)>,
    policy: &dyn Policy,
) -> Vec<String> {
    let mut remarks = Vec::new();
    if let What::Kernel(kernel) = &from.what {
        if let Ok(trace) = &kernel.kho
            && !items.iter().any(|item| item.entry.carrier == Carrier::Root)
        {
            let what = "the root FDT's version".to_owned();
            let evidence = trace.clone();
            unjudged.push((what, Unjudged::NoRootString { evidence }));
        }
        if let Some(reason) = &kernel.no_sessions {
            remarks.push(format!("no sessions are handed over: {reason}"));
        }
        let subtrees = if kernel.root.is_some() {
            ""
        } else {
            " and subtrees"
        };
        unjudged.push((
            format!("the kexec metadata's version{subtrees}"),
            Unjudged::NotInImages,
        ));
        let older = kernel.seen.iter().filter(|seen| seen.carrier.is_none());
        let texts = kernel.candidates.iter().chain(older);
        let missing: Vec<_> = texts
            .filter(|seen| {
                let there = |there: &Kernel| {
                    let all = there.seen.iter().chain(&there.candidates);
                    all.clone().any(|other| other.compat == seen.compat)
                };
                next.kernel()
                    .is_none_or(|kernel| kernel.kho.is_ok() && !there(kernel))
            })
            .map(|seen| seen.compat.to_string())
            .collect();
        if !missing.is_empty() {
            unjudged.push((shown(&missing), Unjudged::UnknownCarrier));
        }
    }
    if matches!(
        &from.what,
        What::Kernel(_) | What::Listed(Listed { in_use: None, .. })
    ) {
        let who = from.kind.title();
        remarks.push(format!(
            "judged as if all that {who} can write were in use; a handover says what is"
        ));
    }
    if let Some(kernel) = next.kernel() {
        let is_handler = |row: &MoveFinding| {
            matches!(row.item.entry.carrier, Carrier::FileHandler | Carrier::Flb)
        };
        let taken = rows.iter().filter(|row| {
            let tokens = row.item.tokens();
            let candidate = |seen: &Seen| tokens.first() == Some(seen.compat.base());
            is_handler(row)
                && row.outcome == Outcome::Restorable
                && kernel.candidates.iter().any(candidate)
        });
        let taken: Vec<_> = taken.map(|row| row.item.entry.found.clone()).collect();
        if !taken.is_empty() {
            remarks.push(format!(
                "{} in the next kernel's image {} taken for what restores it",
                shown(&taken),
                if taken.len() == 1 { "is" } else { "are" }
            ));
        }
        let lacks = |row: &MoveFinding| {
            is_handler(row)
                && matches!(row.outcome, Outcome::Rejected | Outcome::Lost)
                && row.consequence != Consequence::WithoutKho
                && !next.versions.contains_key(&row.item.component())
        };
        if rows.iter().any(lacks) && !kernel.with_modules {
            remarks.push(
                "a module of the next kernel may have it: --modules DIR reads them".to_owned(),
            );
        }
        let gaps: Vec<_> = next
            .versions
            .iter()
            .filter(|(name, versions)| {
                let (first, last) = (versions.keys().next(), versions.keys().next_back());
                let span = first
                    .zip(last)
                    .map_or(0, |(first, last)| u64::from(last - first) + 1);
                span != versions.len() as u64 && next.carrier_of(name) != Some(Carrier::Flb)
            })
            .map(|(name, _)| name.clone())
            .collect();
        if !gaps.is_empty() {
            let what = count(gaps.len() as u64, "component");
            remarks.push(format!(
                "{what} of the next kernel with versions that do not follow each other: {}",
                gaps.join(", ")
            ));
        }
    }
    if policy.when() == When::WhileRestoring {
        remarks.push(
            "under this policy the next one finds a mismatch only while it restores: what comes \
             before is restored by then"
                .to_owned(),
        );
    }
    if next.end.kind == EndKind::Program && rows.iter().any(|row| row.outcome == Outcome::Rejected)
    {
        remarks.push(
            "a program built on these crates judges the same, and refuses before it restores anything"
                .to_owned(),
        );
    }
    remarks
}
