//! The debugger's end of QEMU's remote protocol: enough of it to stop at an address.

use std::path::Path;
use std::time::Instant;

use super::socket::Socket;
use crate::failure::Failure;
use crate::wait;

/// A debugger that is connected.
pub(crate) struct Gdb {
    socket: Socket,
    end: Instant,
}

/// The registers that hold the first four arguments of a function, and the next instruction's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registers {
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rip: u64,
}

impl Gdb {
    /// Connects to the socket `path`, which stops the machine.
    pub(crate) fn connect(path: &Path, end: Instant) -> Result<Self, Failure> {
        let socket = Socket::connect(path, "QEMU's debugger")?;
        let mut gdb = Self { socket, end };
        match gdb.ask("?", says_stopped)? {
            Some(_) => Ok(gdb),
            None => Err(gdb.refused("?")),
        }
    }

    /// Has the machine stop when it comes to the instruction at `addr`.
    pub(crate) fn stop_at(&mut self, addr: u64) -> Result<(), Failure> {
        // By the processor's own means: memory is not changed.
        let command = format!("Z1,{addr:x},1");
        match self.ask(&command, |answer| answer == "OK" || answer.starts_with('E'))? {
            Some(answer) if answer == "OK" => Ok(()),
            _ => Err(self.refused(&command)),
        }
    }

    /// Lets the machine go on.
    pub(crate) fn go_on(&mut self) -> Result<(), Failure> {
        self.send("c")
    }

    /// Whether it has stopped; looks for a moment.
    pub(crate) fn has_stopped(&mut self) -> Result<bool, Failure> {
        let answer = self.receive()?;
        Ok(answer.is_some_and(|answer| says_stopped(&answer)))
    }

    /// The registers of the machine, which has stopped.
    pub(crate) fn registers(&mut self) -> Result<Registers, Failure> {
        let is_hex = |answer: &str| answer.len() >= 17 * 16;
        let answer = self.ask("g", is_hex)?;
        let registers = answer.as_deref().and_then(Registers::parse);
        registers.ok_or_else(|| self.refused("g"))
    }

    /// Sends a command; gives the first answer that `is` one to it.
    fn ask(&mut self, command: &str, is: impl Fn(&str) -> bool) -> Result<Option<String>, Failure> {
        self.send(command)?;
        while Instant::now() < self.end {
            // The machine may say at any time that it has stopped.
            if let Some(answer) = self.receive()?
                && is(&answer)
            {
                return Ok(Some(answer));
            }
            wait::check_interrupt()?;
        }
        Ok(None)
    }

    fn send(&mut self, command: &str) -> Result<(), Failure> {
        self.socket.send(&packet(command))
    }

    /// The next answer, where one comes within a moment.
    fn receive(&mut self) -> Result<Option<String>, Failure> {
        if let Some(answer) = next(&mut self.socket.rest) {
            return Ok(Some(answer));
        }
        if !self.socket.receive()? {
            return Err(Failure::Failed("QEMU's debugger has gone".to_owned()));
        }
        let answer = next(&mut self.socket.rest);
        if answer.is_some() {
            self.socket.send(b"+")?;
        }
        Ok(answer)
    }

    fn refused(&self, command: &str) -> Failure {
        Failure::Failed(format!("QEMU's debugger does not answer `{command}`"))
    }
}

impl Registers {
    /// Reads the answer to `g`: rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 to r15, rip and more, each as
    /// the hexadecimal digits of its bytes.
    fn parse(answer: &str) -> Option<Self> {
        let register = |index: usize| {
            let digits = answer.get(index * 16..index * 16 + 16)?;
            u64::from_str_radix(digits, 16).ok().map(u64::swap_bytes)
        };
        Some(Self {
            rcx: register(2)?,
            rdx: register(3)?,
            rsi: register(4)?,
            rdi: register(5)?,
            rip: register(16)?,
        })
    }
}

/// The packet that carries `text`.
fn packet(text: &str) -> Vec<u8> {
    format!("${text}#{:02x}", sum(text.as_bytes())).into_bytes()
}

fn sum(bytes: &[u8]) -> u8 {
    let bytes = bytes.iter();
    bytes.fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// Whether an answer says that the machine has stopped.
fn says_stopped(answer: &str) -> bool {
    answer.starts_with(['T', 'S'])
}

/// The next whole packet's text in what came so far; a packet whose checksum is wrong is none.
fn next(rest: &mut Vec<u8>) -> Option<String> {
    loop {
        let start = rest.iter().position(|byte| *byte == b'$')?;
        let len = rest.get(start..)?.iter().position(|byte| *byte == b'#')?;
        let end = start + len;
        let digits = str::from_utf8(rest.get(end + 1..end + 3)?).ok();
        let expected = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let body = rest.get(start + 1..end)?.to_vec();
        rest.drain(..end + 3);
        if expected == Some(sum(&body)) {
            return Some(unescaped(&body));
        }
    }
}

/// The text of a packet: `}` stands before a byte that was changed, `*` before a count of repetitions.
fn unescaped(body: &[u8]) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(body.len());
    let mut rest = body.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            b'}' => out.extend(rest.next().map(|byte| byte ^ 0x20)),
            b'*' => {
                let count = rest.next().map_or(0, |byte| byte.saturating_sub(29));
                let last = out.last().copied().into_iter();
                out.extend(last.flat_map(|last| vec![last; usize::from(count)]));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_its_sum() {
        assert_eq!(packet("?"), b"$?#3f");
        let stop = packet("Z1,ffffffff81234567,1");
        assert_eq!(stop, b"$Z1,ffffffff81234567,1#e8");
    }

    #[test]
    fn packets_come_in_pieces() {
        let stream = b"+$OK#9a++$T05thread:01;#07$bad#00$S05#b8";
        for size in [1, 3, 100] {
            let (mut rest, mut found) = (Vec::new(), Vec::new());
            for bytes in stream.chunks(size) {
                rest.extend(bytes);
                found.extend(std::iter::from_fn(|| next(&mut rest)));
            }
            assert_eq!(found, ["OK", "T05thread:01;", "S05"], "{size}");
        }
    }

    #[test]
    fn escapes_and_repetitions() {
        // As in the protocol's description: `0* ` is `0000`.
        assert_eq!(unescaped(b"0* x"), "0000x");
        assert_eq!(unescaped(b"a}\x03b"), "a#b");
    }

    #[test]
    fn registers_by_their_place() {
        let words: Vec<u64> = (0..20).map(|n| 0x1_0000_0000 + n).collect();
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        let digits: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        let expected = Registers {
            rcx: 0x1_0000_0002,
            rdx: 0x1_0000_0003,
            rsi: 0x1_0000_0004,
            rdi: 0x1_0000_0005,
            rip: 0x1_0000_0010,
        };
        assert_eq!(Registers::parse(&digits), Some(expected));
        assert_eq!(Registers::parse("00"), None);
    }
}
