//! Handovers that are made, against hand-made bytes, plain collections and the reader, with every
//! failure undone; and what a successor restores of them in place.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::os::unix::fs::FileExt;
use std::sync::Barrier;

use kho_compat::{Admitted, Manifest, Registry, Writing, policy};
use kho_core::{
    Attached, Entry, Handover, Kho, KhoConfig, KhoError, Memblock, Metadata, OpenError,
    PreservedFolio, RestoreError, TrackerError,
};
use kho_mem::{
    Arena, ArenaConfig, Folio, Handed, Order, PageRun, Pages, PhysAddr, PhysMemExt, PhysRange,
};
use kho_vmalloc as _;

const BASE: u64 = 0x1000_0000;
const MIB: u64 = 1 << 20;
const PAGE: usize = 4096;
/// Nodes below the root on the way to a leaf: one for each order of preserved memory.
const NODES: u64 = 5;

fn heap(mib: u64) -> Arena {
    Arena::heap(&ArenaConfig::new(PhysAddr::new(BASE), mib * MIB)).unwrap()
}

/// An arena whose bytes can be looked at while it is in use: through its file.
fn memfd(mib: u64) -> Arena {
    Arena::memfd(&ArenaConfig::new(PhysAddr::new(BASE), mib * MIB)).unwrap()
}

fn area(mib: u64, len: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(BASE + mib * MIB), len * MIB).unwrap()
}

fn bytes(arena: &Arena, at: PhysAddr, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let offset = at.get() - arena.range().start().get();
    arena
        .file()
        .unwrap()
        .read_exact_at(&mut out, offset)
        .unwrap();
    out
}

type Props = Vec<(String, Vec<u8>)>;

/// A flattened device tree of a root and its children, taken apart.
#[derive(PartialEq, Debug)]
struct Tree {
    size: usize,
    root: Props,
    nodes: Vec<(String, Props)>,
}

impl Tree {
    /// Takes a page apart by the words of the device tree specification, version 17.
    fn walk(page: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(page[at..at + 4].try_into().unwrap());
        let text = |at: usize| {
            let len = page[at..].iter().position(|byte| *byte == 0).unwrap();
            String::from_utf8(page[at..at + len].to_vec()).unwrap()
        };
        let header: Vec<u32> = (0..10).map(|index| word(4 * index)).collect();
        let [magic, total, structure, strings, reserved, ..] = header[..] else {
            unreachable!()
        };
        assert_eq!(
            (magic, reserved, &header[5..8]),
            (0xd00d_feed, 40, &[17, 16, 0][..])
        );
        assert_eq!(page[40..56], [0; 16], "no reserved memory");
        assert_eq!(strings + header[8], total, "the strings are the last block");
        assert_eq!(structure + header[9], strings);
        assert!(page[total as usize..].iter().all(|byte| *byte == 0));
        let mut tree = Self {
            size: total as usize,
            root: Vec::new(),
            nodes: Vec::new(),
        };
        let (mut at, mut depth) = (structure as usize, 0);
        loop {
            let token = word(at);
            at += 4;
            match (token, depth) {
                (1, 0 | 1) => {
                    let name = text(at);
                    at += (name.len() + 1).next_multiple_of(4);
                    depth += 1;
                    if depth == 2 {
                        tree.nodes.push((name, Vec::new()));
                    } else {
                        assert_eq!(name, "");
                    }
                }
                (2, 1 | 2) => depth -= 1,
                (3, 1 | 2) => {
                    let len = word(at) as usize;
                    let name = text(strings as usize + word(at + 4) as usize);
                    let value = page[at + 8..at + 8 + len].to_vec();
                    let props = if depth == 1 {
                        assert!(tree.nodes.is_empty(), "properties come before children");
                        &mut tree.root
                    } else {
                        &mut tree.nodes.last_mut().unwrap().1
                    };
                    props.push((name, value));
                    at += 8 + len.next_multiple_of(4);
                }
                (9, 0) => break,
                _ => unreachable!("token {token} at depth {depth}"),
            }
        }
        assert_eq!(at, strings as usize);
        tree
    }

