//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kho_compat::{Listing, Strings, Writing};
use kho_mem::{PageSize, PhysAddr};

use crate::policy::{ByName, PolicyArg, PolicyArgs};

/// Look at what a Linux kernel handed over through Kexec HandOver (KHO) and Live Update (LUO),
/// and restore its files.
#[derive(Parser, Debug)]
#[command(name = "kho", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Say more on standard error, up to three times: verdicts and totals; steps; each string and file.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the image is damaged, or what it holds is refused (the reason is on
standard error: what, where, what was found, what was expected); 2 usage; 4 the dump does not
store what was asked for (of restore: what it stores was restored); 130 interrupted.
preflight: 0 accept, 3 degrade, 1 reject (nothing is on standard error then).";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Show everything that a memory dump holds of a handover, and whether it may be restored; or what
    /// the running kernel shows of its own.
    Inspect(InspectArgs),
    /// Restore the files of a handover: admitted first, then all or nothing.
    Restore(RestoreArgs),
    /// Make an image of files: the way back of restore.
    Pack(crate::pack::PackArgs),
    /// Judge, before leaving, whether the next kernel or program restores what this one hands over.
    Preflight(crate::preflight::PreflightArgs),
    /// The components that this build knows, and their compat strings.
    #[command(subcommand)]
    Compat(CompatCommand),
    /// Show a live update: this program fills sessions, hands them over to itself, and verifies.
    Demo(DemoArgs),
    /// Send versioning policies over a history of releases, and plan updates through it.
    #[command(subcommand)]
    Lab(crate::lab::LabCommand),
    /// Run a program that hands over, and bring it back if the next one crashes.
    Run(RunArgs),
    /// Hold files for the next kernel, and take them back under it, through /dev/liveupdate.
    #[command(subcommand)]
    Session(crate::session::SessionCommand),
}

/// The dump and where in it the handover begins.
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    /// A memory dump: an ELF64 core (a vmcore), a kdump-compressed dump (makedumpfile -c, -l, -p, -z), either of
    /// them flattened (makedumpfile -F, QEMU's kdump formats), a LiME dump, or raw memory; each may be
    /// zstd-compressed. What it is is recognised by its content.
    pub(crate) image: PathBuf,
    /// Physical address of the root FDT. Without it the dump is searched for one.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) fdt: Option<PhysAddr>,
    /// Physical address and bytes of the scratch table. Without it a setup_data node of the boot
    /// parameters is looked for, and in a dump that was cut down to its handover the table is
    /// found by elimination.
    #[arg(long, value_name = "ADDR:LEN", value_parser = address_len)]
    pub(crate) scratch: Option<(PhysAddr, u64)>,
    /// The page size of the kernel that wrote the handover: 4K, 16K or 64K. Without it the boot
    /// parameters' node states it, or else it is the smallest under which the tracker holds what
    /// the root FDT points to.
    #[arg(long, value_name = "SIZE", value_parser = page_size)]
    pub(crate) page_size: Option<PageSize>,
    /// Physical address of a raw dump's first byte. ELF cores say theirs.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "0")]
    pub(crate) base: PhysAddr,
    /// The most bytes that a compressed dump may unpack to.
    #[arg(long, value_name = "BYTES", value_parser = number, default_value = "68719476736")]
    pub(crate) max_unpacked: u64,
}

#[derive(Args, Debug)]
#[command(
    override_usage = "kho inspect IMAGE [OPTIONS]\n       kho inspect --live [--json]",
    after_help = "\
With --live the running kernel is asked: its boot parameters, and debugfs, which root alone may read
and which the kernel needs CONFIG_KEXEC_HANDOVER_DEBUGFS for. That shows versions, addresses and
subtrees in both directions. Sessions and files are not shown there: those for the next kernel are
written at the kexec, and the memory of those that were given is taken over and used anew.

Examples:
  kho inspect tests/captures/small.core.zst
  kho inspect vmcore --json | jq .luo.sessions[].name
  kho inspect memory.raw --base 0x20000000 --fdt 0x20001000 --scratch 0x20002000:32
  kho inspect --live"
)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) image: Option<ImageArgs>,
    #[command(flatten)]
    pub(crate) by: PolicyArgs,
    /// Show what the running kernel shows of the handover that it was given, and of the one that it
    /// makes.
    #[arg(long, conflicts_with_all = ["image", "fdt", "scratch", "base", "max_unpacked", "policy", "hash", "all"])]
    pub(crate) live: bool,
    /// Where the running system's /proc and /sys are.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub(crate) root: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Compute the sha256 of each file's contents. Reads everything. A file whose contents the dump
    /// does not store has none, and the exit code is 4.
    #[arg(long)]
    pub(crate) hash: bool,
    /// List every session, file and range, however many there are.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Writes DIR/<session>/<token as 16 hex digits>.bin for each file, with holes where it is zero, and
