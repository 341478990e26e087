//! What a successor finds, and restores in place.

use super::*;

#[test]
fn a_handover_with_a_clone_stays_where_it_is() {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    kho.add_subtree("a", blob(&kho, "bytes"), 5).unwrap();
    let clone = kho.clone();
    let before = state(&kho);
    let kho = kho.hand_over().expect_err("there is a clone");
    assert!(state(&kho) == before);
    drop(clone);
    let pages = kho.arena().alloc_pages(1).unwrap();
    let entry = kho.entry();
    let arena = kho.hand_over().unwrap();
    let arena = arena.into_handed().expect_err("pages are still owned");
    drop(pages);
    let mem = arena.into_handed().unwrap();
    let handover = Handover::open(&mem, entry).unwrap();
    let addr = handover.subtree("a").unwrap().addr;
    assert_eq!(*mem.bytes(addr, 5).unwrap(), *b"bytes");
}

#[test]
fn what_is_given_up_after_the_handover_does_not_free_the_tracker() {
    let kho = Kho::new(heap(8), &KhoConfig::new().metadata("7.3.4", 1)).unwrap();
    let left = kho.preserver().alloc_preserve(PAGE).unwrap();
    let entry = kho.entry();
    // Refusing would be an answer as well.
    let Ok(arena) = kho.hand_over() else { return };
    let arena = arena.into_handed().expect_err("a folio is still owned");
    drop(left);
    // Whatever is allocated now is none of the handover's.
    let mut all: Vec<Folio> = Vec::new();
    while let Ok(mut folio) = arena.alloc(Order::ZERO) {
        folio.fill(0xff);
        all.push(folio);
    }
    drop(all);
    let mem = arena.into_handed().unwrap();
    let handover = Handover::open(&mem, entry).unwrap();
    assert!(Metadata::read(&handover).unwrap().is_some());
}

/// A handover of a folio of two pages and a run of seven, all with numbered pages.
fn folio_and_run(kho: &Kho) -> (PhysAddr, PageRun) {
    let mut folio = kho.preserver().alloc_preserve(2 * PAGE).unwrap();
    number(&mut folio);
    let addr = folio.addr();
    folio.hand_over();
    let pages = kho.preserver().preserve_pages(run(kho.arena(), 7)).unwrap();
    let run = pages.run();
    pages.hand_over();
    (addr, run)
}

fn at(addr: PhysAddr, pages: u64) -> PhysAddr {
    PhysAddr::new(addr.get() + pages * PAGE as u64)
}

#[test]
fn what_is_handed_over_is_restored_once() {
    let kho = Kho::new(heap(8), &KhoConfig::new().metadata("7.3.4", 1)).unwrap();
    let (addr, run) = folio_and_run(&kho);
    let (mem, entry) = handed(kho);
    let mut attached = Attached::open(mem, entry).unwrap();
    let admitted = admitted(&attached.handover());
    let nothing = Registry::linked()
        .unwrap()
        .admit(&policy::SemverRange, Manifest::new())
        .unwrap();
    let (pages, all) = (attached.handed().pages(), 2048);
    assert_eq!(pages, all, "nothing is freed before it is asked for");

    // Not admitted; inside of a folio; not aligned; not preserved; nowhere.
    let error = attached.restore_folio(&nothing, addr).unwrap_err();
    assert!(matches!(error, RestoreError::NotAdmitted(_)), "{error}");
    let error = attached.restore_pages(&nothing, run).unwrap_err();
    assert!(matches!(error, RestoreError::NotAdmitted(_)), "{error}");
    let tracker = attached.handover().root().tracker().unwrap().to;
    for wrong in [
        at(addr, 1),
        PhysAddr::new(addr.get() + 1),
        at(addr, 2),
        tracker,
        PhysAddr::new(BASE + 8 * MIB),
        PhysAddr::NULL,
        PhysAddr::new(u64::MAX),
    ] {
        let error = attached.restore_folio(&admitted, wrong).unwrap_err();
        assert!(
            matches!(error, RestoreError::Damaged(_)),
            "{wrong}: {error}"
        );
    }
    // Too few and too many pages, from the middle, none, around the address space.
    for (skip, count) in [
        (0, 3),
        (0, 8),
        (1, 6),
        (0, 0),
        (0, u64::MAX),
        (Pfn::LIMIT - 1 - run.pfn.get(), 7),
    ] {
        let wrong = PageRun {
            pfn: Pfn::new(run.pfn.get() + skip).unwrap(),
            pages: count,
        };
        let error = attached.restore_pages(&admitted, wrong).unwrap_err();
        assert!(
            matches!(error, RestoreError::Damaged(_)),
            "{skip} {count}: {error}"
        );
    }
    assert!(
        attached.handed().contains(run),
        "nothing of it was restored"
    );

    let folio = attached.restore_folio(&admitted, addr).unwrap();
    assert_eq!((folio.addr(), folio.order().get()), (addr, 1));
    assert!(is_numbered(&folio));
    let restored = attached.restore_pages(&admitted, run).unwrap();
    assert_eq!(restored.run(), run);
    assert!(is_numbered(&restored));
    let arena = attached.reclaim();
    // Root FDT, metadata and its six nodes, and those of the three orders above 0.
    let used = 2 + 6 + 2 * NODES;
    assert_eq!(attached.handed().pages(), used);
    for again in 0..2 {
        let error = attached
            .restore_folio(&admitted, addr)
            .unwrap_err()
            .to_string();
        assert!(error.contains("restored already"), "{error}");
        attached.restore_folio(&admitted, run.addr()).unwrap_err();
        attached.restore_pages(&admitted, run).unwrap_err();
        assert_eq!(attached.handed().pages(), used, "{again}");
    }
    drop(folio);
    // Its pages are the allocator's now, and not the handover's.
    attached.restore_folio(&admitted, addr).unwrap_err();
    assert_eq!(arena.free_pages(), 2048 - used - 7);
    // What was not restored is still there to be read.
    assert!(Metadata::read(&attached.handover()).unwrap().is_some());
    let arena = attached.finish();
    assert_eq!(arena.free_pages(), 2048 - 7);
    drop(restored);
    assert_eq!(arena.free_pages(), 2048);
    assert_eq!(arena.free_blocks(), [(0, 10), (1024, 10)]);
}

