//! `kho preflight`: may one leave for the next kernel or program? Judged before leaving.

mod chain;
mod output;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use kho_compat::Decision;
use kho_compat::policy::SemverRange;
use kho_mem::PhysAddr;
use kho_preflight::words::printable;
use kho_preflight::{End, EndOptions, EndRole, Error, Preflight};

use crate::args::{address, address_len};
use crate::compat::registry;
use crate::error::Failure;
use crate::own::{self, Named};
use crate::policy::{ByName, PolicyArg};
use crate::progress;

#[derive(Args, Debug)]
#[command(
    override_usage = "kho preflight --from FROM --to TO [OPTIONS]",
    after_help = "\
FROM and TO are each one of the following, recognised by content:
  running            the kernel that runs here: its image and modules are looked for by its release,
                     its configuration, command line and debugfs are looked at
  a kernel image     bzImage, vmlinuz, vmlinux, arm64 Image, EFI zboot, unified kernel image; any
                     usual compression. It is read for its compat strings, not booted
  a boot entry       of the Boot Loader Specification, type 1 (loader/entries/NAME.conf): its kernel,
                     with its `options` and `initrd`
  a memory dump      as `kho inspect` takes it. What is in use there is judged
  a manifest file    JSON: what a program answers to KHO_MANIFEST=1, or what describes a release
  a program          built on these crates, whose main begins with
                     `kho_compat::answer_manifest!();`. It is run with KHO_MANIFEST=1. Any other
                     program is never run

A kernel image shows what could be in use; a dump of a handover shows what is. Without one, FROM is
judged as if all that it can write were in use. The kexec metadata's version and subtrees have no
strings: they are not judged where an image is all there is, and said not to be.

Between kernels an accept holds under conditions, and each is looked at: the next kernel is loaded with
kexec_file_load (`kexec -s`), not kexec_load (`kexec -c`); it is booted with kho=on liveupdate=on, from
--cmdline, a unified kernel image, a boot entry, or its configuration (in the image, or config-RELEASE
beside it); reserve_mem= is repeated by name, size and alignment. A condition that is known not to be
met decides by what it costs: reject where sessions or all state are lost, or the kernel can not be
loaded; degrade where a region is. One that is not seen is listed, and decides nothing. Known defects
of the releases that the handover at hand meets decide in the same way.

The first line is the verdict. Where the next kernel has no KHO, -v shows what it does not restore.

Examples:
  kho preflight --from running --to /boot/vmlinuz-7.3.5
  kho preflight --from running --to /boot/vmlinuz-7.3.5 --cmdline @/etc/kernel/cmdline \
      --initrd /boot/initrd-7.3.5
  kho preflight --from running --to /boot/loader/entries/7.3.5.conf
  kho preflight --from running --to /efi/EFI/Linux/7.3.5.efi
  kho preflight --from vmcore --to bzImage --modules /lib/modules/7.3.5
  kho preflight --from /usr/bin/my-service --to ./my-service-next --policy newest-common
  KHO_MANIFEST=1 my-service > release.json; kho preflight --from release.json --to my-service-next
  kho preflight --from running --to bzImage --json | jq '.headline, .conditions, .losses'

