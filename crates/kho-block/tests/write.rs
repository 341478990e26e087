//! Sets that are made, against a plain vector, hand-made bytes and the reader, with every failure
//! undone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use std::sync::atomic::{AtomicBool, Ordering};

use kho_block::{BlockError, BlockSet, Format, OutgoingBlockSet};
use kho_core::{Preserver, TrackerError};
use kho_mem::{
    Arena, ArenaConfig, Chunk, Handed, Link, MemError, MemErrorKind, OutOfMemory, PhysAddr,
    PhysMem, PhysRange,
};
use kho_radix::{Claims, Preserved, Reading};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use zerocopy::little_endian::U64;

const BASE: u64 = 0x1000_0000;
/// Nodes below the root on the way to the one leaf that these arenas need.
const NODES: u64 = 5;

/// Four of them fit a block, so that short sets have several.
type Entry = [u8; 1000];
const PER_BLOCK: usize = 4;

fn preserver(size: u64) -> (Arena, Preserver) {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(BASE), size)).unwrap();
    (arena.clone(), Preserver::new(arena).unwrap())
}

fn entry(value: u64) -> Entry {
    let mut entry = [value as u8; 1000];
    entry[..8].copy_from_slice(&value.to_le_bytes());
    entry
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(0x006b_686f),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// The memory as the next kernel finds it, with the tracker's root.
fn handed(arena: Arena, preserver: Preserver) -> (Handed, PhysAddr) {
    let root = preserver.root();
    drop(arena);
    let arena = preserver.hand_over().unwrap();
    (arena.into_handed().unwrap(), root)
}

#[derive(Clone, Debug)]
enum Step {
    Grow(usize),
    Shrink(usize),
    Clear,
    Reserve(usize),
    ReserveMany(usize),
    Prev(usize),
    Change(usize, u64),
    Fail(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..40).prop_map(Step::Grow),
        1 => Just(Step::Grow(10_000 * PER_BLOCK + 1)),
        2 => (0usize..40).prop_map(Step::Shrink),
        1 => Just(Step::Clear),
        5 => (1usize..12).prop_map(Step::Reserve),
        3 => (0usize..12).prop_map(Step::ReserveMany),
        3 => (1usize..12).prop_map(Step::Prev),
        2 => (0usize..40, any::<u64>()).prop_map(|(index, value)| Step::Change(index, value)),
        2 => (0u64..12).prop_map(Step::Fail),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn a_set_is_a_vector_in_blocks(steps in steps(), format in prop::sample::select(Format::ALL)) {
        let (arena, preserver) = preserver(8 << 20);
        let mut set = OutgoingBlockSet::<Entry>::with_format(preserver.clone(), format).unwrap();
        let nodes = || preserver.tracker(|tracker| tracker.nodes().collect::<Vec<_>>());
        // The model: entries, blocks, the address of the first block, and the allocations that go
        // well before one fails.
        let (mut model, mut blocks) = (Vec::<Entry>::new(), 0usize);
        let (mut first, mut fault) = (None, None);
        let mut next = 1u64;
        for step in steps {
            match step {
                Step::Grow(count) => {
                    let before = (arena.free_blocks(), nodes(), preserver.keys());
                    let done = set.grow(count);
                    let needed = count.div_ceil(PER_BLOCK);
                    if needed > 10_000 {
                        let max = 10_000 * PER_BLOCK;
                        let too_many = BlockError::TooMany { asked: count, max, entry_size: 1000 };
                        prop_assert_eq!(done, Err(too_many));
                        prop_assert_eq!((arena.free_blocks(), nodes(), preserver.keys()), before);
                    } else if needed > blocks {
                        let under_root = if before.1.len() == 1 { NODES } else { 0 };
                        let allocations = (needed - blocks) as u64 + under_root;
                        if fault.is_some_and(|fault| fault < allocations) {
                            fault = None;
                            let failed = matches!(done, Err(BlockError::Tracker(TrackerError::OutOfMemory(_))));
                            prop_assert!(failed, "{:?}", done);
                            prop_assert_eq!((arena.free_blocks(), nodes(), preserver.keys()), before);
                        } else {
                            fault = fault.map(|fault| fault - allocations);
                            prop_assert_eq!(done, Ok(()));
                            blocks = needed;
                        }
                    } else {
                        prop_assert_eq!(done, Ok(()));
                        prop_assert_eq!((arena.free_blocks(), nodes(), preserver.keys()), before);
                    }
                }
                Step::Shrink(count) => {
                    set.shrink(count);
                    model.truncate(count);
                    blocks = blocks.min(count.div_ceil(PER_BLOCK));
                }
                Step::Clear => {
                    set.clear();
                    model.clear();
                }
                Step::Reserve(count) => for _ in 0..count {
                    let capacity = blocks * PER_BLOCK;
                    match set.reserve_entry() {
                        Ok(new) => {
                            prop_assert!(model.len() < capacity);
                            prop_assert_eq!(*new, [0; 1000], "all 0, whoever was there before");
                            *new = entry(next);
                            model.push(entry(next));
                            next += 1;
                        }
                        Err(error) => {
                            prop_assert_eq!(model.len(), capacity);
                            prop_assert_eq!(error, BlockError::Full { capacity });
                        }
                    }
                },
                Step::ReserveMany(max) => {
                    let capacity = blocks * PER_BLOCK;
                    match set.reserve_entries(max) {
                        Ok(new) => {
                            let room = PER_BLOCK - model.len() % PER_BLOCK;
                            prop_assert!(max > 0 && model.len() < capacity);
                            prop_assert_eq!(new.len(), max.min(room), "what one block has left");
                            for new in new {
                                prop_assert_eq!(*new, [0; 1000], "all 0, whoever was there before");
                                *new = entry(next);
                                model.push(entry(next));
                                next += 1;
                            }
                        }
                        Err(error) => {
                            prop_assert!(max == 0 || model.len() == capacity);
                            prop_assert_eq!(error, BlockError::Full { capacity });
                        }
                    }
                }
                Step::Prev(count) => for _ in 0..count {
                    prop_assert_eq!(set.prev(), model.pop());
                },
                Step::Change(index, value) => {
                    prop_assert_eq!(set.get_mut(index).map(|at| *at = entry(value)).is_some(), index < model.len());
                    if let Some(at) = model.get_mut(index) {
                        *at = entry(value);
                    }
                }
                Step::Fail(after) => {
                    arena.fail_after(after);
                    fault = Some(after);
                }
            }
            prop_assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!((set.blocks(), set.capacity()), (blocks, blocks * PER_BLOCK));
            prop_assert!(set.iter().eq(&model));
            for index in 0..=blocks * PER_BLOCK {
                prop_assert_eq!(set.get(index), model.get(index));
            }
            prop_assert_eq!(set.get(usize::MAX), None);
            prop_assert_eq!((preserver.keys(), preserver.pages()), (blocks as u64, blocks as u64));
            prop_assert_eq!(arena.free_pages(), 2048 - (nodes().len() + blocks) as u64);
            prop_assert_eq!(set.head().is_null(), model.is_empty());
            if blocks == 0 {
                first = None;
            }
            if !model.is_empty() {
                let head = *first.get_or_insert(set.head());
                prop_assert_eq!(set.head(), head, "the first block stays the first");
            }
        }
        arena.no_fault();
        let head = set.head();
        set.hand_over();
        let (mem, root) = handed(arena, preserver);
        let mut reading = Reading::open(&mem, Link::given(root, "root")).unwrap();
        let announced = format!("block-v{}", format.version());
        let set = reading.in_string(&announced, |reading| {
            BlockSet::<Entry>::read(reading, Link::given(head, "set")).unwrap()
        });
        let linked = model.len().div_ceil(PER_BLOCK);
        prop_assert_eq!((set.len(), set.blocks()), (model.len() as u64, linked));
        let empty = (blocks - linked) as u64;
        prop_assert_eq!(reading.claims().unclaimed(), (empty, empty), "blocks without entries are not linked");
        let read: Vec<_> = set.iter().map(Result::unwrap).collect();
        prop_assert!(read.iter().map(|entry| &**entry).eq(&model));
        for index in 0..model.len() + PER_BLOCK {
            let got = set.get(index as u64).map(Result::unwrap);
            prop_assert_eq!(got, read.get(index).copied());
        }
    }

    #[test]
    fn a_cursor_is_a_place_in_a_vector(len in 0usize..14, moves in prop::collection::vec(any::<bool>(), 0..60)) {
        let (arena, preserver) = preserver(4 << 20);
        let set = filled(&preserver, len);
        let head = set.head();
        set.hand_over();
        let (mem, root) = handed(arena, preserver);
        let mut reading = Reading::open(&mem, Link::given(root, "root")).unwrap();
        let set = BlockSet::<Entry>::read(&mut reading, Link::given(head, "set")).unwrap();
        let model: Vec<_> = set.iter().map(Result::unwrap).collect();
        let (mut cursor, mut at) = (set.cursor(), 0usize);
        for forth in moves {
            let got = if forth { cursor.read_entry() } else { cursor.prev() };
            let expected = if forth { Some(at) } else { at.checked_sub(1) };
            let expected = expected.filter(|index| *index < len);
            prop_assert_eq!(got.map(Result::unwrap), expected.map(|index| model[index]));
            match expected {
                Some(_) if forth => at += 1,
                Some(_) => at -= 1,
                None => {}
            }
        }
    }
}

/// A set of the entries 1, 2, 3...
fn filled(preserver: &Preserver, len: usize) -> OutgoingBlockSet<Entry> {
    let mut set = OutgoingBlockSet::new(preserver.clone());
    set.grow(len).unwrap();
    for value in 1..=len as u64 {
        *set.reserve_entry().unwrap() = entry(value);
    }
    set
}

#[rustfmt::skip]
const FIRST: [u8; 16] = [
    0x00, 0x70, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, // next: the block at 0x10007000
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // count: 2, as many as fit
];

#[rustfmt::skip]
const SECOND: [u8; 16] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // next: none
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // count: 1
];

