//! The side that hands over: sessions, files, freeze and thaw.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{borrow::ToOwned, format, vec};
use core::{fmt, mem};

use kho_block::{BlockError, Format, OutgoingSet};
use kho_compat::{Compat, RegistryError};
use kho_core::{Entry, Kho, KhoError, PreservedFolio, TrackerError};
use kho_mem::sync::Mutex;
use kho_mem::{Arena, PAGE_SIZE, PhysAddr};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::NAME;
use crate::handler::State as HandlerState;
use crate::token::Taken;
use crate::v5::{
    COMPAT_LEN, FLB_PAGES, FileSer, FileSetSer, FlbHeaderSer, FlbSer, LuoSerTail, SESSION_NAME_LEN,
    SUBTREE, SessionSer, VERSION,
};
use crate::{FileRef, HandlerError, Handlers, Name};

/// What the outgoing side refuses. Everything is as it was then.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LuoError {
    /// The name is not 1 to 63 bytes without a NUL.
    #[error("\"{0}\" is no session's name: 1 to 63 bytes without a NUL are")]
    BadName(String),
    /// There is a session of that name.
    #[error("there is a session `{0}` already")]
    SessionExists(Name),
    /// The session was closed.
    #[error("session `{0}` is closed")]
    Closed(Name),
    /// The session has a file of that token.
    #[error("session `{session}` has a file of token {token:#x} already")]
    TokenExists {
        /// The session.
        session: Name,
        /// The token.
        token: u64,
    },
    /// The file is preserved already, in this session or another.
    #[error("the file is preserved already: a file is preserved once over all sessions")]
    Busy,
    /// No handler takes the file.
    #[error("no handler can preserve this file")]
    NoHandler,
    /// The sessions are frozen: thaw first.
    #[error("frozen for an update")]
    Frozen,
    /// A handler failed.
    #[error(
        "{step} of the file of token {token:#x} in session `{session}` by handler `{component}`: {error}"
    )]
    Handler {
        /// What it was asked: preserve or freeze.
        step: &'static str,
        /// The session.
        session: Name,
        /// The file.
        token: u64,
        /// The handler's component.
        component: &'static str,
        /// Why.
        error: HandlerError,
    },
    /// An object that files depend on failed.
    #[error("preserving the FLB `{name}`: {error}")]
    Flb {
        /// Its name.
        name: String,
        /// Why.
        error: HandlerError,
    },
    /// An FLB's name that does not fit its field, or more FLBs than fit the area.
    #[error("{0}")]
    BadFlb(String),
    /// More sessions or files than the format holds, or no memory left for a block.
    #[error("{what}: {error}")]
    Set {
        /// Which set.
        what: &'static str,
        /// Why.
        error: SetError,
    },
    /// The handover's core refuses.
    #[error(transparent)]
    Kho(#[from] KhoError),
    /// No page is left.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// The handover's side does not know a handler's component, or is to write a version that this
    /// crate does not.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A set of sessions or files that does not take one more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(transparent)]
pub struct SetError(BlockError);

const FLBS: usize = (PAGE_SIZE - size_of::<FlbHeaderSer>()) / size_of::<FlbSer>();

/// The outgoing side of a live update: sessions are made, files preserved in them, and at the end
/// everything is frozen and handed over. Cheap to clone; the clones are one.
///
/// Sessions are found by name in O(log sessions), files by token in O(1) where tokens rise and in
/// O(log files) elsewhere. Blocks are allocated as files are added,
/// so that freezing needs no memory.
///
/// A handler's steps run under the orchestrator's lock: they must not call it.
#[derive(Clone)]
pub struct Orchestrator(Arc<Shared>);

struct Shared {
    kho: Kho,
    subtree: Subtree,
    handlers: Handlers,
    // The compat string of each handler.
    compats: Vec<[u8; COMPAT_LEN]>,
    format: Format,
    compatible: Vec<u8>,
    number: u64,
    state: Mutex<State>,
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
    // By handler: files in all sessions.
    in_use: Vec<u64>,
    // In order of creation; closed ones leave a gap, which is closed in turn.
    sessions: Vec<Option<Session>>,
    open: usize,
    by_name: BTreeMap<Name, usize>,
    // By handler: the identities of the files that are preserved. In order, since files that were made one
    // after the other have identities that follow each other, and so are near each other here.
    busy: Vec<BTreeSet<u128>>,
    set: OutgoingSet<SessionSer>,
    area: PreservedFolio,
    flbs: Vec<Flb>,
    // Written as they stand, behind those of handlers.
    foreign: Vec<FlbSer>,
    frozen: bool,
    // Closed while frozen: gone if the update happens, closed when it is called off.
    closing: Vec<Name>,
}

struct Session {
    name: Name,
    files: Vec<File>,
    tokens: Taken,
    set: OutgoingSet<FileSer>,
}

struct File {
    token: u64,
    handler: u32,
    identity: u128,
    file: FileRef,
    state: HandlerState,
    data: u64,
}

#[derive(Default)]
struct Flb {
    files: u64,
    preserved: Option<(u64, HandlerState)>,
}

impl Orchestrator {
    /// No sessions yet. `number` is this generation's: how many live updates led to it, 0 for the
    /// first.
    ///
    /// # Errors
    ///
    /// No page is left, the root FDT is full or has a LUO already, the handover's side does not know
    /// a handler's component or writes a version that this crate does not, or FLBs do not fit.
    pub fn new(kho: Kho, handlers: Handlers, number: u64) -> Result<Self, LuoError> {
        let compat = kho.compat(NAME)?;
        if compat.base().version() != VERSION {
            let token = compat.base().to_string();
            return Err(RegistryError::NotWritable(token, VERSION).into());
        }
        let compatible = padded(&compat);
        let format = Format::written_by(&kho)?;
        let mut compats = Vec::new();
        for handler in &handlers.files {
            let compat = kho.compat(handler.component())?;
            let writes = handler.writes();
            if !writes.contains(&compat.base().version()) {
                let token = compat.base().to_string();
                let newest = writes.iter().max().copied().unwrap_or_default();
                return Err(RegistryError::NotWritable(token, newest).into());
            }
            let compat = compat.to_string();
            compats.push(field(compat.as_bytes()).ok_or_else(|| {
                LuoError::BadFlb(format!(
                    "`{compat}` does not fit {COMPAT_LEN} bytes with its NUL"
                ))
            })?);
        }
        if handlers.flbs.len() > FLBS {
            let text = format!("{} FLBs, where {FLBS} fit", handlers.flbs.len());
            return Err(LuoError::BadFlb(text));
        }
        for entry in &handlers.flbs {
            flb_name(entry.handler.name())?;
        }
        let preserver = kho.preserver().clone();
        let area = preserver.step(|| {
            let area = preserver.alloc_preserve(PAGE_SIZE)?;
            let size = compatible.len() + size_of::<LuoSerTail>();
            let blob = preserver.alloc_preserve(size)?;
            let added = kho.add_subtree(SUBTREE, blob, size as u64);
            added.map_err(|failed| failed.error)?;
            Ok::<_, KhoError>(area)
        })?;
        let set = OutgoingSet::with_format(preserver, format).map_err(|error| LuoError::Set {
            what: "the session set",
            error: SetError(error),
        })?;
        let state = State {
            in_use: vec![0; handlers.files.len()],
            sessions: Vec::new(),
            open: 0,
            by_name: BTreeMap::new(),
            busy: handlers.files.iter().map(|_| BTreeSet::new()).collect(),
            set,
            area,
            flbs: handlers.flbs.iter().map(|_| Flb::default()).collect(),
            foreign: Vec::new(),
            frozen: false,
            closing: Vec::new(),
        };
        let this = Self(Arc::new(Shared {
            subtree: Subtree(Some(kho.clone())),
            kho,
            handlers,
            compats,
            format,
            compatible,
            number,
            state: Mutex::new(state),
        }));
        this.0.write_header(&mut this.0.state.lock());
        Ok(this)
    }

    /// Adds FLBs that have no handler here: each is its name, what its entry holds, and how many
    /// files depend on it. They are written as they stand, behind those of handlers, when a freeze
    /// finds at least that many files. Memory that an entry names is its owner's affair.
    ///
    /// For making an image of what another system handed over, whose objects this one can not
    /// preserve.
    ///
    /// # Errors
    ///
    /// A name is none or is taken, nobody depends on an object, more objects than fit the area, or
    /// an update is under way. None is added then.
    pub fn with_foreign_flbs(
        self,
        flbs: impl IntoIterator<Item = (String, u64, u64)>,
    ) -> Result<Self, LuoError> {
        let mut state = self.0.state.lock();
        if state.frozen {
            return Err(LuoError::Frozen);
        }
        let mut foreign = state.foreign.clone();
        for (name, data, count) in flbs {
            let ser = FlbSer {
                name: flb_name(&name)?,
                data: U64::new(data),
                count: U64::new(count),
            };
            let mut handlers = self.0.handlers.flbs.iter();
            if handlers.any(|entry| entry.handler.name() == name)
                || foreign.iter().any(|other| other.name == ser.name)
            {
                return Err(LuoError::BadFlb(format!(
                    "there is an FLB `{name}` already"
                )));
            }
            if count == 0 {
                let text = format!("FLB `{name}`: an object that no file depends on is gone");
                return Err(LuoError::BadFlb(text));
            }
            foreign.push(ser);
        }
        let all = self.0.handlers.flbs.len() + foreign.len();
        if all > FLBS {
            let text = format!("{all} FLBs, where {FLBS} fit");
            return Err(LuoError::BadFlb(text));
        }
        state.foreign = foreign;
        drop(state);
        Ok(self)
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
        self.0.state.lock().open
    }

    /// Makes a session. It is open until it is dropped: an outgoing session that is closed takes
    /// its files out of the handover.
    ///
    /// # Errors
    ///
    /// The name is taken or is none, 510,000 sessions are there already, no page is left, or an
    /// update is under way.
    pub fn create_session(&self, name: impl AsRef<[u8]>) -> Result<OutgoingSession, LuoError> {
        let bytes = name.as_ref();
        let name =
            Name::new(bytes).ok_or_else(|| LuoError::BadName(bytes.escape_ascii().to_string()))?;
        let mut state = self.0.state.lock();
        if state.frozen {
            return Err(LuoError::Frozen);
        }
        if state.by_name.contains_key(&name) {
            return Err(LuoError::SessionExists(name));
        }
        let set = OutgoingSet::with_format(self.0.kho.preserver().clone(), self.0.format);
        let set = set.map_err(|error| LuoError::Set {
            what: "a file set",
            error: SetError(error),
        })?;
        let count = state.open + 1;
        let what = "the session set";
        state.set.grow(count).map_err(|error| LuoError::Set {
            what,
            error: SetError(error),
        })?;
        let index = state.sessions.len();
        state.sessions.push(Some(Session {
            name: name.clone(),
            files: Vec::new(),
            tokens: Taken::default(),
            set,
        }));
        state.open = count;
        state.by_name.insert(name.clone(), index);
        Ok(OutgoingSession {
            orchestrator: self.clone(),
            name,
        })
    }

    /// Freezes every file of every session, in order, and writes the sessions down. What is written
    /// then is what the next kernel reads.
    ///
    /// # Errors
    ///
    /// A handler refuses. What was frozen is thawed then, the latest first, and the update is
    /// called off. A foreign FLB is of more files than there are. The tracker is broken
    /// ([`Preserver::check`](kho_radix::Preserver::check)).
    pub fn freeze(&self) -> Result<Frozen, LuoError> {
        let mut state = self.0.state.lock();
        if state.frozen {
            return Err(LuoError::Frozen);
        }
        state.check_foreign()?;
        self.0.kho.preserver().check()?;
        self.0.freeze_files(&mut state)?;
        self.0.serialize(&mut state);
        state.frozen = true;
        Ok(Frozen {
            orchestrator: Some(self.clone()),
        })
    }
}

impl fmt::Debug for Orchestrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Orchestrator")
            .field("number", &self.0.number)
            .field("sessions", &state.open)
            .field("frozen", &state.frozen)
            .finish()
    }
}

