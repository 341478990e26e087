//! What knows how to hand a kind of file over: handlers, and objects bound to files' lives.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::error::Error;
use core::fmt;
use core::ops::{Deref, DerefMut};

use kho_compat::{Admitted, Announced, Component, Generation, NotAdmitted, Token};
use kho_core::{Attached, Kho, KhoError, TrackerError};
use kho_mem::sync::RwLock;
use kho_mem::{Broken, Damage, Errno, Link, MemError, OutOfMemory, PhysAddr, PhysMemExt};
use kho_radix::{Claims, Reading, RestoreError, Restoring};

/// A file object of any kind.
pub type FileRef = Arc<dyn Any + Send + Sync>;

/// Why a handler refused. Cheap to clone: a retrieve that failed keeps failing with the same error.
#[derive(Clone)]
pub struct HandlerError {
    error: Arc<dyn Error + Send + Sync>,
    errno: Option<Errno>,
}

impl HandlerError {
    /// The error `error`; a string will do.
    #[must_use]
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            error: Arc::from(error.into()),
            errno: None,
        }
    }

    /// This error as `errno` to a kernel.
    #[must_use]
    pub const fn with_errno(mut self, errno: Errno) -> Self {
        self.errno = Some(errno);
        self
    }

    /// What a kernel's handler returns in its place: what the handler said, or else what the error itself says,
    /// or else `EIO`.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno.unwrap_or_else(|| of_known(self.get()))
    }

    /// The error itself.
    #[must_use]
    pub fn get(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

/// The number of an error of the crates below, which a handler passed on.
fn of_known(error: &(dyn Error + Send + Sync + 'static)) -> Errno {
    macro_rules! first {
        ($($kind:ty),*) => {
            None $(.or_else(|| error.downcast_ref::<$kind>().map(<$kind>::errno)))*
        };
    }
    let known = first!(
        RestoreError,
        Damage,
        MemError,
        OutOfMemory,
        TrackerError,
        KhoError,
        Broken
    );
    let not_admitted = || error.is::<NotAdmitted>().then_some(Errno::EINVAL);
    known.or_else(not_admitted).unwrap_or(Errno::EIO)
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerError({self})")
    }
}

impl Error for HandlerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// The memory that a predecessor handed over, shared by everybody who was given a part of it.
///
/// Until the handover is finished it is read-only and stays as the predecessor left it, so that it
/// can be handed back.
#[derive(Clone)]
pub struct Held(Arc<RwLock<Attached>>);

impl Held {
    pub(crate) fn new(attached: Attached) -> Self {
        Self(Arc::new(RwLock::new(attached)))
    }

    /// The handover, to be read. Let go of it before anything is finished: finishing waits for it.
    pub fn read(&self) -> impl Deref<Target = Attached> {
        self.0.read()
    }

    pub(crate) fn write(&self) -> impl DerefMut<Target = Attached> {
        self.0.write()
    }

    /// Copies memory at `addr` into `buf`.
    ///
    /// # Errors
    ///
    /// A part of it is not handed over any more.
    pub fn copy_to(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<(), MemError> {
        self.read().handed().copy_to(addr, buf)
    }

    pub(crate) fn into_inner(self) -> Result<Attached, Self> {
        let lock = Arc::try_unwrap(self.0).map_err(Self)?;
        Ok(lock.into_inner())
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// What a handler is given to retrieve with.
#[derive(Debug)]
pub struct Retrieve<'a> {
    /// The verdict.
    pub admitted: &'a Admitted,
    /// The memory.
    pub held: &'a Held,
    /// What of it has an owner. Claims of a retrieve that fails are taken back.
    pub claims: &'a mut Claims,
    /// What was announced of components' versions, as the string of the file's handler says it.
    pub announced: &'a Announced,
    /// Where the file's entry keeps its data.
    pub data_at: PhysAddr,
}

impl Retrieve<'_> {
    /// The entry's `data` as a link to what errors call `name`.
    #[must_use]
    pub const fn link(&self, data: u64, name: &'static str) -> Link {
        Link {
            to: PhysAddr::new(data),
            at: self.data_at,
            name,
        }
    }

    /// The version of the file's own component that was handed over; `None` for an FLB whose name is no
    /// compat string.
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        let name = self.announced.base().map(Token::name)?;
        self.announced.version_of(name)
    }

    /// The version of `component` that was handed over: of one that the file's component needs.
    #[must_use]
    pub fn version_of(&self, component: &str) -> Option<u32> {
        self.admitted.version_for(self.announced, component)
    }

    /// The generation of `component` that was handed over: of the file's own, or of one that it needs.
    /// See [`Admitted::found`].
    ///
    /// # Errors
    ///
    /// As [`Admitted::found`].
    pub fn found(&self, component: &Component) -> Result<&'static Generation, NotAdmitted> {
        self.admitted.found(self.announced, component)
    }

    /// Restores with what is given. The memory is locked against finishing meanwhile.
    pub fn restoring<T>(&mut self, step: impl FnOnce(&mut Restoring<'_, '_>) -> T) -> T {
        let attached = self.held.read();
        let reading = Reading::lent(attached.handed(), self.claims);
        let mut reading = reading.with(self.admitted.announced(self.announced));
        step(&mut reading.admitted(self.admitted))
    }
}

