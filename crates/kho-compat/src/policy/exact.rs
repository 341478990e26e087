//! Composite exact: the strings are compared byte for byte.

use alloc::format;
use alloc::string::{String, ToString};

use super::{Needs, Policy, Rule, judge_strings, own_text};
use crate::{Compat, Dialect, Manifest, Side, Verdict};

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

    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), self, manifest, side)
    }
}

impl Rule for CompositeExact {
    fn expected(&self, name: &str, side: &Side) -> String {
        own_text(name, side, self.0.dialect())
    }

    fn check(&self, compat: &Compat, _: &Manifest, side: &Side) -> Result<(), String> {
        let dialect = match compat.dialect() {
            Dialect::Plain => Dialect::Plain,
            _ => self.0.dialect(),
        };
        let own = side.compat(compat.base().name(), dialect);
        let own = own.map_err(|error| error.to_string())?.to_string();
        if own == compat.to_string() {
            return Ok(());
        }
        Err(format!("it is not `{own}`, byte for byte"))
    }
}
