//! A guest up to where its next kernel would look for what was handed over.

use std::path::{Path, PathBuf};
use std::time::Instant;

use kho_core::Entry;
use kho_guest::Fact;
use kho_image::{Image, ImageOptions};
use kho_mem::PhysAddr;

use crate::failure::Failure;
use crate::image::open;
use crate::options::Vm;
use crate::qemu::{Event, Guest, Machine, Qmp};
use crate::run::Outcome;

/// Memory as the next kernel is about to find it.
pub(crate) struct Stopped {
    /// What the guest did and said before.
    pub(crate) outcome: Outcome,
    /// Where the handover begins: what the boot parameters carried.
    pub(crate) entry: Entry,
    raw: PathBuf,
}

impl Stopped {
    /// The machine's memory.
    pub(crate) fn memory(&self) -> Result<Image, Failure> {
        open(&self.raw, &ImageOptions::default())
    }
}

impl Machine {
    /// Runs the machine until its plan's last kernel enters `kho_populate`, and saves its memory in
    /// `dir`.
    pub(crate) fn run_to_populate(
        &self,
        vm: &Vm,
        what: &str,
        dir: &Path,
    ) -> Result<Stopped, Failure> {
        self.run_to_populate_then(vm, what, dir, &mut |_| Ok(()))
    }

    /// The same, and `then` has the machine as it stands there.
    pub(crate) fn run_to_populate_then(
        &self,
        vm: &Vm,
        what: &str,
        dir: &Path,
        then: &mut dyn FnMut(&mut Qmp) -> Result<(), Failure>,
    ) -> Result<Stopped, Failure> {
        let since = Instant::now();
        let mut guest = self.start(&vm.qemu, what)?;
        let (mut facts, mut populate) = (Vec::new(), None);
        loop {
            let Event::Fact(fact) = guest.next()? else {
                Outcome::new(facts, &guest, since).finished()?;
                return Err(guest.failed("the guest ended without a next kernel"));
            };
            if let Fact::Symbol { addr, .. } = &fact {
                populate = Some(*addr);
            }
            facts.push(fact);
            if matches!(facts.last(), Some(Fact::Ready)) {
                break;
            }
        }
        let Some(populate) = populate else {
            return Err(guest.failed("the kernel does not say where kho_populate is"));
        };
        let entry = stop(&mut guest, populate)?;
        let raw = dir.join("memory.raw");
        let mut qmp = guest.qmp()?;
        qmp.save_memory(self.memory, &raw)?;
        then(&mut qmp)?;
        Ok(Stopped {
            outcome: Outcome::new(facts, &guest, since),
            entry,
            raw,
        })
    }
}

/// Lets the guest go on until its next kernel enters the function at `populate`; gives its arguments.
fn stop(guest: &mut Guest, populate: u64) -> Result<Entry, Failure> {
    let mut gdb = guest.gdb()?;
    gdb.stop_at(populate)?;
    gdb.go_on()?;
    guest.go()?;
    loop {
        match gdb.has_stopped() {
            Ok(true) => break,
            Ok(false) => guest.tick()?,
            // The guest ended: its kernel says why.
            Err(Failure::Failed(text)) => return Err(guest.failed(&text)),
            Err(failure) => return Err(failure),
        }
    }
    let registers = gdb.registers()?;
    let at = registers.rip;
    if at != populate {
        let text = format!("the guest stopped at {at:#x}, not at kho_populate");
        return Err(guest.failed(&text));
    }
    let mut entry = Entry::new(PhysAddr::new(registers.rdi));
    entry.fdt_size = registers.rsi;
    Ok(entry.with_scratch(PhysAddr::new(registers.rdx), registers.rcx))
}
