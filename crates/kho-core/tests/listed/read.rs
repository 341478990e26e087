//! Lists of hand-made bytes, written and read.

use super::*;

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
    assert_eq!(page_of(&kho(Writing::TABLE)), page(TABLE));
    assert_eq!(page_of(&kho(Writing::FEATURES)), page(FEATURES));
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
        (manifest.writing(), manifest.listed("kho")),
        (Writing::TABLE, Some(4))
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
    assert_eq!(manifest.writing(), Writing::FEATURES);
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
