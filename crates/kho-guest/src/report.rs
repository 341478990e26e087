//! What the guest says.

use serde::{Deserialize, Serialize};

use crate::SessionName;

/// A fact and its number, from 0 on without gaps: one that is missing was lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which it is.
    pub seq: u64,
    /// What is said.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What did not work.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wrong {
    /// The `liveupdate` crate's name for it: `NoSuchToken`; that of a system call otherwise.
    pub kind: String,
    /// What the system said, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// In words.
    pub text: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

/// What a memfd was found to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Its bytes.
    pub size: u64,
    /// Its position.
    pub pos: u64,
    /// Its seals.
    pub seals: u32,
    /// What it takes, in units of 512 bytes.
    pub blocks: u64,
    /// Of its contents.
    pub sha256: String,
}

/// What came of something that was done with a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tried {
    /// Its name.
    #[serde(with = "crate::name::text")]
    pub session: SessionName,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<Wrong>,
}

/// What came of something that was done with a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// The session's name.
    #[serde(with = "crate::name::text")]
    pub session: SessionName,
    /// The file.
    pub token: u64,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<Wrong>,
}

/// A fact.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case")]
pub enum Fact {
    /// The kernel runs, and so does init.
    Boot {
        /// The kernel's release.
        release: String,
        /// Its command line.
        command_line: String,
        /// Which plan is followed.
        plan: u32,
    },
    /// Where the kernel has a symbol.
    Symbol {
        /// Its name.
        name: String,
        /// Its address.
        addr: u64,
    },
    /// `/dev/liveupdate` was opened.
    Opened {
        /// Why not.
        #[serde(skip_serializing_if = "Option::is_none")]
        wrong: Option<Wrong>,
    },
    /// A session was made or retrieved.
    Session(Tried),
    /// A file was retrieved.
    Retrieved(Seen),
    /// A file was preserved.
    Preserved(Seen),
    /// A session was finished.
    Finished(Tried),
    /// Something was tried.
    Check {
        /// What.
        check: String,
        /// How it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// A file of debugfs.
    Debugfs {
        /// Below /sys/kernel/debug.
        path: String,
        /// Its bytes, in hexadecimal digits.
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<String>,
        /// Why they can not be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        wrong: Option<Wrong>,
    },
    /// A message of the kernel's log.
    Kernel {
        /// Its weight: 4 is a warning, less is worse.
        level: u8,
        /// What it says.
        text: String,
    },
    /// A knob could not be set.
    NotWritten {
        /// The file.
        path: String,
        /// Why.
        wrong: Wrong,
    },
    /// The next kernel is loaded; a line from the host starts it.
    Ready,
    /// The next kernel is run now.
    Leaving,
    /// The plan ends here, before its end.
    Failed {
        /// At what.
        what: String,
        /// Why.
        wrong: Wrong,
    },
    /// The plan is done.
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_flat_object() {
        let (seq, session, wrong) = (3, SessionName::new("vm").unwrap(), None);
        let fact = Fact::Finished(Tried { session, wrong });
        let report = Report { seq, fact };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(text, r#"{"seq":3,"fact":"finished","session":"vm"}"#);
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
