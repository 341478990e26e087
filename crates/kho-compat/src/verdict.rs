//! What a policy says of a handover.

use alloc::vec::Vec;
use core::fmt;

use crate::losses::give_up_users;
use crate::{Expected, GrammarError, ManifestEntry, Reason, Receiver, Side};

/// The verdict in a word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Decision {
    /// Everything that must be restorable is.
    Accept,
    /// Only optional components would be lost.
    Degrade,
    /// Restoring must not be tried.
    Reject,
}

impl Decision {
    /// `accept`, `degrade` or `reject`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Degrade => "degrade",
            Self::Reject => "reject",
        }
    }

    /// The decision that these outcomes make: reject if one is rejected, degrade if one is lost.
    pub fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let decide = |outcome| match outcome {
            Outcome::Rejected => Self::Reject,
            Outcome::Lost => Self::Degrade,
            Outcome::Restorable | Outcome::LeftAlone => Self::Accept,
        };
        outcomes
            .into_iter()
            .map(decide)
            .max()
            .unwrap_or(Self::Accept)
    }
}

/// What becomes of one string of the manifest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// A linked component restores it.
    Restorable,
    /// Nobody here knows it, and nothing here touches it.
    LeftAlone,
    /// It can not be restored, and the rest is worth restoring without it: what it carries is lost.
    Lost,
    /// It can not be restored, and without it the handover is not worth having.
    Rejected,
}

impl Outcome {
    /// `restorable`, `left-alone`, `lost` or `rejected`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Restorable => "restorable",
            Self::LeftAlone => "left-alone",
            Self::Lost => "lost",
            Self::Rejected => "rejected",
        }
    }
}

/// A policy's finding about one string. [`Finding::view`] has the words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The string, and where it was read.
    pub entry: ManifestEntry,
    /// What could have been restored in its place.
    pub expected: Expected,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Why; `None` where it is restorable.
    pub reason: Option<Reason>,
    /// Who takes such components over.
    pub receiver: Receiver,
    /// What its string does not have as strings are written, where the policy does not mind.
    pub note: Option<GrammarError>,
}

/// What a policy says of a handover: the decision and a finding per string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The policy's name.
    pub policy: &'static str,
    /// The decision.
    pub decision: Decision,
    /// One per entry of the manifest, in its order.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// What `policy` says of a handover by these findings. Files whose handler needs something that is
    /// lost on `side` are lost with it.
    #[must_use]
    pub fn new(policy: &'static str, mut findings: Vec<Finding>, side: &Side) -> Self {
        give_up_users(&mut findings, side);
        Self {
            policy,
            decision: Decision::of(findings.iter().map(|finding| finding.outcome)),
            findings,
        }
    }

    /// The findings that made it a rejection.
    pub fn rejected(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.outcome == Outcome::Rejected)
    }

    /// The findings about what is optional and lost.
    pub fn lost(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.outcome == Outcome::Lost)
    }

    /// The findings about what is left alone.
    pub fn left_alone(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.outcome == Outcome::LeftAlone)
    }
}

/// A handover that a policy rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused(pub(crate) Verdict);

impl Refused {
    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.0
    }

    /// The verdict, taken.
    #[must_use]
    pub fn into_verdict(self) -> Verdict {
        self.0
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused by policy `{}`", self.0.policy)?;
        self.0
            .rejected()
            .try_for_each(|finding| write!(f, "; {finding}"))
    }
}

impl core::error::Error for Refused {}
