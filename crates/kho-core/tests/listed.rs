//! The version table and the feature masks in the root FDT, against hand-made bytes: written, read,
//! damaged, and taken back where the page is full.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::os::unix::fs::FileExt;

use kho_compat::{
    Carrier, Component, Dialect, Features, Generation, Manifest, Owned, Registry, Side,
};
use kho_core::{
    Attached, Entry, Handover, Kho, KhoConfig, KhoError, Listed, OpenError, RootFdt, Said,
};
use kho_mem::{Arena, ArenaConfig, Damage, Defect, PhysAddr, SliceMem};
use kho_testkit::{Builder, Memory, prop};
use kho_vmalloc as _;

/// A component without a string of its own, which two others need: one directly, one not.
const BIT: &str = "bit";
kho_compat::submit! { Component::new(BIT, &[Generation::new(1)]) }
kho_compat::submit! { Component::new("middle", &[Generation::new(1).needs(&[(BIT, 1)])]) }
kho_compat::submit! {
    Component::new("near", &[Generation::new(1).needs(&[(BIT, 1)])]).carried_in(Carrier::FileHandler).optional()
}
kho_compat::submit! {
    Component::new("far", &[Generation::new(1).needs(&[("middle", 1)])]).carried_in(Carrier::FileHandler)
}
kho_compat::submit! { Component::new("owner", &[Generation::new(3).needs(&[("middle", 1)])]).subtree("mine").optional() }
static BIT_2: Component =
    Component::new(BIT, &[Generation::new(1).read_only(), Generation::new(2)]);

/// An arena whose bytes can be looked at while it is in use: through its file.
fn arena() -> Arena {
    Arena::memfd(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 16 << 20)).unwrap()
}

fn kho(dialect: Dialect) -> Kho {
    Kho::new(arena(), &KhoConfig::new().dialect(dialect)).unwrap()
}

/// The linked components but for those of `without`, and `more`.
fn registry(without: &[&str], more: &[&'static Component]) -> Registry {
    let linked = Registry::linked().unwrap().components();
    let linked = linked.filter(|component| !without.contains(&component.name));
    Registry::new(linked.chain(more.iter().copied())).unwrap()
}

/// What the root FDT lists, as names and versions or masks.
fn listed(kho: &Kho) -> Vec<Listed> {
    root_of(kho).listed().unwrap()
}

fn root_of(kho: &Kho) -> RootFdt {
    let (page, addr) = (page_of(kho), kho.entry().fdt_addr);
    RootFdt::read(&SliceMem::new(addr, &page), addr).unwrap()
}

/// The root FDT as it stands there.
fn page_of(kho: &Kho) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let at = kho.entry().fdt_addr.get() - 0x1000_0000;
    let file = kho.arena().file().unwrap();
    file.read_exact_at(&mut page, at).unwrap();
    page
}

fn names(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|listed| listed.name.as_str()).collect()
}

#[rustfmt::skip]
const TABLE: &[u8] = &[
    0xd0, 0x0d, 0xfe, 0xed, 0, 0, 0, 0xee,          // magic; totalsize: 238
    0, 0, 0, 0x38, 0, 0, 0, 0xbc, 0, 0, 0, 0x28,    // structure at 56, strings at 188, reservations at 40
    0, 0, 0, 0x11, 0, 0, 0, 0x10, 0, 0, 0, 0,       // version 17, readable from 16 on, CPU 0
    0, 0, 0, 0x32, 0, 0, 0, 0x84,                   // 50 bytes of strings, 132 of structure
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // no reserved memory
    0, 0, 0, 1, 0, 0, 0, 0,                         // BEGIN_NODE, ""
    0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0,             // PROP, 7 bytes, "compatible"
    b'k', b'h', b'o', b'-', b'v', b'4', 0, 0,       // plain
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 11,            // PROP, 8 bytes, "preserved-memory-map"
    0x00, 0x00, 0x00, 0x10, 0, 0, 0, 0,             // 0x10000000, little-endian
    0, 0, 0, 1, b'c', b'o', b'm', b'p', b'a', b't', 0, 0, // BEGIN_NODE, "compat"
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 32,            // PROP, 8 bytes, "kho"
    4, 0, 0, 0, 0, 0, 0, 0,                         // version 4, no flags, little-endian
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 36,            // PROP, 8 bytes, "radix"
    1, 0, 0, 0, 0, 0, 0, 0,                         // version 1
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 42,            // PROP, 8 bytes, "vmalloc"
    1, 0, 0, 0, 0, 0, 0, 0,                         // version 1
    0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 9,             // END_NODE, END_NODE, END
];

