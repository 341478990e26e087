//! Composite exact: the string is the one that this side would write.

use alloc::format;
use alloc::string::{String, ToString};

use super::{Policy, Rule, judge_strings};
use crate::{Compat, Manifest, Side, Verdict};

/// Every string must be, byte for byte, what the receiving side itself writes: its own token alone, or
/// with all that it needs. Nothing newer and nothing older is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompositeExact;

impl Policy for CompositeExact {
    fn name(&self) -> &'static str {
        "composite-exact"
    }

    fn summary(&self) -> &'static str {
        "every string must be, byte for byte, the one that the receiver writes"
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), self, manifest, side)
    }
}

impl Rule for CompositeExact {
    fn check(&self, compat: &Compat, side: &Side) -> Result<(), String> {
        // A plain string says less, and is compared as what it is.
        let own = side.compat(compat.base().name(), compat.dialect());
        let own = own.map_err(|error| error.to_string())?.to_string();
        if own == compat.to_string() {
            return Ok(());
        }
        Err(format!("it is not `{own}`, byte for byte"))
    }
}
