//! A policy that judges while restoring: each component in its turn.

use kho_luo::IncomingSession;

use super::*;

static NOTE_2: Component = Component::new("note", &[Generation::new(2)])
    .carried_in(Carrier::FileHandler)
    .field(48);
/// Another kind of file, which everybody knows.
static OTHER: Component = Component::new("other", &[Generation::new(1)])
    .carried_in(Carrier::FileHandler)
    .field(48);

fn both() -> Handlers {
    let (kind, version) = ("other", 1);
    handlers().with(Notes { kind, version })
}

/// A handover of two kinds of files, in a session each.
fn two_kinds(side: &Side) -> (kho_mem::Handed, Entry) {
    let luo = Orchestrator::new(kho(Writing::TABLE, side).unwrap(), both(), 0).unwrap();
    let sessions = ["other", "note"].map(|kind| {
        let session = luo.create_session(kind).unwrap();
        session.preserve(1, Note::new(kind, 7)).unwrap();
        session
    });
    let frozen = luo.freeze().unwrap();
    drop((luo, sessions));
    let (arena, entry) = frozen.hand_over().unwrap();
    (arena.into_handed().unwrap(), entry)
}

const POLICY: &dyn Policy = &policy::CheckAtRestore;

fn take_over(
    (handed, entry): (kho_mem::Handed, Entry),
    registry: &Registry,
    handlers: Handlers,
) -> Result<Incoming, (kho_mem::Handed, String)> {
    let options = OpenOptions::new(entry).registry(registry).policy(POLICY);
    let attached = Attached::open(handed, options)
        .map_err(|failed| (failed.returned, failed.error.to_string()))?;
    let options = TakeOverOptions::new(registry).policy(POLICY);
    Incoming::take_over(attached, handlers, options)
        .map_err(|failed| (failed.returned.into_handed(), failed.error.to_string()))
}

fn given(incoming: &Incoming) -> String {
    let given = incoming.admitted().given();
    let given: Vec<_> = given.iter().map(ToString::to_string).collect();
    given.join(" ")
}

fn refusal(version: &str, expected: &str, given: &str) -> String {
    format!(
        "{version} was refused while restoring, by policy `check-at-restore`: expected {expected}; given \
         out by then: {given}"
    )
}

#[test]
fn a_file_is_refused_in_its_turn_and_the_handover_goes_back() {
    let writer = registry(&[&NOTE, &OTHER]);
    let reader = registry(&[&NOTE_2, &OTHER]);
    let (handed, entry) = two_kinds(writer.side());
    let before = bytes(&handed);
    let incoming = take_over((handed, entry), &reader, both()).unwrap();
    assert!(incoming.admitted().failed().is_none());
    assert_eq!(given(&incoming), "kho-v4 radix-v1 luo-v5 block-v1");
    let session = |kind: &str| -> IncomingSession { incoming.session(kind).unwrap() };
    let (other, note) = (session("other"), session("note"));
    assert_eq!(other.retrieve::<Note>(1).unwrap().number, 7);

    let expected = refusal(
        "note-v1",
        "note-v2",
        "kho-v4, radix-v1, luo-v5, block-v1, other-v1",
    );
    for _ in 0..2 {
        let error = note.retrieve_any(1).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("retrieving the file of token 0x1 in session `note`: {expected}")
        );
    }
    let failed = incoming.admitted().failed().unwrap();
    assert_eq!((failed.component.as_str(), failed.version), ("note", 1));

    // Nothing is finished after that, not even what was given out.
    for error in [
        incoming.can_finish().unwrap_err(),
        incoming.finish().unwrap_err(),
        other.finish().unwrap_err(),
    ] {
        assert!(matches!(error, IncomingError::NotAdmitted(_)));
        assert_eq!(error.to_string(), expected);
    }
    drop((other, note));
    let handed = incoming.into_attached().unwrap().into_handed();
    assert!(bytes(&handed) == before);
    let incoming = take_over((handed, entry), &writer, both()).unwrap();
    for kind in ["other", "note"] {
        incoming.session(kind).unwrap().retrieve_any(1).unwrap();
    }
    incoming.finish().unwrap();
}

