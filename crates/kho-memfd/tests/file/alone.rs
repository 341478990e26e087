//! A file by itself.

use super::*;

#[test]
fn large_writes_get_large_folios_as_aligned_as_their_offsets() {
    let arena = Arena::heap(&arena_config(32 << 20)).unwrap();
    for number in 0..=9u8 {
        let len = PAGE_SIZE << number;
        for index in [0, 1u64 << number] {
            let file = MemFile::new(&arena);
            let bytes = pattern(number, len);
            assert_eq!(file.write_at(index * PAGE, &bytes).unwrap(), len);
            assert_eq!(folios(&file), [(index, number)]);
            assert_eq!(contents(&file)[(index * PAGE) as usize..], bytes);
        }
    }
    // 2 MiB is the largest, and an odd offset begins small.
    for (index, pages, expected) in [
        (0u64, 1025u64, &[(0, 9), (512, 9), (1024, 0)][..]),
        (1, 7, &[(1, 0), (2, 1), (4, 2)][..]),
        (4, 13, &[(4, 2), (8, 3), (16, 0)][..]),
        (6, 9, &[(6, 1), (8, 2), (12, 1), (14, 0)][..]),
    ] {
        let file = MemFile::new(&arena);
        let bytes = pattern(1, (pages * PAGE) as usize);
        file.write_at(index * PAGE, &bytes).unwrap();
        assert_eq!(folios(&file), expected);
    }
    // A folio that is there stays; a large one does not reach over it.
    let file = MemFile::new(&arena);
    file.write_at(3 * PAGE, b"x").unwrap();
    file.write_at(0, &pattern(1, 8 * PAGE_SIZE)).unwrap();
    assert_eq!(folios(&file), [(0, 1), (2, 0), (3, 0), (4, 2)]);
    assert_eq!(contents(&file), pattern(1, 8 * PAGE_SIZE));
}

#[test]
fn small_folios_do_where_no_large_one_is_left() {
    let arena = Arena::heap(&arena_config(4 << 20)).unwrap();
    let mut taken: Vec<_> = (0..1024)
        .map(|_| arena.alloc(Order::ZERO).unwrap())
        .collect();
    let mut odd = false;
    taken.retain(|_| {
        odd = !odd;
        odd
    });
    let file = MemFile::new(&arena);
    let bytes = pattern(9, 600 * PAGE_SIZE);
    assert_eq!(file.write_at(0, &bytes).unwrap(), 512 * PAGE_SIZE);
    assert_eq!(
        folios(&file),
        (0..512).map(|index| (index, 0)).collect::<Vec<_>>()
    );
    assert_eq!(contents(&file), bytes[..512 * PAGE_SIZE]);
    let error = file.write_at(file.size(), b"x").unwrap_err();
    assert!(matches!(error, FileError::OutOfMemory(_)));
    assert_eq!(file.write_at(0, b"there is").unwrap(), 8);
    drop(taken);
    assert_eq!(file.write_at(file.size(), b"x").unwrap(), 1);
}

#[test]
fn a_write_that_runs_out_of_memory_returns_what_was_written() {
    let arena = Arena::heap(&arena_config(4 << 20)).unwrap();
    // From page 1 on: folios of orders 0, 1 and 2. A smaller one is tried where a large one is
    // not to be had, so that only a single page fails the write.
    for (failing, written, expected) in [
        (0, 0, &[][..]),
        (1, 7, &[(1, 0), (2, 0), (3, 0), (4, 2)][..]),
        (2, 7, &[(1, 0), (2, 1), (4, 1), (6, 1)][..]),
        (3, 7, &[(1, 0), (2, 1), (4, 2)][..]),
    ] {
        let file = MemFile::new(&arena);
        let bytes = pattern(3, 7 * PAGE_SIZE);
        arena.fail_after(failing);
        let done = file.write_at(PAGE, &bytes);
        arena.no_fault();
        match done {
            Ok(count) => assert_eq!(count, written * PAGE_SIZE),
            Err(error) => assert!(written == 0 && matches!(error, FileError::OutOfMemory(_))),
        }
        assert_eq!(folios(&file), expected);
        let size = if written == 0 { 0 } else { 8 * PAGE };
        assert_eq!(file.size(), size);
    }
    // Two pages and a bit: the last page is not there.
    let file = MemFile::new(&arena);
    arena.fail_after(2);
    let bytes = pattern(3, 2 * PAGE_SIZE + 5);
    assert_eq!(file.write_at(PAGE, &bytes).unwrap(), 2 * PAGE_SIZE);
    assert_eq!(
        (file.size(), contents(&file)[PAGE_SIZE..].to_vec()),
        (3 * PAGE, bytes[..2 * PAGE_SIZE].to_vec())
    );
}