    /// The numbers that the children have for two properties, which are all they have.
    fn numbers(props: &Props, names: [&str; 2]) -> [u64; 2] {
        let found: Vec<&str> = props.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, names);
        [0, 1].map(|index| u64::from_le_bytes(props[index].1[..].try_into().unwrap()))
    }

    /// Name, address and size of each subtree.
    fn subtrees(&self) -> Vec<(String, u64, u64)> {
        let subtree = |(name, props): &(String, Props)| {
            let [addr, size] = Self::numbers(props, ["preserved-data", "blob-size"]);
            (name.clone(), addr, size)
        };
        self.nodes.iter().map(subtree).collect()
    }

    /// Name, start and size of each region of a memblock FDT.
    fn regions(&self) -> Vec<(String, u64, u64)> {
        assert_eq!(
            self.root,
            [("compatible".into(), b"memblock-v1\0".to_vec())]
        );
        let region = |(name, props): &(String, Props)| {
            let (compatible, rest) = props.split_first().unwrap();
            assert_eq!(
                *compatible,
                ("compatible".into(), b"reserve-mem-v1\0".to_vec())
            );
            let [start, size] = Self::numbers(&rest.to_vec(), ["start", "size"]);
            (name.clone(), start, size)
        };
        self.nodes.iter().map(region).collect()
    }
}

fn root_page(kho: &Kho) -> Vec<u8> {
    bytes(kho.arena(), kho.entry().fdt_addr, PAGE)
}

fn root(kho: &Kho) -> Tree {
    Tree::walk(&root_page(kho))
}

fn memblock_page(kho: &Kho) -> Vec<u8> {
    let subtrees = root(kho).subtrees();
    let found = subtrees.iter().find(|(name, ..)| name == "memblock");
    found.map_or(Vec::new(), |(_, addr, _)| {
        bytes(kho.arena(), PhysAddr::new(*addr), PAGE)
    })
}

/// All that a step that fails must leave as it was.
#[derive(PartialEq)]
struct State {
    free: Vec<(usize, usize)>,
    preserved: (u64, u64),
    nodes: Vec<(PhysAddr, Vec<u8>)>,
    root: Vec<u8>,
    blobs: Vec<Vec<u8>>,
    entry: Entry,
}

fn state(kho: &Kho) -> State {
    let (arena, preserver) = (kho.arena(), kho.preserver());
    let nodes: Vec<_> = preserver.tracker(|tracker| tracker.nodes().collect());
    let blob = |(_, addr, size)| bytes(arena, PhysAddr::new(addr), size as usize);
    State {
        free: arena.free_blocks(),
        preserved: (preserver.keys(), preserver.pages()),
        nodes: nodes
            .into_iter()
            .map(|at| (at, bytes(arena, at, PAGE)))
            .collect(),
        root: root_page(kho),
        blobs: root(kho).subtrees().into_iter().map(blob).collect(),
        entry: kho.entry(),
    }
}

fn blob(kho: &Kho, text: &str) -> PreservedFolio {
    let mut blob = kho.preserver().alloc_preserve(text.len()).unwrap();
    blob[..text.len()].copy_from_slice(text.as_bytes());
    blob
}

/// A run of pages, each full of its number.
fn run(arena: &Arena, count: u64) -> Pages {
    let mut pages = arena.alloc_pages(count).unwrap();
    number(&mut pages);
    pages
}

fn number(bytes: &mut [u8]) {
    let numbers = (1..=u8::MAX).cycle();
    bytes
        .chunks_mut(PAGE)
        .zip(numbers)
        .for_each(|(page, number)| page.fill(number));
}

fn is_numbered(bytes: &[u8]) -> bool {
    let numbers = (1..=u8::MAX).cycle();
    bytes
        .chunks(PAGE)
        .zip(numbers)
        .all(|(page, number)| page == [number; PAGE])
}

fn handed(kho: Kho) -> (Handed, Entry) {
    let entry = kho.entry();
    let arena = kho.hand_over().unwrap();
    (arena.into_handed().unwrap(), entry)
}

fn admitted(handover: &Handover<'_>) -> Admitted {
    Handover::admit_root(Registry::linked().unwrap(), handover.root()).unwrap()
}

fn random() -> impl FnMut(usize) -> usize {
    let mut state = 88_172_645_463_325_252u64;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    }
}

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

