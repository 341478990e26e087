//! A key-value store that is upgraded under its clients: `cargo run --release --example store`.
//!
//! It speaks enough of the Redis protocol, RESP2 and RESP3, for redis-cli, redis-benchmark and the usual clients. On SIGHUP, or when
//! a client says `UPGRADE`, it executes the program at the path that it was started from, and hands
//! over its keys, its listening socket and its connections with every byte that was read or not yet
//! sent. Clients notice nothing but a pause of a few milliseconds.
//!
//! What it takes to be upgraded is in this file: look for the numbers 1 to 5. The rest is a store as
//! it would be anyway, but for one thing: its data lies in files of an arena (`kv`).

mod answer;
mod client;
mod commands;
mod connection;
mod kv;
mod resp;
mod server;

use std::collections::HashSet;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use kho_exec::{Config, FileRef, Host};
use kho_fd::FdFile;
use kho_mem::PhysAddr;
use kho_memfd::MemFile;
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::SIGHUP;

use client::Clients;
use kv::Kv;
use server::Server;

/// The session of what there is but once, and the tokens of its files. Program and successor agree
/// on these numbers, and on nothing else.
const STORE: &str = "store";
const LISTENER: u64 = 1;
const INDEX: u64 = 2;
const SEGMENTS: u64 = 1 << 32;

/// The session of the clients: a connection each, under the client's own token, and one file with
/// what is to be known of all of them.
const CLIENTS: &str = "clients";
const WRITTEN_DOWN: u64 = 0;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn run(args: &Args) -> Result<()> {
    // First of all: where nobody listens, SIGHUP ends the program.
    let (signals, hangups) = UnixStream::pair()?;
    hangups.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGHUP, signals)?;
    let program = program()?;

    // 1. Take over what a predecessor left; without one, begin with an empty arena. A handover is
    //    checked here, and goes back to the predecessor if it is not what this program understands.
    let mut host = Host::start(args.config())?;

    // 2. Ask for everything by the token under which it was handed over. It can be read from now
    //    on, where it lies, and not yet written. What is wrong with it is found here.
    // 3. All is well: it is this program's own from here on, and the predecessor's way back ends.
    let taken = Taken::retrieve(&mut host, args, hangups).and_then(|taken| {
        host.finish()?;
        Ok(taken)
    });
    let taken = match taken {
        Err(error) if host.is_incoming() => {
            // The predecessor goes on. This returns only if that failed.
            let failed = host.hand_back(&error.to_string());
            return Err(format!("{error}; handing it back failed: {failed}").into());
        }
        taken => taken?,
    };

    // 4. Serve. A SIGHUP that came during the exec waited, and is heard now.
    hangup().thread_unblock()?;
    let mut server = taken.serve(&host)?;
    loop {
        server.serve()?;
        // What takes long is done while clients are served.
        host.prepare();
        while !host.is_prepared() {
            server.turn(Some(Duration::from_millis(1)))?;
        }

        // 5. Hand over. This returns only if it failed, and then everything is as before.
        let Err(error) = hand_over(&host, &mut server, &program);
        hangup().thread_unblock()?;
        say(format_args!("not upgraded: {error}"));
        server.kv.rest(false);
        server.resume(&Err(error.to_string()))?;
    }
}

/// Hands everything over to the program that is at `program` now.
///
/// `Host::hand_over` does this in one line, for a few files. Here what takes long is done while
/// clients are still served, so that the pause is short.
fn hand_over(host: &Host, server: &mut Server, program: &PathBuf) -> Result<Infallible> {
    let orchestrator = host.orchestrator()?;
    let store = orchestrator.create_session(STORE)?;
    // From here until the end, a file that is preserved can be written to, and can not grow.
    server.kv.rest(true);
    let mut preserved = HashSet::new();
    let mut preserve = |server: &Server| -> Result<()> {
        for (number, file) in server.kv.segments() {
            if preserved.insert(number) {
                store.preserve(SEGMENTS + number, file as FileRef)?;
            }
        }
        Ok(())
    };
    preserve(server)?;
    store.preserve(INDEX, server.kv.index() as FileRef)?;
    store.preserve(LISTENER, Arc::clone(&server.listener) as FileRef)?;
    let clients = orchestrator.create_session(CLIENTS)?;
    let mut known = HashSet::new();
    let mut preserve_clients = |server: &Server| -> Result<()> {
        for (token, client) in &server.clients {
            if known.insert(*token) {
                clients.preserve(*token, Arc::clone(&client.socket) as FileRef)?;
            }
        }
        Ok(())
    };
    preserve_clients(server)?;
    server.turn(Some(Duration::ZERO))?;

    // From here on nobody is served.
    let stopped_at = kho_exec::now();
    preserve(server)?;
    preserve_clients(server)?;
    // Who went in the last turn is preserved all the same.
    let gone = known
        .iter()
        .filter(|token| !server.clients.contains_key(token));
    let gone: Vec<u64> = gone.copied().collect();
    let all = server
        .clients
        .iter()
        .map(|(token, client)| (*token, client));
    let arena = host.arena().for_handover();
    let written = client::write_down(&arena, all, &gone, stopped_at)?;
    clients.preserve(WRITTEN_DOWN, Arc::new(written))?;
    let mut next = Command::new(program);
    next.args(std::env::args_os().skip(1));
    // An exec forgets who listens to a signal, and keeps what is blocked.
    hangup().thread_block()?;
    Err(host.exec(&orchestrator, next).into())
}

