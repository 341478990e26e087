//! What the incoming side refuses.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kho_compat::{Finding, NotAdmitted, Refused};
use kho_core::refused_errno;
use kho_mem::{Damage, Errno};

use crate::steps::InStep;
use crate::{DuplicateHandler, FileToken, HandlerError, SessionName};

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
    /// Optional parts of it would be lost, and nobody said that they may be
    /// ([`TakeOverOptions::degrade`](crate::TakeOverOptions::degrade)).
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
    /// Two handlers where one is registered.
    #[error(transparent)]
    DuplicateHandler(#[from] DuplicateHandler),
    /// There are no sessions to take over: LUO handed nothing over.
    #[error("the handover has no LUO")]
    NoLuo,
}

impl TakeOverError {
    /// What a kernel returns in its place: mostly, from the first open of `/dev/liveupdate`.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Damaged(_) | Self::Degraded { .. } | Self::NoHandler { .. } => Errno::EIO,
            Self::Refused(refused) => refused_errno(refused),
            Self::NotAdmitted(_) => Errno::EINVAL,
            Self::DuplicateHandler(error) => error.errno(),
            Self::NoLuo => Errno::ENOENT,
        }
    }
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
    Retrieved(SessionName),
    /// The session is finished.
    #[error("session `{0}` is finished")]
    Finished(SessionName),
    /// A handler called the handover from within one of its own steps. See
    /// [`FileHandler`](crate::FileHandler).
    #[error("called by a handler from within one of its steps")]
    InStep,
    /// The session has no file of that token.
    #[error("session `{session}` has no file of token {token:#x}")]
    NoFile {
        /// The session.
        session: SessionName,
        /// The token.
        token: FileToken,
    },
    /// The verdict gives the file up: nothing here restores it.
    #[error(
        "the file of token {token:#x} in session `{session}` is lost: nothing here restores `{compatible}`"
    )]
    Lost {
        /// The session.
        session: SessionName,
        /// The file.
        token: FileToken,
        /// Its handler's compat string.
        compatible: String,
    },
    /// A policy that judges while restoring refused a component in its turn. Nothing is finished after that; the
    /// handover can be handed back.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// Optional parts would be lost, and nobody said that they may be: the finish refuses it where the policy
    /// judges while restoring.
    #[error("optional parts would be lost: {}", list(lost))]
    Degraded {
        /// What would be.
        lost: Vec<Finding>,
    },
    /// The file is of another kind.
    #[error(
        "the file of token {token:#x} in session `{session}` is of another kind: `{component}`"
    )]
    WrongKind {
        /// The session.
        session: SessionName,
        /// The file.
        token: FileToken,
        /// Its handler's component.
        component: &'static str,
    },
    /// The handler could not make the file. It will not try again.
    #[error("retrieving the file of token {token:#x} in session `{session}`: {error}")]
    Retrieve {
        /// The session.
        session: SessionName,
        /// The file.
        token: FileToken,
        /// Why.
        error: HandlerError,
    },
    /// A handler is not done yet. Nothing is finished.
    #[error("the file of token {token:#x} in session `{session}` can not be finished: {error}")]
    CanNotFinish {
        /// The session.
        session: SessionName,
        /// The file.
        token: FileToken,
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

impl From<InStep> for IncomingError {
    fn from(_: InStep) -> Self {
        Self::InStep
    }
}

impl IncomingError {
    /// What a kernel returns in its place.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::NoSession(_) | Self::Finished(_) | Self::NoFile { .. } | Self::NoFlb(_) => {
                Errno::ENOENT
            }
            Self::Retrieved(_) | Self::WrongKind { .. } | Self::NotAdmitted(_) => Errno::EINVAL,
            Self::InStep => Errno::EDEADLK,
            Self::Lost { .. } | Self::Degraded { .. } => Errno::EIO,
            Self::Retrieve { error, .. } | Self::Flb { error, .. } => error.errno(),
            Self::CanNotFinish { .. } => Errno::EBUSY,
        }
    }
}
