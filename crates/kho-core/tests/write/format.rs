//! The bytes of what is written, against hand-made ones and the reader.

use super::*;

#[rustfmt::skip]
const ROOT: &[u8] = &[
    // Header, big-endian as the device tree specification has it.
    0xd0, 0x0d, 0xfe, 0xed, // magic
    0x00, 0x00, 0x00, 0xe5, // totalsize: 56 + 116 + 57
    0x00, 0x00, 0x00, 0x38, // off_dt_struct: 56
    0x00, 0x00, 0x00, 0xac, // off_dt_strings: 172
    0x00, 0x00, 0x00, 0x28, // off_mem_rsvmap: 40
    0x00, 0x00, 0x00, 0x11, // version: 17
    0x00, 0x00, 0x00, 0x10, // last_comp_version: 16
    0x00, 0x00, 0x00, 0x00, // boot_cpuid_phys
    0x00, 0x00, 0x00, 0x39, // size_dt_strings: 57
    0x00, 0x00, 0x00, 0x74, // size_dt_struct: 116
    // Memory reservation map: its end.
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    // Structure, from byte 56 on.
    0, 0, 0, 1, 0, 0, 0, 0,                                 // BEGIN_NODE, ""
    0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0,                     // PROP, 7 bytes, "compatible"
    b'k', b'h', b'o', b'-', b'v', b'4', 0, 0,               // "kho-v4", padded
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 11,                    // PROP, 8 bytes, "preserved-memory-map"
    0x00, 0x00, 0x00, 0x10, 0, 0, 0, 0,                     // 0x10000000, little-endian: the first page
    0, 0, 0, 1,                                             // BEGIN_NODE
    b'g', b'r', b'e', b'e', b't', b'i', b'n', b'g', 0, 0, 0, 0, // "greeting", padded
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 32,                    // PROP, 8 bytes, "preserved-data"
    0x00, 0x70, 0x00, 0x10, 0, 0, 0, 0,                     // 0x10007000
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 47,                    // PROP, 8 bytes, "blob-size"
    0x05, 0x00, 0x00, 0x00, 0, 0, 0, 0,                     // 5
    0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 9,                     // END_NODE, END_NODE, END
    // Strings, from byte 172 on: at 0, 11, 32 and 47.
    b'c', b'o', b'm', b'p', b'a', b't', b'i', b'b', b'l', b'e', 0,
    b'p', b'r', b'e', b's', b'e', b'r', b'v', b'e', b'd', b'-',
    b'm', b'e', b'm', b'o', b'r', b'y', b'-', b'm', b'a', b'p', 0,
    b'p', b'r', b'e', b's', b'e', b'r', b'v', b'e', b'd', b'-', b'd', b'a', b't', b'a', 0,
    b'b', b'l', b'o', b'b', b'-', b's', b'i', b'z', b'e', 0,
];

#[test]
fn the_bytes_of_the_root_fdt_are_those_of_the_format() {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    let empty = root_page(&kho);
    // Pages of the arena: the tracker's root, the root FDT, five nodes, the blob.
    kho.add_subtree("greeting", blob(&kho, "hello"), 5).unwrap();
    let page = root_page(&kho);
    assert_eq!(page[..ROOT.len()], *ROOT);
    assert!(page[ROOT.len()..].iter().all(|byte| *byte == 0));
    let blob = kho.remove_subtree("greeting").unwrap();
    assert_eq!(
        (&blob[..5], blob.addr().get()),
        (&b"hello"[..], 0x1000_7000)
    );
    assert!(root_page(&kho) == empty, "nothing of it stays");
    assert!(kho.remove_subtree("greeting").is_none());
}

