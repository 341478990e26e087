//! `cargo xtask vm`: a real kernel on both ends of a handover.
//!
//! `kernel` builds and keeps kernels, `qemu` runs guests and speaks QEMU's monitor and the debugger's
//! protocol. On these the parts of the command hand over, take, and compare: a file each.

mod boot;
mod capture;
mod chain;
mod command;
mod cut;
mod debian;
mod failure;
mod guest;
mod image;
mod inject;
mod journal;
mod kernel;
mod made;
mod mismatch;
mod options;
mod pack;
mod place;
mod qemu;
mod reading;
mod run;
mod stop;
mod test;
mod wait;

use std::process::ExitCode;

use clap::Subcommand;

/// A real Linux on both ends of a handover, under QEMU: does it read what is written here, and is read
/// here what it writes.
///
/// A small kernel with KHO and LUO is booted with an initramfs whose init is this project's own
/// (crates/kho-guest). To hand it something, a handover image is put into the guest's memory and the
/// kernel's boot parameters point there, as if a kernel before had left it. To take something, the guest
/// preserves memfds and executes the next kernel, which is stopped as soon as it would look for what was
/// handed over; then its memory is saved, and read here.
///
/// Needs qemu-system-x86_64 (Debian: apt-get install qemu-system-x86), and a kernel: see `vm kernel`.
/// KVM is used where it works, and it is tried out whether it does.
///
/// Exit codes: 0 it is as it must be, 1 it is not, 2 it can not be run.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask vm test                   everything in small, in a minute or two
  cargo xtask vm inject DIR             hand a directory of files to a real kernel
  cargo xtask vm inject --made sessions=200,files=5000
  cargo xtask vm capture --out some.core.zst --files 3
  cargo xtask vm chain                  over three kernels and back

What was tested, and against which kernel, is in docs/real-kernel.md.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Kernel(kernel::Args),
    Guest(guest::Args),
    Inject(inject::Args),
    Capture(capture::Args),
    Chain(chain::Args),
    Mismatch(mismatch::Args),
    DebianKernels(debian::Args),
    Test(test::Args),
}

/// Runs the part that is asked for.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    wait::stop_on_interrupt();
    let (name, done) = match &args.what {
        What::Kernel(args) => ("kernel", kernel::run(args)),
        What::Guest(args) => ("guest", guest::run(args)),
        What::Inject(args) => ("inject", inject::run(args)),
        What::Capture(args) => ("capture", capture::run(args)),
        What::Chain(args) => ("chain", chain::run(args)),
        What::Mismatch(args) => ("mismatch", mismatch::run(args)),
        What::DebianKernels(args) => ("debian-kernels", debian::run(args)),
        What::Test(args) => ("test", test::run(args)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("vm {name}: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
