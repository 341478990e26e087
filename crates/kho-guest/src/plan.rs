//! What the guest does.

use serde::{Deserialize, Serialize};

use crate::{FileSpec, SessionName};

/// The directory of the initramfs that holds the plans: `0.json`, `1.json`.
pub const PLANS: &str = "/plans";

/// Steps, one after the other. A step that fails is reported; the next one is done all the same, unless
/// it is [fatal](crate::Fact::Failed).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Writes `text` to the file `path`: a knob of sysfs.
    Write {
        /// The file.
        path: String,
        /// What is written.
        text: String,
    },
    /// Makes a session, and memfds in it.
    Create {
        /// Its name.
        #[serde(with = "crate::name::text")]
        session: SessionName,
        /// The memfds, in order of preservation.
        files: Vec<FileSpec>,
    },
    /// Takes over a session of the kernel before, and its files in this order.
    Retrieve {
        /// Its name.
        #[serde(with = "crate::name::text")]
        session: SessionName,
        /// The files.
        tokens: Vec<u64>,
    },
    /// Finishes a session that was retrieved. Its files stay open.
    Finish {
        /// Its name.
        #[serde(with = "crate::name::text")]
        session: SessionName,
    },
    /// Makes the session `into` of the files that were retrieved from the session `from`.
    Again {
        /// The session that they came from.
        #[serde(with = "crate::name::text")]
        from: SessionName,
        /// The session that they go to.
        #[serde(with = "crate::name::text")]
        into: SessionName,
    },
    /// Tries what must fail, and what must not, with sessions for the next kernel.
    Checks,
    /// The same with a session that was retrieved, and is not finished yet.
    ChecksIncoming {
        /// Its name.
        #[serde(with = "crate::name::text")]
        session: SessionName,
        /// A file in it.
        token: u64,
    },
    /// Reports what debugfs shows of the handover.
    Debugfs,
    /// Reports what the kernel said so far, from warnings on.
    Journal,
    /// Loads the kernel of the initramfs with `command_line`, and runs it.
    Kexec {
        /// The command line.
        command_line: String,
        /// Whether the next kernel gets this initramfs.
        initramfs: bool,
        /// Whether the host says when: it answers [`Fact::Ready`](crate::Fact::Ready) with a line.
        wait: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_text_and_back() {
        let plan = Plan {
            steps: vec![
                Step::Create {
                    session: SessionName::new(b"\xff").unwrap(),
                    files: vec![FileSpec::new(7, 5000, 1)],
                },
                Step::Checks,
                Step::Kexec {
                    command_line: "quiet".to_owned(),
                    initramfs: true,
                    wait: false,
                },
            ],
        };
        let text = serde_json::to_string(&plan).unwrap();
        assert!(
            text.contains(r#"{"step":"create","session":"%FF","#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
