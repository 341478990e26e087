//! A policy of one's own in the laboratory: one type, and nothing else to touch.
#![allow(clippy::unwrap_used)]

use kho_compat::{Decision, Manifest, Policy, Side, Verdict, policy};
use kho_lab::{History, Kind, Run, builtin};

/// Takes nothing.
struct Never;

impl Policy for Never {
    fn name(&self) -> &'static str {
        "never"
    }
    fn summary(&self) -> &'static str {
        "nothing is taken"
    }
    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        let verdict = policy::SemverRange.judge(manifest, side);
        Verdict {
            policy: self.name(),
            decision: Decision::Reject,
            ..verdict
        }
    }
}

#[test]
fn a_policy_of_ones_own_runs_beside_the_others() {
    let history = History::parse(builtin("transition").unwrap()).unwrap();
    let policies: [&dyn Policy; 2] = [&Never, &policy::SemverRange];
    let run = Run::new(&history, &policies, &mut |_, _| true);
    let run = run.unwrap().unwrap();
    let totals = run.matrix("never").unwrap().totals;
    assert_eq!(totals.rejected, totals.pairs);
    // Every release can read itself, at least.
    assert!(totals.false_rejects >= history.releases.len());
    let cells = run.matrix("never").unwrap().cells.iter().flatten();
    assert!(cells.into_iter().all(|cell| cell.kind == Kind::Rejected));
    assert!(run.matrix("semver-range").unwrap().totals.accepted >= history.releases.len());
    // Asked to stop, it stops.
    let stopped = Run::new(&history, &policies, &mut |done, _| done < 3);
    assert!(stopped.unwrap().is_none());
}
