//! `kho session` as far as it goes without a kernel that has /dev/liveupdate: what is wrong is said
//! before the kernel is asked, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod common;

use std::os::unix::fs::symlink;
use std::process::Output;

use common::{Temp, kho, text};
use serde_json::Value;

fn session(args: &[&str]) -> Output {
    kho(&[&["session"], args].concat())
}

/// It ends with `code`, and says each of `said` on standard error.
fn fails(args: &[&str], code: i32, said: &[&str]) {
    let output = session(args);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    for said in said {
        assert!(error.contains(said), "{args:?}: {said} in {error}");
    }
}

#[test]
fn names_are_checked_before_anything_else() {
    let long = "x".repeat(64);
    for (name, said) in [("", "is empty"), (long.as_str(), "has 64 bytes")] {
        fails(&["hold", name, "--file", "/nope"], 2, &[said, "1 to 63"]);
        fails(&["retrieve", name, "--out", "/nope"], 2, &[said, "1 to 63"]);
    }
}

#[test]
fn what_is_to_be_held_is_checked_before_the_kernel_is_asked() {
    let temp = Temp::new("hold");
    let file = temp.file("state", "x");
    let device = temp.path("none");
    let hold = |more: &[&str], code, said: &[&str]| {
        fails(
            &[&["hold", "vm", "--device", &device], more].concat(),
            code,
            said,
        );
    };
    hold(&[], 2, &["--fd", "--file"]);
    hold(
        &["--file", &temp.path("nope")],
        2,
        &["No such file", "--file"],
    );
    hold(
        &["--file", &temp.path("")],
        2,
        &["found a directory", "a regular file"],
    );
    hold(&["--file", "/dev/null"], 2, &["expected a regular file"]);
    hold(
        &["--fd", "77"],
        2,
        &["no such descriptor is open", "--fd 77"],
    );
    hold(&["--fd", "x"], 2, &["number of an open descriptor"]);
    hold(&["--fd", "1=x"], 2, &["64-bit number"]);
    let again = format!("{file}=0x1");
    hold(
        &["--file", &again, "--fd", "1=1"],
        2,
        &["token 0x1 is given to"],
    );
    hold(
        &["--file", &file, "--file", &format!("{file}=0")],
        2,
        &["needs its own"],
    );
    let huge = temp.path("huge");
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(1 << 42)
        .unwrap();
    hold(&["--file", &huge], 1, &["not enough memory", "4 TiB"]);
}

#[test]
fn a_machine_without_the_device_is_told_what_it_lacks() {
    let temp = Temp::new("no-device");
    let file = temp.file("state", "x");
    let (device, out) = (temp.path("none"), temp.path("out/deeper"));
    let said = ["CONFIG_LIVEUPDATE", "kho=on liveupdate=on", device.as_str()];
    let hold = ["hold", "vm", "--file", &file, "--device", &device];
    let retrieve = ["retrieve", "vm", "--out", &out, "--device", &device];
    fails(&hold, 1, &said);
    fails(&retrieve, 1, &said);
    for args in [&hold[..], &retrieve[..]] {
        let output = session(&[args, &["--json"]].concat());
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        let what = value["failure"]["what"].as_str().unwrap();
        assert!(what.contains("CONFIG_LIVEUPDATE"), "{value}");
    }
    let null = ["hold", "vm", "--file", &file, "--device", "/dev/null"];
    fails(
        &null,
        1,
        &["/dev/null: found a character device of major number 1"],
    );
    fails(
        &["hold", "vm", "--file", &file, "--device", &file],
        1,
        &["a regular file"],
    );
    // Nothing is left behind.
    let left = std::fs::read_dir(temp.path("")).unwrap().flatten();
    let left: Vec<_> = left.collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn nothing_is_overwritten_and_it_is_said_before_the_session_is_taken() {
    let temp = Temp::new("in-the-way");
    let (device, out) = (temp.path("none"), temp.path("out"));
    let retrieve = |name, code, said: &[&str]| {
        fails(
            &["retrieve", name, "--out", &out, "--device", &device],
            code,
            said,
        );
    };
    temp.file("out/vm/x", "");
    retrieve("vm", 1, &["out/vm exists already", "another directory"]);
    // A name that is no file name has another one.
    temp.file("out/%2E.%2Fa/x", "");
    retrieve("../a", 1, &["out/%2E.%2Fa exists already"]);
    retrieve("other", 1, &["CONFIG_LIVEUPDATE"]);
    temp.file("out/manifest.json", "{}");
    retrieve("other", 1, &["manifest.json exists already"]);
    let file = temp.file("file", "");
    let args = ["retrieve", "vm", "--out", &file, "--device", &device];
    fails(&args, 2, &["is not a directory"]);
}

#[test]
fn a_session_is_taken_over_from_a_process_that_has_it() {
    let temp = Temp::new("take-over");
    let process = std::process::id().to_string();
    let out = temp.path("out");
    let args = ["retrieve", "vm", "--out", &out, "--pid", &process];
    fails(
        &args,
        1,
        &["can not be taken over", "no session of that name open"],
    );
    let args = ["retrieve", "vm", "--out", &out, "--pid", "2147483647"];
    fails(&args, 1, &["can not be taken over from process 2147483647"]);
    fails(
        &["retrieve", "vm", "--out", &out, "--pid", "0"],
        2,
        &["--pid"],
    );
    fails(
        &["retrieve", "vm", "--out", &out, "--finish", "--no-finish"],
        2,
        &["cannot be used"],
    );
    fails(
        &["retrieve", "vm", "--out", &out, "--token", "x"],
        2,
        &["64-bit number"],
    );
}

#[test]
fn open_sessions_are_listed_and_that_others_can_not_be() {
    let temp = Temp::new("list");
    let root = temp.path("");
    let list = |more: &[&str]| session(&[&["list", "--root", &root], more].concat());
    assert_eq!(list(&[]).status.code(), Some(1), "without /proc");
    temp.file("proc/12/comm", "vmm\n");
    temp.file("proc/12/fd/.none", "");
    temp.file("proc/self", "");
    let output = list(&[]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    assert!(said.contains("no process has a session open"), "{said}");
    assert!(said.contains("interface can not list"), "{said}");
    symlink("anon_inode:[luo_session] vm 7", temp.path("proc/12/fd/9")).unwrap();
    symlink(
        "anon_inode:[luo_session] a\u{1b}[2J",
        temp.path("proc/12/fd/10"),
    )
    .unwrap();
    symlink("anon_inode:[eventpoll]", temp.path("proc/12/fd/11")).unwrap();
    symlink("anon_inode:[luo_session]", temp.path("proc/12/fd/12")).unwrap();
    let said = text(&list(&[]).stdout);
    assert!(said.contains("vm 7") && said.contains("vmm"), "{said}");
    assert!(
        !said.contains("\u{1b}[2J") && !said.contains("eventpoll"),
        "{said}"
    );
    let value: Value = serde_json::from_slice(&list(&["--json"]).stdout).unwrap();
    assert_eq!(value["sessions"].as_array().unwrap().len(), 2, "{value:#}");
    assert_eq!(value["sessions"][0]["name"], "vm 7");
    assert_eq!(value["sessions"][0]["pid"], 12);
    assert_eq!(value["sessions"][0]["fd"], 9);
    assert_eq!(value["complete"], false);
}
