//! Thousands of altered handovers: none makes a reader panic or run away, and what a reader
//! accepts keeps its promises. Deterministic; `MUTANTS=1000000 cargo test --release -p kho-memfd
//! --test mutants` runs more of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::collections::BTreeSet;

use kho_compat::{Manifest, Registry, policy};
use kho_core::{Entry, Handover, Memblock, Metadata};
use kho_luo::Luo;
use kho_mem::{PageSize, PhysAddr, PhysRange};
use kho_memfd::Memfd;
use kho_testkit::{Anatomy, Builder, MemfdSpec, Memory, Random};

/// Contents of memfds.
const NINES: u64 = 0x0909_0909_0909_0909;

/// A handover with some of everything, and where its metadata lies.
fn subject(page: u64) -> (Memory, u64, (u64, u64), Vec<u64>) {
    let mut b = Builder::with_page(page);
    b.metadata(1, "7.3.4", 2);
    b.memblock("memblock-v1", &[("log", 0x4000), ("state", 0x1000)]);
    let spec = |len: usize, order: u32| MemfdSpec {
        order,
        seals: 6,
        ..MemfdSpec::new(vec![9; len])
    };
    b.session_of("one", &[spec(10_000, 0), spec(0, 0), spec(40_000, 2)]);
    b.session_of("two", &[]);
    // Two file blocks.
    let files: Vec<_> = (0..65)
        .map(|token| {
            let data = b.memfd(&spec(100 + token, 0));
            Builder::file("memfd-v2", data, token as u64)
        })
        .collect();
    b.session(b"three", &files);
    b.flb("test-flb-v0", 0xfeed, 3);
    let built = b.finish();
    if page != 4096 {
        // The frames of 4 KiB that hold anything but contents.
        let runs = built.mem.runs().into_iter();
        let frames = runs.flat_map(|(pa, len)| (pa..pa + len).step_by(4096));
        let holds =
            |pa: &u64| (0..512).any(|word| !matches!(built.mem.u64(pa + 8 * word), 0 | NINES));
        let pages = frames.filter(holds).collect();
        return (built.mem, built.fdt, built.scratch, pages);
    }
    let a = Anatomy::of(&built.mem, built.fdt);
    let mut pages = vec![built.fdt, built.scratch.0, a.luo, a.metadata, a.flbs];
    pages.push(built.mem.u64(kho_testkit::prop(
        &built.mem,
        built.fdt,
        "memblock",
        "preserved-data",
    )));
    pages.extend(a.nodes.iter().map(|node| node.pa));
    pages.extend(&a.blocks);
    for session in &a.sessions {
        pages.extend(&session.blocks);
        for file in session.files.iter().take(4) {
            pages.push(file.data);
            pages.extend(&file.chunks);
            pages.extend(&file.list);
        }
    }
    (built.mem, built.fdt, built.scratch, pages)
}

/// Alters one place of `mem`, and says how to undo it.
fn alter(mem: &mut Memory, pages: &[u64], random: &mut Random) -> (u64, u64) {
    // Words that are not zero matter most: they are addresses, counts and strings.
    let mut at = 0;
    for _ in 0..64 {
        at = random.of(pages) + 8 * random.below(512) as u64;
        if mem.u64(at) != 0 {
            break;
        }
    }
    let old = mem.u64(at);
    let new = match random.below(9) {
        0 => random.next(),
        1 => old.wrapping_add(random.of(&[1, 8, 4096, 1 << 12 << 9])),
        2 => old.wrapping_sub(random.of(&[1, 8, 4096])),
        3 => random.of(&[
            0,
            1,
            u64::MAX,
            1 << 63,
            1 << 52,
            0xffff_ffff_ffff_f000,
            4096,
        ]),
        // Another structure's page: sharing and cycles.
        4 => random.of(pages),
        5 => old ^ 1 << random.below(64),
        6 => old & !(0xff << (8 * random.below(8))),
        7 => old | 0xff << (8 * random.below(8)),
        _ => mem.u64(random.of(pages) + 8 * random.below(64) as u64),
    };
    mem.set_u64(at, new);
    (at, old)
}

/// Reads all of a handover; whether it was accepted.
fn read(mem: &Memory, entry: Entry) -> bool {
    let Ok(handover) = Handover::open(mem, entry) else {
        return false;
    };
    let Ok(mut reading) = handover.reading() else {
        return false;
    };
    let (Ok(metadata), Ok(memblock)) = (
        Metadata::read(&handover),
        Memblock::read(&handover, &mut reading),
    ) else {
        return false;
    };
    let Ok(Some(luo)) = Luo::read(&handover, &mut reading, Registry::linked().unwrap()) else {
        return false;
    };
    let mut manifest = Manifest::new();
    handover.add_to(&mut manifest);
    if let (Some(metadata), Some(subtree)) = (&metadata, handover.subtree("kexec-metadata")) {
        metadata.add_to(&mut manifest, subtree.addr);
    }
    if let Some(memblock) = &memblock {
        memblock.add_to(&mut manifest);
    }
    luo.add_to(&mut manifest);
    let Ok(admitted) = Registry::linked()
        .unwrap()
        .admit(&policy::SemverRange, manifest)
    else {
        return false;
    };
    let sessions = luo.restore(&admitted).unwrap();
    let mut used = BTreeSet::new();
    for session in sessions.iter() {
        for file in session.files() {
            let Ok(memfd) = Memfd::restore(&mut reading.admitted(&admitted), &file) else {
                return false;
            };
            for folio in memfd.memfd().folios() {
                let Some(addr) = folio.addr else { continue };
                let range = PhysRange::new(addr, folio.order.bytes().unwrap()).unwrap();
                assert!(
                    handover.preserved().contains(range),
                    "a folio that is not preserved"
                );
                for page in 0..folio.order.pages() {
                    assert!(used.insert(addr.pfn().get() + page), "a page in two folios");
                }
            }
            // A sparse file may be of any size: its pieces say so without being read.
            let len: u64 = memfd.pieces().map(|piece| piece.unwrap().len()).sum();
            assert_eq!(len, memfd.memfd().size());
        }
    }
    true
}

#[test]
fn no_mutant_makes_a_reader_panic() {
    run(4096, 4000);
}

#[test]
fn no_mutant_of_16_kib_pages_makes_a_reader_panic() {
    run(0x4000, 500);
}

#[test]
fn no_mutant_of_64_kib_pages_makes_a_reader_panic() {
    run(0x1_0000, 300);
}

fn run(page: u64, mutants: u32) {
    let mutants = std::env::var("MUTANTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(mutants);
    let (mut mem, fdt, scratch, pages) = subject(page);
    let entry = Entry::new(PhysAddr::new(fdt))
        .with_scratch(PhysAddr::new(scratch.0), scratch.1)
        .with_page_size(PageSize::of(page).unwrap());
    assert!(read(&mem, entry), "unaltered");
    let mut random = Random(88_172_645_463_325_252);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..mutants {
        let mut undo = Vec::new();
        for _ in 0..=random.below(3) {
            undo.push(alter(&mut mem, &pages, &mut random));
        }
        if read(&mem, entry) {
            accepted += 1
        } else {
            refused += 1
        }
        for (at, old) in undo.into_iter().rev() {
            mem.set_u64(at, old);
        }
    }
    assert!(read(&mem, entry), "all undone");
    println!("{accepted} mutants accepted, {refused} refused");
    assert!(
        // With larger pages, more of what is altered are contents.
        accepted > 0 && refused > if page == 4096 { accepted } else { mutants / 5 },
        "{accepted} accepted, {refused} refused"
    );
}
