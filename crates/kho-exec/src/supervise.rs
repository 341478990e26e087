//! Holding a handover while nobody else does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::inherit::{HANDOVER_ENV, SUPERVISOR_ENV, read_ticket, set_inheritable, ticket_body};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Resource, Signal, getrlimit, kill_process, pidfd_open, setrlimit,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::channel::{self, BATCH, Message};
use crate::exec::RETURNED_ENV;
use crate::ticket::{Ticket, for_a_child};

/// How often a program is brought back from one handover before it is given up.
const TRIES: u32 = 5;

/// What a supervisor sees, for its log.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A program was started, with this process number.
    Started(u32),
    /// A program handed over; its memory and descriptors are held here as well.
    Sealed,
    /// It did not happen: the program goes on.
    CalledOff,
    /// The next program has finished: there is nothing to go back to any more.
    Finished,
    /// The next program refused the handover, and handed it back: the previous one goes on.
    HandedBack {
        /// Why it was refused.
        reason: String,
    },
    /// The program that was brought back goes on.
    WentOn,
    /// The program ended before it had finished. The one that handed over is started again.
    BroughtBack {
        /// What is started again.
        program: String,
        /// Why.
        reason: String,
    },
    /// It was brought back too often, or it is to end.
    GivenUp,
    /// It could not be started again. It is tried once more.
    NotStarted(String),
    /// The program sent something that was not understood, or can not be held.
    Refused(String),
}

/// More descriptors than a program has: what is beyond is not taken.
const DESCRIPTORS: usize = 1 << 20;
/// Batches of descriptors that are sent before the first of them is answered.
const AHEAD: usize = 8;
/// How long a program waits for its supervisor's answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is held of a handover that is not finished.
struct Held {
    ticket: Ticket,
    // By the numbers that they had in the program.
    fds: BTreeMap<RawFd, OwnedFd>,
    tries: u32,
    since: Instant,
    // The program that runs is the one that made it, started again.
    is_back: bool,
}

/// The program's side: a supervisor that it tells what happens.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: OwnedFd,
    // Whether somebody was told that the supervisor is gone.
    is_missed: AtomicBool,
}

impl Client {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        if let Err(error) = set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)) {
            tracing::debug!(%error, "a supervisor that does not answer is waited for without end");
        }
        let is_missed = AtomicBool::new(false);
        Self { socket, is_missed }
    }

    /// Whether the supervisor has ended, and nobody was told so by this yet.
    pub(crate) fn is_newly_gone(&self) -> bool {
        self.is_gone() && !self.is_missed.swap(true, Ordering::Relaxed)
    }

    /// Whether the supervisor has ended: its end of the socket is closed, and all that it held.
    pub(crate) fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let polled = retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())));
        let [socket] = fds;
        polled.is_ok() && socket.revents().contains(PollFlags::HUP)
    }

    pub(crate) fn sealed(&self, ticket: &File, fds: &[(RawFd, BorrowedFd<'_>)]) -> io::Result<()> {
        let mut unanswered = 0;
        for batch in fds.chunks(BATCH) {
            let (numbers, fds): (Vec<_>, Vec<_>) = batch.iter().copied().unzip();
            channel::send(&self.socket, &Message::Descriptors(numbers), &fds)?;
            unanswered += 1;
            if unanswered == AHEAD {
                self.answered()?;
                unanswered -= 1;
            }
        }
        for _ in 0..unanswered {
            self.answered()?;
        }
        self.tell(&Message::Sealed, &[ticket.as_fd()])
    }

    pub(crate) fn called_off(&self) -> io::Result<()> {
        self.tell(&Message::CalledOff, &[])
    }

    pub(crate) fn finished(&self) -> io::Result<()> {
        self.tell(&Message::Finished, &[])
    }

    fn tell(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        channel::send(&self.socket, message, fds)?;
        self.answered()
    }

    /// Waits for the answer to a message.
    fn answered(&self) -> io::Result<()> {
        let mut answer = [channel::REFUSED; 1];
        let received = retry_on_intr(|| recv(&self.socket, &mut answer, RecvFlags::empty()))?;
        match (received.1, answer) {
            (0, _) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the supervisor is gone",
            )),
            (_, [channel::DONE]) => Ok(()),
            _ => Err(io::Error::other("the supervisor refused it")),
        }
    }
}

