//! Every failure undone.

use super::*;

#[test]
fn a_handover_is_made_of_all_or_nothing() {
    let config = ArenaConfig::new(PhysAddr::new(BASE), 8 * MIB).scratch(area(4, 4));
    let arena = Arena::heap(&config).unwrap();
    let config = KhoConfig::new()
        .scratch([area(4, 4)])
        .metadata("7.3.4", 1)
        .writing(Writing::COMPOSITE);
    let before = arena.free_blocks();
    for failing in 0.. {
        arena.fail_after(failing);
        let done = Kho::new(arena.clone(), &config);
        if arena.no_fault() {
            // The tracker's root, the scratch table, the root FDT, its nodes, the metadata.
            assert_eq!(failing, 1 + 1 + 1 + NODES + 1);
            drop(done.unwrap());
            assert_eq!(
                arena.free_blocks(),
                before,
                "dropped: nothing is left of it"
            );
            break;
        }
        let error = done.unwrap_err();
        let full = matches!(
            error,
            KhoError::OutOfMemory(_) | KhoError::Tracker(TrackerError::OutOfMemory(_))
        );
        assert!(full, "{error}");
        assert_eq!(arena.free_blocks(), before, "allocation {failing}");
    }
}

#[test]
fn a_subtree_is_added_by_all_or_nothing() {
    let kho = Kho::new(memfd(8), &KhoConfig::new().metadata("7.3.4", 1)).unwrap();
    let before = state(&kho);
    for failing in 0.. {
        kho.arena().fail_after(failing);
        let done = kho.preserver().step(|| {
            let blob = kho.preserver().alloc_preserve(2 * PAGE)?;
            kho.add_subtree("a", blob, 5000)
                .map_err(|failed| failed.error)
        });
        if kho.arena().no_fault() {
            assert_eq!((done, failing), (Ok(()), 1 + NODES));
            break;
        }
        let failed = matches!(done, Err(KhoError::Tracker(TrackerError::OutOfMemory(_))));
        assert!(failed, "{done:?}");
        assert!(state(&kho) == before, "allocation {failing}");
    }
    // A step that fails after its subtree was added takes it out again.
    let before = state(&kho);
    let done: Result<(), ()> = kho.preserver().step(|| {
        let blob = kho.preserver().alloc_preserve(8 * PAGE).unwrap();
        kho.add_subtree("b", blob, 5).unwrap();
        drop(kho.remove_subtree("b").unwrap());
        Err(())
    });
    assert_eq!(done, Err(()));
    assert!(state(&kho) == before);
}

#[test]
fn a_region_is_reserved_by_all_or_nothing() {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    // Four, two and one page: two more orders than there are, and the memblock FDT. The second time
    // all of it is there. Then eight pages: another order, whose keys begin as those of four do.
    for (name, count, points) in [
        ("log", 7, 2 * NODES + 1),
        ("state", 7, 0),
        ("large", 8, NODES - 1),
    ] {
        for failing in 0.. {
            let pages = run(kho.arena(), count);
            let (before, range) = (state(&kho), pages.range());
            kho.arena().fail_after(failing);
            let done = kho.reserve_mem(name, pages);
            if kho.arena().no_fault() {
                done.unwrap();
                assert_eq!(failing, points, "{name}");
                break;
            }
            let failed = done.unwrap_err();
            let full = matches!(
                failed.error,
                KhoError::Tracker(TrackerError::OutOfMemory(_))
            );
            assert!(full, "{}", failed.error);
            assert!(state(&kho) == before, "{name}, allocation {failing}");
            assert!(failed.returned.range() == range && is_numbered(&failed.returned));
        }
    }
    let regions = Tree::walk(&memblock_page(&kho)).regions();
    let names: Vec<_> = regions.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["log", "state", "large"]);
}