/// Hands one kind of file over: its component's name, and what happens at each step of a file's
/// life.
///
/// Every step that fails must leave the file, the arena and the tracker as they were; what was
/// preserved through [`Kho::preserver`] goes when its owner is dropped.
///
/// # Locks
///
/// `&mut` is the lock. What a step is given so, nobody else has until it returns: the preserved state in
/// [`freeze`](Self::freeze) and [`unfreeze`](Self::unfreeze), the claims in [`Retrieve`], the memory in
/// [`finish`](Self::finish). What is given by value is the step's own. The handler itself and the file are shared with
/// other threads: what changes in them is behind a lock of their own.
///
/// # What a step may call
///
/// A handler's functions, and those of a [`FlbHandler`], are called within one step of the
/// [`Orchestrator`](crate::Orchestrator) or of the [`Incoming`](crate::Incoming) handover. Steps are taken one at a
/// time: other threads wait until it is over, so that a handler must not wait for a thread that begins one.
///
/// - What would begin another step fails with [`LuoError::InStep`](crate::LuoError::InStep) or
///   [`IncomingError::InStep`](crate::IncomingError::InStep): creating a session, preserving a file, freezing;
///   retrieving a session, a file or an FLB, asking what waits, finishing. A file that depends on another is
///   preserved and retrieved after it, by their user. Without the feature `std` threads can not be told apart,
///   and such a call does not return.
/// - What only asks is answered: names and counts of sessions, files and tokens, the verdict, the [`Kho`].
/// - An [`OutgoingSession`](crate::OutgoingSession) that is dropped is closed when the step is over.
/// - [`Kho::preserver`] and the rest of [`Kho`] may be used, in every step of the outgoing side.
/// - The memory is locked for reading in [`can_finish`](Self::can_finish) and [`Retrieve::restoring`], and for
///   writing in [`finish`](Self::finish). Use `attached` there: [`Held`], what reads through it, and
///   [`Incoming::reclaim`](crate::Incoming::reclaim) may wait for the step itself.
pub trait FileHandler: Send + Sync + 'static {
    /// The kind of file.
    type File: Send + Sync + 'static;
    /// What preserving a file makes: the owner of what it preserved.
    type Preserved: Send + 'static;

    /// The component whose compat string the file's entry carries: `memfd`.
    fn component(&self) -> &'static str;

    /// The versions of that component that this handler writes. Which one it is to write, the
    /// handover's side says: an [`Orchestrator`](crate::Orchestrator) checks that it is one of these.
    fn writes(&self) -> &[u32];

    /// What tells the file from others: a file is preserved at most once over all sessions. The
    /// address of the object, unless the handler knows better.
    fn identity(&self, file: &Arc<Self::File>) -> u128 {
        Arc::as_ptr(file).addr() as u128
    }

    /// Whether this file can be preserved by this handler. Handlers are asked in order of
    /// registration.
    fn can_preserve(&self, _file: &Arc<Self::File>) -> bool {
        true
    }

    /// Preserves the file.
    ///
    /// # Errors
    ///
    /// It can not be.
    fn preserve(&self, kho: &Kho, file: &Arc<Self::File>) -> Result<Self::Preserved, HandlerError>;

    /// Takes back what [`preserve`](Self::preserve) did.
    fn unpreserve(&self, file: &Arc<Self::File>, preserved: Self::Preserved);

    /// The update is about to happen: the last word is written. Returns what the file's entry holds.
    ///
    /// # Errors
    ///
    /// The file can not be handed over now; the update is called off.
    fn freeze(
        &self,
        file: &Arc<Self::File>,
        preserved: &mut Self::Preserved,
    ) -> Result<u64, HandlerError>;

    /// Takes back what [`freeze`](Self::freeze) did: the update was called off.
    fn unfreeze(&self, file: &Arc<Self::File>, preserved: &mut Self::Preserved);

    /// Gives what was preserved to the handover: nothing of it is owned any more. Called only
    /// where a handover stays in this process; an exec ends the process instead.
    fn hand_over(&self, file: &Arc<Self::File>, preserved: Self::Preserved);

    /// Makes the file of what the predecessor's entry holds.
    ///
    /// # Errors
    ///
    /// What is there is damaged, or not admitted. Trying again fails in the same way.
    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<Self::File>, HandlerError>;

    /// Whether the handover of this file may end; `None` is a file that nobody retrieved.
    ///
    /// # Errors
    ///
    /// It may not yet. Nothing is finished then.
    fn can_finish(
        &self,
        _attached: &Attached,
        _file: Option<&Arc<Self::File>>,
    ) -> Result<(), HandlerError> {
        Ok(())
    }

    /// Ends the handover of the file: from here on it is this process's own. What is not taken out
    /// of `attached` by then is freed.
    fn finish(&self, attached: &mut Attached, data: u64, file: Option<Arc<Self::File>>);
}

