//! Images of every kind, in every compression.

use super::*;

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
        let mut child = Command::new(tool);
        child
            .args(*args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let child = child.spawn();
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
        assert_eq!(first.offset, 0x400 + BANNER.len() as u64);
        assert_eq!(first.section.as_deref(), None);
        assert_eq!(first.address, None);
    }
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

#[test]
fn progress_is_told_and_can_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmlinuz");
    fs::write(&path, bzimage(&gzip(&kernel()))).unwrap();
    let mut calls = Vec::new();
    let image = KernelImage::open(&path, &LIMIT, &mut |done, total| {
        calls.push((done, total));
        true
    });
    assert_eq!(texts(image.unwrap().strings()), ALL);
    let (done, total) = *calls.last().unwrap();
    assert_eq!(Some(done), total);
    let stopped = KernelImage::open(&path, &LIMIT, &mut |_, _| false);
    assert!(matches!(stopped, Err(ImageError::Interrupted)));
}

#[test]
fn what_can_not_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let missing =
        KernelImage::open(&dir.path().join("none"), &LIMIT, &mut |_, _| true).unwrap_err();
    assert!(matches!(missing, ImageError::Io { .. }), "{missing}");
    let directory = KernelImage::open(dir.path(), &LIMIT, &mut |_, _| true).unwrap_err();
    assert!(matches!(directory, ImageError::Io { .. }), "{directory}");
    let device = KernelImage::open(Path::new("/dev/zero"), &LIMIT, &mut |_, _| true).unwrap_err();
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
        texts(
            KernelImage::open(&path, &LIMIT, &mut |_, _| true)
                .unwrap()
                .strings()
        ),
        PLAIN
    );
}
