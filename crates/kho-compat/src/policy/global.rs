//! Global version: the root's number stands for everything.

use alloc::format;
use alloc::string::{String, ToString};

use super::{Policy, Rule, judge_strings, own_text};
use crate::{Ability, Carrier, Compat, Dialect, Manifest, Outcome, Side, Verdict};

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

    fn dialect(&self) -> Dialect {
        Dialect::Plain
    }

    fn forced_edits(&self, side: &Side, component: &str) -> usize {
        // The root's number is the only one that is looked at: every change is to bump it.
        let is_root = |ability: &Ability| ability.carrier == Some(Carrier::Root);
        let other_root = side
            .carried_in(Carrier::Root)
            .any(|root| root.name != component);
        usize::from(other_root && !side.get(component).is_some_and(is_root))
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        let mut verdict = judge_strings(self.name(), self, manifest, side);
        let root = |finding: &&crate::Finding| finding.carrier == Carrier::Root;
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
                finding.reason =
                    "the root's version is another one, and stands for everything".to_string();
                finding.consequence = crate::consequence(Carrier::Root);
            }
        }
        verdict.decision = Verdict::decide(&verdict.findings);
        verdict
    }
}

impl Rule for GlobalVersion {
    fn expected(&self, name: &str, side: &Side) -> String {
        own_text(name, side, Dialect::Plain)
    }

    fn check(&self, compat: &Compat, _: &Manifest, side: &Side) -> Result<(), String> {
        let base = compat.base();
        match side.get(base.name()) {
            Some(own) if own.carrier == Some(Carrier::Root) && own.version != base.version() => {
                Err(format!("{base} is not {}-v{}", base.name(), own.version))
            }
            _ => Ok(()),
        }
    }
}
