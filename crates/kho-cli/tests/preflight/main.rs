//! `kho preflight`: every kind of thing that can be left and come to, what each shows, and what is
//! said of what can not be judged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

#[path = "../common/mod.rs"]
mod common;
mod kernels;
mod manifests;
mod programs;
mod running;
mod unjudged;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{Temp, kho, text};
use kho_compat::file::{MARKER, ManifestFile};
use kho_testkit::{Builder, MemfdSpec, Random, capture_path};
use serde_json::{Value, json};

const BANNER: &str = "Linux version 7.3.4 (a@b) (gcc) #1 SMP";

const ALLOC: u64 = 2;

/// A section: name, bytes.
type Section = (&'static str, Vec<u8>);

/// An ELF file with `sections`, all of them data.
fn elf(kind: u16, sections: &[Section]) -> Vec<u8> {
    let mut names = vec![0];
    let mut body = vec![0; 0x200];
    let mut headers = vec![0; 64];
    let mut header = |name: usize, kind: u32, flags: u64, addr: u64, offset: usize, len: usize| {
        headers.extend((name as u32).to_le_bytes());
        headers.extend(kind.to_le_bytes());
        for value in [flags, addr, offset as u64, len as u64, 0, 1, 0] {
            headers.extend(value.to_le_bytes());
        }
    };
    for (index, (name, bytes)) in sections.iter().enumerate() {
        body.resize(body.len().next_multiple_of(16), 0);
        let addr = 0xffff_ffff_8100_0000 + index as u64 * 0x1_0000;
        header(names.len(), 1, ALLOC, addr, body.len(), bytes.len());
        names.extend(name.bytes().chain([0]));
        body.extend(bytes);
    }
    let own = names.len();
    names.extend(b".shstrtab\0");
    header(own, 3, 0, 0, body.len(), names.len());
    body.extend(names);
    let table = body.len() as u64;
    body.extend(headers);
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    head.extend(kind.to_le_bytes());
    head.extend(62u16.to_le_bytes());
    head.extend(1u32.to_le_bytes());
    for value in [0, 0, table] {
        head.extend(value.to_le_bytes());
    }
    head.extend([0; 4]);
    for value in [
        64u16,
        0,
        0,
        64,
        sections.len() as u16 + 2,
        sections.len() as u16 + 1,
    ] {
        head.extend(value.to_le_bytes());
    }
    body[..head.len()].copy_from_slice(&head);
    body
}

fn constants(texts: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in texts {
        bytes.extend(text.bytes().chain([0]));
    }
    bytes
}

/// Handlers and FLBs as they are registered: behind a pointer, in 48 bytes.
fn fields(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend(0xffff_ffff_8141_f360u64.to_le_bytes());
        let end = bytes.len() + 48;
        bytes.extend(text.bytes());
        bytes.resize(end, 0);
    }
    bytes.extend(0xffff_ffff_8169_ac98u64.to_le_bytes());
    bytes
}

/// A vmlinux with these constants and registered handlers.
fn vmlinux(strings: &[&str], handlers: &[&str]) -> Vec<u8> {
    with_section(strings, handlers, &[])
}

fn with_section(strings: &[&str], handlers: &[&str], more: &[Section]) -> Vec<u8> {
    let mut sections = vec![
        (".rodata", constants(&[&[BANNER], strings].concat())),
        (".data", fields(handlers)),
    ];
    sections.extend(more.iter().cloned());
    elf(2, &sections)
}

const CORE: &[&str] = &["kho-v4", "luo-v5", "memblock-v1", "reserve-mem-v1"];

const FLBS: &[&str] = &[
    "liveupdate-test-flb-v0",
    "liveupdate-test-flb-v1",
    "liveupdate-test-flb-v2",
];

/// What Linux 7.3.4 with its tests shows, with other handlers.
fn linux(handlers: &[&str]) -> Vec<u8> {
    vmlinux(CORE, &[handlers, FLBS].concat())
}

