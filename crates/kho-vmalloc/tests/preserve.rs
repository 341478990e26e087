//! Areas that are written, against hand-made bytes and the reader, with every failure undone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use kho_mem::{Arena, ArenaConfig, Link, Located, Order, PageRun, PhysAddr, PhysMemExt};
use kho_radix::{Claims, Preserved, Preserver, Reading};
use kho_vmalloc::{Area, PreserveError, PreservedArea};
use zerocopy::IntoBytes;

fn preserver() -> (Arena, Preserver) {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 16 << 20)).unwrap();
    (arena.clone(), Preserver::new(arena).unwrap())
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let (arena, preserver) = preserver();
    let folios: Vec<_> = (0..2)
        .map(|_| arena.alloc_zeroed(Order::new(1).unwrap()).unwrap())
        .collect();
    let addrs: Vec<u64> = folios.iter().map(|folio| folio.addr().get()).collect();
    let area = PreservedArea::preserve(&preserver, folios, 1).unwrap();
    let ser = area.ser();
    // first u64, total_pages u32 = 4, flags u16 = 1, order u16 = 1.
    assert_eq!(ser.as_bytes()[8..], [4, 0, 0, 0, 1, 0, 1, 0]);
    let chunk = u64::from_le_bytes(ser.as_bytes()[..8].try_into().unwrap());
    area.hand_over();
    drop(arena);
    let mem = preserver.hand_over().unwrap().into_handed().unwrap();
    let words: Vec<u64> = (0..4)
        .map(|n| {
            mem.read::<zerocopy::little_endian::U64>(PhysAddr::new(chunk + 8 * n))
                .unwrap()
                .get()
        })
        .collect();
    assert_eq!(
        words,
        [0, addrs[0], addrs[1], 0],
        "no next chunk, two runs, the end"
    );
}

#[test]
fn what_is_written_is_read_and_adopted() {
    // Around the length of a chunk: 511 entries.
    for pages in [1usize, 2, 510, 511, 512, 1022, 1023] {
        let (arena, preserver) = preserver();
        let bytes: Vec<u8> = (0..pages * 4096 - 7).map(|n| (n / 4096) as u8).collect();
        let area = PreservedArea::of_bytes(&preserver, &bytes).unwrap();
        let ser = area.ser();
        let root = preserver.root();
        area.hand_over();
        drop(arena);
        let mut handed = preserver.hand_over().unwrap().into_handed().unwrap();
        let preserved = Preserved::read(&handed, Link::given(root, "root")).unwrap();
        let mut reading = Reading::new(&handed, Claims::new(&preserved));
        let area = Area::read(&mut reading, &Located::new(ser, PhysAddr::NULL)).unwrap();
        assert_eq!(area.pages(), pages as u64);
        assert_eq!(
            area.chunks() as usize,
            pages / 511 + 1,
            "a full chunk is followed by another"
        );
        assert_eq!(reading.claims().unclaimed(), (0, 0));
        let keep: Vec<PageRun> = preserved.page_runs().collect();
        let arena = handed.reclaim(keep, &[]);
        let folios = area.adopt(&mut handed).unwrap();
        let read: Vec<u8> = folios
            .iter()
            .flat_map(|folio| folio.to_vec())
            .take(bytes.len())
            .collect();
        assert_eq!(read, bytes);
        assert!(area.adopt(&mut handed).is_err(), "once");
        drop(folios);
        handed.free_rest();
        assert_eq!(arena.free_pages(), 4096);
    }
}

#[test]
fn every_failure_is_undone_and_gives_the_folios_back() {
    let (arena, preserver) = preserver();
    let before = arena.free_blocks();
    let mut points = 0;
    loop {
        let folios: Vec<_> = (0..600)
            .map(|_| arena.alloc(Order::ZERO).unwrap())
            .collect();
        let addrs: Vec<_> = folios.iter().map(kho_mem::Folio::addr).collect();
        let (free, keys) = (arena.free_blocks(), preserver.keys());
        arena.fail_after(points);
        let done = PreservedArea::preserve(&preserver, folios, 1);
        if arena.no_fault() {
            drop(done.unwrap().unpreserve());
            break;
        }
        let failed = done.unwrap_err();
        assert!(
            matches!(failed.error, PreserveError::Tracker(_)),
            "{}",
            failed.error
        );
        assert_eq!(
            failed
                .returned
                .iter()
                .map(kho_mem::Folio::addr)
                .collect::<Vec<_>>(),
            addrs
        );
        assert_eq!((arena.free_blocks(), preserver.keys()), (free, keys));
        drop(failed);
        assert_eq!(arena.free_blocks(), before);
        points += 1;
    }
    assert_eq!(points, 7, "five nodes, two chunks");
    assert_eq!(preserver.keys(), 0);
}

#[test]
fn what_is_no_area_is_refused() {
    let (arena, preserver) = preserver();
    let alloc = |order| arena.alloc(Order::new(order).unwrap()).unwrap();
    let check = |folios, flags, words: &str| {
        let failed = PreservedArea::preserve(&preserver, folios, flags).unwrap_err();
        assert!(failed.error.to_string().contains(words), "{}", failed.error);
    };
    check(vec![], 1, "at least one page");
    check(vec![alloc(0), alloc(1)], 1, "found 1 after 0");
    check(vec![alloc(0)], 4, "unknown flags 0x4");
    assert_eq!(preserver.keys(), 0);
}
