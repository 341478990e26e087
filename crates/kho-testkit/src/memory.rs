//! Editable physical memory.

use std::collections::BTreeMap;

use kho_mem::{Chunk, MemError, MemErrorKind, PhysAddr, PhysMem, PhysRange};

/// Bytes in a page.
pub const PAGE: usize = 4096;

/// Physical memory as pages; what was never written is not there.
#[derive(Clone, Default)]
pub struct Memory {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Memory {
    /// No memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The PT_LOAD segments of an ELF64 core whose segments are whole pages.
    pub fn from_elf(core: &[u8]) -> Self {
        let u16_at = |at: usize| u16::from_le_bytes(core[at..at + 2].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(core[at..at + 8].try_into().unwrap());
        let mut memory = Self::new();
        let headers = u64_at(32) as usize;
        for index in 0..usize::from(u16_at(56)) {
            let at = headers + 56 * index;
            if core[at..at + 4] != [1, 0, 0, 0] {
                continue;
            }
            let (offset, pa) = (u64_at(at + 8) as usize, u64_at(at + 24));
            let (stored, size) = (u64_at(at + 32) as usize, u64_at(at + 40));
            memory.add(pa, size);
            memory.write(pa, &core[offset..offset + stored]);
        }
        memory
    }

    /// Adds zero pages for `size` bytes from `pa` on, where there are none.
    pub fn add(&mut self, pa: u64, size: u64) {
        for pfn in pa >> 12..(pa + size).div_ceil(4096) {
            self.pages.entry(pfn).or_insert_with(|| Box::new([0; PAGE]));
        }
    }

    /// Takes the page at `pa` away.
    pub fn remove(&mut self, pa: u64) {
        self.pages.remove(&(pa >> 12));
    }

    /// `len` bytes at `pa`.
    pub fn read(&self, pa: u64, len: usize) -> Vec<u8> {
        (pa..pa + len as u64)
            .map(|at| {
                self.pages
                    .get(&(at >> 12))
                    .unwrap_or_else(|| panic!("no page at {at:#x}"))[at as usize % PAGE]
            })
            .collect()
    }

    /// Writes `bytes` at `pa`, into pages that are there.
    pub fn write(&mut self, pa: u64, bytes: &[u8]) {
        let mut at = pa;
        let mut rest = bytes;
        while !rest.is_empty() {
            let page = self.pages.get_mut(&(at >> 12));
            let page = page.unwrap_or_else(|| panic!("no page at {at:#x}"));
            let from = at as usize % PAGE;
            let len = rest.len().min(PAGE - from);
            page[from..from + len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            at += len as u64;
        }
    }

    /// The little-endian u64 at `pa`.
    pub fn u64(&self, pa: u64) -> u64 {
        u64::from_le_bytes(self.read(pa, 8).try_into().unwrap())
    }

    /// The little-endian u32 at `pa`.
    pub fn u32(&self, pa: u64) -> u32 {
        u32::from_le_bytes(self.read(pa, 4).try_into().unwrap())
    }

    /// Writes a little-endian u64.
    pub fn set_u64(&mut self, pa: u64, value: u64) {
        self.write(pa, &value.to_le_bytes());
    }

    /// Writes a little-endian u32.
    pub fn set_u32(&mut self, pa: u64, value: u32) {
        self.write(pa, &value.to_le_bytes());
    }

    /// Writes a little-endian u16.
    pub fn set_u16(&mut self, pa: u64, value: u16) {
        self.write(pa, &value.to_le_bytes());
    }

    /// Runs of pages: address and bytes.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for pfn in self.pages.keys() {
            match runs.last_mut() {
                Some((pa, size)) if *pa + *size == pfn << 12 => *size += 4096,
                _ => runs.push((pfn << 12, 4096)),
            }
        }
        runs
    }

    /// The memory as an ELF64 core: one PT_LOAD per run of pages, zero tails not stored.
    pub fn to_elf(&self) -> Vec<u8> {
        let runs = self.runs();
        let mut out = vec![0u8; (64 + 56 * runs.len()).next_multiple_of(PAGE)];
        let mut headers = Vec::new();
        for (pa, size) in &runs {
            let bytes = self.read_run(*pa, *size);
            let stored = bytes.iter().rposition(|b| *b != 0);
            let stored = stored.map_or(0, |n| (n + 1).next_multiple_of(PAGE));
            headers.extend([1u32, 6].iter().flat_map(|v| v.to_le_bytes()));
            // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
            let fields = [out.len() as u64, *pa, *pa, stored as u64, *size, 4096];
            headers.extend(fields.iter().flat_map(|v| v.to_le_bytes()));
            out.extend_from_slice(&bytes[..stored]);
        }
        let mut ehdr = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        ehdr.extend([4u16, 62].iter().flat_map(|v| v.to_le_bytes())); // ET_CORE, x86-64
        ehdr.extend(1u32.to_le_bytes());
        ehdr.extend([0u64, 64, 0].iter().flat_map(|v| v.to_le_bytes())); // entry, phoff, shoff
        ehdr.extend(0u32.to_le_bytes());
        ehdr.extend(
            [64u16, 56, runs.len() as u16, 0, 0, 0]
                .iter()
                .flat_map(|v| v.to_le_bytes()),
        );
        out[..64].copy_from_slice(&ehdr);
        out[64..64 + headers.len()].copy_from_slice(&headers);
        out
    }

    /// The pages within `len` bytes from `pa` on, with their addresses.
    pub(crate) fn frames(&self, pa: u64, len: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let pages = self.pages.range(pa >> 12..(pa + len) >> 12);
        pages.map(|(pfn, page)| (pfn << 12, &page[..]))
    }

    fn read_run(&self, pa: u64, size: u64) -> Vec<u8> {
        self.pages
            .range(pa >> 12..(pa + size) >> 12)
            .flat_map(|(_, page)| page.iter().copied())
            .collect()
    }

    /// The memory from `base` to the last page, holes as zeros.
    pub fn to_raw(&self, base: u64) -> Vec<u8> {
        let end = self.pages.keys().last().map_or(base, |pfn| (pfn + 1) << 12);
        let mut out = vec![0; (end - base) as usize];
        for (pfn, page) in self.pages.range(base >> 12..) {
            let at = ((pfn << 12) - base) as usize;
            out[at..at + PAGE].copy_from_slice(&page[..]);
        }
        out
    }
}

impl PhysMem for Memory {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        let outside = MemError {
            addr,
            len: len as u64,
            kind: MemErrorKind::Outside,
        };
        let page = self.pages.get(&addr.pfn().get()).ok_or(outside)?;
        let from = addr.get() as usize % PAGE;
        Ok(Chunk::Bytes(&page[from..(from + len).min(PAGE)]))
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        let (pfn, _) = self.pages.range(from.pfn().get()..).next()?;
        PhysRange::new(PhysAddr::new(pfn << 12), PAGE as u64)
    }
}
