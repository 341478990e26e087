//! Kernel images and modules, made here, in every wrapping; what counts in them as a compat
//! string and what does not; what is wrong with damaged ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kho_compat::Carrier;
// Components whose strings a kernel has: the linker drops what nothing refers to.
use kho_fd as _;
use kho_image::ImageError;
use kho_image::kernel::{
    Compression, Evidence, KernelImage, KernelKind, KernelOptions, KernelStrings, Standing,
    read_modules,
};
use kho_luo as _;
use kho_memfd as _;
use kho_testkit::Random;

const BANNER: &[u8] = b"Linux version 7.3.4 (a@b) (gcc) #1 SMP\n\0";
const LIMIT: KernelOptions = KernelOptions {
    max_unpacked: 4 << 20,
};

// ---- Making images

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

// ---- What it comes in

#[test]
fn every_compression_in_a_boot_image() {
    let kernel = kernel();
    for (compression, pack) in PACKS {
        let image = bzimage(&payload(*compression, &pack(&kernel), kernel.len()));
        let image = read(&image);
        assert_eq!(image.kind(), KernelKind::BzImage);
        assert_eq!(image.compressions(), [*compression]);
        assert_eq!(image.unpacked(), kernel.len() as u64);
        assert_eq!(image.evidence(), [Evidence::Strings]);
        let strings = image.into_strings();
        assert_eq!(texts(&strings), ALL, "{compression}");
        assert_eq!(strings.release.as_deref(), Some("7.3.4"));
        assert_eq!(strings.arch.as_deref(), Some("x86_64"));
        assert_eq!(
            strings.banner.as_deref(),
            Some("Linux version 7.3.4 (a@b) (gcc) #1 SMP")
        );
        assert!(strings.has_kho() && strings.has_luo());
    }
}

#[test]
fn every_compression_of_a_whole_file() {
    let kernel = kernel();
    for (compression, pack) in PACKS {
        let image = read(&pack(&kernel));
        assert_eq!(image.kind(), KernelKind::Elf);
        assert_eq!(image.compressions(), [*compression]);
        assert_eq!(texts(image.strings()), ALL, "{compression}");
    }
    // Around a boot image.
    let image = read(&xz(&bzimage(&gzip(&kernel))));
    assert_eq!(image.kind(), KernelKind::BzImage);
    assert_eq!(image.compressions(), [Compression::Xz, Compression::Gzip]);
    // lz4 with the size behind it, which a boot image's payload may still have.
    let mut packed = lz4(&kernel);
    packed.extend((kernel.len() as u32).to_le_bytes());
    assert_eq!(texts(read(&packed).strings()), ALL);
}

/// The kernel's build calls these tools; where one is not installed there is nothing to check.
#[test]
fn what_the_usual_tools_write() {
    let kernel = kernel();
    let tools: &[(Compression, &str, &[&str])] = &[
        (Compression::Gzip, "gzip", &["-n", "-9", "-c"]),
        (Compression::Zstd, "zstd", &["-19", "-c"]),
        (Compression::Zstd, "zstd", &["-22", "--ultra", "-c"]),
        (Compression::Lz4, "lz4", &["-l", "-9", "-c"]),
        (Compression::Lzma, "xz", &["--format=lzma", "-9", "-c"]),
        (Compression::Bzip2, "bzip2", &["-9", "-c"]),
        (Compression::Xz, "xz", &["--check=crc32", "-c"]),
        (
            Compression::Xz,
            "xz",
            &["--check=crc32", "--x86", "--lzma2=dict=128MiB", "-c"],
        ),
    ];
    for (compression, tool, args) in tools {
        let child = Command::new(tool)
            .args(*args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            continue;
        };
        child.stdin.take().unwrap().write_all(&kernel).unwrap();
        let packed = child.wait_with_output().unwrap();
        assert!(packed.status.success(), "{tool} {args:?}");
        let image = bzimage(&payload(*compression, &packed.stdout, kernel.len()));
        let image = read(&image);
        assert_eq!(texts(image.strings()), ALL, "{tool} {args:?}");
        assert_eq!(image.compressions(), [*compression]);
    }
}

#[test]
fn the_longer_of_two_banners_is_the_kernels() {
    let early = b"Linux version 7.3.4 (a@b) (gcc) #\0";
    let image = read(&vmlinux(&[rodata(&[early, BANNER].concat())]));
    let banner = image.strings().banner.as_deref().unwrap();
    assert!(banner.ends_with("#1 SMP"), "{banner}");
}

#[test]
fn a_payload_that_is_not_compressed() {
    let image = read(&bzimage(&kernel()));
    assert_eq!(image.kind(), KernelKind::BzImage);
    assert!(image.compressions().is_empty());
    assert_eq!(texts(image.strings()), ALL);
}

