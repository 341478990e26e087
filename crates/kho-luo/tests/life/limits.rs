//! The format's limits.

use super::*;

/// Files that need no memory.
struct Number;

impl FileHandler for Number {
    type File = u64;
    type Preserved = ();

    fn component(&self) -> &'static str {
        FAKE
    }

    fn writes(&self) -> &[u32] {
        &[1]
    }

    fn preserve(&self, _: &Kho, _: &Arc<u64>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn unpreserve(&self, _: &Arc<u64>, (): ()) {}

    fn freeze(&self, file: &Arc<u64>, (): &mut ()) -> Result<u64, HandlerError> {
        Ok(**file)
    }

    fn unfreeze(&self, _: &Arc<u64>, (): &mut ()) {}

    fn hand_over(&self, _: &Arc<u64>, (): ()) {}

    fn retrieve(&self, _: &mut Retrieve<'_>, data: u64) -> Result<Arc<u64>, HandlerError> {
        Ok(Arc::new(data))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<u64>>) {}
}

fn large() -> (Arena, Orchestrator) {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(BASE), 48 << 20)).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let handlers = Handlers::new().with(Number);
    (arena, Orchestrator::new(kho, handlers, 0).unwrap())
}

/// What one more would change.
fn counts(arena: &Arena, luo: &Orchestrator) -> (Vec<(usize, usize)>, u64, usize) {
    let keys = luo.kho().preserver().keys();
    (arena.free_blocks(), keys, luo.sessions())
}

#[test]
fn a_session_holds_630000_files_and_not_one_more() {
    let (arena, luo) = large();
    let whole = arena.free_pages();
    let session = luo.create_session("full").unwrap();
    for token in 0..630_000 {
        session.preserve(token, Arc::new(!token)).unwrap();
    }
    let full = counts(&arena, &luo);
    assert_eq!(
        full.1,
        3 + 1 + 10_000,
        "a block of sessions and all of files"
    );
    let error = session.preserve(630_000, Arc::new(0u64)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file set of the session: a set holds at most 630000 entries of 64 bytes in its \
         10000 blocks, not 630001"
    );
    assert_eq!((counts(&arena, &luo), session.files()), (full, 630_000));
    let frozen = luo.freeze().unwrap();
    drop((session, luo, arena));
    let incoming = take_over(attach(frozen), Handlers::new().with(Number));
    assert_eq!(incoming.files(), 630_000);
    let session = incoming.session("full").unwrap();
    for token in [629_999, 0, 63, 62, 400_000] {
        assert_eq!(*session.retrieve::<u64>(token).unwrap(), !token);
    }
    let arena = incoming.finish().unwrap();
    assert!(arena.free_pages() > whole);
}

#[test]
fn there_are_510000_sessions_and_not_one_more() {
    let (arena, luo) = large();
    let mut sessions: Vec<_> = (0..510_000)
        .map(|number| luo.create_session(format!("s{number}")).unwrap())
        .collect();
    let full = counts(&arena, &luo);
    assert_eq!((full.1, full.2), (3 + 10_000, 510_000));
    let error = luo.create_session("more").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the session set: a set holds at most 510000 entries of 80 bytes in its 10000 blocks, \
         not 510001"
    );
    assert_eq!(counts(&arena, &luo), full);
    // One that is closed makes room for another.
    drop(sessions.swap_remove(0));
    sessions.push(luo.create_session("more").unwrap());
    assert_eq!(counts(&arena, &luo), full);
    let frozen = luo.freeze().unwrap();
    drop((sessions, luo, arena));
    let incoming = take_over(attach(frozen), Handlers::new().with(Number));
    let names = incoming.sessions();
    assert_eq!(names.len(), 510_000);
    assert_eq!(names[0].as_str(), Some("s1"));
    assert_eq!(names[509_999].as_str(), Some("more"));
    assert!(incoming.session("s509999").unwrap().tokens().is_empty());
}
