//! A program that can be executed again, even where its file was replaced.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::Command;

use kho_compat::AbiMembers;
use serde::{Deserialize, Serialize};

use crate::exec::{Prepared, c_string};

/// A program as it was started: its executable, open, its arguments, environment and directory.
///
/// An upgrade replaces the file of the program that runs. Going back must not find the new one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, AbiMembers)]
pub struct Program {
    /// The descriptor of its executable.
    pub(crate) exe: RawFd,
    /// Where the executable was, for messages.
    path: String,
    args: Vec<Text>,
    env: Vec<(Text, Text)>,
    directory: Option<Text>,
}

/// Text, or the bytes that it is where it is not text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, AbiMembers)]
#[serde(untagged)]
pub(crate) enum Text {
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
        let text = |text: OsString| Text::from(text.as_os_str());
        let program = Self {
            exe: exe.as_raw_fd(),
            path: path.unwrap_or_default(),
            args: std::env::args_os().map(text).collect(),
            env: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            directory: std::env::current_dir()
                .ok()
                .map(|dir| text(dir.into_os_string())),
        };
        Ok((program, exe))
    }

    /// Where its executable was when it was started.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    fn executable(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.exe).into()
    }

    fn args(&self) -> impl Iterator<Item = OsString> {
        self.args.iter().map(OsString::from)
    }

    fn env(&self) -> impl Iterator<Item = (OsString, OsString)> {
        self.env
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
    }

    fn directory(&self) -> Option<PathBuf> {
        self.directory
            .as_ref()
            .map(|directory| OsString::from(directory).into())
    }

    /// The program, to be executed by this process. Its executable's descriptor must be inheritable.
    pub(crate) fn prepared(&self) -> io::Result<Prepared> {
        let args = self.args().map(c_string).collect::<io::Result<_>>()?;
        Prepared::new(&self.executable(), args, self.env(), self.directory())
    }

    /// The command that starts it again as a child.
    pub(crate) fn command(&self) -> Command {
        use std::os::unix::process::CommandExt;

        let mut command = Command::new(self.executable());
        let mut args = self.args();
        if let Some(name) = args.next() {
            command.arg0(name);
        }
        command.args(args).env_clear().envs(self.env());
        if let Some(directory) = self.directory() {
            command.current_dir(directory);
        }
        command
    }
}
