//! Handovers that are made, against hand-made bytes, plain collections and the reader, with every
//! failure undone; and what a successor restores of them in place.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use std::os::unix::fs::FileExt;
use std::sync::Barrier;

use kho_compat::{Admitted, Manifest, Registry, Writing, policy};
use kho_core::{
    Attached, Entry, Handover, Kho, KhoConfig, KhoError, Memblock, Metadata, OpenError,
    PreservedFolio, RestoreError, TrackerError,
};
use kho_mem::{
    Arena, ArenaConfig, Folio, Handed, Order, PageRun, Pages, Pfn, PhysAddr, PhysMemExt, PhysRange,
};
use kho_testkit::Random;
use kho_vmalloc as _;

mod attached;
mod format;
mod regions;
mod subtrees;
mod undone;

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
