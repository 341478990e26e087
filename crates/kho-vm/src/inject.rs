//! `vm inject`: a handover that no kernel wrote, to a real kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kho_guest::{Fact, Found, Hasher, Plan, Seen, SessionName, Step, Tried, Wrong, name};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::failure::{Failure, of_file};
use crate::image::Placed;
use crate::made::Made;
use crate::options::{Options, Vm};
use crate::pack;
use crate::reading::{self, Reading, SessionRead};
use crate::run::Outcome;

/// Hand sessions of memfds to a real kernel, and see that its user space gets every one of them.
///
/// A directory is packed as `kho pack` does; an image is taken as it is. The guest's init retrieves every
/// session and every file through /dev/liveupdate, and says what it got: contents, size, position, seals.
/// This is compared with an independent reading of the image, and with the directory. Then every session is
/// finished. It fails on any difference, and on any warning of the kernel that is not explained.
///
/// A kernel with CONFIG_LIVEUPDATE_TEST expects three FLBs with every handover of memfds. They are written
/// unless the directory's manifest names FLBs itself, or --no-flbs says not to.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  kho restore tests/captures/small.core.zst --out small && cargo xtask vm inject small
  cargo xtask vm inject --made sessions=200,files=5000
  cargo xtask vm inject packed.raw --json")]
pub(crate) struct Args {
    /// A directory (what `kho restore` wrote, or directories of files), or an image: of `kho pack`, or a
    /// capture that lies clear of the kernel.
    #[arg(value_name = "DIR|IMAGE", required_unless_present = "made")]
    what: Option<PathBuf>,
    /// Make a handover up: some of sessions=N, files=N, seed=N, order=N (the largest folio's).
    #[arg(long, value_name = "HOW", conflicts_with = "what")]
    made: Option<Made>,
    /// Write no FLBs where the directory names none.
    #[arg(long)]
    no_flbs: bool,
    /// How versions are written: what `kho pack --dialect` knows.
    #[arg(long, value_name = "DIALECT")]
    dialect: Option<String>,
    /// Print JSON: the facts.
    #[arg(long)]
    json: bool,
    /// Write the kernel's log there.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

pub(crate) fn run(args: &Args) -> Result<bool, Failure> {
    let vm = args.options.vm()?;
    let dir = tempdir()?;
    let mut flbs = pack::test_flbs();
    flbs.retain(|_| !args.no_flbs);
    let (image, from) = match (&args.what, args.made) {
        (_, Some(made)) => {
            let from = dir.path().join("made");
            made.write(&from, &flbs)?;
            let image = pack::pack(&from, &[], args.dialect.as_deref(), dir.path())?;
            (image, Some(from))
        }
        (Some(what), None) if what.is_dir() => {
            let image = pack::pack(what, &flbs, args.dialect.as_deref(), dir.path())?;
            (image, Some(what.clone()))
        }
        (Some(what), None) => (what.clone(), None),
        (None, None) => return Err(Failure::CanNot("nothing to inject".to_owned())),
    };
    let report = inject(&vm, &image, from.as_deref())?;
    report.outcome.write_log(args.log.as_deref())?;
    report.print(args.json);
    Ok(report.is_good())
}

/// A directory for what lives as long as a run.
pub(crate) fn tempdir() -> Result<TempDir, Failure> {
    let dir = tempfile::Builder::new().prefix("kho-vm-").tempdir();
    dir.map_err(|error| Failure::of("a temporary directory", error))
}

/// What came of it.
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) tally: Tally,
    pub(crate) wrong: Vec<String>,
    preserved: Value,
    accel: &'static str,
}

/// What there was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) sessions: usize,
    pub(crate) files: usize,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn of(sessions: &[SessionRead]) -> Self {
        let files = || sessions.iter().flat_map(|session| &session.files);
        Self {
            sessions: sessions.len(),
            files: files().count(),
            bytes: files().map(|file| file.size).sum(),
        }
    }
}