/// An object that lives as long as files depend on it (FLB): preserved with the first of them,
/// unpreserved or finished with the last.
///
/// What its functions may call, [`FileHandler`] says.
pub trait FlbHandler: Send + Sync + 'static {
    /// The object.
    type Object: Send + Sync + 'static;
    /// What preserving it makes.
    type Preserved: Send + 'static;

    /// Its compat string, 1 to 47 printable bytes.
    fn name(&self) -> &str;

    /// Preserves the object. Returns what its entry holds as well.
    ///
    /// # Errors
    ///
    /// It can not be.
    fn preserve(&self, kho: &Kho) -> Result<(u64, Self::Preserved), HandlerError>;

    /// Takes back what [`preserve`](Self::preserve) did.
    fn unpreserve(&self, preserved: Self::Preserved);

    /// As [`FileHandler::hand_over`].
    fn hand_over(&self, preserved: Self::Preserved);

    /// Makes the object of what the predecessor's entry holds.
    ///
    /// # Errors
    ///
    /// What is there is damaged. Trying again fails in the same way.
    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<Self::Object>, HandlerError>;

    /// Ends its handover; `None` is an object that nobody retrieved.
    fn finish(&self, attached: &mut Attached, data: u64, object: Option<Arc<Self::Object>>);
}

pub(crate) type State = Box<dyn Any + Send>;

