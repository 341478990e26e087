//! A socket of QEMU's on which something answers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::is_timeout;
use crate::failure::Failure;
use crate::wait::TICK;

pub(super) struct Socket {
    stream: UnixStream,
    /// Who answers.
    who: &'static str,
    /// What came and was not taken yet.
    pub(super) rest: Vec<u8>,
}

impl Socket {
    pub(super) fn connect(path: &Path, who: &'static str) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path)
            .and_then(|stream| stream.set_read_timeout(Some(TICK)).map(|()| stream));
        let stream = stream.map_err(|error| Failure::of(who, error))?;
        let rest = Vec::new();
        Ok(Self { stream, who, rest })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = self.stream.write_all(bytes);
        sent.map_err(|error| Failure::of(self.who, error))
    }

    /// Takes what comes within a moment. Returns whether the other end is still there.
    pub(super) fn receive(&mut self) -> Result<bool, Failure> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(len) => self.rest.extend(bytes.iter().take(len)),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(Failure::of(self.who, error)),
        }
        Ok(true)
    }
}
