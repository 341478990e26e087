//! Updates of a real program: this test's own executable, run as one. It keeps a counter in a
//! memfd and a pipe's end, and does what the environment says.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used
)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::{Arc, Mutex};

use kho_compat::{Component, Registry};
use kho_exec::{Config, Event, Host, StartError, supervise};
use kho_fd::FdFile;
use kho_luo::FileRef;
use kho_mem::PhysAddr;
use kho_memfd::MemFile;
use rustix::process::{Signal, getpid, kill_process};

const SESSION: &str = "state";
const COUNTER: u64 = 1;
const PIPE: u64 = 2;
/// What the program is told.
const ROLE: &str = "KHO_TEST_DIR";
const DIE: &str = "KHO_TEST_DIE";
const PLAN: &str = "KHO_TEST_PLAN";

/// Kills this process at the point that the environment names, the first time it gets there.
fn point(dir: &Path, name: &str, generation: u64) {
    let here = format!("{name}@{generation}");
    let wanted = std::env::var(DIE).unwrap_or_default();
    let marker = dir.join("died");
    if wanted == here && !marker.exists() {
        fs::write(marker, here).unwrap();
        kill_process(getpid(), Signal::KILL).unwrap();
    }
}

fn log(dir: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .unwrap();
    writeln!(file, "{text}").unwrap();
}

fn altered() -> &'static Registry {
    let linked = Registry::linked().unwrap();
    let components = linked.components().map(|component| -> &'static Component {
        if component.name != "block" {
            return component;
        }
        let mut other = component.clone();
        other.version = semver::Version::new(2, 0, 0);
        other.restores = "^2";
        Box::leak(Box::new(other))
    });
    Box::leak(Box::new(Registry::new(components).unwrap()))
}

/// The program, when this executable is run as one. Its plan is a word per generation: what it
/// does once it has the state.
#[test]
fn program() {
    let Some(dir) = std::env::var_os(ROLE).map(PathBuf::from) else {
        return;
    };
    let plan = std::env::var(PLAN).unwrap_or_default();
    let plan: Vec<&str> = plan.split_whitespace().collect();
    let mut config = Config::new().arena(PhysAddr::new(1 << 32), 256 << 20);
    let old = dir.join("old");
    if fs::read_to_string(dir.join("next")).is_ok_and(|next| next == "altered") && !old.exists() {
        config = config.registry(altered());
    }
    point(&dir, "begin", 1);
    let mut host = match Host::start(config) {
        Ok(host) => host,
        Err(error) => {
            log(&dir, &format!("start: {error}"));
            std::process::exit(3);
        }
    };
    let generation = host.generation();
    let returned = host.returned().map(ToOwned::to_owned);
    point(&dir, "started", generation);
    let counter = host.retrieve::<MemFile>(SESSION, COUNTER).unwrap();
    point(&dir, "retrieved", generation);
    let pipe = host.retrieve::<FdFile>(SESSION, PIPE).unwrap();
    let counter = counter.unwrap_or_else(|| Arc::new(MemFile::new(host.arena())));
    let mut text = vec![0; counter.size() as usize];
    counter.read_at(0, &mut text).unwrap();
    if host.incoming().is_some() {
        assert!(
            counter.write_at(0, b"x").is_err(),
            "read-only until finished"
        );
    }
    let pipe = pipe.unwrap_or_else(|| {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        // The other end, for the test to find.
        std::mem::forget(reader.try_clone().unwrap());
        drop(reader);
        Arc::new(FdFile::new(writer))
    });
    point(&dir, "verified", generation);
    host.finish().unwrap();
    log(
        &dir,
        &format!(
            "generation {generation} process {} has {:?}{}",
            std::process::id(),
            String::from_utf8_lossy(&text),
            returned
                .as_ref()
                .map(|reason| format!(" returned: {reason}"))
                .unwrap_or_default()
        ),
    );
    point(&dir, "finished", generation);
    if returned.is_none() {
        counter
            .write_at(counter.size(), format!("{generation};").as_bytes())
            .unwrap();
    }
    let mut turns = if returned.is_some() {
        vec!["end"]
    } else {
        Vec::new()
    };
    turns.insert(0, plan.get(generation as usize).copied().unwrap_or("end"));
    if returned.is_some() {
        // What came back goes on by itself, or tries once more where it died.
        turns = vec![if dir.join("died").exists() {
            "next"
        } else {
            "end"
        }];
        if generation as usize + 1 >= plan.len() {
            turns = vec!["end"];
        }
    }
    let files = || {
        [
            (COUNTER, Arc::clone(&counter) as FileRef),
            (PIPE, Arc::clone(&pipe) as FileRef),
        ]
    };
    let this = || {
        let mut next = Command::new(std::env::current_exe().unwrap());
        next.args(["--exact", "program", "--nocapture", "--test-threads", "1"]);
        next
    };
    for turn in turns {
        match turn {
            "end" => break,
            "next" => {
                let error = host.hand_over(SESSION, files(), this());
                panic!("{error}");
            }
            "missing" => {
                let error = host.hand_over(SESSION, files(), Command::new("/nonexistent/program"));
                log(&dir, &format!("went on: {error}"));
                // Everything is as before, and it can be tried again.
                counter.write_at(counter.size(), b"again;").unwrap();
                let error = host.hand_over(SESSION, files(), this());
                panic!("{error}");
            }
            "altered" => {
                fs::write(dir.join("next"), "altered").unwrap();
                let error = host.hand_over(SESSION, files(), this());
                panic!("{error}");
            }
            "child" => {
                // A child inherits the environment; the handover in it is not its own.
                let status = this().env(PLAN, "end").status().unwrap();
                log(&dir, &format!("child: {status}"));
                let error = host.hand_over(SESSION, files(), this());
                panic!("{error}");
            }
            other => panic!("no plan `{other}`"),
        }
    }
    let mut text = String::new();
    let mut bytes = vec![0; counter.size() as usize];
    counter.read_at(0, &mut bytes).unwrap();
    text.push_str(&String::from_utf8_lossy(&bytes));
    log(
        &dir,
        &format!("end of generation {generation} with {text:?}"),
    );
    std::process::exit(0);
}

