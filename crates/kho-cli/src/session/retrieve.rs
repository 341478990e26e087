//! `kho session retrieve`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use liveupdate::{Direction, Error, Session, SessionName};
use rustix::fs::{FileType, SeekFrom, fcntl_get_seals, fstat};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::{Map, Value, json};

use super::copy::{Named, again, copy};
use super::list::open_in;
use super::{RetrieveArgs, luo, open};
use crate::compat::registry;
use crate::error::Failure;
use crate::human::{count, size};
use crate::live;
use crate::progress::{self, Bar};
use crate::restore::{FORMAT, MANIFEST, file_name};
use crate::write::Staging;
use kho_survey::Hasher;

/// A file that was retrieved.
struct Got {
    token: u64,
    fd: OwnedFd,
    size: u64,
    pos: u64,
    seals: u32,
}

pub(super) fn retrieve(args: &RetrieveArgs) -> Result<(), Failure> {
    // Everything that can be wrong without the session is looked at before it: it is given once.
    let dir = directory(&args.name)?;
    for name in [Path::new(&dir), Path::new(MANIFEST)] {
        let path = args.out.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(Failure::Input(vec![
                ("refused", format!("{} exists already", path.display())),
                ("hint", "choose another directory".to_owned()),
            ]));
        }
    }
    if let Some(policy) = args.policy {
        let admitted = registry()?.admit(policy.0, live::announced(&args.root)?)?;
        // All of it has been restored by now: what would be refused late as well.
        if let Some(refused) = admitted.refused() {
            return Err(refused.into());
        }
    }
    let mut staging = Staging::new(&args.out, false)?;
    let session = match args.pid {
        Some(pid) => take_over(&args.name, pid)?,
        None => open(&args.device)?
            .retrieve_session(args.name)
            .map_err(luo)?,
    };
    let kept = keep(args, &session, &dir, &mut staging)
        .and_then(|manifest| staging.commit(&[]).map(|()| manifest));
    let manifest = match kept {
        Ok(manifest) => manifest,
        Err(failure) if args.give_up => return Err(failure),
        Err(failure) => return stay(args, session, &failure),
    };
    // Best effort: what is written is written, and the directory's entries are the file system's affair.
    drop(File::open(&args.out).and_then(|dir| dir.sync_all()));
    if args.no_finish {
        report(args, &manifest)?;
        let process = std::process::id();
        let text = "the session is open in process";
        say(&format!("{text} {process}; SIGTERM or SIGINT finishes it"));
        progress::wait_for_interrupt();
        return Ok(());
    }
    session.finish().map_err(|rejected| luo(rejected.error))?;
    report(args, &manifest)
}

/// The name of the session's directory, as `kho restore` has it.
fn directory(name: &SessionName) -> Result<String, Failure> {
    let name = kho_luo::SessionName::new(name.as_bytes());
    let name = name.ok_or_else(|| Failure::Usage("not a session's name".to_owned()))?;
    Ok(file_name(name.as_bytes()))
}

/// Says something on standard error. Where nobody takes it there is nobody left to tell.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "kho session: {text}");
}

/// Says what failed, and keeps the session: were it closed, the kernel would end it.
fn stay(args: &RetrieveArgs, session: Session, failure: &Failure) -> Result<(), Failure> {
    let code = failure.code();
    match failure {
        // Not "nothing was changed": the session was given.
        Failure::Interrupted => say("interrupted; a second time ends this process"),
        failure => failure.print(),
    }
    if args.json {
        let value = json!({ "failure": failure.json() });
        // The wait is what counts now.
        let _ = writeln!(io::stdout(), "{value:#}");
    }
    let (process, name) = (std::process::id(), &args.name);
    say(&format!(
        "session `{name}` stays open in process {process}: nothing is lost"
    ));
    say(&format!(
        "another try: kho session retrieve '{name}' --pid {process} --out DIR"
    ));
    say(
        "when this process ends (SIGTERM, SIGINT), so does the session, with all that was not written",
    );
    if matches!(failure, Failure::Interrupted) {
        // The next one ends the process.
        loop {
            std::thread::park();
        }
    }
    progress::wait_for_interrupt();
    drop(session);
    Err(Failure::Ended(code))
}

/// Retrieves the files and writes them. Gives the manifest.
fn keep(
    args: &RetrieveArgs,
    session: &Session,
    dir: &str,
    staging: &mut Staging,
) -> Result<Value, Failure> {
    if session.direction() == Direction::Outgoing {
        return Err(Failure::Usage(format!(
            "session `{}` goes to the next kernel: there is nothing to retrieve here",
            session.name()
        )));
    }
    let files = files(args, session)?;
    let total = files
        .iter()
        .fold(0u64, |sum, got| sum.saturating_add(got.size));
    staging.create_dir(Path::new(dir))?;
    let mut bar = Bar::new("writing");
    let mut done = 0;
    let mut entries = Vec::new();
    for got in &files {
        let name = format!("{dir}/{:016x}.bin", got.token);
        let path = staging.place(Path::new(&name));
        let file = File::create_new(&path).map_err(|error| Failure::Write {
            path: path.clone(),
            error,
        })?;
        let to = Named { file, path };
        let from = again(&got.fd, &PathBuf::from(format!("token {:#x}", got.token)))?;
        let mut hash = args.hash.then(Hasher::default);
        copy(&from, &to, got.size, &mut |piece| {
            if let Some(hash) = &mut hash {
                hash.update(piece);
            }
            done += piece.len();
            if bar.at(done, Some(total)) {
                Ok(())
            } else {
                Err(Failure::Interrupted)
            }
        })?;
        // Once the session is finished this is all that there is.
        to.file.sync_all().map_err(|error| Failure::Write {
            path: to.path.clone(),
            error,
        })?;
        let mut entry = Map::new();
        entry.insert("token".into(), got.token.into());
        entry.insert("path".into(), name.into());
        entry.insert("pos".into(), got.pos.into());
        entry.insert("size".into(), got.size.into());
        entry.insert("seals".into(), got.seals.into());
        if let Some(hash) = hash {
            entry.insert("sha256".into(), hash.finish().into());
        }
        entries.push(Value::from(entry));
    }
    let mut of_session = Map::new();
    name_json(&mut of_session, session.name());
    of_session.insert("dir".into(), dir.into());
    of_session.insert("files".into(), entries.into());
    let manifest = json!({
        "format": FORMAT,
        // One session, of which the tokens were named or counted.
        "complete": false,
        "sessions": [of_session],
    });
    staging.write(Path::new(MANIFEST), format!("{manifest:#}\n").as_bytes())?;
    Ok(manifest)
}