impl State {
    /// No object has more files than there are: a reader takes that for damage.
    fn check_foreign(&self) -> Result<(), LuoError> {
        let sessions = self.sessions.iter().flatten();
        let files = sessions.fold(0, |sum, session| sum + session.files.len() as u64);
        let over = self.foreign.iter().find(|flb| flb.count.get() > files);
        over.map_or(Ok(()), |flb| {
            let name = flb.name.split(|byte| *byte == 0).next().unwrap_or_default();
            let (name, count) = (name.escape_ascii(), flb.count.get());
            let text = format!("FLB `{name}` is of {count} files, where there are {files}");
            Err(LuoError::BadFlb(text))
        })
    }
}

/// The field of an FLB's name.
fn flb_name(name: &str) -> Result<[u8; COMPAT_LEN], LuoError> {
    let printable = name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let field = field(name.as_bytes()).filter(|_| printable && !name.is_empty());
    field.ok_or_else(|| {
        LuoError::BadFlb(format!(
            "`{name}` is no FLB's name: 1 to {} printable bytes are",
            COMPAT_LEN - 1
        ))
    })
}

/// The string with its NUL, padded to a multiple of 8.
fn padded(compat: &Compat) -> Vec<u8> {
    let mut bytes = compat.to_string().into_bytes();
    bytes.resize(compat.field_len(), 0);
    bytes
}

