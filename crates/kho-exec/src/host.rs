//! A process that takes part in live updates.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use kho_compat::{Dialect, Policy, Registry, RegistryError, policy};
use kho_core::{Attached, Kho, KhoConfig, KhoError, OpenError};
use kho_fd::{FdHandler, FdTable};
use kho_luo::{
    FileHandler, FileRef, FlbHandler, Frozen, Handlers, Incoming, IncomingError, LuoError,
    Orchestrator, RetrievedSession, TakeOverError,
};
use kho_mem::{
    ARENA_ALIGN, Arena, ArenaConfig, ArenaError, Handed, HugePages, Inherited, PhysAddr, PhysRange,
};
use kho_memfd::MemfdHandler;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::Program;
use crate::store::{self, Store};
use crate::supervise::Client;
use crate::ticket::{FORMAT, HANDOVER_ENV, Mark, Ticket, now};

/// How a process takes part in live updates.
#[derive(Clone)]
pub struct Config {
    base: PhysAddr,
    size: u64,
    huge: HugePages,
    dialect: Dialect,
    release: String,
    registry: Option<&'static Registry>,
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
            dialect: Dialect::Composite,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            registry: None,
            policy: Arc::new(policy::Restorable),
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

    /// How compat strings are written. The composite dialect, which is the default, lets the next
    /// program see every component's version.
    #[must_use]
    pub const fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// This program's release, 1 to 64 bytes, for the kexec metadata.
    #[must_use]
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    /// The components by which a handover is judged, instead of those that are linked.
    #[must_use]
    pub const fn registry(mut self, registry: &'static Registry) -> Self {
        self.registry = Some(registry);
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
            .field("dialect", &self.dialect)
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
    // The descriptors that lead back, until there is no way back.
    way_back: Vec<OwnedFd>,
    stored: Vec<RawFd>,
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

/// A ticket for this process, and the descriptors that were inherited with it.
struct Found {
    ticket: Ticket,
    inherited: Inherited,
}

fn find(supervisor: Option<RawFd>) -> Result<(Option<Found>, Inherited), StartError> {
    let bad = |text: String| StartError::Ticket(text);
    let io = |error: io::Error| StartError::Ticket(error.to_string());
    if let Some(text) = std::env::var_os(HANDOVER_ENV) {
        let text = text
            .into_string()
            .map_err(|_| bad("it is not text".to_owned()))?;
        let ticket = Ticket::parse(&text).map_err(bad)?;
        if ticket.is_ours() {
            let numbers = ticket.numbers().into_iter().chain(supervisor);
            let inherited = Inherited::take(numbers).map_err(io)?;
            return Ok((Some(Found { ticket, inherited }), Inherited::default()));
        }
        tracing::debug!("{HANDOVER_ENV} is another process's");
    }
    let listed = store::listed();
    if let Some(number) = store::ticket_number(&listed) {
        let ours = listed.iter().filter(|(_, name)| name.starts_with("kho-"));
        let numbers = ours.map(|(number, _)| *number).chain(supervisor);
        let mut inherited = Inherited::take(numbers).map_err(io)?;
        let fd = inherited
            .remove(number)
            .ok_or_else(|| bad("the stored ticket is gone".to_owned()))?;
        let ticket = Ticket::parse(&store::read(fd).map_err(io)?).map_err(bad)?;
        let here = ticket.renumbered(|number| store::number_of(&listed, number));
        let mut ticket = here.ok_or_else(|| bad("a stored descriptor is missing".to_owned()))?;
        ticket.returned = Some("the program ended, and was started again".to_owned());
        return Ok((Some(Found { ticket, inherited }), Inherited::default()));
    }
    let inherited = Inherited::take(supervisor).unwrap_or_default();
    Ok((None, inherited))
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
        let system = |what| move |error| StartError::System { what, error };
        let (program, exe) = Program::this().map_err(system("opening this program"))?;
        let registry = match config.registry {
            Some(registry) => registry,
            None => Registry::linked().map_err(Clone::clone)?,
        };
        let number = Client::number();
        let (found, mut others) = find(number)?;
        let store = Store::from_env().filter(|_| number.is_none());
        let Some(Found {
            ticket,
            mut inherited,
        }) = found
        else {
            let supervisor = number
                .and_then(|number| others.remove(number))
                .map(Client::new);
            return Self::fresh(config, program, exe, supervisor, store, marks);
        };
        let supervisor = number
            .and_then(|number| inherited.remove(number))
            .map(Client::new);
        let taken = take(&ticket, &mut inherited);
        let (arena_fd, mut way_back) = taken.map_err(system("the descriptors of the handover"))?;
        let mut earlier = ticket.marks.clone();
        earlier.append(&mut marks);
        let mut marks = earlier;

        let table = FdTable::new(inherited, ticket.fds.clone());
        let handlers = handlers(&config, &table);
        let opened = attach(&ticket, &arena_fd).and_then(|handed| {
            mark(&mut marks, "attached");
            let attached = Attached::open(handed, ticket.entry()).map_err(|failed| failed.error)?;
            mark(&mut marks, "checked");
            let taken = Incoming::take_over(attached, registry, &*config.policy, handlers.clone());
            Ok(taken.map_err(|failed| failed.error)?)
        });
        let incoming = match opened {
            Ok(incoming) => incoming,
            Err(error) => return Err(refuse(&config, ticket, marks, error)),
        };
        mark(&mut marks, "judged");
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
        way_back.push(arena_fd);
        let back = ticket.returned.is_some();
        // What comes back is the generation that it was.
        let generation = incoming.number().saturating_sub(u64::from(back));
        let kexecs = incoming.kexec_count().unwrap_or(0);
        Ok(Self {
            arena,
            scratch,
            handlers,
            table,
            generation,
            kexecs: if back {
                kexecs
            } else {
                kexecs.saturating_add(1)
            },
            incoming: Some(incoming),
            sessions: HashMap::new(),
            returned: ticket.returned.clone(),
            way_back,
            stored: ticket.numbers(),
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
            way_back: Vec::new(),
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

    /// What was handed over, where something was, until it is finished.
    #[must_use]
    pub const fn incoming(&self) -> Option<&Incoming> {
        self.incoming.as_ref()
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
    /// The file is damaged, or of another kind.
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

    /// Ends the handover that this program came from: everything that was retrieved is its own, and
    /// everything else is freed. There is no way back from here on. Does nothing where nothing was
    /// handed over.
    ///
    /// # Errors
    ///
    /// A handler is not done with a file yet. Nothing is finished then.
    pub fn finish(&mut self) -> Result<(), IncomingError> {
        let Some(incoming) = &self.incoming else {
            return Ok(());
        };
        incoming.can_finish()?;
        // First those who would bring the previous program back: from here on it would find memory
        // that this one may have changed.
        if let Some(supervisor) = &self.supervisor
            && let Err(error) = supervisor.finished()
        {
            tracing::warn!(%error, "the supervisor was not told that the handover is finished");
        }
        if let Some(store) = &self.store {
            store.remove(self.stored.clone());
        }
        incoming.finish()?;
        self.incoming = None;
        self.sessions.clear();
        self.way_back.clear();
        mark(&mut self.marks, "finished");
        Ok(())
    }

    /// The outgoing side of an update: sessions are made in it and files preserved. Files may be
    /// written to until [`Host::exec`], but for their size.
    ///
    /// # Errors
    ///
    /// What came in is not finished, or no memory is left.
    pub fn orchestrator(&self) -> Result<Orchestrator, HandOverError> {
        if self.incoming.is_some() {
            return Err(HandOverError::NotFinished);
        }
        let config = KhoConfig::new()
            .dialect(self.config.dialect)
            .scratch(self.scratch.iter().copied())
            .metadata(self.config.release.clone(), self.kexecs);
        let kho = Kho::new(self.arena.clone(), &config)?;
        Ok(Orchestrator::new(
            kho,
            self.handlers.clone(),
            self.generation,
        )?)
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
    pub fn exec(&self, orchestrator: &Orchestrator, next: Command) -> HandOverError {
        if self.incoming.is_some() {
            return HandOverError::NotFinished;
        }
        // While the program still serves: the exec would take its time otherwise.
        if let Err(error) = self.arena.unmap() {
            tracing::debug!(%error, "the arena stays mapped");
        }
        let mut marks = Vec::new();
        mark(&mut marks, "freeze");
        match orchestrator.freeze() {
            Ok(frozen) => {
                mark(&mut marks, "frozen");
                let error = self.exec_frozen(&frozen, next, marks);
                frozen.thaw();
                error
            }
            Err(error) => error.into(),
        }
    }

    fn exec_frozen(
        &self,
        frozen: &Frozen,
        mut next: Command,
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
        let mut ticket = Ticket {
            format: FORMAT.to_owned(),
            process: Some(std::process::id()),
            parent: None,
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
            returned: None,
            marks: Vec::new(),
        };
        let own = [
            (arena.as_raw_fd(), arena.as_fd()),
            (self.exe.as_raw_fd(), self.exe.as_fd()),
        ];
        let files = outgoing
            .iter()
            .map(|(number, file)| (*number, file.as_fd()));
        let fds: Vec<(RawFd, BorrowedFd<'_>)> = own.iter().copied().chain(files).collect();
        if let Some(supervisor) = &self.supervisor
            && let Err(error) = supervisor.sealed(&ticket, &fds)
        {
            return HandOverError::NotHeld {
                what: "the supervisor",
                error,
            };
        }
        if let Some(store) = &self.store
            && let Err(error) = store.sealed(&ticket, &fds)
        {
            return HandOverError::NotHeld {
                what: "the service manager's descriptor store",
                error,
            };
        }
        let inherit = |flags| own.iter().try_for_each(|(_, fd)| fcntl_setfd(fd, flags));
        let error = match inherit(FdFlags::empty()) {
            Ok(()) => {
                mark(&mut marks, "exec");
                ticket.marks = marks;
                next.env(HANDOVER_ENV, ticket.text());
                next.exec()
            }
            Err(error) => error.into(),
        };
        // Still here.
        if let Err(error) = inherit(FdFlags::CLOEXEC) {
            tracing::debug!(%error, "the arena stays inheritable");
        }
        if let Some(supervisor) = &self.supervisor
            && let Err(error) = supervisor.called_off()
        {
            tracing::warn!(%error, "the supervisor was not told that the update was called off");
        }
        if let Some(store) = &self.store {
            store.remove(ticket.numbers());
        }
        HandOverError::Exec {
            program: next.get_program().display().to_string(),
            error,
        }
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

/// The arena's descriptor, and that of the program to go back to. They stay inheritable.
fn take(ticket: &Ticket, inherited: &mut Inherited) -> io::Result<(OwnedFd, Vec<OwnedFd>)> {
    let missing = || io::Error::other("the arena's descriptor is named twice");
    let arena = inherited.remove(ticket.arena).ok_or_else(missing)?;
    let exe = ticket
        .previous
        .as_ref()
        .and_then(|program| inherited.remove(program.exe));
    Ok((arena, exe.into_iter().collect()))
}

fn attach(ticket: &Ticket, arena: &OwnedFd) -> Result<Handed, StartError> {
    let system = |what| move |error| StartError::System { what, error };
    // The inherited descriptor stays, to be handed back.
    let file = File::from(
        arena
            .try_clone()
            .map_err(system("the arena's descriptor"))?,
    );
    let config = ArenaConfig::new(PhysAddr::new(ticket.base), ticket.size);
    Ok(Handed::attach(file, &config)?)
}

/// Refuses a handover: goes back to the program that made it, if it can.
fn refuse(config: &Config, ticket: Ticket, marks: Vec<Mark>, error: StartError) -> StartError {
    let Some(program) = ticket.previous.clone().filter(|_| config.hand_back) else {
        return error;
    };
    let reason = error.to_string();
    tracing::debug!(reason, "handing back");
    let back = Ticket {
        process: Some(std::process::id()),
        parent: None,
        previous: None,
        returned: Some(reason.clone()),
        marks,
        fds: ticket.fds.clone(),
        ..ticket
    };
    let error = program.command().env(HANDOVER_ENV, back.text()).exec();
    StartError::HandBack { reason, error }
}
