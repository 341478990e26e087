//! Holding a handover while nobody else does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2};

use crate::channel::{self, BATCH, Message};
use crate::ticket::{HANDOVER_ENV, SUPERVISOR_ENV, Ticket};

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
    /// The program ended before it had finished. The one that handed over is started again.
    BroughtBack {
        /// What is started again.
        program: String,
        /// Why.
        reason: String,
    },
    /// It was brought back too often.
    GivenUp,
}

/// What is held of a handover that is not finished.
struct Held {
    ticket: Ticket,
    // By the numbers that they had in the program.
    fds: BTreeMap<RawFd, OwnedFd>,
    tries: u32,
}

/// The program's side: a supervisor that it tells what happens.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
}

impl Client {
    /// The supervisor's descriptor, where the environment names one and it is this process's parent.
    pub(crate) fn number() -> Option<RawFd> {
        let text = std::env::var(SUPERVISOR_ENV).ok()?;
        let (number, process) = text.split_once(':')?;
        let ours = process.parse() == Ok(std::os::unix::process::parent_id());
        number.parse().ok().filter(|_| ours)
    }

    pub(crate) const fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    pub(crate) fn sealed(
        &self,
        ticket: &Ticket,
        fds: &[(RawFd, BorrowedFd<'_>)],
    ) -> io::Result<()> {
        for batch in fds.chunks(BATCH) {
            let (numbers, fds): (Vec<_>, Vec<_>) = batch.iter().copied().unzip();
            self.tell(&Message::Descriptors(numbers), &fds)?;
        }
        self.tell(&Message::Sealed(Box::new(ticket.clone())), &[])
    }

    pub(crate) fn called_off(&self) -> io::Result<()> {
        self.tell(&Message::CalledOff, &[])
    }

    pub(crate) fn finished(&self) -> io::Result<()> {
        self.tell(&Message::Finished, &[])
    }

    fn tell(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        channel::send(&self.socket, message, fds)?;
        let mut answer = [0; 1];
        let (read, _) =
            rustix::net::recv(&self.socket, &mut answer, rustix::net::RecvFlags::empty())?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the supervisor is gone",
            ));
        }
        Ok(())
    }
}

