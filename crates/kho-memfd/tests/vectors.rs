//! Bytes written by hand from the format's description, and what they must read as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::io::Read;

use kho_compat::{Manifest, Registry, policy};
use kho_core::{Entry, Handover};
use kho_luo::Luo;
use kho_mem::PhysAddr;
use kho_memfd::v2::{FolioSer, MemfdSer};
use kho_memfd::{Memfd, Piece};
use kho_testkit::{Builder, MemfdSpec};
use zerocopy::{FromBytes, IntoBytes};

#[rustfmt::skip]
const MEMFD: [u8; 48] = [
    0x72, 0x23, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // pos: 9074
    0xe4, 0x46, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // size: 18148
    0x06, 0x00, 0x00, 0x00,                         // seals: SHRINK, GROW
    0x00, 0x00, 0x00, 0x00,                         // flags: 0
    0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // nr_folios: 5
    0x00, 0xf0, 0x5e, 0x03, 0x00, 0x00, 0x00, 0x00, // folios.first: 0x35ef000
    0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // folios: total_pages 1, flags 1, order 0
];

#[test]
fn a_memfd_reads_as_what_it_says() {
    let ser = MemfdSer::ref_from_bytes(&MEMFD).unwrap();
    assert_eq!((ser.pos.get(), ser.size.get()), (9074, 18148));
    assert_eq!(
        (ser.seals.get(), ser.flags.get(), ser.nr_folios.get()),
        (6, 0, 5)
    );
    assert_eq!(
        (ser.folios.first.get(), ser.folios.total_pages.get()),
        (0x35e_f000, 1)
    );
    assert_eq!(ser.as_bytes(), MEMFD);
}

#[rustfmt::skip]
const FOLIO: [u8; 16] = [
    0xf1, 0x15, 0x00, 0x00, 0x00, 0x00, 0x30, 0x00, // pfn 0x15f1, flags 3 in the top 12 bits
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // index: page 2 of the file
];

#[test]
fn a_folio_record_reads_as_what_it_says() {
    let ser = FolioSer::ref_from_bytes(&FOLIO).unwrap();
    assert_eq!((ser.pfn(), ser.flags(), ser.index.get()), (0x15f1, 3, 2));
    let all = FolioSer::ref_from_bytes(&[0xff; 16]).unwrap();
    assert_eq!((all.pfn(), all.flags()), ((1 << 52) - 1, 0xfff));
}

/// Builds a handover of one session of `specs`, and restores each memfd's contents.
fn restore(specs: &[MemfdSpec]) -> Vec<(u64, u32, Vec<u8>, bool)> {
    let mut b = Builder::new();
    b.session_of("s", specs);
    let built = b.finish();
    let handover = Handover::open(&built.mem, Entry::new(PhysAddr::new(built.fdt))).unwrap();
    let mut reading = handover.reading().unwrap();
    let luo = Luo::read(&handover, &mut reading, Registry::linked().unwrap())
        .unwrap()
        .unwrap();
    let mut manifest = Manifest::new();
    handover.add_to(&mut manifest);
    luo.add_to(&mut manifest);
    let admitted = Registry::linked()
        .unwrap()
        .admit(&policy::SemverRange, manifest)
        .unwrap();
    let sessions = luo.restore(&admitted).unwrap();
    let session = sessions.get(b"s").unwrap();
    (1..=specs.len() as u64)
        .map(|token| {
            let file = session.file(token).unwrap();
            let memfd = Memfd::restore(&mut reading.admitted(&admitted), &file).unwrap();
            let mut contents = Vec::new();
            memfd.reader().read_to_end(&mut contents).unwrap();
            let holes = memfd
                .pieces()
                .any(|piece| matches!(piece, Ok(Piece::Hole(_))));
            // Once and only once.
            assert!(Memfd::restore(&mut reading.admitted(&admitted), &file).is_err());
            (
                memfd.memfd().pos(),
                memfd.memfd().seals().bits(),
                contents,
                holes,
            )
        })
        .collect()
}

#[test]
fn contents_position_and_seals_come_back() {
    let contents = |len: usize| {
        (0..len)
            .map(|n| (n % 251 + n / 4096) as u8)
            .collect::<Vec<_>>()
    };
    let specs: Vec<_> = [
        (0, 0, 0),
        (1, 0, 0),
        (4096, 0, 0),
        (4097, 0, 0),
        (70_000, 0, 0),
        (70_000, 2, 0),
        (3 << 20, 9, 1),
    ]
    .into_iter()
    .map(|(len, order, list_order)| MemfdSpec {
        order,
        list_order,
        pos: len as u64 / 2,
        seals: 0x2f,
        ..MemfdSpec::new(contents(len))
    })
    .collect();
    for (spec, (pos, seals, read, _)) in specs.iter().zip(restore(&specs)) {
        assert_eq!((pos, seals), (spec.pos, 0x2f));
        assert!(
            read == spec.contents,
            "{} bytes of order {}",
            spec.contents.len(),
            spec.order
        );
    }
}

#[test]
fn holes_read_as_zeros() {
    let mut spec = MemfdSpec::new(vec![7; 5 * 4096]);
    spec.holes = vec![1, 2, 4];
    let mut expected = vec![7; 5 * 4096];
    expected[4096..3 * 4096].fill(0);
    expected[4 * 4096..].fill(0);
    let (_, _, read, holes) = restore(&[spec]).remove(0);
    assert!(read == expected && holes);
}

/// A restore that fails leaves nothing claimed: it fails in the same way again.
#[test]
fn a_failed_restore_keeps_failing_with_the_same_error() {
    let mut b = Builder::new();
    let data = b.memfd(&MemfdSpec::new(vec![1; 20_000]));
    b.session(b"s", &[Builder::file("memfd-v2", data, 1)]);
    let mut built = b.finish();
    let anatomy_list = built.mem.u64(built.mem.u64(data + 32) + 8);
    // The fourth folio is the first once more.
    let first = built.mem.u64(anatomy_list);
    built.mem.set_u64(anatomy_list + 3 * 16, first);
    let handover = Handover::open(&built.mem, Entry::new(PhysAddr::new(built.fdt))).unwrap();
    let mut reading = handover.reading().unwrap();
    let luo = Luo::read(&handover, &mut reading, Registry::linked().unwrap())
        .unwrap()
        .unwrap();
    let file = luo.body().unwrap().sessions()[0].files()[0];
    let unclaimed = reading.claims().unclaimed();
    let one = Memfd::read(&mut reading, &file).unwrap_err();
    assert_eq!(reading.claims().unclaimed(), unclaimed);
    let two = Memfd::read(&mut reading, &file).unwrap_err();
    assert_eq!(one, two);
    assert!(
        one.to_string().contains("folio 3: memfd folio is shared"),
        "{one}"
    );
}
