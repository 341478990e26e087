//! Handovers of 4, 16 and 64 KiB pages, built byte by byte: each reads as what it holds.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use std::io::Read;

use kho_compat::{Manifest, Registry, policy};
use kho_core::{Entry, Handover, Memblock};
use kho_luo::Luo;
use kho_mem::{Defect, PageSize, PhysAddr};
use kho_memfd::{Memfd, Piece};
use kho_testkit::{Builder, Built, MemfdSpec};

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at / 5 + seed) % 255) as u8 + 1)
        .collect()
}

/// Memfds of single pages, of larger folios, with a hole, and of no bytes.
fn specs(size: PageSize) -> Vec<MemfdSpec> {
    let page = size.len();
    let large = MemfdSpec {
        order: 2,
        seals: 6,
        pos: 17,
        ..MemfdSpec::new(pattern(2, 5 * page + 9))
    };
    let mut sparse = pattern(3, 3 * page);
    sparse[page..2 * page].fill(0);
    let sparse = MemfdSpec {
        holes: vec![1],
        ..MemfdSpec::new(sparse)
    };
    vec![
        MemfdSpec::new(pattern(1, 2 * page + 1)),
        large,
        sparse,
        MemfdSpec::new(Vec::new()),
    ]
}

fn built(size: PageSize, more: impl FnOnce(&mut Builder)) -> Built {
    let mut b = Builder::with_page(size.bytes());
    b.metadata(1, "7.3.4", 2);
    // The second region is no whole number of pages.
    b.memblock(
        "memblock-v1",
        &[("whole", 2 * size.bytes()), ("odd", size.bytes() + 0x800)],
    );
    b.session_of("memfds", &specs(size));
    // One more than a block holds, of 64 bytes behind a header of 16.
    let count = (size.len() - 16) / 64 + 1;
    let data = b.memfd(&MemfdSpec::new(vec![5; 3]));
    let mut files = vec![Builder::file("memfd-v2", data, 0)];
    files.extend((1..count as u64).map(|token| Builder::file("other-v1", 0, token)));
    b.session(b"blocks", &files);
    b.flb("test-flb-v0", 0xfeed, 3);
    more(&mut b);
    b.finish()
}

fn entry(built: &Built) -> Entry {
    let size = PageSize::of(built.fdt_size).unwrap();
    Entry::new(PhysAddr::new(built.fdt))
        .with_scratch(PhysAddr::new(built.scratch.0), built.scratch.1)
        .with_page_size(size)
}

#[test]
fn everything_is_read_under_each_page_size() {
    for size in PageSize::ALL {
        let built = built(size, |_| {});
        let handover = Handover::open(&built.mem, entry(&built)).unwrap();
        assert_eq!(handover.page_size(), size);
        let mut reading = handover.reading().unwrap();
        let memblock = Memblock::read(&handover, &mut reading).unwrap().unwrap();
        let kept: Vec<_> = memblock.regions().iter().map(|r| r.preserved).collect();
        assert_eq!(kept, [2 * size.bytes(), size.bytes()]);
        let luo = Luo::read(&handover, &mut reading, Registry::linked().unwrap())
            .unwrap()
            .unwrap();
        let body = luo.body().unwrap();
        assert_eq!(body.sessions()[1].file_blocks(), 2);
        assert_eq!(body.flbs().len(), 1);

        let mut manifest = Manifest::new();
        handover.add_to(&mut manifest);
        luo.add_to(&mut manifest);
        manifest = without_others(&manifest);
        let registry = Registry::linked().unwrap();
        let admitted = registry.admit(&policy::SemverRange, manifest).unwrap();
        let sessions = luo.restore(&admitted);
        // The other handler's files are not covered: those of the first session are enough.
        assert!(sessions.is_err());
        let mut read = Vec::new();
        for (session, files) in body.sessions().iter().zip([4, 1]) {
            for file in &session.files()[..files] {
                read.push(Memfd::read(&mut reading, file).unwrap());
            }
        }
        let mut specs = specs(size);
        specs.push(MemfdSpec::new(vec![5; 3]));
        for (memfd, spec) in read.iter().zip(&specs) {
            assert_eq!(
                (memfd.size(), memfd.pos()),
                (spec.contents.len() as u64, spec.pos)
            );
            let mut bytes = Vec::new();
            for folio in memfd.folios() {
                assert_eq!(
                    size.pages_of(folio.order).unwrap(),
                    if folio.addr.is_some() {
                        spec.order as u8
                    } else {
                        0
                    }
                );
                let len = folio.order.bytes().unwrap() as usize;
                match folio.addr {
                    Some(addr) => bytes.extend(built.mem.read(addr.get(), len)),
                    None => bytes.resize(bytes.len() + len, 0),
                }
            }
            bytes.truncate(spec.contents.len());
            assert!(bytes == spec.contents, "{size}");
        }
        // The odd region's pages have no owner, nor have the scratch table and the like.
        assert_eq!(reading.claims().unclaimed().1, 2);
    }
}