#[test]
fn the_boot_header_says_the_release_where_the_kernel_does_not() {
    let kernel = vmlinux(&[rodata(b"kho-v4\0")]);
    let image = read(&bzimage(&gzip(&kernel)));
    assert_eq!(image.strings().release.as_deref(), Some("7.3.4"));
    assert_eq!(image.strings().banner, None);
    // Four sectors are meant by none.
    let mut image = bzimage(&[]);
    image[0x1f1] = 0;
    image.resize(5 * 512 + 0x10, 0);
    let packed = gzip(&kernel);
    image[0x24c..0x250].copy_from_slice(&(packed.len() as u32).to_le_bytes());
    image.extend(packed);
    assert_eq!(texts(read(&image).strings()), ["kho-v4"]);
}

#[test]
fn elf_of_both_classes_and_byte_orders() {
    for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
        for kind in [2, 3] {
            let image = read(&elf(kind, wide, big, &[rodata(&strings(PLAIN))]));
            assert_eq!(texts(image.strings()), PLAIN, "wide {wide}, big {big}");
            let found = &image.strings().strings[0];
            assert_eq!(found.offset, 0x200 + BANNER.len() as u64);
            assert_eq!(found.address, Some(0x8100_0000 + BANNER.len() as u64));
            assert_eq!(found.section.as_deref(), Some(".rodata"));
        }
    }
}

/// A flat Image with its magic.
fn flat(magic: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image[..2].copy_from_slice(b"MZ");
    image[0x38..0x3c].copy_from_slice(magic);
    image.extend(rest);
    image
}

