//! The serial port that is reported to.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use kho_guest::frame::frame;
use kho_guest::{Fact, Report};
use rustix::fs::{Mode, OFlags, open};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};

use crate::Fatal;
use crate::system::{Error, wrong};

/// The port, and how much was said.
pub(crate) struct Port {
    file: File,
    lines: BufReader<File>,
    said: u64,
}

impl Port {
    /// Opens the terminal `name` of /dev.
    pub(crate) fn open(name: &str) -> Result<Self, Fatal> {
        let path = Path::new("/dev").join(name);
        let failed = |error: &dyn Error| (path.display().to_string(), wrong("port", error));
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = open(&path, flags, Mode::empty()).map_err(|error| failed(&error))?;
        // What is written arrives as it was written.
        let mut terminal = tcgetattr(&file).map_err(|error| failed(&error))?;
        terminal.make_raw();
        tcsetattr(&file, OptionalActions::Now, &terminal).map_err(|error| failed(&error))?;
        let file = File::from(file);
        let lines = file.try_clone().map_err(|error| failed(&error))?;
        Ok(Self {
            file,
            lines: BufReader::new(lines),
            said: 0,
        })
    }

    /// Reports a fact.
    pub(crate) fn say(&mut self, fact: Fact) {
        let seq = self.said;
        self.said += 1;
        let frame = frame(&Report { seq, fact }).map_err(std::io::Error::from);
        let written = frame.and_then(|frame| self.file.write_all(&frame));
        if let Err(error) = written {
            // The host sees that a number is missing.
            println!("kho-guest: the report can not be written: {error}");
        }
    }

    /// Waits until all that was said has left.
    pub(crate) fn drain(&self) {
        if let Err(error) = tcdrain(&self.file) {
            println!("kho-guest: the port: {error}");
        }
    }

    /// Waits for a line from the host.
    pub(crate) fn wait(&mut self) -> Result<(), Fatal> {
        let read = self.lines.read_line(&mut String::new());
        let failed = |error| ("waiting for the host".to_owned(), wrong("port", &error));
        read.map(drop).map_err(failed)
    }
}