/// Runs `command` and whatever it hands over to, to the end: the exit status of the last program.
///
/// A program that hands over leaves a copy of its descriptors here. If the next one ends before it
/// has finished, the one before is started again with everything that it handed over, in the
/// environment and directory that it had. What a program sends that is not understood is refused,
/// and ends nothing.
///
/// SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are passed on to the program; after a SIGTERM nothing is
/// brought back. SIGINT and SIGQUIT are left to the program, which a terminal sends them to as well.
/// The limit on open files is raised as far as it goes. All this stays so after the call.
///
/// # Errors
///
/// The program can not be started, or the system refuses what supervising needs.
pub fn supervise(command: Command, tell: impl FnMut(Event)) -> io::Result<ExitStatus> {
    supervise_within(command, None, tell)
}

/// As [`supervise`]; and a next program that has not finished within `takeover` of the handover is killed, and the
/// one before is started again. Without a time it may take as long as it wants.
///
/// # Errors
///
/// As [`supervise`].
pub fn supervise_within(
    mut command: Command,
    takeover: Option<Duration>,
    mut tell: impl FnMut(Event),
) -> io::Result<ExitStatus> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays");
    }
    let running = Running::default();
    running.forward()?;
    let mut desk = Desk::default();
    command.env_remove(HANDOVER_ENV).env_remove(RETURNED_ENV);
    let (mut child, mut socket) = running.start(&mut command, &[])?;
    tell(Event::Started(child.id()));
    loop {
        let held = desk.held.as_ref().filter(|held| !held.is_back);
        let until = takeover.and_then(|takeover| held?.since.checked_add(takeover));
        let late = match wait(&socket, &child, until)? {
            Woken::Late => {
                // What it says from here on is not answered: it has not finished, and will not have.
                running.send(Signal::KILL);
                takeover
            }
            woken => {
                desk.serve(&socket, child.id(), &mut tell);
                if woken == Woken::Message {
                    continue;
                }
                None
            }
        };
        let status = child.wait()?;
        running.process.store(0, Ordering::Release);
        desk.arrived.clear();
        let Some(waiting) = desk.held.as_mut().filter(|_| !running.is_ending()) else {
            return Ok(status);
        };
        let reason = match late {
            Some(takeover) => {
                format!("the program had not finished after {takeover:?}, and was killed")
            }
            None => format!(
                "the program ended before it had finished: {}",
                describe(status)
            ),
        };
        let mut started = None;
        while started.is_none() {
            if waiting.tries == TRIES || running.is_ending() {
                tell(Event::GivenUp);
                return Ok(status);
            }
            waiting.tries += 1;
            waiting.is_back = true;
            started = match running.bring_back(waiting, &reason) {
                Ok(started) => Some(started),
                Err(error) => {
                    // The machine may be short of something for a moment. What is held stays held.
                    tell(Event::NotStarted(error.to_string()));
                    std::thread::sleep(Duration::from_millis(200) * waiting.tries);
                    None
                }
            };
        }
        if let Some((again, other, program)) = started {
            (child, socket) = (again, other);
            tell(Event::BroughtBack { program, reason });
            tell(Event::Started(child.id()));
        }
    }
}

/// What programs have left here.
#[derive(Default)]
struct Desk {
    held: Option<Held>,
    // What came before the ticket that it belongs to.
    arrived: BTreeMap<RawFd, OwnedFd>,
    // What is closed when the program that waits for an answer has it.
    over: Option<Held>,
}

