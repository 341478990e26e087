//! Unified kernel images.

use kho_testkit::kernel::{PE_TABLE, pe};

use super::*;

fn unified(bytes: &[u8]) -> kho_image::kernel::Unified {
    read(bytes).unified().cloned().unwrap()
}

#[test]
fn every_kernel_in_a_unified_image() {
    let kernel = kernel();
    let mut kernels = vec![kernel.clone(), bzimage(&kernel)];
    for (compression, pack) in PACKS {
        kernels.push(pack(&kernel));
        kernels.push(bzimage(&payload(
            *compression,
            &pack(&kernel),
            kernel.len(),
        )));
        kernels.push(zboot(compression.name(), &pack(&kernel)));
        kernels.push(pack(&bzimage(&gzip(&kernel))));
    }
    for kernel in kernels {
        let plain = read(&kernel);
        for image in [
            pe(&[(".text", b"stub"), (".linux", &kernel)]),
            pe(&[(".linux", &kernel), (".linux", b"not the first")]),
        ] {
            let image = read(&image);
            assert_eq!(image.kind(), KernelKind::Unified);
            assert_eq!(image.compressions(), plain.compressions());
            assert_eq!(image.strings(), plain.strings());
        }
    }
    let packed = read(&zstd(&pe(&[(".linux", &kernel)])));
    assert_eq!(packed.compressions(), [Compression::Zstd]);
    assert_eq!(read(&kernel).unified(), None);
}

#[test]
fn what_is_beside_the_kernel() {
    let kernel = kernel();
    let image = pe(&[
        (".osrel", b"ID=debian\nVERSION_ID=13\n"),
        (".cmdline", b" kho=on liveupdate=on\n\0"),
        (".cmdline", b"kho=off"),
        (".uname", b"7.3.4"),
        (".initrd", b"070701 and so on"),
        (".linux", &kernel),
        (".initrd", b"another"),
    ]);
    let found = unified(&image);
    assert_eq!(found.cmdline.as_deref(), Some("kho=on liveupdate=on"));
    assert_eq!(found.osrel.as_deref(), Some("ID=debian\nVERSION_ID=13"));
    assert_eq!(found.uname.as_deref(), Some("7.3.4"));
    assert_eq!(found.profile, None);
    let initrd = found.initrd.unwrap();
    assert_eq!(
        image[initrd.start as usize..initrd.end as usize],
        *b"070701 and so on"
    );
    let nothing = unified(&pe(&[(".linux", &kernel)]));
    assert_eq!((nothing.cmdline, nothing.initrd), (None, None));
}

#[test]
fn profiles_have_what_precedes_them() {
    let kernel = kernel();
    let image = pe(&[
        (".linux", &kernel),
        (".cmdline", b"quiet"),
        (".initrd", b"initrd"),
        (".profile", b"ID=main\nTITLE=Main\n"),
        (".profile", b"ID=update\n"),
        (".cmdline", b"kho=on"),
        (".cmdline", b"ignored"),
        (".linux", b"another kernel"),
        (".profile", b""),
    ]);
    let found = unified(&image);
    let cmdlines = |found: &kho_image::kernel::Unified| {
        (
            found.profile.clone().unwrap(),
            found.cmdline.clone().unwrap(),
        )
    };
    assert_eq!(
        cmdlines(&found),
        ("ID=main\nTITLE=Main".into(), "quiet".into())
    );
    let others: Vec<_> = found.others.iter().map(cmdlines).collect();
    assert_eq!(
        others,
        [
            ("ID=update".into(), "kho=on".into()),
            (String::new(), "quiet".into())
        ]
    );
    assert!(
        found
            .others
            .iter()
            .all(|other| other.initrd == found.initrd)
    );
    // The first profile boots by default, whatever the others have.
    let image = pe(&[
        (".profile", b"ID=one"),
        (".cmdline", b"one"),
        (".linux", &kernel),
        (".profile", b"ID=two"),
    ]);
    let found = unified(&image);
    assert_eq!(found.cmdline.as_deref(), Some("one"));
    assert_eq!(found.others[0].cmdline, None);
}

/// An image whose first section's header has `bytes` at `at`.
fn altered(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = pe(&[(".linux", &kernel()), (".cmdline", b"quiet")]);
    image[PE_TABLE + at..PE_TABLE + at + bytes.len()].copy_from_slice(bytes);
    image
}

#[test]
fn more_memory_than_file_is_zeros_that_nobody_needs() {
    assert_eq!(texts(read(&altered(8, &[0xff; 4])).strings()), ALL);
    assert_eq!(texts(read(&altered(8, &[0; 4])).strings()), ALL);
}

refused! {
    a_kernel_outside: altered(20, &[0xff; 4]), [".linux", "from 0xffffffff on", "inside the file"];
    a_kernel_too_long:
        altered(8, &[[0xff; 4], [0; 4], [0xff; 4]].concat()), [".linux", "0xffffffff bytes"];
    a_kernel_of_nothing: pe(&[(".linux", b"")]), ["found nothing"];
    no_kernel: pe(&[(".cmdline", b"quiet")]), ["a PE file", ".linux"];
    a_kernel_for_another_profile:
        pe(&[(".profile", b"1"), (".profile", b"2"), (".linux", b"k")]), ["no section .linux in its first"];
    an_image_in_an_image: pe(&[(".linux", &pe(&[(".linux", &kernel())]))]), ["a boot image in a boot image"];
    a_unified_image_in_a_boot_image:
        bzimage(&gzip(&pe(&[(".linux", &kernel())]))), ["a boot image in a boot image"];
    a_module_as_the_kernel:
        pe(&[(".linux", &modules::module(&["luo-v5"]))]), ["boot image's payload", "relocatable"];
    a_command_line_of_a_megabyte:
        pe(&[(".linux", b"k"), (".cmdline", &[b'a'; 1 << 20])]), [".cmdline", "0x100000 bytes of text"];
    profiles_without_end:
        pe(&vec![(".profile", &b""[..]); 300].into_iter().chain([(".linux", &b"k"[..])]).collect::<Vec<_>>()),
        [".profile", "more than 256"];
}

#[test]
fn overlapping_sections_are_read_for_themselves() {
    // The command line lies in the kernel.
    let mut image = pe(&[(".linux", &kernel()), (".cmdline", b"12345")]);
    let at = image[PE_TABLE + 20..PE_TABLE + 24].to_vec();
    image[PE_TABLE + 60..PE_TABLE + 64].copy_from_slice(&at);
    assert_eq!(unified(&image).cmdline.as_deref(), Some("\u{7f}ELF\u{2}"));
    let mut random = Random(7);
    for _ in 0..2000 {
        let mut image = image.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(PE_TABLE + 80);
            image[at] = random.below(256) as u8;
        }
        image.truncate(image.len() - random.below(2) * random.below(image.len()));
        let _ = KernelImage::from_bytes(&image, &LIMIT);
    }
}
