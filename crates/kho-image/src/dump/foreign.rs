//! Files that are no dump of physical memory, or one that is not read, by how they begin; and what helps with each.

use crate::dump::field;

/// Bytes of a file's beginning that are looked at.
pub(crate) const HEAD: usize = 4096;

/// Where a mark stands, the mark, what it is of, and what helps.
type Kind = (usize, &'static [u8], &'static str, &'static str);

const DECOMPRESS: &str = "decompress it first";
const UNPACK: &str = "unpack it first";
pub(crate) const DUMP: &str = "dump the memory of the machine: kdump, `virsh dump --memory-only`, or `dump-guest-memory` in \
                    QEMU's monitor";
const LIBVIRT: &str =
    "let the guest run with `virsh restore`, and dump it with `virsh dump --memory-only`";
const MIGRATION: &str =
    "load it into a guest with QEMU's -incoming, and dump that with `dump-guest-memory`";
const WINDOWS: &str =
    "a dump in a format of Linux: `dump-guest-memory` of QEMU writes one without -w";
const VIRTUALBOX: &str =
    "let the machine run, and dump it with `VBoxManage debugvm MACHINE dumpvmcore --filename FILE`";
const VMWARE: &str = "make an ELF core of it and the .vmem file beside it with `vmss2core -N6`";
const AVML: &str = "convert it with `avml-convert`, or run avml without --compress";
const KERNEL: &str = "a dump of its memory; `kho preflight --to` reads kernels";
const KDUMP: &str = "a dump of `makedumpfile`, QEMU or /proc/vmcore";

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    (0, b"LZIP\x01", "an lzip file", DECOMPRESS),
    (0, b"\x89LZO\0\r\n\x1a\n", "an lzop file", DECOMPRESS),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"070701", "a cpio archive (an initrd)", DUMP),
    (0, b"070702", "a cpio archive (an initrd)", DUMP),
    (0, b"!<arch>\n", "an archive of objects or a Debian package", DUMP),
    (0, b"\xed\xab\xee\xdb", "an RPM package", DUMP),
    (0, b"hsqs", "a squashfs file system", DUMP),
    (0, b"QFI\xfb", "a qcow2 disk image", DUMP),
    (0, b"KDMV", "a VMDK disk image", DUMP),
    (0, b"vhdxfile", "a VHDX disk image", DUMP),
    (0, b"conectix", "a VHD disk image", DUMP),
    (0, b"<<< ", "a VDI disk image", DUMP),
    (0, b"S1SUSPEND", "a hibernation image", DUMP),
    (4086, b"S1SUSPEND", "swap space with a hibernation image", DUMP),
    (4086, b"SWAPSPACE2", "swap space", DUMP),
    (0, b"LibvirtQemudSave", "a guest saved by libvirt (`virsh save` or `virsh managedsave`)", LIBVIRT),
    (0, b"LibvirtQemudPart", "a guest that libvirt did not save to its end", DUMP),
    (0, b"QEVM", "a migration stream of QEMU", MIGRATION),
    (0, b"\x7fVirtualBox SavedState", "the saved state of a VirtualBox machine", VIRTUALBOX),
    (0, b"\xd0\xbe\xd2\xbe", "the saved state of a VMware machine", VMWARE),
    (0, b"\xd1\xba\xd1\xba", "the saved state of a VMware machine", VMWARE),
    (0, b"\xd2\xbe\xd2\xbe", "the saved state of a VMware machine", VMWARE),
    (0, b"\xd3\xbe\xd2\xbe", "the saved state of a VMware machine", VMWARE),
    (0, b"LinuxGuestRecord", "a saved guest of Xen", "dump it with `xl dump-core`, and that with `makedumpfile -E`"),
    (0, b"AVML", "a compressed dump of AVML", AVML),
    (0, b"PAGEDU64", "a Windows crash dump", WINDOWS),
    (0, b"PAGEDUMP", "a Windows crash dump of 32 bits", WINDOWS),
    (0, b"MDMP", "a minidump of a process", DUMP),
    (0, b"DISKDUMP", "a dump of the diskdump facility", KDUMP),
    (0, b"diskdump", "a dump partition of the diskdump facility", KDUMP),
    (0, b"sadump\0\0", "a dump of sadump", "convert it with `makedumpfile`"),
    (8, b"sadump\0\0", "a dump of sadump", "convert it with `makedumpfile`"),
    (0, b"\xed\x23\x8f\x61\x73\x01\x19\xa8", "an LKCD dump", KDUMP),
    (0, b"\xa8\x19\x01\x73\x61\x8f\x23\xed", "an LKCD dump of a big-endian machine", KDUMP),
    (0, b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", "a stand-alone dump of an s390 machine", KDUMP),
    (0, b"LPKSHHRH", "a systemd journal", DUMP),
    (0, b"SQLite format 3\0", "an SQLite database", DUMP),
    (0, b"\x89PNG\r\n", "a picture", DUMP),
    (0, b"%PDF-", "a document", DUMP),
    (0, b"#!", "a script", DUMP),
];