#[rustfmt::skip]
const FEATURES: &[u8] = &[
    0xd0, 0x0d, 0xfe, 0xed, 0, 0, 0x01, 0x22,       // magic; totalsize: 290
    0, 0, 0, 0x38, 0, 0, 0, 0xf0, 0, 0, 0, 0x28,    // structure at 56, strings at 240, reservations at 40
    0, 0, 0, 0x11, 0, 0, 0, 0x10, 0, 0, 0, 0,       // version 17, readable from 16 on, CPU 0
    0, 0, 0, 0x32, 0, 0, 0, 0xb8,                   // 50 bytes of strings, 184 of structure
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // no reserved memory
    0, 0, 0, 1, 0, 0, 0, 0,                         // BEGIN_NODE, ""
    0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0,             // PROP, 7 bytes, "compatible"
    b'k', b'h', b'o', b'-', b'v', b'4', 0, 0,       // plain
    0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 11,            // PROP, 8 bytes, "preserved-memory-map"
    0x00, 0x00, 0x00, 0x10, 0, 0, 0, 0,             // 0x10000000, little-endian
    0, 0, 0, 1, b'f', b'e', b'a', b't', b'u', b'r', b'e', b's', 0, 0, 0, 0, // BEGIN_NODE, "features"
    0, 0, 0, 3, 0, 0, 0, 24, 0, 0, 0, 32,           // PROP, 24 bytes, "kho"
    0xf, 0, 0, 0, 0, 0, 0, 0,                       // supported: bits 0 to 3, little-endian
    0xf, 0, 0, 0, 0, 0, 0, 0,                       // required
    0xf, 0, 0, 0, 0, 0, 0, 0,                       // active
    0, 0, 0, 3, 0, 0, 0, 24, 0, 0, 0, 36,           // PROP, 24 bytes, "radix"
    1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, // bit 0, three times
    0, 0, 0, 3, 0, 0, 0, 24, 0, 0, 0, 42,           // PROP, 24 bytes, "vmalloc"
    1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, // bit 0, three times
    0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 9,             // END_NODE, END_NODE, END
];

/// The page that begins with `fdt`, whose strings are those of the root and its needs.
fn page(fdt: &[u8]) -> Vec<u8> {
    let strings = b"compatible\0preserved-memory-map\0kho\0radix\0vmalloc\0";
    let mut page = [fdt, strings].concat();
    page.resize(4096, 0);
    page
}

#[test]
fn the_bytes_are_those_of_the_dialect() {
    assert_eq!(page_of(&kho(Dialect::Table)), page(TABLE));
    assert_eq!(page_of(&kho(Dialect::Features)), page(FEATURES));
}

