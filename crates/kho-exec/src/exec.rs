//! Executing a program without touching this one first.
//!
//! `Command::exec` resets this process's signals and changes its directory before it tries; where the
//! exec fails, the program that goes on would not be the one that it was.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::inherit::HANDOVER_ENV;

/// The environment variable that says why a handover comes back.
pub(crate) const RETURNED_ENV: &str = "KHO_RETURNED";

/// A program to execute: everything is done but the exec.
pub(crate) struct Prepared {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    directory: Option<PathBuf>,
}

/// `text` as the system takes it.
pub(crate) fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL in an argument"))
}

fn variable(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    let text = [name.as_bytes(), b"=", value.as_bytes()].concat();
    c_string(OsStr::from_bytes(&text))
}

impl Prepared {
    /// What `command` would execute.
    ///
    /// # Errors
    ///
    /// There is no such program, or it can not be executed.
    pub(crate) fn of(command: &Command) -> io::Result<Self> {
        let program = command.get_program();
        let mut args = vec![c_string(program)?];
        for arg in command.get_args() {
            args.push(c_string(arg)?);
        }
        let mut env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        env.retain(|(name, _)| name != HANDOVER_ENV && name != RETURNED_ENV);
        for (name, value) in command.get_envs() {
            env.retain(|(other, _)| other != name);
            env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        }
        let directory = command.get_current_dir().map(ToOwned::to_owned);
        Self::new(&find(program)?, args, env, directory)
    }

    pub(crate) fn new(
        path: &Path,
        args: Vec<CString>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        directory: Option<PathBuf>,
    ) -> io::Result<Self> {
        let env = env.into_iter().map(|(name, value)| variable(&name, &value));
        Ok(Self {
            path: c_string(path)?,
            args,
            env: env.collect::<io::Result<_>>()?,
            directory,
        })
    }

    /// Sets a variable of its environment.
    pub(crate) fn set(&mut self, name: &str, value: &OsStr) -> io::Result<()> {
        let prefix = format!("{name}=");
        self.env
            .retain(|other| !other.as_bytes().starts_with(prefix.as_bytes()));
        self.env.push(variable(OsStr::new(name), value)?);
        Ok(())
    }

    /// Becomes the program. Returns only where that failed; everything is as before then.
    pub(crate) fn exec(&self) -> io::Error {
        let before = self.directory.as_ref().map(|_| std::env::current_dir());
        if let Some(directory) = &self.directory
            && let Err(error) = std::env::set_current_dir(directory)
        {
            return error;
        }
        let done: Result<Infallible, _> = nix::unistd::execve(&self.path, &self.args, &self.env);
        if let Some(Ok(before)) = before
            && let Err(error) = std::env::set_current_dir(before)
        {
            tracing::error!(%error, "the directory of before is gone");
        }
        match done {
            Ok(never) => match never {},
            Err(error) => error.into(),
        }
    }
}

/// Where `program` is: as it stands where it names a path, else the first of that name in PATH.
fn find(program: &OsStr) -> io::Result<PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "No such file or directory");
    let executable = |path: &Path| {
        let access = rustix::fs::access(path, rustix::fs::Access::EXEC_OK);
        access.is_ok() && path.is_file()
    };
    if program.as_bytes().contains(&b'/') {
        let path = Path::new(program);
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?;
        return Ok(path.to_owned());
    }
    let dirs = std::env::var_os("PATH").ok_or_else(missing)?;
    std::env::split_paths(&dirs)
        .map(|dir| dir.join(program))
        .find(|path| executable(path))
        .ok_or_else(missing)
}