#[test]
fn what_nobody_retrieved_has_its_turn_before_it_is_freed() {
    let writer = registry(&[&NOTE, &OTHER]);
    // One that knows another version, and one that has never heard of it and has no handler.
    let (knows, never_heard) = (registry(&[&NOTE_2, &OTHER]), registry(&[&OTHER]));
    let (kind, version) = ("other", 1);
    let others = Handlers::new().with(Notes { kind, version });
    for (reader, handlers, expected) in [
        (&knows, both(), "note-v2"),
        (&never_heard, others, "memfd-v2 or other-v1"),
    ] {
        let incoming = take_over(two_kinds(writer.side()), reader, handlers).unwrap();
        assert_eq!(incoming.waiting().unwrap().unwrap().2, 2);
        let error = incoming.finish().unwrap_err().to_string();
        let head = "note-v1 was refused while restoring";
        assert!(error.starts_with(head), "{error}");
        assert!(error.contains("; given out by then: kho-v4, "), "{error}");
        if reader.get("note").is_some() {
            assert!(error.contains(expected), "{error}");
        }
        assert!(!incoming.is_finished());
        incoming.into_attached().unwrap();
    }
}

#[test]
fn what_leads_to_the_sessions_is_refused_in_its_turn() {
    static LUO_6: Component = Component::new("luo", &[Generation::new(6).needs(&[("block", 1)])])
        .carried_in(Carrier::Luo)
        .subtree("LUO");
    static BLOCK_2: Component = Component::new("block", &[Generation::new(2)]);
    static RADIX_2: Component = Component::new("radix", &[Generation::new(2)]);
    let cases: [(&'static Component, &str, &str, &str); 3] = [
        (&RADIX_2, "radix-v1", "radix-v2", "kho-v4"),
        (&LUO_6, "luo-v5", "luo-v6", "kho-v4, radix-v1"),
        (&BLOCK_2, "block-v1", "block-v2", "kho-v4, radix-v1, luo-v5"),
    ];
    let (mut handed, entry) = written(Writing::TABLE, old().side());
    for (own, version, expected, given) in cases {
        let before = bytes(&handed);
        let reader = registry(&[&NOTE, own]);
        let (returned, error) = take_over((handed, entry), &reader, handlers()).unwrap_err();
        assert_eq!(error, refusal(version, expected, given));
        assert!(bytes(&returned) == before);
        handed = returned;
    }
    // The one that wrote it takes it back.
    upgrade((handed, entry), &old(), 1, POLICY);
}

#[test]
fn what_must_not_be_lost_is_refused_at_the_end() {
    let writer = registry(&[&NOTE, &OTHER, &EXTRA_2]);
    let reader = registry(&[&NOTE, &OTHER, &EXTRA_1]);
    let all = |version| {
        let kind = "extra";
        both().with(Notes { kind, version })
    };
    let luo = kho(Writing::TABLE, writer.side()).unwrap();
    let luo = Orchestrator::new(luo, all(2), 0).unwrap();
    let session = luo.create_session("one").unwrap();
    session.preserve(1, Note::new("extra", 1)).unwrap();
    let frozen = luo.freeze().unwrap();
    drop((luo, session));
    let (arena, entry) = frozen.hand_over().unwrap();
    let incoming = take_over((arena.into_handed().unwrap(), entry), &reader, all(1)).unwrap();
    assert_eq!(incoming.lost(), 1);
    incoming.finish().unwrap_err();
    // Allowed, it is lost as by any other policy.
    let attached = incoming.into_attached().unwrap();
    let options = TakeOverOptions::new(&reader).policy(POLICY).degrade(true);
    let incoming = Incoming::take_over(attached, all(1), options).unwrap();
    let error = incoming
        .session("one")
        .unwrap()
        .retrieve_any(1)
        .unwrap_err();
    assert!(matches!(error, IncomingError::Lost { .. }));
    incoming.finish().unwrap();
}