#[test]
fn hand_made_lists_read_as_what_they_say() {
    let version = |version, optional| Said::Version {
        version,
        minor: 0,
        optional,
    };
    let read = |page: &[u8]| {
        let at = PhysAddr::new(0x1000);
        RootFdt::read(&SliceMem::new(at, page), at).unwrap()
    };
    let mut table = page(TABLE);
    // radix: version 0x01020304, optional.
    table[148..156].copy_from_slice(&[4, 3, 2, 1, 1, 0, 0, 0]);
    let root = read(&table);
    let listed = root.listed().unwrap();
    assert_eq!(names(&listed), ["kho", "radix", "vmalloc"]);
    assert_eq!(listed[0].said, version(4, false));
    assert_eq!(listed[1].said, version(0x0102_0304, true));
    assert!(root.subtrees().unwrap().is_empty(), "it is no subtree");
    let mut manifest = Manifest::new();
    root.add_to(&mut manifest);
    let entries = manifest.entries();
    assert_eq!(entries.len(), 4);
    assert_eq!(entries[2].carrier, Carrier::Table);
    assert_eq!(
        (entries[2].found.as_str(), entries[2].optional),
        ("radix-v16909060", true)
    );
    assert_eq!(
        entries[2].place.to_string(),
        "root FDT, compat/radix at 0x1000"
    );
    assert_eq!(
        (manifest.dialect(), manifest.listed("kho")),
        (Dialect::Table, Some(4))
    );

    let mut masks = page(FEATURES);
    // radix: bit 63 is required as well.
    masks[56 + 8 + 20 + 20 + 16 + 36 + 12 + 15] = 0x80;
    let root = read(&masks);
    let features = Features {
        supported: 1,
        required: 1 << 63 | 1,
        active: 1,
    };
    assert_eq!(root.listed().unwrap()[1].said, Said::Features(features));
    let mut manifest = Manifest::new();
    root.add_to(&mut manifest);
    assert_eq!(manifest.features("radix"), Some(features));
    assert_eq!(
        manifest.entries()[2].place.to_string(),
        "root FDT, features/radix at 0x1000"
    );
    assert_eq!(manifest.dialect(), Dialect::Features);
}

/// What `listed` says of a handover that was built, after `damage`.
fn built(damage: impl FnOnce(&mut Builder)) -> (Memory, u64) {
    let mut b = Builder::new();
    damage(&mut b);
    let built = b.finish();
    (built.mem, built.fdt)
}

fn damage_of(mem: &Memory, fdt: u64) -> Damage {
    let at = PhysAddr::new(fdt);
    let root = RootFdt::read(mem, at).unwrap();
    // A damaged list is no reason to take the version for another one.
    let registry = Registry::linked().unwrap();
    Handover::admit_root(registry, &root).unwrap();
    let damage = root.listed().unwrap_err();
    assert_eq!(damage.at(), at);
    match Handover::open(mem, Entry::new(at)) {
        Err(OpenError::Damaged(other)) => assert_eq!(other, damage),
        other => unreachable!("{:?}", other.map(|_| ())),
    }
    let mut manifest = Manifest::new();
    root.add_to(&mut manifest);
    assert_eq!(manifest.entries().len(), 1, "nothing of a damaged list");
    damage
}

