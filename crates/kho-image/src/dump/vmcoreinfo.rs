//! VMCOREINFO: what a kernel says of itself to those who read its dump, as lines of `KEY=VALUE`.

use object::LittleEndian;
use object::elf::{FileHeader64, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};

/// The most bytes of it that are read. A kernel has a page for it.
pub(crate) const LIMIT: u64 = 1 << 20;

/// What the kernel whose memory a dump holds says of itself. Nothing of it is needed to read a handover.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VmcoreInfo {
    text: String,
}

impl VmcoreInfo {
    /// Takes the text of a note. What is no printable ASCII becomes a question mark.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let end = text.iter().position(|byte| *byte == 0);
        let text = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
        let printable = |byte: &u8| match byte {
            b'\n' | b' '..=b'~' => char::from(*byte),
            _ => '?',
        };
        let text = text.iter().map(printable).collect();
        Self { text }
    }

    /// The value of `key`: that of the first line with it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut lines = self.text.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    /// The kernel's release.
    #[must_use]
    pub fn release(&self) -> Option<&str> {
        self.get("OSRELEASE").filter(|release| !release.is_empty())
    }

    /// Bytes of the kernel's pages.
    #[must_use]
    pub fn page_size(&self) -> Option<u64> {
        self.get("PAGESIZE")?.parse().ok()
    }

    /// How far the kernel's text was moved from where it was linked (KASLR).
    #[must_use]
    pub fn kernel_offset(&self) -> Option<u64> {
        u64::from_str_radix(self.get("KERNELOFFSET")?, 16).ok()
    }

    /// The physical address of the kernel's text, less the one it was linked for (x86).
    #[must_use]
    pub fn phys_base(&self) -> Option<i64> {
        self.get("NUMBER(phys_base)")?.parse().ok()
    }
}

/// The note of the ELF core in `head`, as far as that reaches. There may be none: a hypervisor writes it only
/// where the guest said where it is.
pub(crate) fn of_elf(head: &[u8]) -> Option<VmcoreInfo> {
    let header = FileHeader64::<LittleEndian>::parse(head).ok()?;
    let endian = LittleEndian;
    let headers = header.program_headers(endian, head).ok()?;
    let notes = headers
        .iter()
        .filter(|header| header.p_type(endian) == PT_NOTE);
    notes
        .filter(|header| header.p_filesz(endian) <= LIMIT * 16)
        .filter_map(|header| header.notes(endian, head).ok().flatten())
        .find_map(|mut notes| {
            while let Ok(Some(note)) = notes.next() {
                if note.name() == b"VMCOREINFO" && note.desc().len() as u64 <= LIMIT {
                    return Some(VmcoreInfo::new(note.desc()));
                }
            }
            None
        })
}