#[rustfmt::skip]
const LAST: [u8; 16] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // next: none, though there is another block
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // count: 2
];

/// Entries of 2040 bytes: two fill a block to its last byte.
fn three(preserver: &Preserver) -> OutgoingBlockSet<[u8; 2040]> {
    let mut set = OutgoingBlockSet::<[u8; 2040]>::new(preserver.clone());
    set.grow(3).unwrap();
    for byte in [0x11, 0x22, 0x33] {
        set.reserve_entry().unwrap().fill(byte);
    }
    // The tracker's root is the arena's first page and the block the second; then come five nodes
    // of the tracker and the other block.
    assert_eq!(set.head(), PhysAddr::new(0x1000_1000));
    set
}

fn page(header: &[u8; 16], first: u8, second: u8) -> Vec<u8> {
    [&header[..], &[first; 2040], &[second; 2040]].concat()
}

fn pages(arena: Arena, preserver: Preserver) -> [Vec<u8>; 2] {
    let (mem, _) = handed(arena, preserver);
    [0x1000_1000, 0x1000_7000].map(|at| match mem.chunk(PhysAddr::new(at), 4096).unwrap() {
        Chunk::Bytes(bytes) => bytes.to_vec(),
        Chunk::Zeros(len) => vec![0; len],
    })
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let (arena, preserver) = preserver(8 << 20);
    three(&preserver).hand_over();
    let expected = [page(&FIRST, 0x11, 0x22), page(&SECOND, 0x33, 0)];
    assert_eq!(pages(arena, preserver), expected);
}

