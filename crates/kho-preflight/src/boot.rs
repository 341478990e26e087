//! What a kernel is booted with: its command line, its initrd, its configuration.

use std::fs;
use std::path::PathBuf;

use crate::command_line::CommandLine;
use crate::config::Config;
use crate::initrd::Initrd;
use crate::{EndOptions, Error};

/// What the next kernel is booted with, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boot {
    /// What the boot loader gives it, and what says so.
    pub(crate) command_line: Option<(CommandLine, String)>,
    pub(crate) initrds: Vec<Initrd>,
    pub(crate) config: Option<Config>,
    /// Bytes of memory that the image takes while it unpacks.
    pub(crate) image: Option<u64>,
}

impl Boot {
    /// Takes what the options say: it goes before what the image or an entry says.
    pub(crate) fn given(&mut self, options: &EndOptions<'_>) -> Result<(), Error> {
        if let Some((text, of)) = options.command_line {
            self.command_line = Some((CommandLine::parse(text), of.to_owned()));
        }
        if !options.initrds.is_empty() {
            self.initrds = Initrd::all(options.initrds)?;
        }
        Ok(())
    }

    /// The parameters that the kernel sees, and what says so.
    pub(crate) fn parameters(&self) -> Option<(CommandLine, &str)> {
        let (line, of) = self.command_line.as_ref()?;
        let line = line.clone();
        Some((
            match &self.config {
                Some(config) => config.seen(line),
                None => line,
            },
            of,
        ))
    }
}

impl Initrd {
    /// Those of the files `paths`.
    pub(crate) fn all(paths: &[PathBuf]) -> Result<Vec<Self>, Error> {
        let of = |path: &PathBuf| {
            let io = Error::io(path);
            let meta = fs::metadata(path).map_err(&io)?;
            // Opening a pipe waits for a writer.
            if !meta.is_file() {
                return Err(io(std::io::Error::other("not a regular file")));
            }
            Self::part(path, 0..meta.len(), path.display().to_string()).map_err(&io)
        };
        paths.iter().map(of).collect()
    }
}