#[test]
fn a_handover_is_not_disturbed_by_what_is_allocated_beside_it() {
    let config = KhoConfig::new().scratch([area(12, 4)]).metadata("7.3.4", 1);
    let arena = ArenaConfig::new(PhysAddr::new(BASE), 16 * MIB).scratch(area(12, 4));
    let kho = Kho::new(Arena::heap(&arena).unwrap(), &config).unwrap();
    kho.reserve_mem("log", run(kho.arena(), 3)).unwrap();
    let (addr, run) = folio_and_run(&kho);
    let (mem, entry) = handed(kho);
    let mut attached = Attached::open(mem, entry).unwrap();
    let arena = attached.reclaim();
    let mut all = Vec::new();
    while let Ok(mut folio) = arena.alloc(Order::ZERO) {
        assert!(!area(12, 4).contains(folio.addr()), "{folio:?}");
        folio.fill(0xff);
        all.push(folio);
    }
    assert_eq!(all.len() as u64 + attached.handed().pages(), 3072);
    drop((all, arena));
    // As if nothing had been looked at: the next one attaches to the same handover.
    let mut attached = Attached::open(attached.into_handed(), entry).unwrap();
    assert!(Metadata::read(&attached.handover()).unwrap().is_some());
    let admitted = admitted(&attached.handover());
    {
        let handover = attached.handover();
        let mut reading = handover.reading().unwrap();
        let memblock = Memblock::read(&handover, &mut reading).unwrap().unwrap();
        let range = memblock.regions()[0].range.unwrap();
        assert!(is_numbered(
            &handover.mem().bytes(range.start(), 3 * PAGE).unwrap()
        ));
    }
    let folio = attached.restore_folio(&admitted, addr).unwrap();
    let pages = attached.restore_pages(&admitted, run).unwrap();
    assert!(is_numbered(&folio) && is_numbered(&pages));
    let arena = attached.finish();
    assert_eq!(arena.free_pages(), 3072 - 2 - 7);
    drop((folio, pages));
    assert_eq!(arena.free_pages(), 3072);
}

/// A handover with a folio, in a file: where it begins, and where the folio is.
struct Found {
    mem: Handed,
    entry: Entry,
    addr: PhysAddr,
    file: std::fs::File,
}

fn found() -> Found {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    let (addr, _) = folio_and_run(&kho);
    let file = kho.arena().file().unwrap().try_clone().unwrap();
    let (mem, entry) = handed(kho);
    Found {
        mem,
        entry,
        addr,
        file,
    }
}

/// Refused with `words`. The memory comes back unchanged.
fn not_opened(mem: Handed, entry: Entry, words: &str) -> (Handed, OpenError) {
    let state = |mem: &Handed| {
        let bytes = mem.bytes(PhysAddr::new(BASE), 8 << 20).unwrap();
        (bytes.into_owned(), mem.pages())
    };
    let before = state(&mem);
    let failed = Attached::open(mem, entry).unwrap_err();
    let error = failed.error.to_string();
    assert!(error.contains(words), "{error}");
    assert!(state(&failed.returned) == before);
    (failed.returned, failed.error)
}

macro_rules! no_entry {
    ($($name:ident: $entry:expr, $words:literal;)*) => {
        $(#[test]
        fn $name() {
            let found = found();
            let entry: fn(&Found) -> Entry = $entry;
            let entry = entry(&found);
            not_opened(found.mem, entry, $words);
        })*
    };
}

fn fdt_at(found: &Found, addr: u64) -> Entry {
    Entry {
        fdt_addr: PhysAddr::new(addr),
        ..found.entry
    }
}

