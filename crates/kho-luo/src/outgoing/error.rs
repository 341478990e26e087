//! What the outgoing side refuses.

use alloc::string::String;

use kho_block::BlockError;
use kho_compat::RegistryError;
use kho_core::{KhoError, TrackerError};
use kho_mem::{Broken, Errno};

use crate::steps::InStep;
use crate::{DuplicateHandler, FileToken, HandlerError, SessionName};

/// What the outgoing side refuses. Everything is as it was then.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LuoError {
    /// The name is not 1 to 63 bytes without a NUL.
    #[error("\"{0}\" is no session's name: 1 to 63 bytes without a NUL are")]
    BadName(String),
    /// There is a session of that name.
    #[error("there is a session `{0}` already")]
    SessionExists(SessionName),
    /// The session was closed.
    #[error("session `{0}` is closed")]
    Closed(SessionName),
    /// The session has a file of that token.
    #[error("session `{session}` has a file of token {token:#x} already")]
    TokenExists {
        /// The session.
        session: SessionName,
        /// The token.
        token: FileToken,
    },
    /// The file is preserved already, in this session or another.
    #[error("the file is preserved already: a file is preserved once over all sessions")]
    Busy,
    /// No handler takes the file.
    #[error("no handler can preserve this file")]
    NoHandler,
    /// The sessions are frozen: unfreeze first.
    #[error("frozen for an update")]
    Frozen,
    /// A handler called the orchestrator from within one of its own steps. See
    /// [`FileHandler`](crate::FileHandler).
    #[error("called by a handler from within one of its steps")]
    InStep,
    /// A handler failed.
    #[error(
        "{step} of the file of token {token:#x} in session `{session}` by handler `{component}`: {error}"
    )]
    Handler {
        /// What it was asked: preserve or freeze.
        step: &'static str,
        /// The session.
        session: SessionName,
        /// The file.
        token: FileToken,
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
    /// Two handlers where one is registered.
    #[error(transparent)]
    DuplicateHandler(#[from] DuplicateHandler),
    /// What is there is not what was made room for. The update is called off.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl From<InStep> for LuoError {
    fn from(_: InStep) -> Self {
        Self::InStep
    }
}

impl LuoError {
    /// What a kernel returns in its place.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::BadName(_) | Self::BadFlb(_) | Self::Registry(_) => Errno::EINVAL,
            Self::SessionExists(_) | Self::TokenExists { .. } => Errno::EEXIST,
            Self::Closed(_) => Errno::EBADF,
            Self::Busy | Self::Frozen => Errno::EBUSY,
            Self::NoHandler => Errno::ENOENT,
            Self::InStep => Errno::EDEADLK,
            Self::Handler { error, .. } | Self::Flb { error, .. } => error.errno(),
            Self::Set { error, .. } => error.errno(),
            Self::Kho(error) => error.errno(),
            Self::Tracker(error) => error.errno(),
            Self::DuplicateHandler(error) => error.errno(),
            Self::Broken(error) => error.errno(),
        }
    }

    pub(super) const fn set(what: &'static str, error: BlockError) -> Self {
        let error = SetError(error);
        Self::Set { what, error }
    }
}

/// A set of sessions or files that does not take one more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(transparent)]
pub struct SetError(#[from] BlockError);

impl SetError {
    /// What a kernel returns in its place.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        self.0.errno()
    }
}
