//! What real kernels handed over: `kho inspect` agrees with what an independent reader found, and
//! `kho restore` gives every file back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Temp, has, kho, text};
use kho_testkit::capture_path;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[rustfmt::skip]
const CAPTURES: &[&str] = &[
    "small", "files", "sessions", "thp", "none", "zero", "reserve", "reserve-odd", "chunks",
    "mixed", "chain",
];

fn image(name: &str) -> String {
    capture_path(&format!("{name}.core.zst"))
        .to_str()
        .unwrap()
        .to_owned()
}

fn facts(name: &str) -> Value {
    let path = capture_path(&format!("{name}.facts.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn inspect(args: &[&str]) -> Value {
    let output = kho(&[&["inspect", "--json"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every field of `facts` stands in `report` with the same value; where not, its path is given.
fn differences(facts: &Value, report: &Value, path: &str, out: &mut Vec<String>) {
    match (facts, report) {
        (Value::Object(facts), Value::Object(report)) => {
            for (key, value) in facts {
                match report.get(key) {
                    Some(found) => differences(value, found, &format!("{path}/{key}"), out),
                    None => out.push(format!("{path}/{key} is missing")),
                }
            }
        }
        (Value::Array(facts), Value::Array(report)) if facts.len() == report.len() => {
            for (index, (value, found)) in facts.iter().zip(report).enumerate() {
                differences(value, found, &format!("{path}/{index}"), out);
            }
        }
        _ if facts == report => {}
        _ => out.push(format!("{path}: {report}, not {facts}")),
    }
}

fn sha256(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn inspect_agrees_with_an_independent_reader() {
    for name in CAPTURES {
        let report = inspect(&[&image(name), "--hash"]);
        let mut found = Vec::new();
        differences(&facts(name), &report, "", &mut found);
        assert_eq!(found, Vec::<String>::new(), "{name}");
        assert_eq!(report["verdict"]["decision"], "accept");
        assert_eq!(report["scratch_source"], "elimination");
    }
}

/// Captures of kernels with larger pages. What the device tree blob was is in them as well, so that the
/// scratch table is not the one page that is left over.
#[test]
fn pages_of_16_and_64_kib_read_as_those_of_4_kib() {
    for (name, size) in [("arm64-16k", "16K"), ("arm64-64k", "64K")] {
        let facts = facts(name);
        let entry = &facts["entry"];
        let scratch = format!("{}:{}", entry["scratch_addr"], entry["scratch_size"]);
        let fdt = entry["fdt_addr"].to_string();
        for args in [&[][..], &["--page-size", size], &["--fdt", &fdt]] {
            let given = [&image(name), "--hash", "--scratch", &scratch];
            let report = inspect(&[&given[..], args].concat());
            let mut found = Vec::new();
            differences(&facts, &report, "", &mut found);
            assert_eq!(found, Vec::<String>::new(), "{name} {args:?}");
            assert_eq!(report["verdict"]["decision"], "accept");
        }
        let other = if size == "16K" { "64K" } else { "16K" };
        let output = kho(&["inspect", &image(name), "--page-size", other]);
        assert_eq!(output.status.code(), Some(1));

        let dir = Temp::new(name);
        let out = PathBuf::from(dir.path("restored"));
        let output = kho(&["restore", &image(name), "--out", out.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0));
        let files = std::fs::read_dir(out.join("session-1")).unwrap().count();
        assert_eq!(files, 4, "{name}");
    }
}

#[test]
fn entry_addresses_can_be_given() {
    let entry = &facts("small")["entry"];
    let fdt = entry["fdt_addr"].to_string();
    let scratch = format!("{}:{}", entry["scratch_addr"], entry["scratch_size"]);
    let report = inspect(&[&image("small"), "--fdt", &fdt, "--scratch", &scratch]);
    let mut found = Vec::new();
    let mut facts = facts("small");
    for session in facts["luo"]["sessions"].as_array_mut().unwrap() {
        for file in session["files"].as_array_mut().unwrap() {
            // Without --hash the contents are not read.
            file.as_object_mut().unwrap().remove("sha256");
        }
    }
    differences(&facts, &report, "", &mut found);
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(report["scratch_source"], "argument");
    let output = kho(&["inspect", &image("small"), "--fdt", "0x1dcd000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("wrong magic"));
}

#[test]
fn restore_gives_every_file_back() {
    for name in CAPTURES {
        let dir = Temp::new(name);
        let out = PathBuf::from(dir.path("restored"));
        let output = kho(&["restore", &image(name), "--out", out.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let manifest: Value =
            serde_json::from_str(&std::fs::read_to_string(out.join("manifest.json")).unwrap())
                .unwrap();
        let facts = facts(name);
        let mut expected = BTreeSet::from([out.join("manifest.json")]);
        let sessions = facts["luo"]["sessions"].as_array().unwrap();
        assert_eq!(
            manifest["sessions"].as_array().unwrap().len(),
            sessions.len()
        );
        for (session, listed) in sessions
            .iter()
            .zip(manifest["sessions"].as_array().unwrap())
        {
            let session_dir = out.join(session["name"].as_str().unwrap());
            assert!(session_dir.is_dir());
            let files = session["files"].as_array().unwrap();
            for (file, listed) in files.iter().zip(listed["files"].as_array().unwrap()) {
                let path =
                    session_dir.join(format!("{:016x}.bin", file["token"].as_u64().unwrap()));
                assert_eq!(
                    sha256(&path),
                    file["sha256"].as_str().unwrap(),
                    "{}",
                    path.display()
                );
                for key in ["token", "size", "pos", "seals", "nr_folios"] {
                    assert_eq!(listed[key], file[key], "{key} of {}", path.display());
                }
                assert_eq!(out.join(listed["path"].as_str().unwrap()), path);
                assert_eq!(listed["flags"], 0);
                expected.insert(path);
            }
        }
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(&out).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(
                    std::fs::read_dir(path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            } else {
                found.insert(path);
            }
        }
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn zeros_stay_holes() {
    use std::os::unix::fs::MetadataExt;
    let dir = Temp::new("holes");
    let out = PathBuf::from(dir.path("out"));
    assert!(
        kho(&["restore", &image("chunks"), "--out", out.to_str().unwrap()])
            .status
            .success()
    );
    let facts = facts("chunks");
    let session = &facts["luo"]["sessions"][0];
    let largest = session["files"].as_array().unwrap().iter();
    let largest = largest.max_by_key(|f| f["size"].as_u64()).unwrap();
    let token = largest["token"].as_u64().unwrap();
    let path = out
        .join(session["name"].as_str().unwrap())
        .join(format!("{token:016x}.bin"));
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(meta.len(), largest["size"].as_u64().unwrap());
    // 511 MiB, of which little is not zero in this capture.
    assert!(meta.len() > 500 << 20, "{}", meta.len());
    assert!(meta.blocks() * 512 < meta.len(), "{} blocks", meta.blocks());
}

#[test]
fn one_session_or_one_file_can_be_chosen() {
    let dir = Temp::new("choice");
    let run = |out: &str, args: &[&str]| {
        let out = PathBuf::from(dir.path(out));
        let image = image("small");
        let args = [
            &[
                "restore",
                image.as_str(),
                "--json",
                "--out",
                out.to_str().unwrap(),
            ],
            args,
        ]
        .concat();
        let output = kho(&args);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let stderr = text(&output.stderr);
        (output.status.code(), json, stderr, out)
    };
    let (code, json, _, out) = run("session", &["--session", "session-1"]);
    assert_eq!(code, Some(0));
    assert_eq!(json["complete"], false);
    assert_eq!(json["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(out.join("session-1")).unwrap().count(), 4);

    let (code, json, _, out) = run(
        "token",
        &["--session", "session-1", "--token", "0x100000008"],
    );
    assert_eq!(code, Some(0));
    assert_eq!(json["sessions"][0]["files"].as_array().unwrap().len(), 1);
    assert!(out.join("session-1/0000000100000008.bin").is_file());

    let (code, json, stderr, out) = run("none", &["--session", "session-9"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("no session `session-9`"), "{stderr}");
    assert!(json["failure"].is_object() && !out.exists());
    let (code, _, stderr, _) = run("none", &["--token", "99"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("no file of token 0x63"), "{stderr}");
}

#[test]
fn what_is_in_the_directory_stays() {
    let dir = Temp::new("stays");
    let out = PathBuf::from(dir.path("out"));
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("mine"), "precious").unwrap();
    let image = image("small");
    let args = ["restore", image.as_str(), "--out", out.to_str().unwrap()];
    assert_eq!(kho(&args).status.code(), Some(0));
    assert_eq!(
        std::fs::read_to_string(out.join("mine")).unwrap(),
        "precious"
    );
    // A second time there is something in the way, and nothing changes.
    std::fs::write(out.join("session-0/0000000000000001.bin"), "changed").unwrap();
    let output = kho(&args);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    has(&stderr, "session-0 exists already");
    has(&stderr, "--force");
    assert_eq!(
        std::fs::read_to_string(out.join("session-0/0000000000000001.bin")).unwrap(),
        "changed"
    );
    // With --force it is replaced.
    assert_eq!(
        kho(&[&args[..], &["--force"]].concat()).status.code(),
        Some(0)
    );
    let restored = facts("small")["luo"]["sessions"][0]["files"][0]["sha256"].clone();
    assert_eq!(
        sha256(&out.join("session-0/0000000000000001.bin")),
        restored.as_str().unwrap()
    );
    let names = std::fs::read_dir(&out).unwrap();
    let mut names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "manifest.json",
            "mine",
            "session-0",
            "session-1",
            "session-2"
        ]
    );
    // All of it: what the earlier restore had and this one has not is gone, what is no restore's
    // stays, and is not replaced either.
    let one = [&args[..], &["--force", "--session", "session-1"]].concat();
    assert_eq!(kho(&one).status.code(), Some(0));
    assert!(out.join("session-1").is_dir() && !out.join("session-0").exists());
    std::fs::create_dir(out.join("session-2")).unwrap();
    std::fs::write(out.join("session-2/mine"), "precious").unwrap();
    let output = kho(&[&args[..], &["--force"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not of an earlier restore"));
    assert!(out.join("session-2/mine").is_file() && out.join("session-1").is_dir());
    // A file where the directory should be.
    let output = kho(&[
        "restore",
        &image,
        "--out",
        out.join("mine").to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is not a directory"));
}

#[test]
fn human_output_reads_as_it_should() {
    let output = kho(&["inspect", &image("thp")]);
    let shown = text(&output.stdout);
    for expected in [
        "ELF core, zstd, 18.2 MiB of memory",
        "kho-v4  root FDT at 0x1dde000",
        "from Linux 7.3.4, kexec 1",
        "order 9   9 ranges of 2 MiB",
        "session session-0  3 files, 17.6 MiB",
        "sealed shrink, grow",
        "3 folios of order 9",
        "verdict: accept",
        "left alone  subtree `kho_test`",
    ] {
        assert!(shown.contains(expected), "no {expected:?} in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "no colours into a pipe");
}
