//! `kho preflight`: every kind of thing that can be left and come to, what each shows, and what is
//! said of what can not be judged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

mod common;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{Temp, kho, text};
use kho_compat::file::{MARKER, ManifestFile};
use kho_testkit::{Builder, MemfdSpec, Random, capture_path};
use serde_json::{Value, json};

// ---- Making kernels

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

fn capture(name: &str) -> String {
    let path = capture_path(&format!("{name}.core.zst"));
    path.to_str().unwrap().to_owned()
}

// ---- Asking

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

// ---- Kernels

#[test]
fn a_kernel_takes_over_from_itself() {
    let temp = Temp::new("same");
    let kernel = linux(&["memfd-v2"]);
    let plain = temp.file("vmlinux", &kernel);
    let packed = temp.file("bzImage", bzimage(&kernel));
    let (code, value) = report(&packed, &plain, &[]);
    assert_eq!(code, 0);
    assert_eq!(value["from"]["kind"], "kernel-image");
    assert_eq!(value["from"]["release"], "7.3.4");
    assert_eq!(value["from"]["arch"], "x86_64");
    assert_eq!(value["from"]["form"], "x86 boot image, gzip");
    assert_eq!(value["to"]["form"], "vmlinux");
    assert_eq!(value["to"]["evidence"], json!(["strings in its data"]));
    let memfd = finding(&value, "memfd-v2");
    assert_eq!(memfd["outcome"], "restorable");
    assert_eq!(memfd["where"]["what"], ".data");
    assert_eq!(
        memfd["expected_where"][0]["file_offset"],
        memfd["where"]["file_offset"]
    );
    assert_eq!(value["losses"]["sessions"], 0);
    // What has no string is not judged, and said not to be.
    said(&value, "kexec metadata's version and subtrees");
    // Under every policy.
    for policy in kho_compat::policy::ALL {
        assert_eq!(report(&plain, &packed, &["--policy", policy.name()]).0, 0);
    }
}