#[test]
fn a_file_that_shrank_and_grows_reads_zeros() {
    let arena = arena();
    let file = MemFile::new(&arena);
    let full = pattern(5, 16 * PAGE_SIZE);
    for (size, grow) in [
        (5000, 16 * PAGE),
        (PAGE, 2 * PAGE),
        (1, 3),
        (3 * PAGE - 1, 3 * PAGE + 1),
        (0, 100),
    ] {
        let grows: [&dyn Fn(); 3] = [
            &|| file.truncate(grow).unwrap(),
            &|| assert_eq!(file.write_at(grow - 1, &[0]).unwrap(), 1),
            &|| {
                file.truncate(grow - 1).unwrap();
                file.write_at(grow - 1, &[0]).unwrap();
            },
        ];
        for grow_it in grows {
            file.truncate(0).unwrap();
            file.write_at(0, &full).unwrap();
            file.truncate(size).unwrap();
            grow_it();
            let mut expected = full[..size as usize].to_vec();
            expected.resize(grow as usize, 0);
            assert!(contents(&file) == expected, "{size} to {grow}");
        }
    }
    file.truncate(0).unwrap();
    assert_eq!((file.folios(), arena.free_pages()), (Vec::new(), 4096));
}

#[test]
fn each_seal_forbids_what_it_says() {
    type Change = fn(&MemFile) -> Result<(), FileError>;
    let arena = arena();
    let changes: [(&str, Change); 6] = [
        ("write", |file| file.write_at(0, b"x").map(drop)),
        ("append", |file| file.write_at(8190, b"1234").map(drop)),
        ("shrink", |file| file.truncate(100)),
        ("grow", |file| file.truncate(9000)),
        ("seal", |file| file.add_seals(SEAL_EXEC)),
        ("same size", |file| file.truncate(8192)),
    ];
    let cases: [(u32, &[&str]); 6] = [
        (SEAL_SEAL, &["seal"]),
        (SEAL_SHRINK, &["shrink"]),
        (SEAL_GROW, &["append", "grow"]),
        (SEAL_WRITE, &["write", "append"]),
        (SEAL_FUTURE_WRITE, &["write", "append"]),
        (SEAL_EXEC, &[]),
    ];
    for (seal, forbidden) in cases {
        for (name, change) in &changes {
            let file = MemFile::new(&arena);
            file.write_at(0, &pattern(1, 8192)).unwrap();
            file.add_seals(seal).unwrap();
            let done = change(&file);
            if forbidden.contains(name) {
                assert!(
                    matches!(done, Err(FileError::Sealed(_))),
                    "{seal:#x}, {name}"
                );
                assert_eq!(contents(&file), pattern(1, 8192));
                assert_eq!(file.seals().bits(), seal);
            } else {
                assert_eq!(done, Ok(()), "{seal:#x}, {name}");
            }
        }
        let file = MemFile::new(&arena);
        file.add_seals(seal).unwrap();
        let folio = arena.alloc_zeroed(Order::ZERO).unwrap();
        let writing = SEAL_WRITE | SEAL_FUTURE_WRITE | SEAL_GROW;
        assert_eq!(file.insert(0, folio).is_err(), seal & writing != 0);
    }
    let file = MemFile::new(&arena);
    assert_eq!(
        file.add_seals(SEALS | 0x40),
        Err(FileError::UnknownSeals((SEALS | 0x40).into()))
    );
    file.add_seals(SEALS).unwrap();
    assert_eq!(file.seals().bits(), SEALS);
}

