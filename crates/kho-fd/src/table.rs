//! What descriptors come in and go out.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kho_mem::Inherited;

use crate::FdFile;

/// The descriptors of one process's handovers: those that it was started with, by the numbers that
/// its predecessor wrote down, and those that are to be passed on. Cheap to clone; the clones are
/// one.
#[derive(Clone, Debug, Default)]
pub struct FdTable(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    inherited: Inherited,
    // From the number written down to the one it has here. A supervisor that starts a program again
    // can not always keep the numbers.
    renamed: BTreeMap<RawFd, RawFd>,
    outgoing: BTreeMap<RawFd, Arc<FdFile>>,
}

impl FdTable {
    /// A table of the descriptors `inherited`; `renamed` leads from numbers that were written down to
    /// the ones that they have here.
    #[must_use]
    pub fn new(inherited: Inherited, renamed: BTreeMap<RawFd, RawFd>) -> Self {
        Self(Arc::new(Mutex::new(State {
            inherited,
            renamed,
            outgoing: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another descriptor of the open file that was written down as `number`; `None` where none was
    /// inherited. The inherited one stays, to be handed back.
    ///
    /// # Errors
    ///
    /// The process has too many open files.
    pub fn duplicate(&self, number: RawFd) -> io::Result<Option<OwnedFd>> {
        let state = self.lock();
        let here = state.renamed.get(&number).copied().unwrap_or(number);
        state
            .inherited
            .get(here)
            .map(OwnedFd::try_clone)
            .transpose()
    }

    /// Closes the inherited descriptor that was written down as `number`: the handover is finished.
    pub fn close(&self, number: RawFd) {
        let mut state = self.lock();
        let here = state.renamed.get(&number).copied().unwrap_or(number);
        drop(state.inherited.remove(here));
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

    /// From the numbers written down to those here, of all that was inherited and renamed.
    #[must_use]
    pub fn renamed(&self) -> BTreeMap<RawFd, RawFd> {
        self.lock().renamed.clone()
    }

    pub(crate) fn freeze(&self, number: RawFd, file: &Arc<FdFile>) {
        self.lock().outgoing.insert(number, Arc::clone(file));
    }

    pub(crate) fn unfreeze(&self, number: RawFd) {
        self.lock().outgoing.remove(&number);
    }
}