#[test]
fn another_luo_is_a_panic() {
    let temp = Temp::new("luo");
    let this = temp.file("this", bzimage(&linux(&["memfd-v2"])));
    let next = vmlinux(&["kho-v4", "luo-v6", "memblock-v1", "reserve-mem-v1"], &[]);
    let next = temp.file("next", bzimage(&next));
    let (code, value) = report(&this, &next, &[]);
    assert_eq!(code, 1);
    let luo = finding(&value, "luo-v5");
    assert_eq!(
        (&luo["expected"], &luo["outcome"]),
        (&json!("luo-v6"), &json!("rejected"))
    );
    assert_eq!(luo["expected_where"][0]["what"], ".rodata");
    assert!(
        value["consequence"]
            .as_str()
            .unwrap()
            .contains("kernel panic")
    );
    assert_eq!(value["losses"]["machine"], true);
    assert_eq!(value["losses"]["sessions"], Value::Null);
    // With what is in use known, it is counted.
    let (code, value) = report(&capture("small"), &next, &[]);
    assert_eq!(code, 1);
    let losses = &value["losses"];
    assert_eq!(losses["machine"], true);
    assert_eq!(
        (&losses["sessions"], &losses["files"]),
        (&json!(3), &json!(12))
    );
    assert!(losses["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn what_is_not_in_use_is_not_judged() {
    let temp = Temp::new("use");
    let next = temp.file("next", linux(&["memfd-v3"]));
    assert_eq!(code(&capture("none"), &next, &[]), 0);
    let (code, value) = report(&capture("files"), &next, &[]);
    assert_eq!(code, 1);
    let memfd = finding(&value, "memfd-v2");
    assert_eq!(memfd["expected"], "memfd-v3");
    assert!(memfd["consequence"].as_str().unwrap().contains("EIO"));
    assert_eq!(memfd["files"]["files"], 200);
    assert!(memfd["where"]["address"].is_u64());
    let losses = &value["losses"];
    assert_eq!(
        (&losses["sessions"], &losses["files"]),
        (&json!(2), &json!(200))
    );
    assert_eq!(losses["handlers"][0]["files"], 200);
    assert_eq!(losses["machine"], false);
    // A kernel's image says what it could use: all of it counts.
    let this = temp.file("this", linux(&["memfd-v2"]));
    assert_eq!(report(&this, &next, &[]).0, 1);
    let human = text(&preflight(&capture("files"), &next, &[]).stdout);
    for part in [
        "file handler `memfd-v2`: memfd-v2 is not restorable there, only memfd-v3",
        "lost: all sessions: 2 sessions, 200 files, ",
        "lost: of these, files of handler `memfd-v2`: 200 files, ",
        "memfd-v2 (200 times)",
    ] {
        assert!(human.contains(part), "{part:?} in {human}");
    }
}

#[test]
fn another_root_loses_everything_in_silence() {
    let temp = Temp::new("root");
    let next = temp.file("next", vmlinux(&["kho-v5", "luo-v5"], &["memfd-v2"]));
    let (code, value) = report(&capture("thp"), &next, &[]);
    assert_eq!(code, 1);
    said(&value, "boots as if nothing had been handed over");
    assert_eq!(value["losses"]["all_preserved_state"], true);
    assert_eq!(value["losses"]["machine"], false);
    assert_eq!(value["losses"]["files"], 3);
    assert!(value["losses"]["preserved_pages"].as_u64().unwrap() > 4000);
}

#[test]
fn several_versions_of_one_name_are_all_restorable() {
    let temp = Temp::new("several");
    let older = temp.file("older", linux(&["memfd-v1"]));
    let both = temp.file("both", linux(&["memfd-v1", "memfd-v2"]));
    let gap = temp.file("gap", linux(&["memfd-v1", "memfd-v3"]));
    let one = temp.file("one", linux(&["memfd-v2"]));
    assert_eq!(code(&older, &both, &[]), 0);
    assert_eq!(code(&one, &both, &[]), 0);
    // Both ways only from the newest: it is what is written.
    assert_eq!(code(&both, &one, &[]), 0);
    assert_eq!(code(&both, &older, &[]), 1);
    // What lies between two versions is none of them.
    let (code_of, value) = report(&one, &gap, &[]);
    assert_eq!(code_of, 1);
    assert_eq!(
        finding(&value, "memfd-v2")["expected"],
        "memfd-v1 or memfd-v3"
    );
    said(&value, "versions that do not follow each other: memfd");
    assert_eq!(code(&older, &gap, &[]), 0);
}

#[test]
fn an_flb_that_the_next_kernel_lacks_degrades() {
    let temp = Temp::new("flb");
    let next = temp.file("next", vmlinux(CORE, &["memfd-v2", FLBS[0], FLBS[2]]));
    for from in [capture("small"), temp.file("this", linux(&["memfd-v2"]))] {
        let (code, value) = report(&from, &next, &[]);
        assert_eq!(code, 3);
        assert_eq!(finding(&value, FLBS[1])["outcome"], "lost");
        assert_eq!(finding(&value, FLBS[2])["outcome"], "restorable");
        assert_eq!(value["losses"]["sessions"], 0);
    }
    // So does memblock.
    let next = temp.file(
        "no-memblock",
        vmlinux(&["kho-v4", "luo-v5"], &[&["memfd-v2"], FLBS].concat()),
    );
    let (code, value) = report(&capture("reserve"), &next, &[]);
    assert_eq!(code, 3);
    assert_eq!(finding(&value, "memblock-v1")["outcome"], "lost");
}

#[test]
fn metadata_of_another_version_does_not_show_in_an_image() {
    let temp = Temp::new("metadata");
    let mut b = Builder::new();
    b.metadata(2, "9.9", 1);
    b.session_of("s", &[MemfdSpec::new(vec![1; 100])]);
    let dump = temp.file("dump", b.finish().mem.to_elf());
    let next = temp.file("next", linux(&["memfd-v2"]));
    let (code_of, value) = report(&dump, &next, &[]);
    assert_eq!(code_of, 0);
    said(&value, "kexec metadata `kexec-metadata-v2`");
    // Who knows of it is asked.
    let (code, value) = report(&dump, env!("CARGO_BIN_EXE_kho"), &[]);
    assert_eq!(code, 3);
    assert_eq!(finding(&value, "kexec-metadata-v2")["outcome"], "lost");
}

#[test]
fn kernels_without_kho_or_luo() {
    let temp = Temp::new("without");
    let none = temp.file("none", vmlinux(&["memblock-v1"], &[]));
    let this = temp.file("this", linux(&["memfd-v2"]));
    let (code_of, value) = report(&capture("small"), &none, &[]);
    assert_eq!(code_of, 1);
    said(&value, "the next kernel has no KHO");
    said(
        &value,
        "boots as if nothing had been handed over: all preserved state is lost",
    );
    assert_eq!(value["losses"]["files"], 12);
    assert_eq!(value["to"]["kho"], false);
    let (code_of, value) = report(&none, &this, &[]);
    assert_eq!(code_of, 0);
    said(&value, "nothing is handed over");
    assert_eq!(code(&none, &none, &[]), 0);

    let no_luo = temp.file("no-luo", vmlinux(&["kho-v4", "memblock-v1"], &[]));
    let (code_of, value) = report(&capture("small"), &no_luo, &[]);
    assert_eq!(code_of, 1);
    said(&value, "nothing in its image shows LUO");
    assert!(!value.to_string().contains("panic"), "{value:#}");
    assert_eq!(value["losses"]["sessions"], 3);
    assert_eq!(value["losses"]["machine"], false);
    assert_eq!(code(&capture("none"), &no_luo, &[]), 0);

    // KHO that shows in its traces alone: nobody can tell which version.
    let traces = temp.file("traces", vmlinux(&["preserved-memory-map"], &[]));
    let (code_of, value) = report(&traces, &this, &[]);
    assert_eq!(code_of, 0);
    said(&value, "the root FDT's version");
    assert_eq!(code(&traces, &none, &[]), 1);
    let hidden = temp.file(
        "hidden",
        vmlinux(&["preserved-memory-map", "luo-v5"], &["memfd-v2"]),
    );
    let (code_of, value) = report(&this, &hidden, &[]);
    assert_eq!(code_of, 1);
    said(&value, "which version does not show in its image");
}

#[test]
fn composite_strings_are_judged_part_by_part() {
    let temp = Temp::new("composite");
    let composite = |block: &str| {
        let luo = format!("luo-v5;block-v{block}");
        vmlinux(
            &["kho-v4;radix-v1;vmalloc-v1", &luo],
            &["memfd-v2;vmalloc-v1"],
        )
    };
    let one = temp.file("one", composite("1"));
    let two = temp.file("two", composite("2"));
    assert_eq!(code(&one, &one, &["--policy", "composite-exact"]), 0);
    let (code_of, value) = report(&one, &two, &[]);
    assert_eq!(code_of, 1);
    said(&value, "block-v1 is not restorable there, only block-v2");
    assert_eq!(
        finding(&value, "kho-v4;radix-v1;vmalloc-v1")["outcome"],
        "restorable"
    );
    let (code_of, value) = report(&one, &two, &["--policy", "composite-exact"]);
    assert_eq!(code_of, 1);
    assert_eq!(
        finding(&value, "luo-v5;block-v1")["expected"],
        "luo-v5;block-v2"
    );
    // A kernel of plain strings knows no parts.
    let plain = temp.file("plain", linux(&["memfd-v2"]));
    assert_eq!(code(&one, &plain, &[]), 1);
    // A program writes what the next one shows.
    let kho = env!("CARGO_BIN_EXE_kho");
    let (_, value) = report(kho, &plain, &[]);
    assert_eq!(finding(&value, "luo-v5")["outcome"], "restorable");
    let (_, value) = report(kho, &one, &[]);
    assert_eq!(finding(&value, "luo-v5;block-v1")["outcome"], "restorable");
    let (_, value) = report(kho, &two, &[]);
    assert_eq!(finding(&value, "luo-v5;block-v1")["outcome"], "rejected");
}

#[test]
fn sections_are_the_evidence() {
    let temp = Temp::new("sections");
    let this = temp.file("this", linux(&["memfd-v2"]));
    let listed = with_section(
        &["kho-v4", "luo-v5", "memblock-v1", "reserve-mem-v1"],
        &["memfd-v2"],
        &[versions(&[
            "luo-v5", "luo-v6", "memfd-v3", FLBS[0], FLBS[1], FLBS[2],
        ])],
    );
    let next = temp.file("next", listed);
    let (code_of, value) = report(&this, &next, &[]);
    assert_eq!(code_of, 1);
    said(&value, "section .liveupdate_versions");
    assert_eq!(finding(&value, "luo-v5")["outcome"], "restorable");
    // The string stands in the image, but the section does not list it.
    assert_eq!(finding(&value, "memfd-v2")["expected"], "memfd-v3");
    assert_eq!(
        finding(&value, "memfd-v2")["expected_where"][0]["what"],
        ".liveupdate_versions"
    );
}

#[test]
fn masks_are_judged_where_both_sides_have_them() {
    let temp = Temp::new("masks");
    let kernel = |luo: (u64, u64), memfd: (u64, u64)| {
        let section = features(&[("luo", luo.0, luo.1), ("memfd", memfd.0, memfd.1)]);
        with_section(&["kho-v4", "kernel/liveupdate/luo_file.c"], &[], &[section])
    };
    let old = temp.file("old", kernel((0b1, 0b1), (0b1, 0b1)));
    let new = temp.file("new", kernel((0b11, 0b1), (0b11, 0b11)));
    let (code_of, value) = report(&old, &new, &[]);
    assert_eq!(code_of, 1);
    said(&value, "section .liveupdate_features");
    assert_eq!(
        finding(&value, "luo supported 0x1, required 0x1, active 0x1")["outcome"],
        "restorable"
    );
    let memfd = finding(&value, "memfd supported 0x1, required 0x1, active 0x1");
    assert_eq!(memfd["outcome"], "rejected");
    assert_eq!(
        memfd["reason"],
        "features 0x2 are required by the next one, and not supported by this one"
    );
    assert_eq!(code(&old, &old, &[]), 0);
    assert_eq!(code(&new, &old, &[]), 1);
    // A program knows its masks; plain strings of a handover say nothing about them.
    let (_, value) = report(env!("CARGO_BIN_EXE_kho"), &old, &[]);
    said(&value, "\"carrier\":\"features\"");
    let (code_of, value) = report(&capture("small"), &new, &[]);
    assert_eq!(code_of, 1);
    assert_eq!(
        finding(&value, "luo-v5")["expected"],
        "supported 0x3, required 0x1"
    );
    // Masks alone against versions alone.
    let plain = temp.file("plain", linux(&["memfd-v2"]));
    let (code_of, value) = report(&old, &plain, &[]);
    assert_eq!(code_of, 1);
    said(&value, "the next kernel lists none");
}

#[test]
fn candidates_and_modules_count_where_they_are_used() {
    let temp = Temp::new("candidates");
    let mut b = Builder::new();
    let page = b.blob(&[1; 64]);
    b.session(b"vm", &[Builder::file("vfio-v3", page, 1)]);
    b.flb("iommu-v7", 0x1234, 1);
    let dump = temp.file("dump", b.finish().mem.to_elf());
    let with = temp.file("with", vmlinux(CORE, &["vfio-v3", "iommu-v7"]));
    let (code_of, value) = report(&dump, &with, &[]);
    assert_eq!(code_of, 0);
    said(
        &value,
        "vfio-v3, iommu-v7 in the next kernel's image are taken for what restores it",
    );
    let other = temp.file("other", vmlinux(CORE, &["vfio-v4", "iommu-v8"]));
    let (code_of, value) = report(&dump, &other, &[]);
    assert_eq!(code_of, 1);
    assert_eq!(finding(&value, "vfio-v3")["expected"], "vfio-v4");
    assert_eq!(finding(&value, "iommu-v7")["outcome"], "lost");
    assert_eq!(value["losses"]["handlers"][0]["bytes"], Value::Null);
    let human = text(&preflight(&dump, &other, &[]).stdout);
    assert!(human.contains("1 file, bytes unknown"), "{human}");

    let bare = temp.file("bare", vmlinux(CORE, &["memfd-v2"]));
    let (code_of, value) = report(&dump, &bare, &[]);
    assert_eq!(code_of, 1);
    said(&value, "--modules DIR");
    temp.file("modules/kernel/vfio.ko", module(&["vfio-v3", "iommu-v7"]));
    temp.file("modules/kernel/none.ko", module(&[]));
    temp.file("modules/kernel/bad.ko", b"no module");
    let modules = temp.path("modules");
    let (code_of, value) = report(&dump, &bare, &["--modules", &modules]);
    assert_eq!(code_of, 0);
    said(&value, "2 modules below");
    said(&value, "bad.ko: not a kernel image");
    assert_eq!(
        finding(&value, "vfio-v3")["expected_where"][0]["what"],
        "kernel/vfio.ko, .data"
    );
    // An FLB that a module of the old kernel has.
    temp.file("flb/x.ko", module(&["x-flb-v1"]));
    let flb = temp.path("flb");
    assert_eq!(code(&bare, &bare, &["--from-modules", &flb]), 3);
    assert_eq!(
        code(&bare, &bare, &["--from-modules", &flb, "--modules", &flb]),
        0
    );
    // A module is no kernel, and a handover has no modules.
    let module = temp.path("modules/kernel/vfio.ko");
    refused(&bare, &module, 1, &["a kernel module", "--modules DIR"]);
    let output = preflight(&dump, &bare, &["--from-modules", &modules]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("not to a handover in a memory dump"));
    let output = preflight(&dump, &bare, &["--modules", &temp.path("nowhere")]);
    assert_eq!(output.status.code(), Some(2));
}

// ---- Dumps

#[test]
fn dumps_of_every_kind_and_on_either_side() {
    let temp = Temp::new("dumps");
    let kernel = temp.file("kernel", linux(&["memfd-v2"]));
    let mut b = Builder::new();
    b.session_of("s", &[MemfdSpec::new(vec![7; 5000])]);
    let built = b.finish();
    let raw = built.mem.to_raw(0x1000_0000);
    let pack = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    for (name, bytes) in [
        ("core", built.mem.to_elf()),
        ("core.zst", pack(&built.mem.to_elf())),
    ] {
        let (code, value) = report(&temp.file(name, bytes), &kernel, &[]);
        assert_eq!(
            (code, &value["from"]["kind"]),
            (0, &json!("memory-dump")),
            "{name}"
        );
    }
    for (name, bytes) in [("raw", raw.clone()), ("raw.zst", pack(&raw))] {
        let base = ["--base", "0x10000000"];
        let (code, value) = report(&temp.file(name, bytes), &kernel, &base);
        assert_eq!(
            (code, &value["from"]["kind"]),
            (0, &json!("memory-dump")),
            "{name}"
        );
    }
    // What another kernel handed over shows what it writes.
    let (code_of, value) = report(&kernel, &capture("small"), &[]);
    assert_eq!(code_of, 0);
    said(&value, "what is in use: 3 sessions, 12 files");
    said(&value, "the handover that stands for the next one has none");
    assert_eq!(code(&capture("reserve"), &capture("small"), &[]), 0);
    assert_eq!(code(&capture("small"), &capture("none"), &[]), 1);
}

#[test]
fn what_this_build_can_not_read_is_not_accepted_unseen() {
    let temp = Temp::new("unread");
    let mut b = Builder::new();
    b.luo_compatible = "luo-v6".into();
    b.session_of("s", &[]);
    let dump = temp.file("dump", b.finish().mem.to_elf());
    let next = temp.file("next", vmlinux(&["kho-v4", "luo-v6"], &[]));
    refused(
        &dump,
        &next,
        1,
        &["LUO header of `luo-v6` is not read by this build"],
    );
    let this = temp.file("this", linux(&["memfd-v2"]));
    let (code, value) = report(&dump, &this, &[]);
    assert_eq!(code, 1);
    assert_eq!(finding(&value, "luo-v6")["expected"], "luo-v5");
    assert_eq!(value["losses"]["files"], Value::Null);
}

// ---- Manifests and programs

#[test]
fn this_program_answers_and_is_asked() {
    let program = env!("CARGO_BIN_EXE_kho");
    let output = Command::new(program)
        .env("KHO_MANIFEST", "1")
        .arg("inspect")
        .output()
        .unwrap();
    assert!(output.status.success());
    let file = ManifestFile::parse(&text(&output.stdout)).unwrap();
    let side = file.side().unwrap();
    for name in [
        "block",
        "fd",
        "kexec-metadata",
        "kho",
        "luo",
        "memblock",
        "memfd",
        "radix",
        "reserve-mem",
        "vmalloc",
    ] {
        assert!(side.get(name).is_some(), "{name}");
    }
    let (code_of, value) = report(&capture("small"), program, &[]);
    assert_eq!(code_of, 0);
    assert_eq!(value["to"]["kind"], "program");
    said(&value, "what the program answers");
    for policy in kho_compat::policy::ALL {
        assert_eq!(code(program, program, &["--policy", policy.name()]), 0);
    }
    // What it answered is as good as itself.
    let temp = Temp::new("answer");
    let answer = temp.file("answer.json", &output.stdout);
    assert_eq!(code(&answer, program, &[]), 0);
    assert_eq!(code(program, &answer, &[]), 0);
}

fn manifest(components: Value) -> Value {
    json!({ "format": "kho-manifest-v1", "name": "release 1", "components": components })
}

#[test]
fn plain_strings_stand_for_what_they_need() {
    let temp = Temp::new("stand");
    let kernel = temp.file("kernel", vmlinux(&["kho-v4", "luo-v5"], &["memfd-v2"]));
    let release = |block: u32, radix: u32| {
        let release = manifest(json!({
            "kho": { "version": 4, "needs": ["radix", "vmalloc"], "carrier": "root" },
            "radix": { "version": radix },
            "vmalloc": { "version": 1 },
            "block": { "version": block },
            "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
        }));
        temp.file(&format!("release-{block}-{radix}"), release.to_string())
    };
    let policies = [
        "semver-range",
        "composite-exact",
        "newest-common",
        "check-at-restore",
    ];
    for policy in policies {
        assert_eq!(
            code(&release(1, 1), &kernel, &["--policy", policy]),
            0,
            "{policy}"
        );
        assert_eq!(
            code(&release(2, 1), &kernel, &["--policy", policy]),
            1,
            "{policy}"
        );
        assert_eq!(
            code(&release(1, 2), &kernel, &["--policy", policy]),
            1,
            "{policy}"
        );
    }
    let (_, value) = report(&release(2, 1), &kernel, &[]);
    said(&value, "block-v2 is not restorable there, only block-v1");
    said(&value, "what `luo-v5` stands for");
    // In use, by a table beside plain strings; and no flag makes it optional.
    let mut used = manifest(json!({}));
    used["in_use"] = json!({ "strings": [
        { "carrier": "root", "found": "kho-v4" },
        { "carrier": "luo", "found": "luo-v5" },
        { "carrier": "table", "found": "block-v2" },
    ]});
    let used = temp.file("used", used.to_string());
    assert_eq!(code(&used, &kernel, &[]), 1);
    // A kernel compares whole strings: parts that it has elsewhere do not make one.
    let mut composite = manifest(json!({}));
    composite["in_use"] = json!({ "strings": [
        { "carrier": "root", "found": "kho-v4" },
        { "carrier": "luo", "found": "luo-v5;block-v2" },
    ]});
    let composite = temp.file("composite", composite.to_string());
    let both = temp.file(
        "both",
        vmlinux(
            &["kho-v4", "luo-v5;block-v1", "luo-v6;block-v2"],
            &["memfd-v2"],
        ),
    );
    let (code_of, value) = report(&composite, &both, &[]);
    assert_eq!(code_of, 1);
    said(&value, "a kernel compares whole strings");
    said(&value, "kernel panic");
}

#[test]
fn a_manifest_has_room_for_so_much() {
    let temp = Temp::new("room");
    let many: serde_json::Map<_, _> = (0..300)
        .map(|n| (format!("c{n}"), json!({ "version": 1 })))
        .collect();
    let many = temp.file("many", manifest(many.into()).to_string());
    let output = preflight(&many, &many, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("components has 300 entries, at most 256 are taken"));
}

#[test]
fn manifest_files_describe_releases() {
    let temp = Temp::new("manifests");
    let old = manifest(json!({
        "block": { "version": 1 },
        "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
    }));
    let new = manifest(json!({
        "block": { "version": 2, "restores": ">=1, <3", "writes": [1] },
        "luo": { "version": 5, "needs": ["block"], "carrier": "luo" },
    }));
    let old = temp.file("old", format!(" \n{old}"));
    let new = temp.file("new", new.to_string());
    assert_eq!(code(&old, &new, &[]), 0);
    let (code_of, value) = report(&new, &old, &[]);
    assert_eq!(code_of, 1);
    said(&value, "block-v2 is not restorable there, only block-v1");
    // The newest version that both know is written.
    let (code_of, value) = report(&new, &old, &["--policy", "newest-common"]);
    assert_eq!(code_of, 0);
    assert_eq!(finding(&value, "block-v1")["carrier"], "table");
    // What it says is written in is what is judged.
    let mut plain = serde_json::from_str::<Value>(&std::fs::read_to_string(&new).unwrap()).unwrap();
    plain["dialect"] = "plain".into();
    let plain = temp.file("plain", plain.to_string());
    // Plain strings do not say which blocks they mean: whoever reads them takes them for its own.
    let (code_of, value) = report(&plain, &old, &[]);
    assert_eq!(code_of, 1);
    said(&value, "block-v2 is not restorable there, only block-v1");
    // What is in use is judged alone, and counted.
    let mut used =
        serde_json::from_str::<Value>(&std::fs::read_to_string(&plain).unwrap()).unwrap();
    used["in_use"] = json!({
        "strings": [
            { "carrier": "luo", "found": "luo-v5" },
            { "carrier": "file-handler", "found": "vfio-v1\u{1b}[2J", "uses": 7 },
        ],
        "sessions": 2, "files": 9, "bytes": 4096,
    });
    let used = temp.file("used", used.to_string());
    let (code_of, value) = report(&used, &old, &[]);
    assert_eq!(code_of, 1);
    let losses = &value["losses"];
    assert_eq!(
        (
            &losses["sessions"],
            &losses["files"],
            &losses["bytes"],
            &losses["handlers"][0]["files"]
        ),
        (&json!(2), &json!(9), &json!(4096), &json!(7))
    );
    let nothing = temp.file("nothing", {
        let mut value = manifest(json!({}));
        value["in_use"] = json!({ "strings": [] });
        value.to_string()
    });
    let (code_of, value) = report(&nothing, &old, &[]);
    assert_eq!(code_of, 0);
    said(&value, "nothing is in use");

    let wrong = |text: &str, part: &str| {
        let path = temp.file("wrong", text);
        refused(&path, &old, 1, &["--from", part]);
        refused(&old, &path, 1, &["--to", part]);
    };
    wrong("{", "EOF while parsing");
    wrong("{\"a\": 1}", "unknown field `a`");
    wrong(
        &manifest(json!({})).to_string().replace("-v1", "-v9"),
        "kho-manifest-v9",
    );
    wrong(
        &manifest(json!({ "a": { "version": 1, "needs": ["b"] } })).to_string(),
        "needs `b`",
    );
    wrong(
        "{\"format\": \"\\u001b[2J\", \"name\": \"\", \"components\": {}}",
        "\\u{1b}",
    );
}

#[test]
fn each_string_has_the_finding_of_its_own() {
    let temp = Temp::new("own");
    let mut from = manifest(json!({}));
    let strings = [
        ("table", "block-v1"),
        // What no table could say is not taken for its first part.
        ("table", "block-v1;zzz-v9"),
        ("root", "kho-v5"),
        ("luo", "luo-v5"),
    ];
    let used = strings.map(|(carrier, found)| json!({ "carrier": carrier, "found": found }));
    from["in_use"] = json!({ "strings": used });
    let from = temp.file("from", from.to_string());
    let to = manifest(json!({
        "kho": { "version": 4, "carrier": "root" },
        "luo": { "version": 5, "carrier": "luo" },
        "block": { "version": 1 },
    }));
    let to = temp.file("to", to.to_string());
    let (code_of, value) = report(&from, &to, &[]);
    assert_eq!(code_of, 1);
    let findings = value["verdict"]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), strings.len());
    let outcomes = ["restorable", "rejected", "rejected", "restorable"];
    for (index, (carrier, found)) in strings.iter().enumerate() {
        let finding = &findings[index];
        assert_eq!(
            (&finding["carrier"], &finding["found"]),
            (&json!(carrier), &json!(found))
        );
        assert_eq!(finding["where"]["what"], format!("in_use.strings[{index}]"));
        assert_eq!(finding["outcome"], outcomes[index], "{found}");
    }
    // A string that the image has, and a module of it too.
    let kernel = temp.file("kernel", linux(&["memfd-v2", "x-flb-v1"]));
    temp.file("modules/x.ko", module(&["x-flb-v1"]));
    let (code_of, value) = report(&kernel, &to, &["--from-modules", &temp.path("modules")]);
    assert_eq!(code_of, 1);
    let findings = value["verdict"]["findings"].as_array().unwrap();
    let twice = findings.iter().filter(|f| f["found"] == "x-flb-v1");
    assert_eq!(twice.count(), 2);
    let mut of_module = findings.iter().filter(|finding| {
        let place = finding["where"]["what"].as_str().unwrap();
        place.starts_with("x.ko")
    });
    assert!(of_module.all(|finding| finding["found"] == "x-flb-v1"));
}

