//! What is no dump of memory is called what it is.

use kho_image::{ImageError, ImageKind};

use super::{open, try_open};

fn named(bytes: &[u8]) -> (String, String) {
    match try_open(bytes) {
        Err(ImageError::Foreign { found, advice }) => (found, advice),
        other => panic!("{other:?}"),
    }
}

/// A file of 64 KiB with these bytes at this offset.
fn file(at: usize, mark: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    bytes[at..at + mark.len()].copy_from_slice(mark);
    bytes
}

#[test]
fn files_of_other_kinds_are_named() {
    #[rustfmt::skip]
    let kinds: &[(usize, &[u8], &str, &str)] = &[
        (0, b"LibvirtQemudSave\x02\0\0\0", "saved by libvirt", "virsh dump --memory-only"),
        (0, b"LibvirtQemudPart\x02\0\0\0", "did not save", "virsh dump"),
        (0, b"QEVM\0\0\0\x03", "migration stream", "-incoming"),
        (0, b"PAGEDU64", "Windows", "without -w"),
        (0, b"PAGEDUMP", "Windows", "without -w"),
        (0, b"\xd2\xbe\xd2\xbe\x08\0\0\0", "VMware", "vmss2core"),
        (0, b"\x7fVirtualBox SavedState V2.0\n", "VirtualBox", "dumpvmcore"),
        (0, b"QFI\xfb\0\0\0\x03", "qcow2", "dump-guest-memory"),
        (0, b"DISKDUMP", "diskdump", "makedumpfile"),
        (0, b"\xed\x23\x8f\x61\x73\x01\x19\xa8", "LKCD", "makedumpfile"),
        (0, b"AVML\x02\0\0\0", "AVML", "avml-convert"),
        (4086, b"S1SUSPEND\0", "hibernation", "kdump"),
        (0, b"hsqs", "squashfs", "dump"),
        (0, b"070701", "cpio", "dump"),
        (257, b"ustar  \0", "tar archive", "unpack"),
        (0, b"PK\x03\x04", "zip archive", "unpack"),
    ];
    for text in ["a few words\n", &"{\"json\": \"\u{e9}\"}\n".repeat(1000)] {
        assert!(named(text.as_bytes()).0.contains("text"));
    }
    for (at, mark, what, help) in kinds {
        let (found, advice) = named(&file(*at, mark));
        assert!(
            found.contains(what) && advice.contains(help),
            "{found}: {advice}"
        );
    }
}

#[test]
fn elf_files_that_are_no_core_of_such_a_machine_are_named() {
    for (class, order, kind, what) in [
        (1, 1, [4, 0], "32-bit"),
        (1, 2, [0, 4], "32-bit"),
        (2, 2, [0, 4], "big-endian"),
        (2, 1, [2, 0], "ELF program"),
        (2, 1, [3, 0], "ELF program"),
        (2, 1, [1, 0], "ELF object"),
    ] {
        let mut bytes = file(0, &[0x7f, b'E', b'L', b'F', class, order, 1]);
        bytes[16..18].copy_from_slice(&kind);
        assert!(named(&bytes).0.contains(what), "{what}");
    }
}

#[test]
fn a_kernel_is_named_and_memory_that_begins_with_one_is_memory() {
    let mut bz = file(0x202, b"HdrS");
    bz[0x1f1] = 4;
    bz[0x1f4..0x1f8].copy_from_slice(&0xf00u32.to_le_bytes());
    let mut arm = file(56, b"ARM\x64");
    arm[16..24].copy_from_slice(&0x10000u64.to_le_bytes());
    for (kernel, what) in [(bz, "bzImage"), (arm, "arm64")] {
        let (found, advice) = named(&kernel);
        assert!(
            found.contains(what) && advice.contains("kho preflight"),
            "{found}: {advice}"
        );
        let mut memory = kernel;
        memory.resize(4 << 20, 0);
        assert_eq!(open(&memory).kind(), ImageKind::Raw);
    }
    let mut uki = file(0, b"MZ");
    uki[0x3c] = 0x80;
    uki[0x80..0x84].copy_from_slice(b"PE\0\0");
    assert!(named(&uki).0.contains("EFI"));
}
