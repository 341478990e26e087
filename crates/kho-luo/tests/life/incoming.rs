//! Small lives of the incoming side, one for each unhappy path.

use super::*;

/// Sessions `vm` (two files with memory and an FLB of both kinds) and `empty`, over there.
struct There {
    stage: Stage,
    incoming: Incoming,
    session: IncomingSession,
    whole: u64,
}

fn there() -> There {
    let (stage, arena) = (Stage::default(), arena());
    let whole = arena.free_pages();
    let luo = orchestrator(&arena, &stage);
    drop(arena);
    let vm = luo.create_session("vm").unwrap();
    vm.preserve(1, FakeFile::new(11, FAKE, 100)).unwrap();
    vm.preserve(2, FakeFile::new(12, DECOY, 9000)).unwrap();
    let empty = luo.create_session("empty").unwrap();
    let frozen = luo.freeze().unwrap();
    drop((vm, empty, luo));
    let incoming = take_over(attach(frozen), handlers(&stage));
    let session = incoming.session("vm").unwrap();
    stage.calls();
    There {
        stage,
        incoming,
        session,
        whole,
    }
}

fn retrieved(session: &IncomingSession, token: u64) -> Arc<FakeFile> {
    let file = session.retrieve::<FakeFile>(token).unwrap();
    assert!(file.is_whole());
    file
}

#[test]
fn sessions_dropped_while_frozen_are_handed_over() {
    let There { incoming, .. } = there();
    let names: Vec<_> = incoming
        .sessions()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!((names, incoming.files()), (lines(&["vm", "empty"]), 2));
}

#[test]
fn a_failed_retrieve_keeps_failing_with_the_same_error() {
    let there = there();
    there.stage.fail("retrieve", 0);
    let first = there.session.retrieve_any(2).unwrap_err().to_string();
    let expected = "retrieving the file of token 0x2 in session `vm`: retrieve of 12 fails";
    assert_eq!(first, expected);
    let second = there.session.retrieve_any(2).unwrap_err().to_string();
    assert_eq!(second, first);
    assert_eq!(
        there.stage.calls(),
        lines(&["retrieve 12"]),
        "not tried again"
    );
    let file = retrieved(&there.session, 1);
    let arena = there.incoming.finish().unwrap();
    #[rustfmt::skip]
    let expected = [
        "retrieve 11", "can_finish 11", "can_finish nobody's", "finish 12 unretrieved", "finish 11",
        "FLB finish alone-v1 unretrieved", "FLB finish shared-v1 unretrieved",
    ];
    assert_eq!(there.stage.calls(), lines(&expected));
    assert!(file.is_own() && file.is_whole());
    assert_eq!(
        arena.free_pages(),
        there.whole - 1,
        "one page is the file's"
    );
}

#[test]
fn a_file_retrieved_twice_is_the_same_file() {
    let there = there();
    let first = retrieved(&there.session, 1);
    assert!(Arc::ptr_eq(&first, &retrieved(&there.session, 1)));
    assert_eq!(there.stage.calls(), lines(&["retrieve 11"]));
    let error = there.session.retrieve_any(3).unwrap_err().to_string();
    assert_eq!(error, "session `vm` has no file of token 0x3");
    let error = there.session.retrieve::<String>(1).unwrap_err().to_string();
    let expected = "the file of token 0x1 in session `vm` is of another kind: `fake`";
    assert_eq!(error, expected);
}

#[test]
fn a_session_is_retrieved_once() {
    let There {
        incoming, session, ..
    } = there();
    drop(session);
    let error = incoming.session("vm").unwrap_err();
    assert!(matches!(error, IncomingError::Retrieved(_)), "{error}");
    for name in ["v", "vm2", "", "a\0"] {
        let error = incoming.session(name).unwrap_err();
        assert!(matches!(error, IncomingError::NoSession(_)), "{error}");
    }
    assert!(incoming.session("empty").unwrap().tokens().is_empty());
}

