//! The control of a machine: QEMU's machine protocol, a JSON object per line.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::is_timeout;
use crate::failure::{Failure, of_file};
use crate::wait::{self, TICK};

/// The control of a machine.
pub(crate) struct Qmp {
    stream: UnixStream,
    lines: Lines,
    end: Instant,
}

impl Qmp {
    /// Connects to the socket `path`.
    pub(crate) fn connect(path: &Path, end: Instant) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path)
            .and_then(|stream| stream.set_read_timeout(Some(TICK)).map(|()| stream));
        let stream = stream.map_err(|error| Failure::of("QEMU's monitor", error))?;
        let mut qmp = Self {
            stream,
            lines: Lines::default(),
            end,
        };
        qmp.answer(|value| value.get("QMP").is_some())?;
        qmp.ask("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Saves the memory from 0 to `len` in the new file `path`.
    pub(crate) fn save_memory(&mut self, len: u64, path: &Path) -> Result<(), Failure> {
        // QEMU writes through a file that exists as well, wherever it leads.
        std::fs::File::create_new(path).map_err(of_file(path))?;
        let arguments = json!({ "val": 0, "size": len, "filename": path });
        self.ask("pmemsave", &arguments).map(drop)
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, Failure> {
        let line = format!(
            "{}\n",
            json!({ "execute": command, "arguments": arguments })
        );
        let sent = self.stream.write_all(line.as_bytes());
        sent.map_err(|error| Failure::of("QEMU's monitor", error))?;
        let answer =
            self.answer(|value| value.get("return").is_some() || value.get("error").is_some())?;
        match answer.get("return") {
            Some(value) => Ok(value.clone()),
            None => Err(Failure::of(format!("QEMU's monitor: {command}"), answer)),
        }
    }

    /// The next object that `is` what is waited for; events are passed over.
    fn answer(&mut self, is: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
        let mut bytes = [0; 4096];
        while Instant::now() < self.end {
            while let Some(value) = self.lines.next() {
                if is(&value) {
                    return Ok(value);
                }
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(len) => self.lines.push(bytes.get(..len).unwrap_or_default()),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(Failure::of("QEMU's monitor", error)),
            }
            wait::check_interrupt()?;
        }
        Err(Failure::Failed("QEMU's monitor does not answer".to_owned()))
    }
}

/// Finds the objects of a stream that comes in pieces.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The next line's object; a line that is none is passed over.
    fn next(&mut self) -> Option<Value> {
        loop {
            let end = self.rest.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if let Ok(value) = serde_json::from_slice(&line) {
                return Some(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_in_pieces() {
        let stream = b"{\"QMP\": {}}\r\n\r\n{\"event\": \"STOP\"}\r\n{\"return\": {}}\r\n{\"re";
        for size in [1, 10, 1000] {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for bytes in stream.chunks(size) {
                lines.push(bytes);
                while let Some(value) = lines.next() {
                    found.push(value);
                }
            }
            let expected = [
                json!({"QMP": {}}),
                json!({"event": "STOP"}),
                json!({"return": {}}),
            ];
            assert_eq!(found, expected, "{size}");
        }
    }
}
