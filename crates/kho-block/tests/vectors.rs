//! Bytes written by hand from the format's description, and what they must read as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use kho_block::BlockSet;
use kho_block::v1::{BlockHeader, count_per_block};
use kho_core::{Entry, Handover};
use kho_mem::{Link, PhysAddr};
use kho_testkit::{Builder, Built};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

#[rustfmt::skip]
const HEADER: [u8; 16] = [
    0x00, 0x20, 0xfb, 0x01, 0x00, 0x00, 0x00, 0x00, // next: the block at 0x1fb2000
    0x33, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // count: 51
];

#[test]
fn a_header_reads_as_what_it_says() {
    let header = BlockHeader::ref_from_bytes(&HEADER).unwrap();
    assert_eq!((header.next.get(), header.count.get()), (0x1fb_2000, 51));
    assert_eq!(header.as_bytes(), HEADER);
}

#[test]
fn entries_per_block_are_as_the_format_says() {
    for (size, count) in [
        (80, 51),
        (64, 63),
        (32, 127),
        (4080, 1),
        (4081, 0),
        (0, 0),
        (1, 4080),
    ] {
        assert_eq!(count_per_block(size), count, "{size}");
    }
}

fn handover(built: &Built) -> Handover<'_> {
    Handover::open(&built.mem, Entry::new(PhysAddr::new(built.fdt))).unwrap()
}

#[test]
fn sets_of_every_length_read_back_in_order() {
    for len in [0u64, 1, 509, 510, 511, 1020, 1021] {
        let mut b = Builder::new();
        let entries: Vec<[u8; 8]> = (0..len).map(|n| (n * 7 + 1).to_le_bytes()).collect();
        let head = b.blocks(&entries);
        let built = b.finish();
        let handover = handover(&built);
        let mut reading = handover.reading().unwrap();
        let head = Link::given(PhysAddr::new(head), "set");
        let set = BlockSet::<U64>::read(&mut reading, head).unwrap();
        assert_eq!((set.len(), set.blocks() as u64), (len, len.div_ceil(510)));
        let read: Vec<u64> = set.iter().map(|entry| entry.unwrap().get()).collect();
        let written: Vec<u64> = (0..len).map(|n| n * 7 + 1).collect();
        assert_eq!(read, written);
        // Its blocks are spoken for now.
        if len > 0 {
            let again = BlockSet::<U64>::read(&mut reading, head);
            assert!(again.unwrap_err().to_string().contains("is shared"));
        }
    }
}

#[test]
fn entries_know_their_addresses() {
    let mut b = Builder::new();
    let head = b.blocks(&[[1u8; 2000], [2; 2000], [3; 2000]]);
    let second = b.mem.u64(head);
    let built = b.finish();
    let handover = handover(&built);
    let mut reading = handover.reading().unwrap();
    let link = Link::given(PhysAddr::new(head), "set");
    let set = BlockSet::<[u8; 2000]>::read(&mut reading, link).unwrap();
    let read: Vec<_> = set
        .iter()
        .map(|entry| entry.unwrap())
        .map(|e| (e.at().get(), e[1999]))
        .collect();
    assert_eq!(read, [(head + 16, 1), (head + 2016, 2), (second + 16, 3)]);
}
