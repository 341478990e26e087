//! A chain of updates through releases between, where a history knows one.

use kho_compat::{Decision, Policy};
use kho_lab::{History, Run, plan};
use kho_preflight::{End, Report};

use crate::own;

/// The command that shows the chain from the one end to the other, where there is one.
pub(super) fn hint(report: &Report<'_>) -> Option<String> {
    if report.decision != Decision::Reject {
        return None;
    }
    let policy = own::policy(report.policy).ok()?;
    let ends = [report.from, report.to].map(names);
    let mut histories = own::histories().into_iter();
    histories.find_map(|history| chain(history, &ends, policy))
}

/// What a history may call the release that `end` is of.
fn names(end: &End) -> Vec<String> {
    let release = end.release.as_deref();
    let series = release.and_then(|release| {
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        Some(format!("{}.{}", parts.next()?, parts.next()?))
    });
    let names = release.map(str::to_owned).into_iter().chain(series);
    names.chain([end.title.clone()]).collect()
}

/// The command that shows the chain which the history has from a release called one of the first names to one of the
/// second.
fn chain(
    (name, text): (&str, &str),
    ends: &[Vec<String>; 2],
    policy: &dyn Policy,
) -> Option<String> {
    let history = History::parse(text).ok()?;
    let releases: Vec<_> = history
        .releases
        .iter()
        .map(|release| release.name.clone())
        .collect();
    let place = |names: &Vec<String>| {
        let place = |name| releases.iter().position(|release| release == name);
        names.iter().find_map(place)
    };
    let [from, to] = ends.each_ref().map(place);
    let (from, to) = (from?, to?);
    let run = Run::new(&history, &[policy], &mut |_, _| true).ok()??;
    let steps = plan(&releases, run.policies.first()?, from, to).ok()?.steps;
    let (one, other) = (releases.get(from)?, releases.get(to)?);
    let policy = policy.name();
    let command = format!("kho lab plan {name} --from {one} --to {other} --policy {policy}");
    (steps.len() > 1).then(|| format!("take {} updates: `{command}` shows them", steps.len()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kho_compat::policy::SemverRange;

    use super::*;

    #[test]
    fn a_history_knows_the_way() {
        let history = own::histories();
        let transition = history.into_iter().find(|(name, _)| *name == "transition");
        let transition = transition.unwrap();
        let ends = |from: &str, to: &str| [vec![from.to_owned()], vec!["x".into(), to.to_owned()]];
        let found = chain(transition, &ends("1", "4"), &SemverRange).unwrap();
        assert!(
            found.starts_with("take 2 updates: `kho lab plan transition --from 1 --to 4"),
            "{found}"
        );
        // One update is no chain, and a release that it does not have is none of it.
        assert_eq!(chain(transition, &ends("1", "2"), &SemverRange), None);
        assert_eq!(chain(transition, &ends("1", "7.3"), &SemverRange), None);
    }
}
