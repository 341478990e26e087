//! The side that takes over: sessions and files retrieved, finished, and the handover ended.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::AtomicBool;

use kho_compat::{Admitted, Announced, Finding, NotAdmitted};
use kho_mem::{Arena, PhysAddr};
use kho_radix::Claims;

use crate::handler::AnyHandler;
use crate::steps::Steps;
use crate::token::ByToken;
use crate::{
    Body, File, FileRef, FileToken, HandlerError, Handlers, Held, Retrieve, SessionName, flb,
};

mod error;
mod finish;
mod options;
mod session;
mod survey;
mod take_over;

pub use error::{IncomingError, TakeOverError};
pub use options::TakeOverOptions;
pub use session::IncomingSession;
pub use survey::survey;

/// A handover that was judged, admitted, and waits to be retrieved and finished.
///
/// Until [`Incoming::finish`] nothing of it changes: files that were retrieved can be read, not
/// written. That is what makes handing back, and starting again after a crash, lose nothing.
/// Finishing is the one point at which it becomes this process's own. Cheap to clone; the clones
/// are one.
///
/// One step is taken at a time; other threads wait for it. A handler is called within a step: what
/// it may call then, [`FileHandler`](crate::FileHandler) says.
#[derive(Clone)]
pub struct Incoming(Arc<Shared>);

struct Shared {
    held: Held,
    handlers: Handlers,
    // By the files' numbers of them.
    kinds: Vec<Kind>,
    // What must not be lost and is, of a policy that judges while restoring.
    lost: Vec<Finding>,
    admitted: Admitted,
    body: Body,
    by_name: BTreeMap<SessionName, usize>,
    kexec_count: Option<u32>,
    finished: AtomicBool,
    state: Steps<State>,
}

/// A kind of file that was handed over.
struct Kind {
    // As its string says it.
    announced: Announced,
    // Index into the handlers; `None` for files that are lost, or that a policy refuses in their turn.
    handler: Option<usize>,
    is_lost: bool,
}

/// What has become of the sessions and FLBs of the body, in its order.
struct State {
    sessions: Vec<Session>,
    claims: Claims,
    // Claims before the first file was retrieved.
    own_claims: usize,
    flbs: Vec<Flb>,
}

struct Session {
    retrieved: bool,
    finished: bool,
    // Of each file.
    objects: Vec<Object>,
    by_token: ByToken,
    // The place behind the file that was asked for last: most users ask in order.
    next: usize,
}

struct Flb {
    announced: Announced,
    // Index into the handlers' FLBs; `None` for one that nobody here knows.
    handler: Option<usize>,
    object: Object,
}

#[derive(Clone)]
enum Object {
    Waiting,
    There(FileRef),
    Failed(HandlerError),
}

impl Object {
    fn get(&self) -> Option<FileRef> {
        match self {
            Self::There(file) => Some(Arc::clone(file)),
            _ => None,
        }
    }
}

impl Incoming {
    /// The verdict that admitted it.
    #[must_use]
    pub fn admitted(&self) -> &Admitted {
        &self.0.admitted
    }

