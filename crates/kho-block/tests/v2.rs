//! Version 2 of the format: bytes written by hand, versions that meet, and headers that lie.
#![cfg(feature = "experimental-v2")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use kho_block::{BlockSet, Format, OutgoingBlockSet, v2};
use kho_compat::{
    Admitted, Carrier, Component, Generation, Manifest, Place, Registry, Writing, policy,
};
use kho_core::{Attached, Entry, Handover, Kho, KhoConfig, KhoError, OpenOptions};
use kho_mem::{Arena, ArenaConfig, Damage, Defect, Link, PhysAddr, PhysMemExt};
use kho_testkit::{Builder, Built};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

/// The linked components, with version 2 of the blocks.
fn newer() -> Registry {
    let linked = Registry::linked().unwrap();
    linked.with_experiment("block", v2::VERSION).unwrap()
}

#[rustfmt::skip]
const HEADER: [u8; 24] = [
    0x00, 0x20, 0xfb, 0x01, 0x00, 0x00, 0x00, 0x00, // next: the block at 0x1fb2000
    0x32, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // count: 50
    0x50, 0x00, 0x00, 0x00,                         // entry_size: 80
    0x00, 0x00, 0x00, 0x00,                         // reserved
];

#[test]
fn a_header_reads_as_what_it_says() {
    let header = v2::BlockHeader::ref_from_bytes(&HEADER).unwrap();
    assert_eq!((header.next.get(), header.count.get()), (0x1fb_2000, 50));
    assert_eq!((header.entry_size.get(), header.reserved.get()), (80, 0));
    assert_eq!(header.as_bytes(), HEADER);
}

#[test]
fn entries_per_block_are_as_the_format_says() {
    for (size, first, second) in [
        (80, 51, 50),
        (64, 63, 63),
        (8, 510, 509),
        (4072, 1, 1),
        (4073, 1, 0),
        (4081, 0, 0),
        (0, 0, 0),
    ] {
        let counts = Format::ALL
            .iter()
            .map(|format| format.count_per_block(size));
        assert_eq!(counts.collect::<Vec<_>>(), [first, second], "{size}");
    }
    let versions: Vec<_> = Format::ALL.iter().map(|format| format.version()).collect();
    assert_eq!(versions, [1, 2]);
    assert_eq!(
        (Format::of(2), Format::of(3), Format::of(0)),
        (Some(Format::V2), None, None)
    );
    assert_eq!(Format::default(), Format::V1);
}

#[test]
fn it_is_registered_by_nobody_but_who_asks_for_it() {
    let linked = Registry::linked().unwrap();
    assert_eq!(linked.restorable_text("block"), "block-v1");
    let newer = newer();
    assert_eq!(newer.restorable_text("block"), "block-v1 or block-v2");
    let written = newer.side().newest_common(linked.side());
    assert_eq!(written.get("block").unwrap().version, 1);
    assert_eq!(
        newer
            .side()
            .newest_common(newer.side())
            .get("block")
            .unwrap()
            .version,
        2
    );
}

#[rustfmt::skip]
const FIRST: [u8; 24] = [
    0x00, 0x80, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, // next: the block at 0x10008000
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // count: 2, as many as fit
    0xf4, 0x07, 0x00, 0x00,                         // entry_size: 2036
    0x00, 0x00, 0x00, 0x00,                         // reserved
];

#[rustfmt::skip]
const SECOND: [u8; 24] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // next: none
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // count: 1
    0xf4, 0x07, 0x00, 0x00,                         // entry_size: 2036
    0x00, 0x00, 0x00, 0x00,                         // reserved
];

fn kho(dialect: Writing) -> Result<Kho, KhoError> {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20)).unwrap();
    let config = KhoConfig::new()
        .writing(dialect)
        .side(newer().side().clone());
    Kho::new(arena, &config)
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let kho = kho(Writing::TABLE).unwrap();
    let format = Format::written_by(&kho).unwrap();
    assert_eq!(format, Format::V2);
    // Entries of 2036 bytes: two fill a block to its last byte.
    let mut set =
        OutgoingBlockSet::<[u8; 2036]>::with_format(kho.preserver().clone(), format).unwrap();
    set.grow(3).unwrap();
    for byte in [0x11, 0x22, 0x33] {
        set.reserve_entry().unwrap().fill(byte);
    }
    let (head, page) = (set.head(), |mem: &dyn kho_mem::PhysMem, at| {
        mem.bytes(PhysAddr::new(at), 4096).unwrap().into_owned()
    });
    let second = head.get() + 0x1000;
    set.hand_over();
    let handed = kho.hand_over().unwrap().into_handed().unwrap();
    let mut first = FIRST;
    first[..8].copy_from_slice(&second.to_le_bytes());
    let block =
        |header: [u8; 24], one: u8, two: u8| [&header[..], &[one; 2036], &[two; 2036]].concat();
    assert_eq!(page(&handed, head.get()), block(first, 0x11, 0x22));
    assert_eq!(page(&handed, second), block(SECOND, 0x33, 0));
}