fn command(dir: &Path, plan: &str, die: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program", "--nocapture", "--test-threads", "1"]);
    command.env(ROLE, dir).env(PLAN, plan).env(DIE, die);
    command
}

fn read_log(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("log")).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

fn run(plan: &str) -> (Vec<String>, Output) {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), plan, "").output().unwrap();
    (read_log(dir.path()), output)
}

fn supervised(plan: &str, die: &str) -> (Vec<String>, Vec<Event>, ExitStatus) {
    let dir = tempfile::tempdir().unwrap();
    let events = Mutex::new(Vec::new());
    let status = supervise(command(dir.path(), plan, die), |event| {
        events.lock().unwrap().push(event)
    })
    .unwrap();
    (read_log(dir.path()), events.into_inner().unwrap(), status)
}

fn process_of(line: &str) -> &str {
    line.split_whitespace()
        .skip_while(|word| *word != "process")
        .nth(1)
        .unwrap()
}

#[test]
fn three_programs_are_one_process_with_one_state() {
    let (log, output) = run("next next end");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(log.len(), 4, "{log:?}");
    assert!(
        log[0].ends_with("has \"\"")
            && log[1].ends_with("has \"0;\"")
            && log[2].ends_with("has \"0;1;\""),
        "{log:?}"
    );
    assert_eq!(process_of(&log[0]), process_of(&log[2]));
    assert_eq!(log[3], "end of generation 2 with \"0;1;2;\"");
}

#[test]
fn an_exec_that_fails_leaves_the_program_as_it_was() {
    let (log, _) = run("missing end");
    assert!(
        log[1].starts_with("went on: executing /nonexistent/program: No such file"),
        "{log:?}"
    );
    assert_eq!(
        log.last().unwrap(),
        "end of generation 1 with \"0;again;1;\""
    );
}

#[test]
fn what_the_next_program_refuses_comes_back() {
    // The one that comes back does not know the other version any more than before.
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), "altered end", "").output().unwrap();
    let log = read_log(dir.path());
    // Both are one executable here: what comes back is altered too and refuses in turn, for good.
    assert_eq!(output.status.code(), Some(3), "{log:?}");
    assert!(log[1].starts_with("start: refused by policy"), "{log:?}");
    assert!(
        log[1].contains("block-v1 is not restorable here, only block-v2"),
        "{log:?}"
    );
}

