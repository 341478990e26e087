//! `kho preflight`: may one leave for the next kernel or program? Judged before leaving.

mod end;
mod handed;
mod judge;
mod kernel;
mod losses;
mod next;
mod open;
mod output;
mod program;
mod reason;
mod remarks;
mod running;
mod scope;
mod wanted;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use kho_compat::{Decision, policy};
use kho_mem::PhysAddr;

use crate::args::{address, address_len};
use crate::error::Failure;
use open::{How, Role};

#[derive(Args, Debug)]
#[command(
    override_usage = "kho preflight --from FROM --to TO [OPTIONS]",
    after_help = "\
FROM and TO are each one of the following, recognised by content:
  running            the kernel that runs here: its image and modules are looked for by its release,
                     its configuration, command line and debugfs are looked at
  a kernel image     bzImage, vmlinuz, vmlinux, arm64 Image, EFI zboot; any usual compression.
                     It is read for its compat strings, not booted
  a memory dump      as `kho inspect` takes it. What is in use there is judged
  a manifest file    JSON: what a program answers to KHO_MANIFEST=1, or what describes a release
  a program          built on these crates, whose main begins with
                     `kho_compat::answer_manifest!();`. It is run with KHO_MANIFEST=1. Any other
                     program is never run

A kernel image shows what could be in use; a dump of a handover shows what is. Without one, FROM is
judged as if all that it can write were in use. The kexec metadata's version and subtrees have no
strings: they are not judged where an image is all there is, and said not to be.

Examples:
  kho preflight --from running --to /boot/vmlinuz-7.3.5
  kho preflight --from vmcore --to bzImage --modules /lib/modules/7.3.5
  kho preflight --from /usr/bin/my-service --to ./my-service-next --policy newest-common
  KHO_MANIFEST=1 my-service > release.json; kho preflight --from release.json --to my-service-next
  kho preflight --from running --to bzImage --json | jq .losses

Exit codes: 0 accept; 3 degrade: only what is optional is lost; 1 reject, with the verdict on
standard output and nothing on standard error, or one of the two can not be judged (damaged, of no
known kind), with the reason on standard error and no verdict; 2 usage, a file that can not be
opened included; 130 interrupted."
)]
pub(crate) struct PreflightArgs {
    /// What is left.
    #[arg(long, value_name = "FROM")]
    from: PathBuf,
    /// What takes over.
    #[arg(long, value_name = "TO")]
    to: PathBuf,
    /// How it is judged: see `kho compat policies`.
    #[arg(long, value_name = "NAME", default_value = "semver-range", value_parser = policy_of)]
    policy: PolicyArg,
    /// TO's modules, usually /lib/modules/RELEASE: their strings count as the kernel's.
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// FROM's modules.
    #[arg(long, value_name = "DIR")]
    from_modules: Option<PathBuf>,
    /// In a dump, the physical address of the root FDT. Without it the dump is searched for one.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    fdt: Option<PhysAddr>,
    /// In a dump, the physical address and bytes of the scratch table.
    #[arg(long, value_name = "ADDR:LEN", value_parser = address_len)]
    scratch: Option<(PhysAddr, u64)>,
    /// Physical address of a raw dump's first byte.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "0")]
    base: PhysAddr,
    /// Where the running system's /boot, /lib, /proc and /sys are.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A policy by its name.
#[derive(Clone)]
struct PolicyArg(&'static (dyn policy::Policy + Sync));

impl std::fmt::Debug for PolicyArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

fn policy_of(name: &str) -> Result<PolicyArg, String> {
    policy::by_name(name).map(PolicyArg).ok_or_else(|| {
        let names: Vec<_> = policy::ALL.iter().map(|policy| policy.name()).collect();
        format!("no policy of this name; there are {}", names.join(", "))
    })
}

pub(crate) fn run(args: &PreflightArgs) -> Result<(), Failure> {
    Failure::told(args.json, preflight(args))
}

fn preflight(args: &PreflightArgs) -> Result<(), Failure> {
    let how = How {
        role: Role::From,
        modules: args.from_modules.as_deref(),
        fdt: args.fdt,
        scratch: args.scratch,
        base: args.base,
        root: &args.root,
    };
    let from = open::open(&args.from, &how)?;
    let how = How {
        role: Role::To,
        modules: args.modules.as_deref(),
        ..how
    };
    let to = open::open(&args.to, &how)?;
    let judgement = judge::judge(args.policy.0, &from, &to)?;
    if args.json {
        let value = output::json(&from, &to, &judgement);
        writeln!(std::io::stdout().lock(), "{value:#}").map_err(Failure::Output)?;
    } else {
        let mut out = anstream::stdout().lock();
        output::print(&mut out, &from, &to, &judgement).map_err(Failure::Output)?;
    }
    match judgement.decision {
        Decision::Accept => Ok(()),
        Decision::Degrade => Err(Failure::Ended(3)),
        Decision::Reject => Err(Failure::Ended(1)),
    }
}
