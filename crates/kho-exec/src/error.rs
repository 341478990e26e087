//! What can go wrong between two programs.

use std::io;

use kho_compat::RegistryError;
use kho_core::{KhoError, OpenError};
use kho_luo::{DuplicateHandler, FileToken, IncomingError, LuoError, SessionName, TakeOverError};
use kho_mem::ArenaError;

use crate::channel;
use crate::config::POLICY_ENV;
use crate::inherit::{HANDOVER_ENV, SUPERVISOR_ENV};

/// A process that can not start: neither with what was handed over, nor afresh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The environment names a handover that is not there.
    #[error("{HANDOVER_ENV} is no handover: {0}")]
    Ticket(String),
    /// The supervisor's messages are of another version: it could not be told what happens.
    #[error("{SUPERVISOR_ENV} is no supervisor of this version: found format `{0}`, expected `{expected}`", expected = channel::FORMAT)]
    Supervisor(String),
    /// The arena can not be made or attached to.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// The handover is damaged, or its root is of another version.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The handover is refused.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// The environment names a policy that is not known.
    #[error("{POLICY_ENV} names no policy that this program knows: {0}")]
    Policy(String),
    /// Two handlers where one is registered.
    #[error(transparent)]
    DuplicateHandler(#[from] DuplicateHandler),
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

/// A handover that can not be finished. It is not: it can still be handed back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// Files were not retrieved: what they hold would be lost.
    #[error(
        "{count} files were not retrieved, the first of them token {token:#x} in session `{session}`"
    )]
    NotRetrieved {
        /// The first one's session.
        session: SessionName,
        /// The first one's token.
        token: FileToken,
        /// How many there are.
        count: u64,
    },
    /// A handler is not done with a file.
    #[error(transparent)]
    Incoming(#[from] IncomingError),
    /// The supervisor does not know, and would bring the previous program back.
    #[error("the supervisor was not told: {0}")]
    NotTold(io::Error),
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
    /// The supervisor has ended: nobody would bring this program back. It is said once; the next attempt hands over
    /// without a supervisor.
    #[error(
        "the supervisor has ended: process {process} ({program}) runs on unsupervised, and nobody would bring it back; \
         the next attempt hands over all the same, and `kho run -- {program}` supervises a program that is started anew"
    )]
    Unsupervised {
        /// This process.
        process: u32,
        /// This program.
        program: String,
    },
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