#[test]
fn flat_images() {
    for (magic, arch) in [(b"ARM\x64", "arm64"), (b"RSC\x05", "riscv64")] {
        let mut rest = strings(PLAIN);
        rest.resize(rest.len().next_multiple_of(8), 0);
        rest.extend(handler("memfd-v2"));
        let image = flat(magic, &rest);
        for (_, pack) in PACKS {
            let found = read(&pack(&image));
            assert_eq!(found.kind(), KernelKind::Flat);
            assert_eq!(texts(found.strings()), ALL);
            assert_eq!(found.strings().arch.as_deref(), Some(arch));
        }
        let found = read(&image).into_strings();
        let first = &found.strings[0];
        assert_eq!(
            (first.offset, first.section.as_deref(), first.address),
            (0x400 + BANNER.len() as u64, None, None)
        );
    }
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

#[test]
fn efi_zboot_images() {
    let kernel = flat(b"ARM\x64", &strings(PLAIN));
    for (compression, pack) in PACKS {
        let image = read(&zboot(compression.name(), &pack(&kernel)));
        assert_eq!(image.kind(), KernelKind::Zboot);
        assert_eq!(image.compressions(), [*compression]);
        assert_eq!(texts(image.strings()), PLAIN);
    }
    let stray = zboot("lzo", b"\x89LZO\0\r\n\x1a\n, and so on");
    refused(&stray, &["EFI zboot image's payload", "0x100", "\"lzo\""]);
    let mut long = zboot("gzip", &gzip(&kernel));
    long[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(
        &long,
        &[
            "EFI zboot image's payload",
            "0xffffffff bytes from 0x100 on",
        ],
    );
}

// ---- What counts

#[test]
fn parts_of_messages_do_not_count() {
    let stray = [
        "Spectre-v2 mitigation is off",
        "incompatible with kho-v4",
        "luo-v5 is not known",
        "'memfd-v2'",
        "memblock-v1\n",
        "\u{1}3luo-v5",
        "reserve-mem-v01",
        "kho-v",
        "Kho-v4",
        "kho-v4;",
        "kho-v4294967296",
        "kho-v4;vmalloc-v1;radix-v1",
        "a/luo-v5",
        "luo-v5.2",
    ];
    let image = read(&vmlinux(&[rodata(&strings(&stray))]));
    assert_eq!(texts(image.strings()), [""; 0]);
    assert_eq!(candidates(image.strings()), [""; 0]);
    assert_eq!(image.strings().ignored, 0);
    assert!(!image.strings().has_kho() && !image.strings().has_luo());
}

#[test]
fn strings_without_an_end_or_in_code_do_not_count() {
    let sections = [
        rodata(BANNER),
        Section(".rodata.tail", 1, ALLOC, b"kho-v4".to_vec()),
        Section(".text", 1, ALLOC | EXEC, b"\0luo-v5\0".to_vec()),
        Section(".comment", 1, 0, b"\0memblock-v1\0".to_vec()),
        Section(".bss", 8, ALLOC, b"\0reserve-mem-v1\0".to_vec()),
    ];
    assert_eq!(texts(read(&vmlinux(&sections)).strings()), [""; 0]);
    // The start of a section is as good as a NUL.
    let start = Section(".rodata.str1.1", 1, ALLOC, b"kho-v4\0".to_vec());
    let image = read(&vmlinux(&[rodata(BANNER), start]));
    assert_eq!(texts(image.strings()), ["kho-v4"]);
    assert_eq!(image.strings().strings[0].standing, Standing::Constant);
}

#[test]
fn composites_count_by_their_base() {
    let all = [
        "kho-v4;radix-v1;vmalloc-v1",
        "luo-v5;block-v1",
        "memfd-v2;vmalloc-v1",
    ];
    let image = read(&vmlinux(&[rodata(&strings(&all))]));
    assert_eq!(texts(image.strings()), all);
    let carriers: Vec<_> = image.strings().carriers().map(|(c, _)| c).collect();
    assert_eq!(
        carriers,
        [Carrier::Root, Carrier::Luo, Carrier::FileHandler]
    );
}

#[test]
fn names_say_what_carries_them() {
    let all = [
        ("kho-v4", Some(Carrier::Root)),
        ("luo-v5", Some(Carrier::Luo)),
        ("memfd-v2", Some(Carrier::FileHandler)),
        ("fd-v1", Some(Carrier::FileHandler)),
        ("memblock-v1", Carrier::by_id("memblock")),
        ("reserve-mem-v1", Carrier::by_id("reserve-mem")),
        ("liveupdate-test-flb-v0", Some(Carrier::Flb)),
        ("luo-flb-v1", None),
        ("luo-session-v2", None),
    ];
    let names: Vec<_> = all.iter().map(|(text, _)| *text).collect();
    let image = read(&vmlinux(&[rodata(&strings(&names))]));
    let found = image.strings().strings.iter();
    let found: Vec<_> = found.map(|f| (f.text.as_str(), f.carrier())).collect();
    assert_eq!(found, all);
}

#[test]
fn fields_behind_a_pointer_count_where_they_are_fields() {
    let data = |bytes: Vec<u8>| {
        read(&vmlinux(&[
            rodata(BANNER),
            Section(".data", 1, ALLOC | 1, bytes),
        ]))
        .into_strings()
    };
    let found = data(handler("memfd-v2"));
    assert_eq!(texts(&found), ["memfd-v2"]);
    assert_eq!(found.strings[0].standing, Standing::Field);
    assert_eq!(found.strings[0].address, Some(0x8101_0008));
    assert_eq!(
        found.strings[0].to_string(),
        format!(
            "memfd-v2 at {:#x} (.data, 0x81010008)",
            found.strings[0].offset
        )
    );

    // Not aligned; not padded; behind text; cut short by the section's end.
    let mut shifted = vec![0xff; 4];
    shifted.extend(handler("memfd-v2"));
    assert_eq!(texts(&data(shifted)), [""; 0]);
    let mut dirty = handler("memfd-v2");
    dirty[8 + 40] = 1;
    assert_eq!(texts(&data(dirty)), [""; 0]);
    let mut text = handler("memfd-v2");
    text[7] = b' ';
    assert_eq!(texts(&data(text)), [""; 0]);
    let mut cut = handler("memfd-v2");
    cut.truncate(8 + 47);
    assert_eq!(texts(&data(cut)), [""; 0]);
    // 47 bytes and a NUL fill the field; 48 have no NUL.
    let long = format!("{}-v1", "a".repeat(44));
    assert_eq!(candidates(&data(handler(&long))), [long.as_str()]);
    let long = format!("a{long}");
    assert_eq!(candidates(&data(handler(&long))), [""; 0]);
}

#[test]
fn other_strings_of_the_grammar_are_candidates_only_where_they_may_be_some() {
    let constants = strings(&["arm-smmu-v3", "pci-v1", "kho-test-v1", "gic-v3"]);
    let mut fields = handler("pci-v1");
    fields.extend(handler("vfio-v3"));
    let sections = [rodata(&constants), Section(".data", 1, ALLOC | 1, fields)];
    let found = read(&vmlinux(&sections)).into_strings();
    assert_eq!(texts(&found), [""; 0]);
    assert_eq!(candidates(&found), ["kho-test-v1", "pci-v1", "vfio-v3"]);
    assert_eq!(found.ignored, 3);
    assert_eq!(found.carriers().count(), 0);
}

#[test]
fn a_string_is_listed_once_with_its_first_place() {
    let sections = [
        rodata(&strings(&["kho-v4", "kho-v4"])),
        Section(".init.rodata", 1, ALLOC, b"kho-v4\0kho-v3\0".to_vec()),
    ];
    let found = read(&vmlinux(&sections)).into_strings();
    assert_eq!(texts(&found), ["kho-v4", "kho-v3"]);
    assert_eq!((found.strings[0].times, found.strings[1].times), (3, 1));
    assert_eq!(found.strings[0].offset, 0x200 + BANNER.len() as u64);
}

#[test]
fn a_kernel_without_kho_and_one_whose_string_does_not_stand() {
    let none = read(&vmlinux(&[rodata(&strings(&["memblock-v1", "kho"]))])).into_strings();
    assert!(!none.has_kho() && !none.has_luo());

    let other = strings(&["preserved-memory-map", "kernel/liveupdate/luo_file.c"]);
    let found = read(&vmlinux(&[rodata(&other)])).into_strings();
    assert_eq!(texts(&found), [""; 0]);
    assert_eq!(found.kho.unwrap().text, "preserved-memory-map");
    assert_eq!(found.luo.unwrap().text, "kernel/liveupdate/luo_file.c");

    // Symbols of a vmlinux that was not stripped.
    let symbols = Section(".strtab", 3, 0, b"\0start_kernel\0kho_populate\0".to_vec());
    let found = read(&vmlinux(&[rodata(BANNER), symbols])).into_strings();
    let trace = found.kho.unwrap();
    assert_eq!(
        (trace.text.as_str(), trace.section.as_deref()),
        ("kho_populate", Some(".strtab"))
    );
    assert!(found.luo.is_none());

    let part = strings(&["no preserved-memory-map", "a kho_populate"]);
    assert!(!read(&vmlinux(&[rodata(&part)])).strings().has_kho());
}

// ---- Sections

const MAGIC: u32 = 0x4c56_5550;

fn header(magic: u32, version: u32, big: bool) -> Vec<u8> {
    let word = |value: u32| {
        if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    [word(magic), word(version)].concat()
}

fn versions(texts: &[&str], big: bool) -> Vec<u8> {
    let mut bytes = header(MAGIC, 1, big);
    for text in texts {
        let end = bytes.len() + 48;
        bytes.extend(text.bytes());
        bytes.resize(end, 0);
    }
    bytes
}

fn features(entries: &[(&str, u64, u64, u64)], big: bool) -> Vec<u8> {
    let mut bytes = header(MAGIC, 1, big);
    for (name, supported, required, active) in entries {
        let end = bytes.len() + 48;
        bytes.extend(name.bytes());
        bytes.resize(end, 0);
        let four = 8u32;
        bytes.extend(if big {
            four.to_be_bytes()
        } else {
            four.to_le_bytes()
        });
        bytes.extend([0; 4]);
        for word in [supported, required, active] {
            bytes.extend(if big {
                word.to_be_bytes()
            } else {
                word.to_le_bytes()
            });
        }
    }
    bytes
}

#[test]
fn the_section_of_versions_is_the_evidence() {
    for big in [false, true] {
        let listed = versions(&["luo-v6", "luo-v5", "memfd-v3", "pci-v1"], big);
        let sections = [
            rodata(&strings(&[
                "kho-v4",
                "luo-v5",
                "memblock-v1",
                "memfd-v2",
                "kho-test-v1",
            ])),
            Section(".liveupdate_versions", 1, ALLOC, listed),
        ];
        let image = read(&elf(2, true, big, &sections));
        assert_eq!(image.evidence(), [Evidence::Versions, Evidence::Strings]);
        let found = image.into_strings();
        assert_eq!(
            texts(&found),
            [
                "luo-v6",
                "luo-v5",
                "memfd-v3",
                "pci-v1",
                "kho-v4",
                "memblock-v1"
            ]
        );
        // What LUO's section does not list is no more than a candidate.
        assert_eq!(candidates(&found), ["memfd-v2", "kho-test-v1"]);
        let evidence: Vec<_> = found.strings.iter().map(|f| f.evidence).collect();
        assert_eq!(evidence[0], Evidence::Versions);
        assert_eq!(evidence[4], Evidence::Strings);
        assert_eq!(found.strings[1].address, Some(0x8101_0000 + 8 + 48));
        assert_eq!(found.strings[3].carrier(), None);
    }
}

#[test]
fn the_section_of_features() {
    for big in [false, true] {
        let listed = features(&[("luo", 7, 1, 3), ("memfd", u64::MAX, 0, 0)], big);
        let sections = [
            rodata(&strings(&["kho-v4", "luo-v5"])),
            Section(".liveupdate_features", 1, ALLOC, listed),
        ];
        let found = read(&elf(2, true, big, &sections)).into_strings();
        assert_eq!(found.evidence, [Evidence::Features, Evidence::Strings]);
        assert_eq!(texts(&found), ["kho-v4"]);
        assert_eq!(candidates(&found), ["luo-v5"]);
        let luo = &found.features[0];
        assert_eq!(
            (
                luo.name.as_str(),
                luo.bytes,
                luo.supported,
                luo.required,
                luo.active
            ),
            ("luo", 8, 7, 1, 3)
        );
        assert_eq!(found.features[1].address, Some(0x8101_0000 + 8 + 80));
        assert!(found.has_luo());
    }
}

#[test]
fn both_sections_in_images_without_section_headers() {
    let mut rest = strings(&["kho-v4"]);
    rest.resize(rest.len().next_multiple_of(8), 0);
    rest.extend(header(MAGIC, 1, false)); // Somewhere in code.
    rest.extend([0x90; 8]);
    rest.extend(versions(&["luo-v6", "memfd-v3"], false));
    rest.extend([0x90; 8]);
    rest.extend(features(&[("luo", 7, 1, 3)], false));
    rest.extend([0x90; 40]);
    let found = read(&flat(b"ARM\x64", &rest)).into_strings();
    assert_eq!(
        found.evidence,
        [Evidence::Versions, Evidence::Features, Evidence::Strings]
    );
    assert_eq!(texts(&found), ["luo-v6", "memfd-v3", "kho-v4"]);
    assert_eq!(found.features.len(), 1);
    // An ELF file whose section headers were cut off.
    let mut kernel = vmlinux(&[rodata(&rest)]);
    kernel[40..48].fill(0);
    kernel[58..64].fill(0);
    let found = read(&kernel).into_strings();
    assert_eq!(texts(&found), ["luo-v6", "memfd-v3", "kho-v4"]);
    assert_eq!(found.strings[2].section, None);
}

#[test]
fn damaged_sections_are_refused_at_their_bytes() {
    // The section lies behind the banner's, at 0x230.
    let image = |name: &'static str, bytes: Vec<u8>| {
        vmlinux(&[rodata(BANNER), Section(name, 1, ALLOC, bytes)])
    };
    let listed = |bytes| image(".liveupdate_versions", bytes);
    let bits = |bytes| image(".liveupdate_features", bytes);
    refused(
        &listed(header(0x1234, 1, false)),
        &[
            "magic of section .liveupdate_versions",
            "0x230",
            "found 0x1234",
            "0x4c565550",
        ],
    );
    refused(
        &listed(header(MAGIC, 2, false)),
        &[
            "version of section .liveupdate_versions",
            "0x234",
            "found 0x2",
            "expected 0x1",
        ],
    );
    refused(&listed(vec![0; 7]), &["0x7 bytes", "a header of 8 bytes"]);
    refused(
        &listed(versions(&["luo-v5", ""], false)),
        &["0x268", "a token is expected"],
    );
    refused(
        &listed(versions(&["luo-v5x"], false)),
        &["0x23e", "a decimal digit"],
    );
    refused(
        &listed(versions(&[&"a".repeat(48)], false)),
        &["no NUL in its field"],
    );
    let mut dirty = versions(&["luo-v5"], false);
    dirty[8 + 20] = 1;
    refused(&listed(dirty), &["0x24c", "bytes behind its NUL"]);
    let mut odd = versions(&["luo-v5"], false);
    odd.extend([0; 8]);
    assert_eq!(texts(read(&listed(odd.clone())).strings()), ["luo-v5"]);
    odd.extend([1; 8]);
    refused(
        &listed(odd),
        &["last entry of section .liveupdate_versions", "16 bytes"],
    );
    let many = vec!["luo-v5"; 5000];
    refused(
        &listed(versions(&many, false)),
        &["5000 entries", "at most 4096"],
    );

    refused(
        &bits(features(&[("luo-v", 0, 0, 0), ("Luo", 0, 0, 0)], false)),
        &["0x288", "'L'"],
    );
    let mut reserved = features(&[("luo", 0, 0, 0)], false);
    reserved[8 + 52] = 1;
    refused(
        &bits(reserved),
        &["0x26c", "a reserved word that is not zero"],
    );
    let packed = Section(
        ".liveupdate_versions",
        1,
        ALLOC | 0x800,
        versions(&["luo-v5"], false),
    );
    refused(
        &vmlinux(&[rodata(BANNER), packed]),
        &["a compressed section"],
    );
}

// ---- What is wrong

#[test]
fn what_is_no_kernel_is_refused() {
    let cases: &[(&[u8], &[&str])] = &[
        (
            b"",
            &[
                "not a kernel image",
                "found nothing",
                "a bzImage, a vmlinux",
            ],
        ),
        (b"x", &["found 1 bytes"]),
        (b"#!/bin/sh\necho\n", &["bytes 23 21 2f 62 69 6e 2f 73"]),
        (
            b"MZ and a Windows program",
            &["a PE file", "unified kernel image"],
        ),
        (b"\x89LZO\0\r\n\x1a\n", &["found lzo"]),
        (b"\x04\x22\x4d\x18", &["an LZ4 frame", "a legacy LZ4 frame"]),
        (b"KDUMP   ", &["a memory dump"]),
        (b"\x7fELF", &["ELF header", "0x4 bytes"]),
        (b"\x7fELF\x03\x01", &["class 3, byte order 1"]),
        (b"\x7fELF\x02\x01", &["ELF header", "0x6 bytes"]),
    ];
    for (bytes, parts) in cases {
        refused(bytes, parts);
    }
    refused(
        &elf(4, true, false, &[]),
        &["ELF file is no kernel", "0x10", "a core"],
    );
    refused(&gzip(&elf(4, true, false, &[])), &["a core"]);
    refused(&elf(9, true, false, &[]), &["type 9"]);
    // An executable that is not Linux, and the format of the banner.
    let program = vmlinux(&[rodata(b"\0kho-v4\0Linux version %s (%s)\0")]);
    refused(&program, &["not a Linux kernel", "Linux version"]);
    refused(&flat(b"ARM\x64", b"nothing"), &["not a Linux kernel"]);
    // An object file that is no module.
    refused(
        &elf(1, true, false, &[rodata(b"kho-v4\0")]),
        &["not a module", ".modinfo"],
    );
    // A module or a boot image where a kernel must be.
    let module = module(&["luo-v5"]);
    refused(
        &bzimage(&gzip(&module)),
        &["boot image's payload", "relocatable"],
    );
    let twice = bzimage(&gzip(&bzimage(&gzip(&kernel()))));
    refused(&twice, &["a boot image in a boot image"]);
    let mut nested = kernel();
    for _ in 0..6 {
        nested = gzip(&nested);
    }
    refused(&nested, &["again and again"]);
}

#[test]
fn boot_images_that_do_not_hold_together() {
    let good = bzimage(&gzip(&kernel()));
    let altered = |at: usize, bytes: &[u8]| {
        let mut image = good.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    refused(&good[..0x220], &["x86 boot header", "0x220 bytes"]);
    refused(
        &altered(0x206, &[7, 2]),
        &["x86 boot protocol", "0x206", "0x0207", "0x0208"],
    );
    refused(
        &altered(0x248, &[0xff; 4]),
        &["payload at file offset 0x248", "0x1000003ff on"],
    );
    refused(
        &altered(0x24c, &[0xff; 4]),
        &["payload at file offset 0x248", "0xffffffff bytes"],
    );
    refused(&altered(0x24c, &[0; 4]), &["0x0 bytes"]);
    refused(
        &altered(0x410, b"\x89LZO\0\r\n\x1a\n"),
        &["x86 boot image's payload at file offset 0x410", "lzo"],
    );
    refused(&altered(0x410, b"no magic"), &["0x410", "6e 6f 20 6d"]);
    for (compression, pack) in PACKS.iter().skip(1) {
        let kernel = kernel();
        let packed = payload(*compression, &pack(&kernel), kernel.len() + 1);
        let parts = ["size behind the payload", "what it unpacks to"];
        // lz4's own end is the size, so that a wrong one is a block's.
        refused(&bzimage(&packed), &parts);
    }
}

#[test]
fn streams_that_are_cut_short_or_altered() {
    let kernel = kernel();
    for (compression, pack) in PACKS {
        let packed = pack(&kernel);
        for cut in [8, packed.len() / 2, packed.len() - 1] {
            let message = error(&packed[..cut]);
            let named = message.contains(compression.name()) || message.contains("ELF");
            assert!(named, "{compression} cut to {cut}: {message}");
        }
        let mut altered = packed.clone();
        let middle = altered.len() / 2;
        for byte in &mut altered[middle..middle + 16] {
            *byte ^= 0x55;
        }
        // Formats without a checksum may give other bytes, never a panic.
        let _ = KernelImage::from_bytes(&altered, &LIMIT);
        if matches!(
            compression,
            Compression::Gzip | Compression::Xz | Compression::Bzip2
        ) {
            refused(&altered, &[compression.name()]);
        }
    }
}

#[test]
fn what_unpacks_to_more_than_the_limit_is_refused() {
    // 32 MiB of zeros, of which 4 MiB are unpacked at most.
    let zeros = vec![0; 32 << 20];
    for (compression, pack) in PACKS {
        let packed = pack(&zeros);
        assert!(packed.len() < 1 << 20, "{compression}: {}", packed.len());
        refused(
            &packed,
            &[
                compression.name(),
                "stream is too long",
                "more than 4194304 bytes",
            ],
        );
        // A boot image says so before.
        let boot = bzimage(&payload(*compression, &packed, zeros.len()));
        refused(
            &boot,
            &["stream is too long", "33554432, more than 4194304 bytes"],
        );
    }
    // As many as the limit are not too many.
    let mut rest = strings(PLAIN);
    rest.resize((4 << 20) - 0x400, 0);
    assert_eq!(
        texts(read(&gzip(&flat(b"ARM\x64", &rest))).strings()),
        PLAIN
    );
}

#[test]
fn no_memory_for_what_a_header_merely_claims() {
    // A dictionary of 4 GiB less one byte.
    let mut packed = lzma(&kernel());
    packed[1..5].copy_from_slice(&[0, 0, 0xff, 0xff]);
    refused(&packed, &["lzma stream can not be unpacked"]);
    let mut frame = 0x184c_2102u32.to_le_bytes().to_vec();
    frame.extend(u32::MAX.to_le_bytes());
    refused(
        &frame,
        &[
            "lz4 stream can not be unpacked",
            "a block of 0xffffffff bytes",
        ],
    );
    frame.truncate(4);
    frame.extend([0; 8]);
    refused(&frame, &["a block of 0x0 bytes"]);
}

#[test]
fn elf_headers_that_do_not_hold_together() {
    let good = kernel();
    let altered = |at: usize, bytes: &[u8]| {
        let mut image = good.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    let table = u64::from_le_bytes(good[40..48].try_into().unwrap()) as usize;
    let outside = "section headers inside the file";
    refused(
        &altered(40, &[0xff; 8]),
        &["0x28", "0xffffffffffffffff", outside],
    );
    refused(&good[..good.len() - 1], &["4 headers", outside]);
    refused(&altered(58, &[40, 0]), &["0x3a", "40 bytes", "64 bytes"]);
    refused(&altered(60, &[0xff, 0xff]), &["65535 headers", outside]);
    refused(&altered(62, &[9, 0]), &["section names", "section 9 of 4"]);
    // Numbers that stand in the first header, which is not there or says nonsense.
    refused(
        &altered(62, &[0xff, 0xff]),
        &["section names", "section 0 of 4"],
    );
    let mut extended = altered(60, &[0, 0]);
    extended[table + 32..table + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(&extended, &["18446744073709551615 headers", outside]);
    extended[table + 32..table + 40].copy_from_slice(&4u64.to_le_bytes());
    assert_eq!(texts(read(&extended).strings()), ALL);
    // .rodata with an end outside the file, or as all of it.
    let field = table + 64 + 32;
    refused(
        &altered(field, &u64::MAX.to_le_bytes()),
        &["ELF section 1", "bytes inside the file"],
    );
    let mut overlapping = good.clone();
    for section in [1, 2] {
        let header = table + section * 64;
        overlapping[header + 24..header + 32].fill(0);
        overlapping[header + 32..header + 40].copy_from_slice(&(good.len() as u64).to_le_bytes());
    }
    refused(&overlapping, &["ELF sections overlap"]);
}

#[test]
fn more_strings_than_a_kernel_has_are_refused() {
    let many: Vec<_> = (0..5000).map(|number| format!("kho-v{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    refused(
        &vmlinux(&[rodata(&strings(&many))]),
        &["compat strings", "more than 4096 different ones"],
    );
}

#[test]
fn much_that_looks_like_a_string_costs_no_more_than_its_bytes() {
    let mut rest = BANNER.to_vec();
    rest.extend(b"-v1".repeat(1 << 20));
    rest.extend(b"\0a-v1".repeat(1 << 18));
    rest.push(0);
    let found = KernelImage::from_bytes(&vmlinux(&[rodata(&rest)]), &KernelOptions::default());
    let found = found.unwrap().into_strings();
    assert_eq!((found.strings.len(), found.candidates.len()), (0, 0));
    assert_eq!(found.ignored, 1 << 18);
    // Blocks of lz4 that unpack to nothing.
    let mut blocks = lz4(&kernel());
    blocks.extend([1, 0, 0, 0, 0].repeat(1 << 20));
    assert_eq!(texts(read(&blocks).strings()), ALL);
    // Headers of sections, and nothing else.
    let mut rest = BANNER.to_vec();
    rest.extend(header(MAGIC, 1, false).repeat(1 << 18));
    let image = flat(b"ARM\x64", &rest);
    assert!(KernelImage::from_bytes(&image, &KernelOptions::default()).is_ok());
}

#[test]
fn altered_and_cut_images_never_panic() {
    let listed = Section(
        ".liveupdate_versions",
        1,
        ALLOC,
        versions(&["luo-v6"], false),
    );
    let bits = Section(
        ".liveupdate_features",
        1,
        ALLOC,
        features(&[("luo", 1, 1, 1)], false),
    );
    let kernel = vmlinux(&[rodata(&strings(PLAIN)), listed, bits]);
    let mut images = vec![
        kernel.clone(),
        module(&["luo-v5"]),
        elf(2, false, true, &[rodata(&strings(PLAIN))]),
        flat(b"ARM\x64", &versions(&["luo-v6"], false)),
    ];
    for (compression, pack) in PACKS {
        images.push(pack(&kernel));
        images.push(bzimage(&payload(
            *compression,
            &pack(&kernel),
            kernel.len(),
        )));
    }
    images.push(zboot("gzip", &gzip(&kernel)));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for image in &images {
        for _ in 0..300 {
            let mut altered = image.clone();
            for _ in 0..=random.below(4) {
                // Headers, where most numbers are, more often than the rest.
                let end = if random.below(2) == 0 {
                    altered.len().min(0x440)
                } else {
                    altered.len()
                };
                let at = random.below(end);
                altered[at] = [0, 1, 0x7f, 0x80, 0xff, random.below(256) as u8][random.below(6)];
            }
            if random.below(4) == 0 {
                altered.truncate(random.below(altered.len()));
            }
            let _ = KernelImage::from_bytes(&altered, &LIMIT);
        }
    }
}

#[test]
fn progress_is_told_and_can_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmlinuz");
    fs::write(&path, bzimage(&gzip(&kernel()))).unwrap();
    let mut calls = Vec::new();
    let image = KernelImage::open_with(&path, &LIMIT, &mut |done, total| {
        calls.push((done, total));
        true
    });
    assert_eq!(texts(image.unwrap().strings()), ALL);
    let (done, total) = *calls.last().unwrap();
    assert_eq!(Some(done), total);
    let stopped = KernelImage::open_with(&path, &LIMIT, &mut |_, _| false);
    assert!(matches!(stopped, Err(ImageError::Interrupted)));
}

#[test]
fn what_can_not_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let missing = KernelImage::open(&dir.path().join("none"), &LIMIT).unwrap_err();
    assert!(matches!(missing, ImageError::Io { .. }), "{missing}");
    let directory = KernelImage::open(dir.path(), &LIMIT).unwrap_err();
    assert!(matches!(directory, ImageError::Io { .. }), "{directory}");
    let device = KernelImage::open(Path::new("/dev/zero"), &LIMIT).unwrap_err();
    assert!(
        device.to_string().contains("not a regular file"),
        "{device}"
    );
    // Longer than what is read in: mapped.
    let path = dir.path().join("vmlinux");
    let mut rest = strings(PLAIN);
    rest.resize(65 << 20, 0);
    fs::write(&path, vmlinux(&[rodata(&rest)])).unwrap();
    assert_eq!(
        texts(KernelImage::open(&path, &LIMIT).unwrap().strings()),
        PLAIN
    );
}

// ---- Modules

fn module(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend(text.bytes().chain([0]));
    }
    let info = b"license=GPL\0vermagic=7.3.4 SMP preempt mod_unload \0".to_vec();
    elf(
        1,
        true,
        false,
        &[
            Section(".modinfo", 1, ALLOC, info),
            Section(".rodata.str1.1", 1, ALLOC, bytes),
        ],
    )
}

#[test]
fn a_module_has_strings_and_a_release_but_no_addresses() {
    for (_, pack) in PACKS {
        let image = read(&pack(&module(&["memfd-v2"])));
        assert_eq!(image.kind(), KernelKind::Module);
        let found = image.into_strings();
        assert_eq!(texts(&found), ["memfd-v2"]);
        assert_eq!(found.release.as_deref(), Some("7.3.4"));
        assert_eq!(found.strings[0].address, None);
        assert_eq!(found.strings[0].section.as_deref(), Some(".rodata.str1.1"));
        assert!(!found.has_kho());
    }
}

#[test]
fn a_directory_of_modules() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put("kernel/a.ko", &module(&["memfd-v2"]));
    put("kernel/b.ko.xz", &xz(&module(&["vfio-pci-flb-v1"])));
    put("kernel/deep/er/c.ko.zst", &zstd(&module(&["kho-test-v1"])));
    put("extra/d.ko.gz", &gzip(&module(&["nothing here", "gic-v3"])));
    put("extra/cut.ko.xz", &xz(&module(&["memfd-v2"]))[..100]);
    put("extra/text.ko", b"not a module");
    put("extra/kernel.ko", &kernel());
    put("extra/empty.ko", b"");
    // What is no module by its name, and names that are nothing but an ending.
    put("modules.dep", b"kho-v4\0");
    put("extra/e.ko.lz4", &lz4(&module(&["memfd-v2"])));
    put("extra/.ko", &module(&["memfd-v2"]));
    // Links lead anywhere, in circles too.
    std::os::unix::fs::symlink(root, root.join("build")).unwrap();
    std::os::unix::fs::symlink(root.join("kernel/a.ko"), root.join("link.ko")).unwrap();

    let mut told = Vec::new();
    let modules = read_modules(root, &LIMIT, &mut |path, done, total| {
        told.push((path.to_owned(), done, total));
        true
    });
    let modules = modules.unwrap();
    assert_eq!(told.len(), 8);
    assert!(
        told.iter()
            .enumerate()
            .all(|(at, (_, done, total))| (*done, *total) == (at, 8))
    );
    assert_eq!(modules.read, 4);
    let found = modules.found.iter();
    let found: Vec<_> = found
        .map(|m| {
            (
                m.path.to_str().unwrap(),
                texts(&m.strings),
                candidates(&m.strings),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("kernel/a.ko", vec!["memfd-v2"], vec![]),
            ("kernel/b.ko.xz", vec!["vfio-pci-flb-v1"], vec![]),
            ("kernel/deep/er/c.ko.zst", vec![], vec!["kho-test-v1"]),
        ]
    );
    let errors = modules.errors.iter();
    let errors: Vec<_> = errors
        .map(|e| format!("{}: {}", e.path.display(), e.error))
        .collect();
    let expected = [
        ("extra/cut.ko.xz: ", "xz stream is cut short"),
        ("extra/empty.ko: ", "found nothing"),
        (
            "extra/kernel.ko: ",
            "not a module at file offset 0x0: found vmlinux",
        ),
        ("extra/text.ko: ", "not a kernel image"),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, (path, text)) in errors.iter().zip(expected) {
        assert!(error.starts_with(path) && error.contains(text), "{error}");
    }

    let stopped = read_modules(root, &LIMIT, &mut |_, done, _| done < 2);
    assert!(matches!(stopped, Err(ImageError::Interrupted)));
    let missing = read_modules(&root.join("none"), &LIMIT, &mut |_, _, _| true);
    assert!(matches!(missing, Err(ImageError::Io { .. })));
}

#[test]
fn directories_that_are_too_deep_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let deep = (0..40).fold(dir.path().to_owned(), |path, _| path.join("d"));
    fs::create_dir_all(&deep).unwrap();
    let error = read_modules(dir.path(), &LIMIT, &mut |_, _, _| true).unwrap_err();
    assert!(
        error.to_string().contains("more than 32 directories"),
        "{error}"
    );
}
