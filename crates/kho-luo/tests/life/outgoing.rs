//! Small lives of the outgoing side, one for each unhappy path.

use super::*;

#[test]
fn a_session_has_a_name_of_its_own() {
    let arena = arena();
    let luo = orchestrator(&arena, &Stage::default());
    for bad in [&b""[..], b"a\0b", &[b'x'; 64]] {
        let error = luo.create_session(bad).unwrap_err();
        assert!(matches!(error, LuoError::BadName(_)), "{error}");
    }
    let longest = luo.create_session([b'x'; 63]).unwrap();
    let before = (arena.free_blocks(), luo.kho().preserver().keys());
    let error = luo.create_session([b'x'; 63]).unwrap_err();
    let expected = format!("there is a session `{}` already", "x".repeat(63));
    assert_eq!(error.to_string(), expected);
    assert_eq!(
        (arena.free_blocks(), luo.kho().preserver().keys()),
        before,
        "nothing changed"
    );
    longest.close();
    luo.create_session([b'x'; 63]).unwrap();
}

#[test]
fn a_token_is_taken_once_per_session() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    one.preserve(7, FakeFile::new(1, FAKE, 0)).unwrap();
    stage.calls();
    let error = one.preserve(7, FakeFile::new(2, FAKE, 0)).unwrap_err();
    let expected = "session `one` has a file of token 0x7 already";
    assert_eq!(error.to_string(), expected);
    assert_eq!((stage.calls(), one.files()), (Vec::new(), 1));
    two.preserve(7, FakeFile::new(2, FAKE, 0)).unwrap();
}

#[test]
fn a_file_is_busy_in_every_session() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    let file = FakeFile::new(1, FAKE, 100);
    one.preserve(1, file.clone()).unwrap();
    for (session, token) in [(&one, 2), (&two, 1)] {
        let error = session.preserve(token, file.clone()).unwrap_err();
        assert_eq!(why(&error), "busy");
    }
    one.close();
    two.preserve(1, file).unwrap();
}

#[test]
fn a_file_without_a_handler_is_refused() {
    let stage = Stage::default();
    let arena = arena();
    let luo = orchestrator(&arena, &stage);
    let session = luo.create_session("vm").unwrap();
    let before = arena.free_blocks();
    for file in [
        FakeFile::new(1, "none", 100) as kho_luo::FileRef,
        Arc::new("text".to_owned()),
    ] {
        assert_eq!(why(&session.preserve(1, file).unwrap_err()), "no handler");
    }
    assert_eq!((stage.calls(), arena.free_blocks()), (Vec::new(), before));
}

#[test]
fn handlers_are_asked_in_order_of_registration() {
    // Of two that take the same files the first has them; the second is never asked.
    let (first, second) = (Stage::default(), Stage::default());
    let of = |kind, version, stage: &Stage| Fake {
        kind,
        version,
        stage: stage.clone(),
    };
    let handlers = Handlers::new()
        .with(of(DECOY, 3, &first))
        .with(of(FAKE, 1, &second));
    let luo = Orchestrator::new(kho(arena(), Writing::PLAIN), handlers, 0).unwrap();
    let session = luo.create_session("vm").unwrap();
    session.preserve(1, FakeFile::new(1, ANY, 0)).unwrap();
    assert_eq!(first.calls(), lines(&["preserve 1"]));
    assert_eq!(second.calls(), lines(&[]));
}

#[test]
fn a_second_handler_of_a_component_is_refused() {
    let stage = Stage::default();
    for (handlers, text) in duplicates(&stage) {
        let arena = arena();
        let kho = kho(arena.clone(), Writing::PLAIN);
        let before = (arena.free_blocks(), kho.preserver().keys());
        let error = Orchestrator::new(kho.clone(), handlers, 0).unwrap_err();
        assert!(matches!(error, LuoError::DuplicateHandler(_)), "{error}");
        assert_eq!(error.to_string(), text);
        assert_eq!((arena.free_blocks(), kho.preserver().keys()), before);
    }
}