/// Hands over what is in `image`, which was made of the directory `from`.
pub(crate) fn inject(vm: &Vm, image: &Path, from: Option<&Path>) -> Result<Report, Failure> {
    let dir = tempdir()?;
    let placed = Placed::open(image, dir.path())?;
    let reading = reading::read(&placed.memory()?, placed.entry)?;
    let wrong = from.map(|from| against(from, &reading)).transpose()?;
    let mut wrong = wrong.unwrap_or_default();
    let plan = retrieve_all(&reading.sessions);
    let machine = placed.machine(vm, &[plan], false, &dir)?;
    let outcome = machine.run(vm, "handing over")?;
    outcome.finished()?;
    wrong.extend(compare(&reading.sessions, &outcome.facts));
    wrong.extend(outcome.kernel_says());
    Ok(Report {
        tally: Tally::of(&reading.sessions),
        wrong,
        preserved: reading.facts.get("preserved").cloned().unwrap_or_default(),
        outcome,
        accel: vm.qemu.accel.name(),
    })
}

/// Every session, retrieved and finished.
pub(crate) fn retrieve_all(sessions: &[SessionRead]) -> Plan {
    let retrieve = |session: &SessionRead| Step::Retrieve {
        session: session.name,
        tokens: session.files.iter().map(|file| file.token).collect(),
    };
    let finish = |session: &SessionRead| Step::Finish {
        session: session.name,
    };
    let all = sessions.iter().map(retrieve);
    let all = all.chain(sessions.iter().map(finish));
    let steps = all.chain([Step::Journal]).collect();
    Plan { steps }
}

/// How what the guest retrieved differs from what was handed over.
pub(crate) fn compare(sessions: &[SessionRead], facts: &[Fact]) -> Vec<String> {
    let mut seen = Reported::default();
    for fact in facts {
        seen.take(fact);
    }
    let mut wrong = seen.wrong;
    for session in sessions {
        if !seen.finished.contains(&session.name) {
            wrong.push(format!("session `{}` was not finished", session.name));
        }
    }
    wrong.extend(compare_files(sessions, &seen.files, "retrieved"));
    wrong
}

/// How what the guest preserved differs from what is handed over.
pub(crate) fn compare_preserved(sessions: &[SessionRead], facts: &[Fact]) -> Vec<String> {
    let mut files = BTreeMap::new();
    let mut wrong = Vec::new();
    for fact in facts {
        if let Fact::Preserved(Seen {
            session,
            token,
            found,
            wrong: failed,
        }) = fact
        {
            let complaint = failed.as_ref();
            wrong.extend(complaint.map(|it| format!("session `{session}`, file {token:#x}: {it}")));
            files.extend(found.as_ref().map(|found| ((session, *token), found)));
        }
    }
    wrong.extend(compare_files(sessions, &files, "preserved"));
    let read: usize = sessions.iter().map(|session| session.files.len()).sum();
    let preserved = files.len();
    if preserved > read {
        wrong.push(format!(
            "{preserved} files were preserved, and {read} are there"
        ));
    }
    wrong
}

/// Files by session and token.
type Files<'f> = BTreeMap<(&'f SessionName, u64), &'f Found>;

fn compare_files(sessions: &[SessionRead], seen: &Files<'_>, done: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for session in sessions {
        for file in &session.files {
            let what = format!("session `{}`, file {:#x}", session.name, file.token);
            match seen.get(&(&session.name, file.token)) {
                None => wrong.push(format!("{what} was not {done}")),
                Some(found) => {
                    let difference = file.difference(found);
                    wrong.extend(difference.map(|difference| format!("{what}: {difference}")));
                }
            }
        }
    }
    wrong
}

/// What a guest reported.
#[derive(Default)]
struct Reported<'f> {
    files: Files<'f>,
    finished: BTreeSet<&'f SessionName>,
    wrong: Vec<String>,
}

impl<'f> Reported<'f> {
    fn take(&mut self, fact: &'f Fact) {
        let mut complain = |what: String, wrong: &Option<Wrong>| {
            self.wrong
                .extend(wrong.as_ref().map(|wrong| format!("{what}: {wrong}")));
        };
        match fact {
            Fact::Opened { wrong } => complain("/dev/liveupdate".to_owned(), wrong),
            Fact::Session(Tried { session, wrong }) => {
                complain(format!("session `{session}`"), wrong);
            }
            Fact::Retrieved(Seen {
                session,
                token,
                found,
                wrong,
            }) => {
                complain(format!("session `{session}`, file {token:#x}"), wrong);
                self.files
                    .extend(found.as_ref().map(|found| ((session, *token), found)));
            }
            Fact::Finished(Tried { session, wrong }) => {
                complain(format!("finishing session `{session}`"), wrong);
                if wrong.is_none() {
                    self.finished.insert(session);
                }
            }
            Fact::Check { check, failed } => {
                self.wrong
                    .extend(failed.as_ref().map(|failed| format!("{check}: {failed}")));
            }
            Fact::NotWritten { path, wrong } => self.wrong.push(format!("{path}: {wrong}")),
            _ => {}
        }
    }
}

