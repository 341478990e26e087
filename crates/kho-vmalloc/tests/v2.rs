//! Version 2 of the format: bytes written by hand, round trips, and descriptors that lie.
#![cfg(feature = "experimental-v2")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use kho_compat::{Announced, Registry};
use kho_mem::{Damage, Defect, Link, PhysAddr};
use kho_radix::Reading;
use kho_testkit::{Builder, Built, prop};
use kho_vmalloc::{Area, Format, v1, v2};
use zerocopy::{FromBytes, IntoBytes};

#[rustfmt::skip]
const DESCRIPTOR: [u8; 24] = [
    0x00, 0x60, 0xf8, 0x01, 0x00, 0x00, 0x00, 0x00, // first: the chunk at 0x1f86000
    0x04, 0x00, 0x00, 0x00,                         // total_pages: 4
    0x03, 0x00,                                     // flags: allocated, huge mappings allowed
    0x01, 0x00,                                     // order: entries of two pages
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // nr_chunks: 1
];

#[test]
fn a_descriptor_reads_as_what_it_says() {
    let ser = v2::VmallocSer::ref_from_bytes(&DESCRIPTOR).unwrap();
    assert_eq!((ser.first.get(), ser.total_pages.get()), (0x1f8_6000, 4));
    assert_eq!((ser.flags.get(), ser.order.get()), (3, 1));
    assert_eq!(ser.nr_chunks.get(), 1);
    assert_eq!(ser.as_bytes(), DESCRIPTOR);
    // All but the last field is version 1's.
    let (old, _) = v1::VmallocSer::ref_from_prefix(&DESCRIPTOR).unwrap();
    assert_eq!(old.as_bytes(), &DESCRIPTOR[..16]);
}

#[test]
fn it_is_registered_by_nobody_but_who_asks_for_it() {
    let linked = Registry::linked().unwrap();
    assert_eq!(linked.restorable_text("vmalloc"), "vmalloc-v1");
    let newer = linked.with_experiment("vmalloc", v2::VERSION).unwrap();
    assert_eq!(newer.restorable_text("vmalloc"), "vmalloc-v1 or vmalloc-v2");
    for (next, version) in [(linked, 1), (&newer, 2)] {
        let written = newer.side().newest_common(next.side());
        assert_eq!(written.get("vmalloc").unwrap().version, version);
    }
    let versions = Format::ALL.iter().map(|format| format.version());
    assert_eq!(versions.collect::<Vec<_>>(), [1, 2]);
    assert_eq!((Format::of(2), Format::of(3)), (Some(Format::V2), None));
}

/// An area of `pages` pages, whose descriptor is of version 2, its place, and the chunks of its list.
fn built(pages: usize) -> (Built, PhysAddr) {
    let mut b = Builder::new();
    let mut descriptor = b.vmalloc(&vec![7; pages * 4096], 0).to_vec();
    let chunks = if pages == 0 {
        0
    } else {
        pages as u64 / 511 + 1
    };
    descriptor.extend(chunks.to_le_bytes());
    let at = PhysAddr::new(b.blob(&descriptor));
    (b.finish(), at)
}

/// What is read at `at` of an area of version `announced`. What fails leaves nothing claimed.
fn read(built: &Built, at: PhysAddr, announced: &str) -> Result<Area, Damage> {
    let tracker = prop(&built.mem, built.fdt, "", "preserved-memory-map");
    let root = Link::given(PhysAddr::new(built.mem.u64(tracker)), "root");
    let reading = Reading::open(&built.mem, root).unwrap();
    let mut reading = reading.with(Announced::default().in_string(announced));
    let area = Area::read_at(&mut reading, Link::given(at, "descriptor"));
    assert!(area.is_ok() || reading.claims().count() == 0, "all or none");
    area
}

const USER: &str = "user-v1;vmalloc-v2";

#[test]
fn areas_of_every_length_read_back() {
    for pages in [0, 1, 510, 511, 512, 1022, 1023] {
        let (built, at) = built(pages);
        let area = read(&built, at, USER).unwrap();
        assert_eq!(area.pages(), pages as u64);
        // Taken for version 1, its first bytes are an area as well: what it is, its string says.
        for announced in ["user-v1;vmalloc-v1", "user-v1"] {
            assert_eq!(read(&built, at, announced).unwrap(), area);
        }
    }
    let (built, at) = built(1);
    let damage = read(&built, at, "user-v1;vmalloc-v3").unwrap_err();
    assert_eq!(
        damage.to_string(),
        format!(
            "vmalloc area: version of its descriptor has an impossible value at {at}: \
             found vmalloc-v3, expected vmalloc-v1 and vmalloc-v2"
        )
    );
}

#[test]
fn a_descriptor_that_lies_is_damage() {
    // Two chunks.
    #[rustfmt::skip]
    let cases: &[(u64, &[u8], u64, Defect, &str)] = &[
        (16, &[0], 16, Defect::Mismatch, "found 0, expected 2, the chunks of the list"),
        (16, &[1], 16, Defect::Mismatch, "found 1, expected 2, the chunks of the list"),
        (16, &[3], 16, Defect::Mismatch, "found 3, expected 2, the chunks of the list"),
        (23, &[0x80], 16, Defect::Mismatch, "found 9223372036854775810, expected 2"),
        (16, &[0xff; 8], 16, Defect::Mismatch, "found 18446744073709551615, expected 2"),
        (0, &[0; 8], 0, Defect::Null, "the chunk list of 600 pages"),
        (8, &[0x59], 8, Defect::Mismatch, "found 601, expected 600, the pages that the chunks list"),
        (12, &[4], 12, Defect::UnknownFlags, "found 0x4"),
        (14, &[64], 14, Defect::BadOrder, "found 64"),
    ];
    for (offset, bytes, field, defect, text) in cases {
        let (mut built, at) = built(600);
        built.mem.write(at.get() + offset, bytes);
        let damage = read(&built, at, USER).unwrap_err();
        let said = damage.to_string();
        assert_eq!(
            (damage.defect(), damage.at().get()),
            (*defect, at.get() + field),
            "{said}"
        );
        assert!(
            said.starts_with("vmalloc area: ") && said.contains(text),
            "{said}"
        );
    }
    // A count without a list.
    let (mut built, at) = built(0);
    built.mem.write(at.get() + 16, &[1]);
    let damage = read(&built, at, USER).unwrap_err();
    assert_eq!(damage.defect(), Defect::Mismatch);
    assert_eq!(damage.at().get(), at.get() + 16);
}

/// Every value of every byte of a descriptor: an area or damage.
#[test]
fn no_byte_of_a_descriptor_can_make_its_reader_panic() {
    let (mut built, at) = built(3);
    let (mut good, mut bad) = (0, 0);
    for offset in 0..24 {
        let at_byte = at.get() + offset;
        let before = built.mem.read(at_byte, 1)[0];
        for value in 0..=255 {
            built.mem.write(at_byte, &[value]);
            match read(&built, at, USER) {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
        }
        built.mem.write(at_byte, &[before]);
    }
    // Every byte as it was, and the three other values of two flags.
    assert_eq!((good, bad), (24 + 3, 24 * 256 - 27));
}