    /// How many live updates led here, the one that did included: this generation's number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.body.liveupdate_num()
    }

    /// How many kexecs came before, as the kexec metadata has it.
    #[must_use]
    pub fn kexec_count(&self) -> Option<u32> {
        self.0.kexec_count
    }

    /// The memory.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.0.held
    }

    /// The arena, in which everything is free that the handover does not use.
    #[must_use]
    pub fn reclaim(&self) -> Arena {
        self.0.held.write().reclaim()
    }

    /// The names of the sessions, in order of creation.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionName> {
        let sessions = self.0.body.sessions.iter();
        sessions.map(|session| session.name.clone()).collect()
    }

    /// Files in all sessions.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.0.body.files()
    }

    /// Retrieves the session `name`, once. O(log sessions), and the first time its files are put in
    /// order of token.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it was retrieved before; or a handler calls this in a step.
    pub fn session(&self, name: impl AsRef<[u8]>) -> Result<IncomingSession, IncomingError> {
        let name = name.as_ref();
        let none = || IncomingError::NoSession(name.escape_ascii().to_string());
        let mut state = self.0.state.enter()?;
        let index = SessionName::new(name).and_then(|name| self.0.by_name.get(&name).copied());
        let index = index.ok_or_else(none)?;
        let there = self.0.body.sessions.get(index).ok_or_else(none)?;
        let session = state.sessions.get_mut(index).ok_or_else(none)?;
        let name = there.name.clone();
        if session.finished {
            return Err(IncomingError::Finished(name));
        }
        if session.retrieved {
            return Err(IncomingError::Retrieved(name));
        }
        session.retrieved = true;
        session.by_token = ByToken::new(there.files.len(), there.token());
        tracing::debug!(session = %name, files = there.files.len(), "session retrieved");
        Ok(IncomingSession::new(self.clone(), name, index))
    }

    /// The object `name` that files depend on, made when it is first asked for.
    ///
    /// # Errors
    ///
    /// No such FLB was handed over, none of this kind is registered, or its handler fails; then it
    /// keeps failing. A handler calls this in a step.
    pub fn flb<T: Send + Sync + 'static>(&self, name: &str) -> Result<Arc<T>, IncomingError> {
        let none = || IncomingError::NoFlb(name.to_owned());
        let mut state = self.0.state.enter()?;
        let State { flbs, claims, .. } = &mut *state;
        let mut all = self.0.body.flbs.iter().zip(flbs);
        let (there, flb) = all.find(|(there, _)| there.name == name).ok_or_else(none)?;
        let handler = flb
            .handler
            .and_then(|at| self.0.handlers.flbs.get(at))
            .ok_or_else(none)?;
        if matches!(flb.object, Object::Waiting) {
            let _span = tracing::warn_span!("retrieve", flb = name).entered();
            let data_at = flb::data_at(there.at);
            let (data, handler) = (there.data, &handler.handler);
            flb.object = self
                .0
                .retrieve(claims, &flb.announced, data_at, |retrieve| {
                    handler.retrieve(retrieve, data)
                });
        }
        match &flb.object {
            Object::There(object) => Arc::clone(object).downcast().map_err(|_| none()),
            Object::Failed(error) => Err(IncomingError::Flb {
                name: name.to_owned(),
                error: error.clone(),
            }),
            Object::Waiting => Err(none()),
        }
    }

    /// How many files are lost: the verdict gives them up.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let kinds = self.0.body.handlers.iter().zip(&self.0.kinds);
        let lost = kinds.filter(|(_, kind)| kind.is_lost);
        lost.map(|(handler, _)| handler.files).sum()
    }

    /// The first file that was not retrieved, by session and token, and how many there are; `None`
    /// where all were. Those that are lost do not count.
    ///
    /// # Errors
    ///
    /// A handler calls this in a step.
    pub fn waiting(&self) -> Result<Option<(SessionName, FileToken, u64)>, IncomingError> {
        let state = self.0.state.enter()?;
        let sessions = self.0.body.sessions.iter().zip(&state.sessions);
        let files = sessions.flat_map(|(there, session)| {
            let files = there.files.iter().zip(&session.objects);
            let waiting = files.filter(|(file, object)| {
                let kind = self.0.kinds.get(file.handler());
                matches!(object, Object::Waiting) && kind.is_some_and(|kind| !kind.is_lost)
            });
            waiting.map(|(file, _)| (&there.name, file.token))
        });
        let mut files = files.peekable();
        let Some((name, token)) = files.peek().map(|(name, token)| ((*name).clone(), *token))
        else {
            return Ok(None);
        };
        Ok(Some((name, token, files.count() as u64)))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("number", &self.number())
            .field("sessions", &self.0.body.sessions.len())
            .field("finished", &self.is_finished())
            .finish()
    }
}

impl Shared {
    /// The turn of the files of `kind` under a policy that judges while restoring; others have judged all of
    /// them before. What may be lost has none.
    fn turn(&self, kind: &Kind, compatible: &str) -> Result<(), NotAdmitted> {
        if !self.admitted.is_late() || kind.is_lost && self.lost.is_empty() {
            return Ok(());
        }
        self.admitted.require_base(&kind.announced, compatible)
    }

    /// The handler of `file`; `None` where it is lost.
    fn handler(&self, file: &File) -> Option<&Arc<dyn AnyHandler>> {
        let kind = self.kinds.get(file.handler())?;
        self.handlers.files.get(kind.handler?)
    }

    fn retrieve(
        &self,
        claims: &mut Claims,
        announced: &Announced,
        data_at: PhysAddr,
        retrieve: impl FnOnce(&mut Retrieve<'_>) -> Result<FileRef, HandlerError>,
    ) -> Object {
        let made = claims.all_or_none(|claims| {
            retrieve(&mut Retrieve {
                admitted: &self.admitted,
                held: &self.held,
                claims,
                announced,
                data_at,
            })
        });
        match made {
            Ok(object) => {
                tracing::debug!("retrieved");
                Object::There(object)
            }
            Err(error) => {
                tracing::warn!(%error, "not retrieved");
                Object::Failed(error)
            }
        }
    }
}
