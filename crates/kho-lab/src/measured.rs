//! What real kernels did: a history's measured updates, beside what the model says of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::run::Kind;

/// What became of an update that real kernels were asked about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happened {
    /// Everything came back as it was handed over.
    Restored,
    /// Something was lost, and the rest came back as it was handed over.
    PartlyLost,
    /// The next kernel took nothing of it, and booted as if nothing had been handed over.
    Refused,
    /// The next kernel took it, and memory that it handed out was wrong.
    Corrupted,
    /// The next kernel did not come up.
    Crashed,
}

impl Happened {
    /// The kind of cell whose promise this keeps.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Restored => Kind::Accepted,
            Self::PartlyLost => Kind::Degraded,
            Self::Refused => Kind::Rejected,
            Self::Corrupted | Self::Crashed => Kind::Silent,
        }
    }

    /// What happened, in words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Restored => "everything was restored",
            Self::PartlyLost => "a part was lost",
            Self::Refused => "everything was refused",
            Self::Corrupted => "memory was corrupted",
            Self::Crashed => "the next kernel crashed",
        }
    }
}

/// An update that real kernels were asked about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Measured {
    /// The kernels that were run: the one that handed over, and the one that took over.
    pub kernels: (String, String),
    /// What happened.
    pub happened: Happened,
    /// What was seen, in a line; empty where the outcome says it all.
    pub text: String,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = &self.kernels;
        write!(f, "{from} to {to}: {}", self.happened.title())?;
        match self.text.as_str() {
            "" => Ok(()),
            text => write!(f, " ({text})"),
        }
    }
}

/// The measured updates of a history: `[measured]` in its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeasuredFile {
    /// The policy that the kernels themselves follow: its cells are compared with what they did.
    pub(crate) policy: String,
    /// How it was measured.
    pub(crate) source: String,
    /// The kernel that was run, by release.
    pub(crate) kernels: std::collections::BTreeMap<String, String>,
    /// What they did.
    pub(crate) updates: Vec<UpdateFile>,
}

/// Updates from one release to others that ended in one way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateFile {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) happened: Happened,
    #[serde(default)]
    pub(crate) text: String,
}