fn hangup() -> SigSet {
    SigSet::from(Signal::SIGHUP)
}

/// What a program begins with.
struct Taken {
    server: Server,
    // What the predecessor said, where there was one.
    stopped_at: Option<u64>,
}

impl Taken {
    /// Everything that was handed over; what a store begins with, where nothing was.
    fn retrieve(host: &mut Host, args: &Args, hangups: UnixStream) -> Result<Self> {
        let arena = host.arena().clone();
        let upgrades = host.generation();
        let Some(index) = host.retrieve::<MemFile>(STORE, INDEX)? else {
            let (listener, port) = server::listen(args.port)?;
            let kv = Kv::new(&arena)?;
            let server = Server::new(kv, Arc::new(listener), Vec::new(), upgrades, hangups)?;
            writeln!(io::stdout(), "listening on 127.0.0.1:{port}")?;
            return Ok(Self {
                server,
                stopped_at: None,
            });
        };
        let kv = Kv::open(&arena, index, |number| {
            let segment = host.retrieve::<MemFile>(STORE, SEGMENTS + number);
            segment.map_err(Box::<dyn Error>::from)
        })?;
        let lost = |what: &str| format!("the predecessor handed over no {what}");
        let listener = host.retrieve::<FdFile>(STORE, LISTENER)?;
        let listener = listener.ok_or_else(|| lost("listening socket"))?;
        let written = host.retrieve::<MemFile>(CLIENTS, WRITTEN_DOWN)?;
        let written = written.ok_or_else(|| lost("list of clients"))?;
        let Clients {
            clients,
            stopped_at,
        } = client::read_back(&written, |token| {
            let socket = host.retrieve::<FdFile>(CLIENTS, token);
            socket.map_err(Box::<dyn Error>::from)
        })?;
        let server = Server::new(kv, listener, clients, upgrades, hangups)?;
        host.mark("retrieved");
        Ok(Self {
            server,
            stopped_at: Some(stopped_at),
        })
    }

    /// The store, which may be written to now. The pause is over.
    fn serve(self, host: &Host) -> Result<Server> {
        let mut server = self.server;
        let Some(stopped_at) = self.stopped_at else {
            return Ok(server);
        };
        let pause = Pause::until_now(host, stopped_at);
        let outcome = match host.returned() {
            // What the next program refused comes back to the one before.
            Some(reason) => {
                say(format_args!("not upgraded: {reason}; {pause}"));
                Err(reason.to_owned())
            }
            None => {
                let (number, keys) = (host.generation(), server.kv.len());
                let clients = server.clients.len();
                say(format_args!(
                    "upgrade {number}: {pause}; {keys} keys, {clients} clients"
                ));
                Ok(())
            }
        };
        server.resume(&outcome)?;
        Ok(server)
    }
}

/// How long nobody was served, and on what that was spent: `Host::marks` notes when each step was
/// done, from the freeze in the program before on, and after how many page faults.
struct Pause {
    steps: Vec<(String, u64, Option<u64>)>,
    all: u64,
}

