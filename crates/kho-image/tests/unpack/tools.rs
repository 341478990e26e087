//! What the tools themselves write.

use std::process::{Command, Stdio};
use std::thread;

use super::*;

/// Each tool in each way it has. Of those with `twice` two of their files, one after the other, are one file.
const TOOLS: &[(Compression, bool, &str)] = &[
    (Compression::Gzip, true, "gzip -c"),
    (Compression::Gzip, true, "gzip -1 -n -c"),
    (Compression::Gzip, true, "gzip -9 --rsyncable -c"),
    (Compression::Gzip, true, "pigz -c"),
    (Compression::Gzip, true, "pigz -p4 -b128 -i -c"),
    (Compression::Gzip, true, "pigz -11 -c"),
    (Compression::Gzip, true, "bgzip -c"),
    (Compression::Zstd, true, "zstd -c"),
    (
        Compression::Zstd,
        true,
        "zstd -1 --no-check --no-content-size -c",
    ),
    (Compression::Zstd, true, "zstd -19 -T2 -c"),
    (Compression::Zstd, true, "zstd --ultra -22 -c"),
    (Compression::Zstd, true, "zstd --long=27 -c"),
    (Compression::Zstd, true, "zstd --rsyncable -c"),
    (Compression::Zstd, true, "zstd --adapt -c"),
    (Compression::Zstd, true, "zstd --fast=5 --single-thread -c"),
    (Compression::Zstd, true, "pzstd -c"),
    (Compression::Zstd, true, "pzstd -p4 -1 -c"),
    (Compression::Xz, true, "xz -c"),
    (Compression::Xz, true, "xz -0 --check=none -c"),
    (
        Compression::Xz,
        true,
        "xz --check=crc32 --x86 --lzma2=dict=128MiB -c",
    ),
    (
        Compression::Xz,
        true,
        "xz --check=sha256 -T2 --block-size=100KiB -c",
    ),
    (Compression::Xz, true, "xz --arm64 --lzma2=preset=1 -c"),
    (Compression::Xz, true, "xz --riscv --lzma2=preset=1 -c"),
    (Compression::Xz, true, "xz --arm --lzma2=lc=0,lp=4,pb=0 -c"),
    (Compression::Xz, true, "xz --delta=dist=4 --x86 --lzma2 -c"),
    (Compression::Xz, true, "pixz"),
    (Compression::Xz, true, "pxz -c"),
    (Compression::Lz4, true, "lz4 -c"),
    (Compression::Lz4, true, "lz4 -l -c"),
    (Compression::Lz4, true, "lz4 -l -9 -c"),
    (Compression::Lz4, true, "lz4 -9 -B4 -BD -BX -c"),
    (Compression::Lz4, true, "lz4 -B5 -BI --no-frame-crc -c"),
    (Compression::Lz4, true, "lz4 -B7 -BD --content-size -c"),
    (Compression::Lz4, true, "lz4 --fast=9 -B6 -c"),
    (Compression::Lzma, false, "lzma -c"),
    (Compression::Lzma, false, "lzma -9 -c"),
    (
        Compression::Lzma,
        false,
        "xz --format=lzma --lzma1=lc=0,lp=2,pb=0,dict=4KiB -c",
    ),
    (
        Compression::Lzma,
        false,
        "xz --format=lzma --lzma1=lc=4,pb=4,dict=96MiB -c",
    ),
    (Compression::Bzip2, true, "bzip2 -c"),
    (Compression::Bzip2, true, "bzip2 -1 -c"),
    (Compression::Bzip2, true, "pbzip2 -c"),
    (Compression::Bzip2, true, "pbzip2 -b1 -c"),
    (Compression::Bzip2, true, "lbzip2 -c"),
];

/// What `command` writes for `plain`; `None` where there is no such tool, or none with these options.
fn run(command: &str, plain: &[u8]) -> Option<Vec<u8>> {
    let mut words = command.split(' ');
    let mut child = Command::new(words.next()?)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take()?;
    thread::scope(|scope| {
        // A tool that refuses its options does not read.
        scope.spawn(move || input.write_all(plain));
        let output = child.wait_with_output().ok()?;
        output.status.success().then_some(output.stdout)
    })
}

#[test]
fn what_the_tools_write() {
    let plain = content(1_500_000);
    let mut skipped = Vec::new();
    for (compression, twice, command) in TOOLS {
        let Some(packed) = run(command, &plain) else {
            skipped.push(*command);
            continue;
        };
        same(command, *compression, &packed, &plain);
        if *twice {
            same(command, *compression, &packed.repeat(2), &plain.repeat(2));
        }
        let nothing = run(command, b"").unwrap_or_default();
        // pixz and pbzip2 write nothing, or a stream, for nothing.
        if !nothing.is_empty() {
            same(command, *compression, &nothing, b"");
        }
    }
    eprintln!(
        "{} of {} ways of packing compared; skipped, the tool is not installed or lacks the options: {}",
        TOOLS.len() - skipped.len(),
        TOOLS.len(),
        skipped.join(", ")
    );
}

/// The tool takes what is made here, so that the shapes are the formats'.
#[test]
fn what_is_made_here_the_tools_take() {
    let plain = content(500_000);
    for (compression, pack) in shapes::PACKS {
        let packed = match compression {
            Compression::Lzma => pack(&plain),
            _ => [pack(&plain[..77_777]), pack(&plain[77_777..])].concat(),
        };
        if let Some(found) = run(&format!("{compression} -d -c"), &packed) {
            assert!(found == plain, "{compression}");
        }
    }
}

/// The temporary directory's file, as `xz` and others write to files of their own.
#[test]
fn a_file_is_read_as_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("packed");
    let plain = content(400_000);
    for (_, pack) in shapes::PACKS {
        fs::write(&path, pack(&plain)).unwrap();
        let mut out = Vec::new();
        let unpacker = Unpacker::open(File::open(&path).unwrap()).unwrap();
        unpacker.unwrap().read_to_end(&mut out).unwrap();
        assert!(out == plain);
    }
}
