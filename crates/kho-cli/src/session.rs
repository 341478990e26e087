//! `kho session`: files held for the next kernel, and taken back under it, through /dev/liveupdate.

mod copy;
mod hold;
mod list;
mod retrieve;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use liveupdate::{Device, Error, SessionName};

use self::hold::Items;
use crate::args::number;
use crate::error::Failure;
use crate::policy::{ByName, PolicyArg};

#[derive(Subcommand, Debug)]
pub(crate) enum SessionCommand {
    /// List the sessions that processes have open.
    List(ListArgs),
    /// Make a session, preserve files in it, and hold it for the next kernel.
    Hold(HoldArgs),
    /// Write the files of a session of the kernel before to a directory, and finish it.
    Retrieve(RetrieveArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
The kernel's interface can not list sessions. But a session for the next kernel lives only as long
as a process has it open, and open descriptors can be looked at: all of them as root, else one's
own. What the kernel before handed over and nobody has retrieved can not be seen: its names must
be known. `kho inspect --live` shows what the kernel shows of the handover around them.")]
pub(crate) struct ListArgs {
    /// Where the running system's /proc is.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A session lives as long as it is open: this command stays in the foreground and holds it. A kexec
hands it over; SIGTERM or SIGINT lets go of it, and nothing is preserved any more (exit code 0).
`kexec -e` sends no signals. `systemctl kexec` ends services before it leaves the kernel, and with
them what they hold.

TOKEN is how a file is asked for under the next kernel: a number of 64 bits. Files without one get
0, 1, 2, ... in the order in which they are named. A path that itself ends in `=` and a number
needs its token named: `a=1=0`.

A descriptor must be of a kind that the kernel preserves: a memfd. Its contents, size, position
and seals are handed over. From then on it can not grow or shrink. Files are copied into new
memfds, named after them, at position 0 and not sealed.

The kernel fills the holes of what is preserved, and can not swap it out: all of its size is
memory. More than is available is refused.

The next kernel is handed the session where it is loaded with kexec_file_load (`kexec -s -l IMAGE`), not
with kexec_load, and booted with kho=on liveupdate=on on its command line. Otherwise all is lost, and
nobody is told: `kho preflight --from running --to IMAGE --cmdline TEXT` looks at that before.

Examples:
  kho session hold vm7 --file state.bin --file config.json=0x10
  kho session hold vm7 --fd 9=1 9<>/proc/1234/fd/7
  kho session hold vm7 --file state.bin --json > held.json &")]
pub(crate) struct HoldArgs {
    /// The session's name: 1 to 63 bytes.
    #[arg(value_parser = name())]
    name: SessionName,
    #[command(flatten)]
    items: Items,
    /// Where the device is.
    #[arg(long, value_name = "PATH", default_value = Device::PATH, hide = true)]
    device: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Writes DIR/<session>/<token as 16 hex digits>.bin for each file, with holes where it is zero, and
DIR/manifest.json with what a file can not hold, as `kho restore` does; `kho pack DIR` takes it.
Nothing is overwritten, and DIR changes when all is written.

The kernel's interface can not list tokens. Without --token they are counted up from 0 until one
is missing, as `kho session hold` counts. A file under another token is lost when the session
ends: name the tokens where they are not 0, 1, 2, ...

The kernel gives a session once, and ends it when its last descriptor is closed, finished or not.
So when something fails after it was given (a full disk, a token that is not there) this command
stays in the foreground and holds it, until SIGTERM or SIGINT: nothing is lost, and --pid takes it
over for another try. With --give-up it ends at once.

Examples:
  kho session retrieve vm7 --out restored
  kho session retrieve vm7 --out restored --token 0 --token 0x10
  kho session retrieve vm7 --out /mnt/larger --pid 1234")]
pub(crate) struct RetrieveArgs {
    /// The session's name.
    #[arg(value_parser = name())]
    name: SessionName,
    /// The directory to write to. It is created; what stands there already is kept.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Retrieve the file of this token; may be given several times. Without it tokens are counted up
    /// from 0.
    #[arg(long = "token", value_name = "T", value_parser = number)]
    tokens: Vec<u64>,
    /// Finish the session when all is written: that is what happens anyway.
    #[arg(long, conflicts_with = "no_finish")]
    finish: bool,
    /// Do not finish the session: stay in the foreground with it until SIGTERM or SIGINT. (When it is
    /// closed the kernel finishes it.)
    #[arg(long)]
    no_finish: bool,
    /// End at once where something fails. What was not written is lost then.
    #[arg(long)]
    give_up: bool,
    /// Take the session over from this process, which has it open, instead of asking the kernel.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// Judge by this policy what the kernel shows of the handover that it was given, and ask for the session
    /// only where nothing of it is refused. Debugfs shows it, to root alone.
    #[arg(long, value_name = "NAME", value_parser = ByName)]
    policy: Option<PolicyArg>,
    /// Compute the sha256 of each file's contents and note it in the manifest.
    #[arg(long)]
    hash: bool,
    /// Where the device is.
    #[arg(long, value_name = "PATH", default_value = Device::PATH, hide = true)]
    device: PathBuf,
    /// Where the running system's /proc and /sys are.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
    /// Print what was retrieved as JSON: the manifest.
    #[arg(long)]
    json: bool,
}

/// A session's name on the command line.
fn name() -> impl clap::builder::TypedValueParser<Value = SessionName> {
    use clap::builder::{OsStringValueParser, TypedValueParser};
    OsStringValueParser::new().try_map(SessionName::try_from)
}

pub(crate) fn run(command: &SessionCommand) -> Result<(), Failure> {
    match command {
        SessionCommand::List(args) => Failure::told(args.json, list::list(args)),
        SessionCommand::Hold(args) => Failure::told(args.json, hold::hold(args)),
        SessionCommand::Retrieve(args) => Failure::told(args.json, retrieve::retrieve(args)),
    }
}

/// Opens the device.
fn open(path: &Path) -> Result<Device, Failure> {
    Device::open_at(path).map_err(luo)
}

/// What the kernel said no to.
fn luo(error: Error) -> Failure {
    let hint = match &error {
        Error::Busy { .. } => Some("sessions outlive the device: it need not be open long"),
        Error::NoSuchSession { .. } => Some(
            "names can not be listed: see `kho session list` for those that are open, and --pid",
        ),
        Error::AlreadyRetrieved { .. } => {
            Some("`kho session list` shows which process has it; --pid takes it over from there")
        }
        _ => None,
    };
    let mut lines = vec![("error", error.to_string())];
    lines.extend(hint.map(|hint| ("hint", hint.to_owned())));
    Failure::Input(lines)
}
