//! What is done with a file, and what the model says.

use super::*;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(0x006b_686f),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
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
            (file.size(), file.pos(), file.seals().bits()),
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
        file.for_each_piece(0, u64::MAX, |piece| match piece {
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