/// The string with its NUL in a field of `N` bytes.
fn field<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut field = [0; N];
    let room = field.get_mut(..text.len()).filter(|_| text.len() < N)?;
    room.copy_from_slice(text);
    Some(field)
}

impl Shared {
    fn write_header(&self, state: &mut State) {
        let tail = LuoSerTail {
            liveupdate_num: U64::new(self.number.saturating_add(1)),
            sessions_pa: U64::new(state.set.head().get()),
            flbs_pa: U64::new(state.area.addr().get()),
        };
        // Made with this size.
        self.kho.with_subtree(SUBTREE, |bytes| {
            if let Some((head, rest)) = bytes.split_at_mut_checked(self.compatible.len()) {
                head.copy_from_slice(&self.compatible);
                rest.copy_from_slice(tail.as_bytes());
            }
        });
    }

    fn freeze_files(&self, state: &mut State) -> Result<(), LuoError> {
        let mut failure = None;
        'all: for (index, session) in state.sessions.iter_mut().enumerate() {
            let Some(session) = session else { continue };
            for (number, file) in session.files.iter_mut().enumerate() {
                let Some(handler) = self.handlers.files.get(file.handler as usize) else {
                    continue;
                };
                match handler.freeze(&file.file, &mut file.state) {
                    Ok(data) => file.data = data,
                    Err(error) => {
                        let error = LuoError::Handler {
                            step: "freeze",
                            session: session.name.clone(),
                            token: file.token,
                            component: handler.component(),
                            error,
                        };
                        failure = Some((index, number, error));
                        break 'all;
                    }
                }
            }
        }
        let Some((index, number, error)) = failure else {
            return Ok(());
        };
        self.unfreeze(state, index, number);
        Err(error)
    }

    /// Unfreezes the files before file `number` of session `index`, the latest first.
    fn unfreeze(&self, state: &mut State, index: usize, number: usize) {
        for (at, session) in state.sessions.iter_mut().enumerate().take(index + 1).rev() {
            let Some(session) = session else { continue };
            let frozen = if at == index {
                number
            } else {
                session.files.len()
            };
            for file in session.files.iter_mut().take(frozen).rev() {
                if let Some(handler) = self.handlers.files.get(file.handler as usize) {
                    handler.unfreeze(&file.file, &mut file.state);
                }
                file.data = 0;
            }
        }
    }

    /// Writes the sessions, files and FLBs into their blocks, which are there.
    fn serialize(&self, state: &mut State) {
        for session in state.sessions.iter_mut().flatten() {
            for file in &session.files {
                let compatible = self.compats.get(file.handler as usize).copied();
                if let Ok(entry) = session.set.reserve_entry() {
                    *entry = FileSer {
                        compatible: compatible.unwrap_or([0; COMPAT_LEN]),
                        data: U64::new(file.data),
                        token: U64::new(file.token),
                    };
                }
            }
            if let Ok(entry) = state.set.reserve_entry() {
                *entry = SessionSer {
                    name: field::<SESSION_NAME_LEN>(session.name.as_bytes())
                        .unwrap_or([0; SESSION_NAME_LEN]),
                    file_set_ser: FileSetSer {
                        files: U64::new(session.set.head().get()),
                        count: U64::new(session.files.len() as u64),
                    },
                };
            }
        }
        let mut area = Vec::new();
        for (entry, flb) in self.handlers.flbs.iter().zip(&state.flbs) {
            let Some((data, _)) = &flb.preserved else {
                continue;
            };
            area.extend_from_slice(
                FlbSer {
                    name: field(entry.handler.name().as_bytes()).unwrap_or([0; COMPAT_LEN]),
                    data: U64::new(*data),
                    count: U64::new(flb.files),
                }
                .as_bytes(),
            );
        }
        area.extend_from_slice(state.foreign.as_bytes());
        let header = FlbHeaderSer {
            pgcnt: U64::new(FLB_PAGES),
            count: U64::new((area.len() / size_of::<FlbSer>()) as u64),
        };
        area.splice(0..0, header.as_bytes().iter().copied());
        if let Some((head, tail)) = state.area.split_at_mut_checked(area.len()) {
            head.copy_from_slice(&area);
            tail.fill(0);
        }
        self.write_header(state);
    }

    /// Takes back what `serialize` wrote.
    fn unserialize(&self, state: &mut State) {
        state.set.clear();
        state
            .sessions
            .iter_mut()
            .flatten()
            .for_each(|session| session.set.clear());
        state.area.fill(0);
        self.write_header(state);
    }

    fn preserve(
        &self,
        state: &mut State,
        name: &Name,
        token: u64,
        file: FileRef,
    ) -> Result<(), LuoError> {
        if state.frozen {
            return Err(LuoError::Frozen);
        }
        let State {
            sessions,
            by_name,
            busy,
            flbs,
            in_use,
            ..
        } = state;
        let session = by_name
            .get(name)
            .and_then(|index| sessions.get_mut(*index)?.as_mut());
        let session = session.ok_or_else(|| LuoError::Closed(name.clone()))?;
        let tokens = session.files.iter().map(|file| file.token);
        if session.tokens.has(token, tokens) {
            return Err(LuoError::TokenExists {
                session: name.clone(),
                token,
            });
        }
        let found = self
            .handlers
            .files
            .iter()
            .enumerate()
            .find(|(_, handler)| handler.can_preserve(&file));
        let (index, handler) = found.ok_or(LuoError::NoHandler)?;
        // As many as the program registers.
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let identity = handler.identity(&file);
        let busy = busy.get_mut(index).ok_or(LuoError::NoHandler)?;
        // Looked for and put in at once; out again where a later step fails.
        if !busy.insert(identity) {
            return Err(LuoError::Busy);
        }
        let before = session.files.len();
        if let Err(error) = session.set.grow(before + 1) {
            busy.remove(&identity);
            let what = "the file set of the session";
            let error = SetError(error);
            return Err(LuoError::Set { what, error });
        }
        let component = handler.component();
        let users = || {
            self.handlers
                .flbs
                .iter()
                .zip(0..)
                .filter(|(entry, _)| entry.serves(component))
        };
        let mut taken = Vec::new();
        let mut is_listed = false;
        let mut step = || {
            // With the first file of its handler: the root FDT may be full.
            if in_use.get(index) == Some(&0) {
                self.kho.list(&[component])?;
                is_listed = true;
            }
            for (entry, index) in users() {
                let flb = flbs.get_mut::<usize>(index);
                let Some(flb) = flb else { continue };
                if flb.preserved.is_none() {
                    let made =
                        entry
                            .handler
                            .preserve(&self.kho)
                            .map_err(|error| LuoError::Flb {
                                name: entry.handler.name().to_owned(),
                                error,
                            })?;
                    flb.preserved = Some(made);
                }
                flb.files += 1;
                taken.push(index);
            }
            handler
                .preserve(&self.kho, &file)
                .map_err(|error| LuoError::Handler {
                    step: "preserve",
                    session: name.clone(),
                    token,
                    component,
                    error,
                })
        };
        match step() {
            Ok(state) => {
                if let Some(files) = in_use.get_mut(index) {
                    *files += 1;
                }
                session.tokens.take(token);
                session.files.push(File {
                    token,
                    handler: number,
                    identity,
                    file,
                    state,
                    data: 0,
                });
                Ok(())
            }
            Err(error) => {
                for index in taken.into_iter().rev() {
                    self.release(flbs, index);
                }
                if is_listed {
                    self.kho.unlist(&[component]);
                }
                session.set.shrink(before);
                busy.remove(&identity);
                Err(error)
            }
        }
    }

    /// One file less depends on the FLB `index`.
    fn release(&self, flbs: &mut [Flb], index: usize) {
        let Some((flb, entry)) = flbs.get_mut(index).zip(self.handlers.flbs.get(index)) else {
            return;
        };
        flb.files = flb.files.saturating_sub(1);
        if flb.files == 0
            && let Some((_, state)) = flb.preserved.take()
        {
            entry.handler.unpreserve(state);
        }
    }

    fn close(&self, state: &mut State, name: &Name) {
        let Some(index) = state.by_name.remove(name) else {
            return;
        };
        let Some(session) = state.sessions.get_mut(index).and_then(Option::take) else {
            return;
        };
        for file in session.files.into_iter().rev() {
            if let Some(busy) = state.busy.get_mut(file.handler as usize) {
                busy.remove(&file.identity);
            }
            let Some(handler) = self.handlers.files.get(file.handler as usize) else {
                continue;
            };
            handler.unpreserve(&file.file, file.state);
            for (at, entry) in self.handlers.flbs.iter().enumerate().rev() {
                if entry.serves(handler.component()) {
                    self.release(&mut state.flbs, at);
                }
            }
            if let Some(files) = state.in_use.get_mut(file.handler as usize) {
                *files = files.saturating_sub(1);
                if *files == 0 {
                    self.kho.unlist(&[handler.component()]);
                }
            }
        }
        state.open -= 1;
        state.set.shrink(state.open);
        // Each gap is paid for by the session that left it.
        if state.sessions.len() > 32 && state.open < state.sessions.len() / 2 {
            state.sessions.retain(Option::is_some);
            let names = state
                .sessions
                .iter()
                .flatten()
                .map(|session| session.name.clone());
            state.by_name = names
                .enumerate()
                .map(|(index, name)| (name, index))
                .collect();
        }
    }
}

