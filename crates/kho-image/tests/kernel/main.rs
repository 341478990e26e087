//! Kernel images and modules, made here, in every wrapping; what counts in them as a compat
//! string and what does not; what is wrong with damaged ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

/// A test of one image that is refused, and what stands in the message.
macro_rules! refused {
    ($name:ident, $bytes:expr, $parts:expr) => {
        #[test]
        fn $name() {
            crate::refused(&$bytes, &$parts);
        }
    };
}

mod hostile;
mod modules;
mod packed;
mod sections;
mod strings;

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

const BANNER: &[u8] = b"Linux version 7.3.4 (a@b) (gcc) #1 SMP\n\0";

const LIMIT: KernelOptions = KernelOptions {
    max_unpacked: 4 << 20,
};

/// A section: name, type, flags, bytes.
struct Section(&'static str, u32, u64, Vec<u8>);

const ALLOC: u64 = 2;

const EXEC: u64 = 4;

fn rodata(bytes: &[u8]) -> Section {
    Section(".rodata", 1, ALLOC, bytes.to_vec())
}

/// An ELF file of type `kind`. The first section lies at 0x200 of the file and is linked at
/// 0x81000000, each next one 0x10000 higher.
fn elf(kind: u16, wide: bool, big: bool, sections: &[Section]) -> Vec<u8> {
    let put = |out: &mut Vec<u8>, value: u64, size: usize| {
        if big {
            out.extend(&value.to_be_bytes()[8 - size..]);
        } else {
            out.extend(&value.to_le_bytes()[..size]);
        }
    };
    let word = if wide { 8 } else { 4 };
    let mut names = vec![0];
    let mut body = vec![0; 0x200];
    let mut headers = Vec::new();
    let header = |headers: &mut Vec<u8>, fields: [u64; 6]| {
        let [name, kind, flags, addr, offset, len] = fields;
        put(headers, name, 4);
        put(headers, kind, 4);
        for value in [flags, addr, offset, len] {
            put(headers, value, word);
        }
        put(headers, 0, 8); // link, info
        put(headers, 1, word); // alignment
        put(headers, 0, word); // size of an entry
    };
    header(&mut headers, [0; 6]);
    for (index, Section(name, kind, flags, bytes)) in sections.iter().enumerate() {
        body.resize(body.len().next_multiple_of(16), 0);
        let addr = 0x8100_0000 + index as u64 * 0x1_0000;
        let place = [
            names.len() as u64,
            u64::from(*kind),
            *flags,
            addr,
            body.len() as u64,
            bytes.len() as u64,
        ];
        header(&mut headers, place);
        names.extend(name.bytes().chain([0]));
        body.extend(bytes);
    }
    let own = names.len() as u64;
    names.extend(b".shstrtab\0");
    let at = body.len() as u64;
    header(&mut headers, [own, 3, 0, 0, at, names.len() as u64]);
    body.extend(names);
    let table = body.len() as u64;
    body.extend(&headers);

    let mut head = b"\x7fELF".to_vec();
    head.extend([1 + u8::from(wide), 1 + u8::from(big), 1, 0]);
    head.extend([0; 8]);
    put(&mut head, u64::from(kind), 2);
    put(&mut head, 62, 2); // x86-64
    put(&mut head, 1, 4);
    for value in [0, 0, table] {
        put(&mut head, value, word); // entry, program headers, section headers
    }
    put(&mut head, 0, 4);
    for value in [0, 0, 0, if wide { 64 } else { 40 }] {
        put(&mut head, value, 2);
    }
    put(&mut head, sections.len() as u64 + 2, 2);
    put(&mut head, sections.len() as u64 + 1, 2);
    body[..head.len()].copy_from_slice(&head);
    body
}

fn vmlinux(sections: &[Section]) -> Vec<u8> {
    elf(2, true, false, sections)
}

/// Strings, each with its NUL, behind the banner.
fn strings(texts: &[&str]) -> Vec<u8> {
    let mut bytes = BANNER.to_vec();
    for text in texts {
        bytes.extend(text.bytes().chain([0]));
    }
    bytes
}

const PLAIN: &[&str] = &["kho-v4", "luo-v5", "memblock-v1", "reserve-mem-v1"];

/// A handler as it is registered: a pointer, the string in 48 bytes, more pointers.
fn handler(text: &str) -> Vec<u8> {
    let mut bytes = 0xffff_ffff_8141_f360u64.to_le_bytes().to_vec();
    bytes.extend(text.bytes());
    bytes.resize(8 + 48, 0);
    bytes.extend(0xffff_ffff_8169_ac98u64.to_le_bytes());
    bytes
}

/// The kernel that most tests use.
fn kernel() -> Vec<u8> {
    let data = Section(".data", 1, ALLOC | EXEC | 1, handler("memfd-v2"));
    vmlinux(&[rodata(&strings(PLAIN)), data])
}

/// A minimal x86 boot image of one setup sector around `payload`.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
    image[0x300..0x30b].copy_from_slice(b"7.3.4 (a@b)");
    image[0x248..0x24c].copy_from_slice(&0x10u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend([0; 0x10]);
    image.extend(payload);
    image.extend([0xcc; 100]);
    image
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