#[test]
fn a_handler_whose_component_is_not_linked_is_refused() {
    let stage = Stage::default();
    let unlinked = Fake {
        kind: "unlinked",
        version: 1,
        stage,
    };
    let arena = arena();
    let kho = kho(arena.clone(), Writing::PLAIN);
    let before = (arena.free_blocks(), kho.preserver().keys());
    let error = Orchestrator::new(kho.clone(), Handlers::new().with(unlinked), 0).unwrap_err();
    assert!(matches!(error, LuoError::Registry(_)), "{error}");
    assert_eq!((arena.free_blocks(), kho.preserver().keys()), before);
}

#[test]
fn flbs_have_names_that_fit_and_63_fit_the_area() {
    let with = |names: &[String]| {
        let names = names.iter().map(|name| &*name.clone().leak());
        let stage = Stage::default();
        let handlers = names.fold(handlers(&stage), |handlers, name| {
            let stage = stage.clone();
            handlers.with_flb([FAKE], FakeFlb { name, stage })
        });
        let arena = arena();
        let kho = kho(arena.clone(), Writing::PLAIN);
        let before = (arena.free_blocks(), kho.preserver().keys());
        let made = Orchestrator::new(kho.clone(), handlers, 0).map(drop);
        if made.is_err() {
            assert_eq!((arena.free_blocks(), kho.preserver().keys()), before);
        }
        made.map_err(|error| error.to_string())
    };
    for bad in [
        "".to_owned(),
        "a\n".to_owned(),
        "ä".to_owned(),
        "x".repeat(48),
    ] {
        let error = with(std::slice::from_ref(&bad)).unwrap_err();
        let expected = format!("`{bad}` is no FLB's name: 1 to 47 printable bytes are");
        assert_eq!(error, expected);
    }
    with(&["x".repeat(47)]).unwrap();
    // Two are there already.
    let more: Vec<_> = (0..62).map(|number| format!("flb-v{number}")).collect();
    with(&more[..61]).unwrap();
    assert_eq!(with(&more).unwrap_err(), "64 FLBs, where 63 fit");
}

#[test]
fn what_is_frozen_refuses_everything() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let session = luo.create_session("vm").unwrap();
    session.preserve(1, FakeFile::new(1, FAKE, 100)).unwrap();
    let frozen = luo.freeze().unwrap();
    stage.calls();
    let refusals = [
        luo.create_session("more").unwrap_err(),
        luo.create_session("vm").unwrap_err(),
        session.preserve(2, FakeFile::new(2, FAKE, 0)).unwrap_err(),
        luo.freeze().unwrap_err(),
    ];
    assert!(refusals.iter().all(|error| why(error) == "frozen"));
    assert_eq!(stage.calls(), lines(&[]));
    let frozen = frozen.hand_over().expect_err("a session is open");
    assert_eq!(why(&luo.freeze().unwrap_err()), "frozen", "as before");
    frozen.unfreeze();
    assert_eq!(stage.calls(), lines(&["unfreeze 1"]));
    session.preserve(2, FakeFile::new(2, FAKE, 0)).unwrap();
    luo.create_session("more").unwrap();
}

#[test]
fn sessions_dropped_while_frozen_are_closed_when_thawed() {
    let stage = Stage::default();
    let arena = arena();
    let luo = orchestrator(&arena, &stage);
    let sessions: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|name| luo.create_session(name).unwrap())
        .collect();
    for (index, session) in sessions.iter().enumerate() {
        let id = index as u64 * 10;
        session.preserve(1, FakeFile::new(id, FAKE, 100)).unwrap();
        session
            .preserve(2, FakeFile::new(id + 1, DECOY, 0))
            .unwrap();
    }
    let frozen = luo.freeze().unwrap();
    stage.calls();
    let [one, two, three] = <[_; 3]>::try_from(sessions).unwrap();
    drop((three, one));
    assert_eq!((stage.calls(), luo.sessions()), (Vec::new(), 3), "waiting");
    drop(frozen);
    #[rustfmt::skip]
    let expected = [
        "unfreeze 21", "unfreeze 20", "unfreeze 11", "unfreeze 10", "unfreeze 1", "unfreeze 0",
        "unpreserve 21", "unpreserve 20", "unpreserve 1", "unpreserve 0",
    ];
    assert_eq!(stage.calls(), lines(&expected), "in order of closing");
    assert_eq!((luo.sessions(), two.files(), stage.alive()), (1, 2, (2, 2)));
    luo.create_session("one").unwrap();
}

