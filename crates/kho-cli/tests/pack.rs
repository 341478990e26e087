//! `kho pack`: what a restore gave is packed into an image that gives the same again; directories
//! made by hand are packed too; what can not be is refused, and leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{Temp, kho, text};
use kho_testkit::{Builder, MemfdSpec, capture_path};
use serde_json::{Value, json};

const CAPTURES: &[&str] = &[
    "small",
    "files",
    "sessions",
    "thp",
    "none",
    "zero",
    "reserve",
    "reserve-odd",
];

/// The command's standard output, where it went well.
fn good(args: &[&str]) -> String {
    let output = kho(args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
    text(&output.stdout)
}

fn json_of(args: &[&str]) -> Value {
    serde_json::from_str(&good(args)).unwrap()
}

fn json_file(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn names_in(temp: &Temp) -> BTreeSet<String> {
    let entries = fs::read_dir(temp.path("")).unwrap();
    entries
        .map(|entry| text(entry.unwrap().file_name().as_bytes()))
        .collect()
}

/// How to read what was packed: the address of everything, from IMAGE.json.
fn entry_of(image: &str) -> Vec<String> {
    let entry = json_file(format!("{image}.json"));
    let mut args = vec![
        image.to_owned(),
        "--fdt".into(),
        entry["fdt_addr"].to_string(),
    ];
    let scratch = format!("{}:{}", entry["scratch_addr"], entry["scratch_size"]);
    args.extend(["--scratch".into(), scratch]);
    if entry["format"] == "raw" {
        args.extend(["--base".into(), entry["base"].to_string()]);
    }
    args
}

fn read(command: &[&str], image: &str) -> String {
    let entry = entry_of(image);
    let entry: Vec<_> = entry.iter().map(String::as_str).collect();
    good(&[command, &entry].concat())
}

fn inspect(image: &str) -> Value {
    serde_json::from_str(&read(&["inspect", "--json"], image)).unwrap()
}

/// The strings of the plain dialect as those of the composite one.
fn composite(value: &mut Value) {
    match value {
        Value::String(string) => {
            let composite = match string.as_str() {
                "kho-v4" => "kho-v4;radix-v1;vmalloc-v1",
                "luo-v5" => "luo-v5;block-v1",
                "memfd-v2" => "memfd-v2;vmalloc-v1",
                "plain" => "composite",
                _ => return,
            };
            *string = composite.to_owned();
        }
        Value::Array(list) => list.iter_mut().for_each(composite),
        Value::Object(members) => members.values_mut().for_each(composite),
        _ => {}
    }
}

/// The manifest in `dir`, without what says where it came from.
fn manifest(dir: &str) -> Value {
    let mut value = json_file(Path::new(dir).join("manifest.json"));
    value.as_object_mut().unwrap().remove("image").unwrap();
    value
}

/// The files of both are the same, byte by byte; the largest by their checksums.
fn same_files(one: &str, two: &str, manifest: &Value) {
    for session in manifest["sessions"].as_array().unwrap() {
        for file in session["files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            let (one, two) = (Path::new(one).join(path), Path::new(two).join(path));
            let len = one.metadata().unwrap().len();
            assert_eq!(len, two.metadata().unwrap().len(), "{path}");
            assert!(file["sha256"].is_string(), "{path}");
            if len < 16 << 20 {
                assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "{path}");
            }
        }
    }
}

/// Restores a capture, packs it in a format and a dialect, and restores that.
fn goes_round(name: &str, ways: &[(&str, &str)]) {
    let temp = Temp::new(name);
    let capture = capture_path(&format!("{name}.core.zst"));
    let capture = capture.to_str().unwrap();
    let dir = temp.path("dir");
    good(&["restore", capture, "--hash", "--out", &dir]);
    let original = json_of(&["inspect", capture, "--json"]);
    for (format, dialect) in ways {
        let case = format!("{name} {format} {dialect}");
        let (image, again) = (temp.path("image"), temp.path("again"));
        let args = ["pack", &dir, "--out", &image, "--force"];
        good(&[&args[..], &["--format", format, "--dialect", dialect]].concat());
        read(&["restore", "--hash", "--out", &again], &image);
        let (mut before, mut report) = (manifest(&dir), original.clone());
        if *dialect == "composite" {
            composite(&mut before);
            composite(&mut report);
        } else {
            before["dialect"] = Value::from(*dialect);
        }
        assert_eq!(manifest(&again), before, "{case}");
        same_files(&dir, &again, &before);
        let packed = inspect(&image);
        for part in ["luo", "kexec_metadata", "compatible"] {
            assert_eq!(packed[part], report[part], "{part} of {case}");
        }
        assert_eq!(packed["verdict"]["decision"], "accept", "{case}");
        let listed = packed["listed"].as_object();
        let listed = listed.map(|listed| listed.keys().map(String::as_str).collect::<Vec<_>>());
        let handlers = before["sessions"].as_array().unwrap();
        let memfds = handlers.iter().any(|session| session["files"] != json!([]));
        let mut expected = vec![
            "block",
            "kexec-metadata",
            "kho",
            "luo",
            "memfd",
            "radix",
            "vmalloc",
        ];
        // What is in use, and nothing else.
        expected.retain(|name| memfds || *name != "memfd");
        match *dialect {
            "table" | "features" => assert_eq!(listed.unwrap(), expected, "{case}"),
            _ => assert_eq!(listed, None, "{case}"),
        }
        // Nothing but LUO's own and the metadata is preserved, and nothing else is stored.
        assert_eq!(packed["unclaimed"]["pages"], 0, "{case}");
        let pages = &packed["preserved"];
        let in_use = pages["pages"].as_u64().unwrap() + pages["radix_nodes"].as_u64().unwrap();
        let entry = json_file(format!("{image}.json"));
        assert_eq!(
            entry["in_use"],
            (in_use + 1) * 4096,
            "{case}: and the scratch table"
        );
        let blocks = Path::new(&image).metadata().unwrap().blocks();
        assert!(blocks * 512 < 20 << 20, "{case}: {blocks} blocks");
        fs::remove_dir_all(again).unwrap();
    }
}

#[test]
fn what_real_kernels_handed_over_goes_round() {
    let ways = [
        ("elf", "plain"),
        ("raw", "composite"),
        ("raw", "plain"),
        ("elf", "composite"),
        ("raw", "table"),
        ("elf", "features"),
    ];
    for name in CAPTURES {
        goes_round(name, &ways);
    }
}

#[test]
fn half_a_gigabyte_goes_round() {
    goes_round("chunks", &[("elf", "plain"), ("raw", "composite")]);
}

#[test]
fn an_elf_image_is_read_without_any_address() {
    let temp = Temp::new("elf");
    let (dir, image) = (temp.path("dir"), temp.path("image"));
    let capture = capture_path("small.core.zst");
    good(&["restore", capture.to_str().unwrap(), "--out", &dir]);
    let human = good(&["pack", &dir, "--out", &image]);
    let entry = json_file(format!("{image}.json"));
    assert_eq!(human.lines().count(), 2, "{human}");
    assert!(human.starts_with("packed 12 files of 3 sessions, 229.6 KiB, into "));
    let report = json_of(&["inspect", &image, "--json"]);
    for key in ["fdt_addr", "fdt_size", "scratch_addr", "scratch_size"] {
        assert_eq!(report["entry"][key], entry[key], "{key}");
    }
    assert_eq!(report["scratch_source"], "elimination");
    assert_eq!(report["scratch"], entry["scratch"]);
    let mib = 1u64 << 20;
    let (base, memory) = (512 * mib, 512 * mib);
    assert_eq!(
        (&entry["base"], &entry["memory"]),
        (&json!(base), &json!(memory))
    );
    let scratch = json!([
        [base + memory - 160 * mib, 96 * mib],
        [base + memory - 64 * mib, 64 * mib]
    ]);
    assert_eq!(entry["scratch"], scratch);
    assert_eq!(entry["format"], "elf");
    assert_eq!(report["subtrees"]["LUO"]["size"], 32);

    // The same for programs, elsewhere in memory.
    let args = [
        "--json",
        "--force",
        "--base",
        "0x140000000",
        "--memory",
        "1G",
    ];
    let printed = json_of(&[&["pack", &dir, "--out", &image], &args[..]].concat());
    assert_eq!(printed, json_file(format!("{image}.json")));
    assert_eq!(printed["base"], 0x1_4000_0000u64);
    assert_eq!(printed["memory"], 1 << 30);
    let scratch = 0x1_8000_0000u64 - 160 * mib;
    assert_eq!(printed["scratch"][0][0], scratch);
    assert!(printed["fdt_addr"].as_u64().unwrap() >= 0x1_4000_0000);
    // Page 0 is none: nothing lies there.
    let printed = json_of(&[
        "pack", &dir, "--out", &image, "--force", "--json", "--base", "0",
    ]);
    assert!(printed["fdt_addr"].as_u64().unwrap() > 4096);
    assert_eq!(inspect(&image)["luo"]["sessions"][2]["count"], 4);
    assert_eq!(
        names_in(&temp),
        ["dir", "image", "image.json"].map(String::from).into()
    );
}

#[test]
fn the_manifest_says_the_dialect() {
    let temp = Temp::new("dialect");
    let mut b = Builder::new();
    b.root_compatible = "kho-v4;radix-v1;vmalloc-v1".into();
    b.luo_compatible = "luo-v5;block-v1".into();
    let data = b.memfd(&MemfdSpec::new(vec![5; 9000]));
    b.session(b"s", &[Builder::file("memfd-v2;vmalloc-v1", data, 1)]);
    let core = temp.file("core", b.finish().mem.to_elf());
    let (dir, image) = (temp.path("dir"), temp.path("image"));
    good(&["restore", &core, "--out", &dir]);
    good(&["pack", &dir, "--out", &image]);
    let report = inspect(&image);
    assert_eq!(report["compatible"], "kho-v4;radix-v1;vmalloc-v1");
    assert_eq!(report["luo"]["compatible"], "luo-v5;block-v1");
    let file = &report["luo"]["sessions"][0]["files"][0];
    assert_eq!(file["compatible"], "memfd-v2;vmalloc-v1");
    assert_eq!(report["subtrees"]["LUO"]["size"], 40);
    assert_eq!(report["kexec_metadata"], Value::Null, "none was there");
    good(&[
        "pack",
        &dir,
        "--out",
        &image,
        "--force",
        "--dialect",
        "plain",
    ]);
    assert_eq!(inspect(&image)["luo"]["compatible"], "luo-v5");
    // What stands beside the strings comes round without being asked for.
    for dialect in ["table", "features"] {
        good(&[
            "pack",
            &dir,
            "--out",
            &image,
            "--force",
            "--dialect",
            dialect,
        ]);
        let again = temp.path(dialect);
        good(&["restore", &image, "--out", &again]);
        good(&["pack", &again, "--out", &image, "--force"]);
        assert_eq!(inspect(&image)["dialect"], dialect);
        let manifest = Path::new(&again).join("manifest.json");
        let altered = fs::read_to_string(&manifest)
            .unwrap()
            .replace(dialect, "tablet");
        fs::write(&manifest, altered).unwrap();
        let output = kho(&["pack", &again, "--out", &image, "--force"]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(
            error.contains("plain, composite, composite-direct, table, features"),
            "{error}"
        );
    }
}

#[test]
fn odd_names_and_holes_go_round() {
    let temp = Temp::new("odd");
    let mut b = Builder::new();
    let names: &[&[u8]] = &[
        b"../../etc/passwd",
        b".",
        b"a b%",
        b"n\xff\n",
        "größe".as_bytes(),
    ];
    for name in names {
        let data = b.memfd(&MemfdSpec::new(name.to_vec()));
        b.session(name, &[Builder::file("memfd-v2", data, u64::MAX)]);
    }
    let mut contents = vec![0; 5 * 4096 + 1];
    contents[4096..8192].fill(1);
    contents[4 * 4096..].fill(2);
    let spec = MemfdSpec {
        holes: vec![0, 2, 3],
        ..MemfdSpec::new(contents)
    };
    b.session_of("holes", &[spec]);
    let large = MemfdSpec {
        order: 3,
        ..MemfdSpec::new(vec![3; 100_000])
    };
    b.session_of("large", &[large]);
    let core = temp.file("core", b.finish().mem.to_elf());
    let (dir, image, again) = (temp.path("dir"), temp.path("image"), temp.path("again"));
    good(&["restore", &core, "--hash", "--out", &dir]);
    good(&["pack", &dir, "--out", &image]);
    read(&["restore", "--hash", "--out", &again], &image);
    let listed = manifest(&dir);
    assert_eq!(manifest(&again), listed);
    same_files(&dir, &again, &listed);
    let orders = |session: usize| &listed["sessions"][session]["files"][0]["folio_orders"];
    let holes = json!([[null, 1], [0, 1], [null, 2], [0, 2]]);
    assert_eq!(*orders(names.len()), holes);
    assert_eq!(*orders(names.len() + 1), json!([[3, 4]]));

    // Without the manifest the names are the same, and nothing else is known.
    fs::remove_file(Path::new(&dir).join("manifest.json")).unwrap();
    good(&["pack", &dir, "--out", &image, "--force"]);
    let report = inspect(&image);
    let sessions = report["luo"]["sessions"].as_array().unwrap();
    let found: BTreeSet<_> = sessions
        .iter()
        .map(|session| session["name"].as_str())
        .collect();
    for listed in listed["sessions"].as_array().unwrap() {
        assert!(
            found.contains(&listed["name"].as_str()),
            "{}",
            listed["name"]
        );
    }
    assert_eq!(found.len(), names.len() + 2);
    assert_eq!(sessions[0]["files"][0]["token"], u64::MAX);
}

/// A directory made by hand.
fn by_hand(temp: &Temp) -> String {
    temp.file("dir/vm/disk.img", vec![7; 2_500_000]);
    temp.file("dir/vm/another.img", b"");
    temp.file("dir/vm/0000000000000002.bin", b"two");
    temp.file("dir/vm/ff.bin", b"255");
    temp.file("dir/vm/.hidden", b"not this");
    temp.file("dir/.git/config", b"nor this");
    fs::create_dir_all(temp.path("dir/none")).unwrap();
    let sparse = fs::File::create(temp.path("dir/vm/sparse")).unwrap();
    sparse.set_len((3 << 20) + 1).unwrap();
    sparse.write_all_at(&[9; 4096], 2 << 20).unwrap();
    symlink("disk.img", temp.path("dir/vm/link")).unwrap();
    temp.path("dir")
}

#[test]
fn a_directory_made_by_hand_is_packed() {
    let temp = Temp::new("hand");
    let dir = by_hand(&temp);
    let (image, again) = (temp.path("image"), temp.path("again"));
    good(&["pack", &dir, "--out", &image]);
    let report = inspect(&image);
    assert_eq!(report["luo"]["liveupdate_num"], 1);
    assert_eq!(report["luo"]["flbs"], json!([]));
    assert_eq!(report["kexec_metadata"], Value::Null);
    let sessions = report["luo"]["sessions"].as_array().unwrap();
    let names: Vec<_> = sessions.iter().map(|session| &session["name"]).collect();
    assert_eq!(names, ["none", "vm"]);
    let files = sessions[1]["files"].as_array().unwrap();
    let found: Vec<_> = files
        .iter()
        .map(|file| {
            (
                file["token"].as_u64().unwrap(),
                file["size"].as_u64().unwrap(),
            )
        })
        .collect();
    // In order of their names: 00..02.bin, another.img, disk.img, ff.bin, link, sparse.
    assert_eq!(
        found,
        [
            (2, 3),
            (1, 0),
            (3, 2_500_000),
            (255, 3),
            (4, 2_500_000),
            (5, (3 << 20) + 1)
        ]
    );
    assert!(
        files
            .iter()
            .all(|file| file["pos"] == 0 && file["seals"] == 0)
    );
    // 2500000 bytes are 611 pages.
    let orders = json!([[9, 1], [6, 1], [5, 1], [1, 1], [0, 1]]);
    assert_eq!(files[2]["folio_orders"], orders);
    read(&["restore", "--out", &again], &image);
    for (name, token) in [("disk.img", 3), ("ff.bin", 255), ("link", 4), ("sparse", 5)] {
        let packed = fs::read(Path::new(&dir).join("vm").join(name)).unwrap();
        let restored = fs::read(format!("{again}/vm/{token:016x}.bin")).unwrap();
        assert!(packed == restored, "{name}");
    }
    // Only where the file system knows holes: one page of data, and the file's end.
    let sparse = fs::metadata(Path::new(&dir).join("vm/sparse")).unwrap();
    if sparse.blocks() * 512 == 4096 {
        let orders = json!([[null, 512], [0, 1], [null, 256]]);
        assert_eq!(files[5]["folio_orders"], orders);
    }
    // What was restored of it is packed into the same.
    let second = temp.path("second");
    good(&["pack", &again, "--out", &second]);
    assert_eq!(inspect(&second)["luo"], report["luo"]);
}

/// The least that a manifest says.
fn least() -> Value {
    json!({
        "format": "kho-restore-v1",
        "sessions": [
            { "name": "a", "files": [
                { "token": 1, "path": "a/one" },
                { "token": 2, "path": "a/two", "pos": 7, "seals": 6 }
            ] },
            { "name": "b" }
        ]
    })
}

fn of_manifest(temp: &Temp, manifest: &Value) -> String {
    temp.file("dir/a/one", vec![1; 70_000]);
    temp.file("dir/a/two", vec![2; 5000]);
    temp.file("dir/manifest.json", manifest.to_string());
    temp.path("dir")
}

#[test]
fn a_manifest_may_say_little() {
    let temp = Temp::new("little");
    let image = temp.path("image");
    let dir = of_manifest(&temp, &least());
    good(&["pack", &dir, "--out", &image]);
    let report = inspect(&image);
    let luo = &report["luo"];
    assert_eq!(
        (&luo["liveupdate_num"], &luo["compatible"]),
        (&json!(1), &json!("luo-v5"))
    );
    let files = &luo["sessions"][0]["files"];
    assert_eq!(files[0]["folio_orders"], json!([[4, 1], [1, 1]]));
    assert_eq!(
        (&files[1]["pos"], &files[1]["seals"]),
        (&json!(7), &json!(6))
    );
    assert_eq!(luo["sessions"][1]["count"], 0);

    // Nothing at all: a handover without LUO.
    let dir = of_manifest(&temp, &json!({ "format": "kho-restore-v1" }));
    good(&["pack", &dir, "--out", &image, "--force"]);
    let report = inspect(&image);
    assert_eq!(
        (&report["luo"], &report["subtrees"]),
        (&Value::Null, &json!({}))
    );
    let again = temp.path("again");
    read(&["restore", "--out", &again], &image);
    good(&["pack", &again, "--out", &image, "--force"]);
    assert_eq!(inspect(&image)["luo"], Value::Null);

    // Numbers, a release, and objects of other counts than there are files.
    let mut value = least();
    value["liveupdate_num"] = json!(u64::MAX);
    value["kexec_metadata"] = json!({ "previous_release": "9.8-größe", "kexec_count": u32::MAX });
    let flbs = json!([
        { "name": "one-v1", "data": 1, "count": 1 },
        { "name": "two-v2", "data": u64::MAX, "count": 2 },
        { "name": "another-v1", "data": 0, "count": 1 }
    ]);
    value["flbs"] = flbs.clone();
    let dir = of_manifest(&temp, &value);
    good(&["pack", &dir, "--out", &image, "--force"]);
    let report = inspect(&image);
    assert_eq!(report["luo"]["flbs"], flbs);
    assert_eq!(report["luo"]["liveupdate_num"], u64::MAX);
    assert_eq!(report["kexec_metadata"]["previous_release"], "9.8-größe");
    assert_eq!(report["kexec_metadata"]["kexec_count"], u32::MAX);
}

#[test]
fn contents_may_be_changed() {
    let temp = Temp::new("changed");
    let (dir, image) = (temp.path("dir"), temp.path("image"));
    let capture = capture_path("small.core.zst");
    let capture = capture.to_str().unwrap();
    good(&["restore", capture, "--out", &dir]);
    let path = Path::new(&dir).join("session-1/0000000100000008.bin");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"changed", 5000).unwrap();
    good(&["pack", &dir, "--out", &image]);
    let again = temp.path("again");
    read(&["restore", "--out", &again], &image);
    let restored = fs::read(format!("{again}/session-1/0000000100000008.bin")).unwrap();
    assert_eq!(&restored[5000..5007], b"changed");

    // With a checksum beside it that is refused.
    good(&["restore", capture, "--out", &dir, "--force", "--hash"]);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"changed", 5000).unwrap();
    let output = kho(&["pack", &dir, "--out", &image, "--force"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("0000000100000008.bin") && stderr.contains("sha256"),
        "{stderr}"
    );
}

#[test]
fn a_part_of_a_handover_is_packed() {
    let temp = Temp::new("part");
    let (dir, image) = (temp.path("dir"), temp.path("image"));
    let capture = capture_path("small.core.zst");
    let capture = capture.to_str().unwrap();
    good(&["restore", capture, "--session", "session-1", "--out", &dir]);
    let human = good(&["pack", &dir, "--out", &image]);
    let note = "note: FLB `liveupdate-test-flb-v0`: of 12 files, 4 are here";
    assert!(human.contains(note), "{human}");
    let report = inspect(&image);
    assert_eq!(report["luo"]["sessions"].as_array().unwrap().len(), 1);
    let counts: Vec<_> = report["luo"]["flbs"].as_array().unwrap().iter().collect();
    assert!(counts.len() == 3 && counts.iter().all(|flb| flb["count"] == 4));
    let entry = json_file(format!("{image}.json"));
    assert_eq!(entry["notes"].as_array().unwrap().len(), 3);

    // A part without files has no objects.
    let mut value = json_file(Path::new(&dir).join("manifest.json"));
    value["sessions"][0]["files"] = json!([]);
    fs::write(Path::new(&dir).join("manifest.json"), value.to_string()).unwrap();
    good(&["pack", &dir, "--out", &image, "--force"]);
    assert_eq!(inspect(&image)["luo"]["flbs"], json!([]));
}

/// What is changed in the least manifest, and what is said of it: where, found, expected.
type Refused<'c> = (&'c str, Value, [&'c str; 3]);

#[test]
fn what_can_not_be_packed_is_refused() {
    let temp = Temp::new("refused");
    let (image, long) = (temp.path("image"), "x".repeat(64));
    let file = "manifest.json, sessions[0].files[1]";
    let flb = |name: &str, count: u64| json!([{ "name": name, "data": 0, "count": count }]);
    let orders = |list: Value, found: &'static str, expected: &'static str| {
        (
            "/sessions/0/files/1/folio_orders",
            list,
            [
                "manifest.json, sessions[0].files[1].folio_orders",
                found,
                expected,
            ],
        )
    };
    let cases: &[Refused<'_>] = &[
        // The whole.
        ("", json!([]), ["manifest.json", "[]", "an object"]),
        (
            "/format",
            json!("kho-restore-v2"),
            [
                "manifest.json, format",
                "\"kho-restore-v2\"",
                "kho-restore-v1",
            ],
        ),
        (
            "/sessions",
            json!({}),
            ["manifest.json, sessions", "{}", "an array"],
        ),
        (
            "/compatible",
            json!("kho-v5"),
            ["manifest.json, compatible", "\"kho-v5\"", "kho-v4"],
        ),
        (
            "/luo",
            json!("luo-v6"),
            ["manifest.json, luo", "\"luo-v6\"", "luo-v5"],
        ),
        (
            "/luo",
            json!("kho-v4"),
            ["manifest.json, luo", "\"kho-v4\"", "luo-v5"],
        ),
        (
            "/liveupdate_num",
            json!(0),
            ["manifest.json, liveupdate_num", "0", "at least 1"],
        ),
        (
            "/liveupdate_num",
            json!(1.5),
            ["manifest.json, liveupdate_num", "1.5", "a whole number"],
        ),
        (
            "/complete",
            json!(1),
            ["manifest.json, complete", "1", "true or false"],
        ),
        (
            "/kexec_metadata",
            json!({ "version": 2 }),
            ["kexec_metadata.version", "2", "version 1"],
        ),
        (
            "/kexec_metadata",
            json!({ "previous_release": "", "kexec_count": 1 }),
            ["kexec_metadata.previous_release", "\"\"", "1 to 64"],
        ),
        (
            "/kexec_metadata",
            json!({ "previous_release": "7\u{1b}", "kexec_count": 1 }),
            ["kexec_metadata.previous_release", "\\u001b", "printable"],
        ),
        (
            "/kexec_metadata",
            json!({ "previous_release": "7", "kexec_count": 1u64 << 32 }),
            [
                "kexec_metadata.kexec_count",
                "4294967296",
                "up to 4294967295",
            ],
        ),
        (
            "/kexec_metadata",
            json!({ "previous_release": "7" }),
            ["manifest.json, kexec_metadata", "none", "`kexec_count`"],
        ),
        // Objects.
        (
            "/flbs",
            flb("f-v1", 3),
            ["manifest.json, flbs[0].count", "3", "at most 2"],
        ),
        (
            "/flbs",
            flb("f-v1", 0),
            ["manifest.json, flbs[0].count", "0", "at least 1"],
        ),
        (
            "/flbs",
            flb("", 1),
            ["manifest.json, flbs[0].name", "\"\"", "1 to 47"],
        ),
        (
            "/flbs",
            flb(&long, 1),
            ["manifest.json, flbs[0].name", "xxx", "1 to 47"],
        ),
        (
            "/flbs",
            json!([flb("f", 1)[0], flb("f", 2)[0]]),
            ["manifest.json, flbs[1].name", "\"f\"", "of its own"],
        ),
        // Sessions.
        (
            "/sessions/1/name",
            json!("a"),
            ["manifest.json, sessions[1].name", "\"a\"", "of its own"],
        ),
        (
            "/sessions/1/name",
            json!(""),
            ["manifest.json, sessions[1].name", "\"\"", "1 to 63"],
        ),
        (
            "/sessions/1/name",
            json!(long),
            ["manifest.json, sessions[1].name", "64 bytes", "1 to 63"],
        ),
        (
            "/sessions/1/name",
            json!("a\0"),
            ["manifest.json, sessions[1].name", "\\x00", "without a NUL"],
        ),
        (
            "/sessions/1/name_bytes",
            json!("6"),
            ["sessions[1].name_bytes", "\"6\"", "two hexadecimal digits"],
        ),
        (
            "/sessions/1/name_bytes",
            json!("+1"),
            ["sessions[1].name_bytes", "\"+1\"", "two hexadecimal digits"],
        ),
        (
            "/sessions/1/name_bytes",
            json!("61"),
            ["manifest.json, sessions[1].name", "\"b\"", "of its own"],
        ),
        // Files.
        (
            "/sessions/0/files/1/token",
            json!(1),
            [file, "1", "of its own"],
        ),
        (
            "/sessions/0/files/1/token",
            json!("2"),
            [file, "\"2\"", "a whole number"],
        ),
        (
            "/sessions/0/files/1/compatible",
            json!("memfd-v3"),
            [file, "\"memfd-v3\"", "memfd-v2"],
        ),
        (
            "/sessions/0/files/1/compatible",
            json!("fd-v1"),
            [file, "\"fd-v1\"", "memfd-v2"],
        ),
        (
            "/sessions/0/files/1/compatible",
            json!("memfd-v2;zip-v1"),
            [file, "zip-v1", "memfd-v2"],
        ),
        (
            "/sessions/0/files/1/size",
            json!(5001),
            ["dir/a/two", "5000 bytes", "5001 bytes"],
        ),
        (
            "/sessions/0/files/1/pos",
            json!(1u64 << 63),
            [file, "9223372036854775808", "up to 9223372036854775807"],
        ),
        (
            "/sessions/0/files/1/pos",
            json!(-1),
            [file, "-1", "a whole number"],
        ),
        (
            "/sessions/0/files/1/seals",
            json!(0x40),
            [file, "64", "no bit outside 0x3f"],
        ),
        (
            "/sessions/0/files/1/seals",
            json!(1u64 << 32),
            [file, "4294967296", "no bit outside 0x3f"],
        ),
        ("/sessions/0/files/1/flags", json!(1), [file, "1", "0"]),
        (
            "/sessions/0/files/1/sha256",
            json!("abc"),
            [file, "\"abc\"", "64 hexadecimal"],
        ),
        (
            "/sessions/0/files/1/sha256",
            json!("0".repeat(64)),
            ["dir/a/two", "sha256", "0000"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("../outside"),
            [file, "\"../outside\"", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a/../a/two"),
            [file, "\"a/../a/two\"", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("/etc/passwd"),
            [file, "\"/etc/passwd\"", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a/out"),
            [file, "which leads to", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("out/outside"),
            [file, "which leads to", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!(""),
            [file, "\"\"", "inside the directory"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a/none"),
            [file, "\"a/none\"", "a file there"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a"),
            [file, "\"a\"", "a regular file"],
        ),
        (
            "/sessions/0/files/1/path",
            json!("a/pipe"),
            [file, "\"a/pipe\"", "a regular file"],
        ),
        // Folios of a file of two pages.
        (
            "/sessions/0/files/1/nr_folios",
            json!(3),
            [file, "3", "2, its pages"],
        ),
        orders(json!({}), "{}", "an array"),
        orders(json!([[0, 1]]), "[[0,1]]", "up to page 2"),
        orders(json!([[0, 3]]), "[0,3]", "behind the file's 2 pages"),
        orders(
            json!([[0, 2], [0, 1]]),
            "[0,1]",
            "behind the file's 2 pages",
        ),
        orders(json!([[11, 1]]), "[11,1]", "0 to 10"),
        orders(json!([[256, 1]]), "[256,1]", "0 to 10"),
        orders(json!([[-1, 1]]), "[-1,1]", "0 to 10"),
        orders(json!([["0", 1]]), "[\"0\",1]", "0 to 10"),
        orders(json!([[0, 0]]), "[0,0]", "at least 1"),
        orders(
            json!([[0, u64::MAX]]),
            "[0,18446744073709551615]",
            "behind the file's",
        ),
        orders(
            json!([[10, u64::MAX]]),
            "[10,18446744073709551615]",
            "behind the file's",
        ),
        orders(
            json!([[0, 1], [1, 1]]),
            "[1,1]",
            "multiples of their 2 pages, not at page 1",
        ),
        orders(json!([[0, 2, 0]]), "[0,2,0]", "[ORDER or null, COUNT]"),
        orders(json!([0, 2]), "0", "[ORDER or null, COUNT]"),
    ];
    of_manifest(&temp, &least());
    temp.file("outside", b"outside");
    symlink("../../outside", temp.path("dir/a/out")).unwrap();
    symlink("..", temp.path("dir/out")).unwrap();
    let made = Command::new("mkfifo").arg(temp.path("dir/a/pipe")).status();
    assert!(made.unwrap().success());
    let before = names_in(&temp);
    for (path, value, [place, found, expected]) in cases {
        let mut manifest = least();
        if let Some((parent, key)) = path.rsplit_once('/') {
            manifest.pointer_mut(parent).unwrap()[key] = value.clone();
        } else {
            manifest = value.clone();
        }
        let dir = of_manifest(&temp, &manifest);
        let output = kho(&["pack", &dir, "--out", &image]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{path} {value}: {stderr}");
        let line = |word: &str| {
            let line = stderr
                .lines()
                .find(|line| line.trim_start().starts_with(word));
            line.unwrap_or_else(|| panic!("no {word} in {stderr}"))
                .to_owned()
        };
        assert!(stderr.starts_with("refused: "), "{stderr}");
        for (word, text) in [("where", place), ("found", found), ("expected", expected)] {
            assert!(
                line(word).contains(text),
                "{path} {value}: {text:?} in {stderr}"
            );
        }
        assert_eq!(names_in(&temp), before, "{path} {value}");
    }

    // Another count than the list has.
    let mut manifest = least();
    manifest["sessions"][0]["files"][1]["folio_orders"] = json!([[1, 1]]);
    manifest["sessions"][0]["files"][1]["nr_folios"] = json!(2);
    let dir = of_manifest(&temp, &manifest);
    let output = kho(&["pack", &dir, "--out", &image]);
    assert!(text(&output.stderr).contains("1, as many as `folio_orders` has"));
    // Contents where there is a hole.
    manifest["sessions"][0]["files"][1]["folio_orders"] = json!([[0, 1], [null, 1]]);
    let dir = of_manifest(&temp, &manifest);
    let output = kho(&["pack", &dir, "--out", &image]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not 0 at offset 0x1000"));
    // No JSON; and what went wrong, for programs.
    temp.file(
        "dir/manifest.json",
        b"{\n  \"format\": \"kho-restore-v1\",\n}",
    );
    let output = kho(&["pack", &dir, "--out", &image, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("manifest.json, line 3 column 1"));
    let failure: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(failure["failure"]["kind"], "refused");
    assert_eq!(failure["failure"]["details"][0][0], "where");
    // A manifest that is elsewhere.
    fs::remove_file(temp.path("dir/manifest.json")).unwrap();
    symlink("../outside", temp.path("dir/manifest.json")).unwrap();
    let output = kho(&["pack", &dir, "--out", &image]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("a path leaves the directory"));
    assert_eq!(names_in(&temp), before);
}

#[test]
fn what_is_no_directory_of_sessions_is_refused() {
    let temp = Temp::new("by-hand");
    let image = temp.path("image");
    let refused = |expected: &str| {
        let output = kho(&["pack", &temp.path("dir"), "--out", &image]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert!(!Path::new(&image).exists());
    };
    temp.file("dir/vm/1.bin", b"1");
    temp.file("dir/vm/01.bin", b"1");
    refused("0x1, as a file before it");
    fs::remove_file(temp.path("dir/vm/01.bin")).unwrap();
    fs::create_dir(temp.path("dir/vm/sub")).unwrap();
    refused("\"vm/sub\", which is none");
    fs::remove_dir(temp.path("dir/vm/sub")).unwrap();
    symlink("/etc/passwd", temp.path("dir/vm/passwd")).unwrap();
    refused("leads to \"/etc/passwd\"");
    fs::remove_file(temp.path("dir/vm/passwd")).unwrap();
    temp.file("dir/file", b"beside the sessions");
    refused("directories of files, one for each session");
    fs::remove_file(temp.path("dir/file")).unwrap();
    fs::create_dir(temp.path("dir/%76m")).unwrap();
    refused("`vm`, as a session before it");
    fs::remove_dir(temp.path("dir/%76m")).unwrap();
    fs::create_dir(temp.path("dir/%00")).unwrap();
    refused("without a NUL");
    fs::remove_dir(temp.path("dir/%00")).unwrap();
    // More than there is memory for, of which nothing is there.
    let sparse = fs::File::create(temp.path("dir/vm/vast")).unwrap();
    if sparse.set_len(4 << 50).is_ok() {
        refused("less than 1 TiB");
    }
    fs::remove_file(temp.path("dir/vm/vast")).unwrap();
    good(&["pack", &temp.path("dir"), "--out", &image]);
}

#[test]
fn memory_that_is_too_small_says_how_much_is_needed() {
    let temp = Temp::new("memory");
    let image = temp.path("image");
    // A little more, and a little less, than 4 MiB with all that is about it; of several orders.
    for pages in [10, 990, 1100, 40_000] {
        let file = fs::File::create(temp.file("dir/s/file", b"")).unwrap();
        file.set_len(pages * 4096).unwrap();
        let mut manifest = json!({ "format": "kho-restore-v1" });
        let listed = json!({ "token": 1, "path": "s/file", "nr_folios": pages });
        manifest["sessions"] = json!([{ "name": "s", "files": [listed] }]);
        let dir = temp.path("dir");
        temp.file("dir/manifest.json", manifest.to_string());
        let pack = |memory: u64| {
            let memory = memory.to_string();
            kho(&[
                "pack", &dir, "--out", &image, "--force", "--memory", &memory,
            ])
        };
        let output = pack(8 << 20);
        assert_eq!(output.status.code(), Some(2));
        let stderr = text(&output.stderr);
        let needed = stderr.trim().rsplit_once("at least ").expect(&stderr).1;
        let needed: u64 = needed.strip_suffix(" MiB").unwrap().parse().unwrap();
        let output = pack((needed - 4) << 20);
        assert_eq!(output.status.code(), Some(2), "{pages}: {needed}");
        let output = pack(needed << 20);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let report = inspect(&image);
        assert_eq!(report["luo"]["sessions"][0]["files"][0]["nr_folios"], pages);
        let entry = json_file(format!("{image}.json"));
        let (memory, scratch) = (entry["memory"].as_u64().unwrap(), &entry["scratch"]);
        let end = entry["base"].as_u64().unwrap() + memory;
        let area = |index: usize, part: usize| scratch[index][part].as_u64().unwrap();
        assert_eq!(area(0, 0) + area(0, 1), area(1, 0));
        assert_eq!(area(1, 0) + area(1, 1), end);
        // As little memory as that is the least there is: the last 4 MiB before it are in use.
        let used = entry["in_use"].as_u64().unwrap().next_multiple_of(4 << 20);
        assert_eq!(
            area(0, 0) - entry["base"].as_u64().unwrap(),
            used,
            "{pages}"
        );
        // By default it is as much as a kernel needs to start in.
        good(&["pack", &dir, "--out", &image, "--force"]);
        let memory = json_file(format!("{image}.json"))["memory"].clone();
        assert_eq!(memory, 512 << 20, "{pages}");
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn wrong_usage_is_told() {
    let temp = Temp::new("usage");
    let dir = by_hand(&temp);
    temp.file("file", b"");
    let (image, file, none) = (temp.path("image"), temp.path("file"), temp.path("none"));
    let before = names_in(&temp);
    let cases: &[(&[&str], &str)] = &[
        (&[&dir], "--out"),
        (&["--out", &image], "<DIR>"),
        (&[&none, "--out", &image], "none: No such file"),
        (&[&file, "--out", &image], "file: not a directory"),
        (&[&dir, "--out", ".."], "no file's name"),
        (&[&dir, "--out", &dir], "is no regular file"),
        (&[&dir, "--out", "/dev/null"], "is no regular file"),
        (
            &[&dir, "--out", &format!("{file}/image")],
            "file is not a directory",
        ),
        (&[&dir, "--out", &image, "--format", "zip"], "elf, raw"),
        (
            &[&dir, "--out", &image, "--dialect", "zip"],
            "plain, composite",
        ),
        (
            &[&dir, "--out", &image, "--base", "0x1000"],
            "a multiple of 4 MiB",
        ),
        (
            &[&dir, "--out", &image, "--base", "0xffffffffffc00000"],
            "2^52",
        ),
        (&[&dir, "--out", &image, "--base", "x"], "a 64-bit number"),
        (
            &[&dir, "--out", &image, "--memory", "513K"],
            "a multiple of 4 MiB",
        ),
        (&[&dir, "--out", &image, "--memory", "0"], "at least "),
        (&[&dir, "--out", &image, "--memory", "2T"], "up to 1 TiB"),
    ];
    for (args, expected) in cases {
        let output = kho(&[&["pack"], *args].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
        assert_eq!(names_in(&temp), before, "{args:?}");
    }
    let help = good(&["pack", "--help"]);
    for word in [
        "manifest.json",
        "IMAGE.json",
        "--base",
        "Examples:",
        "tokens from 1",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
}

#[test]
fn an_image_is_replaced_when_asked_to() {
    let temp = Temp::new("force");
    let dir = by_hand(&temp);
    let image = temp.path("deeper/still/image");
    // The directories on the way are made.
    good(&["pack", &dir, "--out", &image]);
    let first = (
        fs::read(&image).unwrap(),
        fs::read(format!("{image}.json")).unwrap(),
    );
    let is_first = || {
        (
            fs::read(&image).unwrap(),
            fs::read(format!("{image}.json")).unwrap(),
        ) == first
    };
    let output = kho(&["pack", &dir, "--out", &image, "--memory", "1G"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("still/image") && stderr.contains("--force"),
        "{stderr}"
    );
    assert!(is_first());
    // One that fails leaves what was there, forced or not.
    let output = kho(&["pack", &dir, "--out", &image, "--memory", "8M", "--force"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(is_first());
    good(&["pack", &dir, "--out", &image, "--memory", "1G", "--force"]);
    assert_eq!(json_file(format!("{image}.json"))["memory"], 1 << 30);
    // The addresses alone are in the way, too.
    fs::remove_file(&image).unwrap();
    let output = kho(&["pack", &dir, "--out", &image]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("image.json"));
    let entries = fs::read_dir(temp.path("deeper/still")).unwrap();
    assert_eq!(entries.count(), 1);
    // Where one is.
    let output = Command::new(env!("CARGO_BIN_EXE_kho"))
        .args(["pack", "dir", "--out", "here"])
        .current_dir(temp.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let names = ["deeper", "dir", "here", "here.json"].map(String::from);
    assert_eq!(names_in(&temp), names.into());
}

#[test]
fn an_interrupt_leaves_nothing() {
    let temp = Temp::new("interrupt");
    let file = fs::File::create(temp.file("dir/s/file", b"")).unwrap();
    file.set_len(64 << 30).unwrap();
    let listed = json!({ "token": 1, "path": "s/file", "nr_folios": 16 << 20 });
    let sessions = json!([{ "name": "s", "files": [listed] }]);
    let manifest = json!({ "format": "kho-restore-v1", "sessions": sessions });
    temp.file("dir/manifest.json", manifest.to_string());
    let child = Command::new(env!("CARGO_BIN_EXE_kho"))
        .args(["pack", &temp.path("dir"), "--out", &temp.path("image")])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("nothing was changed"));
    assert_eq!(names_in(&temp), ["dir".to_owned()].into());
}

/// The engine's side of it: objects of another system's are written as they stand.
#[test]
fn foreign_flbs_are_written_as_they_stand() {
    use kho_core::{Handover, Kho, KhoConfig};
    use kho_luo::{Handlers, Luo, LuoError, Orchestrator};
    use kho_mem::{Arena, ArenaConfig, PhysAddr};
    use kho_memfd::{MemFile, MemfdHandler};

    let config = ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20);
    let arena = Arena::heap(&config).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let luo = Orchestrator::new(kho, Handlers::new().with(MemfdHandler), 0).unwrap();
    let flb = |name: &str, data: u64, count: u64| (name.to_owned(), data, count);
    let long = "x".repeat(48);
    for refused in [
        vec![flb("", 0, 1)],
        vec![flb(&long, 0, 1)],
        vec![flb("a\n", 0, 1)],
        vec![flb("a", 0, 0)],
        vec![flb("a", 0, 1), flb("a", 1, 1)],
        (0..64).map(|n| flb(&n.to_string(), 0, 1)).collect(),
    ] {
        let result = luo.clone().with_foreign_flbs(refused.clone());
        assert!(matches!(result, Err(LuoError::BadFlb(_))), "{refused:?}");
    }
    let luo = luo
        .with_foreign_flbs([flb(&long[1..], u64::MAX, 2)])
        .unwrap();
    let luo = luo.with_foreign_flbs([flb("b-v1", 7, 1)]).unwrap();
    assert!(
        luo.clone().with_foreign_flbs([flb("b-v1", 7, 1)]).is_err(),
        "taken"
    );
    let session = luo.create_session("s").unwrap();
    for token in 0..2 {
        // With one file less there is an object of more files than there are.
        let frozen = luo.freeze();
        assert!(matches!(frozen, Err(LuoError::BadFlb(_))), "{token}");
        let file = std::sync::Arc::new(MemFile::new(&arena));
        file.write_at(0, b"file").unwrap();
        session.preserve(token, file).unwrap();
    }
    let frozen = luo.freeze().unwrap();
    assert!(luo.clone().with_foreign_flbs([]).is_err(), "frozen");
    frozen.thaw();
    let frozen = luo.freeze().unwrap();
    drop((session, luo, arena));
    let (arena, entry) = frozen.hand_over().unwrap();
    let handed = arena.into_handed().unwrap();
    let handover = Handover::open(&handed, entry).unwrap();
    let mut reading = handover.reading().unwrap();
    let luo = Luo::read(&handover, &mut reading).unwrap().unwrap();
    let flbs = luo.body().unwrap().flbs().iter();
    let found: Vec<_> = flbs
        .map(|flb| (flb.name.clone(), flb.data, flb.count))
        .collect();
    assert_eq!(found, [flb(&long[1..], u64::MAX, 2), flb("b-v1", 7, 1)]);
}
