//! `kho run` over a program that has chosen no policy: this test's own executable, run as one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::{Command, Output};
use std::sync::Arc;

use kho_compat::{Component, Generation, Registry};
use kho_exec::{Config, FileRef, Host};
use kho_mem::PhysAddr;
use kho_memfd::MemFile;

const ROLE: &str = "KHO_TEST_ROLE";

/// The linked components, but for another version of `block`.
fn altered() -> &'static Registry {
    let linked = Registry::linked().unwrap();
    let components = linked.components().map(|component| -> &'static Component {
        if component.name != "block" {
            return component;
        }
        const TWO: &[Generation] = &[Generation::new(2)];
        Box::leak(Box::new(component.clone().generations(TWO)))
    });
    Box::leak(Box::new(Registry::new(components).unwrap()))
}

/// The program: the first one hands over to one of other versions, and ends when that came back; one that is told to
/// hang never finishes.
#[test]
fn program() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let is_next = std::env::args().any(|arg| arg == "next");
    let mut config = Config::new().arena(PhysAddr::new(1 << 32), 64 << 20);
    if is_next && role == "altered" {
        config = config.registry(altered());
    }
    let mut host = Host::start(config).unwrap();
    if is_next && role == "hang" {
        loop {
            std::thread::park();
        }
    }
    let file = match host.retrieve::<MemFile>("state", 1) {
        Ok(file) => file,
        // A policy that judges while it restores: here is the first it says.
        Err(error) => panic!("{}", host.hand_back(&error.to_string())),
    };
    host.finish().unwrap();
    if let Some(reason) = host.returned() {
        println!("returned: {reason}");
        std::process::exit(0);
    }
    if is_next {
        std::process::exit(0);
    }
    let file = file.unwrap_or_else(|| Arc::new(MemFile::new(host.arena())));
    file.write_at(0, b"state").unwrap();
    let mut next = Command::new(std::env::current_exe().unwrap());
    next.args(["--exact", "program", "--nocapture", "--skip", "next"]);
    panic!("{}", host.hand_over("state", [(1, file as FileRef)], next));
}

fn run(role: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kho"))
        .arg("run")
        .args(args)
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "program", "--nocapture"])
        .env(ROLE, role)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_policy_that_is_named_judges() {
    for (args, policy) in [
        (&[][..], "semver-range"),
        (&["--policy", "newest-common"], "newest-common"),
        (&["--policy", "check-at-restore"], "check-at-restore"),
    ] {
        let output = run("altered", args);
        let said = said(&output);
        let back = "refused and handed back, the previous program goes on: ";
        assert!(said.contains(back), "{policy}: {said}");
        assert!(!said.contains("is finished"), "{policy}: {said}");
        let returned = String::from_utf8_lossy(&output.stdout);
        assert!(returned.contains("returned: "), "{policy}: {returned}");
        assert!(returned.contains(policy), "{policy}: {returned}");
    }
    let output = run("altered", &["--policy", "best"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_takeover_says_that_it_is_finished() {
    let said = said(&run("plain", &[]));
    assert!(said.contains("the handover is finished"), "{said}");
    assert!(!said.contains("handed back"), "{said}");
}

#[test]
fn a_next_program_that_hangs_is_killed_after_the_time_that_is_given() {
    let said = said(&run("hang", &["--takeover-timeout", "1s"]));
    let killed = "the program had not finished after 1s, and was killed; ";
    assert!(said.contains(killed), "{said}");
    assert!(
        said.contains("the program that was brought back goes on"),
        "{said}"
    );
    for wrong in ["0s", "5", "s", "-1s", "1h", "99999999999999999999s", ""] {
        let output = run("plain", &["--takeover-timeout", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {output:?}");
    }
}
