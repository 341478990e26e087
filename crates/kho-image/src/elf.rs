//! ELF64 cores: the PT_LOAD segments as physical memory.

use kho_mem::{PhysAddr, PhysRange};
use object::LittleEndian;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ET_CORE, FileHeader64, NT_AUXV, NT_FILE, NT_PRPSINFO, NT_PRSTATUS,
    NT_SIGINFO, PT_LOAD, PT_NOTE, ProgramHeader64,
};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::dump::foreign;
use crate::image::{ImageError, Segment};
use crate::segments::{Load, memory};

pub(crate) const MAGIC: &[u8] = b"\x7fELF";

const ENDIAN: LittleEndian = LittleEndian;
const PROCESS: &str = "a process's core";

/// Who writes a note of this owner dumps a machine's memory.
const DUMPERS: [&[u8]; 5] = [b"VMCOREINFO", b"ERASEINFO", b"QEMU", b"Xen", b"VBCORE"];
/// More notes than this many are not looked at: a machine has a few of each CPU.
const NOTES: usize = 1 << 16;

/// The segments of the core of `len` bytes that begins with `head`, checked, in order of address; and how many bytes
/// the file is too short for them.
pub(crate) fn segments(head: &[u8], len: u64) -> Result<(Vec<Segment>, u64), ImageError> {
    let headers = program_headers(head)?;
    let notes = Notes::read(headers, head);
    let mut loads = loads(headers)?;
    if notes.is_process(&loads) {
        return Err(ImageError::Foreign {
            found: PROCESS.to_owned(),
            advice: foreign::DUMP.to_owned(),
        });
    }
    drop_virtual(&mut loads);
    if loads.is_empty() {
        return Err(ImageError::damaged(
            "ELF core",
            0,
            "no PT_LOAD segment with memory",
            "memory",
        ));
    }
    let end = loads.iter().map(|load| load.offset + load.stored).max();
    let lacks = end.unwrap_or(0).saturating_sub(len);
    Ok((memory(&loads, len, !notes.is_filtered())?, lacks))
}

/// How many bytes of the file its segments and notes need, as far as `head`, the first bytes of it, can
/// tell: `None` where it is no core, or the program headers are not in there.
pub(crate) fn needed(head: &[u8]) -> Option<u64> {
    if !head.starts_with(MAGIC) {
        return None;
    }
    let headers = program_headers(head).ok()?;
    let ends = headers
        .iter()
        .filter(|header| matches!(header.p_type(ENDIAN), PT_LOAD | PT_NOTE))
        .filter(|header| header.p_paddr(ENDIAN) != u64::MAX && header.p_filesz(ENDIAN) > 0)
        .map(|header| {
            let stored = header.p_filesz(ENDIAN);
            header.p_offset(ENDIAN).saturating_add(stored)
        });
    Some(ends.max().unwrap_or(0))
}

/// The program headers of a core.
fn program_headers(data: &[u8]) -> Result<&[ProgramHeader64<LittleEndian>], ImageError> {
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
    let kind = header.e_type(ENDIAN);
    if kind != ET_CORE {
        return Err(damaged(format!("ELF type {}, not a core", kind.0)));
    }
    header.program_headers(ENDIAN, data).map_err(|error| {
        ImageError::damaged(
            "program headers",
            header.e_phoff(ENDIAN),
            error.to_string(),
            "headers inside the file",
        )
    })
}

