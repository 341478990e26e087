//! From a file to the kernel in it, through boot images and compressions.

use std::borrow::Cow;
use std::ops::Range;

use super::{KernelKind, Unified, elf};
use crate::image::{ImageError, Progress};
use crate::unpack::{self, Compression, Limit};

/// Compressions around each other: a compressed file of a boot image with a compressed payload,
/// and one to spare.
const LAYERS: usize = 4;

/// Where the flat images of arm64 and RISC-V have their magic.
const FLAT_MAGIC: usize = 0x38;

/// The kernel that was found.
pub(super) struct Unwrapped<'d> {
    pub(super) bytes: Cow<'d, [u8]>,
    pub(super) kind: KernelKind,
    pub(super) compressions: Vec<Compression>,
    /// What the x86 boot header says of the version.
    pub(super) version: Option<String>,
    /// Bytes of memory that an x86 boot image takes, as its header says.
    pub(super) init_size: Option<u32>,
    /// A flat image's architecture; ELF files say theirs.
    pub(super) flat: Option<&'static str>,
    /// Whether a flat image is for a big-endian kernel.
    pub(super) big: bool,
    /// What the unified kernel image around it has beside it.
    pub(super) unified: Option<Unified>,
}

/// What bytes are.
enum Content {
    Unified(Unified, Range<usize>),
    Elf,
    Flat(&'static str),
    Packed(Compression),
    Payload(Payload),
}

/// The part of a boot image that is the kernel.
struct Payload {
    kind: KernelKind,
    start: usize,
    len: usize,
    /// `None` for a payload that is not compressed.
    compression: Option<Compression>,
    /// The unpacked bytes' number and where it stands, where the image says it.
    size: Option<(u32, usize)>,
    version: Option<String>,
    init_size: Option<u32>,
}

pub(super) fn unwrap<'d>(
    data: &'d [u8],
    limit: u64,
    progress: &mut Progress<'_>,
) -> Result<Unwrapped<'d>, ImageError> {
    let mut bytes = Cow::Borrowed(data);
    let mut kind = None;
    let mut compressions = Vec::new();
    let (mut version, mut init_size) = (None, None);
    let mut unified = None;
    for _ in 0..=LAYERS {
        match recognise(&bytes)? {
            Content::Unified(image, kernel) => {
                if kind.is_some() || unified.is_some() {
                    return Err(nested());
                }
                unified = Some(image);
                bytes = match bytes {
                    Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(kernel).unwrap_or_default()),
                    Cow::Owned(bytes) => Cow::Owned(bytes.get(kernel).unwrap_or_default().to_vec()),
                };
            }
            Content::Elf => {
                return Ok(Unwrapped {
                    bytes,
                    kind: outer(&unified, kind, KernelKind::Elf),
                    compressions,
                    version,
                    init_size,
                    flat: None,
                    big: false,
                    unified,
                });
            }
            Content::Flat(arch) => {
                // Bit 0 of the flags is the byte order.
                let big = arch == "arm64" && bytes.get(0x18).is_some_and(|flags| flags & 1 != 0);
                return Ok(Unwrapped {
                    bytes,
                    kind: outer(&unified, kind, KernelKind::Flat),
                    compressions,
                    version,
                    init_size,
                    flat: Some(arch),
                    big,
                    unified,
                });
            }
            Content::Packed(compression) => {
                compressions.push(compression);
                let unpacked = unpack(&bytes, 0, limit, progress)?;
                bytes = Cow::Owned(unpacked);
            }
            Content::Payload(payload) => {
                if kind.is_some() {
                    return Err(nested());
                }
                kind = Some(payload.kind);
                version.clone_from(&payload.version);
                init_size = payload.init_size;
                compressions.extend(payload.compression);
                bytes = Cow::Owned(open(&payload, &bytes, limit, progress)?);
            }
        }
    }
    Err(ImageError::damaged(
        "compressed file",
        0,
        "a compressed file in one, again and again",
        "a kernel",
    ))
}

fn outer(unified: &Option<Unified>, kind: Option<KernelKind>, plain: KernelKind) -> KernelKind {
    match unified {
        Some(_) => KernelKind::Unified,
        None => kind.unwrap_or(plain),
    }
}

fn nested() -> ImageError {
    let found = "a boot image in a boot image";
    ImageError::damaged("boot image's payload", 0, found, "a kernel")
}