/// A handler without its types.
pub(crate) trait AnyHandler: Send + Sync {
    fn component(&self) -> &'static str;
    fn writes(&self) -> &[u32];
    fn identity(&self, file: &FileRef) -> u128;
    fn can_preserve(&self, file: &FileRef) -> bool;
    fn preserve(&self, kho: &Kho, file: &FileRef) -> Result<State, HandlerError>;
    fn unpreserve(&self, file: &FileRef, state: State);
    fn freeze(&self, file: &FileRef, state: &mut State) -> Result<u64, HandlerError>;
    fn unfreeze(&self, file: &FileRef, state: &mut State);
    fn hand_over(&self, file: &FileRef, state: State);
    fn retrieve(&self, retrieve: &mut Retrieve<'_>, data: u64) -> Result<FileRef, HandlerError>;
    fn can_finish(&self, attached: &Attached, file: Option<&FileRef>) -> Result<(), HandlerError>;
    fn finish(&self, attached: &mut Attached, data: u64, file: Option<FileRef>);
}

fn of<T: Send + Sync + 'static>(file: &FileRef) -> Option<Arc<T>> {
    Arc::clone(file).downcast().ok()
}

/// A file that its handler's own steps were never called for.
fn foreign() -> HandlerError {
    HandlerError::new("the file is of another kind")
}

impl<H: FileHandler> AnyHandler for H {
    fn component(&self) -> &'static str {
        FileHandler::component(self)
    }

    fn writes(&self) -> &[u32] {
        FileHandler::writes(self)
    }

    fn identity(&self, file: &FileRef) -> u128 {
        of(file).map_or(0, |file| FileHandler::identity(self, &file))
    }

    fn can_preserve(&self, file: &FileRef) -> bool {
        of(file).is_some_and(|file| FileHandler::can_preserve(self, &file))
    }

    fn preserve(&self, kho: &Kho, file: &FileRef) -> Result<State, HandlerError> {
        let file = of(file).ok_or_else(foreign)?;
        FileHandler::preserve(self, kho, &file).map(|state| Box::new(state) as State)
    }

    fn unpreserve(&self, file: &FileRef, state: State) {
        if let (Some(file), Ok(state)) = (of(file), state.downcast()) {
            FileHandler::unpreserve(self, &file, *state);
        }
    }

    fn freeze(&self, file: &FileRef, state: &mut State) -> Result<u64, HandlerError> {
        match (of(file), state.downcast_mut()) {
            (Some(file), Some(state)) => FileHandler::freeze(self, &file, state),
            _ => Err(foreign()),
        }
    }

    fn unfreeze(&self, file: &FileRef, state: &mut State) {
        if let (Some(file), Some(state)) = (of(file), state.downcast_mut()) {
            FileHandler::unfreeze(self, &file, state);
        }
    }

    fn hand_over(&self, file: &FileRef, state: State) {
        if let (Some(file), Ok(state)) = (of(file), state.downcast()) {
            FileHandler::hand_over(self, &file, *state);
        }
    }

    fn retrieve(&self, retrieve: &mut Retrieve<'_>, data: u64) -> Result<FileRef, HandlerError> {
        FileHandler::retrieve(self, retrieve, data).map(|file| file as FileRef)
    }

    fn can_finish(&self, attached: &Attached, file: Option<&FileRef>) -> Result<(), HandlerError> {
        FileHandler::can_finish(self, attached, file.and_then(of).as_ref())
    }

    fn finish(&self, attached: &mut Attached, data: u64, file: Option<FileRef>) {
        FileHandler::finish(self, attached, data, file.as_ref().and_then(of));
    }
}

/// An FLB handler without its types.
pub(crate) trait AnyFlb: Send + Sync {
    fn name(&self) -> &str;
    fn preserve(&self, kho: &Kho) -> Result<(u64, State), HandlerError>;
    fn unpreserve(&self, state: State);
    fn hand_over(&self, state: State);
    fn retrieve(&self, retrieve: &mut Retrieve<'_>, data: u64) -> Result<FileRef, HandlerError>;
    fn finish(&self, attached: &mut Attached, data: u64, object: Option<FileRef>);
}

impl<F: FlbHandler> AnyFlb for F {
    fn name(&self) -> &str {
        FlbHandler::name(self)
    }