/// Runs `command` and whatever it hands over to, to the end: the exit status of the last program.
///
/// A program that hands over leaves a copy of its descriptors here. If the next one ends before it
/// has finished, the one before is started again with everything that it handed over.
///
/// SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are passed on to the program; after a SIGTERM nothing is
/// brought back. (An interrupt from the terminal reaches the program by itself.)
///
/// # Errors
///
/// The program can not be started, or the system refuses what supervising needs.
pub fn supervise(mut command: Command, mut tell: impl FnMut(Event)) -> io::Result<ExitStatus> {
    let (here, there) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let child_process = Arc::new(AtomicI32::new(0));
    let ending = Arc::new(AtomicBool::new(false));
    forward(&child_process, &ending)?;
    let mut held: Option<Held> = None;
    // What came before the ticket that it belongs to.
    let mut arrived: BTreeMap<RawFd, OwnedFd> = BTreeMap::new();
    command.env_remove(HANDOVER_ENV);
    // What is brought back gets the environment that the first program got.
    let setting: Vec<(OsString, Option<OsString>)> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    let directory = command.get_current_dir().map(ToOwned::to_owned);
    let mut child = start(&mut command, &there, &[], &child_process)?;
    tell(Event::Started(child.id()));
    loop {
        let ended = wait(&here, &child)?;
        let mut drain = || -> io::Result<()> {
            while let Some((message, fds)) = channel::receive(&here)? {
                match message {
                    Message::Descriptors(numbers) => arrived.extend(numbers.into_iter().zip(fds)),
                    Message::Sealed(ticket) => {
                        held = Some(Held {
                            ticket: *ticket,
                            fds: std::mem::take(&mut arrived),
                            tries: 0,
                        });
                        tell(Event::Sealed);
                    }
                    Message::CalledOff => {
                        held = None;
                        tell(Event::CalledOff);
                    }
                    Message::Finished => {
                        held = None;
                        tell(Event::Finished);
                    }
                }
                channel::send_bytes(&here, &[1], &[])?;
            }
            Ok(())
        };
        drain()?;
        if !ended {
            continue;
        }
        let status = child.wait()?;
        child_process.store(0, Ordering::Release);
        arrived.clear();
        let Some(waiting) = held.as_mut().filter(|_| !ending.load(Ordering::Acquire)) else {
            return Ok(status);
        };
        if waiting.tries == TRIES {
            tell(Event::GivenUp);
            return Ok(status);
        }
        waiting.tries += 1;
        let reason = format!(
            "the next program ended before it had finished: {}",
            describe(status)
        );
        let (mut again, program) = bring_back(waiting, &reason)?;
        tell(Event::BroughtBack { program, reason });
        for (name, value) in setting.iter().filter(|(name, _)| name != HANDOVER_ENV) {
            match value {
                Some(value) => again.env(name, value),
                None => again.env_remove(name),
            };
        }
        if let Some(directory) = &directory {
            again.current_dir(directory);
        }
        let fds: Vec<_> = waiting.fds.values().map(AsFd::as_fd).collect();
        child = start(&mut again, &there, &fds, &child_process)?;
        tell(Event::Started(child.id()));
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

/// The command that starts the program again that handed over.
fn bring_back(held: &Held, reason: &str) -> io::Result<(Command, String)> {
    let number = |number: RawFd| held.fds.get(&number).map(AsRawFd::as_raw_fd);
    let mut ticket = held
        .ticket
        .renumbered(number)
        .ok_or_else(|| io::Error::other("a descriptor of the handover did not arrive"))?;
    let program = ticket
        .previous
        .take()
        .ok_or_else(|| io::Error::other("the handover does not say who made it"))?;
    ticket.process = None;
    ticket.parent = Some(std::process::id());
    ticket.returned = Some(reason.to_owned());
    let mut command = program.command();
    command.env(HANDOVER_ENV, ticket.text());
    Ok((command, program.path().to_owned()))
}

/// Starts `command` with `there` and `fds` open.
fn start(
    command: &mut Command,
    there: &OwnedFd,
    fds: &[BorrowedFd<'_>],
    process: &AtomicI32,
) -> io::Result<Child> {
    let all = || fds.iter().copied().chain([there.as_fd()]);
    command.env(
        SUPERVISOR_ENV,
        format!("{}:{}", there.as_raw_fd(), std::process::id()),
    );
    all().try_for_each(|fd| fcntl_setfd(fd, FdFlags::empty()))?;
    let child = command.spawn();
    all().try_for_each(|fd| fcntl_setfd(fd, FdFlags::CLOEXEC))?;
    let child = child?;
    process.store(i32::try_from(child.id()).unwrap_or(0), Ordering::Release);
    Ok(child)
}

/// Waits for a message or the child's end; returns whether it has ended.
fn wait(socket: &OwnedFd, child: &Child) -> io::Result<bool> {
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
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [_, process] = fds;
        return Ok(process.revents().contains(PollFlags::IN));
    }
}

/// Passes signals on to the child.
fn forward(process: &Arc<AtomicI32>, ending: &Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGHUP, SIGUSR1, SIGUSR2])?;
    let (process, ending) = (Arc::clone(process), Arc::clone(ending));
    std::thread::spawn(move || {
        for number in signals.forever() {
            if number == SIGTERM {
                ending.store(true, Ordering::Release);
            }
            let pid = Pid::from_raw(process.load(Ordering::Acquire));
            if let Some((pid, signal)) = pid.zip(Signal::from_named_raw(number)) {
                // It may have ended just now.
                let _ = kill_process(pid, signal);
            }
        }
    });
    Ok(())
}