fn open(
    payload: &Payload,
    bytes: &[u8],
    limit: u64,
    progress: &mut Progress<'_>,
) -> Result<Vec<u8>, ImageError> {
    let packed = bytes
        .get(payload.start..payload.start + payload.len)
        .unwrap_or_default();
    let start = payload.start as u64;
    let Some(compression) = payload.compression else {
        return Ok(packed.to_vec());
    };
    if let Some((size, at)) = payload.size
        && u64::from(size) > limit
    {
        let found = format!("{size}, more");
        return Err(unpack::too_long(
            compression,
            at as u64,
            limited(limit),
            &found,
        ));
    }
    let unpacked = unpack(packed, start, limit, progress)?;
    match payload.size {
        Some((size, at)) if u64::from(size) != unpacked.len() as u64 => Err(ImageError::damaged(
            "size behind the payload",
            at as u64,
            format!("{size:#x}"),
            format!("{:#x}, what it unpacks to", unpacked.len()),
        )),
        _ => Ok(unpacked),
    }
}

const fn limited(bytes: u64) -> Limit {
    Limit {
        bytes,
        advice: "the limit can be raised",
    }
}

fn unpack(
    packed: &[u8],
    offset: u64,
    limit: u64,
    progress: &mut Progress<'_>,
) -> Result<Vec<u8>, ImageError> {
    // A memory dump is refused before all of it is unpacked.
    unpack::to_memory(packed, offset, limited(limit), &elf::refuse_core, progress)
}

fn recognise(bytes: &[u8]) -> Result<Content, ImageError> {
    let at = |at: usize, magic: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if at(0, elf::MAGIC) {
        return Ok(Content::Elf);
    }
    if let Some((unified, kernel)) = Unified::of(bytes)? {
        return Ok(Content::Unified(unified, kernel));
    }
    if at(0, b"MZ") && at(4, b"zimg") {
        return zboot(bytes).map(Content::Payload);
    }
    if at(FLAT_MAGIC, b"ARM\x64") {
        return Ok(Content::Flat("arm64"));
    }
    if at(FLAT_MAGIC, b"RSC\x05") {
        return Ok(Content::Flat("riscv64"));
    }
    if at(0x202, b"HdrS") {
        return bzimage(bytes).map(Content::Payload);
    }
    if let Some(compression) = Compression::of(bytes) {
        return Ok(Content::Packed(compression));
    }
    Err(foreign(bytes))
}

/// What is no kernel, by its first bytes.
fn foreign(bytes: &[u8]) -> ImageError {
    const EXPECTED: &str = "a bzImage, a vmlinux, an arm64 Image, an EFI zboot image, a unified kernel image or a module";
    const LZO: &str = "a kernel with another compression: lzop unpacks it";
    const KINDS: &[(&[u8], &str, &str)] = &[
        (b"\x89LZO\0\r\n\x1a\n", "lzo", LZO),
        (
            b"MZ",
            "a PE file without a kernel's header",
            "a kernel, or a unified kernel image with a section .linux",
        ),
        (b"KDUMP   ", "a memory dump", EXPECTED),
    ];
    let known = KINDS.iter().find(|(magic, ..)| bytes.starts_with(magic));
    let (found, expected) = match (known, bytes.get(..8)) {
        (Some((_, found, expected)), _) => ((*found).to_owned(), *expected),
        (None, Some(head)) => {
            let head: Vec<_> = head.iter().map(|byte| format!("{byte:02x}")).collect();
            (format!("bytes {}", head.join(" ")), EXPECTED)
        }
        (None, None) if bytes.is_empty() => ("nothing".to_owned(), EXPECTED),
        (None, None) => (format!("{} bytes", bytes.len()), EXPECTED),
    };
    ImageError::damaged("not a kernel image", 0, found, expected)
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..)?.get(..2)?.try_into().ok()?,
    ))
}

pub(super) fn int(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..)?.get(..4)?.try_into().ok()?,
    ))
}

/// `start` and `len` in usize where they lie inside the file.
pub(super) fn inside(bytes: &[u8], start: u64, len: u64) -> Option<(usize, usize)> {
    let (start, len) = (usize::try_from(start).ok()?, usize::try_from(len).ok()?);
    (start.checked_add(len)? <= bytes.len()).then_some((start, len))
}

