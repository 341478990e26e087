//! Composite exact: the strings are compared byte for byte.

use alloc::vec::Vec;

use super::{Found, Needs, Policy, Rule, judge_strings, own_string};
use crate::{Ability, Carrier, Compat, Manifest, Reason, Side, Strings, Verdict, Writing};

/// Every string must be, byte for byte, the one that the receiving side writes: the base token and all
/// that it needs, in alphabetical order. A plain string says less, and is compared as what it is.
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
    fn expected(&self, own: &Ability, _: Carrier, side: &Side) -> Vec<Compat> {
        own_string(own, side, self.0.strings())
    }

    fn check(&self, found: &Found<'_>) -> Result<(), Reason> {
        let (compat, side) = (found.compat, found.side);
        let strings = match compat.strings() {
            Strings::Plain => Strings::Plain,
            _ => self.0.strings(),
        };
        let own = side.compat(compat.base().name(), strings);
        let own = own.map_err(Reason::NoOwnString)?;
        if own == *compat {
            return Ok(());
        }
        Err(Reason::NotTheString { own })
    }
}
