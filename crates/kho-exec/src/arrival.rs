//! A handover that arrived with a ticket: sorted out, opened, or sent back.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;

use kho_core::{Attached, OpenOptions};
use kho_fd::{FdHandler, FdTable};
use kho_luo::{Handlers, Incoming, TakeOverOptions};
use kho_mem::{ArenaConfig, Handed, PhysAddr};
use kho_memfd::MemfdHandler;

use crate::config::POLICY_ENV;
use crate::exec::RETURNED_ENV;
use crate::inherit::{HANDOVER_ENV, Inherited, set_inheritable};
use crate::supervise::Client;
use crate::ticket::{Mark, Ticket, file_of, for_this_process, mark};
use crate::{Config, Program, StartError, faults, store};

/// A handover that can go back: the ticket, and everything that came with it.
pub(crate) struct WayBack {
    ticket: Vec<u8>,
    program: Program,
    fds: Vec<Arc<OwnedFd>>,
}

/// The longest reason that is passed on: an environment variable has its limit.
pub(crate) const REASON_MAX: usize = 4096;

impl WayBack {
    /// Executes the program that handed over again. Returns only where that failed.
    pub(crate) fn go(&self, supervisor: Option<&Client>, reason: &str) -> io::Error {
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

pub(crate) fn handlers(config: &Config, table: &FdTable) -> Handlers {
    config
        .handlers
        .clone()
        .with(MemfdHandler)
        .with(FdHandler::new(table.clone()))
}

/// A handover that arrived, before it is opened.
pub(crate) struct Arrival {
    ticket: Result<Ticket, String>,
    arena: Option<Arc<OwnedFd>>,
    pub(crate) table: FdTable,
    pub(crate) names: Vec<String>,
    pub(crate) way_back: Option<WayBack>,
}

/// A handover that was admitted.
pub(crate) struct Opened {
    pub(crate) incoming: Incoming,
    pub(crate) handlers: Handlers,
}

impl Arrival {
    /// Sorts out what came with a ticket; `is_managed`: a service manager stores it as well. Nothing fails here: what is wrong is found when it is
    /// opened, when the way back is known.
    pub(crate) fn new(inherited: Inherited, is_managed: bool) -> Self {
        let body = inherited.ticket().unwrap_or_default();
        let mut ticket = Ticket::parse(body);
        let mut previous = match &ticket {
            Ok(ticket) => ticket.previous.clone(),
            Err(_) => Ticket::previous(body),
        };
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
        let stored = inherited.is_stored();
        let names: Vec<String> = match &ticket {
            // Nobody asks for them where there is no service manager.
            Ok(_) if !stored && !is_managed => Vec::new(),
            Ok(ticket) if !stored => ticket.numbers().into_iter().map(store::name_of).collect(),
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
    pub(crate) fn open(
        &self,
        config: &Config,
        marks: &mut Vec<Mark>,
    ) -> Result<Opened, StartError> {
        let ticket = self
            .ticket
            .as_ref()
            .map_err(|error| StartError::Ticket(error.clone()))?;
        let mut all = ticket.marks.clone();
        if let Some(last) = all.last_mut() {
            last.faults = faults::before();
        }
        all.append(marks);
        *marks = all;
        let missing = || {
            StartError::Ticket(format!(
                "descriptor {}, the arena, was not inherited",
                ticket.arena
            ))
        };
        let registry = &config.judged_by()?.in_dialect(config.writing);
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
        let policy = config.judging(std::env::var_os(POLICY_ENV))?;
        let options = OpenOptions::new(ticket.entry())
            .registry(registry)
            .policy(policy);
        let attached = Attached::open(handed, options).map_err(|failed| failed.error)?;
        mark(marks, "checked");
        let handlers = handlers(config, &self.table);
        let options = TakeOverOptions::new(registry)
            .policy(policy)
            .degrade(config.degrade);
        let taken = Incoming::take_over(attached, handlers.clone(), options);
        let incoming = taken.map_err(|failed| failed.error)?;
        mark(marks, "judged");
        Ok(Opened { incoming, handlers })
    }
}
