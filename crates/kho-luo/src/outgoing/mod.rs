//! The side that hands over: sessions, files, freeze and unfreeze.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kho_block::{Format, OutgoingBlockSet};
use kho_compat::RegistryError;
use kho_core::{Kho, KhoError, PreservedFolio};
use kho_mem::PAGE_SIZE;
use kho_mem::sync::Mutex;

use crate::handler::{AnyHandler, State as HandlerState};
use crate::steps::Steps;
use crate::token::Taken;
use crate::v5::{COMPAT_LEN, FileSer, FlbSer, SUBTREE, SessionSer, VERSION, field};
use crate::{FileRef, FileToken, Handlers, NAME, SessionName, header};

mod error;
mod flbs;
mod freeze;
mod session;
#[cfg(test)]
mod tests;
mod written;

pub use error::{LuoError, SetError};
pub use freeze::Frozen;
pub use session::OutgoingSession;

use flbs::{Flb, check_flbs};

/// The outgoing side of a live update: sessions are made, files preserved in them, and at the end
/// everything is frozen and handed over. Cheap to clone; the clones are one.
///
/// Sessions are found by name in O(log sessions), files by token in O(1) where tokens rise and in
/// O(log files) elsewhere. Blocks are allocated as files are added,
/// so that freezing needs no memory.
///
/// One step is taken at a time; other threads wait for it. A handler is called within a step: what
/// it may call then, [`FileHandler`](crate::FileHandler) says.
#[derive(Clone)]
pub struct Orchestrator(Arc<Shared>);

struct Shared {
    kho: Kho,
    subtree: Subtree,
    format: Format,
    // The header's string with its NUL and padding.
    compatible: Vec<u8>,
    number: u64,
    state: Steps<State>,
    // Sessions that are open.
    open: AtomicUsize,
    // Dropped while frozen, or by a handler in a step: gone if the update happens, closed when it is
    // called off, or when the step has ended.
    dropped: Mutex<Vec<SessionName>>,
    has_dropped: AtomicBool,
}

/// LUO's subtree of the core, which goes with the orchestrator unless it is handed over.
struct Subtree(Option<Kho>);

impl Drop for Subtree {
    fn drop(&mut self) {
        if let Some(kho) = &self.0 {
            drop(kho.remove_subtree(SUBTREE));
        }
    }
}

struct State {
    kinds: Vec<Kind>,
    // In order of creation; closed ones leave a gap, which is closed in turn.
    sessions: Vec<Option<Session>>,
    by_name: BTreeMap<SessionName, usize>,
    set: OutgoingBlockSet<SessionSer>,
    area: PreservedFolio,
    flbs: Vec<Flb>,
    // Written as they stand, behind those of handlers.
    foreign: Vec<FlbSer>,
    frozen: bool,
}

/// A kind of file: its handler, and which files of it are preserved, in all sessions.
struct Kind {
    handler: Arc<dyn AnyHandler>,
    compatible: [u8; COMPAT_LEN],
    // The identities of the files. In order, since files that were made one after the other have
    // identities that follow each other, and so are near each other here.
    busy: BTreeSet<u128>,
}

struct Session {
    name: SessionName,
    files: Vec<File>,
    tokens: Taken,
    set: OutgoingBlockSet<FileSer>,
}

struct File {
    token: FileToken,
    // Index into the kinds.
    kind: usize,
    identity: u128,
    file: FileRef,
    state: HandlerState,
    data: u64,
}

impl Kind {
    fn new(kho: &Kho, handler: &Arc<dyn AnyHandler>) -> Result<Self, LuoError> {
        let compat = kho.compat(handler.component())?;
        let writes = handler.writes();
        if !writes.contains(&compat.base().version()) {
            let token = compat.base().to_string();
            let newest = writes.iter().max().copied().unwrap_or_default();
            return Err(RegistryError::NotWritable(token, newest).into());
        }
        let compat = compat.to_string();
        let compatible = field(compat.as_bytes()).ok_or_else(|| {
            LuoError::BadFlb(format!(
                "`{compat}` does not fit {COMPAT_LEN} bytes with its NUL"
            ))
        })?;
        Ok(Self {
            handler: Arc::clone(handler),
            compatible,
            busy: BTreeSet::new(),
        })
    }
}

