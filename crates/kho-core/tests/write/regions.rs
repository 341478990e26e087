//! Regions under a name, and the memblock FDT that lists them.

use super::*;

#[test]
fn regions_are_read_back_with_their_contents() {
    let arena = heap(16);
    // A NUMA node begins inside the second region.
    let boundary = (BASE >> 12) + 18;
    let kho = Kho::new(
        arena.clone(),
        &KhoConfig::new().boundaries([PhysAddr::new(boundary << 12).pfn()]),
    )
    .unwrap();
    let keys = kho.preserver().keys();
    let mut expected = Vec::new();
    for (name, pages) in [("one", 1), ("log@7", 9), ("x.y,z+w-v_u", 1030)] {
        let pages = run(&arena, pages);
        expected.push((name, pages.range()));
        kho.reserve_mem(name, pages).unwrap();
    }
    assert_eq!(expected[1].1.start().get() >> 12, boundary - 2);
    // A page; two, then two, four and one; 1024, four and two. And the memblock FDT.
    assert_eq!(kho.preserver().keys() - keys, 1 + 4 + 3 + 1);
    let before = arena.free_blocks();
    let failed = kho.reserve_mem("one", run(&arena, 2)).unwrap_err();
    let duplicate = KhoError::Duplicate {
        what: "reserve_mem region",
        name: "one".to_owned(),
    };
    assert_eq!(failed.error, duplicate);
    drop(failed);
    assert_eq!(arena.free_blocks(), before);
    drop(arena);
    let (mem, entry) = handed(kho);
    let handover = Handover::open(&mem, entry).unwrap();
    let mut reading = handover.reading().unwrap();
    let memblock = Memblock::read(&handover, &mut reading).unwrap().unwrap();
    assert_eq!(memblock.compatible(), "memblock-v1");
    assert_eq!(reading.claims().unclaimed(), (0, 0));
    assert_eq!(memblock.regions().len(), 3);
    for (region, (name, range)) in memblock.regions().iter().zip(expected) {
        assert_eq!((region.name.as_str(), region.range), (name, Some(range)));
        assert_eq!(region.compatible, "reserve-mem-v1");
        assert_eq!(region.preserved, range.len());
        let bytes = mem.bytes(range.start(), range.len() as usize).unwrap();
        assert!(is_numbered(&bytes));
    }
}

#[test]
fn a_memblock_fdt_that_is_full_refuses_and_stays() {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    let mut regions = Vec::new();
    loop {
        let name = format!("region-{}", regions.len());
        let before = (state(&kho), memblock_page(&kho));
        let pages = run(kho.arena(), 7);
        let (with, range) = (state(&kho), pages.range());
        match kho.reserve_mem(&name, pages) {
            Ok(()) => regions.push((name, range.start().get(), range.len())),
            Err(failed) => {
                // BEGIN_NODE, the name, 15 bytes and two numbers as properties, END_NODE.
                let node = 4 + (name.len() + 1).next_multiple_of(4) + (12 + 16) + 2 * 20 + 4;
                let needed = Tree::walk(&before.1).size + node;
                let full = KhoError::FdtFull {
                    what: "the memblock FDT",
                    name,
                    needed,
                };
                assert_eq!(failed.error, full);
                assert!(needed > PAGE && regions.len() > 40, "{}", regions.len());
                assert!(state(&kho) == with, "byte by byte as it was");
                assert!(failed.returned.range() == range && is_numbered(&failed.returned));
                drop(failed);
                assert!((state(&kho), memblock_page(&kho)) == before);
                break;
            }
        }
        assert_eq!(Tree::walk(&memblock_page(&kho)).regions(), regions);
    }
    // Names that a device tree does not have.
    let before = state(&kho);
    for name in [
        "a b",
        "ü",
        "1st",
        "a@b@c",
        "n2345678901234567890123456789012",
        "a\0b",
    ] {
        let failed = kho.reserve_mem(name, run(kho.arena(), 7)).unwrap_err();
        assert_eq!(failed.error, KhoError::BadName(name.to_owned()));
        assert!(is_numbered(&failed.returned));
        drop(failed);
        assert!(state(&kho) == before, "{name}");
    }
    let (mem, entry) = handed(kho);
    let handover = Handover::open(&mem, entry).unwrap();
    let mut reading = handover.reading().unwrap();
    let memblock = Memblock::read(&handover, &mut reading).unwrap().unwrap();
    assert_eq!(memblock.regions().len(), regions.len());
    assert_eq!(reading.claims().unclaimed(), (0, 0));
}

#[test]
fn regions_of_many_threads_are_all_handed_over() {
    const THREADS: usize = 4;
    const EACH: usize = 5;
    for _ in 0..64 {
        let kho = Kho::new(heap(8), &KhoConfig::new()).unwrap();
        let barrier = Barrier::new(THREADS);
        let reserve = |thread: usize| {
            // All of them at once.
            barrier.wait();
            let reserved = (0..EACH).map(|index| {
                let pages = kho.arena().alloc_pages(1).unwrap();
                kho.reserve_mem(&format!("r{thread}-{index}"), pages)
                    .map_err(|failed| failed.error)
            });
            reserved.collect::<Vec<_>>()
        };
        let reserved: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || reserve(thread)))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(reserved, vec![Ok(()); THREADS * EACH]);
        let (mem, entry) = handed(kho);
        let handover = Handover::open(&mem, entry).unwrap();
        let mut reading = handover.reading().unwrap();
        let memblock = Memblock::read(&handover, &mut reading).unwrap().unwrap();
        let mut names: Vec<_> = memblock.regions().iter().map(|r| r.name.clone()).collect();
        names.sort_unstable();
        let expected: Vec<_> = (0..THREADS)
            .flat_map(|thread| (0..EACH).map(move |index| format!("r{thread}-{index}")))
            .collect();
        assert_eq!(names, expected);
    }
}

#[test]
fn a_memblock_subtree_of_ones_own_is_not_written_over() {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    kho.add_subtree("memblock", blob(&kho, "mine"), 4).unwrap();
    let before = state(&kho);
    let reserved = kho.reserve_mem("log", run(kho.arena(), 1));
    assert_eq!(
        kho.with_subtree("memblock", |bytes| bytes.to_vec())
            .unwrap(),
        b"mine"
    );
    let failed = reserved.unwrap_err();
    assert!(
        matches!(failed.error, KhoError::Duplicate { .. }),
        "{}",
        failed.error
    );
    drop(failed);
    assert!(state(&kho) == before);
}