/// A copy of bash, which runs what BASH_ENV names; with the mark of programs that answer, or without.
fn bash(temp: &Temp, name: &str, marked: bool) -> Option<String> {
    let mut bytes = ["/bin/bash", "/usr/bin/bash"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())?;
    if marked {
        bytes.extend(MARKER.bytes());
    }
    let path = temp.file(name, bytes);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    Some(path)
}

fn ask(temp: &Temp, program: &str, script: &str) -> (Output, Duration) {
    let script = temp.file("script", script);
    let since = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_kho"))
        .args(["preflight", "--from", &capture("none"), "--to", program])
        .env("BASH_ENV", script)
        .output()
        .unwrap();
    (output, since.elapsed())
}

/// Waits for the end of a process that was killed.
#[track_caller]
fn dies(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(state) if !state.contains(") Z") && !state.contains(") X") => {}
            _ => return,
        }
        assert!(Instant::now() < deadline, "{pid} lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_without_the_mark_is_never_run() {
    let temp = Temp::new("unmarked");
    let Some(program) = bash(&temp, "program", false) else {
        return;
    };
    let ran = temp.path("ran");
    let (output, _) = ask(&temp, &program, &format!("echo > {ran}\n"));
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    for part in [
        "can not be asked, and was not run",
        "answer_manifest!();",
        "--to ",
    ] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    assert!(!Path::new(&ran).exists());
    // With it, it is.
    let program = bash(&temp, "marked", true).unwrap();
    let (output, _) = ask(&temp, &program, &format!("echo > {ran}\n"));
    assert_eq!(output.status.code(), Some(1));
    assert!(Path::new(&ran).exists(), "{}", text(&output.stderr));
    // A script with the mark is still a script.
    let script = temp.file(
        "script.sh",
        format!("#!/bin/sh\n# {MARKER}\necho > {ran}.too\n"),
    );
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    refused(
        &capture("none"),
        &script,
        1,
        &["a script, which is never run"],
    );
    assert!(!Path::new(&format!("{ran}.too")).exists());
    if Path::new("/bin/true").exists() {
        refused(&capture("none"), "/bin/true", 1, &["was not run"]);
    }
}

