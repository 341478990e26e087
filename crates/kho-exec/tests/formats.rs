//! Programs whose tickets or supervisors are of another version: this test's own executable, run as each of them.
//!
//! The program of the other version is made of this one and of a layer before it, which turns what this version
//! writes into what the other one would: what comes after it sees nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use kho_exec::{Config, Event, FileRef, HANDOVER_ENV, Host, SUPERVISOR_ENV, supervise};
use kho_mem::PhysAddr;
use kho_memfd::MemFile;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};

const SESSION: &str = "state";
const LINE: u64 = 1;
/// What the program is told: where its log is, what it is, and what its layer does.
const DIR: &str = "KHO_TEST_DIR";
const ROLE: &str = "KHO_TEST_ROLE";
const EDIT: &str = "KHO_TEST_EDIT";
/// The ticket of this version, for a layer that gets its own back.
const KEPT: &str = "KHO_TEST_KEPT";
const RETURNED: &str = "KHO_RETURNED";

fn dir() -> PathBuf {
    std::env::var_os(DIR).unwrap().into()
}

fn log(text: &str) {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(dir().join("log"));
    writeln!(file.unwrap(), "{text}").unwrap();
}

fn command(role: &str, dir: &Path, edit: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program", "--nocapture", "--test-threads", "1"]);
    command.env(ROLE, role).env(DIR, dir).env(EDIT, edit);
    command
}

/// Keeps a descriptor open for the next program.
fn pass_on(fd: impl Into<OwnedFd>) -> i32 {
    let fd = fd.into();
    fcntl_setfd(fd.as_fd(), FdFlags::empty()).unwrap();
    let number = fd.as_raw_fd();
    std::mem::forget(fd);
    number
}

/// The ticket that the environment names: its descriptor, the numbers in its first line, the rest.
fn ticket() -> (i32, Vec<i32>, Value) {
    let text = std::env::var(HANDOVER_ENV).unwrap();
    let number = text.rsplit(':').next().unwrap().parse().unwrap();
    // Opened anew: from its start.
    let mut ticket = String::new();
    let mut file = File::open(format!("/proc/self/fd/{number}")).unwrap();
    file.read_to_string(&mut ticket).unwrap();
    let (first, rest) = ticket.split_once('\n').unwrap();
    let numbers = first.split_whitespace().map(|word| word.parse().unwrap());
    (
        number,
        numbers.collect(),
        serde_json::from_str(rest).unwrap(),
    )
}

/// What the environment says of a ticket for this very process.
fn address(number: i32) -> String {
    format!("process:{}:{number}", std::process::id())
}

/// A ticket with these descriptors, in the environment of `next`.
fn write(next: &mut Command, numbers: &[i32], ticket: &Value) {
    let mut file = File::from(memfd_create("ticket", MemfdFlags::empty()).unwrap());
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    write!(file, "{}\n{ticket}", numbers.join(" ")).unwrap();
    next.env(HANDOVER_ENV, address(pass_on(file)));
}

/// The layer, on the way out: this version's ticket or supervisor becomes another version's.
fn layer() -> ! {
    let edit = std::env::var(EDIT).unwrap();
    let mut next = command("next", &dir(), "");
    let (own, mut numbers, mut ticket) = ticket();
    match edit.as_str() {
        // Members more: a later minor version.
        "minor" => {
            for object in ["", "/previous", "/marks/0"] {
                ticket.pointer_mut(object).unwrap()["more"] = json!([1]);
            }
            write(&mut next, &numbers, &ticket);
        }
        // Another format, with another member, of a program that reads it.
        "ticket" => {
            ticket["format"] = json!("kho-ticket-v2");
            ticket["memory"] = ticket.as_object_mut().unwrap().remove("arena").unwrap();
            let exe = pass_on(File::open("/proc/self/exe").unwrap());
            ticket["previous"]["exe"] = json!(exe);
            ticket["previous"]["more"] = json!("ignored");
            let env = ticket["previous"]["env"].as_array_mut().unwrap();
            env.retain(|pair| pair[0] != ROLE);
            env.push(json!([ROLE, "back"]));
            env.push(json!([KEPT, own.to_string()]));
            numbers.extend([exe, own]);
            write(&mut next, &numbers, &ticket);
        }
        // A supervisor that takes other messages.
        "supervisor" => {
            let supervisor = std::env::var(SUPERVISOR_ENV).unwrap();
            next.env(SUPERVISOR_ENV, format!("{supervisor}:kho-supervisor-v2"));
            next.env(HANDOVER_ENV, address(own));
        }
        _ => panic!("{edit}"),
    }
    panic!("{}", next.exec());
}

