//! Dumps in the forms that tools write: what was written is read, and what is damaged is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod damaged;
mod foreign;
mod tools;

use std::path::PathBuf;

use kho_image::{Image, ImageError, ImageKind, ImageOptions, scan};
use kho_mem::{Chunk, MemErrorKind, PageSize, PhysAddr, PhysMem, PhysMemExt};
use kho_testkit::{Kdump, Memory, Packed, capture, flatten};

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn try_open(bytes: &[u8]) -> Result<Image, ImageError> {
    // What is open stays when its directory goes.
    let (_dir, path) = written(bytes);
    Image::open(&path, &ImageOptions::default(), &mut |_, _| true)
}

fn open(bytes: &[u8]) -> Image {
    try_open(bytes).unwrap()
}

/// All of `image`, by accesses and by a sweep.
#[track_caller]
fn assert_same(image: &dyn PhysMem, memory: &Memory, of: &str) {
    let mut page = vec![0; 4096];
    for (start, len) in memory.runs() {
        for addr in (start..start + len).step_by(4096) {
            image.copy_to(PhysAddr::new(addr), &mut page).unwrap();
            assert!(
                page == *memory.page(PhysAddr::new(addr)).unwrap(),
                "{of}: {addr:#x}"
            );
        }
    }
    let mut next = 0;
    let all = image.sweep(&mut |addr, piece| {
        assert!(addr.get() >= next, "{of}: in order");
        next = addr.get() + piece.len() as u64;
        if let Chunk::Bytes(bytes) = piece {
            for (at, bytes) in bytes.chunks(4096).enumerate() {
                let addr = addr.get() + 4096 * at as u64;
                // A larger page may hold frames that are not there.
                let page = memory.page(PhysAddr::new(addr));
                let same = page.map_or_else(
                    |_| bytes.iter().all(|byte| *byte == 0),
                    |page| *page == *bytes,
                );
                assert!(same, "{of}: sweep of {addr:#x}");
            }
        }
        true
    });
    assert!(all);
    let (found, expected) = (
        scan(image, &mut |_, _| true),
        scan(memory, &mut |_, _| true),
    );
    assert_eq!(found.roots, expected.roots, "{of}");
    assert_eq!(found.setup, expected.setup, "{of}");
}

#[test]
fn every_page_is_as_it_was_packed() {
    let memory = capture("small");
    for packed in Packed::ALL {
        for page_size in [4096, 16384, 65536] {
            let spec = Kdump {
                packed,
                page_size,
                ..Kdump::default()
            };
            let image = open(&spec.write(&memory).bytes);
            let of = format!("{spec:?}");
            assert_eq!(
                (image.kind(), image.is_flattened()),
                (ImageKind::Kdump, false),
                "{of}"
            );
            assert!(image.notes().is_empty(), "{of}");
            if page_size == 4096 {
                let whole: u64 = memory.runs().iter().map(|(_, len)| len).sum();
                assert_eq!(image.memory(), whole);
            }
            assert_same(&image, &memory, &of);
        }
    }
}

#[test]
fn headers_of_every_version_read_alike() {
    let memory = capture("small");
    for version in 0..=6 {
        for one_bitmap in [false, true] {
            let spec = Kdump {
                version,
                one_bitmap,
                level: 31,
                ..Kdump::default()
            };
            let image = open(&spec.write(&memory).bytes);
            assert_eq!(image.dump_level(), (version > 0).then_some(31));
            assert_same(&image, &memory, &format!("{version} {one_bitmap}"));
        }
    }
}

