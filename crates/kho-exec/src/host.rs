//! A process that takes part in live updates.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::Command;
use std::sync::Arc;

use kho_compat::{Policy, Registry, RegistryError, Side, Verdict, Writing, policy};
use kho_core::{Attached, Kho, KhoConfig, KhoError, OpenError};
use kho_fd::{FdHandler, FdTable};
use kho_luo::{
    FileHandler, FileRef, FlbHandler, Frozen, Handlers, Incoming, IncomingError, LuoError, Name,
    Orchestrator, RetrievedSession, TakeOverError,
};
use kho_mem::inherit::{HANDOVER_ENV, Inherited, SUPERVISOR_ENV, set_inheritable};
use kho_mem::{
    ARENA_ALIGN, Arena, ArenaConfig, ArenaError, Handed, HugePages, PhysAddr, PhysRange,
};
use kho_memfd::MemfdHandler;

use crate::Program;
use crate::exec::{Prepared, RETURNED_ENV};
use crate::store::{self, Store};
use crate::supervise::Client;
use crate::ticket::{FORMAT, Mark, Ticket, file_of, for_this_process, now};

/// How a process takes part in live updates.
#[derive(Clone)]
pub struct Config {
    base: PhysAddr,
    size: u64,
    huge: HugePages,
    writing: Writing,
    release: String,
    registry: Option<&'static Registry>,
    side: Option<Side>,
    next: Option<Side>,
    degrade: bool,
    policy: Arc<dyn Policy + Send + Sync>,
    handlers: Handlers,
    hand_back: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// A sparse arena of 64 GiB from 4 GiB on, the composite dialect, and the handlers of memfds
    /// ([`kho_memfd::MemFile`]) and descriptors ([`kho_fd::FdFile`]).
    #[must_use]
    pub fn new() -> Self {
        Self {
            base: PhysAddr::new(4 << 30),
            size: 64 << 30,
            huge: HugePages::Never,
            writing: Writing::COMPOSITE,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            registry: None,
            side: None,
            next: None,
            degrade: false,
            policy: Arc::new(policy::SemverRange),
            handlers: Handlers::new(),
            hand_back: true,
        }
    }

    /// The arena of a process that takes nothing over: `size` bytes from `base` on, both multiples
    /// of 4 MiB. It is sparse: what is not used takes no memory. A handover that is taken over
    /// brings its own.
    #[must_use]
    pub const fn arena(mut self, base: PhysAddr, size: u64) -> Self {
        self.base = base;
        self.size = size;
        self
    }

    /// Whether that arena asks for huge pages.
    #[must_use]
    pub const fn huge_pages(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }

    /// How versions are written. The composite dialect, which is the default, lets the next
    /// program see every component's version.
    #[must_use]
    pub const fn writing(mut self, writing: Writing) -> Self {
        self.writing = writing;
        self
    }

