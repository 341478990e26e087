//! Writing dumps: memory as an ELF64 core or raw, with holes in the file where it is zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kho_mem::{Chunk, MemError, PAGE_SIZE, PAGE_SIZE_U64, PageRun, PhysAddr, PhysMem};
use object::LittleEndian;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFMAG, ELFOSABI_NONE, EM_X86_64, ET_CORE, EV_CURRENT, FileFlags,
    FileHeader64, Ident, PF_R, PF_W, PN_XNUM, PT_LOAD, ProgramHeader64, SHT_NULL, SectionFlags,
    SectionHeader64, SymbolSection,
};
use object::pod::{bytes_of, bytes_of_slice};
use object::{U16, U32, U64};

use crate::Progress;

/// Bytes that are written between two reports of progress.
const STEP: u64 = 4 << 20;
/// One past a file's largest offset.
const FILE_LIMIT: u64 = 1 << 63;

/// A dump that can not be written. A file that was begun is left as far as it came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file can not be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// Memory that is to be written is not there.
    #[error(transparent)]
    Memory(#[from] MemError),
    /// The runs are no memory that a dump holds.
    #[error("{found} can not be written: expected {expected}")]
    Runs {
        /// What was given.
        found: String,
        /// What a dump takes.
        expected: &'static str,
    },
    /// The caller's progress function said stop.
    #[error("interrupted")]
    Interrupted,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Written {
    /// Bytes of memory.
    pub memory: u64,
    /// Those of them that are in the file: the others are zero, and holes.
    pub stored: u64,
    /// The file's length in bytes.
    pub len: u64,
}

/// Writes the pages `runs` of `mem` to a new file at `path`, as an ELF64 core: a PT_LOAD segment
/// per run, at its physical address. Runs that touch become one. Zero pages are holes in the
/// file, or left out at the end of a segment. `progress` is told of the bytes of memory.
///
/// ```
/// use kho_image::{Image, ImageOptions, write_elf};
/// use kho_mem::{PageRun, PhysAddr, PhysMemExt, SliceMem};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("core");
/// let bytes = vec![7; 8192];
/// let mem = SliceMem::new(PhysAddr::new(0x2000_0000), &bytes);
/// let runs = [PageRun { pfn: PhysAddr::new(0x2000_0000).pfn(), pages: 2 }];
/// let written = write_elf(&path, &mem, &runs, &mut |_, _| true)?;
/// assert_eq!(written.memory, 8192);
///
/// let image = Image::open(&path, &ImageOptions::default(), &mut |_, _| true)?;
/// assert_eq!(image.read::<u8>(PhysAddr::new(0x2000_1fff))?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The file exists or can not be written, memory of a run is not there, there are no runs or they
/// are not in order of address, or `progress` said stop.
pub fn write_elf(
    path: &Path,
    mem: &dyn PhysMem,
    runs: &[PageRun],
    progress: &mut Progress<'_>,
) -> Result<Written, WriteError> {
    let runs = checked(runs)?;
    // More segments than the header counts are counted by section 0, which stands behind it.
    let many = runs.len() >= usize::from(PN_XNUM);
    let before = size_of::<FileHeader64<LittleEndian>>()
        + if many {
            size_of::<SectionHeader64<LittleEndian>>()
        } else {
            0
        };
    let headers = before + runs.len() * size_of::<ProgramHeader64<LittleEndian>>();
    let mut copy = Copy::new(path, mem, &runs, progress)?;
    let mut segments = Vec::with_capacity(runs.len());
    let mut offset = headers as u64;
    for run in &runs {
        // Each page of the file is a page of memory, so that readers can map it.
        offset = offset.next_multiple_of(PAGE_SIZE_U64);
        let stored = copy.run(*run, offset)?;
        segments.push(segment(*run, offset, stored));
        offset += stored;
    }
    let count = if many {
        let section = SectionHeader64 {
            sh_name: U32::default(),
            sh_type: U32::new(LittleEndian, SHT_NULL),
            sh_flags: U64::new(LittleEndian, SectionFlags::default()),
            sh_addr: U64::default(),
            sh_offset: U64::default(),
            sh_size: U64::new(LittleEndian, 1),
            sh_link: U32::default(),
            sh_info: U32::new(LittleEndian, u32::try_from(runs.len()).unwrap_or(u32::MAX)),
            sh_addralign: U64::default(),
            sh_entsize: U64::default(),
        };
        copy.write(
            bytes_of(&section),
            size_of::<FileHeader64<LittleEndian>>() as u64,
        )?;
        PN_XNUM
    } else {
        u16::try_from(runs.len()).unwrap_or(PN_XNUM)
    };
    copy.write(bytes_of_slice(&segments), before as u64)?;
    copy.write(bytes_of(&header(before as u64, count, many)), 0)?;
    // A segment of zeros alone begins where the file ends.
    copy.set_len(offset)?;
    Ok(copy.finish(offset))
}

/// Writes the pages `runs` of `mem` to a new file at `path`, as raw memory that begins at `base`:
/// the byte at an address is the file's byte at the address less `base`. What lies between the runs
/// is a hole, and so are zero pages; the file ends with the last run. `progress` is told of the
/// bytes of memory.
///
/// Raw memory has no mark of its own. Readers take it for something else where it begins like an
/// ELF core or a compressed file.
///
/// # Errors
///
/// As [`write_elf`]; and a run lies below `base`, or further above it than a file is long.
pub fn write_raw(
    path: &Path,
    base: PhysAddr,
    mem: &dyn PhysMem,
    runs: &[PageRun],
    progress: &mut Progress<'_>,
) -> Result<Written, WriteError> {
    let runs = checked(runs)?;
    let mut offsets = Vec::with_capacity(runs.len());
    let mut len = 0;
    for run in &runs {
        let offset = run.addr().get().checked_sub(base.get());
        let end = offset.and_then(|offset| offset.checked_add(run.pages * PAGE_SIZE_U64));
        match (offset, end) {
            (Some(offset), Some(end)) if end < FILE_LIMIT => {
                offsets.push(offset);
                len = end;
            }
            _ => {
                return Err(WriteError::Runs {
                    found: format!("{run}, with raw memory from {base} on,"),
                    expected: "memory from there on, less than 2^63 bytes of it",
                });
            }
        }
    }
    let mut copy = Copy::new(path, mem, &runs, progress)?;
    for (run, offset) in runs.iter().zip(offsets) {
        copy.run(*run, offset)?;
    }
    copy.set_len(len)?;
    Ok(copy.finish(len))
}

/// `runs`, where those that touch are one.
fn checked(runs: &[PageRun]) -> Result<Vec<PageRun>, WriteError> {
    let bad = |found: String, expected| Err(WriteError::Runs { found, expected });
    let mut out: Vec<PageRun> = Vec::new();
    for run in runs {
        if run.pages == 0 || run.end() > kho_mem::Pfn::LIMIT {
            let found = format!("{} pages from {} on", run.pages, run.addr());
            return bad(found, "pages of the address space");
        }
        match out.last_mut() {
            Some(last) if last.end() == run.pfn.get() => last.pages += run.pages,
            Some(last) if last.end() > run.pfn.get() => {
                return bad(
                    format!("{run} after {last}"),
                    "runs in order of address, apart",
                );
            }
            _ => out.push(*run),
        }
    }
    if out.is_empty() {
        return bad("no memory".to_owned(), "at least a page");
    }
    Ok(out)
}

fn segment(run: PageRun, offset: u64, stored: u64) -> ProgramHeader64<LittleEndian> {
    let (addr, len) = (run.addr().get(), run.pages * PAGE_SIZE_U64);
    let word = |value| U64::new(LittleEndian, value);
    ProgramHeader64 {
        p_type: U32::new(LittleEndian, PT_LOAD),
        p_flags: U32::new(LittleEndian, PF_R | PF_W),
        p_offset: word(offset),
        // There is no other: what was mapped where is not known.
        p_vaddr: word(addr),
        p_paddr: word(addr),
        p_filesz: word(stored),
        p_memsz: word(len),
        p_align: word(PAGE_SIZE_U64),
    }
}

/// The ELF header, with `count` program headers at `offset`.
fn header(offset: u64, count: u16, section: bool) -> FileHeader64<LittleEndian> {
    let half = |value| U16::new(LittleEndian, value);
    let size = |size: usize| half(u16::try_from(size).unwrap_or(0));
    let own = size_of::<FileHeader64<LittleEndian>>();
    FileHeader64 {
        e_ident: Ident {
            magic: ELFMAG,
            class: ELFCLASS64,
            data: ELFDATA2LSB,
            version: EV_CURRENT,
            os_abi: ELFOSABI_NONE,
            abi_version: 0,
            padding: [0; 7],
        },
        e_type: U16::new(LittleEndian, ET_CORE),
        e_machine: U16::new(LittleEndian, EM_X86_64),
        e_version: U32::new(LittleEndian, u32::from(EV_CURRENT.0)),
        e_entry: U64::default(),
        e_phoff: U64::new(LittleEndian, offset),
        e_shoff: U64::new(LittleEndian, if section { own as u64 } else { 0 }),
        e_flags: U32::new(LittleEndian, FileFlags::default()),
        e_ehsize: size(own),
        e_phentsize: size(size_of::<ProgramHeader64<LittleEndian>>()),
        e_phnum: half(count),
        e_shentsize: if section {
            size(size_of::<SectionHeader64<LittleEndian>>())
        } else {
            half(0)
        },
        e_shnum: half(u16::from(section)),
        e_shstrndx: U16::new(LittleEndian, SymbolSection::default()),
    }
}

/// Memory on its way into a file.
struct Copy<'a, 'p> {
    path: &'a Path,
    file: File,
    mem: &'a dyn PhysMem,
    progress: &'a mut Progress<'p>,
    total: u64,
    done: u64,
    stored: u64,
}

static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

impl<'a, 'p> Copy<'a, 'p> {
    fn new(
        path: &'a Path,
        mem: &'a dyn PhysMem,
        runs: &[PageRun],
        progress: &'a mut Progress<'p>,
    ) -> Result<Self, WriteError> {
        let file = File::create_new(path).map_err(|error| WriteError::Io {
            path: path.to_owned(),
            error,
        })?;
        let pages = runs
            .iter()
            .fold(0u64, |sum, run| sum.saturating_add(run.pages));
        Ok(Self {
            path,
            file,
            mem,
            progress,
            total: pages.saturating_mul(PAGE_SIZE_U64),
            done: 0,
            stored: 0,
        })
    }

    fn io(&self, error: io::Error) -> WriteError {
        WriteError::Io {
            path: self.path.to_owned(),
            error,
        }
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), WriteError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| self.io(error))
    }

    fn set_len(&self, len: u64) -> Result<(), WriteError> {
        self.file.set_len(len).map_err(|error| self.io(error))
    }

    /// Writes `run` from the offset `at` on. Returns how many bytes of it the file must have: those
    /// up to the last one that is not zero.
    fn run(&mut self, run: PageRun, at: u64) -> Result<u64, WriteError> {
        let len = run.pages * PAGE_SIZE_U64;
        let (mut done, mut needed) = (0, 0);
        while done < len {
            // The run ends inside the address space.
            let addr = PhysAddr::new(run.addr().get() + done);
            let want = usize::try_from((len - done).min(STEP)).unwrap_or(PAGE_SIZE);
            let chunk = self.mem.chunk(addr, want)?;
            if let Chunk::Bytes(bytes) = chunk
                && let Some(end) = self.bytes(bytes, at + done)?
            {
                needed = done + end;
            }
            done += chunk.len() as u64;
            self.done += chunk.len() as u64;
            if !(self.progress)(self.done, Some(self.total)) {
                return Err(WriteError::Interrupted);
            }
        }
        Ok(needed)
    }

    /// Writes `bytes` at `at`, pages of zeros left out. Returns the end of what was written.
    fn bytes(&mut self, bytes: &[u8], at: u64) -> Result<Option<u64>, WriteError> {
        // Pages in a row that are not zero go in one write.
        let (mut from, mut to, mut end) = (0, 0, None);
        let mut ranges = Vec::new();
        for page in bytes.chunks(PAGE_SIZE) {
            let next = to + page.len();
            if ZEROS.starts_with(page) {
                ranges.push(from..to);
                from = next;
            }
            to = next;
        }
        ranges.push(from..to);
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            let part = bytes.get(range.clone()).unwrap_or_default();
            self.write(part, at + range.start as u64)?;
            self.stored += part.len() as u64;
            end = Some(range.end as u64);
        }
        Ok(end)
    }

    fn finish(self, len: u64) -> Written {
        Written {
            memory: self.total,
            stored: self.stored,
            len,
        }
    }
}