#[test]
fn damaged_lists_are_refused() {
    use Defect::{BadSize, Empty, UnknownFlags};
    type Case<'c> = (&'c str, &'c [u8], Defect, &'c str);
    let cases: &[Case<'_>] = &[
        ("compat", &[], BadSize, "found 0 bytes, expected 8 bytes"),
        (
            "compat",
            &[0; 7],
            BadSize,
            "found 7 bytes, expected 8 bytes",
        ),
        (
            "compat",
            &[0; 9],
            BadSize,
            "found 9 bytes, expected 8 bytes",
        ),
        (
            "compat",
            &[0; 24],
            BadSize,
            "found 24 bytes, expected 8 bytes",
        ),
        (
            "compat",
            &[1, 0, 0, 0, 2, 0, 0, 0],
            UnknownFlags,
            "found 0x2, expected flags 0 or 0x1",
        ),
        (
            "compat",
            &[1, 0, 0, 0, 1, 0, 0, 0x80],
            UnknownFlags,
            "found 0x80000001",
        ),
        ("features", &[], BadSize, "found 0 bytes, expected 24 bytes"),
        (
            "features",
            &[0; 8],
            BadSize,
            "found 8 bytes, expected 24 bytes",
        ),
        (
            "features",
            &[0; 23],
            BadSize,
            "found 23 bytes, expected 24 bytes",
        ),
        (
            "features",
            &[0; 32],
            BadSize,
            "found 32 bytes, expected 24 bytes",
        ),
    ];
    for (node, value, defect, text) in cases {
        let (mem, fdt) = built(|b| b.list(node, "radix", value));
        let damage = damage_of(&mem, fdt);
        assert_eq!(damage.defect(), *defect, "{damage}");
        let subject = format!("root FDT: property `radix` of node `{node}`");
        assert!(damage.to_string().contains(text), "{damage}");
        assert_eq!(damage.subject(), subject);
    }
    for node in ["compat", "features"] {
        let (mem, fdt) = built(|b| b.list(node, "radix", &[0; 24]));
        let mut empty = mem.clone();
        // The property becomes three NOPs and as many as its value was long.
        let at = prop(&mem, fdt, node, "radix") - 12;
        (0..9).for_each(|word| empty.write(at + 4 * word, &[0, 0, 0, 4]));
        let damage = damage_of(&empty, fdt);
        assert_eq!(
            (damage.defect(), damage.subject()),
            (Empty, format!("root FDT: node `{node}`"))
        );
        // It becomes a node: BEGIN_NODE, "bad", END_NODE.
        let mut nested = empty.clone();
        nested.write(at, &[0, 0, 0, 1, b'b', b'a', b'd', 0, 0, 0, 0, 2]);
        let damage = damage_of(&nested, fdt);
        assert_eq!(damage.defect(), Defect::Malformed);
        assert_eq!(
            damage.subject(),
            format!("root FDT: node `bad` of node `{node}`")
        );
    }
}

#[test]
fn names_that_no_component_has_are_refused() {
    let find = |mem: &Memory, fdt: u64, text: &[u8]| {
        let page = mem.read(fdt, 4096);
        let at = page.windows(text.len()).position(|bytes| bytes == text);
        fdt + at.unwrap() as u64
    };
    for name in [
        b"Radix", b"ra.ix", b"1adix", b"-adix", b"rad x", b"_adix", b"ra,ix",
    ] {
        let (mut mem, fdt) = built(|b| b.table("radix", 1, 0));
        let at = find(&mem, fdt, b"radix\0");
        mem.write(at, name);
        let damage = damage_of(&mem, fdt);
        assert_eq!(damage.defect(), Defect::BadText, "{damage}");
        assert!(
            damage.to_string().contains("expected a component's name"),
            "{damage}"
        );
    }
    // Twice: the tree itself is none.
    let (mut mem, fdt) = built(|b| {
        b.table("radix", 1, 0);
        b.table("radiy", 2, 0);
    });
    let at = find(&mem, fdt, b"radiy\0");
    mem.write(at, b"radix");
    let error = RootFdt::read(&mem, PhysAddr::new(fdt)).unwrap_err();
    assert_eq!(error.defect(), Defect::Duplicate, "{error}");
    // A name of any length is one, where the page holds it.
    let (mem, fdt) = built(|b| b.table("a2345678901234567890123456789-1", 1, 0));
    let root = RootFdt::read(&mem, PhysAddr::new(fdt)).unwrap();
    assert_eq!(root.listed().unwrap()[0].name.len(), 31);
}

/// Every value of every byte of both: an error or a list, never a panic.
#[test]
fn no_byte_of_a_list_can_make_its_reader_panic() {
    let (mut read, mut refused) = (0, 0);
    for (fdt, len) in [(TABLE, 238), (FEATURES, 290)] {
        let mut page = page(fdt);
        for at in 0..len {
            let before = page[at];
            for value in 0..=255 {
                page[at] = value;
                let mem = SliceMem::new(PhysAddr::new(0x1000), &page);
                let root = RootFdt::read(&mem, PhysAddr::new(0x1000));
                match root.and_then(|root| Ok((root.listed()?, root.subtrees()?))) {
                    Ok(_) => read += 1,
                    Err(_) => refused += 1,
                }
            }
            page[at] = before;
        }
    }
    assert!(
        read > 10_000 && refused > 10_000,
        "{read} read, {refused} refused"
    );
}

