//! What of a handover is done while the program still serves.

use std::thread::JoinHandle;

use kho_mem::sync::Mutex;

use super::Host;
use crate::store::quiet_thread;

/// The thread that prepares, where one was started.
#[derive(Default)]
pub(super) struct Preparing(Mutex<Option<JoinHandle<()>>>);

impl Preparing {
    /// Waits for the thread's end.
    pub(super) fn wait(&self) {
        let thread = self.0.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::debug!("preparing panicked: the handover does all of it");
        }
    }
}

impl Host {
    /// Begins with what takes long before a handover, on a thread of its own, and returns at once: the program goes
    /// on to serve until [`Host::is_prepared`]. [`Host::hand_over`] and [`Host::exec`] wait for it, and do what is
    /// left.
    ///
    /// It takes the arena's memory out of the page tables, which costs some 40 ms for each GiB that was touched in
    /// pages of 4 KiB. What is touched again meanwhile costs a page fault, and a little in the handover. Where one is
    /// under way already it does nothing.
    pub fn prepare(&self) {
        let mut thread = self.preparing.0.lock();
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let arena = self.arena.clone();
        let started = quiet_thread("kho-prepare", move || {
            if let Err(error) = arena.unmap_ahead() {
                tracing::debug!(%error, "nothing is prepared");
            }
        });
        match started {
            Ok(started) => *thread = Some(started),
            Err(error) => tracing::debug!(%error, "nothing is prepared"),
        }
    }

    /// Whether nothing is under way that [`Host::prepare`] began.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        let thread = self.preparing.0.lock();
        thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}
