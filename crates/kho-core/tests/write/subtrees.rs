//! Subtrees, against plain collections.

use super::*;

/// Subtrees that come and go at random, against a vector.
#[test]
fn subtrees_are_a_list_of_names_and_blobs() {
    #[rustfmt::skip]
    const NAMES: [&str; 12] = [
        "LUO", "a", "kho_test", "x.y,z+w-v_u", "unit@0", "n234567890123456789012345678901", "a b",
        "ü", "a/b", "a@b@c", "n2345678901234567890123456789012", "a\0b",
    ];
    const GOOD: usize = 6;
    let mut random = Random(88_172_645_463_325_252);
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    // Name, address, pages, and the bytes that are handed over.
    let mut model: Vec<(&str, u64, u64, Vec<u8>)> = Vec::new();
    for step in 0..600u32 {
        let pick = random.below(NAMES.len());
        let name = NAMES[pick];
        let there = model.iter().position(|(other, ..)| *other == name);
        match random.below(4) {
            0 => {
                let removed = kho.remove_subtree(name);
                assert_eq!(removed.is_some(), there.is_some());
                if let (Some(blob), Some(index)) = (removed, there) {
                    let (_, addr, pages, bytes) = model.remove(index);
                    assert_eq!((blob.addr().get(), blob.len() as u64), (addr, pages * 4096));
                    assert!(blob.starts_with(&bytes));
                }
            }
            1 => {
                let written = kho.with_subtree(name, |bytes| {
                    bytes[..4].copy_from_slice(&step.to_le_bytes());
                    bytes.len()
                });
                assert_eq!(written, there.map(|index| model[index].3.len()));
                if let Some(index) = there {
                    model[index].3[..4].copy_from_slice(&step.to_le_bytes());
                }
            }
            _ => {
                let pages = 1 << random.below(3);
                let mut blob = kho.preserver().alloc_preserve(pages * PAGE).unwrap();
                blob.fill(step as u8);
                let (addr, room) = (blob.addr().get(), pages * PAGE);
                let size =
                    [0, 4, 4 + random.below(room - 4), room, room + 1][random.below(5)] as u64;
                let before = state(&kho);
                let expected = if size == 0 || size > room as u64 {
                    Err(KhoError::BadSize {
                        size,
                        room: room as u64,
                    })
                } else if there.is_some() {
                    Err(KhoError::Duplicate {
                        what: "subtree",
                        name: name.to_owned(),
                    })
                } else if pick >= GOOD {
                    Err(KhoError::BadName(name.to_owned()))
                } else {
                    Ok(())
                };
                match kho.add_subtree(name, blob, size) {
                    Ok(()) => {
                        assert_eq!(expected, Ok(()));
                        model.push((name, addr, pages as u64, vec![step as u8; size as usize]));
                    }
                    Err(failed) => {
                        assert_eq!(Err(failed.error), expected);
                        assert!(
                            state(&kho) == before,
                            "a subtree that is refused changes nothing"
                        );
                        assert_eq!(failed.returned.addr().get(), addr);
                        assert!(failed.returned.iter().all(|byte| *byte == step as u8));
                    }
                }
            }
        }
        let listed: Vec<_> = model
            .iter()
            .map(|(name, addr, _, bytes)| ((*name).to_owned(), *addr, bytes.len() as u64))
            .collect();
        assert_eq!(root(&kho).subtrees(), listed);
        let blobs: u64 = model.iter().map(|(_, _, pages, _)| pages).sum();
        let nodes = kho.preserver().tracker(|tracker| tracker.nodes().count()) as u64;
        assert_eq!(kho.preserver().pages(), 1 + blobs);
        assert_eq!(kho.arena().free_pages(), 2048 - 1 - nodes - blobs);
    }
    assert!(model.len() >= 3, "not all of them are gone");
    let (mem, entry) = handed(kho);
    let handover = Handover::open(&mem, entry).unwrap();
    assert_eq!(handover.subtrees().len(), model.len());
    for (name, addr, _, bytes) in &model {
        let subtree = handover.subtree(name).unwrap();
        assert_eq!(
            (subtree.addr.get(), subtree.size),
            (*addr, bytes.len() as u64)
        );
        assert_eq!(*mem.bytes(subtree.addr, bytes.len()).unwrap(), **bytes);
    }
    assert_eq!(handover.reading().unwrap().claims().unclaimed(), (0, 0));
}

#[test]
fn a_root_fdt_that_is_full_refuses_and_stays() {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    let mut names = Vec::new();
    let (name, needed) = loop {
        let name = format!("subtree-{}", names.len());
        let (before, blob) = (state(&kho), blob(&kho, &name));
        let (with, addr) = (state(&kho), blob.addr());
        // BEGIN_NODE, the name, two properties of 8 bytes, END_NODE.
        let node = 4 + (name.len() + 1).next_multiple_of(4) + 2 * 20 + 4;
        // The names of the properties come with the first subtree.
        let strings = if names.is_empty() { 25 } else { 0 };
        let needed = root(&kho).size + node + strings;
        match kho.add_subtree(&name, blob, name.len() as u64) {
            Ok(()) => {
                assert_eq!(root(&kho).size, needed);
                names.push(name);
            }
            Err(failed) => {
                let full = KhoError::FdtFull {
                    what: "the root FDT",
                    name: name.clone(),
                    needed,
                };
                assert_eq!(failed.error, full);
                assert!(state(&kho) == with, "byte by byte as it was");
                let blob = failed.returned;
                assert_eq!(
                    (blob.addr(), blob.starts_with(name.as_bytes())),
                    (addr, true)
                );
                drop(blob);
                assert!(
                    state(&kho) == before,
                    "the blob was all that there was of it"
                );
                break (name, needed);
            }
        }
    };
    assert!(
        needed > PAGE && names.len() > 60,
        "{needed}, {}",
        names.len()
    );
    // A region needs a subtree too.
    let before = state(&kho);
    let pages = run(kho.arena(), 3);
    let addr = pages.addr();
    let failed = kho.reserve_mem("log", pages).unwrap_err();
    assert!(
        matches!(
            failed.error,
            KhoError::FdtFull {
                what: "the root FDT",
                ..
            }
        ),
        "{}",
        failed.error
    );
    assert!(failed.returned.addr() == addr && is_numbered(&failed.returned));
    drop(failed);
    assert!(state(&kho) == before);
    // One that goes makes room for one as long.
    drop(kho.remove_subtree(&names.remove(1)).unwrap());
    kho.add_subtree(&name, blob(&kho, &name), name.len() as u64)
        .unwrap();
    names.push(name);
    let (mem, entry) = handed(kho);
    let handover = Handover::open(&mem, entry).unwrap();
    for (subtree, name) in handover.subtrees().iter().zip(&names) {
        assert_eq!(subtree.name, *name);
        assert_eq!(
            *mem.bytes(subtree.addr, name.len()).unwrap(),
            *name.as_bytes()
        );
    }
    assert_eq!(handover.subtrees().len(), names.len());
}

#[test]
fn a_name_without_letters_is_none() {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    let before = state(&kho);
    // A reader takes an unnamed node below the root for damage: the whole handover would be lost.
    let failed = kho.add_subtree("", blob(&kho, "x"), 1).unwrap_err();
    assert_eq!(failed.error, KhoError::BadName(String::new()));
    drop(failed);
    let failed = kho.reserve_mem("", run(kho.arena(), 1)).unwrap_err();
    assert_eq!(failed.error, KhoError::BadName(String::new()));
    drop(failed);
    assert!(state(&kho) == before);
}
