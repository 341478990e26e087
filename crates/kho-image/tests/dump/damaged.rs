//! One defect, one test: what is wrong with a dump is named, with its place.

use kho_image::ImageError;
use kho_mem::{MemErrorKind, PhysAddr, PhysMemExt};
use kho_testkit::{Kdump, Laid, Memory, Packed, Random, flatten};

use super::{open, try_open};

/// Pages 4 to 9 of 16 are there: text, two of zeros, text of each kind.
fn memory() -> Memory {
    let mut memory = Memory::new();
    memory.add(0x4000, 0x6000);
    memory.write(0x4000, &b"the first page ".repeat(100));
    memory.write(0x7000, &b"another page ".repeat(100));
    memory.write(0x8000, &b"one more ".repeat(100));
    memory.write(0x9000, &b"the last ".repeat(100));
    memory
}

fn spec(packed: Packed) -> Kdump {
    Kdump {
        packed,
        ..Kdump::default()
    }
}

fn text(error: &ImageError) -> String {
    error.to_string()
}

/// The dump is not opened, and the error has each text.
macro_rules! header {
    ($($name:ident: [$($text:expr),*], $edit:expr;)*) => {$(
        #[test]
        fn $name() {
            let mut laid = spec(Packed::Zlib).write(&memory());
            #[allow(clippy::redundant_closure_call)]
            ($edit as fn(&mut Laid))(&mut laid);
            let error = text(&try_open(&laid.bytes).unwrap_err());
            $(assert!(error.contains($text), "{:?} in {error}", $text);)*
        }
    )*};
}

header! {
    version_newer: ["version", "offset 0x8", "found 7", "0 to 6"], |l| l.set(8, &[7]);
    version_negative: ["version", "found 4294967295"], |l| l.set(8, &[0xff; 4]);
    big_endian: ["big-endian"], |l| l.set(8, &[0, 0, 0, 6]);
    of_32_bits: ["32-bit"], |l| { l.set(416, &4096u32.to_le_bytes()); l.set(428, &[0; 4]); };
    block_size_zero: ["block size", "offset 0x1ac", "found 0"], |l| l.set(428, &[0; 4]);
    block_size_odd: ["block size", "found 4097"], |l| l.set(428, &4097u32.to_le_bytes());
    block_size_huge: ["block size"], |l| l.set(428, &(1u32 << 31).to_le_bytes());
    block_size_other: ["cut short"], |l| l.set(428, &65536u32.to_le_bytes());
    sub_header_size_zero: ["sub header size", "found 0"], |l| l.set(432, &[0; 4]);
    sub_header_size_negative: ["sub header size"], |l| l.set(432, &[0xff; 4]);
    sub_header_size_huge: ["cut short"], |l| l.set(432, &0x7fff_ffffu32.to_le_bytes());
    bitmap_blocks_zero: ["number of bitmap blocks", "found 0", "at least 1"], |l| l.set(436, &[0; 4]);
    bitmap_blocks_few: ["number of bitmap blocks"], |l| l.set(l.sub + 96, &(1u64 << 20).to_le_bytes());
    bitmap_blocks_many: ["bitmap", "cut short"], |l| l.set(436, &[0xff; 4]);
    pages_none: ["page count", "found 0"], |l| { l.set(440, &[0; 4]); l.set(l.sub + 96, &[0; 8]); };
    pages_too_many: ["page count"], |l| l.set(l.sub + 96, &[0xff; 8]);
    split: ["one part of a dump", "makedumpfile --reassemble"], |l| l.set(l.sub + 12, &[1]);
    no_memory: ["first bitmap", "no page of memory"], |l| {
        l.set(l.bitmaps[0], &[0; 4096]);
        l.set(l.bitmaps[1], &[0; 4096]);
    };
    cut_in_the_header: ["kdump header", "cut short"], |l| l.bytes.truncate(463);
    cut_behind_the_header: ["sub header", "cut short"], |l| l.bytes.truncate(464);
    cut_in_the_sub_header: ["sub header", "cut short"], |l| l.bytes.truncate(l.sub + 100);
    cut_before_the_bitmap: ["bitmap", "cut short"], |l| l.bytes.truncate(l.bitmaps[0]);
    cut_in_the_bitmap: ["bitmap", "cut short"], |l| l.bytes.truncate(l.bitmaps[1] + 100);
}

