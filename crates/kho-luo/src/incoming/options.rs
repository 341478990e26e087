//! How a handover is taken over.

use kho_compat::{Judge, Policy, Registry};

/// How to take a handover over. A [`Registry`] alone stands for a judgement by
/// [`SemverRange`](kho_compat::policy::SemverRange), under which nothing may be lost.
///
/// ```
/// use kho_luo::{Attached, Handlers, Incoming, Registry, TakeOverOptions};
///
/// fn take_over(attached: Attached, handlers: Handlers, registry: &Registry) -> Option<Incoming> {
///     let options = TakeOverOptions::new(registry).degrade(true);
///     Incoming::take_over(attached, handlers, options).ok()
/// }
/// ```
#[derive(Clone, Copy)]
pub struct TakeOverOptions<'r> {
    pub(super) judge: Judge<'r>,
    pub(super) degrade: bool,
}

impl<'r> TakeOverOptions<'r> {
    /// The components that judge the handover.
    #[must_use]
    pub fn new(registry: &'r Registry) -> Self {
        Self {
            judge: Judge::from(registry),
            degrade: false,
        }
    }

    /// Sets the policy. One that judges [while restoring](kho_compat::policy::When::WhileRestoring) refuses a file
    /// when it is retrieved; from then on the handover can not be finished, and can be handed back.
    #[must_use]
    pub const fn policy(mut self, policy: &'r dyn Policy) -> Self {
        self.judge = self.judge.by(policy);
        self
    }

    /// Whether optional parts may be lost. What the policy finds to be so can not be retrieved
    /// ([`IncomingError::Lost`](crate::IncomingError::Lost)), and is freed when the handover is finished. The
    /// verdict says what it is.
    #[must_use]
    pub const fn degrade(mut self, degrade: bool) -> Self {
        self.degrade = degrade;
        self
    }
}

impl<'r> From<&'r Registry> for TakeOverOptions<'r> {
    fn from(registry: &'r Registry) -> Self {
        Self::new(registry)
    }
}
