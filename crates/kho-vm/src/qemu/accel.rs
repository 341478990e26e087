//! What runs the guest's instructions: KVM where it works, else QEMU itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::MACHINE;
use super::process::Process;
use crate::failure::Failure;
use crate::place;
use crate::wait::{Spinner, TICK};

/// What runs the guest's instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accel {
    /// The machine itself.
    Kvm,
    /// QEMU's translation of them.
    Tcg,
}

/// What the user asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Choice {
    /// KVM where a guest boots with it, else TCG.
    Auto,
    /// KVM.
    Kvm,
    /// QEMU's own translation of the guest's instructions, which works everywhere.
    Tcg,
}

impl Accel {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    pub(crate) const fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }
}

/// With KVM a kernel is through with its boot in less than a second. Where it hangs it does so for good.
const TRY: Duration = Duration::from_secs(6);

/// What runs guests here: `program` with `kernel`.
pub(crate) fn choose(choice: Choice, program: &Path, kernel: &Path) -> Result<Accel, Failure> {
    match choice {
        Choice::Kvm => return Ok(Accel::Kvm),
        Choice::Tcg => return Ok(Accel::Tcg),
        Choice::Auto => {}
    }
    let mut open = fs::OpenOptions::new();
    if open.read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    // Whether it works does not change until the machine is started again.
    let noted = noted();
    let known = noted.as_ref().map(fs::read_to_string);
    let known = known.and_then(Result::ok).unwrap_or_default();
    let mut all = [Accel::Kvm, Accel::Tcg].into_iter();
    if let Some(accel) = all.find(|accel| accel.name() == known) {
        return Ok(accel);
    }
    let accel = if boots_with_kvm(program, kernel)? {
        Accel::Kvm
    } else {
        eprintln!(
            "vm: a guest does not boot with /dev/kvm: it is left alone until the next start of this machine"
        );
        Accel::Tcg
    };
    if let Some(path) = noted {
        // It is tried out again where this can not be written.
        drop(fs::write(path, accel.name()));
    }
    Ok(accel)
}

/// Where it is noted what works since this machine was started.
fn noted() -> Option<PathBuf> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let dir = place::dir().ok()?;
    Some(dir.join(format!("accel-{}", boot.trim())))
}

/// Whether a kernel boots as far as to miss its root file system, with which it ends.
fn boots_with_kvm(program: &Path, kernel: &Path) -> Result<bool, Failure> {
    let mut spinner = Spinner::new("trying KVM");
    let mut process = Process::start(program, |command| {
        command
            .args(["-accel", "kvm", "-cpu", Accel::Kvm.cpu()])
            .args(["-machine", MACHINE, "-m", "128M"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-append", "panic=-1", "-kernel"])
            .arg(kernel)
            .stderr(Stdio::null());
    })?;
    let until = Instant::now() + TRY;
    while Instant::now() < until {
        if let Some(status) = process.ended()? {
            return Ok(status.success());
        }
        spinner.tick()?;
        std::thread::sleep(TICK);
    }
    Ok(false)
}
