//! What can not be judged.

use super::*;

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
    let expected =
        "a kernel image, a boot loader's entry, a handover in a memory dump, a manifest file";
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
    let strange = temp.file(
        "strange",
        elf(
            2,
            true,
            false,
            &[section(".rodata", kernel::texts(&["kho-v4"]))],
        ),
    );
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
                assert!(matches!(code, Some(0 | 1 | 3 | 4)), "{code:?}: {error}");
                let value: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(value.get("failure").is_some(), !error.is_empty());
            }
        }
    }
}
