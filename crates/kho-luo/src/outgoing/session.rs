//! A session that is being made: its files are preserved and unpreserved.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::flbs::release;
use super::{File, LuoError, Orchestrator, Session, Shared, State};
use crate::{FileRef, FileToken, SessionName};

/// A session that is being made. It is not cloned, and dropped but once; its methods take `&self`, and each is a step
/// under the orchestrator's lock. Dropped, it is closed: its files are unpreserved, the latest first,
/// and it is no longer part of the handover. One that a handler drops in a step is closed when the step has
/// ended.
pub struct OutgoingSession {
    orchestrator: Orchestrator,
    name: SessionName,
    files: AtomicUsize,
}

impl OutgoingSession {
    pub(super) const fn new(orchestrator: Orchestrator, name: SessionName) -> Self {
        Self {
            orchestrator,
            name,
            files: AtomicUsize::new(0),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &SessionName {
        &self.name
    }

    /// Preserves `file` under `token`, which is the user's to choose and unique in the session.
    ///
    /// # Errors
    ///
    /// The token is taken; the file is preserved already, here or in another session; no handler
    /// takes it, or the one that does refuses; 630,000 files are there already; no page is left; an
    /// update is under way; a handler calls this in a step. Everything is as it was then.
    pub fn preserve(&self, token: impl Into<FileToken>, file: FileRef) -> Result<(), LuoError> {
        let token = token.into();
        let shared = &self.orchestrator.0;
        let mut state = shared.state.enter()?;
        let preserver = shared.kho.preserver();
        let done = preserver.step(|| shared.preserve(&mut state, &self.name, token, file));
        shared.close_dropped(&mut state);
        let files = done?;
        self.files.store(files, Ordering::Relaxed);
        Ok(())
    }

    /// How many files it has.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.load(Ordering::Relaxed)
    }

    /// Closes it: see [`OutgoingSession`].
    pub fn close(self) {}
}

impl Drop for OutgoingSession {
    fn drop(&mut self) {
        let shared = &self.orchestrator.0;
        match shared.state.enter() {
            Ok(mut state) if !state.frozen => {
                shared.close(&mut state, &self.name);
                shared.close_dropped(&mut state);
            }
            _ => {
                shared.dropped.lock().push(self.name.clone());
                shared.has_dropped.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl fmt::Debug for OutgoingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutgoingSession({})", self.name)
    }
}

impl Shared {
    /// Preserves `file`. Returns how many files the session has then.
    fn preserve(
        &self,
        state: &mut State,
        name: &SessionName,
        token: FileToken,
        file: FileRef,
    ) -> Result<usize, LuoError> {
        if state.frozen {
            return Err(LuoError::Frozen);
        }
        let State {
            kinds,
            sessions,
            by_name,
            flbs,
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
        let mut found = kinds.iter_mut().enumerate();
        let found = found.find(|(_, kind)| kind.handler.can_preserve(&file));
        let (index, kind) = found.ok_or(LuoError::NoHandler)?;
        let identity = kind.handler.identity(&file);
        // Looked for and put in at once; out again where a later step fails.
        if !kind.busy.insert(identity) {
            return Err(LuoError::Busy);
        }
        let before = session.files.len();
        if let Err(error) = session.set.grow(before + 1) {
            kind.busy.remove(&identity);
            return Err(LuoError::set("the file set of the session", error));
        }
        let component = kind.handler.component();
        let mut is_listed = false;
        let mut step = || {
            // With the first file of its handler: the root FDT may be full.
            if kind.busy.len() == 1 {
                self.kho.announce(&[component])?;
                is_listed = true;
            }
            for flb in flbs.iter_mut().filter(|flb| flb.entry.serves(component)) {
                if flb.preserved.is_none() {
                    let made = flb.entry.handler.preserve(&self.kho);
                    let made = made.map_err(|error| LuoError::Flb {
                        name: flb.entry.handler.name().to_owned(),
                        error,
                    })?;
                    flb.preserved = Some(made);
                }
            }
            kind.handler
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
                tracing::trace!(session = %name, token = %format_args!("{token:#x}"), component, "file preserved");
                session.tokens.take(token);
                session.files.push(File {
                    token,
                    kind: index,
                    identity,
                    file,
                    state,
                    data: 0,
                });
                Ok(before + 1)
            }
            Err(error) => {
                kind.busy.remove(&identity);
                release(flbs, kinds, component);
                if is_listed {
                    self.kho.withdraw(&[component]);
                }
                session.set.shrink(before);
                Err(error)
            }
        }
    }

    fn close(&self, state: &mut State, name: &SessionName) {
        let Some(index) = state.by_name.remove(name) else {
            return;
        };
        let open = state.by_name.len();
        self.open.store(open, Ordering::Relaxed);
        let Some(session) = state.sessions.get_mut(index).and_then(Option::take) else {
            return;
        };
        for file in session.files.into_iter().rev() {
            let Some(kind) = state.kinds.get_mut(file.kind) else {
                continue;
            };
            kind.busy.remove(&file.identity);
            kind.handler.unpreserve(&file.file, file.state);
            let (component, is_last) = (kind.handler.component(), kind.busy.is_empty());
            release(&mut state.flbs, &state.kinds, component);
            if is_last {
                self.kho.withdraw(&[component]);
            }
        }
        state.set.shrink(open);
        // Each gap is paid for by the session that left it.
        if state.sessions.len() > 32 && open < state.sessions.len() / 2 {
            state.sessions.retain(Option::is_some);
            let sessions = state.sessions.iter().flatten().enumerate();
            let by_name = sessions.map(|(index, Session { name, .. })| (name.clone(), index));
            state.by_name = by_name.collect();
        }
    }

    /// Closes the sessions that were dropped while they could not be closed, unless they still can not.
    pub(super) fn close_dropped(&self, state: &mut State) {
        while !state.frozen && self.has_dropped.load(Ordering::Relaxed) {
            self.has_dropped.store(false, Ordering::Relaxed);
            let names: Vec<_> = mem::take(&mut self.dropped.lock());
            names.iter().for_each(|name| self.close(state, name));
        }
    }
}
