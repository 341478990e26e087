//! Global version: the root's number stands for everything.

use alloc::vec::Vec;

use super::{Found, Policy, Rule, judge_strings};
use crate::{
    Ability, Carrier, Compat, Decision, Manifest, Outcome, Reason, Side, Strings, Verdict, Writing,
};

/// One number for all: the root's version must be the receiver's own. Where it is, every string whose
/// component is known is taken as it stands, whatever its version says; where it is not, nothing is.
///
/// It promises nothing of a component that changes without the root's number.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalVersion;

impl Policy for GlobalVersion {
    fn name(&self) -> &'static str {
        "global-version"
    }

    fn summary(&self) -> &'static str {
        "the root's version stands for everything, and must be the receiver's own"
    }

    fn writing(&self) -> Writing {
        Writing::PLAIN
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        let mut verdict = judge_strings(self.name(), self, manifest, side);
        let root = |finding: &&crate::Finding| finding.entry.carrier == Carrier::Root;
        let same = verdict
            .findings
            .iter()
            .filter(root)
            .all(|finding| finding.outcome == Outcome::Restorable);
        if !same {
            // Of an optional component too: nothing of another format is touched.
            let others = verdict
                .findings
                .iter_mut()
                .filter(|finding| matches!(finding.outcome, Outcome::Restorable | Outcome::Lost));
            for finding in others {
                finding.outcome = Outcome::Rejected;
                finding.reason = Some(Reason::OtherRoot);
            }
        }
        verdict.decision = Decision::of(verdict.findings.iter().map(|f| f.outcome));
        verdict
    }
}

impl Rule for GlobalVersion {
    fn expected(&self, own: &Ability, carrier: Carrier, side: &Side) -> Vec<Compat> {
        side.own_strings(own, carrier, Strings::Plain)
            .unwrap_or_default()
    }

    fn check(&self, found: &Found<'_>) -> Result<(), Reason> {
        let (own, base) = (found.own, found.compat.base());
        if own.carrier == Some(Carrier::Root) && own.version != base.version() {
            let (token, own) = (base.clone(), own.version);
            return Err(Reason::NotTheVersion { token, own });
        }
        Ok(())
    }
}