/// Subtrees that come and go at random, against a vector.
#[test]
fn subtrees_are_a_list_of_names_and_blobs() {
    const NAMES: [&str; 12] = [
        "LUO",
        "a",
        "kho_test",
        "x.y,z+w-v_u",
        "unit@0",
        "n234567890123456789012345678901",
        "a b",
        "ü",
        "a/b",
        "a@b@c",
        "n2345678901234567890123456789012",
        "a\0b",
    ];
    const GOOD: usize = 6;
    let mut random = random();
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    // Name, address, pages, and the bytes that are handed over.
    let mut model: Vec<(&str, u64, u64, Vec<u8>)> = Vec::new();
    for step in 0..600u32 {
        let pick = random(NAMES.len());
        let name = NAMES[pick];
        let there = model.iter().position(|(other, ..)| *other == name);
        match random(4) {
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
                let pages = 1 << random(3);
                let mut blob = kho.preserver().alloc_preserve(pages * PAGE).unwrap();
                blob.fill(step as u8);
                let (addr, room) = (blob.addr().get(), pages * PAGE);
                let size = [0, 4, 4 + random(room - 4), room, room + 1][random(5)] as u64;
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
    let arena = attached.settle();
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

#[test]
fn regions_are_read_back_with_their_contents() {
    let arena = heap(16);
    // A NUMA node begins inside the second region.
    let boundary = (BASE >> 12) + 18;
    let kho = Kho::new(arena.clone(), &KhoConfig::new().boundaries([boundary])).unwrap();
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
    for (skip, count) in [(0, 3), (0, 8), (1, 6), (0, 0), (0, u64::MAX), (1 << 52, 7)] {
        let wrong = PageRun {
            pfn: run.pfn + skip,
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
    let arena = attached.settle();
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
    let arena = attached.settle();
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

#[test]
fn memory_that_can_not_be_opened_comes_back_unchanged() {
    let kho = Kho::new(memfd(8), &KhoConfig::new()).unwrap();
    let (addr, _) = folio_and_run(&kho);
    let file = kho.arena().file().unwrap().try_clone().unwrap();
    let (mut mem, entry) = handed(kho);
    let whole = |mem: &Handed| {
        mem.bytes(PhysAddr::new(BASE), 8 << 20)
            .unwrap()
            .into_owned()
    };
    let mut refused = |entry: Entry, words: &str| {
        let before = (whole(&mem), mem.pages());
        let failed = Attached::open(
            std::mem::replace(
                &mut mem,
                handed(Kho::new(heap(8), &KhoConfig::new()).unwrap()).0,
            ),
            entry,
        )
        .unwrap_err();
        let error = failed.error.to_string();
        assert!(error.contains(words), "{error}");
        mem = failed.returned;
        assert!((whole(&mem), mem.pages()) == before);
        failed.error
    };
    let fdt = |addr: u64| Entry {
        fdt_addr: PhysAddr::new(addr),
        ..entry
    };
    refused(fdt(0), "root FDT");
    refused(fdt(entry.fdt_addr.get() + 8), "root FDT");
    refused(fdt(addr.get()), "magic");
    refused(fdt(BASE + 8 * MIB), "outside");
    let long = Entry {
        fdt_size: 8192,
        ..entry
    };
    refused(long, "fdt_size");
    refused(entry.with_scratch(PhysAddr::new(BASE), 7), "scratch table");
    // Another version, and a byte of the tracker.
    let version = entry.fdt_addr.get() - BASE + 56 + 8 + 12 + 5;
    file.write_all_at(b"5", version).unwrap();
    let error = refused(entry, "kho-v5");
    assert!(matches!(error, OpenError::Incompatible(_)), "{error}");
    file.write_all_at(b"4", version).unwrap();
    file.write_all_at(&[1], 16).unwrap();
    let error = refused(entry, "tracker");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    file.write_all_at(&[0], 16).unwrap();
    let mut attached = Attached::open(mem, entry).unwrap();
    let admitted = admitted(&attached.handover());
    assert!(is_numbered(
        &attached.restore_folio(&admitted, addr).unwrap()
    ));
    assert_eq!(attached.finish().free_pages(), 2048);
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
        pfn: u64::MAX,
        pages: 2,
    };
    let error = mem.adopt_pages(run).unwrap_err();
    assert!(error.to_string().contains("is not handed over"));
}