#[test]
fn answers_that_are_none() {
    let temp = Temp::new("answers");
    let Some(program) = bash(&temp, "program", true) else {
        return;
    };
    let (output, _) = ask(&temp, &program, "echo '{}'\n");
    assert!(
        text(&output.stderr).contains("missing field"),
        "{}",
        text(&output.stderr)
    );
    let (output, _) = ask(
        &temp,
        &program,
        "echo \"$KHO_MANIFEST\"; read -r x || echo eof; exit 0\n",
    );
    assert!(text(&output.stderr).contains("the program's answer is no manifest"));
    let (output, _) = ask(&temp, &program, "echo out of order >&2; exit 7\n");
    let error = text(&output.stderr);
    assert!(error.contains("exit code 7: out of order"), "{error}");
    let (output, _) = ask(&temp, &program, "kill -SEGV $$\n");
    assert!(
        text(&output.stderr).contains("signal 11"),
        "{}",
        text(&output.stderr)
    );
    // Too much, and on standard error as well.
    let (output, took) = ask(&temp, &program, "yes & yes >&2\n");
    assert!(
        text(&output.stderr).contains("more than 1048576 bytes"),
        "{}",
        text(&output.stderr)
    );
    assert!(took < Duration::from_secs(8));
    // A child that lives on does not hold it up, and does not live on.
    let pid = temp.path("pid");
    let (output, took) = ask(
        &temp,
        &program,
        &format!("sleep 1000 & echo $! > {pid}; echo '{{}}'; exit 0\n"),
    );
    assert!(
        text(&output.stderr).contains("missing field"),
        "{}",
        text(&output.stderr)
    );
    assert!(took < Duration::from_secs(8));
    let pid = std::fs::read_to_string(pid).unwrap();
    dies(pid.trim());
    // One that may not be executed.
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o644)).unwrap();
    let (output, _) = ask(&temp, &program, "");
    assert!(
        text(&output.stderr).contains("could not be started"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_program_that_does_not_answer_is_killed_with_its_children() {
    let temp = Temp::new("patience");
    let Some(program) = bash(&temp, "program", true) else {
        return;
    };
    let pid = temp.path("pid");
    let (output, took) = ask(
        &temp,
        &program,
        &format!("sleep 1000 & echo $! > {pid}; wait\n"),
    );
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("still running after 10 seconds, and was killed"),
        "{error}"
    );
    assert!(took < Duration::from_secs(20));
    let pid = std::fs::read_to_string(pid).unwrap();
    dies(pid.trim());
}

// ---- The running kernel

/// The files of a system that runs Linux 7.3.4, below `temp`.
fn system(temp: &Temp, config: Option<&str>, kernel: Option<&[u8]>) -> String {
    temp.file("proc/sys/kernel/osrelease", "7.3.4\n");
    temp.file("proc/cmdline", "root=/dev/vda kho=on\n");
    if let Some(config) = config {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(config.as_bytes()).unwrap();
        temp.file("proc/config.gz", encoder.finish().unwrap());
    }
    if let Some(kernel) = kernel {
        temp.file("boot/vmlinuz-7.3.4", bzimage(kernel));
    }
    temp.path("")
}

const ON: &str = "CONFIG_KEXEC=y\nCONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n";

#[test]
fn the_running_kernel_is_found_by_its_release() {
    let temp = Temp::new("running");
    let kernel = linux(&["memfd-v2"]);
    let root = system(&temp, Some(ON), Some(&kernel));
    let next = temp.file("next", &kernel);
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 0);
    assert_eq!(value["from"]["kind"], "running-kernel");
    said(&value, "CONFIG_KEXEC_HANDOVER=y in ");
    said(&value, "kho=on on its command line");
    said(&value, "no modules were read");
    assert_eq!(code(&capture("small"), "running", &["--root", &root]), 0);

    // Modules that are loaded count for what it hands over, all of them for what it takes.
    temp.file("lib/modules/7.3.4/kernel/x-y.ko", module(&["x-flb-v1"]));
    temp.file("proc/modules", "other 1 0 - Live 0x0\n");
    assert_eq!(code("running", &next, &["--root", &root]), 0);
    temp.file("proc/modules", "x_y 1 0 - Live 0x0\n");
    assert_eq!(code("running", &next, &["--root", &root]), 3);
    assert_eq!(code("running", "running", &["--root", &root]), 0);

    // Switched off on the command line.
    let other = temp.file("other", vmlinux(&["kho-v5"], &[]));
    assert_eq!(code("running", &other, &["--root", &root]), 1);
    temp.file("proc/cmdline", "kho=on kho=off\n");
    let (code_of, value) = report("running", &other, &["--root", &root]);
    assert_eq!(code_of, 0);
    said(&value, "KHO is switched off: kho=off");
}

