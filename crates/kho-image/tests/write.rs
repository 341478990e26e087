//! What is written is read back as the same memory, and takes no more of a disk than it must.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kho_image::{Image, ImageKind, ImageOptions, WriteError, Written, write_elf, write_raw};
use kho_mem::{Chunk, MemError, PAGE_SIZE, PageRun, Pfn, PhysAddr, PhysMem, PhysMemExt, PhysRange};
use kho_testkit::Memory;

fn frame(pfn: u64) -> Pfn {
    Pfn::new(pfn).unwrap()
}

const BASE: u64 = 0x2000_0000;

/// Pages at these numbers from the base on, each with its number in every byte.
fn memory(pages: &[u64]) -> Memory {
    let mut mem = Memory::new();
    for page in pages {
        mem.add(BASE + page * 4096, 4096);
        mem.write(BASE + page * 4096, &[*page as u8; PAGE_SIZE]);
    }
    mem
}

fn runs(mem: &Memory) -> Vec<PageRun> {
    let runs = mem.runs().into_iter();
    runs.map(|(pa, size)| PageRun {
        pfn: frame(pa >> 12),
        pages: size >> 12,
    })
    .collect()
}

fn elf(path: &Path, mem: &dyn PhysMem, runs: &[PageRun]) -> Result<Written, WriteError> {
    write_elf(path, mem, runs, &mut |_, _| true)
}

fn raw(path: &Path, mem: &dyn PhysMem, runs: &[PageRun]) -> Result<Written, WriteError> {
    write_raw(path, PhysAddr::new(BASE), mem, runs, &mut |_, _| true)
}

fn open(path: &Path) -> Image {
    let options = ImageOptions {
        base: PhysAddr::new(BASE),
        ..ImageOptions::default()
    };
    Image::open(path, &options, &mut |_, _| true).unwrap()
}

fn same(mem: &Memory, image: &Image) {
    for (pa, size) in mem.runs() {
        for at in (pa..pa + size).step_by(PAGE_SIZE) {
            let page = image.bytes(PhysAddr::new(at), PAGE_SIZE).unwrap();
            assert!(*page == mem.read(at, PAGE_SIZE)[..], "page {at:#x}");
        }
    }
}

#[test]
fn both_kinds_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    // Page 256's bytes are 0, and so is the tail of the run before and the last run.
    for (name, pages) in [
        ("one", &[7][..]),
        ("runs", &[1, 2, 3, 9, 10, 300, 301]),
        ("zeros", &[255, 256, 257, 511, 512, 1024]),
        ("nothing", &[256, 512]),
    ] {
        let mem = memory(pages);
        let path = dir.path().join(format!("{name}.elf"));
        let written = elf(&path, &mem, &runs(&mem)).unwrap();
        assert_eq!(written.memory, pages.len() as u64 * 4096);
        let zeros = pages.iter().filter(|page| *page % 256 == 0).count() as u64;
        assert_eq!(written.stored, written.memory - zeros * 4096, "{name}");
        assert_eq!(written.len, path.metadata().unwrap().len());
        let image = open(&path);
        assert_eq!(
            (image.kind(), image.memory()),
            (ImageKind::Elf, written.memory),
            "{name}"
        );
        same(&mem, &image);
        let mut at = Some(PhysAddr::NULL);
        let mut found = Vec::new();
        while let Some(region) = at.and_then(|at| image.region(at)) {
            found.push((region.start().get(), region.len()));
            at = Some(PhysAddr::new(region.end() as u64));
        }
        assert_eq!(found, mem.runs(), "{name}");

        let path = dir.path().join(format!("{name}.raw"));
        let written = raw(&path, &mem, &runs(&mem)).unwrap();
        assert_eq!(written.len, (pages.last().unwrap() + 1) * 4096);
        assert_eq!(written.len, path.metadata().unwrap().len());
        let image = open(&path);
        assert_eq!(image.kind(), ImageKind::Raw);
        same(&mem, &image);
    }
}

#[test]
fn what_the_format_says_stands_where_it_says() {
    // ELF64, written by hand from the specification: a page at 0x20007000.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("core");
    let mem = memory(&[7]);
    elf(&path, &mem, &runs(&mem)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut expected = b"\x7fELF\x02\x01\x01".to_vec(); // 64 bits, little-endian, version 1
    expected.resize(16, 0);
    expected.extend([4, 0, 62, 0, 1, 0, 0, 0]); // ET_CORE, EM_X86_64, EV_CURRENT
    expected.extend([0u64, 64, 0].map(u64::to_le_bytes).concat()); // e_entry, e_phoff, e_shoff
    expected.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]); // flags, sizes, counts
    expected.extend([1, 0, 0, 0, 6, 0, 0, 0]); // PT_LOAD, readable and writable
    let fields = [0x1000u64, 0x2000_7000, 0x2000_7000, 0x1000, 0x1000, 0x1000];
    expected.extend(fields.map(u64::to_le_bytes).concat());
    expected.resize(4096, 0);
    expected.resize(8192, 7);
    assert!(bytes == expected);
}

/// A great deal of memory of which only some pages are stored.
struct Vast {
    stored: Memory,
    range: PhysRange,
}