DIR/manifest.json with what a file can not hold: position, size, seals, flags. A session name that
is no safe file name is percent-encoded. Everything is checked before anything is written, and
DIR changes at the very end: a refused or damaged image leaves it as it was.

A dump may not store all memory: makedumpfile filters pages out (from dump level 2 on those of
memfds), or the file is cut short. A file whose contents are not all stored is not restored, the
others are. The manifest lists it in `missing`, with the offset and bytes of each range that it
lacks in `not_stored`, and the exit code is 4. With --allow-missing it is written, with holes there,
and its entry in the manifest has `not_stored`.

Examples:
  kho restore tests/captures/small.core.zst --out restored
  kho restore vmcore --out vm7 --session vm7
  kho restore vmcore --out vm7 --session vm7 --token 0x1")]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    #[command(flatten)]
    pub(crate) by: PolicyArgs,
    /// The directory to write to. It is created; what stands there already is kept, unless it has
    /// the name of something restored: that is refused without --force.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Restore this session alone.
    #[arg(long, value_name = "NAME")]
    pub(crate) session: Option<std::ffi::OsString>,
    /// Restore the files of this token alone.
    #[arg(long, value_name = "T", value_parser = number)]
    pub(crate) token: Option<u64>,
    /// Replace an earlier restore in DIR, all of it: the sessions that its manifest lists go, also
    /// those that are not restored now. Nothing else in DIR is touched.
    #[arg(long)]
    pub(crate) force: bool,
    /// Compute the sha256 of each file's contents and note it in the manifest.
    #[arg(long)]
    pub(crate) hash: bool,
    /// Restore files whose contents the dump does not store, too: with holes in place of what is
    /// missing. The exit code is 4 all the same.
    #[arg(long)]
    pub(crate) allow_missing: bool,
    /// Print what was restored as JSON: the manifest.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum CompatCommand {
    /// List the components: version, what each restores, what it needs.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the policies: what each writes of this build, what that costs, when it finds a mismatch.
    Policies {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check a compat string: its tokens, or the byte at which it is wrong.
    Parse {
        /// The string: `luo-v5;block-v1`.
        text: String,
        /// Bytes of the field that is to carry it, NUL included: 48 for a file handler.
        #[arg(long, value_name = "BYTES", default_value = "4096")]
        field: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the compat string of a component, and nothing else.
    String {
        /// The component: see `kho compat list`.
        name: String,
        /// How the string is written: `luo-v5`, or with all it needs, `luo-v5;block-v1`. With table
        /// and features it is plain: the versions stand elsewhere.
        #[arg(long, value_enum, default_value_t = DialectArg(Writing::PLAIN))]
        dialect: DialectArg,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "\
Generation 1 makes sessions of memfds in an arena, preserves them, freezes, and executes this
program again: generation 2 finds the handover, checks and judges it, retrieves the files where
they lie, verifies every checksum, and finishes. It is one process throughout, and nothing is
copied.

With --next the program that takes over has another version of one component. It refuses, and
hands back: generation 1 goes on, with nothing lost. By check-at-restore it finds that out while it
retrieves files; it does not finish, and hands back all the same.

Examples:
  kho demo
  kho demo --sessions 8 --files 2000 --size 64K
  kho demo --files 1 --sessions 1 --size 8G --json
  kho demo --next block=2
  kho demo --dialect table --next block=2
  kho demo --policy check-at-restore --next memfd=3")]
pub(crate) struct DemoArgs {
    /// Sessions.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sessions: u64,
    /// Files per session.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) files: u64,
    /// Bytes per file; K, M, G and T count in 1024s.
    #[arg(long, value_name = "BYTES", default_value = "1M", value_parser = bytes)]
    pub(crate) size: u64,
    /// Generations in all, the first included: one less than there are updates.
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) generations: u64,
    /// Let the next program have this version of a component: see `kho compat list`.
    #[arg(long, value_name = "NAME=VERSION", value_parser = version_of)]
    pub(crate) next: Option<VersionOf>,
    /// The version that this program has, set by the generation before.
    #[arg(long, hide = true, overrides_with = "of", value_parser = version_of)]
    pub(crate) of: Option<VersionOf>,
    /// How versions are written. Without it, as the policy writes them.
    #[arg(long, value_enum)]
    pub(crate) dialect: Option<DialectArg>,
    #[command(flatten)]
    pub(crate) by: PolicyArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The program is started with a descriptor to this supervisor, to which it gives a copy of all that
it hands over. If the program that takes over ends before it has finished, the one before is
started again and finds everything as it handed it over. SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are
passed on.

The exit code is that of the last program; 128 and its signal's number if a signal ended it; 127 if
there is no such program, 126 if it can not be executed.

Example:
  kho run -- my-service --port 7379")]
pub(crate) struct RunArgs {
    /// The policy by which the program judges a handover, where it has not chosen one itself: the environment
    /// variable KHO_POLICY.
    #[arg(long, value_name = "NAME", value_parser = ByName)]
    pub(crate) policy: Option<PolicyArg>,
    /// How long the next program may take until it has finished what it takes over: `5s`, `500ms`, `2m`. One that takes
    /// longer is killed, and the previous program is brought back. Without it the next program is waited for.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) takeover_timeout: Option<Duration>,
    /// Say nothing of what happens.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// A time, with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let expected =
        "invalid duration: expected a number above 0 and its unit, for instance 500ms, 5s or 2m";
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| expected)?;
    let millis = match text.get(digits.len()..) {
        Some("ms") => Some(number),
        Some("s") => number.checked_mul(1000),
        Some("m") => number.checked_mul(60_000),
        _ => None,
    };
    let millis = millis.filter(|millis| *millis > 0).ok_or(expected)?;
    Ok(Duration::from_millis(millis))
}

/// A component and a version of it.
#[derive(Clone, Debug)]
pub(crate) struct VersionOf {
    pub(crate) name: String,
    pub(crate) version: u32,
}

impl std::fmt::Display for VersionOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, self.version)
    }
}