#[rustfmt::skip]
const MEMBLOCK: &[u8] = &[
    0xd0, 0x0d, 0xfe, 0xed, // magic
    0x00, 0x00, 0x00, 0xc6, // totalsize: 56 + 120 + 22
    0x00, 0x00, 0x00, 0x38, // off_dt_struct: 56
    0x00, 0x00, 0x00, 0xb0, // off_dt_strings: 176
    0x00, 0x00, 0x00, 0x28, // off_mem_rsvmap: 40
    0x00, 0x00, 0x00, 0x11, // version: 17
    0x00, 0x00, 0x00, 0x10, // last_comp_version: 16
    0x00, 0x00, 0x00, 0x00, // boot_cpuid_phys
    0x00, 0x00, 0x00, 0x16, // size_dt_strings: 22
    0x00, 0x00, 0x00, 0x78, // size_dt_struct: 120
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // memory reservation map: its end
    0, 0, 0, 1, 0, 0, 0, 0,                         // BEGIN_NODE, ""
    0, 0, 0, 3, 0, 0, 0, 12, 0, 0, 0, 0,            // PROP, 12 bytes, "compatible"
    b'm', b'e', b'm', b'b', b'l', b'o', b'c', b'k', b'-', b'v', b'1', 0,
    0, 0, 0, 1, b'l', b'o', b'g', 0,                // BEGIN_NODE, "log": the user's name
    0, 0, 0, 3, 0, 0, 0, 15, 0, 0, 0, 0,            // PROP, 15 bytes, "compatible"
    b'r', b'e', b's', b'e', b'r', b'v', b'e', b'-', b'm', b'e', b'm', b'-', b'v', b'1', 0, 0,
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 11,            // PROP, 8 bytes, "start"
    0x00, 0x80, 0x00, 0x10, 0, 0, 0, 0,             // 0x10008000, little-endian
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 17,            // PROP, 8 bytes, "size"
    0x00, 0x30, 0x00, 0x00, 0, 0, 0, 0,             // 0x3000
    0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 9,             // END_NODE, END_NODE, END
    // Strings, from byte 176 on: at 0, 11 and 17.
    b'c', b'o', b'm', b'p', b'a', b't', b'i', b'b', b'l', b'e', 0,
    b's', b't', b'a', b'r', b't', 0,
    b's', b'i', b'z', b'e', 0,
];

#[test]
fn the_bytes_of_the_memblock_fdt_are_those_of_the_format() {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    let pages = kho.arena().alloc_pages(3).unwrap();
    assert_eq!(pages.addr().get(), 0x1000_8000);
    kho.reserve_mem("log", pages).unwrap();
    let page = memblock_page(&kho);
    assert_eq!(page[..MEMBLOCK.len()], *MEMBLOCK);
    assert!(page[MEMBLOCK.len()..].iter().all(|byte| *byte == 0));
    let [(name, _, size)] = &root(&kho).subtrees()[..] else {
        unreachable!("one subtree")
    };
    assert_eq!((name.as_str(), *size), ("memblock", MEMBLOCK.len() as u64));
}

#[test]
fn both_dialects_are_written_and_read() {
    for (dialect, compatible) in [
        (Writing::PLAIN, "kho-v4"),
        (Writing::COMPOSITE, "kho-v4;radix-v1;vmalloc-v1"),
    ] {
        let config = KhoConfig::new().writing(dialect).metadata("7.3.4", 0x102);
        let kho = Kho::new(memfd(8), &config).unwrap();
        assert_eq!(kho.writing(), dialect);
        let tree = root(&kho);
        let tracker = kho.preserver().root().get().to_le_bytes().to_vec();
        assert_eq!(
            tree.root,
            [
                (
                    "compatible".to_owned(),
                    format!("{compatible}\0").into_bytes()
                ),
                ("preserved-memory-map".to_owned(), tracker),
            ]
        );
        let (mem, entry) = handed(kho);
        assert_eq!((entry.fdt_size, entry.scratch), (4096, None));
        let handover = Handover::open(&mem, entry).unwrap();
        assert_eq!(handover.root().compatible(), compatible);
        let admitted = admitted(&handover);
        admitted.require("kho", 4).unwrap();
        admitted.require("vmalloc", 1).unwrap();
        let expected = Metadata::V1 {
            previous_release: "7.3.4".to_owned(),
            kexec_count: 0x102,
        };
        assert_eq!(Metadata::read(&handover).unwrap(), Some(expected));
        let mut reading = handover.reading().unwrap();
        assert_eq!(Memblock::read(&handover, &mut reading).unwrap(), None);
        assert_eq!(reading.claims().unclaimed(), (0, 0));
    }
}

