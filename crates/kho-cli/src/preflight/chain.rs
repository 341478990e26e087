//! A chain of updates through releases between, where the laboratory knows one.

use kho_compat::Decision;
use kho_lab::{History, Run, plan};
use kho_preflight::Report;

use crate::own;

/// The history of Linux's releases.
const HISTORY: &str = "linux";

/// The command that shows the chain from the one kernel to the other, where there is one.
pub(super) fn hint(report: &Report<'_>) -> Option<String> {
    if report.decision != Decision::Reject {
        return None;
    }
    let (_, text) = own::histories()
        .into_iter()
        .find(|(name, _)| *name == HISTORY)?;
    let history = History::parse(text).ok()?;
    let names: Vec<_> = history
        .releases
        .iter()
        .map(|release| release.name.clone())
        .collect();
    let place = |release: &Option<String>| {
        let series = series(release.as_deref()?)?;
        names.iter().position(|name| *name == series)
    };
    let (from, to) = (place(&report.from.release)?, place(&report.to.release)?);
    let policy = own::policy(report.policy).ok()?;
    let run = Run::new(&history, &[policy], &mut |_, _| true).ok()??;
    let chain = plan(&names, run.policies.first()?, from, to).ok()?;
    let (one, other) = (names.get(from)?, names.get(to)?);
    let command = format!("kho lab plan {HISTORY} --from {one} --to {other}");
    (chain.steps.len() > 1).then(|| format!("`{command}` shows {} updates", chain.steps.len()))
}

/// The series of a release: `7.3` of `7.3.4-rt1`.
fn series(release: &str) -> Option<String> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (parts.next()?, parts.next()?);
    Some(format!("{major}.{minor}"))
}