#[test]
fn a_bitmap_of_more_runs_than_a_machine_has_is_damage() {
    let mut memory = Memory::new();
    memory.add(0xf_ffff_f000, 0x1000);
    let mut laid = spec(Packed::Zlib).write(&memory);
    let len = laid.bitmaps[1] - laid.bitmaps[0];
    laid.set(laid.bitmaps[0], &vec![0x55; len]);
    let error = text(&try_open(&laid.bytes).unwrap_err());
    assert!(error.contains("runs"), "{error}");
}

/// The page at 0x7000, whose descriptor is the third and last but two, can not be read; the others can.
macro_rules! page {
    ($($name:ident: $packed:ident, [$($text:expr),*], $edit:expr;)*) => {$(
        #[test]
        fn $name() {
            let mut laid = spec(Packed::$packed).write(&memory());
            let descriptor = laid.descriptors + 3 * 24;
            let offset = u64::from_le_bytes(laid.bytes[descriptor..descriptor + 8].try_into().unwrap());
            #[allow(clippy::redundant_closure_call)]
            ($edit as fn(&mut Laid, usize, usize))(&mut laid, descriptor, offset as usize);
            let image = open(&laid.bytes);
            assert!(image.notes().is_empty());
            for (addr, first) in [(0x4000, b't'), (0x5000, 0), (0x8000, b'o'), (0x9000, b't')] {
                assert_eq!(image.read::<u8>(PhysAddr::new(addr)).unwrap(), first);
            }
            // A read and a sweep find it.
            let error = image.read::<u8>(PhysAddr::new(0x7123)).unwrap_err();
            assert_eq!(error.kind, MemErrorKind::Unreadable);
            let error = text(&image.take_fault().unwrap());
            $(assert!(error.contains($text), "{:?} in {error}", $text);)*
            assert!(error.contains("page 0x7 (memory at 0x7000)"), "{error}");
            assert!(image.take_fault().is_none());
            assert!(kho_image::scan(&image, &mut |_, _| true).roots.is_empty());
            assert_eq!(text(&image.take_fault().unwrap()), error);
        }
    )*};
}

page! {
    offset_in_the_headers: Zlib, ["offset in the descriptor"], |l, d, _| l.set(d, &4096u64.to_le_bytes());
    offset_in_the_descriptors: Zlib, ["offset in the descriptor"], |l, d, _| {
        let at = l.data as u64 - 1;
        l.set(d, &at.to_le_bytes());
    };
    offset_zero: Zlib, ["offset in the descriptor", "0x0"], |l, d, _| l.set(d, &[0; 8]);
    offset_behind_the_end: Zlib, ["offset in the descriptor"], |l, d, _| {
        let at = l.bytes.len() as u64;
        l.set(d, &at.to_le_bytes());
    };
    offset_wrapping: Zlib, ["offset in the descriptor"], |l, d, _| l.set(d, &[0xff; 8]);
    size_zero: Zlib, ["size in the descriptor", "found 0", "1 to 4096"], |l, d, _| l.set(d + 8, &[0; 4]);
    size_above_a_page: Zlib, ["size in the descriptor", "4097"], |l, d, _| l.set(d + 8, &4097u32.to_le_bytes());
    size_of_a_plain_page: Plain, ["size in the descriptor", "expected 4096"], |l, d, _| l.set(d + 8, &100u32.to_le_bytes());
    flags_unknown: Zlib, ["flags in the descriptor", "0x40"], |l, d, _| l.set(d + 12, &[0x40]);
    flags_of_two: Zlib, ["flags in the descriptor", "0x3"], |l, d, _| l.set(d + 12, &[3]);
    flags_of_another: Zlib, ["contents", "zstd"], |l, d, _| l.set(d + 12, &[0x20]);
    zlib_damaged: Zlib, ["contents", "zlib"], |l, _, at| l.set(at + 2, &[0xff; 8]);
    zlib_checksum: Zlib, ["contents", "zlib"], |l, d, at| {
        let len = u32::from_le_bytes(l.bytes[d + 8..d + 12].try_into().unwrap()) as usize;
        l.bytes[at + len - 1] ^= 1;
    };
    zlib_short: Zlib, ["contents", "zlib"], |l, d, _| l.set(d + 8, &[20, 0]);
    lzo_damaged: Lzo, ["contents", "lzo"], |l, _, at| l.set(at, &[0; 12]);
    lzo_short: Lzo, ["contents", "lzo"], |l, d, _| l.set(d + 8, &[20, 0]);
    snappy_damaged: Snappy, ["contents", "snappy"], |l, _, at| l.set(at, &[0xff; 6]);
    snappy_of_more: Snappy, ["contents", "snappy"], |l, _, at| l.set(at, &[0x81, 0x20]);
    snappy_of_less: Snappy, ["contents", "snappy"], |l, _, at| l.set(at, &[0xff, 0x1f]);
    zstd_damaged: Zstd, ["contents", "zstd"], |l, _, at| l.set(at, &[0; 4]);
    zstd_short: Zstd, ["contents", "zstd"], |l, d, _| l.set(d + 8, &[20, 0]);
}