impl Desk {
    /// Takes and answers all messages there are.
    fn serve(&mut self, socket: &OwnedFd, process: u32, tell: &mut impl FnMut(Event)) {
        loop {
            let answer = match channel::receive(socket) {
                Ok(None) => return,
                Ok(Some((message, fds))) => match self.take(message, fds, process) {
                    Ok(event) => {
                        event.into_iter().for_each(&mut *tell);
                        channel::DONE
                    }
                    Err(error) => {
                        tell(Event::Refused(error.to_string()));
                        channel::REFUSED
                    }
                },
                Err(error) => {
                    tell(Event::Refused(error.to_string()));
                    channel::REFUSED
                }
            };
            // A program that has ended does not read it, and one that does not read is not waited for.
            let sent = channel::send_bytes(socket, &[answer], &[], SendFlags::DONTWAIT);
            self.over = None;
            if sent.is_err() && answer == channel::REFUSED {
                return;
            }
        }
    }

    fn take(
        &mut self,
        message: Message,
        fds: Vec<OwnedFd>,
        process: u32,
    ) -> io::Result<Option<Event>> {
        match message {
            Message::Descriptors(numbers) => {
                if numbers.len() != fds.len() || self.arrived.len() > DESCRIPTORS {
                    self.arrived.clear();
                    return Err(io::Error::other("descriptors did not arrive"));
                }
                self.arrived.extend(numbers.into_iter().zip(fds));
                Ok(None)
            }
            Message::Sealed => {
                let arrived = std::mem::take(&mut self.arrived);
                let ticket = fds
                    .into_iter()
                    .next()
                    .ok_or_else(|| io::Error::other("no ticket"))?;
                let (_, text) = read_ticket(ticket)?;
                let ticket = Ticket::parse(ticket_body(&text)).map_err(io::Error::other)?;
                if ticket.previous.is_none()
                    || ticket
                        .numbers()
                        .iter()
                        .any(|number| !arrived.contains_key(number))
                {
                    return Err(io::Error::other(
                        "a descriptor of the handover did not arrive",
                    ));
                }
                // Only finishing sets the count of tries back.
                let tries = self.held.as_ref().map_or(0, |held| held.tries);
                self.held = Some(Held {
                    ticket,
                    fds: arrived,
                    tries,
                    since: Instant::now(),
                    is_back: false,
                });
                Ok(Some(Event::Sealed))
            }
            Message::CalledOff => {
                self.held = None;
                self.arrived.clear();
                Ok(Some(Event::CalledOff))
            }
            Message::Finished => {
                self.over = self.held.take();
                let is_back = self.over.as_ref().is_some_and(|held| held.is_back);
                Ok(Some(match returned(process) {
                    _ if is_back => Event::WentOn,
                    Some(reason) => Event::HandedBack { reason },
                    None => Event::Finished,
                }))
            }
        }
    }
}

/// Why a handover came back to the program `process`, where it did: what the one that refused it says in the
/// environment. The message that it is finished is the same.
fn returned(process: u32) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{process}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let reason = variables.find_map(|variable| {
        let rest = variable.strip_prefix(RETURNED_ENV.as_bytes())?;
        rest.strip_prefix(b"=")
    })?;
    Some(String::from_utf8_lossy(reason).into_owned())
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

/// The program that runs, as the thread that passes signals on sees it.
#[derive(Default)]
struct Running {
    process: Arc<AtomicI32>,
    ending: Arc<AtomicBool>,
}

impl Running {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Starts the program again that handed over.
    fn bring_back(&self, held: &Held, reason: &str) -> io::Result<(Child, OwnedFd, String)> {
        let number = |number: RawFd| held.fds.get(&number).map(AsRawFd::as_raw_fd);
        let ticket = held.ticket.renumbered(number);
        let ticket =
            ticket.ok_or_else(|| io::Error::other("a descriptor of the handover is gone"))?;
        let program = ticket.previous.as_ref();
        let program =
            program.ok_or_else(|| io::Error::other("the handover does not say who made it"))?;
        let file = ticket.file()?;
        let mut command = program.command();
        command
            .env(HANDOVER_ENV, for_a_child(&file))
            .env(RETURNED_ENV, reason);
        let mut fds: Vec<_> = held.fds.values().map(AsFd::as_fd).collect();
        fds.push(file.as_fd());
        let (child, socket) = self.start(&mut command, &fds)?;
        Ok((child, socket, program.path().to_owned()))
    }

