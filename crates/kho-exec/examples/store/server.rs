//! The event loop: who can be read from and written to, and what is to be done then.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kho_fd::FdFile;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::client::Client;
use super::commands::Store;
use super::connection::Roster;
use super::kv::Kv;
use super::say;

/// What stands for the listening socket and for signals, where a client's token stands otherwise.
const LISTENER: u64 = u64::MAX;
const SIGNAL: u64 = u64::MAX - 1;
/// Descriptors that are not clients'.
const OTHERS: u64 = 64;
/// Events that are looked at in one turn.
const EVENTS: usize = 256;
/// How long nobody is accepted after the system had no room for one more.
const FULL: Duration = Duration::from_millis(100);

/// A store that serves.
pub(crate) struct Server {
    pub(crate) kv: Kv,
    pub(crate) listener: Arc<FdFile>,
    pub(crate) clients: HashMap<u64, Client>,
    roster: Roster,
    next_token: u64,
    most_clients: usize,
    upgrades: u64,
    hangups: UnixStream,
    epoll: OwnedFd,
    events: Vec<Event>,
    accepts: bool,
    upgrade: bool,
}

/// A socket that listens on `port` of this machine, any one if that is 0.
pub(crate) fn listen(port: u16) -> io::Result<(FdFile, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    Ok((FdFile::from(listener), port))
}

/// How many clients there may be: as many as there may be descriptors, but for some.
fn most_clients() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let most = current.unwrap_or(1 << 20).saturating_sub(OTHERS);
    usize::try_from(most).unwrap_or(0)
}

fn timespec(timeout: Duration) -> Timespec {
    // Milliseconds.
    Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(0),
        tv_nsec: timeout.subsec_nanos().into(),
    }
}

impl Server {
    /// Serves `kv` at `listener`, with the `clients` that there are already. A byte at `hangups` asks
    /// for an upgrade.
    pub(crate) fn new(
        kv: Kv,
        listener: Arc<FdFile>,
        clients: Vec<(u64, Client)>,
        upgrades: u64,
        hangups: UnixStream,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        epoll::add(&epoll, &hangups, EventData::new_u64(SIGNAL), EventFlags::IN)?;
        for (token, client) in &clients {
            let interest = client.interest();
            epoll::add(&epoll, &client.socket, EventData::new_u64(*token), interest)?;
        }
        let last = clients.iter().map(|(token, _)| *token).max();
        Ok(Self {
            kv,
            listener,
            roster: clients
                .iter()
                .map(|(token, client)| (*token, Rc::clone(&client.connection)))
                .collect(),
            clients: clients.into_iter().collect(),
            next_token: last.map_or(1, |last| last.saturating_add(1)),
            most_clients: most_clients(),
            upgrades,
            hangups,
            epoll,
            events: Vec::with_capacity(EVENTS),
            accepts: true,
            upgrade: false,
        })
    }

    /// Serves until an upgrade is asked for.
    pub(crate) fn serve(&mut self) -> io::Result<()> {
        while !std::mem::take(&mut self.upgrade) {
            let timeout = (!self.accepts).then_some(FULL);
            self.turn(timeout)?;
        }
        Ok(())
    }

    /// One turn: waits until there is something to do, for `timeout` at most, and does it.
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let timeout = timeout.map(timespec);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for Event { flags, data } in events.iter().copied() {
            match data.u64() {
                LISTENER => self.accept()?,
                SIGNAL => self.signalled()?,
                token => self.serve_client(token, flags)?,
            }
        }
        if !self.accepts && events.is_empty() {
            self.accept_or_not(true)?;
        }
        self.events = events;
        Ok(())
    }

    /// Goes on after an upgrade, or after one that did not happen: who asked for it is told, and
    /// whoever's requests are here already is answered.
    pub(crate) fn resume(&mut self, outcome: &Result<(), String>) -> io::Result<()> {
        let tokens: Vec<u64> = self.clients.keys().copied().collect();
        for token in tokens {
            if let Some(client) = self.clients.get_mut(&token) {
                client.upgraded(outcome);
            }
            self.serve_client(token, EventFlags::empty())?;
        }
        Ok(())
    }

    fn serve_client(&mut self, token: u64, flags: EventFlags) -> io::Result<()> {
        // It may have gone earlier in this turn.
        let Some(client) = self.clients.get_mut(&token) else {
            return Ok(());
        };
        let before = client.interest();
        let read = match flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            true => client.read(),
            false => Ok(()),
        };
        let mut store = Store {
            kv: &mut self.kv,
            upgrades: self.upgrades,
            clients: &self.roster,
        };
        match read.and_then(|()| client.advance(&mut store)) {
            Ok(Some(upgrade)) => {
                self.upgrade |= upgrade;
                let interest = client.interest();
                // A connection that broke is reported whatever is asked for.
                if interest.is_empty() && flags.intersects(EventFlags::HUP | EventFlags::ERR) {
                    self.remove(token)?;
                } else if interest != before {
                    let data = EventData::new_u64(token);
                    epoll::modify(&self.epoll, &client.socket, data, interest)?;
                }
                Ok(())
            }
            // Answered in full, or the connection broke.
            Ok(None) | Err(_) => self.remove(token),
        }
    }

    fn remove(&mut self, token: u64) -> io::Result<()> {
        if let Some(client) = self.clients.remove(&token) {
            self.roster.remove(&token);
            epoll::delete(&self.epoll, &client.socket)?;
        }
        self.accept_or_not(true)
    }

    fn signalled(&mut self) -> io::Result<()> {
        // Any number of signals are one.
        let mut bytes = [0; 64];
        loop {
            match io::Read::read(&mut self.hangups, &mut bytes) {
                Ok(0) => break,
                Ok(_) => self.upgrade = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => {
                    say(format_args!("no more clients for now: {error}"));
                    return self.accept_or_not(false);
                }
            };
            if self.clients.len() >= self.most_clients {
                let text = b"-ERR max number of clients reached\r\n";
                // A new connection has room for a line. Who does not get it sees the end.
                let _ = rustix::net::send(&socket, text, rustix::net::SendFlags::NOSIGNAL);
                continue;
            }
            // A matter of speed.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
            let token = self.next_token;
            let client = Client::new(token, Arc::new(FdFile::new(socket)));
            let data = EventData::new_u64(token);
            epoll::add(&self.epoll, &client.socket, data, client.interest())?;
            self.roster.insert(token, Rc::clone(&client.connection));
            self.clients.insert(token, client);
            self.next_token += 1;
        }
    }

    /// Whether new clients are waited for.
    fn accept_or_not(&mut self, accepts: bool) -> io::Result<()> {
        if self.accepts != accepts {
            let flags = if accepts {
                EventFlags::IN
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(LISTENER);
            epoll::modify(&self.epoll, &self.listener, data, flags)?;
            self.accepts = accepts;
        }
        Ok(())
    }
}
