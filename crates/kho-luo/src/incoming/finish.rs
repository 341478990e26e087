//! The end of a handover: finished, or handed back.

use alloc::sync::Arc;
use core::mem::replace;
use core::sync::atomic::Ordering;

use kho_core::Attached;
use kho_mem::Arena;

use super::{Incoming, IncomingError, Object, Session, Shared, State};

impl Incoming {
    /// Whether every session that is not finished yet can be.
    ///
    /// # Errors
    ///
    /// A handler is not done with a file yet, or calls this in a step.
    pub fn can_finish(&self) -> Result<(), IncomingError> {
        let state = self.0.state.enter()?;
        self.0.can_finish_all(&state)
    }

    /// Finishes every session that is not finished yet, and with them the handover: every file that
    /// was retrieved is this process's own from here on, and everything that was not is freed.
    ///
    /// # Errors
    ///
    /// A handler is not done with a file yet, or calls this in a step. Nothing is finished then.
    pub fn finish(&self) -> Result<Arena, IncomingError> {
        let mut state = self.0.state.enter()?;
        let _span = tracing::info_span!("finish").entered();
        self.0.can_finish_all(&state)?;
        for session in &mut state.sessions {
            session.finished = true;
        }
        self.0.commit(&mut state);
        drop(state);
        Ok(self.reclaim())
    }

    /// Whether the handover is finished.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.finished.load(Ordering::Acquire)
    }

    /// The handover as it was found, to be handed back: nothing of it was changed.
    ///
    /// # Errors
    ///
    /// It is finished, or files that were retrieved still refer to it.
    pub fn into_attached(self) -> Result<Attached, Self> {
        let mut shared = Arc::try_unwrap(self.0).map_err(Self)?;
        let finished = *shared.finished.get_mut();
        let state = shared.state.get_mut();
        let in_use = |object: &Object| match object {
            Object::There(file) => Arc::strong_count(file) > 1,
            _ => false,
        };
        if finished || state.objects().any(|object| in_use(object)) {
            return Err(Self(Arc::new(shared)));
        }
        // Nobody else has them: they let go of the memory here, and of their claims.
        for object in state.objects() {
            if matches!(object, Object::There(_)) {
                *object = Object::Waiting;
            }
        }
        state.claims.take_back_to(state.own_claims);
        let held = shared.held.into_inner();
        held.map_err(|held| Self(Arc::new(Shared { held, ..shared })))
    }
}

impl State {
    /// What has become of each file and FLB.
    fn objects(&mut self) -> impl Iterator<Item = &mut Object> {
        let sessions = self.sessions.iter_mut();
        let files = sessions.flat_map(|session| &mut session.objects);
        files.chain(self.flbs.iter_mut().map(|flb| &mut flb.object))
    }
}

impl Shared {
    fn can_finish_all(&self, state: &State) -> Result<(), IncomingError> {
        let sessions = self.body.sessions.iter().zip(&state.sessions);
        self.all_admitted()?;
        let mut left = sessions.filter(|(_, session)| !session.finished);
        left.try_for_each(|(there, session)| self.can_finish(there, session))
    }

    pub(super) fn can_finish(
        &self,
        there: &crate::Session,
        session: &Session,
    ) -> Result<(), IncomingError> {
        self.all_admitted()?;
        let attached = self.held.read();
        for (file, object) in there.files.iter().zip(&session.objects) {
            let Some(handler) = self.handler(file) else {
                continue;
            };
            let object = object.get();
            handler
                .can_finish(&attached, object.as_ref())
                .map_err(|error| {
                    let (session, token) = (there.name.clone(), file.token);
                    tracing::debug!(%session, token = %format_args!("{token:#x}"), %error, "not finished");
                    IncomingError::CanNotFinish {
                        session,
                        token,
                        error,
                    }
                })?;
        }
        Ok(())
    }

    /// Whether a policy that judges while restoring has let everything pass. Files that nobody retrieved have their
    /// turn here: what they hold is freed.
    fn all_admitted(&self) -> Result<(), IncomingError> {
        if !self.admitted.is_late() {
            return Ok(());
        }
        if let Some(error) = self.admitted.failed() {
            return Err(error.clone().into());
        }
        for (kind, handler) in self.kinds.iter().zip(&self.body.handlers) {
            self.turn(kind, &handler.compatible)?;
        }
        if self.lost.is_empty() {
            return Ok(());
        }
        Err(IncomingError::Degraded {
            lost: self.lost.clone(),
        })
    }

    /// Ends the handover: files in reverse order, then the objects they depend on, then the rest.
    pub(super) fn commit(&self, state: &mut State) {
        if self.finished.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut attached = self.held.write();
        attached.reclaim();
        let mut retrieved = 0_u64;
        let sessions = self.body.sessions.iter().zip(&mut state.sessions);
        for (there, session) in sessions.rev() {
            for (file, object) in there.files.iter().zip(&mut session.objects).rev() {
                let object = replace(object, Object::Waiting).get();
                retrieved += u64::from(object.is_some());
                if let Some(handler) = self.handler(file) {
                    handler.finish(&mut attached, file.data, object);
                }
            }
        }
        for (there, flb) in self.body.flbs.iter().zip(&mut state.flbs).rev() {
            let object = replace(&mut flb.object, Object::Waiting).get();
            if let Some(entry) = flb.handler.and_then(|at| self.handlers.flbs.get(at)) {
                entry.handler.finish(&mut attached, there.data, object);
            }
        }
        attached.handed_mut().free_rest();
        let (sessions, files) = (self.body.sessions.len(), self.body.files());
        tracing::info!(sessions, files, retrieved, "finished");
    }
}
