//! Bytes written by hand from the format's description, and what they must read as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use kho_core::metadata::v1::KexecMetadata;
use kho_core::v4::{KhoData, ScratchEntry, SetupData};
use kho_core::{RootFdt, ScratchTable};
use kho_mem::{PhysAddr, SliceMem};
use kho_testkit::Random;
use zerocopy::{FromBytes, IntoBytes};

#[rustfmt::skip]
const SETUP: [u8; 48] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // next: none
    0x0a, 0x00, 0x00, 0x00,                         // type: 10, KHO
    0x20, 0x00, 0x00, 0x00,                         // len: 32
    0x00, 0xc0, 0xdc, 0x01, 0x00, 0x00, 0x00, 0x00, // fdt_addr: 0x1dcc000
    0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // fdt_size: a page
    0x00, 0x00, 0x3f, 0x0f, 0x00, 0x00, 0x00, 0x00, // scratch_addr: 0xf3f0000
    0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // scratch_size: three entries
];

#[test]
fn a_setup_data_node_reads_as_what_it_says() {
    let (head, data) = SetupData::ref_from_prefix(&SETUP).unwrap();
    assert_eq!(
        (head.next.get(), head.r#type.get(), head.len.get()),
        (0, 10, 32)
    );
    let data = KhoData::ref_from_bytes(data).unwrap();
    assert_eq!(
        (data.fdt_addr.get(), data.fdt_size.get()),
        (0x1dc_c000, 4096)
    );
    assert_eq!(
        (data.scratch_addr.get(), data.scratch_size.get()),
        (0xf3f_0000, 48)
    );
}

#[rustfmt::skip]
const METADATA: [u8; 73] = [
    0x01, 0x00, 0x00, 0x00,                         // version: 1
    b'7', b'.', b'3', b'.', b'4', 0x00,             // previous_release, 65 bytes
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0x02, 0x01, 0x00, 0x00,                         // kexec_count: 258, at byte 69: not aligned
];

#[test]
fn kexec_metadata_reads_as_what_it_says() {
    let data = KexecMetadata::ref_from_bytes(&METADATA).unwrap();
    assert_eq!(data.version.get(), 1);
    assert_eq!(&data.previous_release[..6], b"7.3.4\0");
    assert_eq!(data.kexec_count.get(), 258);
    assert_eq!(data.as_bytes(), METADATA);
}

#[rustfmt::skip]
const SCRATCH: [u8; 48] = [
    0x00, 0x00, 0xc0, 0x0c, 0x00, 0x00, 0x00, 0x00, // addr: 204 MiB
    0x00, 0x00, 0x80, 0x02, 0x00, 0x00, 0x00, 0x00, // size: 40 MiB, low memory
    0x00, 0x00, 0xc0, 0x0c, 0x00, 0x00, 0x00, 0x00, // addr
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // size: 0, global
    0x00, 0x00, 0x40, 0x05, 0x00, 0x00, 0x00, 0x00, // addr: 84 MiB
    0x00, 0x00, 0x80, 0x07, 0x00, 0x00, 0x00, 0x00, // size: 120 MiB, node 0
];

#[test]
fn a_scratch_table_reads_as_what_it_says() {
    let entries = <[ScratchEntry]>::ref_from_bytes(&SCRATCH).unwrap();
    assert_eq!(entries[2].size.get(), 120 << 20);
    let mem = SliceMem::new(PhysAddr::new(0x1000), &SCRATCH);
    let table = ScratchTable::read(&mem, PhysAddr::new(0x1000), 48).unwrap();
    let areas: Vec<_> = table
        .areas()
        .iter()
        .map(|a| (a.start().get(), a.len()))
        .collect();
    assert_eq!(
        areas,
        [
            (0xcc0_0000, 40 << 20),
            (0xcc0_0000, 0),
            (0x540_0000, 120 << 20)
        ]
    );
    for (size, message) in [
        (0, "impossible size"),
        (47, "impossible size"),
        (64, "outside memory"),
        (1 << 40, "impossible size"),
    ] {
        let error = ScratchTable::read(&mem, PhysAddr::new(0x1000), size)
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{size}: {error}");
    }
}

/// A root FDT, token by token: what a kernel without any subtree but LUO's would hand over.
#[rustfmt::skip]
fn fdt() -> Vec<u8> {
    const FDT: &[u8] = &[
        // Header, big-endian as the device tree specification has it.
        0xd0, 0x0d, 0xfe, 0xed, // magic
        0x00, 0x00, 0x00, 0xe9, // totalsize: 233
        0x00, 0x00, 0x00, 0x38, // off_dt_struct: 56
        0x00, 0x00, 0x00, 0xb0, // off_dt_strings: 176
        0x00, 0x00, 0x00, 0x28, // off_mem_rsvmap: 40
        0x00, 0x00, 0x00, 0x11, // version: 17
        0x00, 0x00, 0x00, 0x10, // last_comp_version: 16
        0x00, 0x00, 0x00, 0x00, // boot_cpuid_phys
        0x00, 0x00, 0x00, 0x39, // size_dt_strings: 57
        0x00, 0x00, 0x00, 0x78, // size_dt_struct: 120
        // Memory reservation map: its end.
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        // Structure, from byte 56 on.
        0, 0, 0, 1, 0, 0, 0, 0,                                     // BEGIN_NODE, ""
        0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0x15,                      // PROP, 7 bytes, "compatible"
        b'k', b'h', b'o', b'-', b'v', b'4', 0, 0,                   // "kho-v4", padded
        0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0,                         // PROP, 8 bytes, "preserved-memory-map"
        0x00, 0xb0, 0xdc, 0x01, 0, 0, 0, 0,                         // 0x1dcb000, little-endian
        0, 0, 0, 1, b'L', b'U', b'O', 0,                            // BEGIN_NODE, "LUO"
        0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0x20,                      // PROP, 8 bytes, "preserved-data"
        0x00, 0x80, 0xed, 0x01, 0, 0, 0, 0,                         // 0x1ed8000
        0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0x2f,                      // PROP, 8 bytes, "blob-size"
        0x20, 0, 0, 0, 0, 0, 0, 0,                                  // 32
        0, 0, 0, 4,                                                 // NOP
        0, 0, 0, 2,                                                 // END_NODE
        0, 0, 0, 4, 0, 0, 0, 4,                                     // NOP, NOP
        0, 0, 0, 2,                                                 // END_NODE
        0, 0, 0, 9,                                                 // END
    ];
    let mut out = FDT.to_vec();
    // Strings, from byte 176 on: at 0, 0x15, 0x20 and 0x2f.
    out.extend_from_slice(b"preserved-memory-map\0compatible\0preserved-data\0blob-size\0");
    out
}

#[test]
fn a_root_fdt_reads_as_what_it_says() {
    let mut page = fdt();
    assert_eq!(page.len(), 233);
    page.resize(4096, 0);
    let mem = SliceMem::new(PhysAddr::new(0x1000), &page);
    let root = RootFdt::read(&mem, PhysAddr::new(0x1000)).unwrap();
    assert_eq!(root.compatible(), "kho-v4");
    assert_eq!(root.tracker().unwrap().to, PhysAddr::new(0x1dc_b000));
    let subtrees = root.subtrees().unwrap();
    assert_eq!(subtrees.len(), 1);
    assert_eq!(
        (
            subtrees[0].name.as_str(),
            subtrees[0].addr.get(),
            subtrees[0].size
        ),
        ("LUO", 0x1ed_8000, 32)
    );
}

/// Every value of every byte of a small tree, and every length: an error or a tree, never a panic.
#[test]
fn no_byte_of_a_root_fdt_can_make_its_reader_panic() {
    let good = fdt();
    let mut page = good.clone();
    page.resize(4096, 0);
    let (mut read, mut refused) = (0, 0);
    for at in 0..good.len() {
        let before = page[at];
        for value in 0..=255 {
            page[at] = value;
            let mem = SliceMem::new(PhysAddr::new(0x1000), &page);
            match RootFdt::read(&mem, PhysAddr::new(0x1000)) {
                Ok(root) => {
                    let _ = (root.tracker(), root.subtrees());
                    read += 1;
                }
                Err(damage) => {
                    assert!(!damage.headline().is_empty());
                    refused += 1;
                }
            }
        }
        page[at] = before;
    }
    assert!(read > 0 && refused > 0);
    for len in 0..good.len() {
        let mem = SliceMem::new(PhysAddr::new(0x1000), &good[..len]);
        assert!(RootFdt::read(&mem, PhysAddr::new(0x1000)).is_err());
    }
}

/// A memblock FDT, token by token, with one region.
#[rustfmt::skip]
fn memblock() -> Vec<u8> {
    const FDT: &[u8] = &[
        0xd0, 0x0d, 0xfe, 0xed, // magic
        0x00, 0x00, 0x00, 0xc7, // totalsize: 199
        0x00, 0x00, 0x00, 0x38, // off_dt_struct: 56
        0x00, 0x00, 0x00, 0xb0, // off_dt_strings: 176
        0x00, 0x00, 0x00, 0x28, // off_mem_rsvmap: 40
        0x00, 0x00, 0x00, 0x11, // version: 17
        0x00, 0x00, 0x00, 0x10, // last_comp_version: 16
        0x00, 0x00, 0x00, 0x00, // boot_cpuid_phys
        0x00, 0x00, 0x00, 0x17, // size_dt_strings: 23
        0x00, 0x00, 0x00, 0x78, // size_dt_struct: 120
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // memory reservation map: its end
        0, 0, 0, 1, 0, 0, 0, 0,                         // BEGIN_NODE, ""
        0, 0, 0, 3, 0, 0, 0, 12, 0, 0, 0, 0,            // PROP, 12 bytes, "compatible"
        b'm', b'e', b'm', b'b', b'l', b'o', b'c', b'k', b'-', b'v', b'1', 0,
        0, 0, 0, 1, b'l', b'o', b'g', 0,                // BEGIN_NODE, "log": the user's name
        0, 0, 0, 3, 0, 0, 0, 15, 0, 0, 0, 0,            // PROP, 15 bytes, "compatible"
        b'r', b'e', b's', b'e', b'r', b'v', b'e', b'-', b'm', b'e', b'm', b'-', b'v', b'1', 0, 0,
        0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 11,            // PROP, 8 bytes, "start"
        0x00, 0x00, 0x00, 0x10, 0, 0, 0, 0,             // 0x10000000, little-endian
        0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 17,            // PROP, 8 bytes, "size"
        0x00, 0x20, 0x00, 0x00, 0, 0, 0, 0,             // 0x2000
        0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 9,             // END_NODE, END_NODE, END
    ];
    let mut out = FDT.to_vec();
    // Strings, at 0, 11 and 17; then one byte of padding.
    out.extend_from_slice(b"compatible\0start\0size\0\0");
    out
}

#[test]
fn a_memblock_fdt_reads_as_what_it_says() {
    use kho_core::{Entry, Handover, Memblock};
    let bytes = memblock();
    assert_eq!(bytes.len(), 56 + 120 + 23);
    let mut b = kho_testkit::Builder::new();
    // The builder's first folio of two pages lies at 0x10000000.
    assert_eq!(b.folio(1), 0x1000_0000);
    let pa = b.blob(&bytes);
    b.subtree("memblock", pa, bytes.len() as u64);
    let built = b.finish();
    let handover = Handover::open(&built.mem, Entry::new(PhysAddr::new(built.fdt))).unwrap();
    let mut reading = handover.reading().unwrap();
    let memblock = Memblock::read(&handover, &mut reading).unwrap().unwrap();
    assert_eq!(memblock.compatible(), "memblock-v1");
    let region = &memblock.regions()[0];
    assert_eq!(
        (region.name.as_str(), region.compatible.as_str()),
        ("log", "reserve-mem-v1")
    );
    let range = region.range.unwrap();
    assert_eq!(
        (range.start().get(), range.len(), region.preserved),
        (0x1000_0000, 0x2000, 0x2000)
    );
}

#[test]
fn a_property_behind_a_child_node_is_refused() {
    let mut page = fdt();
    // LUO's NOP and END_NODE change places with its second property, which becomes the root's.
    page[132..160].rotate_right(8);
    page.resize(4096, 0);
    let mem = SliceMem::new(PhysAddr::new(0x1000), &page);
    let error = RootFdt::read(&mem, PhysAddr::new(0x1000))
        .unwrap_err()
        .to_string();
    assert!(error.contains("token 0x3 at depth 1"), "{error}");
}

/// Several bytes altered at once, with tokens among the values: trees whose tokens are each valid
/// but out of order.
#[test]
fn no_order_of_tokens_can_make_a_reader_panic() {
    let mut b = kho_testkit::Builder::new();
    b.metadata(1, "7.3.4", 1);
    b.memblock("memblock-v1", &[("log", 4096), ("state", 8192)]);
    b.session_of("s", &[]);
    let built = b.finish();
    let page = built.mem.read(built.fdt, 4096);
    let total = u32::from_be_bytes(page[4..8].try_into().unwrap()) as usize;
    let mut random = Random(88_172_645_463_325_252);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..40_000 {
        let mut altered = page.clone();
        for _ in 0..=random.below(6) {
            let at = random.below(total - 32);
            match random.below(4) {
                0 => altered[at] = random.below(256) as u8,
                1 => {
                    let token = [1u32, 2, 3, 4, 9, 0, u32::MAX, i32::MAX as u32][random.below(8)];
                    altered[at & !3..][..4].copy_from_slice(&token.to_be_bytes());
                }
                2 => altered[at] = 0,
                _ => {
                    let from = random.below(total - 32);
                    let len = random.below(32);
                    altered[at..at + len].copy_from_slice(&page[from..from + len]);
                }
            }
        }
        let mem = SliceMem::new(PhysAddr::new(0x1000), &altered);
        match RootFdt::read(&mem, PhysAddr::new(0x1000)) {
            Ok(root) => {
                let _ = (root.tracker(), root.subtrees());
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(
        read > 1000 && refused > 1000,
        "{read} read, {refused} refused"
    );
}
