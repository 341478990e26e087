//! The side that takes over: sessions and files retrieved, finished, and the handover ended.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::mem::replace;

use kho_compat::{
    Admitted, Announced, Carrier, Compat, Finding, Manifest, NotAdmitted, Policy, Refused,
    Registry, RegistryError,
};
use kho_core::{Attached, Failed, Handover, Metadata, Owners, Surveying};
use kho_mem::sync::{Mutex, MutexGuard};
use kho_mem::{Arena, Damage, PhysAddr};
use kho_radix::{Claims, Reading};

use crate::handler::AnyHandler;
use crate::token::ByToken;
use crate::{Body, FileRef, HandlerError, Handlers, Held, Luo, NAME, Name, Retrieve, flb, session};

/// A handover that can not be taken over. Nothing of it was changed: it can be handed back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeOverError {
    /// It is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The policy rejects it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The verdict does not cover what is there.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// Optional parts of it would be lost, and nobody said that they may be:
    /// [`Incoming::take_over_degraded`] does.
    #[error("optional parts would be lost: {}", list(lost))]
    Degraded {
        /// What would be.
        lost: Vec<Finding>,
    },
    /// A file of a kind that this program has no handler for.
    #[error("{files} files are `{compatible}`, for which this program has no handler")]
    NoHandler {
        /// The files' compat string.
        compatible: String,
        /// How many there are.
        files: u64,
    },
    /// There are no sessions to take over: LUO handed nothing over.
    #[error("the handover has no LUO")]
    NoLuo,
}

fn list(findings: &[Finding]) -> String {
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    findings.join("; ")
}

/// What the incoming side refuses.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IncomingError {
    /// There is no session of that name.
    #[error("no session `{0}` was handed over")]
    NoSession(String),
    /// It was retrieved before: a session is retrieved once.
    #[error("session `{0}` was retrieved before")]
    Retrieved(Name),
    /// The session is finished.
    #[error("session `{0}` is finished")]
    Finished(Name),
    /// The session has no file of that token.
    #[error("session `{session}` has no file of token {token:#x}")]
    NoFile {
        /// The session.
        session: Name,
        /// The token.
        token: u64,
    },
    /// The verdict gives the file up: nothing here restores it.
    #[error(
        "the file of token {token:#x} in session `{session}` is lost: nothing here restores `{compatible}`"
    )]
    Lost {
        /// The session.
        session: Name,
        /// The file.
        token: u64,
        /// Its handler's compat string.
        compatible: String,
    },
    /// The file is of another kind.
    #[error(
        "the file of token {token:#x} in session `{session}` is of another kind: `{component}`"
    )]
    WrongKind {
        /// The session.
        session: Name,
        /// The file.
        token: u64,
        /// Its handler's component.
        component: &'static str,
    },
    /// The handler could not make the file. It will not try again.
    #[error("retrieving the file of token {token:#x} in session `{session}`: {error}")]
    Retrieve {
        /// The session.
        session: Name,
        /// The file.
        token: u64,
        /// Why.
        error: HandlerError,
    },
    /// A handler is not done yet. Nothing is finished.
    #[error("the file of token {token:#x} in session `{session}` can not be finished: {error}")]
    CanNotFinish {
        /// The session.
        session: Name,
        /// The file.
        token: u64,
        /// Why.
        error: HandlerError,
    },
    /// No FLB of that name was handed over, or it is of another kind.
    #[error("no FLB `{0}` of that kind was handed over")]
    NoFlb(String),
    /// The FLB's handler could not make the object. It will not try again.
    #[error("retrieving the FLB `{name}`: {error}")]
    Flb {
        /// Its name.
        name: String,
        /// Why.
        error: HandlerError,
    },
}

/// A handover that was judged, admitted, and waits to be retrieved and finished.
///
/// Until [`Incoming::finish`] nothing of it changes: files that were retrieved can be read, not
/// written. That is what makes handing back, and starting again after a crash, lose nothing.
/// Finishing is the one point at which it becomes this process's own. Cheap to clone; the clones
/// are one.
#[derive(Clone)]
pub struct Incoming(Arc<Shared>);

struct Shared {
    held: Held,
    handlers: Handlers,
    // By the files' numbers of them.
    kinds: Vec<Kind>,
    admitted: Admitted,
    number: u64,
    kexec_count: Option<u32>,
    state: Mutex<State>,
}

