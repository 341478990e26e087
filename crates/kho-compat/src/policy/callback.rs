//! Component callback: every component is asked, in its own code.

use alloc::vec::Vec;

use super::{Found, InRange, Policy, Rule, judge_strings};
use crate::{Ability, Carrier, Compat, Manifest, Reason, Side, Verdict};

/// Each token is judged by its component's own [check](crate::Component::checked_by), which sees the token and
/// all that was handed over. Code is no data: a side that a file or a kernel image describes has none, and a
/// component may bring none. It is judged by the versions that it restores then, as by
/// [`SemverRange`](super::SemverRange).
#[derive(Clone, Copy, Debug, Default)]
pub struct ComponentCallback;

impl Policy for ComponentCallback {
    fn name(&self) -> &'static str {
        "component-callback"
    }

    fn summary(&self) -> &'static str {
        "every component is asked by a call of its own check; without one by its versions"
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), self, manifest, side)
    }
}

impl Rule for ComponentCallback {
    fn expected(&self, own: &Ability, carrier: Carrier, side: &Side) -> Vec<Compat> {
        InRange.expected(own, carrier, side)
    }

    fn check(&self, found: &Found<'_>) -> Result<(), Reason> {
        found.each_token(|own, token| match own.check {
            Some(check) => check(token, found.manifest),
            None => found.in_range(own, token),
        })
    }
}
