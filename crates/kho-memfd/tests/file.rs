//! A memfd over an arena, against a vector of bytes; what is preserved of it, by hand-made bytes;
//! and every failure undone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use kho_compat::{Registry, policy};
use kho_core::{Attached, Kho, KhoConfig};
use kho_luo::{FileHandler, Handlers, Incoming, Orchestrator};
use kho_mem::{Arena, ArenaConfig, Folio, Order, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr};
use kho_memfd::v2::{
    SEAL_EXEC, SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SEAL, SEAL_SHRINK, SEAL_WRITE, SEALS,
};
use kho_memfd::{FileError, FilePiece, MemFile, MemfdHandler, PreservedMemfd};
use kho_radix::Key;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const BASE: u64 = 0x1000_0000;
const PAGE: u64 = PAGE_SIZE_U64;
/// A file's largest offset.
const MAX: u64 = i64::MAX as u64;

fn arena_config(size: u64) -> ArenaConfig {
    ArenaConfig::new(PhysAddr::new(BASE), size)
}

fn arena() -> Arena {
    Arena::heap(&arena_config(16 << 20)).unwrap()
}

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

fn folios(file: &MemFile) -> Vec<(u64, u8)> {
    let folios = file.folios().into_iter();
    folios.map(|(index, order)| (index, order.get())).collect()
}

fn contents(file: &MemFile) -> Vec<u8> {
    let mut bytes = vec![0xee; file.size() as usize + 10];
    let read = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}

/// Bytes of which none is 0, so that what should be zero is seen.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at / 7 + seed as usize) % 255) as u8 + 1)
        .collect()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(0x006b_686f),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    Own,
    Preserved,
    Frozen,
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, usize, u8),
    Truncate(u64),
    Seal(u32),
    Seek(SeekFrom),
    Read(usize),
    Put(usize, u8),
    Insert(u64, u8),
    /// An allocation fails.
    Fail(u64),
    /// All but so many pages are taken by somebody else; none are again.
    Hog(u64),
    Release,
    Preserve,
    Unpreserve,
    Freeze,
    Unfreeze,
}

fn offsets() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..12 * PAGE,
        3 => (0u64..40).prop_map(|page| page * PAGE),
        1 => (2 << 20) - 2 * PAGE..(2 << 20) + PAGE,
    ]
}

fn lens() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => 0usize..300,
        4 => 0usize..20 * PAGE_SIZE,
        2 => (1usize..40).prop_map(|pages| pages * PAGE_SIZE),
        1 => (2usize << 20) - 10..(2 << 20) + 3 * PAGE_SIZE,
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let seal = prop_oneof![
        Just(SEAL_SEAL),
        Just(SEAL_SHRINK),
        Just(SEAL_GROW),
        Just(SEAL_WRITE),
        Just(SEAL_FUTURE_WRITE),
        Just(SEAL_EXEC),
        Just(SEALS + 1),
    ];
    let seek = prop_oneof![
        offsets().prop_map(SeekFrom::Start),
        (-9000i64..9000).prop_map(SeekFrom::Current),
        (-9000i64..9000).prop_map(SeekFrom::End),
        Just(SeekFrom::Start(MAX + 1)),
    ];
    let op = prop_oneof![
        10 => (offsets(), lens(), any::<u8>()).prop_map(|(at, len, seed)| Op::Write(at, len, seed)),
        4 => offsets().prop_map(Op::Truncate),
        1 => seal.prop_map(Op::Seal),
        2 => seek.prop_map(Op::Seek),
        2 => lens().prop_map(Op::Read),
        2 => (lens(), any::<u8>()).prop_map(|(len, seed)| Op::Put(len, seed)),
        2 => (0u64..40, 0u8..5).prop_map(|(index, order)| Op::Insert(index, order)),
        2 => (0u64..12).prop_map(Op::Fail),
        1 => (0u64..30).prop_map(Op::Hog),
        2 => Just(Op::Release),
        2 => Just(Op::Preserve),
        2 => Just(Op::Unpreserve),
        1 => Just(Op::Freeze),
        1 => Just(Op::Unfreeze),
    ];
    prop::collection::vec(op, 1..40)
}

