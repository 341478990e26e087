//! A file that is preserved and frozen, and the bytes it is written down in.

use super::*;

/// All that preserving could have changed: the file, the allocator, the tracker, and every byte of
/// every page that is not free.
#[derive(PartialEq, Debug)]
struct Snapshot {
    file: (u64, u64, u32, Vec<(u64, u8)>),
    free: Vec<(usize, usize)>,
    keys: Vec<Key>,
    nodes: Vec<PhysAddr>,
    pages: BTreeMap<usize, Vec<u8>>,
}

fn snapshot(arena: &Arena, kho: &Kho, file: &MemFile) -> Snapshot {
    let free = arena.free_blocks();
    let mut is_free = vec![false; (arena.range().len() / PAGE) as usize];
    for (first, order) in &free {
        is_free[*first..first + (1 << order)].fill(true);
    }
    let read = |page: usize| (page, bytes_at(arena, page as u64 * PAGE, PAGE_SIZE));
    let used = (0..is_free.len()).filter(|page| !is_free[*page]);
    let (keys, nodes) = kho
        .preserver()
        .tracker(|tracker| (tracker.iter().collect(), tracker.nodes().collect()));
    Snapshot {
        file: (file.size(), file.pos(), file.seals().bits(), folios(file)),
        keys,
        nodes,
        pages: used.map(read).collect(),
        free,
    }
}

fn same(one: &Snapshot, other: &Snapshot, what: &str) {
    assert_eq!(one.file, other.file, "{what}: the file");
    assert_eq!(one.free, other.free, "{what}: free blocks");
    assert_eq!(one.keys, other.keys, "{what}: keys");
    assert_eq!(one.nodes, other.nodes, "{what}: nodes");
    for (page, bytes) in &one.pages {
        assert!(*bytes == other.pages[page], "{what}: page {page}");
    }
}

#[test]
fn every_failure_of_preserving_is_undone() {
    // Nodes for keys of orders 1, 3 and 9; three pages of the list; its chunk; the state.
    const POINTS: u64 = 5 + 5 + 4 + 3 + 1 + 1;
    let arena = Arena::memfd(&arena_config(16 << 20)).unwrap();
    let whole = arena.free_pages();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let file = scattered(&arena);
    let before = snapshot(&arena, &kho, &file);
    let expected = contents(&file);
    for failing in 0.. {
        arena.fail_after(failing);
        let done = MemfdHandler.preserve(&kho, &file);
        if arena.no_fault() {
            println!("{failing} allocations failed, each once");
            assert_eq!(failing, POINTS);
            MemfdHandler.unpreserve(&file, done.unwrap());
            break;
        }
        let error = done.unwrap_err().to_string();
        assert!(error.contains("out of memory"), "{error}");
        let what = format!("allocation {failing}");
        same(&snapshot(&arena, &kho, &file), &before, &what);
        assert!(contents(&file) == expected);
        file.add_seals(0).expect("it is its owner's still");
    }
    drop((file, kho));
    assert_eq!(arena.free_pages(), whole);
}

#[test]
fn contents_live_through_preserving_and_freezing() {
    let arena = Arena::memfd(&arena_config(16 << 20)).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let file = scattered(&arena);
    let (expected, folios_before) = (contents(&file), folios(&file));
    let mut preserved = MemfdHandler.preserve(&kho, &file).unwrap();
    let again = MemfdHandler.preserve(&kho, &file).unwrap_err();
    assert!(again.to_string().contains("preserved"), "{again}");
    assert_eq!(file.truncate(file.size()), Err(FileError::Preserved));
    assert_eq!(file.write_at(PAGE, b"hole"), Err(FileError::Preserved));
    assert_eq!(file.write_at(file.size(), b"x"), Err(FileError::Preserved));
    assert_eq!(file.add_seals(SEAL_GROW), Err(FileError::Preserved));
    let folio = arena.alloc(Order::ZERO).unwrap();
    assert_eq!(file.insert(1, folio), Err(FileError::Preserved));
    file.write_at(2 * PAGE, b"contents may change").unwrap();
    file.write_at(2 * PAGE, &expected[2 * PAGE_SIZE..2 * PAGE_SIZE + 19])
        .unwrap();
    file.set_pos(123).unwrap();

    let pos_at = |data: u64| bytes_at(&arena, data - BASE, 8);
    let data = MemfdHandler.freeze(&file, &mut preserved).unwrap();
    assert_eq!(pos_at(data), 123u64.to_le_bytes(), "refreshed");
    assert_eq!(file.write_at(0, b"x"), Err(FileError::Frozen));
    assert_eq!(file.set_pos(0), Err(FileError::Frozen));
    assert!(contents(&file) == expected, "it can be read");
    MemfdHandler.unfreeze(&file, &mut preserved);
    assert_eq!(pos_at(data), 77u64.to_le_bytes(), "as it was preserved");
    file.set_pos(5).unwrap();
    assert_eq!(MemfdHandler.freeze(&file, &mut preserved).unwrap(), data);
    assert_eq!(pos_at(data), 5u64.to_le_bytes());
    MemfdHandler.unfreeze(&file, &mut preserved);
    MemfdHandler.unpreserve(&file, preserved);
    assert_eq!((folios(&file), file.pos()), (folios_before, 5));
    assert!(contents(&file) == expected);
    assert_eq!(file.write_at(PAGE, b"hole").unwrap(), 4);
}

