//! Versions that meet: `vmalloc-v2` under memfd, which contains its descriptor, and under a component that points to
//! one; each with old and new writers and readers.
#![cfg(feature = "experimental-v3")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use kho_compat::{Announced, Registry, Side, Strings, Writing, policy};
use kho_core::{Attached, Entry, Handover, Kho, KhoConfig, KhoError, OpenOptions};
use kho_golden::journal::{JOURNAL, Journal, Journals};
use kho_luo::{Handlers, Incoming, Luo, Orchestrator};
use kho_mem::{Arena, ArenaConfig, Handed, Link, PhysAddr};
use kho_memfd::{Format, MemFile, Memfd, MemfdHandler, v2, v3};
use kho_radix::{Claims, Preserved, Reading};
use kho_testkit::{Builder, MemfdSpec, prop};
use zerocopy::{FromBytes, IntoBytes};

/// The linked components and the one that points.
fn old() -> Registry {
    let linked = Registry::linked().unwrap().components();
    Registry::new(linked.chain([&JOURNAL])).unwrap()
}

/// With version 2 of vmalloc, and version 3 of memfd, which contains it.
fn new() -> Registry {
    let vmalloc = kho_vmalloc::v2::VERSION;
    let registry = old().with_experiment("vmalloc", vmalloc).unwrap();
    registry.with_experiment("memfd", v3::VERSION).unwrap()
}

fn handlers() -> Handlers {
    Handlers::new().with(MemfdHandler).with(Journals)
}

fn kho(dialect: Writing, side: &Side) -> Result<Kho, KhoError> {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 16 << 20)).unwrap();
    Kho::new(arena, &KhoConfig::new().writing(dialect).side(side.clone()))
}

/// 3 MiB, so that the list of folios of a sparse file and the text fill more than a chunk.
fn text() -> Vec<u8> {
    (0..3u32 << 20).map(|n| (n >> 7).to_le_bytes()[0]).collect()
}

const SPARSE: u64 = 200_000 * 4096;

/// The handover of `side`: an empty file, a small one, one of many records; a text of many pages.
fn written(dialect: Writing, side: &Side) -> (Handed, Entry) {
    let kho = kho(dialect, side).unwrap();
    let files = [(); 3].map(|()| Arc::new(MemFile::new(kho.arena())));
    files[1].write_at(5000, b"behind a hole").unwrap();
    files[1].set_pos(7).unwrap();
    files[2].write_at(SPARSE, b"far out").unwrap();
    let luo = Orchestrator::new(kho, handlers(), 0).unwrap();
    let session = luo.create_session("vm").unwrap();
    for (token, file) in (0..).zip(&files) {
        session.preserve(token, file.clone()).unwrap();
    }
    session.preserve(9, Arc::new(Journal(text()))).unwrap();
    let frozen = luo.freeze().unwrap();
    drop((session, luo));
    let (arena, entry) = frozen.hand_over().unwrap();
    (arena.into_handed().unwrap(), entry)
}

