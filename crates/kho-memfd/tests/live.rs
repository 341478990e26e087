//! A whole update inside one process: preserved, frozen, taken over, retrieved, finished, again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use std::sync::Arc;

use kho_compat::{Registry, Writing};
use kho_core::{Attached, Kho, KhoConfig};
use kho_luo::{Handlers, Incoming, Orchestrator};
use kho_mem::{Arena, ArenaConfig, PhysAddr, PhysRange};
use kho_memfd::v2::{SEAL_GROW, SEAL_WRITE};
use kho_memfd::{FileError, MemFile, MemfdHandler};

fn handlers() -> Handlers {
    Handlers::new().with(MemfdHandler)
}

fn contents(file: &MemFile) -> Vec<u8> {
    let mut bytes = vec![0xff; file.size() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

#[test]
fn files_live_through_updates_again_and_again() {
    let scratch = PhysRange::new(PhysAddr::new(0x1200_0000), 4 << 20).unwrap();
    let config = ArenaConfig::new(PhysAddr::new(0x1000_0000), 48 << 20).scratch(scratch);
    let mut arena = Arena::heap(&config).unwrap();
    let whole = arena.free_pages();
    let big: Vec<u8> = (0..5_000_123u32).map(|n| (n >> 7) as u8).collect();
    let mut files = vec![
        Arc::new(MemFile::new(&arena)),
        Arc::new(MemFile::new(&arena)),
        Arc::new(MemFile::new(&arena)),
    ];
    files[0].write_at(0, &big).unwrap();
    files[1].write_at(20_000, b"behind a hole").unwrap();
    files[1].set_pos(7).unwrap();
    files[1].add_seals(SEAL_WRITE | SEAL_GROW).unwrap();
    for generation in 0..4u64 {
        let dialect = if generation % 2 == 0 {
            Writing::PLAIN
        } else {
            Writing::COMPOSITE
        };
        let config = KhoConfig::new()
            .scratch([scratch])
            .metadata("7.3.4", generation as u32)
            .writing(dialect);
        let kho = Kho::new(arena, &config).unwrap();
        let luo = Orchestrator::new(kho, handlers(), generation).unwrap();
        let session = luo.create_session("vm").unwrap();
        let _empty = luo.create_session("empty").unwrap();
        for (token, file) in files.iter().enumerate() {
            session.preserve(token as u64, file.clone()).unwrap();
        }
        assert!(session.preserve(9, files[0].clone()).is_err(), "busy");
        files[0].write_at(100, &generation.to_le_bytes()).unwrap();
        assert_eq!(files[0].truncate(1), Err(FileError::Preserved));
        let frozen = luo.freeze().unwrap();
        assert_eq!(files[0].write_at(100, b"x"), Err(FileError::Frozen));
        drop((session, _empty));
        drop(luo);
        let (gone, entry) = frozen.hand_over().unwrap();
        assert_eq!(files[0].read_at(0, &mut [0]), Err(FileError::Gone));
        files.clear();

        let attached = Attached::open(gone.into_handed().unwrap(), entry).unwrap();
        let registry = Registry::linked().unwrap();
        let incoming = Incoming::take_over(attached, handlers(), registry).unwrap();
        assert_eq!(
            (incoming.number(), incoming.kexec_count()),
            (generation + 1, Some(generation as u32))
        );
        let session = incoming.session("vm").unwrap();
        assert!(incoming.session("vm").is_err(), "once");
        files = session
            .tokens()
            .iter()
            .map(|token| session.retrieve(*token).unwrap())
            .collect();
        assert!(
            Arc::ptr_eq(&files[0], &session.retrieve(0).unwrap()),
            "the same file"
        );
        assert_eq!(files[0].write_at(0, b"x"), Err(FileError::NotFinished));
        let mut expected = big.clone();
        expected[100..108].copy_from_slice(&generation.to_le_bytes());
        assert_eq!(contents(&files[0]), expected);
        arena = incoming.finish().unwrap();
        assert_eq!(contents(&files[0]), expected);
        assert_eq!(
            contents(&files[1]),
            [vec![0; 20_000], b"behind a hole".to_vec()].concat()
        );
        assert_eq!(
            (files[1].pos(), files[1].seals().bits(), files[2].size()),
            (7, SEAL_WRITE | SEAL_GROW, 0)
        );
        assert!(incoming.session("empty").is_err(), "finished");
        files[0].write_at(0, &big).unwrap();
    }
    files.clear();
    assert_eq!(
        arena.free_pages(),
        whole,
        "not a page is lost over four updates"
    );
}
