//! Whatever form a dump has, the commands say and give back the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Temp, has, kho, text};
use kho_testkit::{Kdump, Laid, Memory, Packed, capture, capture_path, flatten};
use serde_json::Value;

/// The capture `name` in every form.
fn forms(name: &str) -> Vec<(&'static str, Vec<u8>)> {
    let memory = capture(name);
    let page_size = match name {
        "arm64-16k" => 16384,
        "arm64-64k" => 65536,
        _ => 4096,
    };
    let kdump = |packed| {
        Kdump {
            packed,
            page_size,
            ..Kdump::default()
        }
        .write(&memory)
        .bytes
    };
    let core = memory.to_elf();
    let zlib = kdump(Packed::Zlib);
    let pieces = |bytes: &'static [u8]| (0u64..).step_by(7919).zip(bytes.chunks(7919));
    let flat = |bytes: &[u8]| flatten(pieces(bytes.to_vec().leak()));
    vec![
        ("plain", kdump(Packed::Plain)),
        ("lzo", kdump(Packed::Lzo)),
        ("snappy", kdump(Packed::Snappy)),
        ("zstd", kdump(Packed::Zstd)),
        ("flattened", flat(&zlib)),
        ("flattened core", flat(&core)),
        (
            "flattened and packed",
            zstd::encode_all(&flat(&zlib)[..], 1).unwrap(),
        ),
        ("packed", zstd::encode_all(&zlib[..], 1).unwrap()),
        ("LiME", memory.to_lime()),
        ("zlib", zlib),
    ]
}

/// A report without what depends on the file.
fn bare(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.remove("file_offset");
                members.values_mut().for_each(strip);
            }
            Value::Array(all) => all.iter_mut().for_each(strip),
            _ => {}
        }
    }
    value.as_object_mut().unwrap().remove("image");
    strip(&mut value);
    value
}