#[test]
fn a_node_with_a_blob_is_a_subtree_whatever_its_name() {
    for name in ["compat", "features"] {
        let (mem, fdt) = built(|b| {
            let blob = b.blob(b"hello");
            b.subtree(name, blob, 5);
        });
        let handover = Handover::open(&mem, Entry::new(PhysAddr::new(fdt))).unwrap();
        assert_eq!(handover.subtree(name).map(|subtree| subtree.size), Some(5));
        assert!(handover.listed().is_empty());

        // This side does not make such a one.
        let kho = kho(Dialect::Plain);
        let blob = kho.preserver().alloc_preserve(5).unwrap();
        let failed = kho.add_subtree(name, blob, 5).unwrap_err();
        assert_eq!(failed.error, KhoError::Reserved(name.to_owned()));
    }
    // Both lists at once, and neither a subtree.
    let (mem, fdt) = built(|b| {
        b.table("kho", 4, 0);
        b.features("kho", [15, 15, 15]);
    });
    let handover = Handover::open(&mem, Entry::new(PhysAddr::new(fdt))).unwrap();
    assert_eq!((handover.listed().len(), handover.subtrees().len()), (2, 0));
}

#[test]
fn a_version_is_what_a_string_says_or_else_the_table() {
    let (mem, fdt) = built(|b| {
        b.table("bit", 7, 0);
        b.features("other", [1, 1, 1]);
    });
    let handover = Handover::open(&mem, Entry::new(PhysAddr::new(fdt))).unwrap();
    let cases = [
        ("bit", "", Some(7)),
        ("bit", "luo-v5", Some(7)),
        ("bit", "luo-v5;bit-v2", Some(2)),
        ("bit", "bit-v3", Some(3)),
        ("bit", "luo-v5;bit-v2;", Some(7)),
        ("luo", "luo-v5;bit-v2", Some(5)),
        ("other", "luo-v5;bit-v2", None),
        ("block", "luo-v5;bit-v2", None),
    ];
    for (need, compatible, version) in cases {
        assert_eq!(
            handover.announced().in_string(compatible).version_of(need),
            version,
            "{need} {compatible}"
        );
    }
}

