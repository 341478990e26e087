//! `vm guest`: the initramfs.

use std::fs;
use std::path::{Path, PathBuf};

use kho_guest::cpio::Cpio;
use kho_guest::{PLANS, Plan};

use crate::failure::{Failure, of_file};
use crate::place;

/// Build the guest's initramfs: our init, and what it is to do.
///
/// The init is the program of crates/kho-guest, linked statically. It follows a plan (JSON, see the
/// crate's documentation), which `vm inject` and the others make; here it is given, or is empty.
#[derive(clap::Args)]
#[command(after_help = "Example:
  cargo xtask vm guest --plan plan.json --out initramfs
  qemu-system-x86_64 -kernel bzImage -initrd initramfs -append 'console=ttyS0 kho_guest.port=ttyS1' ...")]
pub(crate) struct Args {
    /// Where to put it. Without it below the target directory.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What the guest does. Plan 0, which is followed unless the kernel's command line names another
    /// (kho_guest.plan=1); may be given several times.
    #[arg(long, value_name = "FILE")]
    plan: Vec<PathBuf>,
    /// The kernel that the plan may go on with (step `kexec`).
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let mut plans = Vec::new();
    for path in &args.plan {
        let text = fs::read(path).map_err(of_file(path))?;
        let plan: Plan =
            serde_json::from_slice(&text).map_err(|error| Failure::of(path.display(), error))?;
        plans.push(plan);
    }
    if plans.is_empty() {
        plans.push(Plan::default());
    }
    let bytes = initramfs(&plans, args.kernel.as_deref())?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => place::dir()?.join("initramfs"),
    };
    fs::write(&out, bytes).map_err(of_file(&out))?;
    println!("{}", out.display());
    Ok(true)
}

/// The initramfs with these plans, and `kernel` to go on with.
pub(crate) fn initramfs(plans: &[Plan], kernel: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let init = place::guest_init()?;
    let mut cpio = Cpio::new();
    cpio.directory("dev");
    // Without it init has nowhere to say why it fails.
    cpio.character("dev/console", (5, 1));
    cpio.file("init", &fs::read(&init).map_err(of_file(&init))?);
    let dir = PLANS.trim_start_matches('/');
    cpio.directory(dir);
    for (number, plan) in plans.iter().enumerate() {
        let text = serde_json::to_vec(plan).map_err(|error| Failure::of("a plan", error))?;
        cpio.file(&format!("{dir}/{number}.json"), &text);
    }
    if let Some(kernel) = kernel {
        cpio.file("bzImage", &fs::read(kernel).map_err(of_file(kernel))?);
    }
    Ok(cpio.finish())
}
