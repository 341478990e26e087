//! Composite by token: each token is judged by itself.

use alloc::format;
use alloc::string::String;

use super::{Policy, Rule, each_token, judge_strings};
use crate::{Compat, Manifest, Side, Verdict};

/// Each token of a string must name a component that the receiving side has in that very version. A
/// component that a string does not list is not looked at; one that it lists and this side does not
/// need may be there all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompositeByToken;

impl Policy for CompositeByToken {
    fn name(&self) -> &'static str {
        "composite-by-token"
    }

    fn summary(&self) -> &'static str {
        "each token of a string must be one that the receiver writes"
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), self, manifest, side)
    }
}

impl Rule for CompositeByToken {
    fn check(&self, compat: &Compat, side: &Side) -> Result<(), String> {
        each_token(compat, side, |own, token| {
            if own.version == token.version() {
                return Ok(());
            }
            Err(format!("{token} is not {}-v{}", token.name(), own.version))
        })
    }
}