/// What the file of `len` bytes that begins with `head` is, and what helps, if it is no memory.
pub(crate) fn foreign(head: &[u8], len: u64) -> Option<(&'static str, &'static str)> {
    let mark = |(at, mark, ..): &&Kind| head.get(*at..).is_some_and(|rest| rest.starts_with(mark));
    let found = KINDS
        .iter()
        .find(mark)
        .map(|(.., what, advice)| (*what, *advice));
    let found = found.or_else(|| elf(head)).or_else(|| kernel(head, len));
    found.or_else(|| is_text(head).then_some(("a text file", DUMP)))
}

/// ELF files that are no core of a 64-bit little-endian machine.
fn elf(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let [class, order] = field(head.strip_prefix(b"\x7fELF")?, 0);
    let kind = match order {
        2 => u16::from_be_bytes(field(head, 16)),
        _ => u16::from_le_bytes(field(head, 16)),
    };
    Some(match (kind, class, order) {
        (4, 2, 1) => return None,
        (4, 1, 1 | 2) => (
            "an ELF core of a 32-bit machine",
            "a dump of a 64-bit machine",
        ),
        (4, 2, 2) => (
            "an ELF core of a big-endian machine",
            "a dump of a little-endian machine",
        ),
        (1, 1 | 2, 1 | 2) => ("an ELF object (a kernel module)", DUMP),
        (2 | 3, 1 | 2, 1 | 2) => ("an ELF program (a vmlinux, for instance)", DUMP),
        // Damaged: whoever reads it says how.
        _ => return None,
    })
}

/// Kernel images, where the file is no longer than the image: memory may begin with a kernel.
fn kernel(head: &[u8], len: u64) -> Option<(&'static str, &'static str)> {
    let u32_at = |at| u64::from(u32::from_le_bytes(field(head, at)));
    /// What may follow an image: a signature, padding.
    const SLACK: u64 = 1 << 20;
    let within = |image: u64| len <= image.saturating_add(SLACK);
    if field(head, 0x202) == *b"HdrS" {
        let sectors = match field(head, 0x1f1) {
            [0] => 4,
            [sectors] => u64::from(sectors),
        };
        let image = (1 + sectors) * 512 + u32_at(0x1f4) * 16;
        return within(image).then_some(("a kernel (bzImage)", KERNEL));
    }
    if field(head, 56) == *b"ARM\x64" {
        let image = u64::from_le_bytes(field(head, 16));
        return within(image).then_some(("a kernel (arm64 Image)", KERNEL));
    }
    let pe = usize::try_from(u32_at(0x3c)).ok()?;
    let program = head.starts_with(b"MZ") && field(head, pe) == *b"PE\0\0";
    program.then_some((
        "an EFI program (a unified kernel image, for instance)",
        KERNEL,
    ))
}

/// Whether it is all printable, as a page of memory is not: what is not used of it is zero.
fn is_text(head: &[u8]) -> bool {
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    // A last character may be cut.
    let is_utf8 =
        std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true);
    !head.is_empty() && is_utf8 && !head.iter().any(is_control)
}
