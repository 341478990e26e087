//! `kho session list`: which the kernel can not, and open descriptors can.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kho_mem::is_printable;
use liveupdate::{Direction, Session, SessionName};
use serde_json::{Map, Value, json};

use super::ListArgs;
use super::retrieve::{name_json, take_from};
use crate::error::Failure;
use crate::human;

/// What a descriptor of a session is a link to; its name follows.
const LINK: &[u8] = b"anon_inode:[luo_session]";

/// A session that a process has open.
pub(super) struct Open {
    pub(super) name: SessionName,
    pub(super) fd: i32,
}

struct Found {
    open: Open,
    pid: i32,
    command: String,
    direction: Option<Direction>,
}

/// The sessions that the process `pid` has open.
pub(super) fn open_in(root: &Path, pid: i32) -> io::Result<Vec<Open>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root.join(format!("proc/{pid}/fd")))? {
        let Ok(entry) = entry else { continue };
        let fd = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // It may be closed by now.
        let Ok(link) = fs::read_link(entry.path()) else {
            continue;
        };
        let rest = link.as_os_str().as_bytes().strip_prefix(LINK);
        let name = rest.map(|rest| SessionName::new(rest.strip_prefix(b" ").unwrap_or(rest)));
        if let (Some(fd), Some(Ok(name))) = (fd, name) {
            all.push(Open { name, fd });
        }
    }
    all.sort_by_key(|open| open.fd);
    Ok(all)
}

pub(super) fn list(args: &ListArgs) -> Result<(), Failure> {
    let root = &args.root;
    let proc = root.join("proc");
    let unreadable = |error| {
        let text = format!("{}: {error}", proc.display());
        Failure::Input(vec![("error", text)])
    };
    let mut pids: Vec<i32> = fs::read_dir(&proc)
        .map_err(unreadable)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let mut found = Vec::new();
    let mut unseen = 0;
    for pid in pids {
        let all = match open_in(root, pid) {
            Ok(all) => all,
            // It may have ended by now.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unseen += 1;
                continue;
            }
            Err(_) => continue,
        };
        let command = fs::read_to_string(proc.join(format!("{pid}/comm"))).unwrap_or_default();
        let command = match command.trim_end() {
            text if is_printable(text) => text.to_owned(),
            text => text.escape_debug().to_string(),
        };
        for open in all {
            found.push(Found {
                direction: direction(root, pid, open.fd),
                command: command.clone(),
                open,
                pid,
            });
        }
    }
    if args.json {
        let sessions = found.iter().map(|found| {
            let mut value = Map::new();
            name_json(&mut value, &found.open.name);
            value.insert("direction".into(), found.direction.map(word).into());
            value.insert("pid".into(), found.pid.into());
            value.insert("command".into(), found.command.as_str().into());
            value.insert("fd".into(), found.open.fd.into());
            Value::from(value)
        });
        let value = json!({
            "sessions": sessions.collect::<Vec<_>>(),
            "unseen_processes": unseen,
            // Those of the kernel before that nobody has retrieved are not among them.
            "complete": false,
        });
        return writeln!(io::stdout(), "{value:#}").map_err(Failure::Output);
    }
    print(&found, unseen).map_err(Failure::Output)
}

fn print(found: &[Found], unseen: u64) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    if found.is_empty() {
        writeln!(out, "no process has a session open")?;
    } else {
        let mut table = human::table(["SESSION", "GOES", "PROCESS", "COMMAND", "DESCRIPTOR"]);
        for found in found {
            table.add_row([
                found.open.name.to_string(),
                found.direction.map_or("unknown", word).to_owned(),
                found.pid.to_string(),
                found.command.clone(),
                found.open.fd.to_string(),
            ]);
        }
        writeln!(out, "{table}")?;
    }
    if unseen > 0 {
        let noun = if unseen == 1 { "process" } else { "processes" };
        writeln!(
            out,
            "{unseen} other {noun} could not be looked into: run it as root"
        )?;
    }
    writeln!(
        out,
        "not listed: what the kernel before handed over and nobody has retrieved. The kernel's interface \
         can not list it; its names must be known"
    )
}

const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Outgoing => "out",
        Direction::Incoming => "in",
    }
}

/// Where a session of another process goes, if this one may ask it.
fn direction(root: &Path, pid: i32, fd: i32) -> Option<Direction> {
    // Process numbers of another system mean nothing here.
    if root != Path::new("/") {
        return None;
    }
    let session = Session::from_fd(take_from(pid, fd).ok()?).ok()?;
    Some(session.direction())
}