impl Orchestrator {
    /// No sessions yet. `number` is this generation's: how many live updates led to it, 0 for the
    /// first.
    ///
    /// # Errors
    ///
    /// No page is left, the root FDT is full or has a LUO already, the handover's side does not know
    /// a handler's component or writes a version that this crate does not, FLBs do not fit, or two
    /// handlers have one component or two FLBs one name.
    pub fn new(kho: Kho, handlers: Handlers, number: u64) -> Result<Self, LuoError> {
        handlers.check()?;
        let compat = kho.compat(NAME)?;
        if compat.base().version() != VERSION {
            let token = compat.base().to_string();
            return Err(RegistryError::NotWritable(token, VERSION).into());
        }
        let compatible = header::field(&compat);
        let format = Format::written_by(&kho)?;
        let kinds = handlers
            .files
            .iter()
            .map(|handler| Kind::new(&kho, handler));
        let kinds = kinds.collect::<Result<_, _>>()?;
        check_flbs(&handlers.flbs)?;
        let preserver = kho.preserver().clone();
        let area = preserver.step(|| {
            let area = preserver.alloc_preserve(PAGE_SIZE)?;
            let size = compatible.len() + header::TAIL;
            let blob = preserver.alloc_preserve(size)?;
            let added = kho.add_subtree(SUBTREE, blob, size as u64);
            added.map_err(|failed| failed.error)?;
            Ok::<_, KhoError>(area)
        })?;
        let subtree = Subtree(Some(kho.clone()));
        let set = OutgoingBlockSet::with_format(preserver, format)
            .map_err(|error| LuoError::set("the session set", error))?;
        let (head, area_at) = (set.head(), area.addr());
        let state = State {
            kinds,
            sessions: Vec::new(),
            by_name: BTreeMap::new(),
            set,
            area,
            flbs: handlers.flbs.into_iter().map(Flb::new).collect(),
            foreign: Vec::new(),
            frozen: false,
        };
        let shared = Shared {
            kho,
            subtree,
            format,
            compatible,
            number,
            state: Steps::new(state),
            open: AtomicUsize::new(0),
            dropped: Mutex::new(Vec::new()),
            has_dropped: AtomicBool::new(false),
        };
        shared.write_header(head, area_at)?;
        Ok(Self(Arc::new(shared)))
    }

    /// The handover it is part of.
    #[must_use]
    pub fn kho(&self) -> &Kho {
        &self.0.kho
    }

    /// How many live updates led to this generation.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Makes a session. It is open until it is dropped: an outgoing session that is closed takes
    /// its files out of the handover.
    ///
    /// # Errors
    ///
    /// The name is taken or is none, 510,000 sessions are there already, no page is left, or an
    /// update is under way; or a handler calls this in a step.
    pub fn create_session(&self, name: impl AsRef<[u8]>) -> Result<OutgoingSession, LuoError> {
        let bytes = name.as_ref();
        let name = SessionName::new(bytes)
            .ok_or_else(|| LuoError::BadName(bytes.escape_ascii().to_string()))?;
        let mut state = self.0.state.enter()?;
        if state.frozen {
            return Err(LuoError::Frozen);
        }
        if state.by_name.contains_key(&name) {
            return Err(LuoError::SessionExists(name));
        }
        let set = OutgoingBlockSet::with_format(self.0.kho.preserver().clone(), self.0.format)
            .map_err(|error| LuoError::set("a file set", error))?;
        let count = state.by_name.len() + 1;
        let grown = state.set.grow(count);
        grown.map_err(|error| LuoError::set("the session set", error))?;
        let index = state.sessions.len();
        state.sessions.push(Some(Session {
            name: name.clone(),
            files: Vec::new(),
            tokens: Taken::default(),
            set,
        }));
        state.by_name.insert(name.clone(), index);
        self.0.open.store(count, Ordering::Relaxed);
        Ok(OutgoingSession::new(self.clone(), name))
    }
}

impl fmt::Debug for Orchestrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frozen = self.0.state.enter().is_ok_and(|state| state.frozen);
        f.debug_struct("Orchestrator")
            .field("number", &self.0.number)
            .field("sessions", &self.sessions())
            .field("frozen", &frozen)
            .finish()
    }
}
