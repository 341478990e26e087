//! A folio that is not up to date: nobody used it, and its memory holds somebody else's bytes.

use super::incoming::handed_over;
use super::*;

const SECRET: [u8; PAGE_SIZE] = [0x5a; PAGE_SIZE];

/// The records of folios in the arena's bytes, by their index: where each stands, and its word.
fn records(arena: &Arena) -> BTreeMap<u64, (u64, u64)> {
    let mut found = BTreeMap::new();
    let bytes = bytes_at(arena, 0, 16 << 20);
    for (at, words) in (0..).step_by(16).zip(bytes.chunks_exact(16)) {
        let word = |at: usize| u64::from_le_bytes(words[at..at + 8].try_into().unwrap());
        if word(0) >> 52 == 3 && word(8) < 1200 {
            found.insert(word(8), (at, word(0)));
        }
    }
    found
}

/// Puts a secret into each page of the folios at `indices`, and marks them as not up to date.
fn forge(arena: &Arena, indices: &[(u64, u64)]) {
    let records = records(arena);
    let file = arena.file().unwrap();
    for (index, pages) in indices {
        let (at, word) = records[index];
        let folio = ((word & ((1 << 52) - 1)) << 12) - BASE;
        for page in 0..*pages {
            file.write_all_at(&SECRET, folio + page * PAGE).unwrap();
        }
        let unused = word & !(2 << 52);
        file.write_all_at(&unused.to_le_bytes(), at).unwrap();
    }
}

/// The contents of `file` as `for_each_piece` shows them.
fn pieces(file: &MemFile) -> Vec<u8> {
    let mut out = Vec::new();
    let look = |piece: FilePiece<'_>| match piece {
        FilePiece::Data(bytes) => out.extend_from_slice(bytes),
        FilePiece::Hole(len) => out.resize(out.len() + len as usize, 0),
    };
    file.for_each_piece(0, file.size(), look).unwrap();
    out
}

/// The contents of `file` as a stream.
fn streamed(file: &MemFile) -> Vec<u8> {
    let (mut out, mut file) = (Vec::new(), file);
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut out).unwrap();
    out
}

#[track_caller]
fn holds(file: &MemFile, expected: &[u8]) {
    assert!(contents(file) == expected);
    assert!(pieces(file) == expected);
    assert!(streamed(file) == expected);
}

/// A scattered file of which the folios at 2 (two pages) and 512 (512 of them) were never used, and what
/// it holds then.
fn came() -> (Incoming, Vec<u8>) {
    let arena = Arena::memfd(&arena_config(16 << 20)).unwrap();
    let file = scattered(&arena);
    let mut expected = contents(&file);
    for (first, pages) in [(2, 2), (512, 512)] {
        expected[first * PAGE_SIZE..(first + pages) * PAGE_SIZE].fill(0);
    }
    let incoming = handed_over(arena, file, |arena| forge(arena, &[(2, 2), (512, 512)]));
    (incoming, expected)
}

#[test]
fn it_reads_as_zeros_before_and_after_the_handover_is_finished() {
    let (incoming, expected) = came();
    let session = incoming.session("vm").unwrap();
    let file = session.retrieve::<MemFile>(1).unwrap();
    holds(&file, &expected);
    let before = folios(&file);
    incoming.finish().unwrap();
    holds(&file, &expected);
    assert_eq!(folios(&file), before, "the folios are kept for the file");
    // Read from inside it, across both of its ends, and at odd places.
    for offset in [2 * PAGE - 1, 2 * PAGE + 1, 3 * PAGE, 512 * PAGE + 5] {
        let mut buf = [0xee; 3 * PAGE_SIZE];
        assert_eq!(file.read_at(offset, &mut buf).unwrap(), buf.len());
        let offset = offset as usize;
        assert!(buf == expected[offset..offset + buf.len()]);
    }
}

#[test]
fn what_is_written_partly_into_it_is_zero_else() {
    let (incoming, mut expected) = came();
    let session = incoming.session("vm").unwrap();
    let file = session.retrieve::<MemFile>(1).unwrap();
    incoming.finish().unwrap();
    for offset in [3 * PAGE_SIZE - 2, 700 * PAGE_SIZE + 11] {
        file.write_at(offset as u64, b"four").unwrap();
        expected[offset..offset + 4].copy_from_slice(b"four");
        holds(&file, &expected);
    }
}

#[test]
fn what_is_cut_off_inside_it_does_not_come_back() {
    let (incoming, expected) = came();
    let session = incoming.session("vm").unwrap();
    let file = session.retrieve::<MemFile>(1).unwrap();
    incoming.finish().unwrap();
    for size in [3 * PAGE + 5, 5 * PAGE] {
        file.truncate(size).unwrap();
        let mut expected = expected[..(3 * PAGE + 5) as usize].to_vec();
        expected.resize(size as usize, 0);
        holds(&file, &expected);
    }
}

#[test]
fn preserved_again_its_memory_is_zero_and_up_to_date() {
    let (incoming, expected) = came();
    let session = incoming.session("vm").unwrap();
    let file = session.retrieve::<MemFile>(1).unwrap();
    let arena = incoming.finish().unwrap();
    drop((session, incoming));
    let incoming = handed_over(arena, file, |arena| {
        let records = records(arena);
        for (index, pages) in [(2u64, 2), (512, 512)] {
            let folio = ((records[&index].1 & ((1 << 52) - 1)) << 12) - BASE;
            let bytes = bytes_at(arena, folio, pages * PAGE_SIZE);
            assert!(bytes.iter().all(|byte| *byte == 0), "folio {index}");
        }
    });
    let session = incoming.session("vm").unwrap();
    holds(&session.retrieve::<MemFile>(1).unwrap(), &expected);
}
