//! The way to the next program: frozen, sealed, executed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::process::Command;

use kho_core::{Kho, KhoConfig, KhoError};
use kho_luo::{FileRef, Frozen, Orchestrator};

use super::Host;
use crate::exec::Prepared;
use crate::faults::{FAULTS_ENV, faults};
use crate::inherit::{HANDOVER_ENV, set_inheritable};
use crate::supervise::Client;
use crate::ticket::{FORMAT, Mark, Ticket, for_this_process, mark};
use crate::{HandOverError, store};

impl Host {
    /// The outgoing side of an update: sessions are made in it and files preserved. Files may be
    /// written to until [`Host::exec`], but for their size.
    ///
    /// # Errors
    ///
    /// What came in is not finished, no memory is left, or this program is to write versions that it
    /// can not.
    pub fn orchestrator(&self) -> Result<Orchestrator, HandOverError> {
        if self.incoming.is_some() {
            return Err(HandOverError::NotFinished);
        }
        let config = KhoConfig::new()
            .writing(self.config.writing)
            .side(self.config.written().map_err(KhoError::from)?)
            .scratch(self.scratch.iter().copied())
            .metadata(self.config.release.clone(), self.kexecs);
        let kho = Kho::new(self.arena.for_handover(), &config)?;
        Ok(Orchestrator::new(
            kho,
            self.handlers.clone(),
            self.generation,
        )?)
    }

    /// Hands `files` over as the session `session` to the program `next`: preserves and freezes
    /// them, and executes it. Returns only if that failed: the program goes on then, with
    /// everything as before.
    ///
    /// [`Host::prepare`], called before, makes the pause independent of how much memory was touched.
    pub fn hand_over(
        &self,
        session: impl AsRef<[u8]>,
        files: impl IntoIterator<Item = (u64, FileRef)>,
        next: Command,
    ) -> HandOverError {
        let preserve = || {
            let orchestrator = self.orchestrator()?;
            let session = orchestrator.create_session(session)?;
            for (token, file) in files {
                session.preserve(token, file)?;
            }
            Ok((orchestrator, session))
        };
        match preserve() {
            Ok((orchestrator, _session)) => self.exec(&orchestrator, next),
            Err(error) => error,
        }
    }

    /// Freezes what `orchestrator` holds and executes `next`, which takes it over. Returns only if
    /// that failed: everything is unfrozen then.
    ///
    /// The program is looked for before anything is frozen. Signals and the directory are this
    /// process's until the exec, and stay so if it fails. A signal that comes between the freeze and
    /// the exec, and is only noted by its handler, is lost with this program.
    pub fn exec(&self, orchestrator: &Orchestrator, next: Command) -> HandOverError {
        if self.incoming.is_some() {
            return HandOverError::NotFinished;
        }
        if self.supervisor.as_ref().is_some_and(Client::is_newly_gone) {
            return HandOverError::Unsupervised {
                process: std::process::id(),
                program: self.program.path().to_owned(),
            };
        }
        let program = next.get_program().display().to_string();
        let mut prepared = match Prepared::of(&next) {
            Ok(prepared) => prepared,
            Err(error) => return HandOverError::Exec { program, error },
        };
        self.preparing.wait();
        // What is left of it, or all where nothing was prepared: the exec would take its time otherwise.
        if let Err(error) = self.arena.unmap() {
            tracing::debug!(%error, "the arena has no advice on huge pages");
        }
        let mut marks = Vec::new();
        mark(&mut marks, "freeze");
        match orchestrator.freeze() {
            Ok(frozen) => {
                mark(&mut marks, "frozen");
                let error = self.exec_frozen(&frozen, &mut prepared, program, marks);
                frozen.unfreeze();
                error
            }
            Err(error) => error.into(),
        }
    }

    fn exec_frozen(
        &self,
        frozen: &Frozen,
        next: &mut Prepared,
        program: String,
        mut marks: Vec<Mark>,
    ) -> HandOverError {
        let Some(arena) = self.arena.file() else {
            return HandOverError::System {
                what: "the arena",
                error: io::Error::other("it is on the heap: an exec does not keep it"),
            };
        };
        let outgoing = self.table.outgoing();
        let entry = frozen.entry();
        mark(&mut marks, "exec");
        let ticket = Ticket {
            format: FORMAT.to_owned(),
            arena: arena.as_raw_fd(),
            base: self.arena.range().start().get(),
            size: self.arena.range().len(),
            fdt: entry.fdt_addr.get(),
            scratch: entry.scratch.map(|(addr, size)| (addr.get(), size)),
            fds: outgoing
                .iter()
                .map(|(number, _)| (*number, *number))
                .collect(),
            previous: Some(self.program.clone()),
            marks,
        };
        let system = |what| move |error| HandOverError::System { what, error };
        let file = match ticket.file().map_err(system("the ticket")) {
            Ok(file) => file,
            Err(error) => return error,
        };
        let own = [
            (arena.as_raw_fd(), arena.as_fd()),
            (self.exe.as_raw_fd(), self.exe.as_fd()),
        ];
        let files = outgoing
            .iter()
            .map(|(number, file)| (*number, file.as_fd()));
        let fds: Vec<(RawFd, BorrowedFd<'_>)> = own.iter().copied().chain(files).collect();
        let error = match self.hold(&file, &fds) {
            Ok(()) => {
                let socket = self.supervisor().map(|client| client.socket.as_fd());
                let pass = || {
                    own.iter()
                        .map(|(_, fd)| *fd)
                        .chain([file.as_fd()])
                        .chain(socket)
                };
                let passed = pass().try_for_each(|fd| set_inheritable(fd, true));
                let passed = passed.and_then(|()| {
                    let faults = faults().map_or_else(String::new, |faults| faults.to_string());
                    next.set(FAULTS_ENV, faults.as_ref())?;
                    next.set(HANDOVER_ENV, &for_this_process(&file))
                });
                tracing::info!(program, descriptors = outgoing.len(), "handing over");
                let error = match passed {
                    Ok(()) => next.exec(),
                    Err(error) => error,
                };
                // Still here.
                if let Err(error) = pass().try_for_each(|fd| set_inheritable(fd, false)) {
                    tracing::debug!(%error, "the arena stays inheritable");
                }
                HandOverError::Exec { program, error }
            }
            Err(error) => error,
        };
        if let Some(supervisor) = self.supervisor()
            && let Err(error) = supervisor.called_off()
        {
            tracing::error!(%error, "the supervisor was not told that the update was called off");
        }
        if let Some(store) = &self.store {
            store.remove(fds.iter().map(|(number, _)| store::name_of(*number)));
        }
        error
    }

    /// Leaves a copy with those who would bring this program back.
    fn hold(&self, ticket: &File, fds: &[(RawFd, BorrowedFd<'_>)]) -> Result<(), HandOverError> {
        let not_held = |what| move |error| HandOverError::NotHeld { what, error };
        if let Some(supervisor) = self.supervisor() {
            supervisor
                .sealed(ticket, fds)
                .map_err(not_held("the supervisor"))?;
        }
        if let Some(store) = &self.store {
            store
                .sealed(ticket, fds)
                .map_err(not_held("the service manager's descriptor store"))?;
        }
        Ok(())
    }
}
