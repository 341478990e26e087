//! The modules of initrds.

use kho_image::kernel::{Modules, read_initrd};
use kho_testkit::kernel::pe;

use super::*;
use crate::modules::module;

/// An entry of an archive.
fn entry(name: &str, mode: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = b"070701".to_vec();
    let fields = [
        1,
        mode,
        0,
        0,
        1,
        0,
        bytes.len() as u32,
        0,
        0,
        0,
        0,
        name.len() as u32 + 1,
        0,
    ];
    for field in fields {
        out.extend(format!("{field:08x}").bytes());
    }
    out.extend(name.bytes().chain([0]));
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = entry("lib", 0o40_755, b"");
    for (name, bytes) in files {
        out.extend(entry(name, 0o100_644, bytes));
    }
    out.extend(entry("TRAILER!!!", 0, b""));
    out
}

fn open(bytes: &[u8], range: Option<std::ops::Range<u64>>) -> Result<Modules, ImageError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("initrd");
    fs::write(&path, bytes).unwrap();
    match range {
        // As a directory of modules is.
        None => read_modules(&path, &LIMIT, &mut |_, _, _| true),
        range => read_initrd(&path, range, &LIMIT, &mut |_, _, _| true),
    }
}

fn names(modules: &Modules) -> Vec<String> {
    let paths = modules.found.iter();
    paths
        .map(|found| found.path.display().to_string())
        .collect()
}

/// Microcode, then what the distribution packs.
fn parts() -> (Vec<u8>, Vec<u8>) {
    let early = archive(&[("kernel/x86/microcode/GenuineIntel.bin", &[7; 1001])]);
    let handler = module(&["vfio-pci-flb-v1"]);
    let main = archive(&[
        ("init", b"#!/bin/sh\n"),
        ("lib/modules/7.3.4/a.ko", &handler),
        ("lib/modules/7.3.4/b.ko.xz", &xz(&module(&["memfd-v2"]))),
        ("lib/modules/7.3.4/c.ko", &module(&["nothing"])),
        ("lib/modules/7.3.4/d.ko", b"damaged"),
        ("lib/modules/7.3.4/empty.ko", b""),
    ]);
    (early, main)
}

#[test]
fn archives_in_every_compression() {
    let (mut early, main) = parts();
    early.resize(early.len().next_multiple_of(512), 0);
    let mut mains = vec![main.clone()];
    mains.extend(PACKS.iter().map(|(_, pack)| pack(&main)));
    let more = archive(&[("e.ko", &module(&["luo-v5"]))]);
    for main in mains {
        let file = [&early[..], &main, &[0; 12], &gzip(&more), &more].concat();
        let modules = open(&file, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(modules.read, 5);
        let found = names(&modules);
        assert_eq!(found[..3], ["e.ko", "e.ko", "lib/modules/7.3.4/a.ko"]);
        assert_eq!(found[3..], ["lib/modules/7.3.4/b.ko.xz"]);
        assert_eq!(modules.errors.len(), 1);
        assert!(modules.errors[0].path.ends_with("d.ko"));
    }
}

#[test]
fn the_initrd_of_a_unified_image() {
    let (early, main) = parts();
    let image = pe(&[
        (".linux", &kernel()),
        (".initrd", &[early, zstd(&main)].concat()),
    ]);
    let range = read(&image).unified().unwrap().initrd.clone();
    assert_eq!(names(&open(&image, range).unwrap()).len(), 2);
}

#[test]
fn what_is_no_initrd_or_a_damaged_one() {
    let (early, main) = parts();
    for (bytes, part) in [
        (b"".to_vec(), "found nothing"),
        (b"no archive".to_vec(), "6e 6f 20 61"),
        (early[..50].to_vec(), "whole entry's header"),
        (early[..1000].to_vec(), "a whole entry"),
        (gzip(&main)[..200].to_vec(), "a whole entry"),
        (gzip(&gzip(&main)), "a cpio archive"),
        (gzip(&vec![0; 5 << 20]), "more than 4194304 bytes"),
    ] {
        let error = open(&bytes, None).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    let mut random = Random(3);
    let file = [&early[..], &main].concat();
    for _ in 0..500 {
        let mut file = file.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(file.len());
            file[at] = random.below(256) as u8;
        }
        file.truncate(file.len() - random.below(2) * random.below(file.len()));
        let _ = open(&file, None);
    }
}
