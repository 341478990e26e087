//! The sessions of an admitted handover.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use kho_compat::{Admitted, Carrier, NotAdmitted};

use crate::COMPONENT;
use crate::token::ByToken;
use crate::{Body, File, FileToken, Luo, Session, SessionName};

/// The sessions that an admitted handover brings, found by name in O(log sessions).
#[derive(Debug)]
pub struct AdmittedSessions<'l> {
    body: &'l Body,
    // By handler: whether its files are lost.
    lost: Arc<[bool]>,
    by_name: BTreeMap<&'l [u8], usize>,
}

/// A session that an admitted handover brings; its files are found by token in O(log files).
#[derive(Debug)]
pub struct AdmittedSession<'l> {
    body: &'l Body,
    lost: Arc<[bool]>,
    session: &'l Session,
    by_token: ByToken,
}

/// A file that an admitted handover brings. Its handler opens it.
#[derive(Clone, Copy, Debug)]
pub struct AdmittedFile<'l> {
    body: &'l Body,
    file: &'l File,
    is_lost: bool,
}

impl Luo {
    /// Opens the sessions for restoring. Files that the verdict gives up are there, and
    /// [lost](AdmittedFile::is_lost).
    ///
    /// # Errors
    ///
    /// The verdict does not cover this LUO's version or that of its blocks, or the handler of a file in it that is
    /// not lost. A verdict of while restoring is asked about a handler when a file of it is.
    pub fn restore<'l>(&'l self, admitted: &Admitted) -> Result<AdmittedSessions<'l>, NotAdmitted> {
        let _span = tracing::info_span!("restore").entered();
        admitted.found(&self.announced, &COMPONENT)?;
        admitted.found_announced(&self.announced, &kho_block::COMPONENT)?;
        // What was read as a version that is not ours, no verdict opens.
        let body = self.try_body()?;
        let losses = admitted.verdict().losses();
        let is_lost = |handler: &crate::Handler| {
            let lost = losses.get(Carrier::FileHandler, &handler.compatible);
            lost.is_some()
        };
        let mut handlers = body.handlers().iter().filter(|_| !admitted.is_late());
        handlers.try_for_each(|handler| {
            let announced = self.announced.in_string(&handler.compatible);
            if is_lost(handler) {
                return Ok(());
            }
            admitted.require_base(&announced, &handler.compatible)
        })?;
        let lost: Arc<[bool]> = body.handlers().iter().map(is_lost).collect();
        let (sessions, files) = (body.sessions.len(), body.files());
        tracing::debug!(sessions, files, "sessions opened");
        let by_name = body
            .sessions
            .iter()
            .enumerate()
            .map(|(i, s)| (s.name.as_bytes(), i))
            .collect();
        Ok(AdmittedSessions {
            body,
            lost,
            by_name,
        })
    }
}

impl<'l> AdmittedSessions<'l> {
    /// Every session in order of creation.
    pub fn iter(&self) -> impl Iterator<Item = AdmittedSession<'l>> + '_ {
        self.body.sessions.iter().map(|session| self.open(session))
    }

    /// The session `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<AdmittedSession<'l>> {
        let session = self.body.sessions.get(*self.by_name.get(name)?)?;
        Some(self.open(session))
    }

    fn open(&self, session: &'l Session) -> AdmittedSession<'l> {
        let by_token = ByToken::new(session.files.len(), session.token());
        AdmittedSession {
            body: self.body,
            lost: Arc::clone(&self.lost),
            session,
            by_token,
        }
    }
}

impl<'l> AdmittedSession<'l> {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'l SessionName {
        &self.session.name
    }

    /// Its files in order of preservation.
    pub fn files(&self) -> impl Iterator<Item = AdmittedFile<'l>> + '_ {
        self.session.files.iter().map(|file| self.open(file))
    }

    /// The file `token`.
    #[must_use]
    pub fn file(&self, token: impl Into<FileToken>) -> Option<AdmittedFile<'l>> {
        let files = &self.session.files;
        let found = self
            .by_token
            .find(token.into(), 0, files.len(), self.session.token());
        let file = files.get(found?)?;
        Some(self.open(file))
    }

    fn open(&self, file: &'l File) -> AdmittedFile<'l> {
        AdmittedFile {
            body: self.body,
            file,
            is_lost: self.lost.get(file.handler()).copied().unwrap_or(false),
        }
    }
}

impl<'l> AdmittedFile<'l> {
    /// Its token.
    #[must_use]
    pub const fn token(&self) -> FileToken {
        self.file.token
    }

    /// The compat string of its handler.
    #[must_use]
    pub fn compatible(&self) -> &'l str {
        self.body.compatible_of(self.file)
    }

    /// Whether the verdict gives it up: nothing here restores it.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Its entry.
    #[must_use]
    pub const fn entry(&self) -> &'l File {
        self.file
    }
}
