//! Freezing, and what comes of it: handed over, or unfrozen.

use alloc::sync::Arc;

use kho_core::{Entry, Kho};
use kho_mem::{Arena, Broken, PhysAddr};

use super::{LuoError, Orchestrator, Shared, State};

impl Orchestrator {
    /// Freezes every file of every session, in order, and writes the sessions down. What is written
    /// then is what the next kernel reads.
    ///
    /// # Errors
    ///
    /// A handler refuses, or what is to be written does not fit where room was made for it. What was frozen is
    /// unfrozen then, the latest first, and the update is called off. A foreign FLB is of more files than there
    /// are. A handler calls this in a step. The tracker is broken
    /// ([`Preserver::check`](kho_radix::Preserver::check)).
    pub fn freeze(&self) -> Result<Frozen, LuoError> {
        let mut state = self.0.state.enter()?;
        if state.frozen {
            return Err(LuoError::Frozen);
        }
        let _span = tracing::info_span!("freeze", number = self.0.number).entered();
        state.check_foreign()?;
        self.0.kho.preserver().check()?;
        let done = self.0.freeze(&mut state);
        state.frozen = done.is_ok();
        self.0.close_dropped(&mut state);
        done.inspect_err(|error| tracing::warn!(%error, "not frozen"))?;
        let sessions = state.sessions.iter().flatten();
        let files: usize = sessions.clone().map(|session| session.files.len()).sum();
        tracing::info!(sessions = sessions.count(), files, "frozen");
        Ok(Frozen {
            orchestrator: Some(self.clone()),
        })
    }
}

impl Shared {
    fn freeze(&self, state: &mut State) -> Result<(), LuoError> {
        self.freeze_files(state)?;
        self.serialize(state).map_err(|broken| {
            self.unfreeze(state);
            broken.into()
        })
    }

    /// Takes back what freezing did.
    fn unfreeze(&self, state: &mut State) {
        self.unserialize(state);
        let all = state.sessions.len();
        self.unfreeze_before(state, all, 0);
    }

    fn freeze_files(&self, state: &mut State) -> Result<(), LuoError> {
        let mut failure = None;
        let kinds = &state.kinds;
        'all: for (index, session) in state.sessions.iter_mut().enumerate() {
            let Some(session) = session else { continue };
            for (number, file) in session.files.iter_mut().enumerate() {
                let Some(kind) = kinds.get(file.kind) else {
                    let broken = Broken::new("file handlers", file.kind + 1, kinds.len());
                    failure = Some((index, number, broken.into()));
                    break 'all;
                };
                match kind.handler.freeze(&file.file, &mut file.state) {
                    Ok(data) => file.data = data,
                    Err(error) => {
                        let error = LuoError::Handler {
                            step: "freeze",
                            session: session.name.clone(),
                            token: file.token,
                            component: kind.handler.component(),
                            error,
                        };
                        failure = Some((index, number, error));
                        break 'all;
                    }
                }
            }
        }
        let Some((index, number, error)) = failure else {
            return Ok(());
        };
        self.unfreeze_before(state, index, number);
        Err(error)
    }

    /// Unfreezes the files before file `number` of session `index`, the latest first.
    fn unfreeze_before(&self, state: &mut State, index: usize, number: usize) {
        for (at, session) in state.sessions.iter_mut().enumerate().take(index + 1).rev() {
            let Some(session) = session else { continue };
            let frozen = if at == index {
                number
            } else {
                session.files.len()
            };
            for file in session.files.iter_mut().take(frozen).rev() {
                if let Some(kind) = state.kinds.get(file.kind) {
                    kind.handler.unfreeze(&file.file, &mut file.state);
                }
                file.data = 0;
            }
        }
    }
}

/// Sessions that are frozen and written down. Either they are handed over, or they are unfrozen:
/// dropped, they are.
#[derive(Debug)]
pub struct Frozen {
    // Taken where it ends.
    orchestrator: Option<Orchestrator>,
}

impl Frozen {
    /// Where the handover begins.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let kho = self.orchestrator.as_ref().map(Orchestrator::kho);
        kho.map_or(Entry::new(PhysAddr::NULL), Kho::entry)
    }

    /// Calls the update off: everything is as before the freeze.
    pub fn unfreeze(self) {}

    /// Gives everything to the handover. For a handover that stays in this process; an exec ends
    /// the process instead.
    ///
    /// # Errors
    ///
    /// Sessions are still open here, or there is a clone of the orchestrator or of its core: frozen
    /// as before.
    pub fn hand_over(mut self) -> Result<(Arena, Entry), Self> {
        let entry = self.entry();
        let Some(orchestrator) = self.orchestrator.take() else {
            return Err(self);
        };
        let mut shared = match Arc::try_unwrap(orchestrator.0) {
            Ok(shared) => shared,
            Err(shared) => {
                self.orchestrator = Some(Orchestrator(shared));
                return Err(self);
            }
        };
        // From here on the subtree stays.
        let own = shared.subtree.0.take();
        let others = own.is_some_and(|own| {
            drop(own);
            shared.kho.is_shared()
        });
        if others {
            shared.subtree.0 = Some(shared.kho.clone());
            self.orchestrator = Some(Orchestrator(Arc::new(shared)));
            return Err(self);
        }
        let Shared { kho, state, .. } = shared;
        let state = state.into_inner();
        for session in state.sessions.into_iter().flatten() {
            for file in session.files {
                if let Some(kind) = state.kinds.get(file.kind) {
                    kind.handler.hand_over(&file.file, file.state);
                }
            }
            session.set.hand_over();
        }
        for flb in state.flbs {
            if let Some((_, preserved)) = flb.preserved {
                flb.entry.handler.hand_over(preserved);
            }
        }
        state.set.hand_over();
        state.area.hand_over();
        let arena = match kho.hand_over() {
            Ok(arena) => arena,
            // Not shared, as just seen.
            Err(kho) => kho.arena().clone(),
        };
        Ok((arena, entry))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let Some(orchestrator) = self.orchestrator.take() else {
            return;
        };
        let shared = &orchestrator.0;
        // No step ends, and none begins, with a handler in it while there is this: all is refused.
        let Ok(mut state) = shared.state.enter() else {
            return;
        };
        shared.unfreeze(&mut state);
        state.frozen = false;
        tracing::info!("unfrozen");
        shared.close_dropped(&mut state);
    }
}
