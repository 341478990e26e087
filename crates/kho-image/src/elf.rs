//! ELF64 cores: the PT_LOAD segments as physical memory.

use kho_mem::{PhysAddr, PhysRange};
use object::LittleEndian;
use object::elf::{ELFCLASS64, ELFDATA2LSB, ET_CORE, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::image::{ImageError, Segment};

/// Where x86-64 maps the kernel's text. A kdump vmcore has a segment for it, whose memory a
/// segment of RAM holds as well.
const KERNEL_TEXT: u64 = 0xffff_ffff_8000_0000;

pub(crate) const MAGIC: &[u8] = b"\x7fELF";

/// The segments of the core of `len` bytes that begins with `head`: checked, in order of address.
pub(crate) fn segments(head: &[u8], len: u64) -> Result<Vec<Segment>, ImageError> {
    let mut segments = program_headers(head)?;
    for (index, segment) in segments.iter().enumerate() {
        if segment
            .offset
            .checked_add(segment.stored)
            .is_none_or(|end| end > len)
        {
            return Err(ImageError::damaged(
                format!("PT_LOAD segment {index} is cut short"),
                segment.offset,
                format!("a file of {len:#x} bytes"),
                format!(
                    "{:#x} bytes from offset {:#x} on",
                    segment.stored, segment.offset
                ),
            ));
        }
    }
    segments.retain(|segment| !segment.range.is_empty());
    if segments.is_empty() {
        return Err(ImageError::damaged(
            "ELF core",
            0,
            "no PT_LOAD segment with memory",
            "memory",
        ));
    }
    // The longest first of those that start together: an alias comes after what holds it.
    segments.sort_by_key(|segment| (segment.range.start(), u64::MAX - segment.range.len()));
    let mut end = 0u128;
    segments.retain(|segment| {
        let held = segment.range.end() <= end;
        end = end.max(segment.range.end());
        !(held && segment.virt >= KERNEL_TEXT)
    });
    for (one, two) in segments.iter().zip(segments.iter().skip(1)) {
        if one.range.overlaps(&two.range) {
            return Err(ImageError::damaged(
                "PT_LOAD segments overlap",
                two.offset,
                format!("{} and {}", one.range, two.range),
                "segments that do not share memory",
            ));
        }
    }
    let mut stored: Vec<_> = segments
        .iter()
        .filter(|segment| segment.stored > 0)
        .collect();
    stored.sort_unstable_by_key(|segment| segment.offset);
    for (one, two) in stored.iter().zip(stored.iter().skip(1)) {
        // Bounded by the file's length above. Without this a small file could hold much memory.
        if one.offset + one.stored > two.offset {
            return Err(ImageError::damaged(
                "PT_LOAD segments overlap in the file",
                two.offset,
                format!("the bytes of {} among those of {}", two.range, one.range),
                "segments that do not share bytes",
            ));
        }
    }
    Ok(segments)
}

/// How many bytes of the file its segments need, as far as `head`, the first bytes of it, can
/// tell: `None` where it is no core, or the program headers are not in there.
pub(crate) fn needed(head: &[u8]) -> Option<u64> {
    if !head.starts_with(MAGIC) {
        return None;
    }
    let segments = program_headers(head).ok()?;
    Some(
        segments
            .iter()
            .map(|s| s.offset.saturating_add(s.stored))
            .max()
            .unwrap_or(0),
    )
}

/// The PT_LOAD segments as they stand in the program headers, each one checked by itself.
fn program_headers(data: &[u8]) -> Result<Vec<Segment>, ImageError> {
    let damaged =
        |found: String| ImageError::damaged("ELF header", 0, found, "an ELF64 little-endian core");
    if let Some([class, order]) = data
        .get(4..6)
        .and_then(|ident| <[u8; 2]>::try_from(ident).ok())
        && (class != ELFCLASS64.0 || order != ELFDATA2LSB.0)
    {
        return Err(damaged(format!("class {class}, byte order {order}")));
    }
    let header =
        FileHeader64::<LittleEndian>::parse(data).map_err(|error| damaged(error.to_string()))?;
    let endian = LittleEndian;
    if header.e_type(endian) != ET_CORE {
        return Err(damaged(format!(
            "ELF type {}, not a core",
            header.e_type(endian).0
        )));
    }
    let headers = header.program_headers(endian, data).map_err(|error| {
        let offset = header.e_phoff(endian);
        ImageError::damaged(
            "program headers",
            offset,
            error.to_string(),
            "headers inside the file",
        )
    })?;
    let mut segments = Vec::new();
    for (index, header) in headers
        .iter()
        .enumerate()
        .filter(|(_, h)| h.p_type(endian) == PT_LOAD)
    {
        let (start, memory) = (header.p_paddr(endian), header.p_memsz(endian));
        let (offset, stored) = (header.p_offset(endian), header.p_filesz(endian));
        if stored > memory {
            return Err(ImageError::damaged(
                format!("program header {index}"),
                offset,
                format!("p_filesz {stored:#x} above p_memsz {memory:#x}"),
                "no more bytes than memory",
            ));
        }
        let Some(range) = PhysRange::new(PhysAddr::new(start), memory) else {
            return Err(ImageError::damaged(
                format!("program header {index} wraps around the address space"),
                offset,
                format!("p_memsz {memory:#x} at p_paddr {start:#x}"),
                "memory inside the address space",
            ));
        };
        let virt = header.p_vaddr(endian);
        segments.push(Segment {
            range,
            virt,
            offset,
            stored,
        });
    }
    Ok(segments)
}