/// The end is missing: what is there is read, and the rest is not stored.
#[test]
fn a_dump_that_is_cut_short_says_so() {
    let whole = spec(Packed::Zlib).write(&memory());
    for (len, last) in [
        (whole.bytes.len() - 1, 3),
        (whole.data + 1, 0),
        (whole.data, 0),
        (whole.data - 1, 0),
        (whole.descriptors, 0),
    ] {
        let image = open(&whole.bytes[..len]);
        assert!(image.notes()[0].contains("cut short"));
        for (number, addr) in [0x4000, 0x7000, 0x8000, 0x9000].into_iter().enumerate() {
            let found = image
                .read::<u8>(PhysAddr::new(addr))
                .map_err(|error| error.kind);
            let expected = if number < last {
                Ok(memory().read(addr, 1)[0])
            } else {
                Err(MemErrorKind::NotStored)
            };
            assert_eq!(found, expected, "{len:#x} {addr:#x}");
        }
        assert!(!kho_image::scan(&image, &mut |_, _| true).stopped);
        assert!(image.take_fault().is_none());
    }
    // The writer's disk was full.
    let mut laid = whole;
    laid.set(424, &[8]);
    laid.set(laid.descriptors + 3 * 24, &[0; 24]);
    let image = open(&laid.bytes);
    assert!(image.notes()[0].contains("cut short"));
    let error = image.read::<u8>(PhysAddr::new(0x7000)).unwrap_err();
    assert_eq!(error.kind, MemErrorKind::NotStored);
    assert_eq!(image.read::<u8>(PhysAddr::new(0x8000)).unwrap(), b'o');
}

/// A small file that claims much memory costs what is read of it, and no more than was allowed.
#[test]
fn pages_that_share_their_bytes_count_each() {
    let mut memory = Memory::new();
    memory.add(0, 64 << 12);
    (0..64).for_each(|page| memory.write(page << 12, &[7; 4096]));
    let mut laid = spec(Packed::Zlib).write(&memory);
    let one = laid.bytes[laid.descriptors..laid.descriptors + 24].to_vec();
    (1..64).for_each(|page| laid.set(laid.descriptors + 24 * page, &one));
    let (_dir, path) = super::written(&laid.bytes);
    let options = kho_image::ImageOptions {
        max_unpacked: 32 << 12,
        ..kho_image::ImageOptions::default()
    };
    let image = kho_image::Image::open(&path, &options, &mut |_, _| true).unwrap();
    let read = |page: u64| image.read::<u8>(PhysAddr::new(page << 12));
    assert!((0..32).all(|page| read(page).is_ok()));
    assert_eq!(read(32).unwrap_err().kind, MemErrorKind::Unreadable);
    let error = text(&image.take_fault().unwrap());
    assert!(error.contains("--max-unpacked"), "{error}");
}