fn version_of(text: &str) -> Result<VersionOf, String> {
    let expected = "expected NAME=VERSION, for instance block=2";
    let (name, version) = text.split_once('=').ok_or(expected)?;
    let version = version.parse().map_err(|_| expected)?;
    if name.is_empty() {
        return Err(expected.to_owned());
    }
    let name = name.to_owned();
    Ok(VersionOf { name, version })
}

pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let expected = "expected a number of bytes, with K, M, G or T for units of 1024";
    let digits = text.trim_end_matches("iB").trim_end_matches('B');
    let units = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];
    let unit = units
        .iter()
        .find_map(|(unit, shift)| Some((digits.strip_suffix(unit)?, *shift)));
    let (digits, shift) = unit.unwrap_or((digits, 0));
    let count: u64 = digits.parse().map_err(|_| expected)?;
    count
        .checked_mul(1 << shift)
        .ok_or_else(|| "more than 64 bits of bytes".to_owned())
}

/// How versions are written, by the word for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DialectArg(pub(crate) Writing);

impl ValueEnum for DialectArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [DialectArg; Writing::ALL.len()] = {
            let [plain, composite, direct, table, features, list] = Writing::ALL;
            [
                DialectArg(plain),
                DialectArg(composite),
                DialectArg(direct),
                DialectArg(table),
                DialectArg(features),
                DialectArg(list),
            ]
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match (self.0.list, self.0.strings) {
            (Listing::None, Strings::Plain) => "The component's own token",
            (Listing::None, Strings::Transitive) => {
                "Its token and those of all it needs, directly or not"
            }
            (Listing::None, Strings::Direct) => "Its token and those of what it needs itself",
            (Listing::None, Strings::List) => {
                "Its token and those of all it needs as a string list in the root FDT, plain elsewhere"
            }
            (Listing::Versions, _) => "Plain strings, and a table of versions in the root FDT",
            (Listing::Masks, _) => "Plain strings, and feature masks in the root FDT",
        };
        Some(PossibleValue::new(self.0.id()).help(help))
    }
}

pub(crate) fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "expected a 64-bit number, decimal or hexadecimal with 0x".to_owned())
}

pub(crate) fn address(text: &str) -> Result<PhysAddr, String> {
    number(text).map(PhysAddr::new)
}

fn page_size(text: &str) -> Result<PageSize, String> {
    let sizes = [
        ("4K", PageSize::K4),
        ("16K", PageSize::K16),
        ("64K", PageSize::K64),
    ];
    let found = sizes.into_iter().find(|(name, _)| *name == text);
    found
        .map(|(_, size)| size)
        .ok_or_else(|| format!("invalid page size `{text}`: expected 4K, 16K or 64K"))
}

pub(crate) fn address_len(text: &str) -> Result<(PhysAddr, u64), String> {
    let (addr, len) = text
        .split_once(':')
        .ok_or("expected ADDR:LEN, for instance 0xf3f0000:48")?;
    Ok((address(addr)?, number(len)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("0x10"), Ok(16));
        assert_eq!(number("10"), Ok(10));
        assert!(number("10h").is_err() && number("").is_err() && number("-1").is_err());
        assert_eq!(address_len("0x1000:48"), Ok((PhysAddr::new(0x1000), 48)));
        assert!(address_len("0x1000").is_err());
        assert_eq!(bytes("64K"), Ok(65536));
        assert_eq!(bytes("8GiB"), Ok(8 << 30));
        assert_eq!(bytes("0"), Ok(0));
        assert!(bytes("K").is_err() && bytes("1e3").is_err() && bytes("99999999T").is_err());
        assert!(version_of("block").is_err() && version_of("=1").is_err());
    }
}
