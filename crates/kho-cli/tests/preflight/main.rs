//! `kho preflight`: every kind of thing that can be left and come to, what each shows, and what is
//! said of what can not be judged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

#[path = "../common/mod.rs"]
mod common;
mod defects;
mod journeys;
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

use common::{Temp, has, kho, text};
use kho_compat::file::{MARKER, ManifestFile};
use kho_testkit::kernel::{self, ALLOC, Section, elf, handler};
use kho_testkit::{Builder, MemfdSpec, Random, capture_path};
use serde_json::{Value, json};

/// A section of data: name, bytes.
fn section(name: &'static str, bytes: Vec<u8>) -> Section {
    Section(name, 1, ALLOC, bytes)
}

/// Handlers and FLBs as they are registered.
fn fields(names: &[&str]) -> Section {
    let bytes = names.iter().flat_map(|name| handler(name));
    section(".data", bytes.collect())
}

/// A vmlinux with these constants and registered handlers.
fn vmlinux(strings: &[&str], handlers: &[&str]) -> Vec<u8> {
    with_section(strings, handlers, &[])
}

fn with_section(strings: &[&str], handlers: &[&str], more: &[Section]) -> Vec<u8> {
    let mut sections = vec![
        section(".rodata", kernel::strings(strings)),
        fields(handlers),
    ];
    sections.extend(more.iter().cloned());
    elf(2, true, false, &sections)
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An x86 boot image around a gzipped `kernel`.
fn bzimage(bytes: &[u8]) -> Vec<u8> {
    kernel::bzimage(&gzip(bytes))
}

fn versions(texts: &[&str]) -> Section {
    section(".liveupdate_versions", kernel::versions(texts, false))
}

/// Each with its name, what is supported and active, and what is required.
fn features(entries: &[(&str, u64, u64)]) -> Section {
    let all = entries.iter();
    let all: Vec<_> = all.map(|(name, s, r)| (*name, *s, *r, *s)).collect();
    section(".liveupdate_features", kernel::features(&all, false))
}

/// A module with these registered handlers.
fn module(handlers: &[&str]) -> Vec<u8> {
    let info = section(".modinfo", kernel::texts(&["vermagic=7.3.4 SMP"]));
    elf(1, true, false, &[info, fields(handlers)])
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