#[rustfmt::skip]
const STATE: [u8; 48] = [
    0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // pos: 9
    0x0a, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // size: 0x300a, three pages and 10 bytes
    0x05, 0x00, 0x00, 0x00,                         // seals: SEAL and GROW
    0x00, 0x00, 0x00, 0x00,                         // flags: none
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // nr_folios: 3
    0x00, 0x00, 0x01, 0x10, 0x00, 0x00, 0x00, 0x00, // folios: the first chunk at 0x10010000,
    0x01, 0x00, 0x00, 0x00,                         //     one page in all,
    0x01, 0x00,                                     //     flags: allocated,
    0x00, 0x00,                                     //     order 0
];

#[rustfmt::skip]
const LIST: [u8; 48] = [
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x30, 0x00, // page 0x10000, dirty and up to date (3 << 52)
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // index: 0
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // a hole
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // index: 1
    0x02, 0x00, 0x01, 0x00, 0x00, 0x00, 0x30, 0x00, // page 0x10002, and the one after it
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // index: 2
];

#[rustfmt::skip]
const CHUNK: [u8; 16] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // next: none
    0x00, 0xf0, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, // the list's page at 0x1000f000
];

#[rustfmt::skip]
const EMPTY: [u8; 48] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // pos: 0
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // size: 0
    0x00, 0x00, 0x00, 0x00,                         // seals: none
    0x00, 0x00, 0x00, 0x00,                         // flags: none
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // nr_folios: 0
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // folios: unset
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
];

fn page_of(bytes: &[u8]) -> Vec<u8> {
    let mut page = bytes.to_vec();
    page.resize(PAGE_SIZE, 0);
    page
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let arena = Arena::memfd(&arena_config(4 << 20)).unwrap();
    let file = Arc::new(MemFile::new(&arena));
    // The arena's first page, and the first two in a row that are left.
    file.write_at(0, b"hello").unwrap();
    file.write_at(2 * PAGE, &pattern(1, 2 * PAGE_SIZE)).unwrap();
    file.truncate(3 * PAGE + 10).unwrap();
    file.set_pos(9).unwrap();
    file.add_seals(SEAL_SEAL | SEAL_GROW).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let mut preserved = MemfdHandler.preserve(&kho, &file).unwrap();
    let data = MemfdHandler.freeze(&file, &mut preserved).unwrap();
    let page = |at: u64| bytes_at(&arena, at - BASE, PAGE_SIZE);
    // Pages 1 and 4 to 14 are the tracker's (the root, and five nodes for each order) and the FDT's.
    assert!(page(data) == page_of(&STATE), "{:x?}", &page(data)[..48]);
    assert!(
        page(0x1000_f000) == page_of(&LIST),
        "{:x?}",
        &page(0x1000_f000)[..48]
    );
    assert!(page(0x1001_0000) == page_of(&CHUNK));
    assert_eq!(page(0x1000_0000), page_of(b"hello"));
    assert_eq!(page(0x1000_2000), pattern(1, PAGE_SIZE));
    let last = page_of(&pattern(1, 2 * PAGE_SIZE)[PAGE_SIZE..PAGE_SIZE + 10]);
    assert_eq!(page(0x1000_3000), last, "nothing past the end");

    let empty = Arc::new(MemFile::new(&arena));
    let mut preserved = MemfdHandler.preserve(&kho, &empty).unwrap();
    let data = MemfdHandler.freeze(&empty, &mut preserved).unwrap();
    assert!(page(data) == page_of(&EMPTY));
}

#[test]
fn a_file_of_another_arena_is_refused() {
    let (here, there) = (arena(), arena());
    let kho = Kho::new(here, &KhoConfig::new()).unwrap();
    let file = Arc::new(MemFile::new(&there));
    file.write_at(0, b"elsewhere").unwrap();
    let keys = kho.preserver().keys();
    MemfdHandler
        .preserve(&kho, &file)
        .expect_err("its pages are not of this arena");
    assert_eq!(kho.preserver().keys(), keys);
}