/// How the image differs from the directory that it was made of: the contents of each session's files.
fn against(dir: &Path, reading: &Reading) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    for (path, name) in directories(dir)? {
        let mut hashes = Vec::new();
        for path in entries(&path)? {
            let bytes = fs::read(&path).map_err(of_file(&path))?;
            let mut hash = Hasher::default();
            hash.update(&bytes);
            hashes.push(hash.finish());
        }
        hashes.sort_unstable();
        let session = reading.sessions.iter().find(|session| session.name == name);
        let files = session.into_iter().flat_map(|session| &session.files);
        let mut read: Vec<_> = files.map(|file| file.sha256.clone()).collect();
        read.sort_unstable();
        if session.is_none() || hashes != read {
            let path = path.display();
            wrong.push(format!(
                "session `{name}` of the image is not what {path} holds"
            ));
        }
    }
    Ok(wrong)
}

/// The directories that hold a session's files, and the sessions' names.
fn directories(dir: &Path) -> Result<Vec<(PathBuf, SessionName)>, Failure> {
    let manifest = pack::manifest(dir);
    let listed = manifest
        .as_ref()
        .and_then(|of| of.get("sessions")?.as_array());
    let Some(listed) = listed else {
        let mut all = Vec::new();
        for path in entries(dir)?.into_iter().filter(|path| path.is_dir()) {
            let text = path.file_name().unwrap_or_default().to_string_lossy();
            let name = match name::decode(&text) {
                Some(name) => name,
                None => SessionName::new(&*text).map_err(|error| Failure::of(&text, error))?,
            };
            all.push((path, name));
        }
        return Ok(all);
    };
    let of = |session: &Value| {
        let name = match session.get("name_bytes").and_then(Value::as_str) {
            Some(digits) => bytes_of(digits)?,
            None => session.get("name")?.as_str()?.as_bytes().to_vec(),
        };
        let first = session.get("files")?.as_array()?.first()?;
        let path = dir.join(first.get("path")?.as_str()?);
        Some((path.parent()?.to_owned(), SessionName::new(name).ok()?))
    };
    // A session without files has no directory.
    Ok(listed.iter().filter_map(of).collect())
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// What is in a directory and does not begin with a dot, in order of names.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = fs::read_dir(dir).map_err(of_file(dir))?;
    let mut all = Vec::new();
    for entry in listed {
        let entry = entry.map_err(of_file(dir))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            all.push(entry.path());
        }
    }
    all.sort_unstable();
    Ok(all)
}

impl Report {
    pub(crate) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "kernel": self.outcome.release(),
            "accel": self.accel,
            "seconds": seconds(self.outcome.seconds),
            "sessions": self.tally.sessions,
            "files": self.tally.files,
            "bytes": self.tally.bytes,
            "preserved": self.preserved,
            "wrong": self.wrong,
            "facts": self.outcome.facts,
        })
    }

    fn print(&self, json: bool) {
        if json {
            println!("{:#}", self.json());
            return;
        }
        let Tally {
            sessions,
            files,
            bytes,
        } = self.tally;
        let (release, accel) = (self.outcome.release(), self.accel);
        println!(
            "Linux {release} ({accel}, {:.1} s): {sessions} sessions, {files} files, {bytes} bytes handed over",
            self.outcome.seconds
        );
        let good = "every session was retrieved and finished: contents, sizes, positions and seals are equal";
        say(&self.wrong, good);
    }
}

/// Seconds to a tenth.
pub(crate) fn seconds(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// Prints what is not as it must be, as far as anybody reads it; where nothing is, that it is `good`.
pub(crate) fn say(wrong: &[String], good: &str) {
    const SHOWN: usize = 30;
    if wrong.is_empty() {
        println!("{good}");
    }
    for wrong in wrong.iter().take(SHOWN) {
        println!("wrong: {wrong}");
    }
    if let Some(more) = wrong.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        println!("and {more} more");
    }
}