#[test]
fn what_the_root_leads_to_is_judged_before_it_is_followed() {
    let open = |mem: &Memory, fdt, registry: &Registry| {
        Handover::open_with(mem, Entry::new(PhysAddr::new(fdt)), registry).map(|_| ())
    };
    let linked = Registry::linked().unwrap();
    for (table, message) in [
        (
            ("radix", 2),
            "root FDT, compat/radix at 0x10000000: found radix-v2, expected radix-v1",
        ),
        (("kho", 5), "found kho-v5, expected kho-v4"),
    ] {
        let (mem, fdt) = built(|b| b.table(table.0, table.1, 0));
        let error = open(&mem, fdt, linked).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    // What the root does not need is for the policy that judges the rest.
    let (mem, fdt) = built(|b| {
        b.table("memfd", 9, 0);
        b.table("unknown", 1, 0);
    });
    open(&mem, fdt, linked).unwrap();
    // By another registry, another verdict.
    static RADIX: Component = Component::new(
        "radix",
        &[Generation::new(1).read_only(), Generation::new(2)],
    );
    let (mem, fdt) = built(|b| b.table("radix", 2, 0));
    open(&mem, fdt, &registry(&["radix"], &[&RADIX])).unwrap();
    let (mem, fdt) = built(|b| b.root_compatible = "kho-v5".into());
    open(&mem, fdt, linked).unwrap_err();
    static KHO: Component = Component::new(
        "kho",
        &[
            Generation::new(4).read_only(),
            Generation::new(5).needs(&[("radix", 1), ("vmalloc", 1)]),
        ],
    )
    .carried_in(Carrier::Root);
    open(&mem, fdt, &registry(&["kho"], &[&KHO])).unwrap();
}

#[test]
fn what_is_in_use_is_listed() {
    let version = |name: &str, version, optional| Listed {
        name: name.to_owned(),
        said: Said::Version {
            version,
            minor: 0,
            optional,
        },
    };
    let kho = Kho::new(
        arena(),
        &KhoConfig::new()
            .dialect(Dialect::Table)
            .metadata("7.3.4", 1),
    )
    .unwrap();
    assert_eq!(
        names(&listed(&kho)),
        ["kexec-metadata", "kho", "radix", "vmalloc"]
    );
    assert_eq!(listed(&kho)[0], version("kexec-metadata", 1, true));
    let before = page_of(&kho);

    // The owner of a subtree comes with it, and goes with it.
    let blob = kho.preserver().alloc_preserve(1).unwrap();
    kho.add_subtree("mine", blob, 1).unwrap();
    assert_eq!(
        names(&listed(&kho)),
        [
            "bit",
            "kexec-metadata",
            "kho",
            "middle",
            "owner",
            "radix",
            "vmalloc"
        ]
    );
    assert_eq!(listed(&kho)[4], version("owner", 3, true));
    // Counted: what two brought stays with one.
    kho.list(&["near", "far"]).unwrap();
    kho.list(&["near"]).unwrap();
    kho.remove_subtree("mine").unwrap();
    let all = [
        "bit",
        "far",
        "kexec-metadata",
        "kho",
        "middle",
        "near",
        "radix",
        "vmalloc",
    ];
    assert_eq!(names(&listed(&kho)), all);
    kho.unlist(&["near"]);
    assert_eq!(names(&listed(&kho)), all);
    kho.unlist(&["near"]);
    assert_eq!(
        names(&listed(&kho)),
        [
            "bit",
            "far",
            "kexec-metadata",
            "kho",
            "middle",
            "radix",
            "vmalloc"
        ]
    );
    kho.unlist(&["far"]);
    assert_eq!(page_of(&kho), before);
    // What was never listed by this name is not taken back.
    kho.unlist(&["kho", "radix", "nothing"]);
    assert_eq!(page_of(&kho), before);

    let pages = kho.arena().alloc_pages(1).unwrap();
    kho.reserve_mem("log", pages).unwrap();
    let with_regions = [
        "kexec-metadata",
        "kho",
        "memblock",
        "radix",
        "reserve-mem",
        "vmalloc",
    ];
    assert_eq!(names(&listed(&kho)), with_regions);

    // In the strings' dialects nothing is listed, and the same calls do.
    for dialect in [Dialect::Plain, Dialect::Composite, Dialect::CompositeDirect] {
        let kho = self::kho(dialect);
        let before = page_of(&kho);
        kho.list(&["near", "far"]).unwrap();
        assert_eq!(page_of(&kho), before);
        assert!(listed(&kho).is_empty());
    }
}

#[test]
fn what_the_side_does_not_know_is_not_listed() {
    let kho = kho(Dialect::Features);
    let before = page_of(&kho);
    let error = kho.list(&["near", "nothing"]).unwrap_err().to_string();
    assert_eq!(error, "no linked crate registers a component `nothing`");
    assert_eq!(page_of(&kho), before);
    // Nothing of it was counted.
    kho.list(&["near"]).unwrap();
    kho.unlist(&["near"]);
    assert_eq!(page_of(&kho), before);
}

#[test]
fn a_full_page_takes_no_more_and_stays_as_it_is() {
    for dialect in [Dialect::Table, Dialect::Features] {
        let kho = kho(dialect);
        let blob = || kho.preserver().alloc_preserve(1).unwrap();
        // As many subtrees as fit, then ever smaller ones.
        let mut count = 0;
        for len in [25, 15, 9, 5, 2] {
            while kho
                .add_subtree(&format!("s{count:0<len$}"), blob(), 1)
                .is_ok()
            {
                count += 1;
            }
        }
        let before = page_of(&kho);
        let keys = kho.preserver().keys();
        let error = kho.list(&["far"]).unwrap_err();
        assert!(matches!(error, KhoError::FdtFull { .. }), "{error}");
        assert!(
            error.to_string().contains("does not fit the root FDT"),
            "{error}"
        );
        let failed = kho.add_subtree("mine", blob(), 1).unwrap_err();
        assert!(matches!(failed.error, KhoError::FdtFull { .. }));
        drop(failed);
        let pages = kho.arena().alloc_pages(1).unwrap();
        kho.reserve_mem("log", pages).unwrap_err();
        assert_eq!(
            (page_of(&kho), kho.preserver().keys()),
            (before.clone(), keys)
        );
        // Nothing was counted: with room, one listing is undone by one unlisting.
        for number in 0..3 {
            drop(kho.remove_subtree(&format!("s{number:0<25}")).unwrap());
        }
        let roomy = page_of(&kho);
        kho.list(&["far"]).unwrap();
        assert!(names(&listed(&kho)).contains(&"middle"));
        kho.unlist(&["far"]);
        assert_eq!(page_of(&kho), roomy);
    }
}

#[test]
fn a_name_that_no_property_has_is_not_listed() {
    static LONG: Component = Component::new(
        "a-component-with-a-name-of-many-bytes",
        &[Generation::new(1)],
    );
    let side = registry(&[], &[&LONG]).side().clone();
    let config = KhoConfig::new().dialect(Dialect::Table).side(side);
    let kho = Kho::new(arena(), &config).unwrap();
    let before = page_of(&kho);
    let error = kho.list(&[LONG.name]).unwrap_err();
    assert_eq!(error, KhoError::Unlistable(LONG.name.to_owned()));
    assert!(
        error
            .to_string()
            .ends_with("a property's name has at most 31 bytes")
    );
    assert_eq!(page_of(&kho), before);
}

fn with_side(dialect: Dialect, side: Side) -> Result<Kho, KhoError> {
    Kho::new(arena(), &KhoConfig::new().dialect(dialect).side(side))
}

#[test]
fn a_version_that_nothing_would_say_is_not_written() {
    let unsaid = |dialect, side: &Side| match with_side(dialect, side.clone()) {
        Err(KhoError::Unsaid {
            token,
            dialect: said,
        }) => {
            assert_eq!(said, dialect);
            Some(token)
        }
        Err(error) => unreachable!("{error}"),
        Ok(_) => None,
    };
    let two = registry(&[BIT], &[&BIT_2]);
    // `far` needs it through `middle`: its string in the direct dialect does not list it. `owner` has
    // no string.
    for dialect in [
        Dialect::Plain,
        Dialect::Features,
        Dialect::Composite,
        Dialect::CompositeDirect,
    ] {
        assert_eq!(
            unsaid(dialect, two.side()).as_deref(),
            Some("bit-v2"),
            "{dialect}"
        );
    }
    let error = with_side(Dialect::Plain, two.side().clone())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "bit-v2 can not be said in the plain dialect"
    );
    assert_eq!(unsaid(Dialect::Table, two.side()), None);
    // Without `owner`, every string of who needs it lists it.
    let strings = registry(&[BIT, "owner"], &[&BIT_2]);
    assert_eq!(unsaid(Dialect::Composite, strings.side()), None);
    assert_eq!(
        unsaid(Dialect::CompositeDirect, strings.side()).as_deref(),
        Some("bit-v2")
    );
    let near = registry(&[BIT, "owner", "far"], &[&BIT_2]);
    assert_eq!(unsaid(Dialect::CompositeDirect, near.side()), None);
    assert_eq!(
        unsaid(Dialect::Plain, near.side()).as_deref(),
        Some("bit-v2")
    );
    // Nobody needs it: no string would name it.
    let alone = registry(&[BIT, "owner", "far", "near", "middle"], &[&BIT_2]);
    assert_eq!(
        unsaid(Dialect::Composite, alone.side()).as_deref(),
        Some("bit-v2")
    );
    // What the plain strings stand for can be said by all.
    static BOTH: Component = Component::new(BIT, &[Generation::new(1), Generation::new(2)]);
    let both = registry(&[BIT], &[&BOTH]);
    let next = Registry::linked().unwrap().side();
    for dialect in Dialect::ALL {
        assert_eq!(unsaid(dialect, &both.side().newest_common(next)), None);
        assert_eq!(
            unsaid(dialect, &both.side().clone().writing(BIT, 1).unwrap()),
            None
        );
    }
}