#[test]
fn the_running_kernels_root_fdt_says_what_is_in_use() {
    let temp = Temp::new("debugfs");
    let root = system(&temp, None, Some(&linux(&["memfd-v2"])));
    let next = temp.file("next", vmlinux(&["kho-v4", "luo-v6"], &[]));
    assert_eq!(code("running", &next, &["--root", &root]), 1);
    let mut b = Builder::new();
    b.metadata(1, "7.3.4", 1);
    let built = b.finish();
    temp.file(
        "sys/kernel/debug/kho/out/fdt",
        built.mem.read(built.fdt, 4096),
    );
    // No LUO in it: nobody will miss one.
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 0);
    said(&value, "out/fdt: `kho-v4`, kexec-metadata");
    // As Linux shows it: its beginning, and the subtrees beside it.
    temp.file(
        "sys/kernel/debug/kho/out/fdt",
        built.mem.read(built.fdt, 100),
    );
    temp.file("sys/kernel/debug/kho/out/sub_fdts/kexec-metadata", "?");
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 0);
    said(&value, "out/fdt: `kho-v4`, kexec-metadata");
    temp.file("sys/kernel/debug/kho/out/fdt", [0xff; 64]);
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 1);
    said(&value, "out/fdt: ");
}

#[test]
fn a_running_kernel_that_is_not_found() {
    let temp = Temp::new("missing");
    let next = temp.file("next", linux(&["memfd-v2"]));
    let root = system(&temp, None, None);
    let output = preflight("running", &next, &["--root", &root]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    for part in [
        "no image of the running kernel, Linux 7.3.4, was found",
        "boot/vmlinuz-7.3.4",
        "lib/modules/7.3.4/vmlinuz",
        "proc/config.gz",
        "name its image: --from PATH",
    ] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    // A configuration says more than nothing.
    let root = system(&temp, Some("# CONFIG_KEXEC_HANDOVER is not set\n"), None);
    let (code_of, value) = report("running", &next, &["--root", &root]);
    assert_eq!(code_of, 0);
    said(&value, "CONFIG_KEXEC_HANDOVER is not set");
    assert_eq!(code(&capture("small"), "running", &["--root", &root]), 1);
    // And more than an image in which nothing shows.
    let root = system(&temp, Some(ON), Some(&vmlinux(&[], &[])));
    let (code_of, value) = report(&next, "running", &["--root", &root]);
    assert_eq!(code_of, 1);
    said(&value, "the next kernel has KHO (CONFIG_KEXEC_HANDOVER=y");
    std::fs::remove_dir_all(temp.path("boot")).unwrap();
    let root = system(&temp, Some(ON), None);
    let output = preflight(&next, "running", &["--root", &root]);
    assert_eq!(output.status.code(), Some(1));
    // This very machine, whatever it has: a verdict or a reason.
    let output = preflight("running", &next, &[]);
    let error = text(&output.stderr);
    assert!(!error.contains("panicked"), "{error}");
    assert!(
        output
            .status
            .code()
            .is_some_and(|code| matches!(code, 0 | 1 | 3))
    );
}

// ---- What can not be judged

#[test]
fn wrong_usage() {
    let temp = Temp::new("usage");
    let kernel = temp.file("kernel", linux(&["memfd-v2"]));
    for args in [&["preflight"][..], &["preflight", "--from", &kernel]] {
        assert_eq!(kho(args).status.code(), Some(2));
    }
    let output = preflight(&kernel, &kernel, &["--policy", "hope"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    for policy in kho_compat::policy::ALL {
        assert!(error.contains(policy.name()), "{error}");
    }
    let help = text(&kho(&["preflight", "--help"]).stdout);
    for part in [
        "Examples:",
        "Exit codes: 0 accept; 3 degrade",
        "KHO_MANIFEST=1",
        "--modules",
    ] {
        assert!(help.contains(part), "{part:?} in {help}");
    }
    assert!(text(&kho(&["--help"]).stdout).contains("preflight: 0 accept, 3 degrade, 1 reject"));
    refused(&kernel, &temp.path("none"), 2, &["--to", "No such file"]);
    refused(&temp.path(""), &kernel, 2, &["--from", "directory"]);
    refused("/dev/null", &kernel, 2, &["not a regular file"]);
}

#[test]
fn what_is_nothing_of_all_that() {
    let temp = Temp::new("nothing");
    let kernel = temp.file("kernel", linux(&["memfd-v2"]));
    let expected = "a kernel image, a handover in a memory dump, a manifest file";
    let long: Vec<u8> = (0..20_000u32).map(|n| (n * 7 % 251) as u8).collect();
    for (bytes, found) in [
        (&b""[..], "an empty file"),
        ("Grüße\n".as_bytes(), "text"),
        (b"#!/bin/sh\nexit 0\n", "a script"),
        (&[0, 1, 2, 3], "bytes 00 01 02 03"),
        (&long, "bytes 00 07 0e"),
    ] {
        let path = temp.file("file", bytes);
        refused(&path, &kernel, 1, &["--from", found, expected]);
        refused(&kernel, &path, 1, &["--to", found, expected]);
    }
    // An ELF file that is no Linux kernel; a dump without a handover; a stream of something else.
    let strange = temp.file("strange", elf(2, &[(".rodata", constants(&["kho-v4"]))]));
    refused(&strange, &kernel, 1, &["was not run"]);
    let mut memory = kho_testkit::Memory::new();
    memory.add(0x1000, 0x4000);
    let empty = temp.file("empty.core", memory.to_elf());
    refused(&empty, &kernel, 1, &["no handover found"]);
    let packed = temp.file("text.zst", zstd::encode_all(&b"text"[..], 3).unwrap());
    refused(&packed, &kernel, 1, &["not a kernel image"]);
    let mut cut = bzimage(&linux(&["memfd-v2"]));
    cut.truncate(0x480);
    refused(
        &kernel,
        &temp.file("cut", cut),
        1,
        &["--to", "bytes inside the file"],
    );
}

#[test]
fn damage_is_never_more_than_a_failure() {
    let temp = Temp::new("fuzz");
    let kernel = linux(&["memfd-v2"]);
    let good = temp.file("good", &kernel);
    let mut b = Builder::new();
    b.session_of("s", &[MemfdSpec::new(vec![3; 9000])]);
    let dump = b.finish().mem.to_elf();
    let listed = with_section(
        CORE,
        &["memfd-v2"],
        &[
            versions(&["luo-v5;block-v1", "memfd-v2"]),
            features(&[("luo", 1, 1)]),
        ],
    );
    let json = manifest(json!({ "luo": { "version": 5, "carrier": "luo" } })).to_string();
    let mut random = Random(7);
    for bytes in [bzimage(&kernel), kernel, dump, listed, json.into_bytes()] {
        for round in 0..30 {
            let mut bytes = bytes.clone();
            if round % 3 == 0 {
                bytes.truncate(random.below(bytes.len()));
            } else {
                // Headers more often than the rest.
                let limit = if round % 2 == 0 { 0x400 } else { bytes.len() };
                for _ in 0..4 {
                    let at = random.below(limit.min(bytes.len()));
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            let path = temp.file("bad", &bytes);
            for (from, to) in [(&path, &good), (&good, &path)] {
                let output = preflight(from, to, &["--json"]);
                let error = text(&output.stderr);
                assert!(!error.contains("panicked"), "{error}");
                let code = output.status.code();
                assert!(matches!(code, Some(0 | 1 | 3)), "{code:?}: {error}");
                let value: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(value.get("failure").is_some(), !error.is_empty());
            }
        }
    }
}
