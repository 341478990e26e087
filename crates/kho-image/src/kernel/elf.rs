//! ELF files of either class and byte order: the sections of a vmlinux or a module.
//!
//! Payloads lie at any offset of a file, so integers are read byte by byte.

use super::strings::Region;
use crate::image::ImageError;

pub(super) const MAGIC: &[u8] = b"\x7fELF";

const TYPE_REL: u16 = 1;
const TYPE_EXEC: u16 = 2;
const TYPE_DYN: u16 = 3;
const TYPE_CORE: u16 = 4;
const PROGBITS: u32 = 1;
const STRTAB: u32 = 3;
const NOBITS: u32 = 8;
const ALLOC: u64 = 2;
const EXEC: u64 = 4;
const COMPRESSED: u64 = 0x800;
/// No kernel has nearly as many.
const SECTIONS_MAX: u64 = 1 << 18;
/// A section's name is read this far.
const NAME_MAX: usize = 64;

/// A section that has bytes in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) offset: usize,
    pub(super) len: usize,
    addr: u64,
    kind: u32,
    flags: u64,
}

impl Section {
    pub(super) fn region(&self, relocatable: bool) -> Region {
        Region {
            start: self.offset,
            end: self.offset + self.len,
            section: Some(self.name.clone()),
            address: (!relocatable).then_some(self.addr),
        }
    }

    pub(super) fn bytes<'d>(&self, data: &'d [u8]) -> &'d [u8] {
        data.get(self.offset..self.offset + self.len)
            .unwrap_or_default()
    }

    /// Whether constants stand here: data that is loaded. x86 links `.data` with the flag of
    /// code, so that the flag alone does not tell.
    pub(super) fn is_data(&self) -> bool {
        let named = self.name.starts_with(".data") || self.name.starts_with(".rodata");
        self.kind == PROGBITS && self.flags & ALLOC != 0 && (self.flags & EXEC == 0 || named)
    }

    pub(super) fn is_strtab(&self) -> bool {
        self.kind == STRTAB && self.flags & ALLOC == 0
    }

    pub(super) fn is_packed(&self) -> bool {
        self.flags & COMPRESSED != 0
    }
}

/// An ELF file, its section headers checked.
#[derive(Debug)]
pub(super) struct Elf {
    pub(super) big: bool,
    /// Bytes of a pointer.
    pub(super) word: u64,
    pub(super) relocatable: bool,
    pub(super) arch: String,
    /// In the order of their headers, without those that have no bytes in the file.
    pub(super) sections: Vec<Section>,
}

struct Reader<'d> {
    data: &'d [u8],
    big: bool,
    wide: bool,
}

impl Reader<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.data.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn half(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(|bytes| match self.big {
            true => u16::from_be_bytes(bytes),
            false => u16::from_le_bytes(bytes),
        })
    }

    fn int(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(|bytes| match self.big {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        })
    }

    /// A number as wide as the file's class.
    fn word(&self, at: usize) -> Option<u64> {
        if !self.wide {
            return self.int(at).map(u64::from);
        }
        self.bytes(at).map(|bytes| match self.big {
            true => u64::from_be_bytes(bytes),
            false => u64::from_le_bytes(bytes),
        })
    }

    /// One of two offsets, by class.
    const fn by_class(&self, narrow: usize, wide: usize) -> usize {
        if self.wide { wide } else { narrow }
    }
}

fn arch(machine: u16, wide: bool) -> String {
    let name = match machine {
        3 => "i386",
        8 if wide => "mips64",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "arm64",
        243 if wide => "riscv64",
        243 => "riscv32",
        258 => "loongarch64",
        other => return format!("ELF machine {other}"),
    };
    name.to_owned()
}

fn damaged(what: &str, offset: usize, found: impl ToString, expected: &str) -> ImageError {
    ImageError::damaged(what, offset as u64, found, expected)
}

fn no_kernel(kind: u16) -> ImageError {
    let found = match kind {
        TYPE_CORE => "a core".to_owned(),
        other => format!("type {other}"),
    };
    let expected = "an executable (vmlinux) or a relocatable file (module)";
    damaged("ELF file is no kernel", 16, found, expected)
}

/// Fails for the first bytes of a core.
pub(super) fn refuse_core(head: &[u8]) -> Result<(), ImageError> {
    let reader = Reader {
        data: head,
        big: head.get(5) == Some(&2),
        wide: false,
    };
    if head.starts_with(MAGIC) && reader.half(16) == Some(TYPE_CORE) {
        return Err(no_kernel(TYPE_CORE));
    }
    Ok(())
}

/// Reads the headers of the ELF file in `data`.
pub(super) fn parse(data: &[u8]) -> Result<Elf, ImageError> {
    let cut = || {
        damaged(
            "ELF header",
            0,
            format!("{:#x} bytes", data.len()),
            "a whole header",
        )
    };
    let (Some(class), Some(order)) = (data.get(4), data.get(5)) else {
        return Err(cut());
    };
    if !matches!(class, 1 | 2) || !matches!(order, 1 | 2) {
        return Err(damaged(
            "ELF header",
            4,
            format!("class {class}, byte order {order}"),
            "class 1 or 2, byte order 1 or 2",
        ));
    }
    let reader = Reader {
        data,
        big: *order == 2,
        wide: *class == 2,
    };
    let kind = reader.half(16).ok_or_else(cut)?;
    if !matches!(kind, TYPE_REL | TYPE_EXEC | TYPE_DYN) {
        return Err(no_kernel(kind));
    }
    let machine = reader.half(18).ok_or_else(cut)?;
    let relocatable = kind == TYPE_REL;
    Ok(Elf {
        big: reader.big,
        word: if reader.wide { 8 } else { 4 },
        relocatable,
        arch: arch(machine, reader.wide),
        sections: sections(&reader).ok_or_else(cut)??,
    })
}