#[test]
fn a_version_that_is_not_written_here_is_refused() {
    static RADIX: Component = Component::new(
        "radix",
        &[Generation::new(1).read_only(), Generation::new(2)],
    );
    static METADATA: Component =
        Component::new("kexec-metadata", &[Generation::new(2)]).owned(Owned::KEXEC_METADATA);
    for (component, message) in [
        (
            &RADIX,
            "radix-v2 can not be written here, where version 1 is",
        ),
        (
            &METADATA,
            "kexec-metadata-v2 can not be written here, where version 1 is",
        ),
    ] {
        let side = registry(&[component.name], &[component]).side().clone();
        for dialect in Dialect::ALL {
            let error = with_side(dialect, side.clone()).map(|_| ()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}

#[test]
fn the_side_is_what_is_written() {
    static NEAR: Component =
        Component::new("near", &[Generation::new(6).minor(3).needs(&[(BIT, 1)])])
            .carried_in(Carrier::FileHandler)
            .features(Features::of(7, 5));
    let registry = registry(&["near"], &[&NEAR]);
    for (dialect, compat) in [
        (Dialect::Plain, "near-v6"),
        (Dialect::Composite, "near-v6;bit-v1"),
        (Dialect::Table, "near-v6"),
        (Dialect::Features, "near-v6"),
    ] {
        let kho = with_side(dialect, registry.side().clone()).unwrap();
        assert_eq!(kho.compat("near").unwrap().to_string(), compat);
        assert_eq!((kho.side(), kho.dialect()), (registry.side(), dialect));
        kho.list(&["near"]).unwrap();
        let listed = listed(&kho);
        let near = listed.iter().find(|listed| listed.name == "near");
        let said = near.map(|near| near.said);
        assert_eq!(
            said,
            match dialect {
                Dialect::Table => Some(Said::Version {
                    version: 6,
                    minor: 3,
                    optional: false
                }),
                Dialect::Features => Some(Said::Features(Features::of(7, 5))),
                _ => None,
            }
        );
    }
    // Read by a registry that knows it, and by one that does not.
    let kho = with_side(Dialect::Table, registry.side().clone()).unwrap();
    kho.list(&["near"]).unwrap();
    let entry = kho.entry();
    let handed = kho.hand_over().unwrap().into_handed().unwrap();
    let attached = Attached::open_with(handed, entry, &registry).unwrap();
    let handover = attached.handover();
    let mut manifest = Manifest::new();
    handover.add_to(&mut manifest);
    assert_eq!(manifest.listed("near"), Some(6));
    assert_eq!(manifest.minor(&"near-v6".parse().unwrap()), 3);
    let judge = |registry: &Registry| {
        registry
            .admit(&kho_compat::policy::SemverRange, manifest.clone())
            .is_ok()
    };
    assert!(judge(&registry));
    // An addition may be ignored.
    static NEAR_6: Component =
        Component::new("near", &[Generation::new(6)]).carried_in(Carrier::FileHandler);
    assert!(judge(&self::registry(&["near"], &[&NEAR_6])));
    assert!(!judge(&self::registry(&["near"], &[&NEAR_1])));
}

static NEAR_1: Component =
    Component::new("near", &[Generation::new(1)]).carried_in(Carrier::FileHandler);