/// `manifest` without the files of another handler.
fn without_others(manifest: &Manifest) -> Manifest {
    let mut out = Manifest::new();
    for entry in manifest.entries() {
        if entry.found != "other-v1" {
            out.add(entry.carrier, &entry.found, entry.place.clone());
        }
    }
    out
}

#[test]
fn a_restored_memfd_has_its_contents_under_each_page_size() {
    for size in PageSize::ALL {
        let mut b = Builder::with_page(size.bytes());
        b.session_of("memfds", &specs(size));
        let built = b.finish();
        let handover = Handover::open(&built.mem, entry(&built)).unwrap();
        let mut reading = handover.reading().unwrap();
        let luo = Luo::read(&handover, &mut reading, Registry::linked().unwrap())
            .unwrap()
            .unwrap();
        let mut manifest = Manifest::new();
        handover.add_to(&mut manifest);
        luo.add_to(&mut manifest);
        let registry = Registry::linked().unwrap();
        let admitted = registry.admit(&policy::SemverRange, manifest).unwrap();
        let sessions = luo.restore(&admitted).unwrap();
        let session = sessions.get(b"memfds").unwrap();
        for (file, spec) in session.files().zip(specs(size)) {
            let memfd = Memfd::restore(&mut reading.admitted(&admitted), &file).unwrap();
            let mut bytes = Vec::new();
            for piece in memfd.pieces() {
                match piece.unwrap() {
                    Piece::Data(data) => bytes.extend_from_slice(data),
                    Piece::Hole(len) => bytes.resize(bytes.len() + len as usize, 0),
                }
            }
            assert!(bytes == spec.contents, "{size}");
        }
        assert_eq!(reading.claims().unclaimed(), (0, 0));
    }
}

#[test]
fn a_folio_that_nobody_used_is_zeros_under_each_page_size() {
    for size in PageSize::ALL {
        let page = size.bytes() as usize;
        let mut b = Builder::with_page(size.bytes());
        let spec = MemfdSpec {
            order: 1,
            unused: vec![0, 4],
            ..MemfdSpec::new(vec![0x5a; 5 * page + 3])
        };
        let mut expected = spec.contents.clone();
        expected[..2 * page].fill(0);
        expected[4 * page..].fill(0);
        b.session_of("memfds", &[spec]);
        let built = b.finish();
        let handover = Handover::open(&built.mem, entry(&built)).unwrap();
        let mut reading = handover.reading().unwrap();
        let luo = Luo::read(&handover, &mut reading, Registry::linked().unwrap())
            .unwrap()
            .unwrap();
        let mut manifest = Manifest::new();
        handover.add_to(&mut manifest);
        luo.add_to(&mut manifest);
        let registry = Registry::linked().unwrap();
        let admitted = registry.admit(&policy::SemverRange, manifest).unwrap();
        let sessions = luo.restore(&admitted).unwrap();
        let session = sessions.get(b"memfds").unwrap();
        let file = session.files().next().unwrap();
        let memfd = Memfd::restore(&mut reading.admitted(&admitted), &file).unwrap();
        let mut read = Vec::new();
        for piece in memfd.pieces() {
            match piece.unwrap() {
                Piece::Data(data) => read.extend_from_slice(data),
                Piece::Hole(len) => read.resize(read.len() + len as usize, 0),
            }
        }
        assert!(read == expected, "{size}");
        let mut streamed = Vec::new();
        memfd.reader().read_to_end(&mut streamed).unwrap();
        assert!(streamed == expected, "{size}");
    }
}

#[test]
fn a_page_size_that_is_not_the_writers_is_damage() {
    for size in PageSize::ALL {
        let built = built(size, |_| {});
        for other in PageSize::ALL.into_iter().filter(|other| *other != size) {
            let entry = entry(&built).with_page_size(other);
            let opened = Handover::open(&built.mem, entry);
            assert!(opened.is_err(), "{size} read as {other}");
        }
        let mut none = entry(&built);
        none.fdt_size = 8192;
        let error = none.page_size().unwrap_err();
        assert_eq!(error.defect(), Defect::BadSize);
    }
}
