//! A versioning policy that is written outside the workspace: `two-speeds`.
//!
//! What a kernel reads while it boots has nobody who could react to a mismatch: its strings must be equal, as in
//! the proposal of June 2026. What is read later, when a program opens a session, has somebody: there the ranges
//! count that components state, and each component may be one version behind, not more. A fleet that never skips
//! a release gets the reach of ranges, and the test matrix stays small: each release is tested with its neighbours
//! and with nothing else.
//!
//! It is made of the parts that the built-in policies are made of: a [`Rule`] for one string, and
//! [`judge_strings`], which makes a verdict of it.

use kho_compat::policy::{CompositeExact, Found, Needs, Policy, Rule, judge_strings, restorable};
use kho_compat::{Ability, Carrier, Compat, Manifest, Reason, Side, Token, Verdict, Writing};

/// A history for it: a fleet whose kernels and services have releases of their own.
pub const FLEET: &str = include_str!("../histories/fleet.toml");

/// Exact where a kernel boots, a version back where a program waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct TwoSpeeds;

const EXACT: CompositeExact = CompositeExact(Needs::Transitive);

impl TwoSpeeds {
    /// Whether nobody waits for what `carrier` carries: the next kernel reads it while it boots.
    const fn at_boot(carrier: Carrier) -> bool {
        matches!(carrier, Carrier::Root | Carrier::Luo)
    }
}

/// At most one version behind the own one, and never ahead of it.
fn is_near(own: &Ability, token: &Token) -> bool {
    token.version() <= own.version && own.version - token.version() <= 1
}

impl Policy for TwoSpeeds {
    fn name(&self) -> &'static str {
        "two-speeds"
    }

    fn summary(&self) -> &'static str {
        "equal strings where a kernel boots; where a program waits, ranges of one version back"
    }

    fn writing(&self) -> Writing {
        Writing::COMPOSITE
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), self, manifest, side)
    }
}

impl Rule for TwoSpeeds {
    fn expected(&self, own: &Ability, carrier: Carrier, side: &Side) -> Vec<Compat> {
        if Self::at_boot(carrier) {
            return EXACT.expected(own, carrier, side);
        }
        let near = restorable(own).filter(|token| is_near(own, token));
        near.map(Compat::from).collect()
    }

    fn check(&self, found: &Found<'_>) -> Result<(), Reason> {
        if Self::at_boot(found.entry.carrier) {
            return EXACT.check(found);
        }
        found.each_token(|own, token| {
            found.in_range(own, token)?;
            if is_near(own, token) {
                return Ok(());
            }
            let back = own.version.abs_diff(token.version());
            Err(Reason::Other(format!(
                "{token} is {back} versions behind, and one is tested"
            )))
        })
    }
}