#[test]
fn sessions_keep_their_order_where_many_were_closed() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let mut sessions: Vec<_> = (0..200)
        .map(|n| (n, luo.create_session(format!("s{n}")).unwrap()))
        .collect();
    for (n, session) in &sessions {
        session.preserve(*n, FakeFile::new(*n, FAKE, 0)).unwrap();
    }
    sessions.retain(|(n, _)| n % 9 == 4);
    for n in 200..210 {
        sessions.push((n, luo.create_session(format!("s{n}")).unwrap()));
    }
    sessions.retain(|(n, _)| n % 2 == 0);
    // They are still found by their names.
    for (n, session) in &sessions {
        session
            .preserve(1000, FakeFile::new(1000 + n, DECOY, 0))
            .unwrap();
    }
    let expected: Vec<_> = sessions.iter().map(|(n, _)| format!("s{n}")).collect();
    assert_eq!(luo.sessions(), expected.len());
    let frozen = luo.freeze().unwrap();
    drop((sessions, luo));
    let incoming = take_over(attach(frozen), handlers(&stage));
    let names: Vec<_> = incoming
        .sessions()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, expected);
}

#[test]
fn a_freeze_that_fails_unfreezes_the_latest_first() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let sessions: Vec<_> = (0..3)
        .map(|n| luo.create_session(format!("s{n}")).unwrap())
        .collect();
    for (id, session) in [(0, 0), (1, 0), (2, 2), (3, 2), (4, 2)] {
        let file = FakeFile::new(id, if id % 2 == 0 { FAKE } else { DECOY }, 10);
        sessions[session].preserve(id, file).unwrap();
    }
    stage.calls();
    stage.fail("freeze", 3);
    let error = luo.freeze().unwrap_err();
    let expected = "freeze of the file of token 0x3 in session `s2` by handler `decoy`: \
                    freeze of 3 fails";
    assert_eq!(error.to_string(), expected);
    #[rustfmt::skip]
    let expected = [
        "freeze 0", "freeze 1", "freeze 2", "freeze 3", "unfreeze 2", "unfreeze 1", "unfreeze 0",
    ];
    assert_eq!(stage.calls(), lines(&expected));
    drop(luo.freeze().unwrap());
}

#[test]
fn an_flb_comes_with_the_first_file_and_goes_with_the_last() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    one.preserve(1, FakeFile::new(1, DECOY, 0)).unwrap();
    two.preserve(1, FakeFile::new(2, FAKE, 0)).unwrap();
    two.preserve(2, FakeFile::new(3, FAKE, 0)).unwrap();
    one.close();
    two.close();
    #[rustfmt::skip]
    let expected = [
        "FLB preserve shared-v1", "preserve 1", "FLB preserve alone-v1", "preserve 2", "preserve 3",
        "unpreserve 1", "unpreserve 3", "unpreserve 2", "FLB unpreserve alone-v1",
        "FLB unpreserve shared-v1",
    ];
    assert_eq!(stage.calls(), lines(&expected));
}

#[test]
fn an_orchestrator_that_is_dropped_leaves_the_core_as_it_was() {
    let arena = arena();
    let kho = kho(arena.clone(), Writing::PLAIN);
    let keys: BTreeSet<Key> = kho.preserver().tracker(|tracker| tracker.iter().collect());
    let new = || Orchestrator::new(kho.clone(), handlers(&Stage::default()), 0);
    drop(new().unwrap());
    let left: BTreeSet<Key> = kho.preserver().tracker(|tracker| tracker.iter().collect());
    assert_eq!(left, keys);
    drop(new().expect("it can be made again"));
}