    /// This program's release, 1 to 64 bytes, for the kexec metadata.
    #[must_use]
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    /// The components by which a handover is read and judged, instead of those that are linked. What
    /// this program hands over is of their versions, unless [`Config::side`] says otherwise.
    #[must_use]
    pub const fn registry(mut self, registry: &'static Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Which versions this program writes, instead of those of its registry.
    #[must_use]
    pub fn side(mut self, side: Side) -> Self {
        self.side = Some(side);
        self
    }

    /// Who is to take over from this program, where that is known: of each component the newest
    /// version is written that this program can write and `next` restores. Without it, this program's
    /// own versions are.
    #[must_use]
    pub fn next(mut self, next: Side) -> Self {
        self.next = Some(next);
        self
    }

    /// Whether a handover is taken over of which optional parts are lost. It is refused, unless this
    /// says otherwise. Where it is taken over, [`Host::verdict`] says what is lost; files of it can
    /// not be retrieved, and their memory is freed when the handover is finished.
    ///
    /// Kexec metadata and `reserve_mem` regions of another version are no reason to refuse: a host
    /// makes no use of them.
    #[must_use]
    pub const fn degrade(mut self, degrade: bool) -> Self {
        self.degrade = degrade;
        self
    }

    /// The policy by which a handover is judged.
    #[must_use]
    pub fn policy(mut self, policy: impl Policy + Send + Sync + 'static) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Adds a handler for a kind of file of one's own.
    #[must_use]
    pub fn handler(mut self, handler: impl FileHandler) -> Self {
        self.handlers = self.handlers.with(handler);
        self
    }

    /// Adds an object that the files of a component's handler depend on.
    #[must_use]
    pub fn flb(mut self, component: &str, flb: impl FlbHandler) -> Self {
        self.handlers = self.handlers.with_flb(component, flb);
        self
    }

    /// Whether a handover that is refused goes back to the program that made it, by executing that
    /// again. It does, unless this says otherwise; then [`Host::start`] fails.
    #[must_use]
    pub const fn hand_back(mut self, hand_back: bool) -> Self {
        self.hand_back = hand_back;
        self
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("base", &self.base)
            .field("size", &self.size)
            .field("writing", &self.writing)
            .field("policy", &self.policy.name())
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

/// A process that can not start: neither with what was handed over, nor afresh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The environment names a handover that is not there.
    #[error("{HANDOVER_ENV} is no handover: {0}")]
    Ticket(String),
    /// The arena can not be made or attached to.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// The handover is damaged, or its root is of another version.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The handover is refused.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// It is refused, and the program that made it could not be executed again.
    #[error("{reason}; handing it back failed: {error}")]
    HandBack {
        /// Why it is refused.
        reason: String,
        /// What the exec said.
        error: io::Error,
    },
    /// The linked components contradict each other.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The system refuses.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        error: io::Error,
    },
}

/// A handover that can not be finished. It is not: it can still be handed back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// Files were not retrieved: what they hold would be lost.
    #[error(
        "{count} files were not retrieved, the first of them token {token:#x} in session `{session}`"
    )]
    NotRetrieved {
        /// The first one's session.
        session: Name,
        /// The first one's token.
        token: u64,
        /// How many there are.
        count: u64,
    },
    /// A handler is not done with a file.
    #[error(transparent)]
    Incoming(#[from] IncomingError),
    /// The supervisor does not know, and would bring the previous program back.
    #[error("the supervisor was not told: {0}")]
    NotTold(io::Error),
}