/// A kind of file that was handed over.
struct Kind {
    compatible: String,
    // As its string says it.
    announced: Announced,
    // Index into the handlers; `None` for files that are lost.
    handler: Option<usize>,
}

struct State {
    sessions: Vec<Session>,
    by_name: BTreeMap<Name, usize>,
    claims: Claims,
    // Claims before the first file was retrieved.
    own_claims: usize,
    flbs: Vec<Flb>,
    committed: bool,
}

struct Session {
    name: Name,
    retrieved: bool,
    finished: bool,
    files: Vec<File>,
    by_token: ByToken,
    // The place behind the file that was asked for last: most users ask in order.
    next: usize,
}

impl Session {
    /// The place of the file of `token`.
    fn find(&self, token: u64) -> Option<usize> {
        let of = |at: usize| self.files.get(at).map_or(0, |file| file.token);
        self.by_token.find(token, self.next, self.files.len(), of)
    }
}

struct File {
    token: u64,
    data: u64,
    at: PhysAddr,
    kind: usize,
    object: Object,
}

struct Flb {
    name: String,
    data: u64,
    at: PhysAddr,
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

/// All that a handover contains, gathered without restoring anything: its manifest, to which every linked
/// owner of a subtree adds, and LUO's part.
///
/// # Errors
///
/// A part of it is damaged.
pub fn survey(
    handover: &Handover<'_>,
    reading: &mut Reading<'_>,
) -> Result<(Manifest, Option<Luo>), Damage> {
    survey_by(handover, reading, Registry::linked())
}

/// As [`survey`], with the components of `registry` instead of those that are linked.
///
/// # Errors
///
/// As [`survey`].
pub fn survey_with(
    handover: &Handover<'_>,
    reading: &mut Reading<'_>,
    registry: &Registry,
) -> Result<(Manifest, Option<Luo>), Damage> {
    survey_by(handover, reading, Ok(registry))
}

fn survey_by(
    handover: &Handover<'_>,
    reading: &mut Reading<'_>,
    registry: Result<&Registry, &RegistryError>,
) -> Result<(Manifest, Option<Luo>), Damage> {
    let mut manifest = Manifest::new();
    handover.add_to(&mut manifest);
    let owners = Owners::linked();
    // Where owners contradict each other nothing is restored either.
    let registry = owners.as_ref().map_or_else(Err, |_| registry);
    for owner in owners.iter().flat_map(Owners::iter) {
        if owner.component.name == NAME {
            continue;
        }
        let mut surveying = Surveying {
            handover,
            reading,
            registry: registry.ok(),
            progress: &mut |_, _| true,
        };
        if let Some(contents) = owner.survey(&mut surveying)? {
            contents.add_to(&mut manifest);
        }
    }
    let luo = Luo::read_by(handover, reading, registry)?;
    if let Some(luo) = &luo {
        luo.add_to(&mut manifest);
    }
    Ok((manifest, luo))
}

struct Checked {
    admitted: Admitted,
    claims: Claims,
    announced: Announced,
    body: Body,
    kexec_count: Option<u32>,
    kinds: Vec<Kind>,
}

/// The handler of each kind of file in `body`; none for those that are lost.
fn kinds(
    body: &Body,
    admitted: &Admitted,
    announced: &Announced,
    registry: &Registry,
    handlers: &Handlers,
) -> Result<Vec<Kind>, TakeOverError> {
    let side = registry.side();
    let losses = admitted.verdict().losses();
    let kind = |handler: &crate::Handler| {
        let compatible = handler.compatible.clone();
        let announced = announced.in_string(&compatible);
        let base = Compat::parse(&compatible).ok();
        let name = base.as_ref().map_or("", |compat| compat.base().name());
        let need = losses.need(name, side);
        let is_lost = losses.get(Carrier::FileHandler, &compatible).is_some();
        let own = side.get(name);
        if let Some(need) = need
            && !own.is_some_and(kho_compat::Ability::is_optional)
            && !is_lost
        {
            // A file that must not be lost needs what is.
            return Err(TakeOverError::NotAdmitted(NotAdmitted {
                component: need.to_owned(),
                version: admitted.manifest().listed(need).unwrap_or_default(),
                covered: "no version of it".to_owned(),
            }));
        }
        if is_lost || need.is_some() {
            return Ok(Kind {
                compatible,
                announced,
                handler: None,
            });
        }
        match handlers.of_component(name) {
            Some(found) => Ok(Kind {
                compatible,
                announced,
                handler: Some(found),
            }),
            None => Err(TakeOverError::NoHandler {
                compatible,
                files: handler.files,
            }),
        }
    };
    body.handlers().iter().map(kind).collect()
}

fn check(
    handover: &Handover<'_>,
    registry: &Registry,
    policy: &dyn Policy,
    handlers: &Handlers,
    degrade: bool,
) -> Result<Checked, TakeOverError> {
    let mut reading = handover.reading()?;
    let (manifest, luo) = survey_with(handover, &mut reading, registry)?;
    let admitted = registry.admit(policy, manifest)?;
    let losses = admitted.verdict().losses();
    let lost: Vec<_> = losses.of_sessions(registry.side()).cloned().collect();
    if !degrade && !lost.is_empty() {
        return Err(TakeOverError::Degraded { lost });
    }
    let Some(luo) = luo else {
        return Err(TakeOverError::NoLuo);
    };
    luo.restore(&admitted)?;
    let body = luo.body().cloned().ok_or(TakeOverError::NoLuo)?;
    let announced = reading.announced().clone();
    let kinds = kinds(&body, &admitted, &announced, registry, handlers)?;
    let kexec_count = match Metadata::read(handover)? {
        Some(Metadata::V1 { kexec_count, .. }) => Some(kexec_count),
        _ => None,
    };
    Ok(Checked {
        admitted,
        claims: reading.into_claims(),
        announced,
        body,
        kexec_count,
        kinds,
    })
}

impl Incoming {
    /// Checks what was handed over, judges it by `policy` with the components of `registry`, and
    /// opens the sessions. Nothing of the handover changes. Contents of files are their handlers'
    /// affair: they are checked when they are retrieved.
    ///
    /// # Errors
    ///
    /// It is damaged, rejected, has files of a kind that none of `handlers` makes, or parts that are
    /// optional and would be lost. The handover comes back as it was.
    pub fn take_over(
        attached: Attached,
        registry: &Registry,
        policy: &dyn Policy,
        handlers: Handlers,
    ) -> Result<Self, Failed<Attached, TakeOverError>> {
        Self::begin(attached, registry, policy, handlers, false)
    }