/// The payload of an x86 boot image, by the boot protocol's header.
fn bzimage(bytes: &[u8]) -> Result<Payload, ImageError> {
    const VERSION: usize = 0x206;
    const KERNEL_VERSION: usize = 0x20e;
    const PAYLOAD: usize = 0x248;
    const INIT_SIZE: usize = 0x260;
    /// The protocol that has it.
    const WITH_INIT_SIZE: u16 = 0x20a;
    const SECTOR: u64 = 512;
    /// What the setup's sectors are where the header says 0.
    const SECTORS: u8 = 4;

    let cut = || {
        let found = format!("{:#x} bytes", bytes.len());
        ImageError::damaged("x86 boot header", 0, found, "a whole header")
    };
    let protocol = half(bytes, VERSION).ok_or_else(cut)?;
    if protocol < 0x208 {
        return Err(ImageError::damaged(
            "x86 boot protocol",
            VERSION as u64,
            format!("{protocol:#06x}"),
            "0x0208 or later, which says where the payload lies",
        ));
    }
    let sectors = match *bytes.get(0x1f1).ok_or_else(cut)? {
        0 => SECTORS,
        sectors => sectors,
    };
    let offset = int(bytes, PAYLOAD).ok_or_else(cut)?;
    let len = int(bytes, PAYLOAD + 4).ok_or_else(cut)?;
    let start = (u64::from(sectors) + 1) * SECTOR + u64::from(offset);
    let Some((start, len)) = inside(bytes, start, u64::from(len)).filter(|(_, len)| *len > 4)
    else {
        return Err(ImageError::damaged(
            "x86 boot image's payload",
            PAYLOAD as u64,
            format!("{len:#x} bytes from {start:#x} on"),
            format!("bytes inside the file of {:#x} bytes", bytes.len()),
        ));
    };
    let version = half(bytes, KERNEL_VERSION)
        .filter(|pointer| *pointer != 0)
        .and_then(|pointer| bytes.get(usize::from(pointer) + 0x200..))
        .and_then(super::survey::line);
    let init_size = int(bytes, INIT_SIZE).filter(|size| protocol >= WITH_INIT_SIZE && *size > 0);
    let payload = Payload {
        kind: KernelKind::BzImage,
        start,
        len,
        compression: None,
        size: None,
        version,
        init_size,
    };
    let head = bytes.get(start..).unwrap_or_default();
    if head.starts_with(elf::MAGIC) {
        return Ok(payload);
    }
    let Some(compression) = Compression::of(head) else {
        let mut error = foreign(head);
        if let ImageError::Damaged {
            what,
            offset,
            expected,
            ..
        } = &mut error
        {
            "x86 boot image's payload".clone_into(what);
            *offset = start as u64;
            "gzip, zstd, xz, lz4, lzma, bzip2 or ELF".clone_into(expected);
        }
        return Err(error);
    };
    // gzip ends with the size itself; behind all others the kernel's build puts it.
    let at = start + len - 4;
    let appended = if compression == Compression::Gzip {
        0
    } else {
        4
    };
    Ok(Payload {
        compression: Some(compression),
        size: Some((int(bytes, at).ok_or_else(cut)?, at)),
        len: len - appended,
        ..payload
    })
}

/// The payload of an EFI zboot image: `MZ`, at 4 `zimg`, then offset and length (u32 each), at 24
/// the name of the compression.
fn zboot(bytes: &[u8]) -> Result<Payload, ImageError> {
    let cut = || {
        let found = format!("{:#x} bytes", bytes.len());
        ImageError::damaged("EFI zboot header", 0, found, "a whole header")
    };
    let offset = int(bytes, 8).ok_or_else(cut)?;
    let len = int(bytes, 12).ok_or_else(cut)?;
    let Some((start, len)) = inside(bytes, u64::from(offset), u64::from(len)) else {
        return Err(ImageError::damaged(
            "EFI zboot image's payload",
            8,
            format!("{len:#x} bytes from {offset:#x} on"),
            format!("bytes inside the file of {:#x} bytes", bytes.len()),
        ));
    };
    let name = bytes.get(24..32).ok_or_else(cut)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let head = bytes.get(start..start + len).unwrap_or_default();
    // The name says gzip, zstd, lz4 and so on; the payload's own magic says it too.
    let Some(compression) = Compression::of(head) else {
        let name = String::from_utf8_lossy(name);
        return Err(ImageError::damaged(
            "EFI zboot image's payload",
            start as u64,
            format!("no stream of a known kind, named {name:?}"),
            "gzip, zstd, xz, lz4, lzma or bzip2",
        ));
    };
    Ok(Payload {
        kind: KernelKind::Zboot,
        start,
        len,
        compression: Some(compression),
        size: None,
        version: None,
        init_size: None,
    })
}