/// What a memfd is, in a vector.
#[derive(Clone)]
struct Model {
    bytes: Vec<u8>,
    pos: u64,
    seals: u32,
    phase: Phase,
}

impl Model {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn may_resize(&self) -> Result<(), FileError> {
        match self.phase {
            Phase::Own => Ok(()),
            Phase::Preserved => Err(FileError::Preserved),
            Phase::Frozen => Err(FileError::Frozen),
        }
    }

    /// Whether a write may go ahead, where memory is there.
    fn may_write(&self, at: u64, len: usize, folios: &[(u64, u8)]) -> Result<(), FileError> {
        let end = at + len as u64;
        if len == 0 {
            return Ok(());
        }
        if self.phase == Phase::Frozen {
            return Err(FileError::Frozen);
        }
        if self.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
            return Err(FileError::Sealed("writing"));
        }
        if end > self.size() && self.seals & SEAL_GROW != 0 {
            return Err(FileError::Sealed("growing"));
        }
        let backed = (at / PAGE..end.div_ceil(PAGE)).all(|page| is_backed(folios, page));
        if self.phase == Phase::Preserved && (end > self.size() || !backed) {
            return Err(FileError::Preserved);
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (at, end) = (at as usize, at as usize + bytes.len());
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[at..end].copy_from_slice(bytes);
    }

    fn truncate(&mut self, size: u64) -> Result<(), FileError> {
        self.may_resize()?;
        if size < self.size() && self.seals & SEAL_SHRINK != 0 {
            return Err(FileError::Sealed("shrinking"));
        }
        if size > self.size() && self.seals & SEAL_GROW != 0 {
            return Err(FileError::Sealed("growing"));
        }
        self.bytes.resize(size as usize, 0);
        Ok(())
    }

    fn seal(&mut self, seals: u32) -> Result<(), FileError> {
        self.may_resize()?;
        if seals & !SEALS != 0 {
            return Err(FileError::UnknownSeals(seals));
        }
        if self.seals & SEAL_SEAL != 0 {
            return Err(FileError::Sealed("more seals"));
        }
        self.seals |= seals;
        Ok(())
    }

    fn may_seek(&self) -> Result<(), ErrorKind> {
        match self.phase {
            Phase::Frozen => Err(ErrorKind::ResourceBusy),
            _ => Ok(()),
        }
    }

    fn seek(&mut self, to: SeekFrom) -> Result<u64, ErrorKind> {
        let pos = match to {
            SeekFrom::Start(pos) => Some(pos),
            SeekFrom::Current(by) => self.pos.checked_add_signed(by),
            SeekFrom::End(by) => self.size().checked_add_signed(by),
        };
        let pos = pos.ok_or(ErrorKind::InvalidInput)?;
        self.may_seek()?;
        if pos > MAX {
            return Err(ErrorKind::FileTooLarge);
        }
        self.pos = pos;
        Ok(pos)
    }

    fn may_insert(&self, index: u64, pages: u64, folios: &[(u64, u8)]) -> Result<(), FileError> {
        self.may_resize()?;
        if self.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE | SEAL_GROW) != 0 {
            return Err(FileError::Sealed("writing"));
        }
        let taken = (index..index + pages).any(|page| is_backed(folios, page));
        if taken || !index.is_multiple_of(pages) {
            return Err(FileError::TooLarge(index));
        }
        Ok(())
    }
}

fn is_backed(folios: &[(u64, u8)], page: u64) -> bool {
    let mut folios = folios.iter();
    folios.any(|(index, order)| (*index..index + (1 << order)).contains(&page))
}

struct World {
    arena: Arena,
    whole: u64,
    kho: Kho,
    file: Arc<MemFile>,
    preserved: Option<PreservedMemfd>,
    hog: Vec<Folio>,
}