#[test]
fn a_file_ends_at_the_largest_offset() {
    let arena = arena();
    let file = MemFile::new(&arena);
    assert_eq!(file.truncate(MAX + 1), Err(FileError::TooLarge(MAX + 1)));
    file.truncate(MAX).unwrap();
    assert_eq!((file.size(), arena.free_pages()), (MAX, 4096), "a hole");
    for at in [MAX, MAX + 1, u64::MAX] {
        assert_eq!(file.write_at(at, b"x"), Err(FileError::TooLarge(at)));
    }
    assert_eq!(
        file.write_at(MAX - 1, b"xy"),
        Err(FileError::TooLarge(MAX - 1))
    );
    assert_eq!(file.write_at(MAX - 2, b"xy").unwrap(), 2);
    let last = MAX / PAGE;
    assert_eq!(folios(&file), [(last, 0)]);
    let mut end = [1; 8];
    assert_eq!(file.read_at(MAX - 4, &mut end).unwrap(), 4);
    assert_eq!(&end, b"\0\0xy\x01\x01\x01\x01");
    let mut pieces = Vec::new();
    file.for_each_piece(10, u64::MAX, |piece| match piece {
        FilePiece::Hole(len) => pieces.push(len),
        FilePiece::Data(bytes) => pieces.push(bytes.len() as u64),
    })
    .unwrap();
    assert_eq!(pieces, [last * PAGE - 10, PAGE - 1]);
    for at in [MAX, u64::MAX] {
        assert_eq!(file.read_at(at, &mut end).unwrap(), 0);
    }
    assert_eq!((&file).seek(SeekFrom::End(0)).unwrap(), MAX);
    let error = (&file).seek(SeekFrom::Current(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert_eq!(
        (&file).write(b"x").unwrap_err().kind(),
        ErrorKind::FileTooLarge
    );
    assert_eq!(file.set_pos(MAX + 1), Err(FileError::TooLarge(MAX + 1)));
    let folio = || arena.alloc(Order::ZERO).unwrap();
    for index in [last, u64::MAX / PAGE, u64::MAX] {
        assert_eq!(file.insert(index, folio()), Err(FileError::TooLarge(index)));
    }
    file.insert(last - 1, folio()).unwrap();
    assert_eq!((file.size(), arena.free_pages()), (MAX, 4094));
    file.truncate(1).unwrap();
    assert_eq!(arena.free_pages(), 4096);
    assert_eq!(contents(&file), [0]);
}

#[test]
fn a_file_too_sparse_to_be_listed_is_refused() {
    let arena = Arena::heap(&arena_config(4 << 20)).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let file = Arc::new(MemFile::new(&arena));
    file.write_at(MAX - 10, b"far out").unwrap();
    let before = (arena.free_blocks(), kho.preserver().keys());
    let error = MemfdHandler.preserve(&kho, &file).unwrap_err();
    assert!(error.to_string().contains("out of memory"), "{error}");
    assert_eq!((arena.free_blocks(), kho.preserver().keys()), before);
    file.truncate(0).unwrap();
}

#[test]
fn an_inserted_folio_is_the_contents() {
    let arena = arena();
    let file = MemFile::new(&arena);
    let folio = |number: u8, fill: u8| {
        let mut folio = arena.alloc(order(number)).unwrap();
        folio.fill(fill);
        folio
    };
    file.write_at(0, &[9; 100]).unwrap();
    file.truncate(50).unwrap();
    file.insert(4, folio(2, 4)).unwrap();
    file.insert(1, folio(0, 1)).unwrap();
    file.insert(1024, folio(10, 10)).unwrap();
    assert_eq!(folios(&file), [(0, 0), (1, 0), (4, 2), (1024, 10)]);
    assert_eq!(file.size(), 2048 * PAGE);
    let bytes = contents(&file);
    for (page, fill) in [
        (1, 1),
        (2, 0),
        (3, 0),
        (4, 4),
        (7, 4),
        (8, 0),
        (1024, 10),
        (2047, 10),
    ] {
        let page = page * PAGE_SIZE;
        assert!(
            bytes[page..page + PAGE_SIZE]
                .iter()
                .all(|byte| *byte == fill)
        );
    }
    assert_eq!(bytes[..50], [9; 50]);
    assert!(bytes[50..PAGE_SIZE].iter().all(|byte| *byte == 0));
    let free = arena.free_pages();
    for (index, number) in [(0, 0), (0, 3), (5, 0), (2, 2), (1, 1), (2047, 0)] {
        let refused = file.insert(index, folio(number, 7));
        assert!(
            matches!(refused, Err(FileError::Misplaced(_))),
            "{refused:?}"
        );
    }
    assert_eq!(arena.free_pages(), free, "they are freed");
    assert!(contents(&file) == bytes);
}

#[test]
fn a_file_reads_writes_and_seeks_as_any_other() {
    let arena = arena();
    let file = MemFile::new(&arena);
    let mut io = &file;
    io.write_all(b"0123456789").unwrap();
    io.seek(SeekFrom::Start(20)).unwrap();
    io.write_all(b"abc").unwrap();
    io.flush().unwrap();
    assert_eq!((file.pos(), file.size()), (23, 23));
    assert_eq!(io.read(&mut [0; 4]).unwrap(), 0, "at the end");
    assert_eq!(io.seek(SeekFrom::End(-5)).unwrap(), 18);
    let mut rest = Vec::new();
    assert_eq!(io.read_to_end(&mut rest).unwrap(), 5);
    assert_eq!((rest.as_slice(), file.pos()), (&b"\0\0abc"[..], 23));
    io.seek(SeekFrom::Current(77)).unwrap();
    assert_eq!(io.read(&mut [0; 4]).unwrap(), 0, "past the end");
    assert_eq!(file.pos(), 100);
    for to in [SeekFrom::Current(-101), SeekFrom::End(-24)] {
        assert_eq!(io.seek(to).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    io.rewind().unwrap();
    assert_eq!(std::io::copy(&mut io, &mut std::io::sink()).unwrap(), 23);
    file.add_seals(SEAL_WRITE).unwrap();
    assert_eq!(
        io.write(b"x").unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
}
