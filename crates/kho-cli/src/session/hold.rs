//! `kho session hold`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches};
use kho_mem::{PAGE_SIZE_U64, is_printable};
use kho_memfd::Seals;
use rustix::fs::{MemfdFlags, SeekFrom, fcntl_get_seals, fstat, memfd_create};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde_json::json;

use super::copy::{Named, copy};
use super::{HoldArgs, luo, open};
use crate::args::number;
use crate::error::Failure;
use crate::human::{DIM, count, size};
use crate::progress::{self, Bar};

/// The longest name that a memfd may have.
const MEMFD_NAME_MAX: usize = 249;

/// What is to be held, in the order in which it was named.
#[derive(Clone, Debug)]
pub(super) struct Items(Vec<Item>);

#[derive(Clone, Debug)]
struct Item {
    source: Source,
    token: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    Fd(i32),
    File(PathBuf),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fd(fd) => write!(f, "--fd {fd}"),
            Self::File(path) => write!(f, "--file {}", path.display()),
        }
    }
}

/// `N` or `N=TOKEN`.
fn fd(text: &str) -> Result<Item, String> {
    let (fd, token) = match text.split_once('=') {
        Some((fd, token)) => (fd, Some(number(token)?)),
        None => (text, None),
    };
    let fd = fd.parse().ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or("expected the number of an open descriptor")?;
    Ok(Item {
        source: Source::Fd(fd),
        token,
    })
}

/// `PATH` or `PATH=TOKEN`: the last `=` counts, where a number follows.
fn file(given: OsString) -> Item {
    let bytes = given.as_bytes();
    let split = bytes.iter().rposition(|byte| *byte == b'=').and_then(|at| {
        let (path, token) = (bytes.get(..at)?, bytes.get(at + 1..)?);
        Some((path, number(str::from_utf8(token).ok()?).ok()?))
    });
    let (path, token) = match split {
        Some((path, token)) => (OsString::from_vec(path.to_vec()), Some(token)),
        None => (given, None),
    };
    Item {
        source: Source::File(path.into()),
        token,
    }
}