impl Pause {
    fn until_now(host: &Host, stopped_at: u64) -> Self {
        let now = kho_exec::now();
        let (mut steps, mut last, mut before) = (Vec::new(), stopped_at, None);
        for mark in host.marks() {
            let faults = mark.faults.zip(before).map(|(now, before)| now - before);
            steps.push((mark.what.clone(), mark.at.saturating_sub(last), faults));
            (last, before) = (mark.at, mark.faults);
        }
        Self {
            steps,
            all: now.saturating_sub(stopped_at),
        }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pause {} us (until", self.all / 1000)?;
        for (number, (what, nanos, faults)) in self.steps.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma} {what} {}", nanos / 1000)?;
            if let Some(faults) = faults.filter(|faults| *faults > 0) {
                write!(f, " of {faults} faults")?;
            }
        }
        write!(f, ")")
    }
}

/// Where this program's successor will be: the path that this one was started from, whatever is
/// there by then.
fn program() -> io::Result<PathBuf> {
    match std::env::args_os().next().map(PathBuf::from) {
        Some(path) if path.components().count() > 1 => std::path::absolute(path),
        // Found through PATH.
        _ => std::env::current_exe(),
    }
}

/// A line on standard error, where that is still open.
fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "store: {text}");
}

const HELP: &str = "\
A key-value store that is upgraded under its clients.

Usage: store [--port N] [--memory MIB]

  --port N      listen on 127.0.0.1:N; without it, or with 0, any free port, which is printed
  --memory MIB  how much keys and values may take, in MiB: 64 to 1048576, 65536 if not given.
                Memory is taken as it is used.
  --help        print this

It answers GET, SET, MGET, MSET, DEL, INCR, INCRBY, EXISTS, DBSIZE, PING, ECHO and QUIT as Redis does, and what clients
ask when they connect, in RESP2 and RESP3: HELLO, CLIENT, COMMAND, INFO, CONFIG GET, AUTH, SELECT, RESET.
UPGRADE, or the signal SIGHUP, executes the program at the path that this one was started from:
it goes on with the same keys and the same connections. UPGRADES says how often that was done.

Example:
  store --port 7379 &
  redis-cli -p 7379 set greeting hello
  kill -HUP %1
  redis-cli -p 7379 get greeting
";

/// The command line. A successor has the same one, and looks at none of it but `--help`: what it
/// says came along.
struct Args {
    port: u16,
    memory: u64,
}

impl Args {
    /// `None` where help was asked for.
    fn parse(args: impl Iterator<Item = String>) -> std::result::Result<Option<Self>, String> {
        let mut parsed = Self {
            port: 0,
            memory: 65536,
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            match name.as_str() {
                "--help" | "-h" => return Ok(None),
                "--port" | "--memory" => {}
                _ => return Err(format!("unknown argument `{name}`")),
            }
            let value = value.or_else(|| args.next());
            let value = value.ok_or_else(|| format!("`{name}` takes a number"))?;
            let wrong = |what| format!("`{name} {value}`: expected {what}");
            if name == "--port" {
                let port = value.parse().map_err(|_| wrong("a port, 0 to 65535"))?;
                parsed.port = port;
            } else {
                let memory = value.parse().ok();
                let memory = memory.filter(|memory| (64..=1 << 20).contains(memory));
                parsed.memory = memory.ok_or_else(|| wrong("MiB, 64 to 1048576"))?;
            }
        }
        Ok(Some(parsed))
    }

    /// An arena of that size, which is a multiple of 4 MiB.
    fn config(&self) -> Config {
        let size = (self.memory << 20).next_multiple_of(kho_mem::ARENA_ALIGN);
        Config::new().arena(PhysAddr::new(4 << 30), size)
    }
}

fn main() -> ExitCode {
    kho_exec::answer_manifest!(Config::new());
    let args = std::env::args_os().skip(1);
    let args = Args::parse(args.map(|arg| arg.to_string_lossy().into_owned()));
    let args = match args {
        Ok(Some(args)) => args,
        Ok(None) => {
            let _ = write!(io::stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            say(format_args!("{error}; --help says more"));
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> std::result::Result<Option<(u16, u64)>, String> {
        let args = Args::parse(line.split_whitespace().map(str::to_owned));
        args.map(|args| args.map(|args| (args.port, args.memory)))
    }

    #[test]
    fn arguments_are_checked() {
        assert_eq!(parse(""), Ok(Some((0, 65536))));
        assert_eq!(parse("--port 7379 --memory=64"), Ok(Some((7379, 64))));
        assert_eq!(parse("--port 1 --help"), Ok(None));
        for wrong in [
            "--port",
            "--port 65536",
            "--port -1",
            "--memory 63",
            "--memory 1G",
            "x",
            "--x=1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
