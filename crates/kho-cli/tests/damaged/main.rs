//! Damaged handovers, one defect each, made from real captures and from built ones: `kho restore`
//! refuses each with exit code 1 and a message that names the defect, within a bounded address
//! space, and leaves nothing behind.
//!
//! Each defect is a test. `cargo test -p kho-cli --test damaged tracker::lost` runs some of them, and
//! `-- --show-output` shows what the command says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kho_testkit::{Anatomy, FileAt, Memory};

/// Tests of one image each, and what stands in the message.
macro_rules! refused {
    ($($name:ident: $expect:expr, $image:expr;)+) => {
        $(#[test]
        fn $name() {
            crate::refuses(concat!(module_path!(), "::", stringify!($name)), &$image, &$expect);
        })+
    };
}

/// Tests of one defect each: what stands in the message, and what is changed in the memory of a capture.
macro_rules! damaged {
    ($capture:expr; $($name:ident: $expect:expr, $damage:expr;)+) => {
        refused! { $($name: $expect, crate::changed(&$capture, $damage);)+ }
    };
}

/// As `damaged`, with a handover that is built.
macro_rules! built {
    ($($name:ident: $expect:expr, $make:expr;)+) => {
        refused! { $($name: $expect, ($make)().to_elf();)+ }
    };
}

/// As `damaged`, with something changed in the bytes of a capture's file.
macro_rules! file {
    ($($name:ident: $expect:expr, $damage:expr;)+) => {
        refused! { $($name: $expect, crate::changed_file($damage);)+ }
    };
}

/// The usual things that happen to an address: where it stands, and what else is used already.
macro_rules! address {
    ($capture:expr; $($name:ident: $place:expr, $shared:expr;)+) => {
        $(mod $name {
            use kho_testkit::{Anatomy, Memory};

            use super::*;

            fn to(value: fn(u64, &Anatomy) -> u64) -> impl Fn(&mut Memory, &Anatomy) {
                let place: fn(&Anatomy) -> u64 = $place;
                move |m, a| m.set_u64(place(a), value(m.u64(place(a)), a))
            }

            damaged! { $capture;
                unaligned: ["not aligned"], to(|addr, _| addr + 1);
                outside: ["not preserved"], to(|_, _| 0x7000_0000_0000);
                wrapping: ["not preserved"], to(|_, _| 0xffff_ffff_ffff_f000);
                in_memory_not_preserved: ["not preserved"], to(|_, a| a.level(0).pa);
                shared: ["is shared"], to(|_, a| ($shared as fn(&Anatomy) -> u64)(a));
            }
        })+
    };
}

mod blocks;
mod device_tree;
mod files;
mod folios;
mod luo;
mod memblock;
mod memfds;
mod scratch;
mod sessions;
mod subtrees;
mod tracker;
mod vmalloc;

/// A capture that defects are made in: its name, where its root FDT is by its facts, and its memory, unpacked once.
struct Capture {
    name: &'static str,
    fdt: u64,
    unpacked: OnceLock<(Memory, Anatomy)>,
}

impl Capture {
    const fn new(name: &'static str, fdt: u64) -> Self {
        let unpacked = OnceLock::new();
        Self {
            name,
            fdt,
            unpacked,
        }
    }

    fn get(&self) -> &(Memory, Anatomy) {
        self.unpacked.get_or_init(|| {
            let mem = kho_testkit::capture(self.name);
            let anatomy = Anatomy::of(&mem, self.fdt);
            (mem, anatomy)
        })
    }
}

static SMALL: Capture = Capture::new("small", 0x1dc_c000);
static FILES: Capture = Capture::new("files", 0x1dc_c000);
static SESSIONS: Capture = Capture::new("sessions", 0x1dc_c000);
static THP: Capture = Capture::new("thp", 0x1dd_e000);

/// The file whose state is damaged.
fn file_of(a: &Anatomy) -> &FileAt {
    &a.sessions[1].files[2]
}

/// A capture with something changed in its memory.
fn changed(capture: &Capture, damage: impl FnOnce(&mut Memory, &Anatomy)) -> Vec<u8> {
    let (mem, anatomy) = capture.get();
    let mut mem = mem.clone();
    damage(&mut mem, anatomy);
    mem.to_elf()
}

/// A capture's file with something changed in its bytes.
fn changed_file(damage: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = SMALL.get().0.to_elf();
    damage(&mut bytes);
    bytes
}

/// Runs the command with 256 MiB of address space, and ends it if it does not end by itself.
fn run(image: &Path, out: &Path) -> Output {
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -v 262144; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_kho"),
            "restore",
        ])
        .args([image, Path::new("--out"), out])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let since = Instant::now();
    // Messages are short: the pipes can not fill up while we wait.
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > Duration::from_secs(30) {
            child.kill().ok();
            panic!("did not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// `kho restore` refuses `image` with a message in which all of `expect` stands, and leaves nothing behind.
#[track_caller]
fn refuses(name: &str, image: &[u8], expect: &[&str]) {
    let dir = std::env::temp_dir().join(format!(
        "kho-{}-{}",
        name.replace("::", "-"),
        std::process::id(),
    ));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("image");
    std::fs::write(&path, image).unwrap();
    // Into a directory that has something, which must stay as it is, and into one not there yet.
    let kept = dir.join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("precious"), "data").unwrap();
    for out in [kept.clone(), dir.join("new/deeper")] {
        let output = run(&path, &out);
        let text = String::from_utf8_lossy(&output.stderr);
        println!("{text}");
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            !text.contains("panicked") && output.stdout.is_empty(),
            "{text}"
        );
        let missing = expect.iter().find(|expected| !text.contains(**expected));
        assert_eq!(missing, None, "not in: {text}");
    }
    let names = |dir: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&dir), ["image", "kept"], "left behind");
    assert_eq!(names(&kept), ["precious"], "left behind");
    std::fs::remove_dir_all(&dir).unwrap();
}