#[test]
fn a_release_is_handed_over_or_refused() {
    let longest = "r".repeat(64);
    for release in ["7", "7.3.4", &longest] {
        let config = KhoConfig::new().metadata(release, u32::MAX);
        let (mem, entry) = handed(Kho::new(heap(8), &config).unwrap());
        let handover = Handover::open(&mem, entry).unwrap();
        assert_eq!(handover.subtree("kexec-metadata").unwrap().size, 73);
        let expected = Metadata::V1 {
            previous_release: release.to_owned(),
            kexec_count: u32::MAX,
        };
        assert_eq!(Metadata::read(&handover).unwrap(), Some(expected));
    }
    let arena = heap(8);
    let before = arena.free_blocks();
    for release in ["", "7\0.3", &"r".repeat(65)] {
        let config = KhoConfig::new().metadata(release, 1);
        let error = Kho::new(arena.clone(), &config).unwrap_err();
        assert_eq!(error, KhoError::BadRelease(release.to_owned()));
        assert_eq!(arena.free_blocks(), before);
    }
    // The metadata's name is taken where there is metadata.
    let kho = Kho::new(arena, &KhoConfig::new().metadata("7.3.4", 1)).unwrap();
    let failed = kho.add_subtree("kexec-metadata", blob(&kho, "x"), 1);
    assert!(matches!(
        failed.unwrap_err().error,
        KhoError::Duplicate { .. }
    ));
    kho.with_subtree("kexec-metadata", |bytes| {
        // version u32 = 1, previous_release char[65], kexec_count u32 = 1.
        assert_eq!(
            (bytes.len(), &bytes[..10]),
            (73, &b"\x01\0\0\x007.3.4\0"[..])
        );
        assert_eq!(bytes[69..], [1, 0, 0, 0]);
    })
    .unwrap();
}

#[test]
fn the_scratch_table_is_read_back() {
    let areas = [area(8, 4), PhysRange::EMPTY, area(4, 4)];
    let config = ArenaConfig::new(PhysAddr::new(BASE), 16 * MIB)
        .scratch(areas[0])
        .scratch(areas[2]);
    let arena = Arena::memfd(&config).unwrap();
    let kho = Kho::new(arena, &KhoConfig::new().scratch(areas)).unwrap();
    let (at, size) = kho.entry().scratch.unwrap();
    #[rustfmt::skip]
    let expected: [u8; 48] = [
        0x00, 0x00, 0x80, 0x10, 0, 0, 0, 0, 0x00, 0x00, 0x40, 0x00, 0, 0, 0, 0, // 0x10800000, 4 MiB
        0x00, 0x00, 0x00, 0x00, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0x00, 0, 0, 0, 0, // none
        0x00, 0x00, 0x40, 0x10, 0, 0, 0, 0, 0x00, 0x00, 0x40, 0x00, 0, 0, 0, 0, // 0x10400000, 4 MiB
    ];
    assert_eq!((size, bytes(kho.arena(), at, 48)), (48, expected.to_vec()));
    assert_eq!(kho.preserver().pages(), 1, "the table is not preserved");
    let entry = kho.entry();
    let file = kho.arena().file().unwrap().try_clone().unwrap();
    let given = kho.hand_over().unwrap();
    // The table, the root FDT and six nodes are the handover's: not free, and nobody's.
    assert_eq!(given.free_pages(), 2048 - 8);
    drop(given);
    // The successor learns of the areas from the table.
    let config = ArenaConfig::new(PhysAddr::new(BASE), 16 * MIB);
    let mut attached = Attached::open(Handed::attach(file, &config).unwrap(), entry).unwrap();
    let table = attached.handover().scratch().unwrap().clone();
    assert_eq!((table.at(), table.areas()), (at, &areas[..]));
    let arena = attached.reclaim();
    assert_eq!(arena.free_pages(), 2048 - 8, "the same are in use");
    assert_eq!(attached.finish().free_pages(), 2048, "all but scratch");

    // More than fit a page.
    let many: Vec<_> = [area(4, 4)]
        .into_iter()
        .chain([PhysRange::EMPTY; 1025])
        .collect();
    let config = ArenaConfig::new(PhysAddr::new(BASE), 8 * MIB).scratch(area(4, 4));
    let config = (
        Arena::heap(&config).unwrap(),
        KhoConfig::new().scratch(many.clone()),
    );
    let (mem, entry) = handed(Kho::new(config.0, &config.1).unwrap());
    let attached = Attached::open(mem, entry).unwrap();
    assert_eq!(attached.handover().scratch().unwrap().areas(), many);
    assert_eq!(attached.finish().free_pages(), 1024);
}