impl World {
    fn new() -> Self {
        let arena = arena();
        Self {
            whole: arena.free_pages(),
            kho: Kho::new(arena.clone(), &KhoConfig::new()).unwrap(),
            file: Arc::new(MemFile::new(&arena)),
            arena,
            preserved: None,
            hog: Vec::new(),
        }
    }

    fn hog(&mut self, left: u64) {
        for number in (0..=10).rev() {
            let order = order(number);
            while self.arena.free_pages() >= left + order.pages() {
                match self.arena.alloc(order) {
                    Ok(folio) => self.hog.push(folio),
                    Err(_) => break,
                }
            }
        }
    }

    /// What a write said, where the model allows it: as many bytes as there was memory for.
    fn wrote(
        &self,
        done: Result<usize, FileError>,
        at: u64,
        bytes: &[u8],
        model: &mut Model,
        faulty: bool,
    ) {
        let short = match done {
            Ok(count) => {
                model.write(at, &bytes[..count]);
                assert!(count > 0 || bytes.is_empty());
                count < bytes.len()
            }
            Err(FileError::OutOfMemory(_)) => true,
            Err(error) => panic!("{error}"),
        };
        if short {
            let stopped = at + done.unwrap_or(0) as u64;
            assert!(!is_backed(&folios(&self.file), stopped / PAGE));
            let fault = faulty && !self.arena.no_fault();
            assert!(fault || self.arena.free_pages() == 0, "there was memory");
        }
    }

    fn check(&self, model: &Model) {
        let file = &*self.file;
        assert_eq!(
            (file.size(), file.pos(), file.seals()),
            (model.size(), model.pos, model.seals)
        );
        assert!(contents(file) == model.bytes, "the contents");
        let all = folios(file);
        let mut end = 0;
        for (index, order) in &all {
            assert!(*order <= 9 && index.is_multiple_of(1 << order), "aligned");
            assert!(*index >= end && index * PAGE < model.size(), "in order");
            end = index + (1 << order);
        }
        let mut at = 0;
        file.read_with(0, u64::MAX, |piece| match piece {
            FilePiece::Data(bytes) => {
                assert!(is_backed(&all, at / PAGE) && !bytes.is_empty());
                let expected = &model.bytes[at as usize..at as usize + bytes.len()];
                assert!(bytes == expected);
                at += bytes.len() as u64;
            }
            FilePiece::Hole(len) => {
                assert!((at / PAGE..(at + len).div_ceil(PAGE)).all(|page| !is_backed(&all, page)));
                assert!(len > 0);
                at += len;
            }
        })
        .unwrap();
        assert_eq!(at, model.size());
        let mine: u64 = all.iter().map(|(_, order)| 1 << order).sum();
        let hog: u64 = self.hog.iter().map(|folio| folio.order().pages()).sum();
        let preserver = self.kho.preserver();
        let nodes = preserver.tracker(|tracker| tracker.nodes().count()) as u64;
        let unpreserved = if model.phase == Phase::Own { mine } else { 0 };
        let used = hog + nodes + preserver.pages() + unpreserved;
        assert_eq!(self.arena.free_pages(), self.whole - used);
    }