/// The files of the tokens that are named, or of 0, 1, 2, ... up to the first that is missing.
fn files(args: &RetrieveArgs, session: &Session) -> Result<Vec<Got>, Failure> {
    let mut all = Vec::new();
    if args.tokens.is_empty() {
        for token in 0.. {
            match session.retrieve(token) {
                Ok(fd) => all.push(got(token, fd)?),
                Err(Error::NoSuchToken { .. }) if token > 0 => break,
                Err(error @ Error::NoSuchToken { .. }) => {
                    return Err(Failure::Input(vec![
                        ("error", error.to_string()),
                        ("hint", "name the tokens: --token T ...".to_owned()),
                    ]));
                }
                Err(error) => return Err(luo(error)),
            }
            if progress::interrupted() {
                return Err(Failure::Interrupted);
            }
        }
        return Ok(all);
    }
    let mut tokens = args.tokens.clone();
    tokens.sort_unstable();
    tokens.dedup();
    for token in tokens {
        all.push(got(token, session.retrieve(token).map_err(luo)?)?);
    }
    Ok(all)
}

fn got(token: u64, fd: OwnedFd) -> Result<Got, Failure> {
    let wrong = |what: String| {
        let what = format!("token {token:#x} can not be written to a file: {what}");
        Failure::Input(vec![("error", what)])
    };
    let stat = fstat(&fd).map_err(|errno| wrong(errno.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(wrong("it is no memfd".to_owned()));
    }
    let size = u64::try_from(stat.st_size).map_err(|_| wrong("its size is negative".to_owned()))?;
    let pos = rustix::fs::seek(&fd, SeekFrom::Current(0));
    Ok(Got {
        token,
        size,
        pos: pos.map_err(|errno| wrong(errno.to_string()))?,
        // A file that knows no seals has none.
        seals: fcntl_get_seals(&fd).map_or(0, |seals| seals.bits()),
        fd,
    })
}

/// A descriptor of the open file that is descriptor `fd` of process `pid`.
pub(super) fn take_from(pid: i32, fd: i32) -> rustix::io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    pidfd_getfd(
        pidfd_open(pid, PidfdFlags::empty())?,
        fd,
        PidfdGetfdFlags::empty(),
    )
}

/// The session `name` that the process `pid` has open.
fn take_over(name: &SessionName, pid: i32) -> Result<Session, Failure> {
    let refused = |why: String| {
        let what = format!("session `{name}` can not be taken over from process {pid}");
        Failure::Input(vec![("error", what), ("found", why)])
    };
    let open = open_in(Path::new("/"), pid).map_err(|error| refused(error.to_string()))?;
    let Some(found) = open.into_iter().find(|open| open.name == *name) else {
        return Err(refused("it has no session of that name open".to_owned()));
    };
    let fd = take_from(pid, found.fd).map_err(|errno| refused(errno.to_string()))?;
    Session::from_fd(fd).map_err(|rejected| luo(rejected.error))
}

/// The name, and its bytes where it is no text.
pub(super) fn name_json(out: &mut Map<String, Value>, name: &SessionName) {
    if let Some(name) = kho_luo::SessionName::new(name.as_bytes()) {
        out.extend(kho_survey::members_json(name.facts()));
    }
}

fn report(args: &RetrieveArgs, manifest: &Value) -> Result<(), Failure> {
    if args.json {
        return writeln!(io::stdout(), "{manifest:#}").map_err(Failure::Output);
    }
    let files = manifest.pointer("/sessions/0/files");
    let files = files.and_then(Value::as_array).map(Vec::as_slice);
    let files = files.unwrap_or_default();
    let sizes = files.iter().filter_map(|file| file.get("size")?.as_u64());
    let bytes = sizes.fold(0u64, u64::saturating_add);
    let mut out = anstream::stdout().lock();
    let done = writeln!(
        out,
        "retrieved {}, {}, of session {}, to {}",
        count(files.len() as u64, "file"),
        size(bytes),
        args.name,
        args.out.display()
    );
    done.and_then(|()| {
        if args.tokens.is_empty() {
            let next = files.len();
            writeln!(
                out,
                "tokens were counted: {next:#x} is the first that is not there"
            )?;
        }
        if !args.no_finish {
            writeln!(out, "the session is finished")?;
        }
        Ok(())
    })
    .map_err(Failure::Output)
}
