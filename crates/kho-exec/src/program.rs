//! A program that can be executed again, even where its file was replaced.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// A program as it was started: its executable, open, and its arguments.
///
/// An upgrade replaces the file of the program that runs. Going back must not find the new one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Program {
    /// The descriptor of its executable.
    pub(crate) exe: RawFd,
    /// Where the executable was, for messages.
    path: String,
    args: Vec<Text>,
}

/// An argument: text, or the bytes that it is where it is not text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Self {
        match text.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(text.as_bytes().to_vec()),
        }
    }
}

impl From<&Text> for OsString {
    fn from(text: &Text) -> Self {
        match text {
            Text::Text(text) => Self::from(text),
            Text::Bytes(bytes) => Self::from_vec(bytes.clone()),
        }
    }
}

impl Program {
    /// This very program, with its executable.
    pub(crate) fn this() -> io::Result<(Self, OwnedFd)> {
        let exe = OwnedFd::from(File::open("/proc/self/exe")?);
        let path = std::env::current_exe().map(|path| path.display().to_string());
        let program = Self {
            exe: exe.as_raw_fd(),
            path: path.unwrap_or_default(),
            args: std::env::args_os()
                .map(|arg| Text::from(arg.as_os_str()))
                .collect(),
        };
        Ok((program, exe))
    }

    /// Where its executable was when it was started.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The command that starts it again. Its executable's descriptor must be inheritable.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.exe));
        let mut args = self.args.iter().map(OsString::from);
        if let Some(name) = args.next() {
            command.arg0(name);
        }
        command.args(args);
        command
    }
}