// By hand: what clap derives does not know in which order two options were given.
impl clap::Args for Items {
    fn augment_args(command: clap::Command) -> clap::Command {
        let arg = |id: &'static str, value, parser: ValueParser| {
            Arg::new(id)
                .long(id)
                .value_name(value)
                .value_parser(parser)
                .action(ArgAction::Append)
        };
        let files = OsStringValueParser::new().map(file);
        command
            .arg(
                arg("fd", "N[=TOKEN]", ValueParser::new(fd))
                    .help("Hold the open file that this command was started with as descriptor N"),
            )
            .arg(
                arg("file", "PATH[=TOKEN]", ValueParser::new(files))
                    .help("Hold a copy of this file"),
            )
            .group(
                ArgGroup::new("items")
                    .args(["fd", "file"])
                    .required(true)
                    .multiple(true),
            )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Items {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let of = |id| {
            let values = matches.get_many::<Item>(id).into_iter().flatten();
            let places = matches.indices_of(id).into_iter().flatten();
            places.zip(values.cloned())
        };
        let mut items: Vec<_> = of("fd").chain(of("file")).collect();
        items.sort_by_key(|(place, _)| *place);
        Ok(Self(items.into_iter().map(|(_, item)| item).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Items {
    /// Each with its token: those without one count up from 0.
    fn with_tokens(&self) -> Result<Vec<(&Source, u64)>, Failure> {
        let mut next = 0..;
        let mut taken: HashMap<u64, &Source> = HashMap::new();
        let mut all = Vec::new();
        for item in &self.0 {
            let token = item.token.or_else(|| next.next()).unwrap_or_default();
            if let Some(other) = taken.insert(token, &item.source) {
                let source = &item.source;
                return Err(Failure::Usage(format!(
                    "token {token:#x} is given to `{other}` and to `{source}`: each file needs its own"
                )));
            }
            all.push((&item.source, token));
        }
        Ok(all)
    }
}

/// What is to be preserved, before it is.
enum Opened {
    Fd(OwnedFd),
    File(Named, u64),
}

/// What is preserved.
struct Held<'a> {
    source: &'a Source,
    token: u64,
    size: u64,
    pos: u64,
    seals: u32,
}

pub(super) fn hold(args: &HoldArgs) -> Result<(), Failure> {
    let items = args.items.with_tokens()?;
    let mut opened = Vec::new();
    for (source, token) in items {
        let what = open_source(source)
            .map_err(|failure| Failure::Of(source.to_string(), Box::new(failure)))?;
        opened.push((source, token, what));
    }
    let needed = opened
        .iter()
        .fold(0u64, |sum, (_, _, what)| sum.saturating_add(needs(what)));
    check_memory(needed, Path::new("/proc/meminfo"))?;
    // The device is closed again at once: it lets in one at a time, and copying may take long.
    let session = open(&args.device)?.create_session(args.name).map_err(luo)?;
    let mut bar = Bar::new("copying");
    let total = opened.iter().fold(0u64, |sum, (_, _, what)| {
        sum.saturating_add(match what {
            Opened::File(_, len) => *len,
            Opened::Fd(_) => 0,
        })
    });
    let mut done = 0;
    let mut held = Vec::new();
    for (source, token, what) in opened {
        let of_it = |failure| Failure::Of(source.to_string(), Box::new(failure));
        let fd = match what {
            Opened::Fd(fd) => fd,
            Opened::File(from, len) => {
                let to = memfd(&from.path)?;
                copy(&from, &to, len, &mut |piece| {
                    done += piece.len();
                    if bar.at(done, Some(total)) {
                        Ok(())
                    } else {
                        Err(Failure::Interrupted)
                    }
                })?;
                to.file.into()
            }
        };
        session
            .preserve(&fd, token)
            .map_err(|error| of_it(luo(error)))?;
        let stat = fstat(&fd).map(|stat| u64::try_from(stat.st_size));
        held.push(Held {
            source,
            token,
            size: stat.ok().and_then(Result::ok).unwrap_or_default(),
            pos: rustix::fs::seek(&fd, SeekFrom::Current(0)).unwrap_or_default(),
            seals: fcntl_get_seals(&fd).map_or(0, |seals| seals.bits()),
        });
    }
    drop(bar);
    report(args, &held).map_err(Failure::Output)?;
    progress::wait_for_interrupt();
    drop(session);
    if !args.json {
        writeln!(
            anstream::stdout(),
            "session {} let go of: nothing is handed over",
            args.name
        )
        .map_err(Failure::Output)?;
    }
    Ok(())
}

fn open_source(source: &Source) -> Result<Opened, Failure> {
    match source {
        Source::Fd(number) => own(*number).map(Opened::Fd),
        Source::File(path) => {
            // Before it is opened: opening a pipe waits for a writer.
            let meta = fs::metadata(path).map_err(unreadable)?;
            if !meta.is_file() {
                let found = if meta.is_dir() {
                    "a directory"
                } else {
                    "neither a file nor a directory"
                };
                return Err(Failure::Usage(format!(
                    "found {found}, expected a regular file"
                )));
            }
            let file = File::open(path).map_err(unreadable)?;
            let len = file.metadata().map_err(unreadable)?.len();
            let path = path.clone();
            Ok(Opened::File(Named { file, path }, len))
        }
    }
}

fn unreadable(error: io::Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// A descriptor of the open file that is this process's descriptor `number`. (Asked of the kernel as of
/// another process's: the number alone proves nothing to a compiler.)
fn own(number: i32) -> Result<OwnedFd, Failure> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(process, number, PidfdGetfdFlags::empty()));
    own.map_err(|errno| {
        Failure::Usage(match errno {
            rustix::io::Errno::BADF => "no such descriptor is open".to_owned(),
            errno => format!("it can not be taken: {errno}"),
        })
    })
}

/// The memory that preserving it takes besides what is in use by now.
fn needs(what: &Opened) -> u64 {
    let pages = |len: u64| len.div_ceil(PAGE_SIZE_U64).saturating_mul(PAGE_SIZE_U64);
    match what {
        Opened::File(_, len) => pages(*len),
        Opened::Fd(fd) => {
            // Its holes are filled.
            let meta = fd.try_clone().map(File::from).and_then(|f| f.metadata());
            meta.map_or(0, |meta| {
                pages(meta.len()).saturating_sub(meta.blocks().saturating_mul(512))
            })
        }
    }
}

/// Whether there is room for `needed` bytes that can not be swapped out.
fn check_memory(needed: u64, meminfo: &Path) -> Result<(), Failure> {
    let text = fs::read_to_string(meminfo).unwrap_or_default();
    let available = text.lines().find_map(|line| {
        let kib = line.strip_prefix("MemAvailable:")?.strip_suffix("kB")?;
        kib.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    match available {
        Some(available) if needed > available => Err(Failure::Input(vec![
            ("refused", "not enough memory to hold it".to_owned()),
            ("found", format!("{} available", size(available))),
            ("expected", format!("{} that stay in memory", size(needed))),
        ])),
        _ => Ok(()),
    }
}

/// A new memfd for a copy of the file at `path`.
fn memfd(path: &Path) -> Result<Named, Failure> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let name = name.get(..MEMFD_NAME_MAX).unwrap_or(name);
    // Sealing is allowed, and not used: a memfd that does not allow it has a seal.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(name, flags).map_err(|errno| Failure::Write {
        path: "memfd".into(),
        error: errno.into(),
    })?;
    Ok(Named {
        file: file.into(),
        path: format!("memfd for {}", path.display()).into(),
    })
}

fn report(args: &HoldArgs, held: &[Held<'_>]) -> io::Result<()> {
    let process = std::process::id();
    if args.json {
        let files = held.iter().map(|held| {
            let (fd, path) = match held.source {
                Source::Fd(fd) => (Some(fd), None),
                Source::File(path) => (None, Some(path.display().to_string())),
            };
            json!({
                "token": held.token,
                "fd": fd,
                "path": path,
                "size": held.size,
                "pos": held.pos,
                "seals": held.seals,
            })
        });
        let mut value = serde_json::Map::new();
        super::retrieve::name_json(&mut value, &args.name);
        value.insert("pid".into(), process.into());
        value.insert("files".into(), files.collect::<Vec<_>>().into());
        return writeln!(io::stdout(), "{:#}", serde_json::Value::from(value));
    }
    let mut out = anstream::stdout().lock();
    let bytes = held
        .iter()
        .fold(0u64, |sum, held| sum.saturating_add(held.size));
    writeln!(
        out,
        "session {} holds {}, {}",
        args.name,
        count(held.len() as u64, "file"),
        size(bytes)
    )?;
    let tokens: Vec<_> = held
        .iter()
        .map(|held| format!("{:#x}", held.token))
        .collect();
    let width = tokens.iter().map(String::len).max().unwrap_or(0);
    for (held, token) in held.iter().zip(&tokens) {
        let sealed = match held.seals {
            0 => String::new(),
            bits => format!("  sealed {}", Seals::from(bits)),
        };
        let what = match held.source {
            Source::Fd(fd) => format!("descriptor {fd}"),
            Source::File(path) => path.display().to_string(),
        };
        let what = match what {
            what if is_printable(&what) => what,
            what => what.escape_debug().to_string(),
        };
        let (bytes, pos) = (count(held.size, "byte"), held.pos);
        writeln!(
            out,
            "  {token:<width$}  {what}  {DIM}{bytes}, pos {pos}{sealed}{DIM:#}"
        )?;
    }
    writeln!(
        out,
        "held by process {process} until a kexec hands it over; SIGTERM or SIGINT lets go of it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(args: &[&str]) -> Result<Items, clap::Error> {
        use clap::{Args as _, FromArgMatches as _};
        let command = Items::augment_args(clap::Command::new("hold").no_binary_name(true));
        Items::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    fn tokens(args: &[&str]) -> Vec<(String, u64)> {
        let items = items(args).unwrap();
        let tokens = items.with_tokens().unwrap();
        let tokens = tokens.into_iter();
        tokens
            .map(|(source, token)| (source.to_string(), token))
            .collect()
    }

    fn told(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
        let pairs = pairs.iter();
        pairs
            .map(|(source, token)| ((*source).to_owned(), *token))
            .collect()
    }

    #[test]
    fn tokens_count_up_in_the_order_of_the_command_line() {
        assert_eq!(
            tokens(&[
                "--file", "a", "--fd", "3", "--file", "b=0x10", "--fd=4", "--file=c"
            ]),
            told(&[
                ("--file a", 0),
                ("--fd 3", 1),
                ("--file b", 16),
                ("--fd 4", 2),
                ("--file c", 3)
            ])
        );
        assert_eq!(
            tokens(&["--fd", "3=18446744073709551615"]),
            told(&[("--fd 3", u64::MAX)])
        );
    }

    #[test]
    fn a_path_may_have_an_equals_sign() {
        assert_eq!(
            tokens(&[
                "--file", "a=b", "--file", "c=1=9", "--file", "d=", "--file", "=5"
            ]),
            told(&[
                ("--file a=b", 0),
                ("--file c=1", 9),
                ("--file d=", 1),
                ("--file ", 5)
            ])
        );
    }

    #[test]
    fn a_token_is_given_once() {
        let items = items(&["--file", "a=1", "--fd", "3=0x1"]).unwrap();
        let failure = items.with_tokens().unwrap_err();
        assert_eq!(failure.code(), 2);
        let text = format!("{failure:?}");
        assert!(text.contains("`--file a` and to `--fd 3`"), "{text}");
    }

    #[test]
    fn what_is_no_descriptor_is_refused() {
        for wrong in ["", "x", "-1", "3=", "3=x", "99999999999"] {
            assert!(items(&["--fd", wrong]).is_err(), "{wrong}");
        }
        assert!(items(&[]).is_err());
    }

    #[test]
    fn more_than_there_is_memory_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "MemTotal: 9 kB\nMemAvailable:    8 kB\n").unwrap();
        assert!(check_memory(8192, file.path()).is_ok());
        assert!(check_memory(8193, file.path()).is_err());
        assert!(check_memory(u64::MAX, Path::new("/nonexistent")).is_ok());
    }
}
