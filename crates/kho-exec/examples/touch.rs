//! A service on one thread, whose pauses `cargo xtask pauses` measures from outside: it holds so many bytes and
//! descriptors, touches all of them when it is told so, and answers its clients in between.
//!
//! A request is a line, sent at once: `ping`, `touch` (writes to each page that it holds), `upgrade`, `quit`, and
//! `pause`, which says as JSON how the last upgrade went.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;

use kho_exec::{Config, FileRef, Host};
use kho_fd::FdFile;
use kho_memfd::MemFile;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The session, and the tokens of what there is once. Clients are counted from `CLIENTS` on, and other descriptors
/// from `OTHERS`.
const SESSION: &str = "touch";
const DATA: u64 = 1;
const HEAD: u64 = 2;
const LISTENER: u64 = 3;
const CLIENTS: u64 = 1 << 16;
const OTHERS: u64 = 1 << 32;
/// Bytes that are written at once when there is nothing yet: the largest folio.
const CHUNK: usize = 2 << 20;

struct Service {
    data: Arc<MemFile>,
    // When it stopped serving, how many clients there are, and other descriptors.
    head: Arc<MemFile>,
    listener: Arc<FdFile>,
    clients: BTreeMap<u64, Arc<FdFile>>,
    others: Vec<Arc<FdFile>>,
    pause: String,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn words<const N: usize>(file: &MemFile) -> Result<[u64; N]> {
    let mut words = [0; N];
    for (at, word) in (0..).step_by(8).zip(&mut words) {
        let mut bytes = [0; 8];
        file.read_at(at, &mut bytes)?;
        *word = u64::from_le_bytes(bytes);
    }
    Ok(words)
}

impl Service {
    /// What was handed over, or `bytes` of data and `count` descriptors.
    fn new(host: &mut Host, bytes: u64, count: u64) -> Result<Self> {
        let Some(head) = host.retrieve::<MemFile>(SESSION, HEAD)? else {
            let data = MemFile::new(host.arena());
            for at in (0..bytes).step_by(CHUNK) {
                data.write_at(at, &vec![1; CHUNK])?;
            }
            let listener = TcpListener::bind("127.0.0.1:0")?;
            println!("listening on {}", listener.local_addr()?);
            let other = |_| Ok(Arc::new(FdFile::from(UnixDatagram::unbound()?)));
            return Ok(Self {
                data: Arc::new(data),
                head: Arc::new(MemFile::new(host.arena())),
                listener: Arc::new(listener.into()),
                clients: BTreeMap::new(),
                others: (0..count).map(other).collect::<io::Result<_>>()?,
                pause: "null".to_owned(),
            });
        };
        let lost = "the predecessor handed over less than it said";
        let data = host.retrieve::<MemFile>(SESSION, DATA)?.ok_or(lost)?;
        let [_, clients, others] = words(&head)?;
        let mut fd = |token| Ok::<_, Box<dyn Error>>(host.retrieve(SESSION, token)?.ok_or(lost)?);
        let listener = fd(LISTENER)?;
        let numbered = (0..clients).map(|at| Ok((at, fd(CLIENTS + at)?)));
        let clients = numbered.collect::<Result<_>>()?;
        let others = (OTHERS..OTHERS + others).map(fd).collect::<Result<_>>()?;
        host.mark("retrieved");
        Ok(Self {
            data,
            head,
            listener,
            clients,
            others,
            pause: String::new(),
        })
    }