/// A session that is being made. Dropped, it is closed: its files are unpreserved, the latest first,
/// and it is no longer part of the handover.
pub struct OutgoingSession {
    orchestrator: Orchestrator,
    name: Name,
}

impl OutgoingSession {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Preserves `file` under `token`, which is the user's to choose and unique in the session.
    ///
    /// # Errors
    ///
    /// The token is taken; the file is preserved already, here or in another session; no handler
    /// takes it, or the one that does refuses; 630,000 files are there already; no page is left; an
    /// update is under way. Everything is as it was then.
    pub fn preserve(&self, token: u64, file: FileRef) -> Result<(), LuoError> {
        let shared = &self.orchestrator.0;
        let mut state = shared.state.lock();
        shared
            .kho
            .preserver()
            .step(|| shared.preserve(&mut state, &self.name, token, file))
    }

    /// How many files it has.
    #[must_use]
    pub fn files(&self) -> usize {
        let state = self.orchestrator.0.state.lock();
        let session = state
            .by_name
            .get(&self.name)
            .and_then(|at| state.sessions.get(*at)?.as_ref());
        session.map_or(0, |session| session.files.len())
    }

    /// Closes it: see [`OutgoingSession`].
    pub fn close(self) {}
}

impl Drop for OutgoingSession {
    fn drop(&mut self) {
        let shared = &self.orchestrator.0;
        let mut state = shared.state.lock();
        if state.frozen {
            state.closing.push(self.name.clone());
        } else {
            shared.close(&mut state, &self.name);
        }
    }
}