/// A handover that did not happen. The program goes on, with everything as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// What came in is not finished yet: what is not one's own can not be handed over.
    #[error("the handover that this process came from is not finished")]
    NotFinished,
    /// A session, a file or the freeze failed.
    #[error(transparent)]
    Luo(#[from] LuoError),
    /// The handover's core failed.
    #[error(transparent)]
    Kho(#[from] KhoError),
    /// The next program could not be executed.
    #[error("executing {program}: {error}")]
    Exec {
        /// The program.
        program: String,
        /// What the system said.
        error: io::Error,
    },
    /// A supervisor, or the service manager's store, did not take the handover: without it a crash of
    /// the next program would lose everything.
    #[error("{what} did not take the handover: {error}")]
    NotHeld {
        /// Who.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The system refuses.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        error: io::Error,
    },
}

/// A process that takes part in live updates: see the crate's documentation.
pub struct Host {
    arena: Arena,
    scratch: Vec<PhysRange>,
    handlers: Handlers,
    table: FdTable,
    config: Config,
    generation: u64,
    kexecs: u32,
    incoming: Option<Incoming>,
    sessions: HashMap<Vec<u8>, RetrievedSession>,
    returned: Option<String>,
    // Until the handover that came in is finished.
    way_back: Option<WayBack>,
    // What the service manager stores of it, by name.
    stored: Vec<String>,
    program: Program,
    exe: OwnedFd,
    supervisor: Option<Client>,
    store: Option<Store>,
    marks: Vec<Mark>,
}

fn mark(marks: &mut Vec<Mark>, what: &str) {
    marks.push(Mark {
        what: what.to_owned(),
        at: now(),
    });
}

/// A handover that can go back: the ticket, and everything that came with it.
struct WayBack {
    ticket: Vec<u8>,
    program: Program,
    fds: Vec<Arc<OwnedFd>>,
}

/// The longest reason that is passed on: an environment variable has its limit.
const REASON_MAX: usize = 4096;

impl WayBack {
    /// Executes the program that handed over again. Returns only where that failed.
    fn go(&self, supervisor: Option<&Client>, reason: &str) -> io::Error {
        let mut reason = reason.replace('\0', " ");
        if reason.len() > REASON_MAX {
            reason.truncate(reason.floor_char_boundary(REASON_MAX));
            reason.push_str(" ...");
        }
        let go = || -> io::Result<io::Error> {
            let file = file_of(&self.ticket)?;
            let mut program = self.program.prepared()?;
            program.set(HANDOVER_ENV, &for_this_process(&file))?;
            program.set(RETURNED_ENV, OsStr::new(&reason))?;
            let socket = supervisor.map(|client| client.socket.as_fd());
            let fds = self.fds.iter().map(|fd| fd.as_fd());
            let all: Vec<_> = fds.chain([file.as_fd()]).chain(socket).collect();
            all.iter().try_for_each(|fd| set_inheritable(fd, true))?;
            let error = program.exec();
            all.iter().try_for_each(|fd| set_inheritable(fd, false))?;
            Ok(error)
        };
        go().unwrap_or_else(|error| error)
    }
}

impl Host {
    /// Starts: takes over what a predecessor left, or begins afresh where there is nothing.
    ///
    /// To be called first thing in a program, before it opens files of its own.
    ///
    /// A handover is checked and judged before anything of it is touched. One that is refused goes
    /// back to the program that made it ([`Config::hand_back`]): then this does not return.
    ///
    /// # Errors
    ///
    /// The handover is refused and can not be handed back, or there is no memory for an arena.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let mut marks = Vec::new();
        mark(&mut marks, "start");
        let mut inherited =
            Inherited::from_env().map_err(|error| StartError::Ticket(error.to_string()))?;
        let supervisor = inherited.take_supervisor().map(Client::new);
        if supervisor.is_none() && std::env::var_os(SUPERVISOR_ENV).is_some() {
            tracing::debug!("{SUPERVISOR_ENV} is another process's");
        }
        let store = Store::from_env().filter(|_| supervisor.is_none());
        let this = Program::this().map_err(|error| StartError::System {
            what: "opening this program",
            error,
        });
        if inherited.ticket().is_none() {
            let (program, exe) = this?;
            return Self::fresh(config, program, exe, supervisor, store, marks);
        }
        let back = match std::env::var(RETURNED_ENV) {
            Ok(reason) => Some(reason),
            Err(_) if inherited.is_stored() => {
                Some("the program ended, and was started again".to_owned())
            }
            Err(_) => None,
        };
        let arrival = Arrival::new(inherited);
        let opened = this.and_then(|this| Ok((this, arrival.open(&config, &mut marks)?)));
        let ((program, exe), opened) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // What came back already goes no further.
                let way_back = arrival
                    .way_back
                    .filter(|_| config.hand_back && back.is_none());
                let Some(way_back) = way_back else {
                    return Err(error);
                };
                let reason = error.to_string();
                tracing::debug!(reason, "handing back");
                let error = way_back.go(supervisor.as_ref(), &reason);
                return Err(StartError::HandBack { reason, error });
            }
        };
        let Opened { incoming, handlers } = opened;
        let arena = incoming.settle();
        mark(&mut marks, "settled");
        let scratch = {
            let held = incoming.held().read();
            let handover = held.handover();
            handover
                .scratch()
                .map(|table| table.areas().to_vec())
                .unwrap_or_default()
        };
        // What comes back is the generation that it was.
        let generation = incoming.number().saturating_sub(u64::from(back.is_some()));
        let kexecs = incoming.kexec_count().unwrap_or(0);
        Ok(Self {
            arena,
            scratch,
            handlers,
            table: arrival.table,
            generation,
            kexecs: kexecs.saturating_add(u32::from(back.is_none())),
            incoming: Some(incoming),
            sessions: HashMap::new(),
            returned: back,
            way_back: arrival.way_back,
            stored: arrival.names,
            program,
            exe,
            supervisor,
            store,
            marks,
            config,
        })
    }

    fn fresh(
        config: Config,
        program: Program,
        exe: OwnedFd,
        supervisor: Option<Client>,
        store: Option<Store>,
        mut marks: Vec<Mark>,
    ) -> Result<Self, StartError> {
        // The format asks for at least one scratch area: the last of the arena's.
        let start = config
            .base
            .get()
            .saturating_add(config.size)
            .saturating_sub(ARENA_ALIGN);
        let scratch: Vec<_> = PhysRange::new(PhysAddr::new(start), ARENA_ALIGN)
            .into_iter()
            .collect();
        let mut arena = ArenaConfig::new(config.base, config.size).huge_pages(config.huge);
        for area in &scratch {
            arena = arena.scratch(*area);
        }
        let arena = Arena::memfd(&arena)?;
        mark(&mut marks, "arena");
        let table = FdTable::default();
        Ok(Self {
            arena,
            scratch,
            handlers: handlers(&config, &table),
            table,
            generation: 0,
            kexecs: 0,
            incoming: None,
            sessions: HashMap::new(),
            returned: None,
            way_back: None,
            stored: Vec::new(),
            program,
            exe,
            supervisor,
            store,
            marks,
            config,
        })
    }

    /// The arena, for files that are made here. All of it is free that no handover uses.
    #[must_use]
    pub const fn arena(&self) -> &Arena {
        &self.arena
    }

    /// How many live updates led to this program: 0 for one that began afresh.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether this program came from a handover that is not finished.
    #[must_use]
    pub const fn is_incoming(&self) -> bool {
        self.incoming.is_some()
    }

    /// The verdict that admitted what was handed over, until that is finished.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.incoming
            .as_ref()
            .map(|incoming| incoming.admitted().verdict())
    }

    /// Why a handover of this program came back to it, where it did: the next program refused it,
    /// or ended before it had finished.
    #[must_use]
    pub fn returned(&self) -> Option<&str> {
        self.returned.as_deref()
    }

    /// What happened when, from the freeze of the program before on.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Notes that something happened, for [`Host::marks`].
    pub fn mark(&mut self, what: &str) {
        mark(&mut self.marks, what);
    }

    /// Retrieves the file of `token` in the session `session`, a `T`; `None` where nothing was
    /// handed over, or no such session or file.
    ///
    /// Until [`Host::finish`] it can be read, and not written.
    ///
    /// # Errors
    ///
    /// The file is damaged, of another kind, or lost.
    pub fn retrieve<T: Any + Send + Sync>(
        &mut self,
        session: impl AsRef<[u8]>,
        token: u64,
    ) -> Result<Option<Arc<T>>, IncomingError> {
        let Some(incoming) = &self.incoming else {
            return Ok(None);
        };
        let name = session.as_ref();
        if !self.sessions.contains_key(name) {
            match incoming.session(name) {
                Ok(session) => self.sessions.insert(name.to_vec(), session),
                Err(IncomingError::NoSession(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
        }
        let Some(session) = self.sessions.get(name) else {
            return Ok(None);
        };
        match session.retrieve(token) {
            Ok(file) => Ok(Some(file)),
            Err(IncomingError::NoFile { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many files are lost of what was handed over: see [`Config::degrade`]. They count neither as
    /// retrieved nor as waiting.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.incoming.as_ref().map_or(0, Incoming::lost)
    }

    /// Ends the handover that this program came from: everything that was retrieved is its own. There
    /// is no way back from here on. Does nothing where nothing was handed over.
    ///
    /// # Errors
    ///
    /// A file was not retrieved: what it holds would be lost. ([`Host::finish_and_discard`] says that
    /// it may be.) A handler is not done with a file yet. The supervisor was not told, so that it would
    /// start the previous program with memory that this one changes. Nothing is finished then.
    pub fn finish(&mut self) -> Result<(), FinishError> {
        if let Some((session, token, count)) = self.incoming.as_ref().and_then(Incoming::waiting) {
            return Err(FinishError::NotRetrieved {
                session,
                token,
                count,
            });
        }
        self.finish_and_discard()
    }

    /// As [`Host::finish`], and files that were not retrieved are freed.
    ///
    /// # Errors
    ///
    /// As [`Host::finish`], but for those.
    pub fn finish_and_discard(&mut self) -> Result<(), FinishError> {
        let Some(incoming) = &self.incoming else {
            return Ok(());
        };
        incoming.can_finish()?;
        // First those who would bring the previous program back: from here on it would find memory
        // that this one may have changed.
        if let Some(supervisor) = &self.supervisor {
            supervisor.finished().map_err(FinishError::NotTold)?;
        }
        if let Some(store) = &self.store {
            store.remove(std::mem::take(&mut self.stored));
        }
        incoming.finish()?;
        self.incoming = None;
        self.sessions.clear();
        self.way_back = None;
        mark(&mut self.marks, "finished");
        Ok(())
    }

    /// Gives up what this program came from: executes the one that handed over again, with the
    /// handover as it was found. For a program that finds, after it has started, that it can not go
    /// on with what it retrieved. Returns only if that failed, or there is no way back.
    pub fn hand_back(&self, reason: &str) -> io::Error {
        match &self.way_back {
            Some(way_back) => way_back.go(self.supervisor.as_ref(), reason),
            None => io::Error::other("there is no program to hand back to"),
        }
    }

    /// The outgoing side of an update: sessions are made in it and files preserved. Files may be
    /// written to until [`Host::exec`], but for their size.
    ///
    /// # Errors
    ///
    /// What came in is not finished, no memory is left, or this program is to write versions that it
    /// can not.
    pub fn orchestrator(&self) -> Result<Orchestrator, HandOverError> {
        if self.incoming.is_some() {
            return Err(HandOverError::NotFinished);
        }
        let config = KhoConfig::new()
            .writing(self.config.writing)
            .side(self.written()?)
            .scratch(self.scratch.iter().copied())
            .metadata(self.config.release.clone(), self.kexecs);
        let kho = Kho::new(self.arena.clone(), &config)?;
        Ok(Orchestrator::new(
            kho,
            self.handlers.clone(),
            self.generation,
        )?)
    }

    /// The versions that this program writes.
    fn written(&self) -> Result<Side, KhoError> {
        let side = match (&self.config.side, self.config.registry) {
            (Some(side), _) => side,
            (None, Some(registry)) => registry.side(),
            (None, None) => Registry::linked().map_err(Clone::clone)?.side(),
        };
        Ok(match &self.config.next {
            Some(next) => side.newest_common(next),
            None => side.clone(),
        })
    }

    /// Hands `files` over as the session `session` to the program `next`: preserves and freezes
    /// them, and executes it. Returns only if that failed: the program goes on then, with
    /// everything as before.
    pub fn hand_over(
        &self,
        session: impl AsRef<[u8]>,
        files: impl IntoIterator<Item = (u64, FileRef)>,
        next: Command,
    ) -> HandOverError {
        let preserve = || {
            let orchestrator = self.orchestrator()?;
            let session = orchestrator.create_session(session)?;
            for (token, file) in files {
                session.preserve(token, file)?;
            }
            Ok((orchestrator, session))
        };
        match preserve() {
            Ok((orchestrator, _session)) => self.exec(&orchestrator, next),
            Err(error) => error,
        }
    }

    /// Freezes what `orchestrator` holds and executes `next`, which takes it over. Returns only if
    /// that failed: everything is thawed then.
    ///
    /// The program is looked for before anything is frozen. Signals and the directory are this
    /// process's until the exec, and stay so if it fails. A signal that comes between the freeze and
    /// the exec, and is only noted by its handler, is lost with this program.
    pub fn exec(&self, orchestrator: &Orchestrator, next: Command) -> HandOverError {
        if self.incoming.is_some() {
            return HandOverError::NotFinished;
        }
        let program = next.get_program().display().to_string();
        let mut prepared = match Prepared::of(&next) {
            Ok(prepared) => prepared,
            Err(error) => return HandOverError::Exec { program, error },
        };
        // While the program still serves: the exec would take its time otherwise.
        if let Err(error) = self.arena.unmap() {
            tracing::debug!(%error, "the arena has no advice on huge pages");
        }
        let mut marks = Vec::new();
        mark(&mut marks, "freeze");
        match orchestrator.freeze() {
            Ok(frozen) => {
                mark(&mut marks, "frozen");
                let error = self.exec_frozen(&frozen, &mut prepared, program, marks);
                frozen.thaw();
                error
            }
            Err(error) => error.into(),
        }
    }

    fn exec_frozen(
        &self,
        frozen: &Frozen,
        next: &mut Prepared,
        program: String,
        mut marks: Vec<Mark>,
    ) -> HandOverError {
        let Some(arena) = self.arena.file() else {
            return HandOverError::System {
                what: "the arena",
                error: io::Error::other("it is on the heap: an exec does not keep it"),
            };
        };
        let outgoing = self.table.outgoing();
        let entry = frozen.entry();
        mark(&mut marks, "exec");
        let ticket = Ticket {
            format: FORMAT.to_owned(),
            arena: arena.as_raw_fd(),
            base: self.arena.range().start().get(),
            size: self.arena.range().len(),
            fdt: entry.fdt_addr.get(),
            scratch: entry.scratch.map(|(addr, size)| (addr.get(), size)),
            fds: outgoing
                .iter()
                .map(|(number, _)| (*number, *number))
                .collect(),
            previous: Some(self.program.clone()),
            marks,
        };
        let system = |what| move |error| HandOverError::System { what, error };
        let file = match ticket.file().map_err(system("the ticket")) {
            Ok(file) => file,
            Err(error) => return error,
        };
        let own = [
            (arena.as_raw_fd(), arena.as_fd()),
            (self.exe.as_raw_fd(), self.exe.as_fd()),
        ];
        let files = outgoing
            .iter()
            .map(|(number, file)| (*number, file.as_fd()));
        let fds: Vec<(RawFd, BorrowedFd<'_>)> = own.iter().copied().chain(files).collect();
        let error = match self.hold(&file, &fds) {
            Ok(()) => {
                let socket = self.supervisor.as_ref().map(|client| client.socket.as_fd());
                let pass = || {
                    own.iter()
                        .map(|(_, fd)| *fd)
                        .chain([file.as_fd()])
                        .chain(socket)
                };
                let passed = pass().try_for_each(|fd| set_inheritable(fd, true));
                let passed = passed.and_then(|()| next.set(HANDOVER_ENV, &for_this_process(&file)));
                let error = match passed {
                    Ok(()) => next.exec(),
                    Err(error) => error,
                };
                // Still here.
                if let Err(error) = pass().try_for_each(|fd| set_inheritable(fd, false)) {
                    tracing::debug!(%error, "the arena stays inheritable");
                }
                HandOverError::Exec { program, error }
            }
            Err(error) => error,
        };
        if let Some(supervisor) = &self.supervisor
            && let Err(error) = supervisor.called_off()
        {
            tracing::warn!(%error, "the supervisor was not told that the update was called off");
        }
        if let Some(store) = &self.store {
            store.remove(fds.iter().map(|(number, _)| store::name_of(*number)));
        }
        error
    }

    /// Leaves a copy with those who would bring this program back.
    fn hold(&self, ticket: &File, fds: &[(RawFd, BorrowedFd<'_>)]) -> Result<(), HandOverError> {
        let not_held = |what| move |error| HandOverError::NotHeld { what, error };
        if let Some(supervisor) = &self.supervisor {
            supervisor
                .sealed(ticket, fds)
                .map_err(not_held("the supervisor"))?;
        }
        if let Some(store) = &self.store {
            store
                .sealed(ticket, fds)
                .map_err(not_held("the service manager's descriptor store"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("generation", &self.generation)
            .field("arena", &self.arena)
            .field("incoming", &self.incoming)
            .field("returned", &self.returned)
            .finish_non_exhaustive()
    }
}

fn handlers(config: &Config, table: &FdTable) -> Handlers {
    config
        .handlers
        .clone()
        .with(MemfdHandler)
        .with(FdHandler::new(table.clone()))
}

/// A handover that arrived, before it is opened.
struct Arrival {
    ticket: Result<Ticket, String>,
    arena: Option<Arc<OwnedFd>>,
    table: FdTable,
    names: Vec<String>,
    way_back: Option<WayBack>,
}

struct Opened {
    incoming: Incoming,
    handlers: Handlers,
}

impl Arrival {
    /// Sorts out what came with a ticket. Nothing fails here: what is wrong is found when it is
    /// opened, when the way back is known.
    fn new(inherited: Inherited) -> Self {
        let body = inherited.ticket().unwrap_or_default();
        let mut ticket = Ticket::parse(body);
        let mut previous = Ticket::previous(body);
        let mut text = inherited.whole_ticket().unwrap_or_default().to_vec();
        if inherited.is_stored() {
            // The service manager chose other numbers.
            let here = |number| inherited.named(&store::name_of(number));
            ticket = ticket.and_then(|ticket| {
                let ticket = ticket.renumbered(here);
                ticket.ok_or_else(|| "a stored descriptor is missing".to_owned())
            });
            let known = ticket.as_ref().ok();
            previous = known.and_then(|ticket| ticket.previous.clone());
            text = known
                .and_then(|ticket| ticket.text().ok())
                .unwrap_or_default();
        }
        // What the service manager has is called by the numbers of the program that stored it.
        let names: Vec<String> = match &ticket {
            Ok(ticket) if !inherited.is_stored() => {
                ticket.numbers().into_iter().map(store::name_of).collect()
            }
            _ => inherited.names().map(ToOwned::to_owned).collect(),
        };
        let fds: BTreeMap<RawFd, Arc<OwnedFd>> = inherited.into_fds();
        let get = |number: &RawFd| fds.get(number).cloned();
        let arena = ticket.as_ref().ok().and_then(|ticket| get(&ticket.arena));
        let files = ticket
            .as_ref()
            .map(|ticket| ticket.fds.clone())
            .unwrap_or_default();
        let files = files
            .iter()
            .filter_map(|(number, here)| Some((*number, get(here)?)));
        let table = FdTable::new(files);
        let program = previous.filter(|program| fds.contains_key(&program.exe));
        let way_back = program.map(|program| WayBack {
            ticket: text,
            program,
            fds: fds.into_values().collect(),
        });
        Self {
            ticket,
            arena,
            table,
            names,
            way_back,
        }
    }

    /// Attaches, checks and judges.
    fn open(&self, config: &Config, marks: &mut Vec<Mark>) -> Result<Opened, StartError> {
        let ticket = self
            .ticket
            .as_ref()
            .map_err(|error| StartError::Ticket(error.clone()))?;
        let mut all = ticket.marks.clone();
        all.append(marks);
        *marks = all;
        let missing = || {
            StartError::Ticket(format!(
                "descriptor {}, the arena, was not inherited",
                ticket.arena
            ))
        };
        let registry = match config.registry {
            Some(registry) => registry,
            None => Registry::linked().map_err(Clone::clone)?,
        };
        let arena = self.arena.as_ref().ok_or_else(missing)?;
        // The inherited descriptor stays, to be handed back.
        let file = arena.try_clone().map_err(|error| StartError::System {
            what: "the arena's descriptor",
            error,
        })?;
        let place =
            ArenaConfig::new(PhysAddr::new(ticket.base), ticket.size).huge_pages(config.huge);
        let handed = Handed::attach(File::from(file), &place)?;
        mark(marks, "attached");
        let attached =
            Attached::open_with(handed, ticket.entry(), registry).map_err(|failed| failed.error)?;
        mark(marks, "checked");
        let handlers = handlers(config, &self.table);
        let take_over = if config.degrade {
            Incoming::take_over_degraded
        } else {
            Incoming::take_over
        };
        let taken = take_over(attached, registry, &*config.policy, handlers.clone());
        let incoming = taken.map_err(|failed| failed.error)?;
        mark(marks, "judged");
        Ok(Opened { incoming, handlers })
    }
}