no_entry! {
    a_root_fdt_at_0: |found| fdt_at(found, 0), "root FDT";
    a_root_fdt_that_is_not_aligned: |found| fdt_at(found, found.entry.fdt_addr.get() + 8), "root FDT";
    a_root_fdt_that_is_none: |found| fdt_at(found, found.addr.get()), "magic";
    a_root_fdt_outside_memory: |found| fdt_at(found, BASE + 8 * MIB), "outside";
    a_root_fdt_of_two_pages: |found| Entry { fdt_size: 8192, ..found.entry }, "fdt_size";
    a_scratch_table_of_7_bytes:
        |found| found.entry.with_scratch(PhysAddr::new(BASE), 7), "scratch table";
}

/// With a byte at `offset` that is damaged the handover is refused with `words`; without, it opens again.
fn damaged(found: Found, offset: u64, damage: u8, words: &str) -> OpenError {
    let mut byte = [0];
    found.file.read_exact_at(&mut byte, offset).unwrap();
    found.file.write_all_at(&[damage], offset).unwrap();
    let (mem, error) = not_opened(found.mem, found.entry, words);
    found.file.write_all_at(&byte, offset).unwrap();
    let mut attached = Attached::open(mem, found.entry).unwrap();
    let admitted = admitted(&attached.handover());
    let folio = attached.restore_folio(&admitted, found.addr).unwrap();
    assert!(is_numbered(&folio));
    drop(folio);
    assert_eq!(attached.finish().free_pages(), 2048);
    error
}

#[test]
fn a_root_of_another_version() {
    let found = found();
    let version = found.entry.fdt_addr.get() - BASE + 56 + 8 + 12 + 5;
    let error = damaged(found, version, b'5', "kho-v5");
    assert!(matches!(error, OpenError::Incompatible(_)), "{error}");
}

#[test]
fn a_tracker_with_a_byte_that_is_damaged() {
    let error = damaged(found(), 16, 1, "tracker");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
}

/// Every page that can be allocated.
fn allocate_all(arena: &Arena) -> Vec<Folio> {
    std::iter::from_fn(|| arena.alloc(Order::ZERO).ok()).collect()
}

#[test]
fn a_scratch_table_inside_a_scratch_area_is_not_allocated_from() {
    let kho = Kho::new(heap(16), &KhoConfig::new()).unwrap();
    // A table may lie in the memory that it names: only what is preserved may not.
    let scratch = area(12, 4);
    let table = {
        let largest = || kho.arena().alloc_zeroed(Order::MAX_FOLIO).unwrap();
        let mut found = largest();
        while !scratch.contains(found.addr()) {
            std::mem::replace(&mut found, largest()).hand_over();
        }
        found[..8].copy_from_slice(&scratch.start().get().to_le_bytes());
        found[8..16].copy_from_slice(&scratch.len().to_le_bytes());
        let addr = found.addr();
        found.hand_over();
        addr
    };
    let (mem, entry) = handed(kho);
    let attached = Attached::open(mem, entry.with_scratch(table, 16)).unwrap();
    let arena = attached.finish();
    let all = allocate_all(&arena);
    let inside = all.iter().find(|folio| scratch.contains(folio.addr()));
    assert!(inside.is_none(), "{inside:?}");
    assert_eq!(all.len(), 3072);
}

#[test]
fn a_scratch_area_that_reaches_past_the_arena_is_not_allocated_from() {
    // The last 4 MiB of the arena, and 4 MiB after it.
    let scratch = area(12, 8);
    let kho = Kho::new(heap(16), &KhoConfig::new().scratch([scratch])).unwrap();
    let (mem, entry) = handed(kho);
    let arena = Attached::open(mem, entry).unwrap().finish();
    let all = allocate_all(&arena);
    let inside = all.iter().find(|folio| scratch.contains(folio.addr()));
    assert!(inside.is_none(), "{inside:?}");
    assert_eq!(all.len(), 3072);
}

#[test]
fn page_0_is_never_allocated() {
    let arena = Arena::memfd(&ArenaConfig::new(PhysAddr::NULL, 8 * MIB)).unwrap();
    let kho = Kho::new(arena, &KhoConfig::new()).unwrap();
    let last = kho
        .preserver()
        .tracker(|tracker| tracker.nodes().last())
        .unwrap();
    // A predecessor that says it preserved page 0: the first bit of the leaf of order 0.
    let leaf = bytes(kho.arena(), last, PAGE);
    assert_eq!(leaf[0], 1 << 2, "the root FDT, the third page");
    let file = kho.arena().file().unwrap();
    file.write_all_at(&[leaf[0] | 1], last.get()).unwrap();
    let (mem, entry) = handed(kho);
    // Refusing it would be an answer as well.
    let Ok(attached) = Attached::open(mem, entry) else {
        return;
    };
    let all = allocate_all(&attached.finish());
    let null = all.iter().find(|folio| folio.addr().is_null());
    assert!(null.is_none(), "{null:?}");
}

#[test]
fn pages_that_are_no_pages_are_refused_in_words() {
    let (mut mem, _) = handed(Kho::new(heap(8), &KhoConfig::new()).unwrap());
    let run = PageRun {
        pfn: Pfn::new(Pfn::LIMIT - 1).unwrap(),
        pages: 2,
    };
    let error = mem.adopt_pages(run).unwrap_err();
    assert!(error.to_string().contains("is not handed over"));
}