#[test]
fn a_flattened_dump_is_checked() {
    let kdump = spec(Packed::Zlib).write(&memory()).bytes;
    let good = flatten([(0, &kdump[..])]);
    assert!(open(&good).notes().is_empty());
    let number = |at: usize, value: i64| {
        let mut bad = good.clone();
        bad[at..at + 8].copy_from_slice(&value.to_be_bytes());
        text(&try_open(&bad).unwrap_err())
    };
    for (at, value, expected) in [
        (16, 2, "type 2"),
        (24, 9, "version 9"),
        (4096, -5, "offset -5"),
        (4104, -1, "-1 bytes"),
        (4104, 0, "0 bytes"),
        (4096, i64::MAX, "offset 9223372036854775807"),
    ] {
        let error = number(at, value);
        assert!(
            error.contains("flattened") && error.contains(expected),
            "{error}"
        );
    }
    // Of the records, of a record's bytes, and all of them.
    for len in [good.len() - 16, good.len() - 1, good.len() - 17] {
        let image = open(&good[..len]);
        assert!(
            image.notes()[0].contains("flattened dump is cut short"),
            "{len}"
        );
        assert_eq!(image.read::<u8>(PhysAddr::new(0x4000)).unwrap(), b't');
    }
    for (content, expected) in [(&b"\x01neither"[..], "neither"), (&[], "")] {
        let records = (!content.is_empty()).then_some((0, content));
        let error = text(&try_open(&flatten(records)).unwrap_err());
        assert!(
            error.contains("contents of the flattened dump") && error.contains(expected),
            "{error}"
        );
    }
    for len in [16, 31, 4096] {
        assert!(
            text(&try_open(&good[..len]).unwrap_err()).contains("flattened"),
            "{len}"
        );
    }
}

#[test]
fn a_lime_dump_is_checked() {
    let good = memory().to_lime();
    let edited = |at: usize, value: u64| {
        let mut bad = good.clone();
        bad[at..at + 8].copy_from_slice(&value.to_le_bytes());
        text(&try_open(&bad).unwrap_err())
    };
    assert!(edited(0, 0x2_4c69_4d45).contains("version 2"));
    assert!(edited(8, u64::MAX).contains("LiME range 0"));
    assert!(edited(16, 0).contains("a last address above the first"));
    // A second range, of something else, and of the same memory.
    for (more, expected) in [
        (&b"EMi"[..], "less than a header"),
        (&[0; 40], "LiME range 1"),
        (&good[..], "overlap"),
    ] {
        let error = text(&try_open(&[&good, more].concat()).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
    // What is there of a last range is read.
    let image = open(&good[..good.len() - 4096]);
    assert_eq!(image.cut(), Some(4096));
    assert_eq!(image.read::<u8>(PhysAddr::new(0x8000)).unwrap(), b'o');
    let error = image.read::<u8>(PhysAddr::new(0x9000)).unwrap_err();
    assert_eq!(error.kind, MemErrorKind::NotStored);
}

/// Whatever stands in a file, it is read or refused.
#[test]
fn any_bytes_are_read_or_refused() {
    let kdump = spec(Packed::Zlib).write(&memory()).bytes;
    let bases = [
        kdump.clone(),
        spec(Packed::Lzo).write(&memory()).bytes,
        flatten((0u64..).step_by(1000).zip(kdump.chunks(1000))),
        flatten([(0, &memory().to_elf()[..])]),
        memory().to_lime(),
    ];
    let mut random = Random(0x5eed);
    let (mut opened, mut refused) = (0, 0);
    for base in &bases {
        for _ in 0..400 {
            let mut bytes = base.clone();
            for _ in 0..=random.below(3) {
                // Where numbers stand, more often than not.
                let starts = [0, 400, 4096, 8192, 12288, 16384, bytes.len() - 64];
                let at = match random.below(4) {
                    0 => random.below(bytes.len() - 8),
                    _ => (random.of(&starts) + random.below(128)).min(bytes.len() - 8),
                };
                let value = match random.below(4) {
                    0 => random.next(),
                    1 => u64::MAX - random.next() % 4096,
                    2 => 1 << random.below(64),
                    _ => random.next() % 65536,
                };
                let len = random.of(&[1, 4, 8]);
                bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
            }
            if random.once_in(4) {
                bytes.truncate(random.below(bytes.len()));
            }
            let Ok(image) = try_open(&bytes) else {
                refused += 1;
                continue;
            };
            opened += 1;
            let _ = kho_image::scan(&image, &mut |_, _| true);
            for page in 0..16u64 {
                let addr = PhysAddr::new(page << 12);
                let _ = (
                    image.read::<u64>(addr),
                    image.locate(addr),
                    image.take_fault(),
                );
            }
            let _ = (image.memory(), image.dump_level(), image.vmcoreinfo());
        }
    }
    assert!(opened > 200 && refused > 200, "{opened} {refused}");
}