/// `None` where the ELF header is cut short.
fn sections(reader: &Reader<'_>) -> Option<Result<Vec<Section>, ImageError>> {
    let at_offset = reader.by_class(32, 40);
    let table = reader.word(at_offset)?;
    let entry = usize::from(reader.half(reader.by_class(46, 58))?);
    let count = reader.half(reader.by_class(48, 60))?;
    let names = reader.half(reader.by_class(50, 62))?;
    if table == 0 {
        return Some(Ok(Vec::new()));
    }
    Some(section_table(
        reader,
        at_offset,
        table,
        entry,
        u64::from(count),
        u64::from(names),
    ))
}

fn section_table(
    reader: &Reader<'_>,
    at_offset: usize,
    table: u64,
    entry: usize,
    mut count: u64,
    mut names: u64,
) -> Result<Vec<Section>, ImageError> {
    let file = reader.data.len();
    let size = reader.by_class(40, 64);
    let inside = format!("section headers inside the file of {file:#x} bytes");
    let outside = |found: String| damaged("ELF section headers", at_offset, found, &inside);
    if entry != size {
        let found = format!("headers of {entry} bytes");
        let at = reader.by_class(46, 58);
        return Err(damaged(
            "ELF section headers",
            at,
            found,
            &format!("{size} bytes"),
        ));
    }
    let start = usize::try_from(table)
        .ok()
        .filter(|start| *start < file)
        .ok_or_else(|| outside(format!("offset {table:#x}")))?;
    let first = |found: &str| outside(format!("{found} from {table:#x} on"));
    // More than 65279 sections: their number and the names' index stand in the first header.
    if count == 0 {
        count = reader
            .word(start + reader.by_class(20, 32))
            .ok_or_else(|| first("a header"))?;
    }
    if names == 0xffff {
        let link = reader.int(start + reader.by_class(24, 40));
        names = u64::from(link.ok_or_else(|| first("a header"))?);
    }
    let table = usize::try_from(count)
        .ok()
        .filter(|_| count <= SECTIONS_MAX)
        .and_then(|count| count.checked_mul(size))
        .and_then(|len| start.checked_add(len))
        .and_then(|end| reader.data.get(start..end))
        .ok_or_else(|| first(&format!("{count} headers")))?;

    let header = |index: usize| header(reader, start + index * size, index);
    let strings = match usize::try_from(names) {
        Ok(names) if names < table.len() / size => header(names)?,
        _ => None,
    };
    // Which section holds what can not be told without.
    let Some((_, strings)) = strings else {
        let at = reader.by_class(50, 62);
        let found = format!("section {names} of {count}");
        let expected = "the number of a section with bytes";
        return Err(damaged("ELF section names", at, found, expected));
    };
    let strings = strings.bytes(reader.data);
    let mut sections = Vec::new();
    let mut total = 0u64;
    for index in 0..table.len() / size {
        let Some((name, mut section)) = header(index)? else {
            continue;
        };
        section.name = usize::try_from(name)
            .ok()
            .and_then(|name| strings.get(name..))
            .map(|name| name.get(..NAME_MAX).unwrap_or(name))
            .map(|name| name.split(|byte| *byte == 0).next().unwrap_or_default())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .unwrap_or_default();
        // Each byte of the file belongs to one section at most; else a small file is a lot of work.
        total = total.saturating_add(section.len as u64);
        if total > file as u64 {
            return Err(damaged(
                "ELF sections overlap",
                section.offset,
                format!("{total:#x} bytes up to section {index}"),
                &format!("no more than the file's {file:#x}"),
            ));
        }
        sections.push(section);
    }
    Ok(sections)
}

/// A section header: the offset of its name, and the section; `None` where it has no bytes.
fn header(
    reader: &Reader<'_>,
    at: usize,
    index: usize,
) -> Result<Option<(u32, Section)>, ImageError> {
    let read = || {
        Some((
            reader.int(at)?,
            reader.int(at + 4)?,
            reader.word(at + 8)?,
            reader.word(at + reader.by_class(12, 16))?,
            reader.word(at + reader.by_class(16, 24))?,
            reader.word(at + reader.by_class(20, 32))?,
        ))
    };
    let file = reader.data.len();
    let expected = format!("bytes inside the file of {file:#x} bytes");
    let what = format!("ELF section {index}");
    let Some((name, kind, flags, addr, offset, len)) = read() else {
        return Err(damaged(
            &what,
            at,
            "a header that is cut short",
            "a whole header",
        ));
    };
    if matches!(kind, 0 | NOBITS) || len == 0 {
        return Ok(None);
    }
    let range = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(len).ok())
        .filter(|(offset, len)| offset.checked_add(*len).is_some_and(|end| end <= file));
    let Some((offset, len)) = range else {
        let found = format!("{len:#x} bytes from offset {offset:#x} on");
        return Err(damaged(&what, at, found, &expected));
    };
    let section = Section {
        name: String::new(),
        offset,
        len,
        addr,
        kind,
        flags,
    };
    Ok(Some((name, section)))
}
