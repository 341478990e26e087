//! What is no kernel, or a damaged one.

use super::*;
use crate::modules::module;

refused! {
    nothing: b""[..], ["not a kernel image", "found nothing", "a bzImage, a vmlinux"];
    a_byte: b"x"[..], ["found 1 bytes"];
    a_script: b"#!/bin/sh\necho\n"[..], ["bytes 23 21 2f 62 69 6e 2f 73"];
    a_windows_program: b"MZ and a Windows program"[..], ["a PE file", "unified kernel image", ".linux"];
    lzo: b"\x89LZO\0\r\n\x1a\n"[..], ["found lzo"];
    an_lz4_frame_cut_short: b"\x04\x22\x4d\x18"[..], ["lz4 stream is cut short"];
    a_memory_dump: b"KDUMP   "[..], ["a memory dump"];
    an_elf_magic: b"\x7fELF"[..], ["ELF header", "0x4 bytes"];
    an_elf_class: b"\x7fELF\x03\x01"[..], ["class 3, byte order 1"];
    half_an_elf_header: b"\x7fELF\x02\x01"[..], ["ELF header", "0x6 bytes"];
    a_core: elf(4, true, false, &[]), ["ELF file is no kernel", "0x10", "a core"];
    a_packed_core: gzip(&elf(4, true, false, &[])), ["a core"];
    an_elf_type: elf(9, true, false, &[]), ["type 9"];
    a_program_with_the_banners_format:
        vmlinux(&[rodata(b"\0kho-v4\0Linux version %s (%s)\0")]), ["not a Linux kernel", "Linux version"];
    a_flat_image_without_a_banner: flat(b"ARM\x64", b"nothing"), ["not a Linux kernel"];
    an_object_file_that_is_no_module:
        elf(1, true, false, &[rodata(b"kho-v4\0")]), ["not a module", ".modinfo"];
    a_module_in_a_boot_image: bzimage(&gzip(&module(&["luo-v5"]))), ["boot image's payload", "relocatable"];
    a_boot_image_in_a_boot_image:
        bzimage(&gzip(&bzimage(&gzip(&kernel())))), ["a boot image in a boot image"];
    a_kernel_packed_six_times: (0..6).fold(kernel(), |kernel, _| gzip(&kernel)), ["again and again"];
}

/// `image` with `bytes` at `at`.
fn altered(mut image: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

/// A boot image with `bytes` at `at`.
fn boot(at: usize, bytes: &[u8]) -> Vec<u8> {
    altered(bzimage(&gzip(&kernel())), at, bytes)
}

refused! {
    a_boot_header_cut_short: bzimage(&gzip(&kernel()))[..0x220], ["x86 boot header", "0x220 bytes"];
    a_boot_protocol_of_old: boot(0x206, &[7, 2]), ["x86 boot protocol", "0x206", "0x0207", "0x0208"];
    a_payload_outside: boot(0x248, &[0xff; 4]), ["payload at file offset 0x248", "0x1000003ff on"];
    a_payload_too_long: boot(0x24c, &[0xff; 4]), ["payload at file offset 0x248", "0xffffffff bytes"];
    a_payload_of_nothing: boot(0x24c, &[0; 4]), ["0x0 bytes"];
    a_payload_of_lzo:
        boot(0x410, b"\x89LZO\0\r\n\x1a\n"), ["x86 boot image's payload at file offset 0x410", "lzo"];
    a_payload_without_a_magic: boot(0x410, b"no magic"), ["0x410", "6e 6f 20 6d"];
}

#[test]
fn a_size_behind_the_payload_that_is_not_its_own() {
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
        for cut in [16, packed.len() / 2, packed.len() - 1] {
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
    // A dictionary of 3 GiB.
    let mut packed = lzma(&kernel());
    packed[1..5].copy_from_slice(&[0, 0, 0, 0xc0]);
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

/// A kernel with `bytes` at `at`.
fn vmlinux_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    altered(kernel(), at, bytes)
}

/// Where the section headers of a kernel are.
fn table(kernel: &[u8]) -> usize {
    u64::from_le_bytes(kernel[40..48].try_into().unwrap()) as usize
}

/// A kernel whose first section header says how many there are.
fn counted(headers: u64) -> Vec<u8> {
    let image = vmlinux_with(60, &[0, 0]);
    let at = table(&image) + 32;
    altered(image, at, &headers.to_le_bytes())
}

const OUTSIDE: &str = "section headers inside the file";

refused! {
    section_headers_outside: vmlinux_with(40, &[0xff; 8]), ["0x28", "0xffffffffffffffff", OUTSIDE];
    section_headers_cut_short: kernel()[..kernel().len() - 1], ["4 headers", OUTSIDE];
    section_headers_of_another_size: vmlinux_with(58, &[40, 0]), ["0x3a", "40 bytes", "64 bytes"];
    too_many_section_headers: vmlinux_with(60, &[0xff, 0xff]), ["65535 headers", OUTSIDE];
    section_names_in_a_section_that_is_not_there:
        vmlinux_with(62, &[9, 0]), ["section names", "section 9 of 4"];
    section_names_that_the_first_header_does_not_say:
        vmlinux_with(62, &[0xff, 0xff]), ["section names", "section 0 of 4"];
    a_first_header_that_says_nonsense: counted(u64::MAX), ["18446744073709551615 headers", OUTSIDE];
}

#[test]
fn a_first_header_that_says_how_many_there_are() {
    assert_eq!(texts(read(&counted(4)).strings()), ALL);
}

refused! {
    a_section_that_ends_outside: vmlinux_with(table(&kernel()) + 64 + 32, &u64::MAX.to_le_bytes()),
        ["ELF section 1", "bytes inside the file"];
}

#[test]
fn sections_that_are_all_of_the_file() {
    let mut image = kernel();
    let (table, len) = (table(&image), image.len() as u64);
    for section in [1, 2] {
        let header = table + section * 64;
        image[header + 24..header + 32].fill(0);
        image[header + 32..header + 40].copy_from_slice(&len.to_le_bytes());
    }
    refused(&image, &["ELF sections overlap"]);
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