/// The PT_LOAD segments with memory, each one checked by itself.
fn loads(headers: &[ProgramHeader64<LittleEndian>]) -> Result<Vec<Load>, ImageError> {
    let mut loads = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        let (start, memory) = (header.p_paddr(ENDIAN), header.p_memsz(ENDIAN));
        // Virtual memory without a physical address, as /proc/kcore has it.
        if header.p_type(ENDIAN) != PT_LOAD || start == u64::MAX || memory == 0 {
            continue;
        }
        let (offset, stored) = (header.p_offset(ENDIAN), header.p_filesz(ENDIAN));
        if stored > memory {
            return Err(ImageError::damaged(
                format!("program header {index}"),
                offset,
                format!("p_filesz {stored:#x} above p_memsz {memory:#x}"),
                "no more bytes than memory",
            ));
        }
        // Without bytes it stands anywhere: QEMU writes the highest number.
        let offset = if stored == 0 { 0 } else { offset };
        if offset.checked_add(stored).is_none_or(|end| end >> 63 != 0) {
            return Err(ImageError::damaged(
                format!("program header {index} leaves the file"),
                offset,
                format!("p_filesz {stored:#x} from p_offset {offset:#x} on"),
                "bytes of a file",
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
        loads.push(Load {
            range,
            virt: header.p_vaddr(ENDIAN),
            offset,
            stored,
        });
    }
    Ok(loads)
}

/// Drops segments of virtual memory that stand at physical address 0 since they have none, as in what old kernels'
/// /proc/kcore lists: the file has something else of the same memory, and they are not mapped where RAM is, which the
/// largest segment elsewhere shows.
fn drop_virtual(loads: &mut Vec<Load>) {
    let is_at_zero = |load: &Load| load.range.start() == PhysAddr::NULL;
    let away = |load: &Load, from: u64| from.wrapping_sub(load.range.start().get());
    let elsewhere = || loads.iter().filter(|load| !is_at_zero(load));
    let largest = elsewhere().max_by_key(|load| load.range.len());
    let first = loads.iter().find(|load| is_at_zero(load));
    let (Some(largest), Some(first)) = (largest, first) else {
        return;
    };
    let map = away(largest, largest.virt);
    let at = first.offset;
    let mut at_zero = loads.iter().filter(|load| is_at_zero(load));
    let several = at_zero.any(|load| load.offset != at);
    let others = elsewhere().filter(|load| away(load, load.offset) != at);
    let lowest = others.map(|load| load.range.start()).min();
    loads.retain(|load| {
        let contradicted = several || lowest.is_some_and(|addr| load.range.contains(addr));
        !is_at_zero(load) || load.virt == map || !contradicted
    });
}

/// What the notes say of who wrote the core.
#[derive(Default)]
struct Notes {
    /// A machine's memory was dumped: by kdump, makedumpfile, a hypervisor.
    of_machine: bool,
    /// Of a process, and of nothing else.
    of_process: bool,
    /// Registers, which both have.
    registers: bool,
    /// Some are not in the file.
    unread: bool,
}

impl Notes {
    fn read(headers: &[ProgramHeader64<LittleEndian>], data: &[u8]) -> Self {
        let mut all = Self::default();
        for header in headers {
            let mut notes = match header.notes(ENDIAN, data) {
                Ok(Some(notes)) => notes,
                Ok(None) => continue,
                Err(_) => {
                    all.unread = true;
                    continue;
                }
            };
            for _ in 0..NOTES {
                let Ok(Some(note)) = notes.next() else { break };
                let name = note.name();
                all.of_machine |= DUMPERS.iter().any(|dumper| name.starts_with(dumper));
                let kind = note.n_type(ENDIAN);
                if name == b"CORE" {
                    all.registers |= kind == NT_PRSTATUS;
                    all.of_process |= [NT_PRPSINFO, NT_AUXV, NT_FILE, NT_SIGINFO].contains(&kind);
                }
            }
        }
        all
    }

    /// Whether a process's memory was dumped. Its segments have no physical address, and stand all at 0.
    fn is_process(&self, loads: &[Load]) -> bool {
        let mut addrs = loads.iter().map(|load| load.range.start());
        let nowhere = addrs.all(|addr| addr == PhysAddr::NULL);
        let virt = loads.first().map_or(0, |load| load.virt);
        // As a process sees them.
        let several = loads.iter().any(|load| load.virt != virt);
        let low = virt != 0 && virt >> 63 == 0;
        !self.of_machine && (self.of_process || nowhere && (several || self.registers && low))
    }

    /// Whether the memory that has no bytes in the file may be anything: those who dump a machine's memory leave
    /// out what nobody wants to see, and what is no RAM. In a core without their notes it is zero.
    const fn is_filtered(&self) -> bool {
        self.of_machine || self.registers || self.unread
    }
}
