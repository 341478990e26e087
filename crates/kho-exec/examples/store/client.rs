//! A client's connection, and how it is written down for an upgrade.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use kho_fd::FdFile;
use kho_mem::Arena;
use kho_memfd::{FileError, MemFile};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::answer::{Answers, Protocol};
use super::commands::{Store, Then, execute};
use super::connection::{Connection, NAMES};
use super::resp::Parser;

/// Bytes that are read at once.
const READ: usize = 64 << 10;
/// A client that leaves more answers than this unread is not served until it reads some.
const UNREAD: usize = 16 << 20;
/// Buffers that are empty keep no more memory than this.
const KEPT: usize = 1 << 20;

/// What is preserved of a client is what it is known by, what it sent and nobody answered yet, and what was
/// answered and not sent yet. How far its next request was read is not: it is read again.
pub(crate) struct Client {
    pub(crate) socket: Arc<FdFile>,
    pub(crate) connection: Rc<Connection>,
    input: Vec<u8>,
    // How much of the input is done with.
    done: usize,
    parser: Parser,
    output: Vec<u8>,
    sent: usize,
    // Closed when the output is sent.
    closing: bool,
    // The other side sent its last byte.
    ended: bool,
    // It asked for an upgrade, and is answered after it.
    pub(crate) waiting: bool,
}

impl Client {
    pub(crate) fn new(id: u64, socket: Arc<FdFile>) -> Self {
        let connection = Connection {
            id,
            address: address(&socket),
            ..Connection::default()
        };
        Self {
            socket,
            connection: Rc::new(connection),
            input: Vec::new(),
            done: 0,
            parser: Parser::default(),
            output: Vec::new(),
            sent: 0,
            closing: false,
            ended: false,
            waiting: false,
        }
    }

    /// What the event loop is to wait for.
    pub(crate) fn interest(&self) -> EventFlags {
        let mut interest = EventFlags::empty();
        interest.set(
            EventFlags::IN,
            !self.closing && !self.ended && self.has_room(),
        );
        interest.set(EventFlags::OUT, self.sent < self.output.len());
        interest
    }

    fn has_room(&self) -> bool {
        self.output.len() - self.sent <= UNREAD && !self.waiting
    }

