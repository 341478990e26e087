//! Newest common version: integers that both sides list.

use super::{InRange, Policy, judge_strings};
use crate::{Manifest, Side, Verdict, Writing};

/// Versions are integers in order. Before leaving, the writer takes of each component the newest
/// version that it can write and the next side restores, and writes that one; the table in the root
/// FDT says which. The reader judges each number by what it restores.
///
/// It needs to know the next side. Where it does not, it writes its own newest versions.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewestCommon;

impl Policy for NewestCommon {
    fn name(&self) -> &'static str {
        "newest-common"
    }

    fn summary(&self) -> &'static str {
        "the newest version of each component that both sides know is written"
    }

    fn writing(&self) -> Writing {
        Writing::TABLE
    }

    fn as_written(&self, side: &Side, next: Option<&Side>) -> Side {
        next.map_or_else(|| side.clone(), |next| side.newest_common(next))
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), &InRange, manifest, side)
    }
}