    fn step(&mut self, model: &mut Model, op: &Op, faulty: bool) {
        let file = self.file.clone();
        let before = folios(&file);
        match *op {
            Op::Write(at, len, seed) => {
                let bytes = pattern(seed, len);
                let done = file.write_at(at, &bytes);
                match model.may_write(at, len, &before) {
                    Ok(()) => self.wrote(done, at, &bytes, model, faulty),
                    Err(error) => assert_eq!(done, Err(error)),
                }
            }
            Op::Put(len, seed) if model.pos < 64 * PAGE => {
                let (bytes, at) = (pattern(seed, len), model.pos);
                let done = (&*file).write(&bytes);
                let may = model.may_write(at, len, &before);
                match (done, may) {
                    (Ok(count), Ok(())) => {
                        self.wrote(Ok(count), at, &bytes, model, faulty);
                        model.pos += count as u64;
                    }
                    (Err(error), Ok(())) if error.kind() == ErrorKind::StorageFull => {
                        let none = kho_mem::OutOfMemory { pages: 1 };
                        self.wrote(Err(none.into()), at, &bytes, model, faulty);
                    }
                    (Err(error), Ok(())) => assert_eq!(model.may_seek(), Err(error.kind())),
                    (done, Err(error)) => {
                        let kind = std::io::Error::from(error).kind();
                        assert_eq!(done.unwrap_err().kind(), kind);
                    }
                }
            }
            Op::Put(..) => {}
            Op::Read(len) => {
                let mut bytes = vec![0xee; len];
                let done = (&*file).read(&mut bytes).map_err(|error| error.kind());
                let from = model.pos.min(model.size()) as usize;
                let to = (from + len).min(model.bytes.len());
                let moved = if to > from { model.may_seek() } else { Ok(()) };
                assert_eq!(done, moved.map(|()| to - from));
                if moved.is_ok() {
                    assert!(bytes[..to - from] == model.bytes[from..to]);
                    model.pos += (to - from) as u64;
                }
            }
            Op::Truncate(size) => assert_eq!(file.truncate(size), model.truncate(size)),
            Op::Seal(seals) => assert_eq!(file.add_seals(seals), model.seal(seals)),
            Op::Seek(to) => {
                let done = (&*file).seek(to).map_err(|error| error.kind());
                assert_eq!(done, model.seek(to));
            }
            Op::Insert(index, number) => {
                let Ok(mut folio) = self.arena.alloc(order(number)) else {
                    return;
                };
                let bytes = pattern(number, folio.len());
                folio.copy_from_slice(&bytes);
                let may = model.may_insert(index, folio.order().pages(), &before);
                let done = file.insert(index, folio);
                // Why a place is none is said in words.
                let misplaced = matches!(done, Err(FileError::Misplaced(_)));
                assert!(
                    done == may || misplaced && may == Err(FileError::TooLarge(index)),
                    "{done:?}"
                );
                if may.is_ok() {
                    model.write(index * PAGE, &bytes);
                }
            }
            Op::Preserve => {
                let before = self.arena.free_blocks();
                let done = MemfdHandler.preserve(&self.kho, &file);
                match done {
                    Ok(preserved) => {
                        assert_eq!(model.phase, Phase::Own);
                        self.preserved = Some(preserved);
                        model.phase = Phase::Preserved;
                    }
                    Err(error) => {
                        assert_eq!(self.arena.free_blocks(), before);
                        let fault = faulty && !self.arena.no_fault();
                        let full = self.arena.free_pages() < 60;
                        let own = model.phase == Phase::Own;
                        assert_eq!(own, fault || own && full, "{error}");
                    }
                }
            }
            Op::Unpreserve => {
                if model.phase == Phase::Preserved {
                    MemfdHandler.unpreserve(&file, self.preserved.take().unwrap());
                    model.phase = Phase::Own;
                }
            }
            Op::Freeze => {
                if model.phase == Phase::Preserved {
                    let preserved = self.preserved.as_mut().unwrap();
                    MemfdHandler.freeze(&file, preserved).unwrap();
                    model.phase = Phase::Frozen;
                }
            }
            Op::Unfreeze => {
                if model.phase == Phase::Frozen {
                    let preserved = self.preserved.as_mut().unwrap();
                    MemfdHandler.unfreeze(&file, preserved);
                    model.phase = Phase::Preserved;
                }
            }
            Op::Hog(left) => self.hog(left),
            Op::Release => self.hog.clear(),
            Op::Fail(_) => {}
        }
        assert!(model.phase == Phase::Own || folios(&file) == before);
    }
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn a_file_is_a_vector(ops in ops()) {
        let mut world = World::new();
        let mut model = Model { bytes: Vec::new(), pos: 0, seals: 0, phase: Phase::Own };
        let mut faulty = false;
        for op in ops {
            world.step(&mut model, &op, faulty);
            // A fault is for the step after.
            world.arena.no_fault();
            faulty = matches!(op, Op::Fail(_));
            world.check(&model);
            if let Op::Fail(after) = op {
                world.arena.fail_after(after);
            }
        }
        let World { arena, whole, kho, file, preserved, hog } = world;
        arena.no_fault();
        if let Some(mut preserved) = preserved {
            MemfdHandler.unfreeze(&file, &mut preserved);
            MemfdHandler.unpreserve(&file, preserved);
        }
        prop_assert!(contents(&file) == model.bytes);
        drop((kho, file, hog));
        prop_assert_eq!(arena.free_pages(), whole, "every page comes back");
    }
}

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
                assert_eq!(file.seals(), seal);
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
        Err(FileError::UnknownSeals(SEALS | 0x40))
    );
    file.add_seals(SEALS).unwrap();
    assert_eq!(file.seals(), SEALS);
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
    file.read_with(10, u64::MAX, |piece| match piece {
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

/// All that preserving could have changed: the file, the allocator, the tracker, and every byte of
/// every page that is not free.
#[derive(PartialEq, Debug)]
struct Snapshot {
    file: (u64, u64, u32, Vec<(u64, u8)>),
    free: Vec<(usize, usize)>,
    keys: Vec<Key>,
    nodes: Vec<PhysAddr>,
    pages: BTreeMap<usize, Vec<u8>>,
}

fn snapshot(arena: &Arena, kho: &Kho, file: &MemFile) -> Snapshot {
    let free = arena.free_blocks();
    let mut is_free = vec![false; (arena.range().len() / PAGE) as usize];
    for (first, order) in &free {
        is_free[*first..first + (1 << order)].fill(true);
    }
    let read = |page: usize| (page, bytes_at(arena, page as u64 * PAGE, PAGE_SIZE));
    let used = (0..is_free.len()).filter(|page| !is_free[*page]);
    let (keys, nodes) = kho
        .preserver()
        .tracker(|tracker| (tracker.iter().collect(), tracker.nodes().collect()));
    Snapshot {
        file: (file.size(), file.pos(), file.seals(), folios(file)),
        keys,
        nodes,
        pages: used.map(read).collect(),
        free,
    }
}

/// Bytes of an arena in a memfd, by their offset in it.
fn bytes_at(arena: &Arena, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let file = arena.file().expect("an arena in a memfd");
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn same(one: &Snapshot, other: &Snapshot, what: &str) {
    assert_eq!(one.file, other.file, "{what}: the file");
    assert_eq!(one.free, other.free, "{what}: free blocks");
    assert_eq!(one.keys, other.keys, "{what}: keys");
    assert_eq!(one.nodes, other.nodes, "{what}: nodes");
    for (page, bytes) in &one.pages {
        assert!(*bytes == other.pages[page], "{what}: page {page}");
    }
}

/// A file of folios of several orders, and holes.
fn scattered(arena: &Arena) -> Arc<MemFile> {
    let file = MemFile::new(arena);
    for (index, pages) in [(0u64, 1), (2, 2), (8, 8), (512, 512), (1100, 3)] {
        let bytes = pattern(index as u8, pages * PAGE_SIZE);
        file.write_at(index * PAGE, &bytes).unwrap();
    }
    let expected = [(0, 0), (2, 1), (8, 3), (512, 9), (1100, 1), (1102, 0)];
    assert_eq!(folios(&file), expected);
    file.truncate(1110 * PAGE - 7).unwrap();
    file.set_pos(77).unwrap();
    Arc::new(file)
}

#[test]
fn every_failure_of_preserving_is_undone() {
    // Nodes for keys of orders 1, 3 and 9; three pages of the list; its chunk; the state.
    const POINTS: u64 = 5 + 5 + 4 + 3 + 1 + 1;
    let arena = Arena::memfd(&arena_config(16 << 20)).unwrap();
    let whole = arena.free_pages();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let file = scattered(&arena);
    let before = snapshot(&arena, &kho, &file);
    let expected = contents(&file);
    for failing in 0.. {
        arena.fail_after(failing);
        let done = MemfdHandler.preserve(&kho, &file);
        if arena.no_fault() {
            println!("{failing} allocations failed, each once");
            assert_eq!(failing, POINTS);
            MemfdHandler.unpreserve(&file, done.unwrap());
            break;
        }
        let error = done.unwrap_err().to_string();
        assert!(error.contains("out of memory"), "{error}");
        let what = format!("allocation {failing}");
        same(&snapshot(&arena, &kho, &file), &before, &what);
        assert!(contents(&file) == expected);
        file.add_seals(0).expect("it is its owner's still");
    }
    drop((file, kho));
    assert_eq!(arena.free_pages(), whole);
}

#[test]
fn contents_live_through_preserving_and_freezing() {
    let arena = Arena::memfd(&arena_config(16 << 20)).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let file = scattered(&arena);
    let (expected, folios_before) = (contents(&file), folios(&file));
    let mut preserved = MemfdHandler.preserve(&kho, &file).unwrap();
    let again = MemfdHandler.preserve(&kho, &file).unwrap_err();
    assert!(again.to_string().contains("preserved"), "{again}");
    assert_eq!(file.truncate(file.size()), Err(FileError::Preserved));
    assert_eq!(file.write_at(PAGE, b"hole"), Err(FileError::Preserved));
    assert_eq!(file.write_at(file.size(), b"x"), Err(FileError::Preserved));
    assert_eq!(file.add_seals(SEAL_GROW), Err(FileError::Preserved));
    let folio = arena.alloc(Order::ZERO).unwrap();
    assert_eq!(file.insert(1, folio), Err(FileError::Preserved));
    file.write_at(2 * PAGE, b"contents may change").unwrap();
    file.write_at(2 * PAGE, &expected[2 * PAGE_SIZE..2 * PAGE_SIZE + 19])
        .unwrap();
    file.set_pos(123).unwrap();

    let pos_at = |data: u64| bytes_at(&arena, data - BASE, 8);
    let data = MemfdHandler.freeze(&file, &mut preserved).unwrap();
    assert_eq!(pos_at(data), 123u64.to_le_bytes(), "refreshed");
    assert_eq!(file.write_at(0, b"x"), Err(FileError::Frozen));
    assert_eq!(file.set_pos(0), Err(FileError::Frozen));
    assert!(contents(&file) == expected, "it can be read");
    MemfdHandler.unfreeze(&file, &mut preserved);
    assert_eq!(pos_at(data), 77u64.to_le_bytes(), "as it was preserved");
    file.set_pos(5).unwrap();
    assert_eq!(MemfdHandler.freeze(&file, &mut preserved).unwrap(), data);
    assert_eq!(pos_at(data), 5u64.to_le_bytes());
    MemfdHandler.unfreeze(&file, &mut preserved);
    MemfdHandler.unpreserve(&file, preserved);
    assert_eq!((folios(&file), file.pos()), (folios_before, 5));
    assert!(contents(&file) == expected);
    assert_eq!(file.write_at(PAGE, b"hole").unwrap(), 4);
}

#[rustfmt::skip]
const STATE: [u8; 48] = [
    0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // pos: 9
    0x0a, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // size: 0x300a, three pages and 10 bytes
    0x05, 0x00, 0x00, 0x00,                         // seals: SEAL and GROW
    0x00, 0x00, 0x00, 0x00,                         // flags: none
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // nr_folios: 3
    0x00, 0x00, 0x01, 0x10, 0x00, 0x00, 0x00, 0x00, // folios: the first chunk at 0x10010000,
    0x01, 0x00, 0x00, 0x00,                         //     one page in all,
    0x01, 0x00,                                     //     flags: allocated,
    0x00, 0x00,                                     //     order 0
];

#[rustfmt::skip]
const LIST: [u8; 48] = [
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x30, 0x00, // page 0x10000, dirty and up to date (3 << 52)
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // index: 0
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // a hole
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // index: 1
    0x02, 0x00, 0x01, 0x00, 0x00, 0x00, 0x30, 0x00, // page 0x10002, and the one after it
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // index: 2
];

#[rustfmt::skip]
const CHUNK: [u8; 16] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // next: none
    0x00, 0xf0, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, // the list's page at 0x1000f000
];

#[rustfmt::skip]
const EMPTY: [u8; 48] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // pos: 0
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // size: 0
    0x00, 0x00, 0x00, 0x00,                         // seals: none
    0x00, 0x00, 0x00, 0x00,                         // flags: none
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // nr_folios: 0
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // folios: unset
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
];

fn page_of(bytes: &[u8]) -> Vec<u8> {
    let mut page = bytes.to_vec();
    page.resize(PAGE_SIZE, 0);
    page
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let arena = Arena::memfd(&arena_config(4 << 20)).unwrap();
    let file = Arc::new(MemFile::new(&arena));
    // The arena's first page, and the first two in a row that are left.
    file.write_at(0, b"hello").unwrap();
    file.write_at(2 * PAGE, &pattern(1, 2 * PAGE_SIZE)).unwrap();
    file.truncate(3 * PAGE + 10).unwrap();
    file.set_pos(9).unwrap();
    file.add_seals(SEAL_SEAL | SEAL_GROW).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let mut preserved = MemfdHandler.preserve(&kho, &file).unwrap();
    let data = MemfdHandler.freeze(&file, &mut preserved).unwrap();
    let page = |at: u64| bytes_at(&arena, at - BASE, PAGE_SIZE);
    // Pages 1 and 4 to 14 are the tracker's (the root, and five nodes for each order) and the FDT's.
    assert!(page(data) == page_of(&STATE), "{:x?}", &page(data)[..48]);
    assert!(
        page(0x1000_f000) == page_of(&LIST),
        "{:x?}",
        &page(0x1000_f000)[..48]
    );
    assert!(page(0x1001_0000) == page_of(&CHUNK));
    assert_eq!(page(0x1000_0000), page_of(b"hello"));
    assert_eq!(page(0x1000_2000), pattern(1, PAGE_SIZE));
    let last = page_of(&pattern(1, 2 * PAGE_SIZE)[PAGE_SIZE..PAGE_SIZE + 10]);
    assert_eq!(page(0x1000_3000), last, "nothing past the end");

    let empty = Arc::new(MemFile::new(&arena));
    let mut preserved = MemfdHandler.preserve(&kho, &empty).unwrap();
    let data = MemfdHandler.freeze(&empty, &mut preserved).unwrap();
    assert!(page(data) == page_of(&EMPTY));
}

fn take_over(arena: Arena, entry: kho_core::Entry) -> Incoming {
    let attached = Attached::open(arena.into_handed().unwrap(), entry).unwrap();
    let handlers = Handlers::new().with(MemfdHandler);
    let registry = Registry::linked().unwrap();
    Incoming::take_over(attached, registry, &policy::SemverRange, handlers).unwrap()
}

/// Hands `file` over; `forge` changes the arena's bytes as another writer might have left them.
fn handed_over(arena: Arena, file: Arc<MemFile>, forge: impl FnOnce(&Arena)) -> Incoming {
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
    let settled = incoming.settle();
    assert_eq!(file.write_at(0, b"x"), Err(FileError::NotFinished));
    assert_eq!(file.truncate(0), Err(FileError::NotFinished));
    assert_eq!(file.add_seals(SEAL_GROW), Err(FileError::NotFinished));
    let folio = settled.alloc(Order::ZERO).unwrap();
    assert_eq!(file.insert(1, folio), Err(FileError::NotFinished));
    let kho = Kho::new(settled, &KhoConfig::new()).unwrap();
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

#[test]
fn a_file_of_another_arena_is_refused() {
    let (here, there) = (arena(), arena());
    let kho = Kho::new(here, &KhoConfig::new()).unwrap();
    let file = Arc::new(MemFile::new(&there));
    file.write_at(0, b"elsewhere").unwrap();
    let keys = kho.preserver().keys();
    MemfdHandler
        .preserve(&kho, &file)
        .expect_err("its pages are not of this arena");
    assert_eq!(kho.preserver().keys(), keys);
}
