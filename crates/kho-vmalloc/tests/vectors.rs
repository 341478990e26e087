//! Bytes written by hand from the format's description, and what they must read as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use kho_mem::{Link, PhysAddr};
use kho_radix::Reading;
use kho_testkit::{Builder, Memory};
use kho_vmalloc::Area;
use kho_vmalloc::v1::{VmallocChunk, VmallocSer};
use zerocopy::{FromBytes, IntoBytes};

#[rustfmt::skip]
const DESCRIPTOR: [u8; 16] = [
    0x00, 0x60, 0xf8, 0x01, 0x00, 0x00, 0x00, 0x00, // first: the chunk at 0x1f86000
    0x04, 0x00, 0x00, 0x00,                         // total_pages: 4
    0x03, 0x00,                                     // flags: allocated, huge mappings allowed
    0x01, 0x00,                                     // order: entries of two pages
];

#[test]
fn a_descriptor_reads_as_what_it_says() {
    let ser = VmallocSer::read_from_bytes(&DESCRIPTOR).unwrap();
    assert_eq!(ser.first.get(), 0x1f8_6000);
    assert_eq!(ser.total_pages.get(), 4);
    assert_eq!((ser.flags.get(), ser.order.get()), (3, 1));
    assert_eq!(ser.as_bytes(), DESCRIPTOR);
}

#[test]
fn a_chunk_reads_as_what_it_says() {
    let mut bytes = vec![0; 4096];
    bytes[0..8].copy_from_slice(&[0x00, 0x10, 0, 0, 0, 0, 0, 0]); // next: the chunk at 0x1000
    bytes[8..16].copy_from_slice(&[0x00, 0x20, 0, 0, 1, 0, 0, 0]); // phys[0]: 0x1_0000_2000
    bytes[4088..].copy_from_slice(&[0x00, 0x30, 0, 0, 0, 0, 0, 0]); // phys[510], the last
    let chunk = VmallocChunk::ref_from_bytes(&bytes).unwrap();
    assert_eq!(chunk.hdr.next.get(), 0x1000);
    assert_eq!(chunk.phys[0].get(), 0x1_0000_2000);
    assert_eq!(chunk.phys[510].get(), 0x3000);
    assert_eq!(chunk.phys.len(), 511);
}

/// An area of `bytes` in runs of 2^order pages; reads it back.
fn read_back(bytes: &[u8], order: u32) -> (Area, Vec<u8>) {
    let mut b = Builder::new();
    let descriptor = b.vmalloc(bytes, order);
    let at = b.blob(&descriptor);
    let built = b.finish();
    let mem: &Memory = &built.mem;
    let tracker = mem.u64(kho_testkit::prop(
        mem,
        built.fdt,
        "",
        "preserved-memory-map",
    ));
    let given = |addr| Link::given(PhysAddr::new(addr), "given");
    let mut reading = Reading::open(mem, given(tracker)).unwrap();
    let ser = reading.follow(given(at)).unwrap();
    let area = Area::read(&mut reading, &ser).unwrap();
    let pages = area
        .runs()
        .iter()
        .flat_map(|run| mem.read(run.get(), 4096 << order))
        .collect();
    (area, pages)
}

#[test]
fn areas_of_every_length_read_back() {
    // An empty area; pages; a full chunk, which is followed by an empty one; one page more.
    for (pages, order, chunks) in [
        (0, 0, 0),
        (3, 0, 1),
        (510, 0, 1),
        (511, 0, 2),
        (512, 0, 2),
        (8, 2, 1),
    ] {
        let bytes: Vec<u8> = (0..pages * 4096usize)
            .map(|n| (n / 4096 + n) as u8)
            .collect();
        let (area, read) = read_back(&bytes, order);
        assert_eq!(area.pages(), pages as u64);
        assert_eq!(area.chunks(), chunks, "{pages} pages");
        assert!(read == bytes, "{pages} pages");
    }
}