Exit codes: 0 accept; 3 degrade: only what is optional is lost; 1 reject, with the verdict on
standard output and nothing on standard error, or one of the two can not be judged (damaged, of no
known kind), with the reason on standard error and no verdict; 2 usage, a file that can not be
opened included; 4 a dump does not store what is judged, with no verdict either; 130 interrupted."
)]
pub(crate) struct PreflightArgs {
    /// What is left.
    #[arg(long, value_name = "FROM")]
    from: PathBuf,
    /// What takes over.
    #[arg(long, value_name = "TO")]
    to: PathBuf,
    /// How it is judged: see `kho compat policies`. Without it, by what TO answers that it judges by, or
    /// else by semver-range.
    #[arg(long, value_name = "NAME", value_parser = ByName)]
    policy: Option<PolicyArg>,
    /// TO's modules, usually /lib/modules/RELEASE, or an initrd: their strings count as the kernel's.
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// The command line that TO is booted with, or @FILE with it. It goes before what TO says itself.
    #[arg(long, value_name = "TEXT|@FILE")]
    cmdline: Option<String>,
    /// The initrd that TO is booted with. May be repeated.
    #[arg(long, value_name = "FILE")]
    initrd: Vec<PathBuf>,
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

/// Runs `kho preflight`; `verbose` shows all findings.
pub(crate) fn run(args: &PreflightArgs, verbose: bool) -> Result<(), Failure> {
    Failure::told(args.json, preflight(args, verbose))
}

fn preflight(args: &PreflightArgs, verbose: bool) -> Result<(), Failure> {
    let preflight = Preflight::new(registry()?);
    // The policy may be the next side's own, and governs how a dump of this one is read.
    let asked: Named = args.policy.map_or(&SemverRange, |asked| asked.0);
    let to = open(&preflight, args, EndRole::To, asked)?;
    let policy = policy(args, &to)?;
    let from = open(&preflight, args, EndRole::From, policy)?;
    let report = preflight.judge(&from, &to, policy);
    let mut report = report.map_err(|error| match error {
        Error::Strings(_) => of(error, args, EndRole::To),
        error => error.into(),
    })?;
    report.next.extend(chain::hint(&report));
    if args.json {
        writeln!(std::io::stdout().lock(), "{:#}", report.json()).map_err(Failure::Output)?;
    } else {
        output::print(&mut anstream::stdout().lock(), &report, verbose).map_err(Failure::Output)?;
    }
    match report.decision {
        Decision::Accept => Ok(()),
        Decision::Degrade => Err(Failure::Ended(3)),
        Decision::Reject => Err(Failure::Ended(1)),
    }
}

/// The policy that was asked for, or by which `to` judges.
fn policy(args: &PreflightArgs, to: &End) -> Result<Named, Failure> {
    let own = match (&args.policy, to.policy()) {
        (Some(asked), _) => return Ok(asked.0),
        (None, None) => return Ok(&SemverRange),
        (None, Some(own)) => own,
    };
    own::policy(own).map_err(|_| {
        let lines = vec![
            (
                "error",
                "it judges by a policy that is not known here".to_owned(),
            ),
            ("found", printable(own)),
            ("expected", own::policy_names()),
            ("hint", "--policy NAME judges by another one".to_owned()),
        ];
        let given = format!("--to {}", args.to.display());
        Failure::Of(given, Box::new(Failure::Input(lines)))
    })
}

/// The end that `role` names.
fn open(
    preflight: &Preflight,
    args: &PreflightArgs,
    role: EndRole,
    policy: Named,
) -> Result<End, Failure> {
    let (_, given, modules) = of_role(args, role);
    let mut options = EndOptions::new(role);
    options.modules = modules;
    let line = match args.cmdline.as_deref().filter(|_| role == EndRole::To) {
        Some(given) => Some(command_line(given)?),
        None => None,
    };
    options.command_line = line.as_ref().map(|(text, of)| (text.as_str(), of.as_str()));
    if role == EndRole::To {
        options.initrds = &args.initrd;
    }
    options.fdt = args.fdt;
    options.scratch = args.scratch;
    options.base = args.base;
    options.root = &args.root;
    options.policy = policy;
    let end = preflight.open(given, &options, &mut progress::preflight());
    end.map_err(|error| of(error, args, role))
}

/// The command line that `given` is or names a file of, and what says so.
fn command_line(given: &str) -> Result<(String, String), Failure> {
    let Some(path) = given.strip_prefix('@') else {
        return Ok((given.to_owned(), "--cmdline".to_owned()));
    };
    match kho_preflight::system::text(path.as_ref()) {
        Ok(text) => Ok((text, path.to_owned())),
        Err(error) => Err(Failure::Usage(format!("--cmdline @{path}: {error}"))),
    }
}

/// The option, what it was given, and its modules.
fn of_role(args: &PreflightArgs, role: EndRole) -> (&'static str, &Path, Option<&Path>) {
    match role {
        EndRole::From => ("--from", &args.from, args.from_modules.as_deref()),
        EndRole::To => ("--to", &args.to, args.modules.as_deref()),
    }
}

/// `error` of one of the two.
fn of(error: Error, args: &PreflightArgs, role: EndRole) -> Failure {
    let (option, given, _) = of_role(args, role);
    let no_image = matches!(error, Error::NoImage { .. });
    let mut failure = Failure::from(error);
    if let (true, Failure::Input(lines)) = (no_image, &mut failure) {
        let hint = format!("name its image: {option} PATH instead of `running`");
        lines.push(("hint", hint));
    }
    match failure {
        Failure::Interrupted => failure,
        failure => Failure::Of(format!("{option} {}", given.display()), Box::new(failure)),
    }
}