/// The layer, when its own ticket comes back: it is this version's again.
fn back() -> ! {
    let (_, _, ticket) = ticket();
    let reason = std::env::var(RETURNED).unwrap();
    log(&format!(
        "back in {}: {reason}",
        ticket["format"].as_str().unwrap()
    ));
    let kept = std::env::var(KEPT).unwrap().parse().unwrap();
    let mut own = command("first", &dir(), "");
    own.env(HANDOVER_ENV, address(kept));
    panic!("{}", own.exec());
}

/// The program, when this executable is run as one.
#[test]
fn program() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.as_str() {
        "layer" => layer(),
        "back" => back(),
        _ => {}
    }
    let config = Config::new().arena(PhysAddr::new(1 << 32), 64 << 20);
    let mut host = Host::start(config).unwrap_or_else(|error| {
        log(&format!("{role} start: {error}"));
        std::process::exit(3);
    });
    if let Some(line) = host.retrieve::<MemFile>(SESSION, LINE).unwrap() {
        let mut text = vec![0; usize::try_from(line.size()).unwrap()];
        line.read_at(0, &mut text).unwrap();
        host.finish().unwrap();
        let text = String::from_utf8(text).unwrap();
        let returned = host.returned().unwrap_or("nothing");
        log(&format!("{role} has {text:?}, returned: {returned}"));
        std::process::exit(0);
    }
    let line = MemFile::new(host.arena());
    line.write_at(0, b"the state").unwrap();
    let files = [(LINE, Arc::new(line) as FileRef)];
    let next = command("layer", &dir(), &std::env::var(EDIT).unwrap());
    let error = host.hand_over(SESSION, files, next);
    log(&format!("{role} went on: {error}"));
    std::process::exit(4);
}

fn read_log(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("log")).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

fn run(edit: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let output = command("first", dir.path(), edit).output().unwrap();
    let log = read_log(dir.path());
    assert!(output.status.success(), "{log:?}: {output:?}");
    log
}

#[test]
fn a_ticket_of_another_version_is_refused_and_goes_back() {
    let refused =
        "KHO_HANDOVER is no handover: found format `kho-ticket-v2`, expected `kho-ticket-v1`";
    assert_eq!(
        run("ticket"),
        [
            format!("back in kho-ticket-v2: {refused}"),
            format!("first has \"the state\", returned: {refused}"),
        ]
    );
}

#[test]
fn members_that_a_ticket_has_more_are_ignored() {
    assert_eq!(run("minor"), ["next has \"the state\", returned: nothing"]);
}

#[test]
fn a_supervisor_of_another_version_is_refused_and_the_handover_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let events = Mutex::new(Vec::new());
    let first = command("first", dir.path(), "supervisor");
    let status = supervise(first, |event| events.lock().unwrap().push(event)).unwrap();
    let log = read_log(dir.path());
    assert!(status.success(), "{log:?}");
    let refused = "KHO_SUPERVISOR is no supervisor of this version: \
                   found format `kho-supervisor-v2`, expected `kho-supervisor-v1`";
    assert_eq!(
        log,
        [format!("first has \"the state\", returned: {refused}")]
    );
    // Who comes back speaks with the supervisor as before.
    let events = events.into_inner().unwrap();
    let back = Event::HandedBack {
        reason: refused.to_owned(),
    };
    assert_eq!(events[1..], [Event::Sealed, back]);
}