    /// Reads what has come.
    pub(crate) fn read(&mut self) -> Result<(), Errno> {
        if self.closing || self.ended || !self.has_room() {
            return Ok(());
        }
        self.input.reserve(READ);
        match rustix::net::recv(
            &self.socket,
            spare_capacity(&mut self.input),
            RecvFlags::empty(),
        ) {
            Ok((0, _)) => self.ended = true,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Answers every request that is there, and sends what can be sent. Returns whether the client
    /// asked for an upgrade; `None` when the connection is at its end.
    pub(crate) fn advance(&mut self, store: &mut Store<'_>) -> Result<Option<bool>, Errno> {
        let mut upgrade = false;
        loop {
            let waited = !self.has_room();
            let answered = self.answer(store, &mut upgrade);
            self.send()?;
            // Again for as long as there may be a request that was not looked at.
            if !(answered || waited) || !self.has_room() {
                break;
            }
        }
        let rest = self.output.len() - self.sent;
        if self.ended && !self.waiting && self.has_room() {
            // What is left is no whole request, and will not be one.
            self.closing = true;
        }
        Ok((rest > 0 || !self.closing).then_some(upgrade))
    }

    /// Answers what there is room for. Returns whether something was answered.
    fn answer(&mut self, store: &mut Store<'_>, upgrade: &mut bool) -> bool {
        let before = self.done;
        while !self.closing && self.has_room() {
            let rest = self.input.get(self.done..).unwrap_or_default();
            let own = &self.connection;
            let mut answers = Answers {
                out: &mut self.output,
                protocol: own.protocol.get(),
            };
            match self.parser.parse(rest) {
                Ok(None) => break,
                Ok(Some(len)) => {
                    match execute(self.parser.args(rest), store, own, &mut answers) {
                        Then::GoOn => {}
                        Then::Quit => self.closing = true,
                        Then::Upgrade => {
                            self.waiting = true;
                            *upgrade = true;
                        }
                    }
                    self.parser.reset();
                    self.done += len;
                }
                Err(error) => {
                    answers.failure(&error.to_string());
                    self.closing = true;
                }
            }
        }
        let answered = self.done > before;
        forget(&mut self.input, &mut self.done);
        answered
    }

    /// Answers the request for an upgrade, which is over.
    pub(crate) fn upgraded(&mut self, outcome: &Result<(), String>) {
        let mut answers = Answers {
            out: &mut self.output,
            protocol: self.connection.protocol.get(),
        };
        if std::mem::take(&mut self.waiting) {
            match outcome {
                Ok(()) => answers.simple("OK"),
                Err(reason) => answers.failure(&format!("not upgraded: {reason}")),
            }
        }
    }

    fn send(&mut self) -> Result<(), Errno> {
        while let Some(rest) = self.output.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        forget(&mut self.output, &mut self.sent);
        Ok(())
    }
}

/// The address of the other side; empty where it has none.
fn address(socket: &FdFile) -> String {
    let peer = rustix::net::getpeername(socket).ok().flatten();
    let peer = peer.and_then(|peer| std::net::SocketAddr::try_from(peer).ok());
    peer.map_or_else(String::new, |peer| peer.to_string())
}

/// Takes the first `done` bytes out of `buffer`, where that is worth it.
fn forget(buffer: &mut Vec<u8>, done: &mut usize) {
    if *done == buffer.len() {
        buffer.clear();
        buffer.shrink_to(KEPT);
        *done = 0;
    } else if *done > buffer.len() / 2 {
        buffer.drain(..*done);
        *done = 0;
    }
}

// Writing down. A head, and for each client its head and its strings:
//
//     magic clients stopped_at | token flags lengths, the strings | ...
//
// Numbers are little-endian, of 8 bytes. The strings are the input, the output, and since version 2 the names that
// the connection is known by. Version 1, whose clients all speak version 2 of the protocol, is read as well.

const MAGIC: u64 = u64::from_le_bytes(*b"kvclnt-2");
const MAGIC_1: u64 = u64::from_le_bytes(*b"kvclnt-1");
const STRINGS: usize = 2 + NAMES;
const CLOSING: u64 = 1;
const WAITING: u64 = 2;
const PROTOCOL_3: u64 = 4;
/// Its connection is handed over, and closed.
const GONE: u64 = 8;

/// Writes `clients` down in a new file of `arena`, with those that are `gone` and the time at which the last request
/// was served.
pub(crate) fn write_down<'c>(
    arena: &Arena,
    clients: impl ExactSizeIterator<Item = (u64, &'c Client)>,
    gone: &[u64],
    stopped_at: u64,
) -> Result<MemFile, FileError> {
    // Small things together, so that they take few folios.
    let mut small = Vec::new();
    let numbers = |small: &mut Vec<u8>, numbers: &[u64]| {
        numbers
            .iter()
            .for_each(|number| small.extend(number.to_le_bytes()));
    };
    let count = clients.len() + gone.len();
    numbers(&mut small, &[MAGIC, count as u64, stopped_at]);
    for token in gone {
        numbers(&mut small, &[*token, GONE]);
        numbers(&mut small, &[0; STRINGS]);
    }
    let file = MemFile::new(arena);
    for (token, client) in clients {
        let input = client.input.get(client.done..).unwrap_or_default();
        let output = client.output.get(client.sent..).unwrap_or_default();
        let mut flags = 0;
        if client.closing {
            flags |= CLOSING;
        }
        if client.waiting {
            flags |= WAITING;
        }
        if client.connection.protocol.get() == Protocol::Three {
            flags |= PROTOCOL_3;
        }
        let names = client.connection.names.borrow();
        let strings = || {
            [input, output]
                .into_iter()
                .chain(names.iter().map(Vec::as_slice))
        };
        numbers(&mut small, &[token, flags]);
        strings().for_each(|bytes| numbers(&mut small, &[bytes.len() as u64]));
        for bytes in strings() {
            if small.len() + bytes.len() <= KEPT {
                small.extend_from_slice(bytes);
            } else {
                put(&file, &small)?;
                small.clear();
                put(&file, bytes)?;
            }
        }
    }
    put(&file, &small)?;
    Ok(file)
}

/// Appends all of `bytes`, or fails.
fn put(file: &MemFile, bytes: &[u8]) -> Result<(), FileError> {
    if file.write_at(file.size(), bytes)? < bytes.len() {
        let pages = 1;
        return Err(FileError::OutOfMemory(kho_mem::OutOfMemory { pages }));
    }
    Ok(())
}

/// Clients that were written down can not be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientsError {
    /// What is there is not what this program writes.
    #[error("what is written down of the clients is damaged: {what} at {at:#x}")]
    Damaged { what: &'static str, at: u64 },
    /// The file can not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What was written down.
pub(crate) struct Clients {
    pub(crate) clients: Vec<(u64, Client)>,
    pub(crate) stopped_at: u64,
}

/// Reads back what [`write_down`] wrote; `socket` gives a client's connection by its token.
pub(crate) fn read_back<E: From<ClientsError>>(
    file: &MemFile,
    mut socket: impl FnMut(u64) -> Result<Option<Arc<FdFile>>, E>,
) -> Result<Clients, E> {
    let mut at = 0;
    let [magic, count, stopped_at] = numbers(file, &mut at)?;
    let damaged = |what, at| E::from(ClientsError::Damaged { what, at });
    let version = match magic {
        MAGIC => 2,
        MAGIC_1 => 1,
        _ => return Err(damaged("the magic number", 0)),
    };
    let (mut clients, mut tokens) = (Vec::new(), HashSet::new());
    for _ in 0..count {
        let head = at;
        let [token, flags] = numbers(file, &mut at)?;
        if flags & !(CLOSING | WAITING | PROTOCOL_3 | GONE) != 0 {
            return Err(damaged("unknown flags", head));
        }
        if !tokens.insert(token) {
            return Err(damaged("a client twice", head));
        }
        let Some(socket) = socket(token)? else {
            return Err(damaged("a client without a connection", head));
        };
        let lengths = match version {
            1 => {
                let [input, output] = numbers(file, &mut at)?;
                [input, output, 0, 0, 0]
            }
            _ => numbers(file, &mut at)?,
        };
        let mut next = lengths.iter().map(|len| bytes(file, &mut at, *len));
        let mut string = || next.next().unwrap_or(Ok(Vec::new()));
        let (input, output) = (string()?, string()?);
        let names = [string()?, string()?, string()?];
        if flags & GONE != 0 {
            continue;
        }
        let client = Client::new(token, socket);
        let connection = Connection {
            id: token,
            address: client.connection.address.clone(),
            protocol: Cell::new(if flags & PROTOCOL_3 == 0 {
                Protocol::Two
            } else {
                Protocol::Three
            }),
            names: RefCell::new(names),
        };
        clients.push((
            token,
            Client {
                connection: Rc::new(connection),
                input,
                output,
                closing: flags & CLOSING != 0,
                waiting: flags & WAITING != 0,
                ..client
            },
        ));
    }
    if at != file.size() {
        return Err(damaged("the end", at));
    }
    Ok(Clients {
        clients,
        stopped_at,
    })
}

fn numbers<const N: usize>(file: &MemFile, at: &mut u64) -> Result<[u64; N], ClientsError> {
    let bytes = bytes(file, at, N as u64 * 8)?;
    let mut numbers = [0; N];
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = bytes.try_into().map_or(0, u64::from_le_bytes);
    }
    Ok(numbers)
}

fn bytes(file: &MemFile, at: &mut u64, len: u64) -> Result<Vec<u8>, ClientsError> {
    let short = ClientsError::Damaged {
        what: "the end is missing",
        at: *at,
    };
    if len == 0 {
        return Ok(Vec::new());
    }
    // Nothing is allocated for what is not there.
    if len > file.size().saturating_sub(*at) {
        return Err(short);
    }
    let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
    let read = file.read_at(*at, &mut out)?;
    if (read as u64) < len {
        return Err(short);
    }
    *at += len;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::os::unix::net::UnixStream;

    use kho_mem::{ArenaConfig, PhysAddr};

    use super::*;

    fn client(id: u64, input: &[u8], output: &[u8], closing: bool, waiting: bool) -> Client {
        let socket = Arc::new(FdFile::from(UnixStream::pair().unwrap().0));
        let client = Client::new(id, socket);
        if id == 4 {
            client.connection.protocol.set(Protocol::Three);
            *client.connection.names.borrow_mut() = ["me", "lib", "8.1"].map(|name| name.into());
        }
        Client {
            input: input.to_vec(),
            output: output.to_vec(),
            closing,
            waiting,
            ..client
        }
    }

    #[test]
    fn clients_come_back_as_they_were_and_damage_is_an_error() {
        let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(1 << 30), 16 << 20)).unwrap();
        let large = vec![7; 3 << 20];
        let clients: Vec<(u64, Client)> = vec![
            (3, client(3, b"*1\r\n$4\r\nPI", b"", false, false)),
            (4, client(4, b"", &large, true, false)),
            (9, client(9, b"GET a\r\n", b"+OK\r\n", false, true)),
        ];
        let refs = clients.iter().map(|(token, client)| (*token, client));
        let file = write_down(&arena, refs.collect::<Vec<_>>().into_iter(), &[5], 77).unwrap();
        let gone = Arc::new(FdFile::from(UnixStream::pair().unwrap().0));
        let sockets: HashMap<u64, Arc<FdFile>> = clients
            .iter()
            .map(|(token, client)| (*token, Arc::clone(&client.socket)))
            .chain([(5, gone)])
            .collect();
        let socket = |token| Ok::<_, ClientsError>(sockets.get(&token).cloned());
        let back = read_back(&file, socket).unwrap();
        assert_eq!(back.stopped_at, 77);
        for ((token, client), (wanted_token, wanted)) in back.clients.iter().zip(&clients) {
            assert_eq!(token, wanted_token);
            assert!(client.input == wanted.input && client.output == wanted.output);
            assert_eq!(
                (client.closing, client.waiting),
                (wanted.closing, wanted.waiting)
            );
            let (found, wanted) = (&client.connection, &wanted.connection);
            assert_eq!(found.protocol, wanted.protocol);
            assert_eq!(found.names, wanted.names);
        }
        assert_eq!(back.clients.len(), 3);
        // The magic number, the count, a token and lengths.
        for at in [0, 8, 24, 40, 48, 56] {
            let mut word = [0; 8];
            file.read_at(at, &mut word).unwrap();
            for wrong in [u64::MAX, u64::from_le_bytes(word) + 1, 1 << 40] {
                file.write_at(at, &wrong.to_le_bytes()).unwrap();
                assert!(read_back(&file, socket).is_err(), "{wrong} at {at}");
            }
            file.write_at(at, &word).unwrap();
        }
        file.truncate(file.size() - 1).unwrap();
        assert!(read_back(&file, socket).is_err());
        // What version 1 wrote: two lengths.
        let words = [MAGIC_1, 1, 77, 3, WAITING, 4, 2].map(u64::to_le_bytes);
        file.truncate(0).unwrap();
        file.write_at(0, &[words.as_flattened(), b"PING+O"].concat())
            .unwrap();
        let back = read_back(&file, socket).unwrap();
        let [(3, client)] = back.clients.as_slice() else {
            panic!("another client")
        };
        assert_eq!(
            (client.input.as_slice(), client.output.as_slice()),
            (&b"PING"[..], &b"+O"[..])
        );
        assert!(client.waiting && client.connection.protocol.get() == Protocol::Two);
    }
}