    fn preserve(&self, kho: &Kho) -> Result<(u64, State), HandlerError> {
        FlbHandler::preserve(self, kho).map(|(data, state)| (data, Box::new(state) as State))
    }

    fn unpreserve(&self, state: State) {
        if let Ok(state) = state.downcast() {
            FlbHandler::unpreserve(self, *state);
        }
    }

    fn hand_over(&self, state: State) {
        if let Ok(state) = state.downcast() {
            FlbHandler::hand_over(self, *state);
        }
    }

    fn retrieve(&self, retrieve: &mut Retrieve<'_>, data: u64) -> Result<FileRef, HandlerError> {
        FlbHandler::retrieve(self, retrieve, data).map(|object| object as FileRef)
    }

    fn finish(&self, attached: &mut Attached, data: u64, object: Option<FileRef>) {
        FlbHandler::finish(self, attached, data, object.as_ref().and_then(of));
    }
}

/// Two handlers where one is registered. A kernel refuses the second with `EEXIST`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DuplicateHandler {
    /// Two file handlers of one component.
    #[error("component `{0}` has two file handlers")]
    File(&'static str),
    /// Two FLBs of one name.
    #[error("two FLBs have the name `{0}`")]
    Flb(String),
}

impl DuplicateHandler {
    /// `EEXIST`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::EEXIST
    }
}

/// The handlers that a program has, and the objects that their files depend on.
///
/// The same ones serve both directions: what goes out and what comes in.
#[derive(Clone, Default)]
pub struct Handlers {
    pub(crate) files: Vec<Arc<dyn AnyHandler>>,
    pub(crate) flbs: Vec<FlbEntry>,
}

#[derive(Clone)]
pub(crate) struct FlbEntry {
    pub(crate) handler: Arc<dyn AnyFlb>,
    // Components of the file handlers whose files depend on it.
    users: Vec<String>,
}

impl FlbEntry {
    /// Whether the files of `component`'s handler depend on it.
    pub(crate) fn serves(&self, component: &str) -> bool {
        self.users.iter().any(|user| user == component)
    }
}

impl Handlers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file handler; those added before are asked first. A component has one:
    /// [`check`](Self::check).
    #[must_use]
    pub fn with(mut self, handler: impl FileHandler) -> Self {
        self.files.push(Arc::new(handler));
        self
    }

    /// Adds an object that the files of these components' handlers (`["memfd"]`) depend on. A name has
    /// one: [`check`](Self::check).
    #[must_use]
    pub fn with_flb<'c>(
        mut self,
        components: impl IntoIterator<Item = &'c str>,
        flb: impl FlbHandler,
    ) -> Self {
        self.flbs.push(FlbEntry {
            handler: Arc::new(flb),
            users: components.into_iter().map(ToOwned::to_owned).collect(),
        });
        self
    }

    /// Checks that no component has two file handlers, and no name two FLBs. What takes `Handlers` checks
    /// it first.
    ///
    /// # Errors
    ///
    /// The first of which there are two.
    pub fn check(&self) -> Result<(), DuplicateHandler> {
        let mut names = BTreeSet::new();
        let mut files = self.files.iter().map(|handler| handler.component());
        if let Some(component) = files.find(|name| !names.insert(*name)) {
            return Err(DuplicateHandler::File(component));
        }
        names.clear();
        let mut flbs = self.flbs.iter().map(|entry| entry.handler.name());
        match flbs.find(|name| !names.insert(*name)) {
            Some(name) => Err(DuplicateHandler::Flb(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether there is a file handler of `component`.
    #[must_use]
    pub fn handles(&self, component: &str) -> bool {
        self.of_component(component).is_some()
    }

    pub(crate) fn of_component(&self, component: &str) -> Option<usize> {
        self.files
            .iter()
            .position(|handler| handler.component() == component)
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.iter().map(|handler| handler.component());
        let flbs = self.flbs.iter().map(|entry| entry.handler.name());
        f.debug_list().entries(files).entries(flbs).finish()
    }
}