#[test]
fn entries_that_leave_leave_nothing_behind() {
    let kho = kho(Writing::TABLE).unwrap();
    let mut set =
        OutgoingBlockSet::<[u8; 2036]>::with_format(kho.preserver().clone(), Format::V2).unwrap();
    set.grow(3).unwrap();
    for byte in [0x11, 0x22, 0x33] {
        set.reserve_entry().unwrap().fill(byte);
    }
    let head = set.head();
    while set.prev().is_some() {}
    assert_eq!((set.len(), set.blocks(), set.capacity()), (0, 2, 4));
    set.hand_over();
    let handed = kho.hand_over().unwrap().into_handed().unwrap();
    for at in [head.get(), head.get() + 0x1000] {
        let page = handed.bytes(PhysAddr::new(at), 4096).unwrap();
        assert!(page.iter().all(|byte| *byte == 0), "{at:#x}");
    }
}

#[test]
fn it_is_not_written_where_it_would_not_be_said() {
    for dialect in [Writing::PLAIN, Writing::FEATURES] {
        let error = kho(dialect).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("block-v2 can not be said in the {dialect} dialect")
        );
    }
    // No version that nobody knows, and none of a side without blocks.
    static NINE: Component = Component::new("block", &[Generation::new(9)]);
    let linked = Registry::linked().unwrap().components();
    let others: Vec<_> = linked
        .filter(|component| component.name != "block")
        .collect();
    let with = |more: &[&'static Component]| {
        let all = others
            .iter()
            .copied()
            .filter(|c| more.len() == 1 || !c.written().listed().any(|(need, _)| need == "block"));
        let side = Registry::new(all.chain(more.iter().copied()))
            .unwrap()
            .side()
            .clone();
        let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20)).unwrap();
        let config = KhoConfig::new().writing(Writing::TABLE).side(side);
        Format::written_by(&Kho::new(arena, &config).unwrap())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        with(&[&NINE]),
        "block-v9 can not be written here, where version 2 is"
    );
    assert_eq!(with(&[]), "no linked crate registers a component `block`");
}

/// A set of numbers in blocks of `version`, in a handover that `more` is added to.
fn built(version: u32, len: u64, more: impl FnOnce(&mut Builder)) -> (Built, PhysAddr) {
    let mut b = Builder::new();
    b.block_version = version;
    let entries: Vec<[u8; 8]> = (0..len).map(|n| (n * 7 + 1).to_le_bytes()).collect();
    let head = b.blocks(&entries);
    more(&mut b);
    (b.finish(), PhysAddr::new(head))
}

fn open(built: &Built) -> Handover<'_> {
    Handover::open(&built.mem, Entry::new(PhysAddr::new(built.fdt))).unwrap()
}

fn read(built: &Built, head: PhysAddr, format: Format) -> Result<Vec<u64>, Damage> {
    let handover = open(built);
    let mut reading = handover.reading().unwrap();
    let claimed = reading.claims().count();
    let set = reading.in_string(&format!("block-v{}", format.version()), |reading| {
        BlockSet::<U64>::read(reading, Link::given(head, "set"))
    });
    if set.is_err() {
        assert_eq!(reading.claims().count(), claimed, "all or none");
    }
    let set = set?;
    assert_eq!(set.format(), format);
    let all: Vec<_> = set.iter().map(|entry| entry.unwrap()).collect();
    for (index, entry) in all.iter().enumerate() {
        assert_eq!(set.get(index as u64).unwrap().unwrap(), *entry);
    }
    assert!(set.get(all.len() as u64).is_none());
    Ok(all.iter().map(|value| value.get()).collect())
}

#[test]
fn sets_of_every_length_read_back_in_order() {
    for len in [0u64, 1, 508, 509, 510, 1018, 1019] {
        let (built, head) = built(2, len, |_| {});
        let values: Vec<_> = (0..len).map(|n| n * 7 + 1).collect();
        assert_eq!(read(&built, head, Format::V2).unwrap(), values);
    }
}

