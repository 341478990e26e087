//! Kernel images and modules, made here, in every wrapping; what counts in them as a compat
//! string and what does not; what is wrong with damaged ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

/// Tests of images that are refused, and what stands in the message.
macro_rules! refused {
    ($($name:ident: $bytes:expr, $parts:expr;)+) => {
        $(#[test]
        fn $name() {
            crate::refused(&$bytes, &$parts);
        })+
    };
}

mod hostile;
mod modules;
mod packed;
mod sections;
mod strings;
mod unified;

// Components whose strings a kernel has: the linker drops what nothing refers to.
use kho_fd as _;
use kho_luo as _;
use kho_memfd as _;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kho_compat::Carrier;
use kho_image::ImageError;
use kho_image::kernel::{
    Compression, Evidence, KernelImage, KernelKind, KernelOptions, KernelStrings, Standing,
    read_modules,
};
use kho_testkit::Random;
use kho_testkit::kernel::{
    ALLOC, BANNER, EXEC, MAGIC, Section, bzimage, elf, features, handler, header, strings, versions,
};

const LIMIT: KernelOptions = KernelOptions {
    max_unpacked: 4 << 20,
};

fn rodata(bytes: &[u8]) -> Section {
    Section(".rodata", 1, ALLOC, bytes.to_vec())
}

fn vmlinux(sections: &[Section]) -> Vec<u8> {
    elf(2, true, false, sections)
}

const PLAIN: &[&str] = &["kho-v4", "luo-v5", "memblock-v1", "reserve-mem-v1"];

/// The kernel that most tests use.
fn kernel() -> Vec<u8> {
    let data = Section(".data", 1, ALLOC | EXEC | 1, handler("memfd-v2"));
    vmlinux(&[rodata(&strings(PLAIN)), data])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(3);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::LzmaOptions::with_preset(3);
    let mut encoder = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The legacy frame: magic, then blocks behind their lengths.
fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut out = 0x184c_2102u32.to_le_bytes().to_vec();
    for block in bytes.chunks(8 << 20) {
        let packed = lz4_flex::block::compress(block);
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend(packed);
    }
    out
}

type Pack = fn(&[u8]) -> Vec<u8>;

const PACKS: &[(Compression, Pack)] = &[
    (Compression::Gzip, gzip),
    (Compression::Zstd, zstd),
    (Compression::Xz, xz),
    (Compression::Lz4, lz4),
    (Compression::Lzma, lzma),
    (Compression::Bzip2, bzip2),
];

/// What a boot image's payload is: for all but gzip with the size behind.
fn payload(compression: Compression, packed: &[u8], unpacked: usize) -> Vec<u8> {
    let mut payload = packed.to_vec();
    if compression != Compression::Gzip {
        payload.extend((unpacked as u32).to_le_bytes());
    }
    payload
}

fn read(bytes: &[u8]) -> KernelImage {
    KernelImage::from_bytes(bytes, &LIMIT).unwrap_or_else(|error| panic!("{error}"))
}

fn texts(strings: &KernelStrings) -> Vec<&str> {
    strings.strings.iter().map(|f| f.text.as_str()).collect()
}

fn candidates(strings: &KernelStrings) -> Vec<&str> {
    strings.candidates.iter().map(|f| f.text.as_str()).collect()
}

/// The message of the error, and that it is one of damage.
#[track_caller]
fn error(bytes: &[u8]) -> String {
    let error = KernelImage::from_bytes(bytes, &LIMIT).unwrap_err();
    assert!(matches!(error, ImageError::Damaged { .. }), "{error:?}");
    error.to_string()
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let error = error(bytes);
    for part in parts {
        assert!(error.contains(part), "{part:?} in {error}");
    }
}

const ALL: &[&str] = &[
    "kho-v4",
    "luo-v5",
    "memblock-v1",
    "reserve-mem-v1",
    "memfd-v2",
];

/// A flat Image with its magic.
fn flat(magic: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image[..2].copy_from_slice(b"MZ");
    image[0x38..0x3c].copy_from_slice(magic);
    image.extend(rest);
    image
}

fn zboot(name: &str, packed: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x100];
    image[..8].copy_from_slice(b"MZ\0\0zimg");
    image[8..12].copy_from_slice(&0x100u32.to_le_bytes());
    image[12..16].copy_from_slice(&(packed.len() as u32).to_le_bytes());
    image[24..24 + name.len()].copy_from_slice(name.as_bytes());
    image.extend(packed);
    image.extend([0xcc; 64]);
    image
}
