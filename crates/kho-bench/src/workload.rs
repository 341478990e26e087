//! A piece of work with a name.

use std::time::Duration;

use crate::{Data, Result, block, capture, compat, memory, parallel, peers, radix};

/// How much work one run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Keys, one call or callback each unless the name says otherwise.
    Keys(u64),
    /// Entries of so many bytes in all.
    Entries(u64, u64),
    /// Bytes.
    Bytes(u64),
    /// One thing.
    One,
}

/// Runs a workload so many times; returns what the work alone took.
type Run = Box<dyn FnMut(u64) -> Result<Duration>>;

/// A piece of work with a name.
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// Who does it: `kho`, or a peer.
    pub by: &'static str,
    /// How much there is of it.
    pub work: Work,
    /// Whether a run takes microseconds, so that many of them are timed at once.
    pub short: bool,
    /// Does it. What it needs is made by the first run, and outside of the time.
    pub run: Run,
}

impl Workload {
    /// A workload of ours. Each run is timed alone.
    pub fn new(
        name: &'static str,
        work: Work,
        mut run: impl FnMut() -> Result<Duration> + 'static,
    ) -> Self {
        Self {
            name,
            by: "kho",
            work,
            short: false,
            run: Box::new(move |times| (0..times).map(|_| run()).sum()),
        }
    }

    /// A workload on something that its first run makes.
    pub fn on<T: 'static>(
        name: &'static str,
        work: Work,
        make: impl Fn() -> Result<T> + 'static,
        mut run: impl FnMut(&mut T) -> Result<Duration> + 'static,
    ) -> Self {
        let mut made = None;
        Self::new(name, work, move || {
            let made = match &mut made {
                Some(made) => made,
                none => none.insert(make()?),
            };
            run(made)
        })
    }

    /// The same, done by a peer.
    #[must_use]
    pub fn by(mut self, peer: &'static str) -> Self {
        self.by = peer;
        self
    }
}

/// All workloads that are timed inside one process, on `data`.
#[must_use]
pub fn all(data: Data) -> Vec<Workload> {
    let mut all = memory::workloads();
    all.extend(radix::workloads(data));
    all.extend(parallel::workloads(data));
    all.extend(block::workloads(data));
    all.extend(peers::workloads(data));
    all.extend(capture::workloads());
    all.extend(compat::workloads());
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_workload_runs_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for mut workload in all(Data::standard().scaled(0)) {
            let name = (workload.name, workload.by);
            assert!(names.insert(name), "{name:?} comes twice");
            // These need what is not there in a packaged or shallow tree, or gigabytes.
            if !matches!(workload.name, "abi_check" | "memcpy" | "memset") {
                let took = (workload.run)(1);
                assert!(took.is_ok(), "{name:?}: {took:?}");
            }
        }
    }
}
