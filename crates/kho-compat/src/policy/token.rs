//! Composite by token: each token is judged by itself.

use alloc::vec::Vec;

use super::{Found, Needs, Policy, Rule, judge_strings};
use crate::{Ability, Carrier, Compat, Manifest, Reason, Side, Verdict, Writing};

/// Each token of a string must name a component that the receiving side has in that very version. A
/// component that a string does not list is not looked at; one that it lists and this side does not
/// need may be there all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompositeByToken(
    /// What a string lists.
    pub Needs,
);

impl Policy for CompositeByToken {
    fn name(&self) -> &'static str {
        match self.0 {
            Needs::Transitive => "composite-by-token",
            Needs::Direct => "composite-by-token-direct",
        }
    }

    fn summary(&self) -> &'static str {
        match self.0 {
            Needs::Transitive => "each token of a string must be one that the receiver writes",
            Needs::Direct => {
                "as composite-by-token, with strings that list what a component needs itself"
            }
        }
    }

    fn writing(&self) -> Writing {
        self.0.strings().alone()
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), self, manifest, side)
    }
}

impl Rule for CompositeByToken {
    fn expected(&self, own: &Ability, carrier: Carrier, side: &Side) -> Vec<Compat> {
        side.own_strings(own, carrier, self.0.strings())
            .unwrap_or_default()
    }

    fn check(&self, found: &Found<'_>) -> Result<(), Reason> {
        found.each_token(|own, token| {
            if own.version == token.version() {
                return Ok(());
            }
            Err(Reason::NotTheVersion {
                token: token.clone(),
                own: own.version,
            })
        })
    }
}