impl PhysMem for Vast {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        match self.stored.chunk(addr, len) {
            Err(error) if !self.range.contains(addr) => Err(error),
            Err(_) => {
                let next = self
                    .stored
                    .region(addr)
                    .map_or(self.range.end(), |region| u128::from(region.start().get()));
                let room = usize::try_from(next - u128::from(addr.get())).unwrap();
                Ok(Chunk::Zeros(room.min(len)))
            }
            chunk => chunk,
        }
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        (u128::from(from.get()) < self.range.end()).then_some(self.range)
    }
}

#[test]
fn zeros_take_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let size = 8u64 << 30;
    let mem = Vast {
        stored: memory(&[5, 1 << 20 | 3]),
        range: PhysRange::new(PhysAddr::new(BASE), size).unwrap(),
    };
    let all = [PageRun {
        pfn: frame(BASE >> 12),
        pages: size >> 12,
    }];
    for (name, len) in [("elf", 4096 + (1 << 32) + 4 * 4096), ("raw", size)] {
        let path = dir.path().join(name);
        let written = if name == "elf" {
            elf(&path, &mem, &all).unwrap()
        } else {
            raw(&path, &mem, &all).unwrap()
        };
        assert_eq!((written.memory, written.stored), (size, 8192), "{name}");
        let meta = path.metadata().unwrap();
        assert_eq!((written.len, meta.len()), (len, len), "{name}");
        assert!(
            meta.blocks() * 512 < 1 << 20,
            "{name}: {} blocks",
            meta.blocks()
        );
        let image = open(&path);
        assert_eq!(image.memory(), size);
        same(&mem.stored, &image);
    }
}

#[test]
fn more_segments_than_the_header_counts() {
    let dir = tempfile::tempdir().unwrap();
    for count in [0xfffe, 0xffff, 0x1_0000] {
        let path = dir.path().join(count.to_string());
        let range = PhysRange::new(PhysAddr::new(BASE), 1 << 40).unwrap();
        let mem = Vast {
            stored: memory(&[2 * (count - 1)]),
            range,
        };
        let runs: Vec<_> = (0..count)
            .map(|index| PageRun {
                pfn: frame((BASE >> 12) + 2 * index),
                pages: 1,
            })
            .collect();
        let written = elf(&path, &mem, &runs).unwrap();
        assert_eq!(written.memory, count * 4096);
        let image = open(&path);
        assert_eq!(image.memory(), count * 4096, "{count:#x}");
        same(&mem.stored, &image);
    }
}

#[test]
fn runs_that_touch_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("core");
    let mem = memory(&[1, 2, 3]);
    let run = |page, pages| PageRun {
        pfn: frame((BASE >> 12) + page),
        pages,
    };
    elf(&path, &mem, &[run(1, 1), run(2, 2)]).unwrap();
    let region = open(&path).region(PhysAddr::NULL).unwrap();
    assert_eq!(region.len(), 3 * 4096);
}

#[test]
fn what_is_no_dump_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("core");
    let mem = memory(&[1, 2, 3]);
    let run = |pfn, pages| PageRun {
        pfn: frame(pfn),
        pages,
    };
    let base = BASE >> 12;
    let cases: &[&[PageRun]] = &[
        &[],
        &[run(base + 1, 0)],
        &[run(base + 2, 1), run(base + 1, 1)],
        &[run(base + 1, 2), run(base + 2, 1)],
        &[run((1 << 52) - 1, 2)],
        &[run((1 << 52) - 1, u64::MAX)],
    ];
    for runs in cases {
        for written in [elf(&path, &mem, runs), raw(&path, &mem, runs)] {
            assert!(matches!(written, Err(WriteError::Runs { .. })), "{runs:?}");
            assert!(!path.exists());
        }
    }
    // Below the base, and as far above it as no file is long.
    for runs in [[run(base - 1, 1)], [run((BASE + (1 << 63)) >> 12, 1)]] {
        assert!(matches!(
            raw(&path, &mem, &runs),
            Err(WriteError::Runs { .. })
        ));
        assert!(!path.exists());
    }
    let error = elf(&path, &mem, &[run(base + 3, 2)]).unwrap_err();
    assert!(error.to_string().contains("0x20004000"), "{error}");
    std::fs::remove_file(&path).unwrap();

    elf(&path, &mem, &[run(base + 1, 1)]).unwrap();
    let error = elf(&path, &mem, &[run(base + 2, 1)]).unwrap_err();
    assert!(matches!(error, WriteError::Io { .. }), "a file is kept");
    same(&memory(&[1]), &open(&path));
}

#[test]
fn progress_is_told_and_can_stop_it() {
    let dir = tempfile::tempdir().unwrap();
    let mem = memory(&[1, 2, 3, 9]);
    let mut told = Vec::new();
    write_elf(
        &dir.path().join("a"),
        &mem,
        &runs(&mem),
        &mut |done, all| {
            told.push((done, all));
            true
        },
    )
    .unwrap();
    assert_eq!(told.last(), Some(&(16384, Some(16384))));
    assert!(told.is_sorted());
    let stopped = write_elf(&dir.path().join("b"), &mem, &runs(&mem), &mut |_, _| false);
    assert!(matches!(stopped, Err(WriteError::Interrupted)));
}