#[test]
fn a_finish_that_is_refused_leaves_everything_unfinished() {
    let there = there();
    let file = retrieved(&there.session, 1);
    there.stage.calls();
    for (after, calls) in [(0, 1), (1, 2)] {
        let finishes: [&dyn Fn() -> Result<(), IncomingError>; 2] =
            [&|| there.session.finish(), &|| {
                there.incoming.finish().map(drop)
            }];
        for finish in finishes {
            there.stage.fail("can_finish", after);
            let error = finish().unwrap_err();
            assert!(
                matches!(error, IncomingError::CanNotFinish { .. }),
                "{error}"
            );
            let asked = ["can_finish 11", "can_finish nobody's"];
            assert_eq!(there.stage.calls(), lines(&asked[..calls]));
            assert!(!there.incoming.is_finished() && !file.is_own() && file.is_whole());
        }
    }
    let other = retrieved(&there.session, 2);
    there.incoming.finish().unwrap();
    assert!(file.is_own() && other.is_own());
}

#[test]
fn the_last_session_to_finish_ends_the_handover() {
    let there = there();
    let file = retrieved(&there.session, 2);
    there.stage.calls();
    there.session.finish().unwrap();
    let error = there.session.finish().unwrap_err();
    assert!(matches!(error, IncomingError::Finished(_)), "{error}");
    let error = there.session.retrieve_any(1).unwrap_err();
    assert!(matches!(error, IncomingError::Finished(_)), "{error}");
    assert!(!there.incoming.is_finished() && !file.is_own());
    let asked = ["can_finish nobody's", "can_finish 12"];
    assert_eq!(there.stage.calls(), lines(&asked), "asked, not finished");
    let empty = there.incoming.session("empty").unwrap();
    empty.finish().unwrap();
    assert!(there.incoming.is_finished() && file.is_own() && file.is_whole());
    let expected = [
        "finish 12",
        "finish 11 unretrieved",
        "FLB finish alone-v1 unretrieved",
        "FLB finish shared-v1 unretrieved",
    ];
    assert_eq!(there.stage.calls(), lines(&expected));
    let arena = there.incoming.finish().unwrap();
    assert_eq!(there.stage.calls(), lines(&[]), "finished once");
    file.release();
    assert_eq!(arena.free_pages(), there.whole);
}

#[test]
fn an_flb_is_retrieved_and_finished_once() {
    let there = there();
    let object = there.incoming.flb::<FlbObject>("shared-v1").unwrap();
    assert_eq!(object.0, "shared-v1");
    let again = there.incoming.flb::<FlbObject>("shared-v1").unwrap();
    assert!(Arc::ptr_eq(&object, &again));
    assert_eq!(there.stage.calls(), lines(&["FLB retrieve shared-v1"]));
    there.stage.fail("FLB retrieve", 0);
    let first = there.incoming.flb::<FlbObject>("alone-v1").unwrap_err();
    let second = there.incoming.flb::<FlbObject>("alone-v1").unwrap_err();
    let expected = "retrieving the FLB `alone-v1`: FLB retrieve of alone-v1 fails";
    assert_eq!(
        (first.to_string(), second.to_string()),
        (expected.to_owned(), expected.to_owned())
    );
    for error in [
        there.incoming.flb::<FlbObject>("other-v1").unwrap_err(),
        there.incoming.flb::<String>("shared-v1").unwrap_err(),
    ] {
        assert!(matches!(error, IncomingError::NoFlb(_)), "{error}");
    }
    there.stage.calls();
    there.incoming.finish().unwrap();
    there.incoming.finish().unwrap();
    let expected = [
        "can_finish nobody's",
        "can_finish nobody's",
        "finish 12 unretrieved",
        "finish 11 unretrieved",
        "FLB finish alone-v1 unretrieved",
        "FLB finish shared-v1",
    ];
    assert_eq!(there.stage.calls(), lines(&expected));
}

/// All bytes of the handover, and what of it is still handed.
fn handed_bytes(incoming: &Incoming) -> (u64, Vec<u8>) {
    let attached = incoming.held().read();
    let handed = attached.handed();
    let bytes = handed.bytes(PhysAddr::new(BASE), SIZE as usize);
    (handed.pages(), bytes.unwrap().into_owned())
}

