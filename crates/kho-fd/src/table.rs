//! What descriptors come in and go out.

use std::collections::BTreeMap;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use kho_mem::sync::{Mutex, MutexGuard};

use crate::FdFile;

/// The descriptors of one process's handovers: those that it was started with, by the numbers that
/// its predecessor wrote down, and those that are to be passed on. Cheap to clone; the clones are
/// one.
#[derive(Clone, Debug, Default)]
pub struct FdTable(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    incoming: BTreeMap<RawFd, Arc<OwnedFd>>,
    outgoing: BTreeMap<RawFd, Arc<FdFile>>,
}

impl FdTable {
    /// A table of the descriptors that were inherited, by the numbers that were written down. (They
    /// may have others here: who starts a program again can not always keep them.)
    #[must_use]
    pub fn new(incoming: impl IntoIterator<Item = (RawFd, Arc<OwnedFd>)>) -> Self {
        Self(Arc::new(Mutex::new(State {
            incoming: incoming.into_iter().collect(),
            outgoing: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// The descriptor that was written down as `number`; `None` where none was inherited.
    pub(crate) fn get(&self, number: RawFd) -> Option<Arc<OwnedFd>> {
        self.lock().incoming.get(&number).cloned()
    }

    /// Lets go of the descriptor that was written down as `number`: the handover is finished. It is
    /// closed, unless a file has it.
    pub fn close(&self, number: RawFd) {
        drop(self.lock().incoming.remove(&number));
    }

    /// The descriptors that are frozen, to be passed on: their numbers, and the files.
    #[must_use]
    pub fn outgoing(&self) -> Vec<(RawFd, Arc<FdFile>)> {
        let state = self.lock();
        state
            .outgoing
            .iter()
            .map(|(number, file)| (*number, Arc::clone(file)))
            .collect()
    }

    pub(crate) fn freeze(&self, number: RawFd, file: &Arc<FdFile>) {
        self.lock().outgoing.insert(number, Arc::clone(file));
    }

    pub(crate) fn unfreeze(&self, number: RawFd) {
        self.lock().outgoing.remove(&number);
    }
}
