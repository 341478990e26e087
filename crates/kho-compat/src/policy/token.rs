//! Composite by token: each token is judged by itself.

use alloc::format;
use alloc::string::{String, ToString};

use super::{Policy, Rule, judge_strings};
use crate::{Compat, Dialect, Manifest, Side, Verdict};

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
    fn expected(&self, name: &str, side: &Side) -> String {
        side.compat(name, Dialect::Composite)
            .map_or_else(|_| String::new(), |own| own.to_string())
    }

    fn check(&self, compat: &Compat, side: &Side) -> Result<(), String> {
        for token in compat.tokens() {
            match side.get(token.name()) {
                None => return Err(format!("no linked component is called `{}`", token.name())),
                Some(own) if own.version != token.version() => {
                    return Err(format!("{token} is not {}-v{}", token.name(), own.version));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