fn inspect(path: &str) -> Value {
    let output = kho(&["inspect", "--json", "--hash", path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All files below `dir`.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

fn restore(image: &str, dir: &Temp, name: &str) -> BTreeMap<String, Vec<u8>> {
    let out = dir.path(name);
    let output = kho(&["restore", image, "--out", &out]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut found = tree(Path::new(&out));
    // It names the image.
    found.remove("manifest.json").unwrap();
    found
}

#[test]
fn every_form_is_inspected_and_restored_alike() {
    for name in ["small", "thp", "mixed", "none", "arm64-16k", "arm64-64k"] {
        let dir = Temp::new(&format!("forms-{name}"));
        let core = capture_path(&format!("{name}.core.zst"));
        let core = core.to_str().unwrap();
        let report = bare(inspect(core));
        let files = restore(core, &dir, "core");
        for (form, bytes) in forms(name) {
            let path = dir.file("dump", &bytes);
            let found = inspect(&path);
            assert_eq!(
                found["image"]["flattened"],
                form.contains("flattened"),
                "{name}: {form}"
            );
            assert!(bare(found) == report, "{name}: {form}");
            assert!(
                restore(&path, &dir, &form.replace(' ', "-")) == files,
                "{name}: {form}"
            );
        }
    }
}

#[test]
fn preflight_takes_every_form() {
    let dir = Temp::new("preflight-forms");
    let judged = |path: &str| {
        let output = kho(&[
            "preflight",
            "--json",
            "--from",
            path,
            "--to",
            env!("CARGO_BIN_EXE_kho"),
        ]);
        let mut value = bare(serde_json::from_slice(&output.stdout).unwrap());
        let from = value["from"].as_object_mut().unwrap();
        let form = from.remove("form");
        for name in ["name", "given"] {
            from.remove(name);
        }
        (output.status.code(), form, value)
    };
    let core = capture_path("small.core.zst");
    let (code, _, value) = judged(core.to_str().unwrap());
    for (form, bytes) in forms("small") {
        let path = dir.file("dump", &bytes);
        let (of_form, said, found) = judged(&path);
        assert_eq!((of_form, &found), (code, &value), "{form}");
        let expected = if form == "LiME" {
            "LiME"
        } else if form.contains("core") {
            "ELF"
        } else {
            "kdump"
        };
        has(&said.unwrap().to_string(), expected);
    }
}

/// Where the descriptor of the page at `pa` stands in `laid`, of `memory`.
fn descriptor(laid: &Laid, memory: &Memory, pa: u64) -> usize {
    let runs = memory.runs().into_iter();
    let before = runs.map(|(start, len)| (pa.clamp(start, start + len) - start) / 4096);
    laid.descriptors + 24 * before.sum::<u64>() as usize
}

/// Where the bytes of the page at `pa` are packed.
fn page_of(laid: &Laid, memory: &Memory, pa: u64) -> usize {
    let at = descriptor(laid, memory, pa);
    u64::from_le_bytes(laid.bytes[at..at + 8].try_into().unwrap()) as usize
}

#[test]
fn damage_of_the_dump_is_told_from_damage_of_the_handover() {
    let dir = Temp::new("damaged-page");
    let memory = capture("small");
    let facts = std::fs::read(capture_path("small.facts.json")).unwrap();
    let facts: Value = serde_json::from_slice(&facts).unwrap();
    let fdt = facts["entry"]["fdt_addr"].as_u64().unwrap();
    let anatomy = kho_testkit::Anatomy::of(&memory, fdt);
    let inspect = |laid: &Laid| {
        let path = dir.file("dump", &laid.bytes);
        let output = kho(&["inspect", &path]);
        (output.status.code(), text(&output.stderr))
    };
    // The page of the root, which the search passes over, and one that the root leads to.
    for pa in [fdt, anatomy.luo] {
        let mut laid = Kdump::default().write(&memory);
        let at = page_of(&laid, &memory, pa);
        laid.set(at, &[0xff; 8]);
        let (code, stderr) = inspect(&laid);
        assert_eq!(code, Some(1));
        has(
            &stderr,
            &format!(
                "damaged: contents of page {:#x} (memory at {:#x})",
                pa >> 12,
                pa & !4095
            ),
        );
        has(&stderr, &format!("file offset {at:#x}"));
        // The same, not stored.
        let excluded = [pa & !4095].into();
        let laid = Kdump {
            excluded,
            level: 31,
            ..Kdump::default()
        }
        .write(&memory);
        let (code, stderr) = inspect(&laid);
        assert_eq!(code, Some(4));
        has(
            &stderr,
            if pa == fdt {
                "no handover"
            } else {
                "not stored in this dump"
            },
        );
    }
    // A page that nobody needs is nobody's damage.
    let mut more = memory.clone();
    more.add(0x100_0000, 4096);
    more.write(0x100_0000, &[7; 4096]);
    let mut laid = Kdump::default().write(&more);
    let at = page_of(&laid, &more, 0x100_0000);
    laid.set(at, &[0xff; 8]);
    let path = dir.file("dump", &laid.bytes);
    assert_eq!(kho(&["inspect", &path]).status.code(), Some(0));
}

#[test]
fn a_damaged_page_of_a_file_ends_a_restore_and_leaves_nothing() {
    let dir = Temp::new("damaged-file");
    let memory = capture("small");
    let facts = std::fs::read(capture_path("small.facts.json")).unwrap();
    let facts: Value = serde_json::from_slice(&facts).unwrap();
    let anatomy = kho_testkit::Anatomy::of(&memory, facts["entry"]["fdt_addr"].as_u64().unwrap());
    let addr = memory.u64(anatomy.sessions[0].files[0].folios[0]) << 12;
    let mut laid = Kdump::default().write(&memory);
    let at = descriptor(&laid, &memory, addr);
    laid.set(at + 12, &[0x40]);
    let (path, out) = (dir.file("dump", &laid.bytes), dir.path("out"));
    let output = kho(&["restore", &path, "--out", &out]);
    assert_eq!(output.status.code(), Some(1));
    has(
        &text(&output.stderr),
        &format!("damaged: flags in the descriptor of page {:#x}", addr >> 12),
    );
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_file_of_another_kind_is_refused_with_advice() {
    let dir = Temp::new("foreign");
    let mut save = b"LibvirtQemudSave\x02\0\0\0".to_vec();
    save.resize(8192, 0);
    let path = dir.file("save", &save);
    let output = kho(&["inspect", &path]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    for part in [
        "refused",
        "saved by libvirt",
        "hint",
        "virsh dump --memory-only",
    ] {
        has(&stderr, part);
    }
    assert!(
        !stderr.contains("damaged") && !stderr.contains("raw memory"),
        "{stderr}"
    );
    let output = kho(&["inspect", "--json", &path]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    has(&report["failure"].to_string(), "virsh dump --memory-only");
}
