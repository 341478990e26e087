//! Updates of a real program: this test's own executable, run as one. It keeps a counter in a
//! memfd and a pipe's end, and does what the environment says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod manager;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use kho_compat::{Component, Generation, Registry};
use kho_exec::{Config, Event, Host, StartError, supervise_within};
use kho_fd::FdFile;
use kho_luo::FileRef;
use kho_mem::PhysAddr;
use kho_memfd::MemFile;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
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
    let hangs = format!("hang:{here}");
    if wanted == hangs && !marker.exists() {
        fs::write(&marker, &hangs).unwrap();
        loop {
            std::thread::park();
        }
    }
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
        const TWO: &[Generation] = &[Generation::new(2)];
        let other = component.clone().generations(TWO);
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
    // One executable plays both programs: the altered one is told so by its arguments.
    if std::env::args().any(|arg| arg == "altered") {
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
    if host.is_incoming() {
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
    // What came back goes on by itself, or tries once more where the next one died.
    let turn = match &returned {
        Some(_) if dir.join("died").exists() => "next",
        Some(_) => "end",
        None => plan.get(generation as usize).copied().unwrap_or("end"),
    };
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
    match turn {
        "end" => {}
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
        "prepare" => {
            // What is under way is waited for.
            host.prepare();
            panic!("{}", host.hand_over(SESSION, files(), this()));
        }
        "sleep" => {
            std::thread::sleep(Duration::from_millis(1500));
            panic!("{}", host.hand_over(SESSION, files(), this()));
        }
        "unsupervised" => {
            assert!(!host.is_supervised());
            log(
                &dir,
                &format!("went on: {}", host.hand_over(SESSION, files(), this())),
            );
            panic!("{}", host.hand_over(SESSION, files(), this()));
        }
        "broken" => {
            // Found, and executable as far as can be seen before the exec.
            let path = dir.join("broken");
            fs::write(&path, "no program").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            let error = host.hand_over(SESSION, files(), Command::new(path));
            log(&dir, &format!("went on: {error}"));
            counter.write_at(counter.size(), b"again;").unwrap();
            let error = host.hand_over(SESSION, files(), this());
            panic!("{error}");
        }
        "altered" => {
            let mut next = this();
            next.args(["--skip", "altered"]);
            let error = host.hand_over(SESSION, files(), next);
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
    supervised_within(plan, die, None)
}

fn supervised_within(
    plan: &str,
    die: &str,
    takeover: Option<Duration>,
) -> (Vec<String>, Vec<Event>, ExitStatus) {
    let dir = tempfile::tempdir().unwrap();
    let events = Mutex::new(Vec::new());
    let status = supervise_within(command(dir.path(), plan, die), takeover, |event| {
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
    let (log, output) = run("next prepare end");
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
    let (log, output) = run("altered end");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(process_of(&log[0]), process_of(&log[1]));
    assert!(
        log[1].starts_with("generation 0 ")
            && log[1].contains("has \"0;\" returned: refused by policy"),
        "{log:?}"
    );
    assert!(
        log[1].contains("block-v1 is not restorable here, only block-v2"),
        "{log:?}"
    );
    assert_eq!(log.last().unwrap(), "end of generation 0 with \"0;\"");
}

#[test]
fn what_is_refused_under_a_supervisor_comes_back_without_it() {
    let (log, events, status) = supervised("altered end", "");
    assert!(status.success(), "{log:?}");
    assert_eq!(log.last().unwrap(), "end of generation 0 with \"0;\"");
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::BroughtBack { .. })),
        "{events:?}"
    );
    let Some(Event::HandedBack { reason }) = events.last() else {
        panic!("{events:?}")
    };
    assert!(
        reason.contains("block-v1 is not restorable here"),
        "{reason}"
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
        assert!(
            reason.contains("ended before it had finished: signal 9"),
            "{reason}"
        );
        let told = [
            events.iter().position(|event| *event == Event::WentOn),
            events.iter().position(|event| *event == Event::Finished),
        ];
        assert!(told[0].is_some() && told[0] < told[1], "{at}: {events:?}");
        // Generation 0 again, with all that it had handed over; then on as planned.
        assert!(
            log[1].contains("generation 0") && log[1].contains("has \"0;\" returned: the program"),
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
fn a_next_program_that_hangs_before_it_has_finished_is_killed() {
    for at in ["started@1", "verified@1"] {
        let takeover = Some(Duration::from_millis(1500));
        let (log, events, status) =
            supervised_within("next next end", &format!("hang:{at}"), takeover);
        assert!(status.success(), "{at}: {log:?} {events:?}");
        let back = events.iter().find_map(|event| match event {
            Event::BroughtBack { reason, .. } => Some(reason.as_str()),
            _ => None,
        });
        let wanted = "the program had not finished after 1.5s, and was killed";
        assert_eq!(back, Some(wanted), "{at}: {events:?}");
        assert!(
            log[1].contains("generation 0") && log[1].ends_with(wanted),
            "{at}: {log:?}"
        );
        assert_eq!(
            log.last().unwrap(),
            "end of generation 2 with \"0;1;2;\"",
            "{at}"
        );
    }
    // One that has finished may run as long as it wants.
    let takeover = Some(Duration::from_millis(1000));
    let (log, events, status) = supervised_within("next sleep next end", "", takeover);
    assert!(status.success(), "{log:?} {events:?}");
    assert_eq!(log.last().unwrap(), "end of generation 3 with \"0;1;2;3;\"");
}

#[test]
fn a_program_whose_supervisor_has_ended_says_so_and_goes_on_without() {
    let dir = tempfile::tempdir().unwrap();
    // A supervisor that ends at once: a socket whose other end is closed.
    let (here, there) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    drop(here);
    let mut command = command(dir.path(), "unsupervised end", "");
    command.env("KHO_SUPERVISOR", format!("9:{}", std::process::id()));
    let mapping = FdMapping {
        parent_fd: there,
        child_fd: 9,
    };
    command.fd_mappings(vec![mapping]).unwrap();
    let output = command.output().unwrap();
    let log = read_log(dir.path());
    assert!(output.status.success(), "{log:?} {output:?}");
    let process = process_of(&log[0]);
    let said = format!("went on: the supervisor has ended: process {process} (");
    assert!(
        log[1].starts_with(&said) && log[1].contains("runs on unsupervised"),
        "{log:?}"
    );
    assert!(log[1].contains("`kho run -- "), "{log:?}");
    assert_eq!(log.last().unwrap(), "end of generation 1 with \"0;1;\"");
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
    let (log, events, status) = supervised("broken end", "");
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
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(ticket.as_bytes()).unwrap();
        let mut command = command(dir.path(), "end", "");
        command.env("KHO_HANDOVER", format!("parent:{}:9", std::process::id()));
        let mapping = FdMapping {
            parent_fd: file.into(),
            child_fd: 9,
        };
        command.fd_mappings(vec![mapping]).unwrap();
        let output = command.output().unwrap();
        let log = read_log(dir.path());
        assert_eq!(output.status.code(), Some(3), "{log:?}");
        assert!(log[0].contains(words), "{log:?}");
    };
    check("", "is no handover");
    check("1 2 3\n{}", "missing field");
    check(
        "\n{\"format\":\"kho-ticket-v9\"}",
        "found format `kho-ticket-v9`",
    );
    let ticket = |arena: i32| {
        format!(
            "{arena} \n{{\"format\":\"kho-ticket-v1\",\"previous\":null,\"arena\":{arena},\"base\":0,\
             \"size\":4194304,\"fdt\":4096,\"scratch\":null,\"fds\":{{}},\"marks\":[]}}"
        )
    };
    check(&ticket(777), "descriptor 777, the arena, was not inherited");
    check(&ticket(1), "descriptor 1, the arena, was not inherited");
    check(&ticket(-5), "descriptor -5, the arena, was not inherited");
}

#[test]
fn an_old_environment_is_no_handover() {
    // What a program leaves in its environment after an update, or gives to its children.
    for text in ["", "process:1:9", "process:x:y:z", "nonsense", "parent:1:3"] {
        let dir = tempfile::tempdir().unwrap();
        let output = command(dir.path(), "end", "")
            .env("KHO_HANDOVER", text)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{text}: {:?}",
            read_log(dir.path())
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let ours = format!("parent:{}:99", std::process::id());
    let output = command(dir.path(), "end", "")
        .env("KHO_HANDOVER", ours)
        .output()
        .unwrap();
    assert!(output.status.success(), "descriptor 99 was not inherited");
}

#[test]
fn a_start_error_reads_well() {
    let error = StartError::Ticket("found nothing".to_owned());
    assert_eq!(
        error.to_string(),
        "KHO_HANDOVER is no handover: found nothing"
    );
}