#[test]
fn entries_that_leave_leave_nothing_behind() {
    // One by one: the block that is empty then is no longer linked.
    let (arena, one) = preserver(8 << 20);
    let mut set = three(&one);
    assert_eq!(set.prev(), Some([0x33; 2040]));
    assert_eq!((set.len(), set.blocks()), (2, 2));
    set.hand_over();
    let expected = [page(&LAST, 0x11, 0x22), vec![0; 4096]];
    assert_eq!(pages(arena, one), expected);

    // All at once: the blocks stay, with nothing in them, and nothing leads to them.
    let (arena, all) = preserver(8 << 20);
    let mut set = three(&all);
    set.clear();
    assert_eq!((set.head(), set.blocks()), (PhysAddr::NULL, 2));
    set.hand_over();
    assert_eq!(pages(arena, all), [vec![0; 4096], vec![0; 4096]]);

    // With their block: it is free, and the one before is the last.
    let (arena, some) = preserver(8 << 20);
    let mut set = three(&some);
    set.shrink(1);
    assert_eq!((set.len(), set.blocks(), some.keys()), (1, 1, 1));
    set.hand_over();
    let [block, _] = pages(arena, some);
    assert_eq!(block, page(&SECOND, 0x11, 0));
}

#[test]
fn a_set_has_no_more_blocks_than_the_format_allows() {
    const MESSAGE: &str =
        "a set holds at most 10000 entries of 4080 bytes in its 10000 blocks, not 10001";
    // One entry fills a block.
    type Large = [u8; 4080];
    assert_eq!(
        (
            OutgoingBlockSet::<Large>::PER_BLOCK,
            OutgoingBlockSet::<Large>::MAX
        ),
        (1, 10_000)
    );
    assert_eq!(OutgoingBlockSet::<[u8; 80]>::MAX, 510_000);
    let (arena, preserver) = preserver(64 << 20);
    let before = arena.free_blocks();
    let mut set = OutgoingBlockSet::<Large>::new(preserver.clone());
    for count in [10_001, usize::MAX] {
        assert!(
            matches!(set.grow(count), Err(BlockError::TooMany { asked, .. }) if asked == count)
        );
        assert_eq!(
            (arena.free_blocks(), preserver.keys(), set.blocks()),
            (before.clone(), 0, 0)
        );
    }
    set.grow(10_000).unwrap();
    for value in 0..10_000u64 {
        set.reserve_entry().unwrap()[..8].copy_from_slice(&value.to_le_bytes());
    }
    let full = arena.free_blocks();
    assert_eq!(set.grow(10_001).unwrap_err().to_string(), MESSAGE);
    assert_eq!(
        set.reserve_entry().unwrap_err(),
        BlockError::Full { capacity: 10_000 }
    );
    assert_eq!(
        (arena.free_blocks(), preserver.keys(), set.len()),
        (full, 10_000, 10_000)
    );
    let head = set.head();
    set.hand_over();
    let (mem, root) = handed(arena, preserver);
    let mut reading = Reading::open(&mem, Link::given(root, "root")).unwrap();
    let set = BlockSet::<Large>::read(&mut reading, Link::given(head, "set")).unwrap();
    assert_eq!(
        (set.blocks(), reading.claims().unclaimed()),
        (10_000, (0, 0))
    );
    let last = set.get(9_999).unwrap().unwrap();
    assert_eq!(last[..8], 9_999u64.to_le_bytes());
    assert!(set.get(10_000).is_none());
}

