//! A dump that gets shorter while it is read, a disk that is full, and what a killed command leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Temp, has, kho, text};
use kho_testkit::{Builder, MemfdSpec};

/// A handover with a file of `len` bytes.
fn image(temp: &Temp, len: usize) -> String {
    let mut b = Builder::new();
    let contents = (0..len).map(|at| (at % 251) as u8 + 1).collect();
    b.session_of(
        "vm",
        &[MemfdSpec {
            order: 4,
            ..MemfdSpec::new(contents)
        }],
    );
    temp.file("core", b.finish().mem.to_elf())
}

/// The command, with a standard error that is full: it stops at the first line that it writes there, which is that
/// the image was opened. Whoever reads on lets it go on.
struct Stopped {
    child: Child,
    stderr: std::io::PipeReader,
    filled: usize,
}

impl Stopped {
    fn run(args: &[&str], image: &str) -> Self {
        let (stderr, mut writer) = std::io::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
        let filled = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
        writer.write_all(&vec![b' '; filled]).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kho"))
            .args(args)
            .arg("-vv")
            .stdout(Stdio::piped())
            .stderr(writer)
            .spawn()
            .unwrap();
        let proc = Path::new("/proc").join(child.id().to_string());
        let image = fs::canonicalize(image).unwrap();
        let since = Instant::now();
        loop {
            let maps = fs::read_to_string(proc.join("maps")).unwrap_or_default();
            let call = fs::read_to_string(proc.join("syscall")).unwrap_or_default();
            // In write(2) of standard error, with the image mapped.
            if maps.contains(image.to_str().unwrap()) && call.starts_with("1 0x2 ") {
                break;
            }
            assert!(since.elapsed() < Duration::from_secs(30), "{call}");
            std::thread::sleep(Duration::from_millis(1));
        }
        Self {
            child,
            stderr,
            filled,
        }
    }

    /// The exit code, and what it said.
    fn go_on(mut self) -> (Option<i32>, String) {
        let mut said = Vec::new();
        self.stderr.read_to_end(&mut said).unwrap();
        let ended = self.child.wait_with_output().unwrap();
        (ended.status.code(), text(&said[self.filled..]))
    }
}

fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_dump_that_gets_shorter_is_named_and_nothing_changes() {
    let temp = Temp::new("shrinks");
    let out = temp.path("out");
    temp.file("out/mine", "mine");
    for keep in [0, 5, 2] {
        for command in ["restore", "inspect", "hash"] {
            let path = image(&temp, 3 << 20);
            let args = match command {
                "restore" => vec!["restore", &path, "--out", &out],
                "hash" => vec!["inspect", &path, "--hash"],
                _ => vec!["inspect", &path],
            };
            let stopped = Stopped::run(&args, &path);
            let file = File::options().write(true).open(&path).unwrap();
            let len = file.metadata().unwrap().len();
            file.set_len(len * keep / 6 + keep).unwrap();
            let (code, said) = stopped.go_on();
            assert_eq!(code, Some(1), "{command}, {keep}: {said}");
            has(&said, &format!("{path}: was cut short while it was read"));
            assert_eq!(names(&out), ["mine"]);
        }
    }
}

#[test]
fn a_dump_that_grows_is_read_as_it_was() {
    let temp = Temp::new("grows");
    let (path, out) = (image(&temp, 1 << 20), temp.path("out"));
    let stopped = Stopped::run(&["restore", &path, "--out", &out], &path);
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&[1; 100]).unwrap();
    let (code, said) = stopped.go_on();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_a_killed_restore_leaves_is_cleared_by_the_next() {
    let temp = Temp::new("killed");
    let (path, out) = (image(&temp, 1 << 20), temp.path("out"));
    temp.file("out/mine", "mine");
    // Killed in the middle: its directory is there, with files in it.
    let left = |name: &str| {
        for part in ["new/vm", "old"] {
            fs::create_dir_all(Path::new(&out).join(name).join(part)).unwrap();
        }
        fs::write(Path::new(&out).join(name).join("new/vm/1.bin"), [1; 100]).unwrap();
    };
    left(".kho-writing-abc123");
    fs::create_dir(Path::new(&out).join(".kho-writing-empty0")).unwrap();
    // One that is in use.
    left(".kho-writing-inuse0");
    let used = File::open(Path::new(&out).join(".kho-writing-inuse0")).unwrap();
    rustix::fs::flock(&used, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // What is not ours, what is more than ours, and what somebody had before.
    fs::create_dir(Path::new(&out).join(".kho-writing")).unwrap();
    temp.file("out/.kho-writing-file00", "a file");
    temp.file("out/.kho-writing-other0/precious", "data");
    temp.file("out/.kho-writing-moved0/old/vm/1.bin", "data");
    let done = kho(&["restore", &path, "--out", &out]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    has(
        &text(&done.stderr),
        ".kho-writing-moved0 holds what an interrupted restore was to replace",
    );
    let expected = [
        ".kho-writing",
        ".kho-writing-file00",
        ".kho-writing-inuse0",
        ".kho-writing-moved0",
        ".kho-writing-other0",
        "manifest.json",
        "mine",
        "vm",
    ];
    assert_eq!(names(&out), expected);
}

#[test]
fn a_restore_that_is_killed_leaves_what_the_next_one_clears() {
    let temp = Temp::new("kill-9");
    let mut b = Builder::new();
    b.session_of("vm", &vec![MemfdSpec::new(vec![1; 100]); 200]);
    let path = temp.file("core", b.finish().mem.to_elf());
    let out = temp.path("out");
    fs::create_dir(&out).unwrap();
    // With -vvv it has more to say of its files than anybody reads, and waits.
    let (mut stderr, mut writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let filled = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
    writer.write_all(&vec![b' '; filled]).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kho"))
        .args(["restore", &path, "--out", &out, "-vvv"])
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let since = Instant::now();
    // Until its directory is there.
    while names(&out).is_empty() {
        assert!(since.elapsed() < Duration::from_secs(30));
        let mut some = [0; 64];
        let read = stderr.read(&mut some).unwrap();
        assert!(read > 0, "it ended");
    }
    let left = names(&out);
    assert!(
        left.len() == 1 && left[0].starts_with(".kho-writing-"),
        "{left:?}"
    );
    // Another one leaves it alone as long as it runs.
    let other = kho(&["restore", &path, "--out", &out]);
    assert!(other.status.success(), "{}", text(&other.stderr));
    assert_eq!(names(&out), [left[0].as_str(), "manifest.json", "vm"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let again = kho(&["restore", &path, "--out", &out, "--force"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(names(&out), ["manifest.json", "vm"]);
}