/// Takes it over by `registry`, and compares all of it. Returns the version of memfd and that of vmalloc under the
/// component that points to it.
fn upgrade((handed, entry): (Handed, Entry), registry: &Registry) -> (u32, u32) {
    let attached = Attached::open(handed, OpenOptions::new(entry).registry(registry)).unwrap();
    let incoming = Incoming::take_over(attached, handlers(), registry).unwrap();
    let versions = ["memfd", "vmalloc"].map(|name| incoming.admitted().version_of(name).unwrap());
    let session = incoming.session("vm").unwrap();
    let files = [0, 1, 2].map(|token| session.retrieve::<MemFile>(token).unwrap());
    let sizes = files.each_ref().map(|file| file.size());
    assert_eq!(sizes, [0, 5013, SPARSE + 7]);
    assert_eq!(files[1].pos(), 7);
    let mut bytes = [0; 16];
    files[1].read_at(4997, &mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\0\0behind a hole");
    files[2].read_at(SPARSE - 9, &mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\0\0\0\0\0\0\0\0far out");
    let journal = session.retrieve::<Journal>(9).unwrap();
    assert!(journal.0 == text());
    let arena = incoming.finish().unwrap();
    drop((session, files, incoming));
    assert_eq!(arena.free_pages(), 4096, "not a page is lost");
    versions.into()
}

/// Refuses it by `registry`. Nothing of it is restored then, and its writer takes it back.
fn refused(handed: Handed, entry: Entry, registry: &Registry) -> String {
    let open = OpenOptions::new(entry).registry(registry);
    let (handed, error) = match Attached::open(handed, open) {
        Err(failed) => (failed.returned, failed.error.to_string()),
        Ok(attached) => {
            let failed = Incoming::take_over(attached, handlers(), registry).unwrap_err();
            (failed.returned.into_handed(), failed.error.to_string())
        }
    };
    assert_eq!(upgrade((handed, entry), &new()), (3, 2));
    error
}

const SAYING: [Writing; 3] = [
    Writing::COMPOSITE,
    Writing::COMPOSITE_DIRECT,
    Writing::TABLE,
];

#[test]
fn the_experiments_are_on_for_whoever_asks() {
    let (old, new) = (old(), new());
    assert_eq!(old.restorable_text("memfd"), "memfd-v2");
    assert_eq!(new.restorable_text("memfd"), "memfd-v2 or memfd-v3");
    for (registry, memfd, journal) in [
        (&old, "memfd-v2;vmalloc-v1", "journal-v1;vmalloc-v1"),
        (&new, "memfd-v3;vmalloc-v2", "journal-v1;vmalloc-v2"),
    ] {
        let compat = |name| registry.compat(name, Strings::Transitive).unwrap();
        assert_eq!(compat("memfd").to_string(), memfd);
        assert_eq!(compat("journal").to_string(), journal);
    }
    let versions = Format::ALL
        .iter()
        .map(|format| (format.version(), format.area().version()));
    assert_eq!(versions.collect::<Vec<_>>(), [(2, 1), (3, 2)]);
    assert_eq!((Format::of(3), Format::of(4)), (Some(Format::V3), None));
}

#[test]
fn a_state_reads_as_what_it_says() {
    let bytes: Vec<u8> = (0..56).collect();
    let new = v3::MemfdSer::ref_from_bytes(&bytes).unwrap();
    let (old, _) = v2::MemfdSer::ref_from_prefix(&bytes).unwrap();
    assert_eq!(new.nr_folios.get(), old.nr_folios.get());
    assert_eq!(new.folios.first.get(), old.folios.first.get());
    assert_eq!(new.folios.nr_chunks.as_bytes(), &bytes[48..]);
}

#[test]
fn writers_are_read_by_readers_of_their_version_and_by_newer_ones() {
    let (old, new) = (old(), new());
    for dialect in Writing::ALL {
        assert_eq!(upgrade(written(dialect, old.side()), &old), (2, 1));
        assert_eq!(upgrade(written(dialect, old.side()), &new), (2, 1));
    }
    for dialect in SAYING {
        assert_eq!(upgrade(written(dialect, new.side()), &new), (3, 2));
    }
}

#[test]
fn the_newest_common_version_is_the_old_one() {
    let (old, new) = (old(), new());
    let common = new.side().newest_common(old.side());
    for dialect in Writing::ALL {
        assert_eq!(upgrade(written(dialect, &common), &old), (2, 1));
    }
}

#[test]
fn an_old_reader_refuses_before_anything_is_restored() {
    let (old, new) = (old(), new());
    for dialect in SAYING {
        let (handed, entry) = written(dialect, new.side());
        // All of it as it stands, whatever opening refuses first.
        let handover = Handover::open(&handed, OpenOptions::new(entry).registry(&new)).unwrap();
        let mut reading = handover.reading().unwrap();
        let (manifest, _) = kho_luo::survey(&handover, &mut reading, &new).unwrap();
        let refusal = old.admit(&policy::SemverRange, manifest).unwrap_err();
        let found: Vec<_> = refusal
            .verdict()
            .rejected()
            .map(ToString::to_string)
            .collect();
        let found = found.join("\n");
        for token in ["vmalloc-v2", "memfd-v3"] {
            assert!(found.contains(token), "{dialect}: {found}");
        }
        let error = refused(handed, entry, &old);
        assert!(error.contains("vmalloc-v2"), "{dialect}: {error}");
    }
}

#[test]
fn bytes_of_the_other_version_are_never_taken_for_a_file() {
    // The state of a file as it is read by its string, and as the other version.
    let (old, new) = (old(), new());
    let read = |side: &Side, announced: &str| {
        let (handed, entry) = written(Writing::COMPOSITE, side);
        let handover = Handover::open(&handed, OpenOptions::new(entry).registry(&new)).unwrap();
        let mut reading = handover.reading().unwrap();
        let luo = Luo::read(&handover, &mut reading, &new).unwrap().unwrap();
        let files = luo.body().unwrap().sessions()[0].files();
        let before = reading.claims().count();
        let memfd = reading.in_string(announced, |reading| Memfd::read(reading, &files[1]));
        assert!(memfd.is_ok() || reading.claims().count() == before);
        memfd
            .map(|memfd| memfd.size())
            .map_err(|damage| damage.to_string())
    };
    assert_eq!(read(old.side(), "memfd-v2;vmalloc-v1"), Ok(5013));
    assert_eq!(read(new.side(), "memfd-v3;vmalloc-v2"), Ok(5013));
    let error = read(old.side(), "memfd-v3;vmalloc-v2").unwrap_err();
    assert!(error.contains("nr_chunks does not agree"), "{error}");
    let error = read(new.side(), "memfd-v4;vmalloc-v2").unwrap_err();
    assert!(
        error.contains("found memfd-v4, expected memfd-v2 and memfd-v3"),
        "{error}"
    );
    // All that version 2 has stands where it stood: the string alone says that there is more.
    assert_eq!(read(new.side(), "memfd-v2;vmalloc-v1"), Ok(5013));
}

/// What contains a descriptor is of one version with it: no other pair is written, and none is read.
#[test]
fn a_memfd_and_the_vmalloc_in_it_have_one_version() {
    let new = new();
    for (name, version, words) in [
        (
            "memfd",
            2,
            "memfd-v2 contains vmalloc-v1, and vmalloc-v2 is to be written",
        ),
        (
            "vmalloc",
            1,
            "memfd-v3 contains vmalloc-v2, and vmalloc-v1 is to be written",
        ),
    ] {
        let side = new.side().clone().writing(name, version).unwrap();
        let kho = kho(Writing::COMPOSITE, &side).unwrap();
        let file = Arc::new(MemFile::new(kho.arena()));
        let luo = Orchestrator::new(kho, handlers(), 0).unwrap();
        let session = luo.create_session("vm").unwrap();
        // Who points to one does not mind.
        session.preserve(9, Arc::new(Journal(text()))).unwrap();
        let error = session.preserve(1, file).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    // Strings that say so are well-formed, and each of their versions is restorable.
    for (found, words) in [
        (
            "memfd-v2;vmalloc-v2",
            "found vmalloc-v2, expected vmalloc-v1, which memfd-v2 contains",
        ),
        (
            "memfd-v3;vmalloc-v1",
            "found vmalloc-v1, expected vmalloc-v2, which memfd-v3 contains",
        ),
    ] {
        let mut b = Builder::new();
        let data = b.memfd(&MemfdSpec::new(vec![1; 100]));
        b.session(b"vm", &[Builder::file(found, data, 1)]);
        let built = b.finish();
        let entry = Entry::new(PhysAddr::new(built.fdt));
        let handover = Handover::open(&built.mem, OpenOptions::new(entry).registry(&new)).unwrap();
        let mut reading = handover.reading().unwrap();
        let (manifest, luo) = kho_luo::survey(&handover, &mut reading, &new).unwrap();
        let admitted = new.admit(&policy::SemverRange, manifest).unwrap();
        let luo = luo.unwrap();
        let session = luo.restore(&admitted).unwrap().get(b"vm").unwrap();
        let file = session.file(1).unwrap();
        let error = Memfd::restore(&mut reading.admitted(&admitted), &file)
            .err()
            .unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_version_that_would_not_be_said_is_not_written() {
    for dialect in [Writing::PLAIN, Writing::FEATURES] {
        let error = kho(dialect, new().side()).map(|_| ()).unwrap_err();
        let message = format!("vmalloc-v2 can not be said in the {dialect} dialect");
        assert_eq!(error.to_string(), message);
    }
    // Nor one without the other.
    let memfd = old().with_experiment("memfd", v3::VERSION).unwrap();
    let kho = kho(Writing::COMPOSITE, memfd.side()).unwrap();
    let file = Arc::new(MemFile::new(kho.arena()));
    let luo = Orchestrator::new(kho, handlers(), 0).unwrap();
    let session = luo.create_session("vm").unwrap();
    let error = session.preserve(1, file).unwrap_err().to_string();
    assert!(error.contains("vmalloc-v1 is to be written"), "{error}");
}

/// Every value of every byte of a state: a memfd or damage, and nothing claimed then.
#[test]
fn no_byte_of_a_state_can_make_its_reader_panic() {
    let mut b = Builder::new();
    b.vmalloc_version = 2;
    let data = b.memfd(&MemfdSpec::new(vec![1; 10_000]));
    let mut built = b.finish();
    let tracker = built
        .mem
        .u64(prop(&built.mem, built.fdt, "", "preserved-memory-map"));
    let preserved = Preserved::read(&built.mem, Link::given(PhysAddr::new(tracker), "root"));
    let preserved = preserved.unwrap();
    let announced = Announced::default().in_string("memfd-v3;vmalloc-v2");
    let mut counts = [(0, 0); 56];
    for (at, (good, bad)) in (data..).zip(&mut counts) {
        let before = built.mem.read(at, 1)[0];
        for value in 0..=255 {
            built.mem.write(at, &[value]);
            let reading = Reading::new(&built.mem, Claims::new(&preserved));
            let mut reading = reading.with(announced.clone());
            let link = Link::given(PhysAddr::new(data), "state");
            match Memfd::read_at(&mut reading, link) {
                Ok(_) => *good += 1,
                Err(_) => {
                    assert_eq!(reading.claims().count(), 0, "all or none");
                    *bad += 1;
                }
            }
        }
        built.mem.write(at, &[before]);
    }
    // The count of chunks: as it was, and nothing else.
    assert!(
        counts[48..].iter().all(|count| *count == (1, 255)),
        "{counts:?}"
    );
    // A position is any below 2^63, seals are six bits.
    assert_eq!(
        (counts[0], counts[7], counts[16]),
        ((256, 0), (128, 128), (64, 192))
    );
}
