//! ELF cores of any shape.

use crate::Memory;

/// An ELF64 core in the making: notes, and segments that list bytes as they please.
pub struct Core {
    /// Its machine: 62 is x86-64, 183 arm64.
    pub machine: u16,
    notes: Vec<u8>,
    // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz; the offset from the first byte behind the headers.
    loads: Vec<[u64; 5]>,
    data: Vec<u8>,
}

impl Default for Core {
    fn default() -> Self {
        Self::new()
    }
}

impl Core {
    /// A core of nothing.
    pub fn new() -> Self {
        Self {
            machine: 62,
            notes: Vec::new(),
            loads: Vec::new(),
            data: Vec::new(),
        }
    }

    /// A core of all of `mem`, with a segment for each run of pages.
    pub fn of(mem: &Memory) -> Self {
        let mut core = Self::new();
        for (pa, size) in mem.runs() {
            let offset = core.bytes(&mem.read(pa, size as usize));
            core.load(DIRECT_MAP + pa, pa, offset, size, size);
        }
        core
    }

    /// Adds a note.
    pub fn note(&mut self, owner: &str, kind: u32, contents: &[u8]) -> &mut Self {
        let name = [owner.as_bytes(), &[0]].concat();
        let numbers = [name.len() as u32, contents.len() as u32, kind];
        self.notes
            .extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        for part in [&name, contents] {
            self.notes.extend_from_slice(part);
            self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        }
        self
    }

    /// The note that a kernel's kdump leaves.
    pub fn vmcoreinfo(&mut self) -> &mut Self {
        self.note("VMCOREINFO", 0, b"OSRELEASE=7.3.4\nPAGESIZE=4096\n")
    }

    /// Adds bytes to the file. Returns where they stand, for [`Core::load`].
    pub fn bytes(&mut self, bytes: &[u8]) -> u64 {
        let offset = self.data.len() as u64;
        self.data.extend_from_slice(bytes);
        offset
    }

    /// Adds a segment of `memory` bytes at `pa`, of which `stored` stand at `offset`.
    pub fn load(&mut self, virt: u64, pa: u64, offset: u64, stored: u64, memory: u64) -> &mut Self {
        self.loads.push([offset, virt, pa, stored, memory]);
        self
    }

    /// Leaves what lies from `pa` on to the end of its segment's first `size` bytes there out of the file, as
    /// makedumpfile does: the segment ends behind it, and the next one goes on.
    pub fn leave_out(&mut self, pa: u64, size: u64) -> &mut Self {
        let index = self
            .loads
            .iter()
            .position(|[_, _, start, _, memory]| (*start..start + memory).contains(&pa));
        let [offset, virt, start, stored, memory] = self.loads.remove(index.expect("a segment"));
        let before = pa - start;
        let end = (before + size).min(memory);
        self.load(virt, start, offset, before.min(stored), end);
        if end < memory {
            let rest = stored.saturating_sub(end);
            self.load(virt + end, start + end, offset + end, rest, memory - end);
        }
        self
    }

    /// The file.
    pub fn finish(&self) -> Vec<u8> {
        let count = self.loads.len() + usize::from(!self.notes.is_empty());
        // More headers than the file's header counts are counted by section 0.
        let many = count >= 0xffff;
        let first = if many { 128 } else { 64 };
        let notes_at = first + 56 * count;
        let data_at = ((notes_at + self.notes.len()) as u64).next_multiple_of(4096);
        let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        out.resize(16, 0);
        out.extend([4, self.machine].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(1u32.to_le_bytes());
        let section = if many { 64 } else { 0 };
        out.extend(
            [0, first as u64, section]
                .iter()
                .flat_map(|n| n.to_le_bytes()),
        );
        out.extend(0u32.to_le_bytes());
        let stated = if many { 0xffff } else { count as u16 };
        let numbers = [
            64,
            56,
            stated,
            if many { 64 } else { 0 },
            u16::from(many),
            0,
        ];
        out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        if many {
            let mut section = [0u8; 64];
            section[32..40].copy_from_slice(&1u64.to_le_bytes());
            section[44..48].copy_from_slice(&(count as u32).to_le_bytes());
            out.extend(section);
        }
        let mut header = |kind: u32, fields: [u64; 5]| {
            out.extend([kind, 7].iter().flat_map(|n| n.to_le_bytes()));
            out.extend(fields.iter().flat_map(|n| n.to_le_bytes()));
            out.extend(0u64.to_le_bytes());
        };
        if !self.notes.is_empty() {
            let len = self.notes.len() as u64;
            header(4, [notes_at as u64, 0, 0, len, len]);
        }
        for [offset, rest @ ..] in &self.loads {
            let [virt, pa, stored, memory] = *rest;
            header(1, [offset + data_at, virt, pa, stored, memory]);
        }
        out.extend_from_slice(&self.notes);
        out.resize(data_at as usize, 0);
        out.extend_from_slice(&self.data);
        out
    }
}

/// Where x86-64 maps physical memory.
pub const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