/// An x86 boot image around a gzipped `kernel`.
fn bzimage(kernel: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(kernel).unwrap();
    let payload = encoder.finish().unwrap();
    let mut image = vec![0; 0x400];
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend(payload);
    image
}

fn header_of_section() -> Vec<u8> {
    [0x4c56_5550u32.to_le_bytes(), 1u32.to_le_bytes()].concat()
}

fn versions(texts: &[&str]) -> Section {
    let mut bytes = header_of_section();
    for text in texts {
        let end = bytes.len() + 48;
        bytes.extend(text.bytes());
        bytes.resize(end, 0);
    }
    (".liveupdate_versions", bytes)
}

fn features(entries: &[(&str, u64, u64)]) -> Section {
    let mut bytes = header_of_section();
    for (name, supported, required) in entries {
        let end = bytes.len() + 48;
        bytes.extend(name.bytes());
        bytes.resize(end, 0);
        bytes.extend(4u64.to_le_bytes());
        for word in [supported, required, supported] {
            bytes.extend(word.to_le_bytes());
        }
    }
    (".liveupdate_features", bytes)
}

/// A module with these registered handlers.
fn module(handlers: &[&str]) -> Vec<u8> {
    let info = constants(&["vermagic=7.3.4 SMP"]);
    elf(1, &[(".modinfo", info), (".data", fields(handlers))])
}

fn manifest(components: Value) -> Value {
    json!({ "format": "kho-manifest-v1", "name": "release 1", "components": components })
}

fn capture(name: &str) -> String {
    let path = capture_path(&format!("{name}.core.zst"));
    path.to_str().unwrap().to_owned()
}

fn preflight(from: &str, to: &str, more: &[&str]) -> Output {
    kho(&[&["preflight", "--from", from, "--to", to], more].concat())
}

/// The exit code and the report. A verdict has nothing on standard error, and is the same for a person.
#[track_caller]
fn report(from: &str, to: &str, more: &[&str]) -> (i32, Value) {
    let output = preflight(from, to, &[more, &["--json"]].concat());
    assert_eq!(text(&output.stderr), "");
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = output.status.code().unwrap();
    let decision = match code {
        0 => "accept",
        1 => "reject",
        _ => "degrade",
    };
    assert_eq!(value["decision"], decision, "{value:#}");
    assert_eq!(value["verdict"]["decision"], decision);
    let human = preflight(from, to, more);
    assert_eq!(human.status.code(), Some(code));
    let said = text(&human.stdout);
    assert!(said.contains(&format!("verdict: {decision}")), "{said}");
    assert!(!said.contains('\x1b'), "{said}");
    (code, value)
}

#[track_caller]
fn code(from: &str, to: &str, more: &[&str]) -> i32 {
    report(from, to, more).0
}

#[track_caller]
fn finding<'v>(value: &'v Value, found: &str) -> &'v Value {
    let all = value["verdict"]["findings"].as_array().unwrap();
    let of_it = all.iter().find(|finding| finding["found"] == found);
    of_it.unwrap_or_else(|| panic!("no finding about {found} in {value:#}"))
}

#[track_caller]
fn said(value: &Value, part: &str) {
    let all = value.to_string();
    assert!(all.contains(part), "{part:?} in {value:#}");
}

/// What can not be judged: exit code, a reason on standard error that has `parts`, the same as JSON.
#[track_caller]
fn refused(from: &str, to: &str, expected: i32, parts: &[&str]) {
    let output = preflight(from, to, &[]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(expected), "{error}");
    assert_eq!(text(&output.stdout), "");
    assert!(!error.contains("panicked"), "{error}");
    for part in parts {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    let output = preflight(from, to, &["--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value["failure"]["what"].is_string(), "{value:#}");
    assert!(value.get("verdict").is_none() && value.get("decision").is_none());
}
