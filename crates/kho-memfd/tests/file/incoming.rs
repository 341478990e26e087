//! A file that came with a handover.

use super::*;

fn take_over(arena: Arena, entry: kho_core::Entry) -> Incoming {
    let attached = Attached::open(arena.into_handed().unwrap(), entry).unwrap();
    let handlers = Handlers::new().with(MemfdHandler);
    let registry = Registry::linked().unwrap();
    Incoming::take_over(attached, handlers, registry).unwrap()
}

/// Hands `file` over; `forge` changes the arena's bytes as another writer might have left them.
pub(super) fn handed_over(
    arena: Arena,
    file: Arc<MemFile>,
    forge: impl FnOnce(&Arena),
) -> Incoming {
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let luo = Orchestrator::new(kho, Handlers::new().with(MemfdHandler), 0).unwrap();
    let session = luo.create_session("vm").unwrap();
    session.preserve(1, file.clone()).unwrap();
    let frozen = luo.freeze().unwrap();
    forge(&arena);
    drop((session, luo, arena));
    let (arena, entry) = frozen.hand_over().unwrap();
    assert_eq!(file.read_at(0, &mut [0]), Err(FileError::Gone));
    assert_eq!(file.write_at(0, b"x"), Err(FileError::Gone));
    assert_eq!(file.truncate(0), Err(FileError::Gone));
    drop(file);
    take_over(arena, entry)
}

#[test]
fn a_file_that_came_is_read_until_the_handover_is_finished() {
    let arena = Arena::memfd(&arena_config(16 << 20)).unwrap();
    let whole = arena.free_pages();
    let file = scattered(&arena);
    let (expected, folios_before) = (contents(&file), folios(&file));
    let incoming = handed_over(arena, file, |_| ());
    let session = incoming.session("vm").unwrap();
    let file = session.retrieve::<MemFile>(1).unwrap();
    assert_eq!((folios(&file), file.pos()), (folios_before.clone(), 77));
    assert!(contents(&file) == expected);
    let arena = incoming.reclaim();
    assert_eq!(file.write_at(0, b"x"), Err(FileError::NotFinished));
    assert_eq!(file.truncate(0), Err(FileError::NotFinished));
    assert_eq!(file.add_seals(SEAL_GROW), Err(FileError::NotFinished));
    let folio = arena.alloc(Order::ZERO).unwrap();
    assert_eq!(file.insert(1, folio), Err(FileError::NotFinished));
    let kho = Kho::new(arena, &KhoConfig::new()).unwrap();
    let error = MemfdHandler.preserve(&kho, &file).unwrap_err();
    assert!(error.to_string().contains("not finished"), "{error}");
    drop(kho);
    let mut head = [0; 100];
    (&*file).seek(SeekFrom::Start(4090)).unwrap();
    (&*file).read_exact(&mut head).unwrap();
    assert_eq!(
        (head[..].to_vec(), file.pos()),
        (expected[4090..4190].to_vec(), 4190)
    );
    let arena = incoming.finish().unwrap();
    assert!(contents(&file) == expected);
    assert_eq!(folios(&file), folios_before);
    let pages: u64 = folios_before.iter().map(|(_, order)| 1 << order).sum();
    assert_eq!(arena.free_pages(), whole - pages);
    file.write_at(PAGE, &pattern(3, 10)).unwrap();
    file.truncate(600 * PAGE).unwrap();
    drop((file, session, incoming));
    assert_eq!(arena.free_pages(), whole);
}

#[test]
fn what_another_writer_left_past_the_end_never_shows() {
    let grows: [fn(&MemFile, &Arena); 4] = [
        |file, _| file.truncate(4 * PAGE).unwrap(),
        |file, _| assert_eq!(file.write_at(4 * PAGE - 1, &[0]).unwrap(), 1),
        |file, _| {
            file.truncate(6).unwrap();
            file.truncate(5).unwrap();
            file.truncate(4 * PAGE).unwrap();
        },
        |file, arena| {
            file.insert(4, arena.alloc_zeroed(Order::ZERO).unwrap())
                .unwrap();
            file.truncate(4 * PAGE).unwrap();
        },
    ];
    for grow in grows {
        let arena = Arena::memfd(&arena_config(4 << 20)).unwrap();
        let file = Arc::new(MemFile::new(&arena));
        file.write_at(0, &[1; 4 * PAGE_SIZE]).unwrap();
        assert_eq!(folios(&file), [(0, 2)]);
        file.truncate(5).unwrap();
        // The file's folio is the arena's first.
        let incoming = handed_over(arena, file, |arena| {
            assert_eq!(bytes_at(arena, 0, 6), [1, 1, 1, 1, 1, 0]);
            let garbage = [0xbb; 4 * PAGE_SIZE - 5];
            arena.file().unwrap().write_all_at(&garbage, 5).unwrap();
        });
        let session = incoming.session("vm").unwrap();
        let file = session.retrieve::<MemFile>(1).unwrap();
        assert_eq!(contents(&file), [1; 5]);
        let arena = incoming.finish().unwrap();
        grow(&file, &arena);
        let mut expected = vec![1; 5];
        expected.resize(4 * PAGE_SIZE, 0);
        assert!(contents(&file) == expected);
    }
}
