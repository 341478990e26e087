//! `kho pack`: what a restore gave is packed into an image that gives the same again; directories
//! made by hand are packed too; what can not be is refused, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod by_hand;
#[path = "../common/mod.rs"]
mod common;
mod refused;
mod round;
mod usage;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{Temp, has, kho, text};
use kho_testkit::{Builder, MemfdSpec, capture_path};
use serde_json::{Value, json};

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
