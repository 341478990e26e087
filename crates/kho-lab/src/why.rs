//! Why an update is not accepted, or what goes wrong with it.

use std::fmt;

use kho_compat::{Expected, Finding, Reason, View};
use serde::{Serialize, Serializer};

/// Why an update is not accepted, or what goes wrong with it. As JSON it is its words.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Why {
    /// A string is refused.
    Refused {
        /// The string, with its masks where it has any.
        found: String,
        /// Why.
        reason: Reason,
    },
    /// A string is refused, and the policy does not say why.
    NotExpected {
        /// The string, with its masks where it has any.
        found: String,
        /// What could be restored in its place.
        expected: Expected,
    },
    /// What a string stands for is lost.
    Lost {
        /// The string, with its masks where it has any.
        found: String,
    },
    /// Nothing reads a component.
    Unread {
        /// The component.
        component: String,
        /// The release that takes over.
        release: String,
    },
    /// A component is read as it was not written.
    Misread {
        /// The component.
        component: String,
        /// What of it, and how.
        what: String,
    },
}

impl Why {
    /// Why a policy refuses what `finding` is about.
    pub(crate) fn refused(finding: &Finding) -> Self {
        let found = finding.entry.to_string();
        match finding.reason.clone() {
            Some(reason) => Self::Refused { found, reason },
            None => {
                let expected = finding.expected.clone();
                Self::NotExpected { found, expected }
            }
        }
    }

    /// What is lost by `finding`.
    pub(crate) fn lost(finding: &Finding) -> Self {
        let found = finding.entry.to_string();
        Self::Lost { found }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { found, reason } => write!(f, "{found}: {}", reason.view(View::Here)),
            Self::NotExpected { found, expected } => write!(f, "{found}, expected {expected}"),
            Self::Lost { found } => write!(f, "{found} is lost"),
            Self::Unread { component, release } => {
                write!(f, "{component}: nothing in {release} reads it")
            }
            Self::Misread { component, what } => write!(f, "{component}: {what}"),
        }
    }
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