#[test]
fn a_child_does_not_take_its_parents_handover_for_its_own() {
    let (log, output) = run("next child end");
    assert!(output.status.success(), "{log:?}");
    let child = log
        .iter()
        .position(|line| line.starts_with("child:"))
        .unwrap();
    assert!(
        log[child - 2].contains("generation 0") && log[child - 2].ends_with("has \"\""),
        "{log:?}"
    );
    assert_eq!(log.last().unwrap(), "end of generation 2 with \"0;1;2;\"");
}

#[test]
fn a_next_program_that_is_killed_brings_the_previous_one_back() {
    for at in ["begin@1", "started@1", "retrieved@1", "verified@1"] {
        // `begin` can not know its generation: it dies wherever a handover is waiting.
        let die = if at == "begin@1" { "started@1" } else { at };
        let (log, events, status) = supervised("next next end", die);
        assert!(status.success(), "{at}: {log:?} {events:?}");
        let back = events
            .iter()
            .find(|event| matches!(event, Event::BroughtBack { .. }));
        let Some(Event::BroughtBack { reason, .. }) = back else {
            panic!("{at}: {events:?}")
        };
        assert!(reason.contains("signal 9"), "{reason}");
        // Generation 0 again, with all that it had handed over; then on as planned.
        assert!(
            log[1].contains("generation 0")
                && log[1].contains("has \"0;\" returned: the next program"),
            "{at}: {log:?}"
        );
        assert!(
            log[2].contains("generation 1") && log[2].ends_with("has \"0;\""),
            "{at}: {log:?}"
        );
        assert_eq!(
            log.last().unwrap(),
            "end of generation 2 with \"0;1;2;\"",
            "{at}"
        );
    }
}

#[test]
fn a_program_that_is_killed_after_it_finished_ends() {
    let (log, events, status) = supervised("next end", "finished@1");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "{log:?}"
    );
    assert!(
        events.contains(&Event::Finished)
            && !events
                .iter()
                .any(|event| matches!(event, Event::BroughtBack { .. })),
        "{events:?}"
    );
}

#[test]
fn a_supervisor_sees_what_happens() {
    let (log, events, status) = supervised("missing end", "");
    assert!(status.success(), "{log:?}");
    let kinds: Vec<_> = events
        .iter()
        .filter(|event| !matches!(event, Event::Started(_)))
        .collect();
    assert_eq!(
        kinds,
        [
            &Event::Sealed,
            &Event::CalledOff,
            &Event::Sealed,
            &Event::Finished
        ]
    );
    assert_eq!(
        log.last().unwrap(),
        "end of generation 1 with \"0;again;1;\""
    );
}

#[test]
fn a_ticket_that_leads_nowhere_is_an_error() {
    let check = |ticket: &str, words: &str| {
        let dir = tempfile::tempdir().unwrap();
        let output = command(dir.path(), "end", "")
            .env("KHO_HANDOVER", ticket)
            .output()
            .unwrap();
        let log = read_log(dir.path());
        assert_eq!(output.status.code(), Some(3), "{log:?}");
        assert!(log[0].contains(words), "{log:?}");
    };
    check("", "is no handover");
    check("{}", "missing field");
    let ticket = |arena: i32, format: &str| {
        format!(
            "{{\"format\":\"{format}\",\"process\":null,\"parent\":null,\"arena\":{arena},\"base\":0,\
             \"size\":4194304,\"fdt\":4096,\"scratch\":null,\"fds\":{{}},\"previous\":null,\"returned\":null,\"marks\":[]}}"
        )
    };
    check(&ticket(7, "kho-ticket-v9"), "found format `kho-ticket-v9`");
    check(&ticket(777, "kho-ticket-v1"), "descriptor 777");
    check(
        &ticket(1, "kho-ticket-v1"),
        "descriptor 1 is not one that is handed over",
    );
}

#[test]
fn a_start_error_reads_well() {
    let error = StartError::Ticket("found nothing".to_owned());
    assert_eq!(
        error.to_string(),
        "KHO_HANDOVER is no handover: found nothing"
    );
    let mut text = String::new();
    File::open("/proc/self/comm")
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(!text.is_empty());
}
