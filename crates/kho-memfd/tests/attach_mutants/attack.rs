//! Attaching to what may be damaged: whatever comes of it, no memory has two owners and nothing else changes.

use super::*;

fn contents(file: &MemFile, limit: u64) -> (u64, Vec<u8>) {
    let (mut len, mut bytes) = (0, Vec::new());
    let size = file.size();
    file.for_each_piece(0, u64::MAX, |piece| match piece {
        FilePiece::Data(data) => {
            len += data.len() as u64;
            let room = (limit as usize).saturating_sub(bytes.len());
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
        FilePiece::Hole(hole) => {
            len += hole;
            let room = (limit as usize).saturating_sub(bytes.len());
            bytes.resize(bytes.len() + room.min(hole as usize), 0);
        }
    })
    .unwrap_or_else(|error| panic!("reading a file of {size} bytes: {error}"));
    assert_eq!(len, size, "the pieces are the file");
    (len, bytes)
}

/// Whether each byte is `mark`.
fn is_all(bytes: &[u8], mark: u8) -> bool {
    // By comparing memory: this is run some million times.
    let page = [mark; PAGE_SIZE];
    bytes
        .chunks(PAGE_SIZE)
        .all(|chunk| chunk == &page[..chunk.len()])
}

/// Allocates every free page by itself, fills it, and checks where it lies.
fn all_free(arena: &Arena, base: u64, fill: u8, allowed: impl Fn(usize) -> bool) -> Vec<Folio> {
    let mut folios = Vec::new();
    let mut seen = vec![false; PAGES];
    let free = arena.free_pages();
    while let Ok(mut folio) = arena.alloc(Order::ZERO) {
        let page = ((folio.addr().get() - base) / PAGE_SIZE_U64) as usize;
        assert!(
            !std::mem::replace(&mut seen[page], true),
            "page {page:#x} is free twice"
        );
        assert!(allowed(page), "page {page:#x} is given out");
        folio.fill(fill);
        folios.push(folio);
    }
    assert_eq!(folios.len() as u64, free, "as many as it says");
    folios
}

/// Takes the handover in `world` at `entry` over and does everything to it that a program may.
/// Returns whether memory may have changed.
pub(super) fn attack(
    world: &World,
    entry: Entry,
    pool: &Pool,
    random: &mut Random,
    n: &mut Counts,
) -> bool {
    let base = world.base;
    let handed = world.handed();
    let deep = random.once_in(16);
    let found = deep.then(|| read_all(&world.file));
    let unchanged = |what: &str| {
        if let Some(found) = &found {
            assert!(
                *found == read_all(&world.file),
                "{what}: memory has changed"
            );
        }
    };
    let mut attached = match Attached::open(handed, entry) {
        Ok(attached) => attached,
        Err(failed) => {
            n.not_opened += 1;
            let _ = failed.error.to_string();
            assert_eq!(failed.returned.pages(), PAGES as u64, "as it was");
            unchanged("opening");
            return false;
        }
    };
    let kept = kept(&attached.handover(), base);
    let areas: Vec<PhysRange> = attached
        .handover()
        .scratch()
        .map(|table| table.areas().to_vec())
        .unwrap_or_default();
    let carved = |page: usize| {
        let addr = PhysAddr::new(base + page as u64 * PAGE_SIZE_U64);
        addr.is_null() || areas.iter().any(|area| area.contains(addr))
    };
    let kept_runs = runs(&kept);
    let read_kept = || {
        let mut bytes = vec![0; kept.iter().filter(|kept| **kept).count() * PAGE_SIZE];
        let mut rest = &mut bytes[..];
        for (from, to) in &kept_runs {
            let head = rest.split_off_mut(..(to - from) * PAGE_SIZE).unwrap();
            let at = (from * PAGE_SIZE) as u64;
            world.file.read_exact_at(head, at).unwrap();
        }
        bytes
    };
    let before = read_kept();
    // What was kept is as it was found, whatever was written elsewhere.
    let same = |what: &str| assert!(before == read_kept(), "{what}: memory has changed");
    let mut dirty = false;
    let mut mine = Vec::new();
    let usable = |page: usize| !kept[page] && !carved(page);
    if random.once_in(4) {
        let arena = attached.reclaim();
        mine = all_free(&arena, base, 0xa1, usable);
        dirty = true;
    }
    let registry = Registry::linked().unwrap();
    let handlers = handlers(&pool.table);
    let mut incoming = match Incoming::take_over(attached, handlers.clone(), registry) {
        Ok(incoming) => incoming,
        Err(failed) => {
            n.not_taken += 1;
            let _ = failed.error.to_string();
            let handed = failed.returned.into_handed();
            if !dirty {
                assert_eq!(handed.pages(), PAGES as u64, "as it was");
                unchanged("taking over");
            }
            same("refused");
            return dirty;
        }
    };
    n.taken += 1;
    for again in 0..2 {
        if mine.is_empty() && random.once_in(2) {
            mine = all_free(&incoming.reclaim(), base, 0xa2, usable);
            dirty = true;
        }
        let names = incoming.sessions();
        let mut sessions: Vec<_> = names
            .iter()
            .map(|name| incoming.session(name.as_bytes()).unwrap())
            .collect();
        for name in &names {
            assert!(incoming.session(name.as_bytes()).is_err(), "once");
        }
        let mut files: Vec<Arc<MemFile>> = Vec::new();
        let mut others = Vec::new();
        let all = !random.once_in(4);
        for session in &sessions {
            for token in session.tokens() {
                if !all && random.once_in(2) {
                    continue;
                }
                match session.retrieve_any(token) {
                    Ok(file) => {
                        n.files += 1;
                        assert!(Arc::ptr_eq(&file, &session.retrieve_any(token).unwrap()));
                        match file.clone().downcast::<MemFile>() {
                            Ok(file) => files.push(file),
                            Err(_) => {
                                let fd = file.clone().downcast::<FdFile>().unwrap();
                                drop(fd.duplicate().unwrap());
                                n.descriptors += 1;
                                others.push(file);
                            }
                        }
                    }
                    Err(error) => {
                        n.files_failed += 1;
                        assert!(matches!(error, IncomingError::Retrieve { .. }), "{error}");
                        let twice = session.retrieve_any(token).unwrap_err();
                        assert_eq!(error.to_string(), twice.to_string());
                    }
                }
            }
        }
        let flb = incoming.flb::<Object>(FLB).ok();
        n.flbs += u64::from(flb.is_some());
        let held: Vec<_> = files.iter().map(|file| contents(file, 2 << 20)).collect();
        for file in &files {
            assert!(file.write_at(0, b"x").is_err() && file.truncate(0).is_err());
            let _ = file.set_pos(5);
        }
        same("retrieved");
        if again == 0 && random.once_in(3) {
            // Back, and again.
            let kept_file = random.once_in(2).then(|| files.first().cloned()).flatten();
            drop((files, others, flb, sessions));
            let back = match incoming.into_attached() {
                Ok(back) => {
                    assert!(kept_file.is_none());
                    back
                }
                Err(incoming) => {
                    let kept_file = kept_file.expect("nothing is in use");
                    contents(&kept_file, 1);
                    drop(kept_file);
                    incoming
                        .into_attached()
                        .expect("nothing is in use any more")
                }
            };
            n.handed_back += 1;
            same("handed back");
            let handed = back.into_handed();
            let reopened = Attached::open(handed, entry);
            let reopened = reopened.map_err(|failed| failed.error).expect("as it was");
            let taken = Incoming::take_over(reopened, handlers.clone(), registry);
            incoming = taken.map_err(|failed| failed.error).expect("as it was");
            continue;
        }
        if random.once_in(5) {
            // Never finished: it stays what it was.
            drop((incoming, sessions));
            held.iter().zip(&files).for_each(|(held, file)| {
                assert!(contents(file, 2 << 20) == *held);
            });
            same("dropped");
            return dirty;
        }
        // Finished, by session or as a whole.
        let by_session = random.once_in(2);
        let done = if by_session {
            let mut done = Ok(());
            for session in sessions.drain(..).rev() {
                done = done.and_then(|()| session.finish());
                if !incoming.is_finished() {
                    same("a session finished");
                }
            }
            done.and_then(|()| incoming.finish())
        } else {
            incoming.finish()
        };
        let arena = match done {
            Ok(arena) => arena,
            Err(error) => {
                // Every folio was claimed once.
                n.can_not_finish += 1;
                panic!("{error}");
            }
        };
        n.finished += 1;
        assert!(incoming.is_finished());
        assert!(incoming.finish().is_ok(), "and stays so");
        // Everything that is free is written to; no file sees it.
        mine.extend(all_free(&arena, base, 0xa3, |page| !carved(page)));
        for (held, file) in held.iter().zip(&files) {
            assert!(contents(file, 2 << 20) == *held, "a file changed");
        }
        // Every file is written to; none sees the other.
        mine.clear();
        let mut written = HashMap::new();
        for (at, file) in files.iter().enumerate() {
            let len = file.size().min(2 << 20) as usize;
            if let Ok(done) = file.write_at(0, &vec![at as u8 ^ 0x55; len]) {
                written.insert(at, done);
            }
        }
        let object = flb.as_ref().and_then(|flb| {
            let mut folio = flb
                .1
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()?;
            folio.fill(0xf1);
            Some(folio)
        });
        mine = all_free(&arena, base, 0xa4, |page| !carved(page));
        for (at, done) in written {
            let (_, bytes) = contents(&files[at], 2 << 20);
            let mark = at as u8 ^ 0x55;
            assert!(is_all(&bytes[..done], mark), "two owners of a page");
        }
        assert!(object.is_none_or(|folio| is_all(&folio, 0xf1)));
        for folio in &mine {
            assert!(is_all(folio, 0xa4), "two owners of a page");
        }
        mine.clear();
        for file in &files {
            let size = file.size();
            let _ = file.truncate(size / 2);
            let _ = file.truncate(size.saturating_add(10_000));
            if file.truncate(size / 3).is_ok() && file.seals().is_empty() {
                let _ = file.write_at(size / 2 + 5000, b"far");
            }
            contents(file, 1 << 20);
        }
        drop((files, others, flb, sessions, incoming, handlers));
        let whole = (0..PAGES).filter(|page| !carved(*page)).count() as u64;
        assert_eq!(
            arena.free_pages(),
            whole,
            "not a page is lost, and none is there twice"
        );
        let all = all_free(&arena, base, 0xa5, |page| !carved(page));
        n.pages_checked += all.len() as u64;
        drop(all);
        // All is free: in the largest blocks that there can be.
        let sum: usize = arena
            .free_blocks()
            .iter()
            .map(|(_, order)| 1 << order)
            .sum();
        assert_eq!(sum as u64, whole);
        assert!(
            arena.into_handed().is_ok(),
            "nothing owns anything any more"
        );
        return true;
    }
    unreachable!("the second time ends")
}