#[test]
fn memory_that_goes_across_counts_and_windows_reads_as_it_is() {
    // More pages than one count and one window of the sweep have, with gaps of every kind.
    let mut memory = Memory::new();
    memory.add(0x10_0000, 40 << 20);
    memory.add(0x1000_0000, 0x3000);
    let mut excluded = std::collections::BTreeSet::new();
    for page in (0x100..0x2900u64).filter(|page| page % 7 != 0) {
        memory.set_u64(page << 12, page * 0x9e37_79b9);
        memory.set_u64((page << 12) + 4088, page);
    }
    for page in (0x100..0x2900u64).filter(|page| page % 1000 < 30 || page % 64 == 63) {
        excluded.insert(page << 12);
    }
    let spec = Kdump {
        excluded: excluded.clone(),
        packed: Packed::Snappy,
        ..Kdump::default()
    };
    let image = open(&spec.write(&memory).bytes);
    for page in (0x100..0x2900u64).chain(0x1_0000..0x1_0003) {
        let found = image.read::<u64>(PhysAddr::new(page << 12));
        if excluded.contains(&(page << 12)) {
            assert_eq!(
                found.unwrap_err().kind,
                MemErrorKind::NotStored,
                "{page:#x}"
            );
        } else {
            assert_eq!(found.unwrap(), memory.u64(page << 12), "{page:#x}");
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    assert!(image.sweep(&mut |addr, piece| {
        if let Chunk::Bytes(bytes) = piece {
            for (at, bytes) in (addr.get()..).step_by(4096).zip(bytes.chunks(4096)) {
                assert!(
                    *bytes == *memory.page(PhysAddr::new(at)).unwrap(),
                    "{at:#x}"
                );
                assert!(seen.insert(at));
            }
        }
        true
    }));
    let data = (0x100..0x2900u64)
        .filter(|page| page % 7 != 0)
        .map(|page| page << 12);
    assert_eq!(seen, data.filter(|page| !excluded.contains(page)).collect());
}

#[test]
fn what_was_filtered_out_is_not_stored_and_zeros_are_nowhere() {
    let mut memory = Memory::new();
    memory.add(0x4000, 0x8000);
    memory.write(0x4000, &[1; 4096]);
    memory.write(0x6000, &[2; 4096]);
    memory.write(0x7000, &[3; 4096]);
    let excluded = [0x8000, 0x9000].into();
    let mut spec = Kdump {
        excluded,
        level: 31,
        ..Kdump::default()
    };
    let image = open(&spec.write(&memory).bytes);
    let chunk = |addr, len| image.chunk(PhysAddr::new(addr), len);
    // As long as what is alike.
    assert_eq!(
        chunk(0x6ff0, 0x4000),
        Ok(Chunk::Bytes(&[[2; 16].as_slice(), &[3; 4096]].concat()))
    );
    assert_eq!(chunk(0x5004, 0x4000), Ok(Chunk::Zeros(0xffc)));
    assert_eq!(chunk(0xa000, 0x4000), Ok(Chunk::Zeros(0x2000)));
    let error = chunk(0x8010, 0x8000).unwrap_err();
    assert_eq!((error.kind, error.len), (MemErrorKind::NotStored, 0x1ff0));
    for addr in [0, 0x3fff, 0xc000, 0x7fff_f000, u64::MAX] {
        assert_eq!(
            chunk(addr, 16).unwrap_err().kind,
            MemErrorKind::Outside,
            "{addr:#x}"
        );
    }
    let region = image.region(PhysAddr::NULL).unwrap();
    assert_eq!((region.start().get(), region.len()), (0x4000, 0x8000));
    assert_eq!(image.region(PhysAddr::new(0xc000)), None);
    assert!(image.take_fault().is_none());

    // Who leaves out zeros alone leaves out zeros.
    spec.level = 1;
    let image = open(&spec.write(&memory).bytes);
    assert_eq!(
        image.chunk(PhysAddr::new(0x8010), 0x8000),
        Ok(Chunk::Zeros(0x1ff0))
    );
}

#[test]
fn records_of_a_flattened_dump_come_in_any_order() {
    let memory = capture("small");
    let core = memory.to_elf();
    let kdump = Kdump {
        packed: Packed::Snappy,
        ..Kdump::default()
    }
    .write(&memory)
    .bytes;
    for (bytes, kind) in [(&kdump, ImageKind::Kdump), (&core, ImageKind::Elf)] {
        // Pieces of a prime length, so that nothing lies in one; first all of them wrong, then the last one first.
        let wrong = vec![0x55; bytes.len()];
        let pieces = || (0u64..).step_by(7919).zip(bytes.chunks(7919));
        let first = (0u64, &wrong[..]);
        let shuffled = std::iter::once(first).chain(pieces().collect::<Vec<_>>().into_iter().rev());
        for flat in [flatten(pieces()), flatten(shuffled)] {
            let image = open(&flat);
            assert_eq!((image.kind(), image.is_flattened()), (kind, true));
            assert!(image.notes().is_empty());
            assert_same(&image, &memory, "flattened");
            let packed = zstd::encode_all(&flat[..], 1).unwrap();
            let image = open(&packed);
            assert_eq!(image.form(), format!("{}, flattened, zstd", kind.title()));
            assert_same(&image, &memory, "flattened and packed");
        }
    }
}

#[test]
fn lime_dumps_are_ranges() {
    let memory = capture("small");
    let image = open(&memory.to_lime());
    assert_eq!(image.kind(), ImageKind::Lime);
    assert_same(&image, &memory, "LiME");
    // The padded form is raw memory from address 0.
    let image = open(&memory.to_raw(0));
    assert_eq!(image.kind(), ImageKind::Raw);
    assert_eq!(
        image
            .read::<u64>(PhysAddr::new(memory.runs()[0].0))
            .unwrap(),
        memory.u64(memory.runs()[0].0)
    );
}

const NOTE: &str = "OSRELEASE=7.3.4-test\nBUILD-ID=0123\nPAGESIZE=65536\nSYMBOL(_stext)=ffffffff81000000\n\
                    NUMBER(phys_base)=-16777216\nKERNELOFFSET=1c000000\nOSRELEASE=later\n";

#[test]
fn a_dump_says_what_kernel_it_is_of() {
    let memory = capture("small");
    let spec = Kdump {
        vmcoreinfo: Some(NOTE.to_owned()),
        ..Kdump::default()
    };
    let mut laid = spec.write(&memory);
    let kdump = open(&laid.bytes);
    let elf = open(&with_note(&memory, b"VMCOREINFO\0\0", NOTE.as_bytes()));
    for image in [&kdump, &elf] {
        let info = image.vmcoreinfo().unwrap();
        assert_eq!(info.release(), Some("7.3.4-test"));
        assert_eq!(info.page_size(), Some(65536));
        assert_eq!(info.kernel_offset(), Some(0x1c00_0000));
        assert_eq!(info.phys_base(), Some(-0x100_0000));
        assert_eq!(info.get("BUILD-ID"), Some("0123"));
        assert_eq!(info.get("SYMBOL"), None);
        assert_eq!(image.page_size(), Some(PageSize::K64));
        assert_same(image, &memory, "with a note");
    }
    let spec = Kdump {
        vmcoreinfo: Some("PAGESIZE=8192\n".to_owned()),
        ..Kdump::default()
    };
    let error = try_open(&spec.write(&memory).bytes)
        .unwrap_err()
        .to_string();
    assert!(error.contains("pages of 8192 bytes"), "{error}");
    // None, elsewhere, and too long.
    assert_eq!(
        open(&Kdump::default().write(&memory).bytes).vmcoreinfo(),
        None
    );
    assert_eq!(open(&memory.to_elf()).vmcoreinfo(), None);
    assert_eq!(
        open(&with_note(
            &memory,
            b"CORE\0\0\0\0\0\0\0\0",
            NOTE.as_bytes()
        ))
        .vmcoreinfo(),
        None
    );
    for len in [0, u64::MAX, laid.bytes.len() as u64, 2 << 20] {
        laid.set(laid.sub + 40, &len.to_le_bytes());
        let image = open(&laid.bytes);
        assert_eq!(image.vmcoreinfo(), None, "{len:#x}");
    }
}

/// `memory` as an ELF core with a note of this name.
fn with_note(memory: &Memory, name: &[u8; 12], text: &[u8]) -> Vec<u8> {
    let mut core = memory.to_elf();
    let at = core.len() as u64;
    let mut note = Vec::new();
    for word in [11u32, text.len() as u32, 0] {
        note.extend(word.to_le_bytes());
    }
    note.extend(name);
    note.extend(text);
    note.resize(note.len().next_multiple_of(4), 0);
    // A program header more, in the room behind the others.
    let count = usize::from(u16::from_le_bytes([core[56], core[57]]));
    let header = 64 + 56 * count;
    assert!(header + 56 <= 4096);
    core[56] += 1;
    core[header..header + 4].copy_from_slice(&4u32.to_le_bytes());
    for (field, value) in [(8, at), (32, note.len() as u64), (40, note.len() as u64)] {
        core[header + field..header + field + 8].copy_from_slice(&value.to_le_bytes());
    }
    core.extend(note);
    core
}
