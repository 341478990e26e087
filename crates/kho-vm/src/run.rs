//! A guest from its start to its end.

use std::fs;
use std::path::Path;
use std::time::Instant;

use kho_guest::Fact;

use crate::failure::{Failure, of_file};
use crate::journal;
use crate::options::Vm;
use crate::qemu::{Event, Guest, Machine};

/// What a guest did and said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) facts: Vec<Fact>,
    /// The console's log.
    pub(crate) log: String,
    pub(crate) seconds: f64,
}

impl Machine {
    /// Runs the machine to its end.
    pub(crate) fn run(&self, vm: &Vm, what: &str) -> Result<Outcome, Failure> {
        let since = Instant::now();
        let mut guest = self.start(&vm.qemu, what)?;
        let mut facts = Vec::new();
        while let Event::Fact(fact) = guest.next()? {
            facts.push(fact);
        }
        Ok(Outcome::new(facts, &guest, since))
    }
}

impl Outcome {
    pub(crate) fn new(facts: Vec<Fact>, guest: &Guest, since: Instant) -> Self {
        Self {
            facts,
            log: guest.log(),
            seconds: since.elapsed().as_secs_f64(),
        }
    }

    /// What the kernel complained about.
    pub(crate) fn complaints(&self) -> Vec<String> {
        journal::complaints(&self.facts, &self.log)
    }

    /// The same, as what is wrong.
    pub(crate) fn kernel_says(&self) -> impl Iterator<Item = String> + use<> {
        let complaints = self.complaints().into_iter();
        complaints.map(|text| format!("the kernel says: {text}"))
    }

    /// Writes the log to `path`, where one was asked for.
    pub(crate) fn write_log(&self, path: Option<&Path>) -> Result<(), Failure> {
        path.map_or(Ok(()), |path| {
            fs::write(path, &self.log).map_err(of_file(path))
        })
    }

    /// The release of the kernel; empty where it did not come as far as init.
    pub(crate) fn release(&self) -> String {
        let release = self.find(|fact| match fact {
            Fact::Boot { release, .. } => Some(release.clone()),
            _ => None,
        });
        release.unwrap_or_default()
    }

    /// The first fact that is `wanted`.
    pub(crate) fn find<'f, T>(&'f self, wanted: impl FnMut(&'f Fact) -> Option<T>) -> Option<T> {
        self.facts.iter().find_map(wanted)
    }

    /// An error unless the guest's plan came to its end.
    pub(crate) fn finished(&self) -> Result<(), Failure> {
        match self.facts.last() {
            Some(Fact::Done | Fact::Leaving) => Ok(()),
            Some(Fact::Failed { what, wrong }) => Err(Failure::of(what, wrong)),
            _ => {
                let tail = journal::tail(&self.log);
                let text = format!("the guest ended before its plan did\n{tail}");
                Err(Failure::Failed(text))
            }
        }
    }
}