#[test]
fn a_set_grows_by_all_or_nothing() {
    let (arena, preserver) = preserver(4 << 20);
    let nodes = || preserver.tracker(|tracker| tracker.nodes().collect::<Vec<_>>());
    // From nothing: three blocks and five nodes. From three blocks: four more.
    for (len, grown, allocations) in [(0, 12, 3 + NODES), (9, 28, 4)] {
        let mut set = filled(&preserver, len);
        let before = (arena.free_blocks(), nodes(), preserver.keys());
        let (head, blocks) = (set.head(), set.blocks());
        let entries: Vec<_> = set.iter().copied().collect();
        for failing in 0.. {
            arena.fail_after(failing);
            let done = set.grow(grown);
            if arena.no_fault() {
                assert_eq!((done, failing), (Ok(()), allocations));
                break;
            }
            let full = OutOfMemory { pages: 1 };
            assert_eq!(
                done,
                Err(BlockError::Tracker(TrackerError::OutOfMemory(full)))
            );
            assert_eq!(
                (arena.free_blocks(), nodes(), preserver.keys()),
                before,
                "allocation {failing}"
            );
            assert_eq!((set.head(), set.blocks()), (head, blocks));
            assert!(set.iter().eq(&entries));
        }
        assert_eq!((set.capacity(), set.len()), (grown, len));
        drop(set);
        assert_eq!(
            preserver.keys(),
            0,
            "a set that is dropped is not preserved"
        );
        assert_eq!(arena.free_pages(), 1024 - nodes().len() as u64);
    }

    // An arena that is really full.
    let before = (arena.free_blocks(), nodes());
    let mut set = OutgoingBlockSet::<[u8; 4080]>::new(preserver.clone());
    let free = arena.free_pages() as usize;
    assert!(matches!(set.grow(free + 1), Err(BlockError::Tracker(_))));
    assert_eq!(
        (arena.free_blocks(), nodes(), preserver.keys()),
        (before.0, before.1, 0)
    );
    set.grow(free).unwrap();
    assert_eq!((set.blocks(), arena.free_pages()), (free, 0));
    for _ in 0..free {
        set.reserve_entry().unwrap();
    }
    set.shrink(0);
    assert_eq!((set.head(), preserver.keys()), (PhysAddr::NULL, 0));
    assert_eq!(arena.free_pages() as usize, free);
}

