//! A session that was handed over: its files are retrieved.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::{Incoming, IncomingError, Object, State};
use crate::{FileRef, FileToken, HandlerError, SessionName, session};

/// A session that was handed over and retrieved. Dropping it changes nothing: it waits to be
/// finished.
pub struct IncomingSession {
    incoming: Incoming,
    name: SessionName,
    index: usize,
}

impl IncomingSession {
    pub(super) const fn new(incoming: Incoming, name: SessionName, index: usize) -> Self {
        Self {
            incoming,
            name,
            index,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &SessionName {
        &self.name
    }

    fn there(&self) -> Option<&crate::Session> {
        self.incoming.0.body.sessions.get(self.index)
    }

    /// The tokens of its files, in order of preservation.
    #[must_use]
    pub fn tokens(&self) -> Vec<FileToken> {
        let files = self.there().into_iter().flat_map(crate::Session::files);
        files.map(|file| file.token).collect()
    }

    /// Retrieves the file of `token`. Asked again, it is the same file; one that failed keeps
    /// failing with the same error. O(1) for the file behind the one before, O(log files) for others, and what
    /// its handler takes.
    ///
    /// # Errors
    ///
    /// There is no such file, it is lost, its handler fails, or the session is finished; or a handler calls this
    /// in a step.
    pub fn retrieve_any(&self, token: impl Into<FileToken>) -> Result<FileRef, IncomingError> {
        let token = token.into();
        let shared = &self.incoming.0;
        let mut state = shared.state.enter()?;
        let State {
            sessions, claims, ..
        } = &mut *state;
        let none = || IncomingError::NoFile {
            session: self.name.clone(),
            token,
        };
        let there = self.there().ok_or_else(none)?;
        let session = sessions.get_mut(self.index).ok_or_else(none)?;
        if session.finished {
            return Err(IncomingError::Finished(self.name.clone()));
        }
        let (order, count) = (&session.by_token, there.files.len());
        let at = order.find(token, session.next, count, there.token());
        let at = at.ok_or_else(none)?;
        session.next = at + 1;
        let file = there.files.get(at).ok_or_else(none)?;
        let object = session.objects.get_mut(at).ok_or_else(none)?;
        if matches!(object, Object::Waiting) {
            let kind = shared.kinds.get(file.handler()).ok_or_else(none)?;
            // Where nothing but warnings is heard, they say of which file.
            let (session, number) = (&self.name, format_args!("{token:#x}"));
            let _span = tracing::warn_span!("retrieve", %session, token = %number).entered();
            let compatible = shared.body.compatible_of(file);
            let handler = shared.handler(file);
            *object = match (shared.turn(kind, compatible), handler) {
                (Err(error), _) => Object::Failed(HandlerError::new(error)),
                (Ok(()), None) => {
                    return Err(IncomingError::Lost {
                        session: self.name.clone(),
                        token,
                        compatible: compatible.into(),
                    });
                }
                (Ok(()), Some(handler)) => {
                    let (data, data_at) = (file.data, session::data_at(file.at));
                    shared.retrieve(claims, &kind.announced, data_at, |retrieve| {
                        handler.retrieve(retrieve, data)
                    })
                }
            };
        }
        match object {
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
    pub fn retrieve<T: Send + Sync + 'static>(
        &self,
        token: impl Into<FileToken>,
    ) -> Result<Arc<T>, IncomingError> {
        let token = token.into();
        let file = self.retrieve_any(token)?;
        file.downcast().map_err(|_| {
            let mut files = self.there().into_iter().flat_map(crate::Session::files);
            let file = files.find(|file| file.token == token);
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
    /// A handler is not done with a file yet, or the session is finished; or a handler calls this in a step.
    /// Nothing changes then.
    pub fn finish(&self) -> Result<(), IncomingError> {
        let shared = &self.incoming.0;
        let mut state = shared.state.enter()?;
        let (there, session) = match (self.there(), state.sessions.get_mut(self.index)) {
            (Some(there), Some(session)) if !session.finished => (there, session),
            _ => return Err(IncomingError::Finished(self.name.clone())),
        };
        let _span = tracing::info_span!("finish", session = %self.name).entered();
        shared.can_finish(there, session)?;
        session.finished = true;
        if state.sessions.iter().all(|session| session.finished) {
            shared.commit(&mut state);
        }
        Ok(())
    }
}

impl fmt::Debug for IncomingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IncomingSession({})", self.name)
    }
}
