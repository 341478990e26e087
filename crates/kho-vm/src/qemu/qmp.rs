//! The control of a machine: QEMU's machine protocol, a JSON object per line.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::socket::Socket;
use crate::failure::{Failure, of_file};
use crate::wait;

/// The control of a machine.
pub(crate) struct Qmp {
    socket: Socket,
    end: Instant,
}

impl Qmp {
    /// Connects to the socket `path`.
    pub(crate) fn connect(path: &Path, end: Instant) -> Result<Self, Failure> {
        let socket = Socket::connect(path, "QEMU's monitor")?;
        let mut qmp = Self { socket, end };
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

    /// Dumps the memory to the new file `path`; an error where QEMU has no such format.
    pub(crate) fn dump(&mut self, format: &str, paging: bool, path: &Path) -> Result<(), Failure> {
        std::fs::File::create_new(path).map_err(of_file(path))?;
        let protocol = format!("file:{}", path.display());
        let arguments = match paging {
            // With page tables there is one format.
            true => json!({ "paging": true, "protocol": protocol }),
            false => json!({ "paging": false, "protocol": protocol, "format": format }),
        };
        self.ask("dump-guest-memory", &arguments).map(drop)
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, Failure> {
        let line = json!({ "execute": command, "arguments": arguments });
        self.socket.send(format!("{line}\n").as_bytes())?;
        let has = |value: &Value, key| value.get(key).is_some();
        let answer = self.answer(|value| has(value, "return") || has(value, "error"))?;
        match answer.get("return") {
            Some(value) => Ok(value.clone()),
            None => Err(Failure::of(format!("QEMU's monitor: {command}"), answer)),
        }
    }

    /// The next object that `is` what is waited for; events are passed over.
    fn answer(&mut self, is: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
        while Instant::now() < self.end {
            while let Some(value) = next(&mut self.socket.rest) {
                if is(&value) {
                    return Ok(value);
                }
            }
            if !self.socket.receive()? {
                break;
            }
            wait::check_interrupt()?;
        }
        Err(Failure::Failed("QEMU's monitor does not answer".to_owned()))
    }
}

/// The object of the next whole line of what came so far; a line that is none is passed over.
fn next(rest: &mut Vec<u8>) -> Option<Value> {
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = rest.drain(..=end).collect();
        if let Ok(value) = serde_json::from_slice(&line) {
            return Some(value);
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
            let (mut rest, mut found) = (Vec::new(), Vec::new());
            for bytes in stream.chunks(size) {
                rest.extend(bytes);
                found.extend(std::iter::from_fn(|| next(&mut rest)));
            }
            let expected = json!([{"QMP": {}}, {"event": "STOP"}, {"return": {}}]);
            assert_eq!(Value::Array(found), expected, "{size}");
        }
    }
}