#[test]
fn a_handover_that_is_handed_back_can_be_taken_over_again() {
    let There {
        stage,
        incoming,
        session,
        whole,
    } = there();
    let before = handed_bytes(&incoming);
    let file = retrieved(&session, 1);
    incoming.flb::<FlbObject>("shared-v1").unwrap();
    stage.fail("retrieve", 0);
    session.retrieve_any(2).unwrap_err();
    let incoming = incoming.into_attached().expect_err("a session is there");
    assert!(Arc::ptr_eq(&file, &retrieved(&session, 1)));
    session.finish().unwrap();
    drop((session, file));
    let attached = incoming.into_attached().unwrap();
    let incoming = take_over(attached, handlers(&stage));
    assert!(handed_bytes(&incoming) == before, "nothing changed");
    let session = incoming.session("vm").unwrap();
    let files = [retrieved(&session, 1), retrieved(&session, 2)];
    let arena = incoming.finish().unwrap();
    assert!(files.iter().all(|file| file.is_own() && file.is_whole()));
    drop(files);
    assert_eq!(arena.free_pages(), whole);
    incoming.into_attached().expect_err("finished");
}

#[test]
fn a_handing_back_that_is_refused_changes_nothing() {
    let There {
        stage,
        incoming,
        session,
        ..
    } = there();
    let file = retrieved(&session, 1);
    let object = incoming.flb::<FlbObject>("shared-v1").unwrap();
    drop(session);
    let incoming = incoming.into_attached().expect_err("a file refers to it");
    stage.calls();
    let again = incoming.flb::<FlbObject>("shared-v1");
    assert!(Arc::ptr_eq(&again.expect("the same object"), &object));
    incoming.finish().unwrap();
    assert!(file.is_own(), "{:?}", stage.calls());
    assert!(file.is_whole());
}

#[test]
fn a_handover_that_is_not_taken_over_is_as_it_was() {
    let There {
        stage,
        incoming,
        session,
        ..
    } = there();
    drop(session);
    let before = handed_bytes(&incoming);
    let attached = incoming.into_attached().unwrap();
    let registry = Registry::linked().unwrap();
    let only_fake = Handlers::new().with(Fake {
        kind: FAKE,
        version: 1,
        stage: stage.clone(),
    });
    let failed = Incoming::take_over(attached, only_fake, registry);
    let failed = failed.unwrap_err();
    let text = "1 files are `decoy-v3`, for which this program has no handler";
    assert!(matches!(failed.error, TakeOverError::NoHandler { .. }));
    assert_eq!(failed.to_string(), text);
    let incoming = take_over(failed.returned, handlers(&stage));
    assert!(handed_bytes(&incoming) == before);
    assert_eq!(stage.calls(), lines(&[]));
}

#[test]
fn a_handover_is_not_taken_over_by_two_handlers_of_a_component() {
    let There {
        stage,
        incoming,
        session,
        ..
    } = there();
    drop(session);
    let before = handed_bytes(&incoming);
    let mut attached = incoming.into_attached().unwrap();
    let registry = Registry::linked().unwrap();
    for (handlers, text) in duplicates(&stage) {
        let failed = Incoming::take_over(attached, handlers, registry).unwrap_err();
        assert!(matches!(failed.error, TakeOverError::DuplicateHandler(_)));
        assert_eq!(failed.to_string(), text);
        attached = failed.returned;
    }
    let incoming = take_over(attached, handlers(&stage));
    assert!(handed_bytes(&incoming) == before);
    assert_eq!(stage.calls(), lines(&[]));
}

#[test]
fn a_handover_without_luo_is_refused() {
    let kho = kho(arena(), Writing::PLAIN);
    let entry = kho.entry();
    let handed = kho.hand_over().unwrap().into_handed().unwrap();
    let attached = Attached::open(handed, entry).unwrap();
    let registry = Registry::linked().unwrap();
    let stage = Stage::default();
    let failed = Incoming::take_over(attached, handlers(&stage), registry);
    assert!(matches!(failed.unwrap_err().error, TakeOverError::NoLuo));
}
