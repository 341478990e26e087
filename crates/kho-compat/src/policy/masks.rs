//! Feature masks: bits that a reader must know, in place of numbers.

use alloc::format;
use alloc::string::{String, ToString};

use super::{Policy, Rule, each_token, in_range, judge_strings, unknown};
use crate::{Compat, Dialect, Entry, Manifest, Side, Verdict};

/// A component is restorable where its reader supports every feature that its writer requires, and its
/// writer supports every one that the reader requires. Features in use that are not required are
/// ignored by a reader that does not know them.
///
/// The number of a string is not looked at where the handover has a mask of its component.
#[derive(Clone, Copy, Debug, Default)]
pub struct FeatureMasks;

impl Policy for FeatureMasks {
    fn name(&self) -> &'static str {
        "feature-masks"
    }

    fn summary(&self) -> &'static str {
        "the reader must support every feature that the writer requires"
    }

    fn dialect(&self) -> Dialect {
        Dialect::Features
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), self, manifest, side)
    }
}

impl Rule for FeatureMasks {
    fn expected(&self, name: &str, side: &Side) -> String {
        side.restorable_text(name)
    }

    fn check(&self, compat: &Compat, manifest: &Manifest, side: &Side) -> Result<(), String> {
        each_token(compat, side, |own, token| {
            match manifest.features(token.name()) {
                // The mask has a finding of its own.
                Some(_) => Ok(()),
                None => in_range(own, token, manifest, side),
            }
        })
    }
}

/// What was expected of the masks of `entry`, and why it can not be restored.
pub(super) fn judge(entry: &Entry, side: &Side) -> (String, Result<(), String>) {
    let Some(own) = side.get(&entry.found) else {
        return (String::new(), Err(unknown(&entry.found)));
    };
    let Some(found) = entry.features else {
        return (String::new(), Err("it has no masks".to_string()));
    };
    let Some(own) = own.features else {
        return (String::new(), Err("it has no masks here".to_string()));
    };
    let expected = format!(
        "supported {:#x}, required {:#x}",
        own.supported, own.required
    );
    let (missing, lacking) = (found.missing(own.supported), own.missing(found.supported));
    let judged = if missing != 0 {
        Err(format!(
            "features {missing:#x} are required and not supported here"
        ))
    } else if lacking != 0 {
        Err(format!(
            "features {lacking:#x} are required here and were not supported there"
        ))
    } else {
        Ok(())
    };
    (expected, judged)
}
