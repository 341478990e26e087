//! A process that takes part in live updates.

mod outgoing;
mod prepare;

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use kho_compat::{NotAdmitted, Verdict};
use kho_fd::FdTable;
use kho_luo::{FileToken, Handlers, Incoming, IncomingError, IncomingSession};
use kho_mem::{ARENA_ALIGN, Arena, ArenaConfig, PhysAddr, PhysRange};

use crate::arrival::{Arrival, Opened, WayBack, handlers};
use crate::exec::RETURNED_ENV;
use crate::inherit::{Inherited, SUPERVISOR_ENV};
use crate::store::Store;
use crate::supervise::Client;
use crate::ticket::{Mark, mark};
use crate::{Config, FinishError, Program, StartError};

use prepare::Preparing;

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
    sessions: HashMap<Vec<u8>, IncomingSession>,
    returned: Option<String>,
    // Until the handover that came in is finished.
    way_back: Option<WayBack>,
    // What the service manager stores of it, by name; and the ticket, of which it stores a descriptor.
    stored: Vec<String>,
    ticket: Option<File>,
    program: Program,
    exe: OwnedFd,
    supervisor: Option<Client>,
    store: Option<Store>,
    marks: Vec<Mark>,
    preparing: Preparing,
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
        let other = inherited.other_messages().map(ToOwned::to_owned);
        let known = other.map_or(Ok(()), |format| Err(StartError::Supervisor(format)));
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
            known?;
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
        let ticket = inherited.take_ticket_file();
        let arrival = Arrival::new(inherited, store.is_some());
        let this = known.and(this);
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
                tracing::warn!(reason, "handing back");
                let error = way_back.go(supervisor.as_ref(), &reason);
                return Err(StartError::HandBack { reason, error });
            }
        };
        let Opened { incoming, handlers } = opened;
        let arena = incoming.reclaim();
        arena.set_reserve(config.reserve(arena.range().len()));
        mark(&mut marks, "reclaimed");
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
        tracing::info!(generation, "started with what was handed over");
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
            ticket,
            program,
            exe,
            supervisor,
            store,
            marks,
            preparing: Preparing::default(),
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
        let table = FdTable::default();
        let handlers = handlers(&config, &table);
        handlers.check()?;
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
        arena.set_reserve(config.reserve(config.size));
        mark(&mut marks, "arena");
        tracing::info!("started afresh");
        Ok(Self {
            arena,
            scratch,
            handlers,
            table,
            generation: 0,
            kexecs: 0,
            incoming: None,
            sessions: HashMap::new(),
            returned: None,
            way_back: None,
            stored: Vec::new(),
            ticket: None,
            program,
            exe,
            supervisor,
            store,
            marks,
            preparing: Preparing::default(),
            config,
        })
    }

    /// The arena, for files that are made here. All of it is free that no handover uses, but for what the next one
    /// needs ([`Config::files`]): a file that is written down for it takes its pages from
    /// [`Arena::for_handover`].
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

    /// What was refused of the handover while it was restored, where the policy judges then: it can be handed
    /// back, and not finished.
    #[must_use]
    pub fn failed(&self) -> Option<&NotAdmitted> {
        self.incoming.as_ref()?.admitted().failed()
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
        token: impl Into<FileToken>,
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
        let waiting = self.incoming.as_ref().map(Incoming::waiting);
        if let Some((session, token, count)) = waiting.transpose()?.flatten() {
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
        if let Some(supervisor) = self.supervisor() {
            let told = supervisor.finished();
            // One that has ended brings nobody back.
            if !supervisor.is_gone() {
                told.map_err(FinishError::NotTold)?;
            }
        }
        // Emptied, it is no handover for a program that the service manager starts before it reads what it is told.
        if let Some(ticket) = self.ticket.take()
            && let Err(error) = ticket.set_len(0)
        {
            tracing::warn!(%error, "the ticket stays");
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

    /// Whether there is a supervisor, which brings the previous program back if the next one crashes. One that ends
    /// can not be replaced while this process runs: its next handover fails once, to say so, and happens without a
    /// supervisor when it is tried again.
    #[must_use]
    pub fn is_supervised(&self) -> bool {
        self.supervisor().is_some()
    }

    /// The supervisor, unless it has ended.
    fn supervisor(&self) -> Option<&Client> {
        self.supervisor.as_ref().filter(|client| !client.is_gone())
    }

    /// Gives up what this program came from: executes the one that handed over again, with the
    /// handover as it was found. For a program that finds, after it has started, that it can not go
    /// on with what it retrieved. Returns only if that failed, or there is no way back.
    pub fn hand_back(&self, reason: &str) -> std::io::Error {
        match &self.way_back {
            Some(way_back) => way_back.go(self.supervisor.as_ref(), reason),
            None => std::io::Error::other("there is no program to hand back to"),
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