    /// Starts `command` with `fds` open, and a socket to this supervisor.
    fn start(&self, command: &mut Command, fds: &[BorrowedFd<'_>]) -> io::Result<(Child, OwnedFd)> {
        // One per program: what was answered to one that has ended is not for the next.
        let (here, there) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let all = || fds.iter().copied().chain([there.as_fd()]);
        command.env(
            SUPERVISOR_ENV,
            format!("{}:{}", there.as_raw_fd(), std::process::id()),
        );
        all().try_for_each(|fd| set_inheritable(fd, true))?;
        let child = command.spawn();
        all().try_for_each(|fd| set_inheritable(fd, false))?;
        let child = child?;
        self.process
            .store(i32::try_from(child.id()).unwrap_or(0), Ordering::Release);
        // One that came while there was no program.
        if self.is_ending() {
            self.send(Signal::TERM);
        }
        Ok((child, here))
    }

    fn send(&self, signal: Signal) {
        if let Some(process) = Pid::from_raw(self.process.load(Ordering::Acquire)) {
            // It may have ended just now.
            let _ = kill_process(process, signal);
        }
    }

    /// Passes signals on to the program.
    fn forward(&self) -> io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT])?;
        let this = Self {
            process: Arc::clone(&self.process),
            ending: Arc::clone(&self.ending),
        };
        std::thread::spawn(move || {
            for number in signals.forever() {
                if number == SIGTERM {
                    this.ending.store(true, Ordering::Release);
                }
                let own = number == SIGINT || number == SIGQUIT;
                if let Some(signal) = Signal::from_named_raw(number).filter(|_| !own) {
                    this.send(signal);
                }
            }
        });
        Ok(())
    }
}

/// What a supervisor waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Woken {
    Message,
    Ended,
    Late,
}

/// Waits for a message or the child's end, until `until` at most.
fn wait(socket: &OwnedFd, child: &Child, until: Option<Instant>) -> io::Result<Woken> {
    let gone = || io::Error::other("the child has no process number");
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(gone)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut fds = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(&process, PollFlags::IN),
        ];
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => return Ok(Woken::Late),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [_, process] = fds;
        return Ok(match process.revents().contains(PollFlags::IN) {
            true => Woken::Ended,
            false => Woken::Message,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::file_of;

    /// What is seen of a message, and what it is answered with.
    fn served(text: &str, fds: &[BorrowedFd<'_>]) -> (Vec<Event>, u8) {
        let kind = (
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
        );
        let (here, there) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        channel::send_bytes(&there, text.as_bytes(), fds, SendFlags::empty()).unwrap();
        let (mut events, mut answer) = (Vec::new(), [9; 1]);
        Desk::default().serve(&here, 0, &mut |event| events.push(event));
        recv(&there, &mut answer, RecvFlags::empty()).unwrap();
        (events, answer[0])
    }

    #[test]
    fn messages_and_tickets_of_another_version_are_refused_by_name() {
        for text in [r#"{"Sealed":{"ticket":1}}"#, r#""Paused""#, "[]"] {
            let (events, answer) = served(text, &[]);
            let [Event::Refused(reason)] = events.as_slice() else {
                panic!("{events:?}");
            };
            let expected = format!("found message `{text}`, expected one of kho-supervisor-v1: ");
            assert!(reason.starts_with(&expected), "{reason}");
            assert_eq!(answer, channel::REFUSED);
        }
        let ticket = file_of(b"\n{\"format\":\"kho-ticket-v2\",\"memory\":3}").unwrap();
        let reason = "found format `kho-ticket-v2`, expected `kho-ticket-v1`".to_owned();
        assert_eq!(
            served("\"Sealed\"", &[ticket.as_fd()]),
            (vec![Event::Refused(reason)], channel::REFUSED)
        );
        let known = (vec![Event::Finished], channel::DONE);
        assert_eq!(served("\"Finished\"", &[]), known);
    }
}
