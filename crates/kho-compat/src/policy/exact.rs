//! Composite exact: the strings are compared byte for byte.

use alloc::vec::Vec;

use super::{Found, Needs, Policy, Rule, judge_strings};
use crate::{Ability, Carrier, Compat, Grammar, Manifest, Reason, Side, Verdict, Writing};

/// Every string must be, byte for byte, the one that the receiving side writes in its own dialect: in the
/// composite one the base token and all that it needs, in alphabetical order. Where the side's dialect is
/// not known it is this one.
///
/// The proposal of June 2026: no parser, a comparison of strings.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompositeExact(
    /// What a string lists.
    pub Needs,
);

impl Policy for CompositeExact {
    fn name(&self) -> &'static str {
        match self.0 {
            Needs::Transitive => "composite-exact",
            Needs::Direct => "composite-exact-direct",
        }
    }

    fn summary(&self) -> &'static str {
        match self.0 {
            Needs::Transitive => {
                "every string must be, byte for byte, the one that the receiver writes"
            }
            Needs::Direct => {
                "as composite-exact, with strings that list what a component needs itself"
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

impl Rule for CompositeExact {
    fn expected(&self, own: &Ability, carrier: Carrier, side: &Side) -> Vec<Compat> {
        side.own_strings(own, carrier, self.0.strings())
            .unwrap_or_default()
    }

    fn grammar(&self) -> Grammar {
        Grammar::Strict
    }

    fn check(&self, found: &Found<'_>) -> Result<(), Reason> {
        found.is_own_string(self.0.strings())
    }
}