#[test]
fn sets_of_one_handover_do_not_share_blocks() {
    let (arena, preserver) = preserver(8 << 20);
    let mut numbers = OutgoingBlockSet::<U64>::new(preserver.clone());
    let mut others = OutgoingBlockSet::<Entry>::new(preserver.clone());
    for value in 0..1021u64 {
        let needed = numbers.len() + 1;
        numbers.grow(needed).unwrap();
        numbers.reserve_entry().unwrap().set(value);
        if value % 100 == 0 {
            others.grow(others.len() + 1).unwrap();
            *others.reserve_entry().unwrap() = entry(value);
        }
    }
    assert_eq!((numbers.blocks(), others.blocks()), (3, 3));
    let heads = (numbers.head(), others.head());
    numbers.hand_over();
    others.hand_over();
    let (mem, root) = handed(arena, preserver);
    let mut reading = Reading::open(&mem, Link::given(root, "root")).unwrap();
    let numbers = BlockSet::<U64>::read(&mut reading, Link::given(heads.0, "numbers")).unwrap();
    let others = BlockSet::<Entry>::read(&mut reading, Link::given(heads.1, "others")).unwrap();
    assert_eq!(reading.claims().unclaimed(), (0, 0));
    assert!((0..1021).eq(numbers.iter().map(|entry| entry.unwrap().get())));
    assert!(
        others
            .iter()
            .map(|entry| entry.unwrap().into_inner())
            .eq((0..11).map(|n| entry(100 * n)))
    );
    // Entry 510 is the first of the second block: behind its header.
    let value = numbers.get(510).unwrap().unwrap();
    assert_eq!((value.at().get() % 4096, value.get()), (16, 510));
    assert_ne!(value.at().get() & !4095, heads.0.get());
    let value = numbers.get(509).unwrap().unwrap();
    assert_eq!(
        value.at().get(),
        heads.0.get() + 16 + 509 * 8,
        "the block's last"
    );
}

/// Memory that is gone for as long as it is told to be.
struct Fickle {
    mem: Handed,
    gone: AtomicBool,
}

impl PhysMem for Fickle {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(MemError {
                addr,
                len: len as u64,
                kind: MemErrorKind::Outside,
            });
        }
        self.mem.chunk(addr, len)
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        self.mem.region(from)
    }
}

#[test]
fn a_cursor_stays_where_memory_is_gone() {
    let (arena, preserver) = preserver(8 << 20);
    let set = filled(&preserver, 6);
    let head = set.head();
    set.hand_over();
    let (mem, root) = handed(arena, preserver);
    let preserved = Preserved::read(&mem, Link::given(root, "root")).unwrap();
    let mem = Fickle {
        mem,
        gone: AtomicBool::new(false),
    };
    let mut reading = Reading::new(&mem, Claims::new(&preserved));
    let set = BlockSet::<Entry>::read(&mut reading, Link::given(head, "sessions")).unwrap();
    let mut cursor = set.cursor();
    for value in 1..=4 {
        assert_eq!(*cursor.read_entry().unwrap().unwrap(), entry(value));
    }
    mem.gone.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let error = cursor.read_entry().unwrap().unwrap_err().to_string();
        assert!(error.contains("sessions"), "{error}");
        cursor.prev().unwrap().unwrap_err();
    }
    set.get(5).unwrap().unwrap_err();
    assert!(set.get(6).is_none(), "past the end no memory is looked at");
    mem.gone.store(false, Ordering::Relaxed);
    assert_eq!(*cursor.read_entry().unwrap().unwrap(), entry(5));
    assert_eq!(*cursor.prev().unwrap().unwrap(), entry(5));
    assert_eq!(*cursor.prev().unwrap().unwrap(), entry(4));
}

#[test]
fn a_set_without_entries_has_no_places() {
    let (arena, preserver) = preserver(4 << 20);
    let mut set = OutgoingBlockSet::<Entry>::new(preserver.clone());
    assert_eq!(
        set.reserve_entry().unwrap_err().to_string(),
        "all 0 entries of the set are taken"
    );
    assert_eq!((set.prev(), set.get(0)), (None, None));
    set.shrink(0);
    set.clear();
    set.grow(0).unwrap();
    assert_eq!((set.blocks(), set.head()), (0, PhysAddr::NULL));
    set.grow(1).unwrap();
    assert_eq!((set.blocks(), set.head()), (1, PhysAddr::NULL));
    let head = set.head();
    set.hand_over();
    let (mem, root) = handed(arena, preserver);
    let mut reading = Reading::open(&mem, Link::given(root, "root")).unwrap();
    let set = BlockSet::<Entry>::read(&mut reading, Link::given(head, "set")).unwrap();
    let mut cursor = set.cursor();
    assert!(cursor.prev().is_none() && cursor.read_entry().is_none() && cursor.prev().is_none());
    assert!(set.get(0).is_none() && set.get(u64::MAX).is_none());
}