    /// As [`Incoming::take_over`], and optional parts may be lost: what `policy` finds to be so can
    /// not be retrieved ([`IncomingError::Lost`]), and is freed when the handover is finished. The
    /// verdict says what it is.
    ///
    /// # Errors
    ///
    /// As [`Incoming::take_over`], but for those parts.
    pub fn take_over_degraded(
        attached: Attached,
        registry: &Registry,
        policy: &dyn Policy,
        handlers: Handlers,
    ) -> Result<Self, Failed<Attached, TakeOverError>> {
        Self::begin(attached, registry, policy, handlers, true)
    }

    fn begin(
        attached: Attached,
        registry: &Registry,
        policy: &dyn Policy,
        handlers: Handlers,
        degrade: bool,
    ) -> Result<Self, Failed<Attached, TakeOverError>> {
        let checked = match check(&attached.handover(), registry, policy, &handlers, degrade) {
            Ok(checked) => checked,
            Err(error) => {
                return Err(Failed {
                    error,
                    returned: attached,
                });
            }
        };
        let Checked {
            admitted,
            claims,
            announced,
            body,
            kexec_count,
            kinds,
        } = checked;
        let file = |file: &crate::File| File {
            token: file.token,
            data: file.data,
            at: file.at,
            kind: file.handler(),
            object: Object::Waiting,
        };
        let sessions: Vec<_> = body
            .sessions()
            .iter()
            .map(|session| Session {
                name: session.name().clone(),
                retrieved: false,
                finished: false,
                files: session.files().iter().map(file).collect(),
                by_token: ByToken::default(),
                next: 0,
            })
            .collect();
        let losses = admitted.verdict().losses();
        let flbs = body.flbs().iter().map(|flb| {
            let mut known = handlers.flbs.iter();
            let handler = known.position(|entry| entry.handler.name() == flb.name);
            Flb {
                name: flb.name.clone(),
                data: flb.data,
                at: flb.at,
                announced: announced.in_string(&flb.name),
                handler: handler.filter(|_| losses.get(Carrier::Flb, &flb.name).is_none()),
                object: Object::Waiting,
            }
        });
        let flbs = flbs.collect();
        let by_name = sessions
            .iter()
            .enumerate()
            .map(|(index, session)| (session.name.clone(), index));
        let state = State {
            by_name: by_name.collect(),
            sessions,
            own_claims: claims.count(),
            claims,
            flbs,
            committed: false,
        };
        Ok(Self(Arc::new(Shared {
            held: Held::new(attached),
            handlers,
            kinds,
            admitted,
            number: body.liveupdate_num(),
            kexec_count,
            state: Mutex::new(state),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// The verdict that admitted it.
    #[must_use]
    pub fn admitted(&self) -> &Admitted {
        &self.0.admitted
    }

    /// How many live updates led here, the one that did included: this generation's number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
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
    pub fn settle(&self) -> Arena {
        self.0.held.write().settle()
    }

    /// The names of the sessions, in order of creation.
    #[must_use]
    pub fn sessions(&self) -> Vec<Name> {
        self.state()
            .sessions
            .iter()
            .map(|session| session.name.clone())
            .collect()
    }

    /// Files in all sessions.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.state()
            .sessions
            .iter()
            .map(|session| session.files.len() as u64)
            .sum()
    }

    /// Retrieves the session `name`, once. O(log sessions), and the first time its files are put in
    /// order of token.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it was retrieved before.
    pub fn session(&self, name: impl AsRef<[u8]>) -> Result<RetrievedSession, IncomingError> {
        let name = name.as_ref();
        let none = || IncomingError::NoSession(name.escape_ascii().to_string());
        let mut state = self.state();
        let index = Name::new(name).and_then(|name| state.by_name.get(&name).copied());
        let index = index.ok_or_else(none)?;
        let session = state.sessions.get_mut(index).ok_or_else(none)?;
        if session.finished {
            return Err(IncomingError::Finished(session.name.clone()));
        }
        if session.retrieved {
            return Err(IncomingError::Retrieved(session.name.clone()));
        }
        session.retrieved = true;
        let files = &session.files;
        let token = |at: usize| files.get(at).map_or(0, |file| file.token);
        session.by_token = ByToken::new(files.len(), token);
        let name = session.name.clone();
        Ok(RetrievedSession {
            incoming: self.clone(),
            name,
            index,
        })
    }

    /// The object `name` that files depend on, made when it is first asked for.
    ///
    /// # Errors
    ///
    /// No such FLB was handed over, none of this kind is registered, or its handler fails; then it
    /// keeps failing.
    pub fn flb<T: Send + Sync + 'static>(&self, name: &str) -> Result<Arc<T>, IncomingError> {
        let none = || IncomingError::NoFlb(name.to_owned());
        let mut state = self.state();
        let State { flbs, claims, .. } = &mut *state;
        let flb = flbs
            .iter_mut()
            .find(|flb| flb.name == name)
            .ok_or_else(none)?;
        let handler = flb
            .handler
            .and_then(|at| self.0.handlers.flbs.get(at))
            .ok_or_else(none)?;
        if matches!(flb.object, Object::Waiting) {
            let data_at = flb::data_at(flb.at);
            let (data, handler) = (flb.data, &handler.handler);
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
        let state = self.state();
        let files = state.sessions.iter().flat_map(|session| &session.files);
        files.filter(|file| self.0.is_lost(file)).count() as u64
    }

    /// The first file that was not retrieved, by session and token, and how many there are; `None`
    /// where all were. Those that are lost do not count.
    #[must_use]
    pub fn waiting(&self) -> Option<(Name, u64, u64)> {
        let state = self.state();
        let files = state.sessions.iter().flat_map(|session| {
            let waiting = session
                .files
                .iter()
                .filter(|file| matches!(file.object, Object::Waiting) && !self.0.is_lost(file));
            waiting.map(|file| (&session.name, file.token))
        });
        let mut files = files.peekable();
        let (name, token) = files
            .peek()
            .map(|(name, token)| ((*name).clone(), *token))?;
        Some((name, token, files.count() as u64))
    }

    /// Whether every session that is not finished yet can be.
    ///
    /// # Errors
    ///
    /// A handler is not done with a file yet.
    pub fn can_finish(&self) -> Result<(), IncomingError> {
        let state = self.state();
        let mut left = state.sessions.iter().filter(|session| !session.finished);
        left.try_for_each(|session| self.0.can_finish(session))
    }

    /// Finishes every session that is not finished yet, and with them the handover: every file that
    /// was retrieved is this process's own from here on, and everything that was not is freed.
    ///
    /// # Errors
    ///
    /// A handler is not done with a file yet. Nothing is finished then.
    pub fn finish(&self) -> Result<Arena, IncomingError> {
        let mut state = self.state();
        for session in state.sessions.iter().filter(|session| !session.finished) {
            self.0.can_finish(session)?;
        }
        state
            .sessions
            .iter_mut()
            .for_each(|session| session.finished = true);
        self.0.commit(&mut state);
        drop(state);
        Ok(self.settle())
    }

    /// Whether the handover is finished.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state().committed
    }

    /// The handover as it was found, to be handed back: nothing of it was changed.
    ///
    /// # Errors
    ///
    /// It is finished, or files that were retrieved still refer to it.
    pub fn into_attached(self) -> Result<Attached, Self> {
        let mut shared = Arc::try_unwrap(self.0).map_err(Self)?;
        let state = shared.state.get_mut();
        let files = state.sessions.iter().flat_map(|session| &session.files);
        let mut objects = files
            .map(|file| &file.object)
            .chain(state.flbs.iter().map(|flb| &flb.object));
        let in_use = |object: &Object| match object {
            Object::There(file) => Arc::strong_count(file) > 1,
            _ => false,
        };
        if state.committed || objects.any(in_use) {
            return Err(Self(Arc::new(shared)));
        }
        // Nobody else has them: they let go of the memory here, and of their claims.
        let files = state
            .sessions
            .iter_mut()
            .flat_map(|session| &mut session.files);
        let objects = files.map(|file| &mut file.object);
        for object in objects.chain(state.flbs.iter_mut().map(|flb| &mut flb.object)) {
            if matches!(object, Object::There(_)) {
                *object = Object::Waiting;
            }
        }
        state.claims.take_back_to(state.own_claims);
        let Shared {
            held,
            handlers,
            kinds,
            admitted,
            number,
            kexec_count,
            state,
        } = shared;
        held.into_inner().map_err(|held| {
            Self(Arc::new(Shared {
                held,
                handlers,
                kinds,
                admitted,
                number,
                kexec_count,
                state,
            }))
        })
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Incoming")
            .field("number", &self.0.number)
            .field("sessions", &state.sessions.len())
            .field("finished", &state.committed)
            .finish()
    }
}

impl Shared {
    /// The handler of `file`; `None` where it is lost.
    fn handler(&self, file: &File) -> Option<&Arc<dyn AnyHandler>> {
        let kind = self.kinds.get(file.kind)?;
        self.handlers.files.get(kind.handler?)
    }

    fn is_lost(&self, file: &File) -> bool {
        let kind = self.kinds.get(file.kind);
        kind.is_some_and(|kind| kind.handler.is_none())
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
            Ok(object) => Object::There(object),
            Err(error) => Object::Failed(error),
        }
    }

    fn can_finish(&self, session: &Session) -> Result<(), IncomingError> {
        let attached = self.held.read();
        for file in &session.files {
            let Some(handler) = self.handler(file) else {
                continue;
            };
            let object = file.object.get();
            handler
                .can_finish(&attached, object.as_ref())
                .map_err(|error| IncomingError::CanNotFinish {
                    session: session.name.clone(),
                    token: file.token,
                    error,
                })?;
        }
        Ok(())
    }

    /// Ends the handover: files in reverse order, then the objects they depend on, then the rest.
    fn commit(&self, state: &mut State) {
        if replace(&mut state.committed, true) {
            return;
        }
        let mut attached = self.held.write();
        attached.settle();
        for session in state.sessions.iter_mut().rev() {
            for file in session.files.iter_mut().rev() {
                let object = replace(&mut file.object, Object::Waiting).get();
                if let Some(handler) = self.handler(file) {
                    handler.finish(&mut attached, file.data, object);
                }
            }
        }
        for flb in state.flbs.iter_mut().rev() {
            let object = replace(&mut flb.object, Object::Waiting).get();
            if let Some(entry) = flb.handler.and_then(|at| self.handlers.flbs.get(at)) {
                entry.handler.finish(&mut attached, flb.data, object);
            }
        }
        attached.handed_mut().free_rest();
    }
}

/// A session that was handed over and retrieved. Dropping it changes nothing: it waits to be
/// finished.
pub struct RetrievedSession {
    incoming: Incoming,
    name: Name,
    index: usize,
}

impl RetrievedSession {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The tokens of its files, in order of preservation.
    #[must_use]
    pub fn tokens(&self) -> Vec<u64> {
        let state = self.incoming.state();
        let session = state.sessions.get(self.index);
        session
            .map(|session| session.files.iter().map(|file| file.token).collect())
            .unwrap_or_default()
    }

    /// Retrieves the file of `token`. Asked again, it is the same file; one that failed keeps
    /// failing with the same error. O(1) for the file behind the one before, O(log files) for others, and what
    /// its handler takes.
    ///
    /// # Errors
    ///
    /// There is no such file, it is lost, its handler fails, or the session is finished.
    pub fn retrieve_any(&self, token: u64) -> Result<FileRef, IncomingError> {
        let shared = &self.incoming.0;
        let mut state = self.incoming.state();
        let State {
            sessions, claims, ..
        } = &mut *state;
        let none = || IncomingError::NoFile {
            session: self.name.clone(),
            token,
        };
        let session = sessions.get_mut(self.index).ok_or_else(none)?;
        if session.finished {
            return Err(IncomingError::Finished(self.name.clone()));
        }
        let at = session.find(token).ok_or_else(none)?;
        session.next = at + 1;
        let file = session.files.get_mut(at).ok_or_else(none)?;
        if matches!(file.object, Object::Waiting) {
            let kind = shared.kinds.get(file.kind).ok_or_else(none)?;
            let handler = shared.handler(file).ok_or_else(|| IncomingError::Lost {
                session: self.name.clone(),
                token,
                compatible: kind.compatible.clone(),
            })?;
            let (data, data_at) = (file.data, session::data_at(file.at));
            file.object = shared.retrieve(claims, &kind.announced, data_at, |retrieve| {
                handler.retrieve(retrieve, data)
            });
        }
        match &file.object {
            Object::There(object) => Ok(Arc::clone(object)),
            Object::Failed(error) => Err(IncomingError::Retrieve {
                session: self.name.clone(),
                token,
                error: error.clone(),
            }),
            Object::Waiting => Err(none()),
        }
    }

    /// Retrieves the file of `token` as a `T`, the kind of file that its handler makes.
    ///
    /// # Errors
    ///
    /// As [`retrieve_any`](Self::retrieve_any), and it is of another kind.
    pub fn retrieve<T: Send + Sync + 'static>(&self, token: u64) -> Result<Arc<T>, IncomingError> {
        let file = self.retrieve_any(token)?;
        file.downcast().map_err(|_| {
            let state = self.incoming.state();
            let session = state.sessions.get(self.index);
            let file = session.and_then(|session| session.files.get(session.find(token)?));
            let handler = file.and_then(|file| self.incoming.0.handler(file));
            IncomingError::WrongKind {
                session: self.name.clone(),
                token,
                component: handler.map_or("", |handler| handler.component()),
            }
        })
    }

    /// Finishes the session: all or nothing. Its files become this process's own when the last
    /// session is finished, since until then the handover may have to be handed back.
    ///
    /// # Errors
    ///
    /// A handler is not done with a file yet, or the session is finished. Nothing changes then.
    pub fn finish(&self) -> Result<(), IncomingError> {
        let shared = &self.incoming.0;
        let mut state = self.incoming.state();
        let session = state.sessions.get_mut(self.index);
        let Some(session) = session.filter(|session| !session.finished) else {
            return Err(IncomingError::Finished(self.name.clone()));
        };
        shared.can_finish(session)?;
        session.finished = true;
        if state.sessions.iter().all(|session| session.finished) {
            shared.commit(&mut state);
        }
        Ok(())
    }
}

impl fmt::Debug for RetrievedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetrievedSession({})", self.name)
    }
}
