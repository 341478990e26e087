//! Check at restore: each component judges its own version, when its turn comes.

use super::{InRange, Policy, When, judge_strings};
use crate::{Manifest, Side, Verdict, Writing};

/// The versions travel in a table of the root FDT, and nobody looks at all of them: each component
/// compares its own when it is restored. What came before it is restored by then.
///
/// The verdict is the one that its components would reach together; when they reach it is what sets it
/// apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckAtRestore;

impl Policy for CheckAtRestore {
    fn name(&self) -> &'static str {
        "check-at-restore"
    }

    fn summary(&self) -> &'static str {
        "each component judges its own version when it is restored"
    }

    fn writing(&self) -> Writing {
        Writing::TABLE
    }

    fn when(&self) -> When {
        When::WhileRestoring
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), &InRange, manifest, side)
    }
}