#[test]
fn a_header_that_lies_is_damage() {
    // Two blocks: 509 entries and 1.
    type Case = (u64, &'static [u8], Defect, &'static str);
    #[rustfmt::skip]
    let cases: &[Case] = &[
        (
            16,
            &[0; 4],
            Defect::BadValue,
            "entry_size has an impossible value",
        ),
        (16, &[7, 0, 0, 0], Defect::BadValue, "found 7 bytes, expected 8 bytes"),
        (16, &[9, 0, 0, 0], Defect::BadValue, "found 9 bytes, expected 8 bytes"),
        (16, &[8, 0, 0, 0x80], Defect::BadValue, "found 2147483656 bytes"),
        (16, &[0xff; 4], Defect::BadValue, "found 4294967295 bytes"),
        (20, &[1, 0, 0, 0], Defect::BadValue, "reserved has an impossible value"),
        (20, &[0, 0, 0, 0x80], Defect::BadValue, "found 0x80000000, expected 0"),
        (8, &[0; 8], Defect::BadCount, "found 0"),
        (8, &[0xfe, 1, 0, 0, 0, 0, 0, 0], Defect::BadCount, "found 510"),
        (
            8,
            &[0xff; 8],
            Defect::BadCount,
            "found 18446744073709551615",
        ),
    ];
    for block in [0, 1] {
        for (offset, bytes, defect, text) in cases {
            let (mut built, head) = built(2, 510, |_| {});
            let first = head.get();
            let pa = if block == 0 {
                first
            } else {
                built.mem.u64(first)
            };
            built.mem.write(pa + offset, bytes);
            let damage = read(&built, head, Format::V2).unwrap_err();
            assert_eq!(damage.defect(), *defect, "{damage}");
            assert_eq!(damage.at().get(), pa + offset, "{damage}");
            let place = format!("set: block {block}: ");
            assert!(damage.to_string().starts_with(&place), "{damage}");
            assert!(damage.to_string().contains(text), "{damage}");
        }
    }
    // Taken for the other version, either is damaged: what is said of it must be said.
    let (one, head) = built(1, 510, |_| {});
    read(&one, head, Format::V2).unwrap_err();
    let (two, head) = built(2, 510, |_| {});
    read(&two, head, Format::V1).unwrap_err();
}