impl fmt::Debug for OutgoingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutgoingSession({})", self.name)
    }
}

/// Sessions that are frozen and written down. Either they are handed over, or they are thawed:
/// dropped, they are.
#[derive(Debug)]
pub struct Frozen {
    // Taken where it ends.
    orchestrator: Option<Orchestrator>,
}

impl Frozen {
    /// Where the handover begins.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let kho = self.orchestrator.as_ref().map(Orchestrator::kho);
        kho.map_or(Entry::new(PhysAddr::NULL), Kho::entry)
    }

    /// Calls the update off: everything is as before the freeze.
    pub fn thaw(self) {}

    /// Gives everything to the handover. For a handover that stays in this process; an exec ends
    /// the process instead.
    ///
    /// # Errors
    ///
    /// Sessions are still open here, or there is a clone of the orchestrator or of its core: frozen
    /// as before.
    pub fn hand_over(mut self) -> Result<(Arena, Entry), Self> {
        let entry = self.entry();
        let Some(orchestrator) = self.orchestrator.take() else {
            return Err(self);
        };
        let mut shared = match Arc::try_unwrap(orchestrator.0) {
            Ok(shared) => shared,
            Err(shared) => {
                self.orchestrator = Some(Orchestrator(shared));
                return Err(self);
            }
        };
        // From here on the subtree stays.
        let own = shared.subtree.0.take();
        let others = own.is_some_and(|own| {
            drop(own);
            shared.kho.is_shared()
        });
        if others {
            shared.subtree.0 = Some(shared.kho.clone());
            self.orchestrator = Some(Orchestrator(Arc::new(shared)));
            return Err(self);
        }
        let Shared {
            kho,
            handlers,
            state,
            ..
        } = shared;
        let state = state.into_inner();
        for session in state.sessions.into_iter().flatten() {
            for file in session.files {
                if let Some(handler) = handlers.files.get(file.handler as usize) {
                    handler.hand_over(&file.file, file.state);
                }
            }
            session.set.hand_over();
        }
        for (flb, entry) in state.flbs.into_iter().zip(&handlers.flbs) {
            if let Some((_, preserved)) = flb.preserved {
                entry.handler.hand_over(preserved);
            }
        }
        state.set.hand_over();
        state.area.hand_over();
        let arena = match kho.hand_over() {
            Ok(arena) => arena,
            // Not shared, as just seen.
            Err(kho) => kho.arena().clone(),
        };
        Ok((arena, entry))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let Some(orchestrator) = self.orchestrator.take() else {
            return;
        };
        let shared = &orchestrator.0;
        let mut state = shared.state.lock();
        shared.unserialize(&mut state);
        let all = state.sessions.len();
        shared.unfreeze(&mut state, all, 0);
        state.frozen = false;
        for name in mem::take(&mut state.closing) {
            shared.close(&mut state, &name);
        }
    }
}