    /// Serves for a moment. Returns whether an upgrade is asked for.
    fn turn(&mut self, timeout: Option<Timespec>) -> Result<bool> {
        let tokens: Vec<u64> = self.clients.keys().copied().collect();
        let mut fds = vec![PollFd::new(&*self.listener, PollFlags::IN)];
        let sockets = self
            .clients
            .values()
            .map(|socket| PollFd::new(&**socket, PollFlags::IN));
        fds.extend(sockets);
        poll(&mut fds, timeout.as_ref())?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut upgrade = false;
        for (token, _) in tokens
            .iter()
            .zip(ready.iter().skip(1))
            .filter(|(_, ready)| **ready)
        {
            let Some(client) = self.clients.get(token) else {
                continue;
            };
            let mut stream = TcpStream::from(client.duplicate()?);
            let mut line = [0; 64];
            let answer = match stream.read(&mut line) {
                Ok(0) | Err(_) => {
                    self.clients.remove(token);
                    continue;
                }
                Ok(len) => match line.get(..len).unwrap_or_default() {
                    b"ping\n" => "pong",
                    b"pause\n" => &self.pause,
                    b"quit\n" => std::process::exit(0),
                    b"touch\n" => {
                        for at in (0..self.data.size()).step_by(4096) {
                            self.data.write_at(at, &[2])?;
                        }
                        "touched"
                    }
                    b"upgrade\n" => {
                        upgrade = true;
                        "begun"
                    }
                    _ => "what?",
                },
            };
            stream.write_all(format!("{answer}\n").as_bytes())?;
        }
        if ready.first() == Some(&true) {
            let (stream, _) = TcpListener::from(self.listener.duplicate()?).accept()?;
            stream.set_nodelay(true)?;
            let free = (0..).find(|token| !self.clients.contains_key(token));
            self.clients
                .extend(free.map(|token| (token, Arc::new(stream.into()))));
        }
        Ok(upgrade)
    }

    fn hand_over(&mut self, host: &Host, next: Command) -> Result<()> {
        // While clients are served: what there is many of, and does not change.
        let orchestrator = host.orchestrator()?;
        let session = orchestrator.create_session(SESSION)?;
        session.preserve(DATA, Arc::clone(&self.data) as FileRef)?;
        session.preserve(LISTENER, Arc::clone(&self.listener) as FileRef)?;
        for (token, other) in (OTHERS..).zip(&self.others) {
            session.preserve(token, Arc::clone(other) as FileRef)?;
        }
        self.turn(Some(Timespec::default()))?;

        let (clients, others) = (self.clients.len() as u64, self.others.len() as u64);
        let head = [kho_exec::now(), clients, others].map(u64::to_le_bytes);
        self.head.write_at(0, head.as_flattened())?;
        session.preserve(HEAD, Arc::clone(&self.head) as FileRef)?;
        for (token, client) in (CLIENTS..).zip(self.clients.values()) {
            session.preserve(token, Arc::clone(client) as FileRef)?;
        }
        Err(host.exec(&orchestrator, next).into())
    }
}

/// How the upgrade went that led here: each step, its microseconds and its page faults.
fn pause(host: &Host, stopped_at: u64) -> String {
    let (mut last, mut before) = (stopped_at, None);
    let steps = host.marks().iter().map(|mark| {
        let nanos = mark.at.saturating_sub(last);
        let faults = mark
            .faults
            .zip(before)
            .map(|(now, before): (u64, u64)| now - before);
        (last, before) = (mark.at, mark.faults);
        let faults = faults.map_or("null".to_owned(), |faults| faults.to_string());
        format!("[\"{}\", {}, {faults}]", mark.what, nanos / 1000)
    });
    let steps: Vec<_> = steps.collect();
    format!(
        "{{\"generation\": {}, \"steps\": [{}]}}",
        host.generation(),
        steps.join(", ")
    )
}

fn main() -> Result<()> {
    kho_exec::answer_manifest!(Config::new());
    let mut args = std::env::args().skip(1).map(|arg| arg.parse());
    let bytes = args.next().transpose()?.unwrap_or(64 << 20);
    let count = args.next().transpose()?.unwrap_or(0);
    let program = std::env::current_exe()?;
    let mut host = Host::start(Config::new())?;
    let mut service = Service::new(&mut host, bytes, count)?;
    let is_new = !host.is_incoming();
    host.finish()?;
    if !is_new {
        let [stopped_at] = words(&service.head)?;
        service.pause = pause(&host, stopped_at);
    }
    loop {
        while !service.turn(None)? {}
        // While clients are served.
        host.prepare();
        while !host.is_prepared() {
            let millisecond = Timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            service.turn(Some(millisecond))?;
        }
        let mut next = Command::new(&program);
        next.args(std::env::args().skip(1));
        if let Err(error) = service.hand_over(&host, next) {
            eprintln!("touch: went on: {error}");
        }
    }
}