/// Every value of every byte of a header: a set or damage.
#[test]
fn no_byte_of_a_header_can_make_its_reader_panic() {
    let (mut built, head) = built(2, 3, |_| {});
    let (mut good, mut bad) = (0, 0);
    for at in 0..24 {
        let before = built.mem.read(head.get() + at, 1)[0];
        for value in 0..=255 {
            built.mem.write(head.get() + at, &[value]);
            match read(&built, head, Format::V2) {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
        }
        built.mem.write(head.get() + at, &[before]);
    }
    // Every byte as it was, the counts up to 255 but for 3, and 259.
    assert_eq!((good, bad), (24 + 254 + 1, 24 * 256 - 279));
}

fn admit(handover: &Handover<'_>, registry: &Registry, luo: &str) -> Option<Admitted> {
    let mut manifest = Manifest::new();
    handover.add_to(&mut manifest);
    if !luo.is_empty() {
        manifest.add(Carrier::Luo, luo, Place::default());
    }
    registry.admit(&policy::SemverRange, manifest).ok()
}

static LUO: Component =
    Component::new("luo", &[Generation::new(5).needs(&[("block", 1)])]).carried_in(Carrier::Luo);

#[test]
fn a_set_is_restored_as_the_version_that_was_handed_over() {
    let linked = Registry::linked().unwrap().components();
    let old = Registry::new(linked.chain([&LUO])).unwrap();
    let new = old.with_experiment("block", v2::VERSION).unwrap();
    // What says the version: the table or the string of who uses the blocks.
    let nothing = |_: &mut Builder| {};
    type More = fn(&mut Builder);
    let table: [More; 2] = [|b| b.table("block", 1, 0), |b| b.table("block", 2, 0)];
    let cases: [(u32, More, &str); 5] = [
        (1, nothing, "luo-v5"),
        (1, nothing, "luo-v5;block-v1"),
        (1, table[0], "luo-v5"),
        (2, nothing, "luo-v5;block-v2"),
        (2, table[1], "luo-v5"),
    ];
    for (version, more, luo) in cases {
        let (built, head) = built(version, 600, more);
        let handover = open(&built);
        let format = Format::announced(&handover.announced().in_string(luo)).unwrap();
        assert_eq!(format.version(), version);
        for (registry, restores) in [(&new, true), (&old, version == 1)] {
            let admitted = admit(&handover, registry, luo);
            assert_eq!(admitted.is_some(), restores, "block-v{version} {luo}");
            let Some(admitted) = admitted else { continue };
            let head = Link::given(head, "set");
            let mut reading = handover.reading().unwrap();
            let set = reading.in_string(luo, |reading| {
                BlockSet::<U64>::restore(&mut reading.admitted(&admitted), head)
            });
            assert_eq!(set.unwrap().len(), 600);
            let mut reading = handover.reading().unwrap();
            let set = BlockSet::<U64>::restore(&mut reading.admitted(&admitted), head);
            assert_eq!(set.unwrap().format(), format, "found without its string");
        }
    }
    // A verdict on one version does not open the other.
    let (built, head) = built(2, 600, nothing);
    let handover = open(&built);
    let mut reading = handover.reading().unwrap();
    let mut restore = |judged: &str, announced: &str| {
        let admitted = admit(&handover, &new, judged).unwrap();
        let set = reading.in_string(announced, |reading| {
            let head = Link::given(head, "set");
            BlockSet::<U64>::restore(&mut reading.admitted(&admitted), head)
        });
        set.unwrap_err().to_string()
    };
    assert_eq!(
        restore("luo-v5;block-v1", "luo-v5;block-v2"),
        "block-v2 was not admitted: the verdict covers block-v1"
    );
    assert_eq!(
        restore("luo-v5;block-v2", "luo-v5;block-v1"),
        "block-v1 was not admitted: the verdict covers block-v2"
    );
    // Nor is a set read as a version that is not known here.
    let damage = handover
        .reading()
        .unwrap()
        .in_string("block-v3", |reading| {
            BlockSet::<U64>::read(reading, Link::given(head, "set")).unwrap_err()
        });
    assert_eq!(
        damage.to_string(),
        format!(
            "set: version of its blocks has an impossible value at {head}: found block-v3, expected block-v1 or block-v2"
        )
    );
    let error = Format::announced(&handover.announced().in_string("luo-v5;block-v3"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "no code here reads the layout of block-v3: expected block-v1 or block-v2"
    );
}

/// A subtree of one's own whose set is written as the handover says, and read in place.
#[test]
fn what_is_made_by_the_table_is_read_by_the_table() {
    let kho = kho(Writing::TABLE).unwrap();
    kho.announce(&["block"]).unwrap();
    let format = Format::written_by(&kho).unwrap();
    let mut set = OutgoingBlockSet::<U64>::with_format(kho.preserver().clone(), format).unwrap();
    set.grow(1200).unwrap();
    (0..1200).for_each(|value| set.reserve_entry().unwrap().set(value));
    assert_eq!((set.blocks(), set.format()), (3, Format::V2));
    let head = set.head();
    set.hand_over();
    let entry = kho.entry();
    let handed = kho.hand_over().unwrap().into_handed().unwrap();
    let newer = newer();
    let attached = Attached::open(handed, OpenOptions::new(entry).registry(&newer)).unwrap();
    let handover = attached.handover();
    let admitted = admit(&handover, &newer, "").unwrap();
    let mut reading = handover.reading().unwrap();
    let head = Link::given(head, "set");
    let set = BlockSet::<U64>::restore(&mut reading.admitted(&admitted), head).unwrap();
    assert!((0..1200).eq(set.iter().map(|entry| entry.unwrap().get())));
    assert!(admit(&handover, Registry::linked().unwrap(), "").is_none());
}

#[test]
fn an_entry_may_fill_a_block_of_version_1_alone() {
    let preserver = || {
        let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20));
        kho_radix::Preserver::new(arena.unwrap()).unwrap()
    };
    let mut set = OutgoingBlockSet::<[u8; 4080]>::with_format(preserver(), Format::V1).unwrap();
    set.grow(2).unwrap();
    set.reserve_entry().unwrap().fill(7);
    let error = OutgoingBlockSet::<[u8; 4073]>::with_format(preserver(), Format::V2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid entry of 4073 bytes: expected at most 4072 in a block of block-v2"
    );
    assert!(OutgoingBlockSet::<[u8; 4072]>::with_format(preserver(), Format::V2).is_ok());
}
