//! What is lost of a handover whose optional parts nobody here restores.

use super::*;

/// A handover with files of two kinds, one of them optional, and an object.
fn with_extras(dialect: Writing) -> (kho_mem::Handed, Entry) {
    let registry = registry(&[&NOTE, &EXTRA_2, &SHARED_2]);
    let all = handlers()
        .with(Notes {
            kind: "extra",
            version: 2,
        })
        .with_flb(["extra"], Shared("shared-v2"));
    let luo = Orchestrator::new(kho(dialect, registry.side()).unwrap(), all, 0).unwrap();
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    for token in 1..=4 {
        let kind = if token % 2 == 0 { "extra" } else { "note" };
        one.preserve(token, Note::new(kind, token as u8)).unwrap();
    }
    two.preserve(5, Note::new("extra", 5)).unwrap();
    let frozen = luo.freeze().unwrap();
    drop((luo, one, two));
    let (arena, entry) = frozen.hand_over().unwrap();
    (arena.into_handed().unwrap(), entry)
}

#[test]
fn optional_files_are_lost_where_that_is_allowed() {
    // Who knows another version of it, and, where the table says that it is optional, nothing at all.
    let knowing = registry(&[&NOTE, &EXTRA_1, &SHARED_1]);
    let not_knowing = old();
    for (dialect, registry) in [
        (Writing::PLAIN, &knowing),
        (Writing::COMPOSITE, &knowing),
        (Writing::TABLE, &knowing),
        (Writing::TABLE, &not_knowing),
    ] {
        let (handed, entry) = with_extras(dialect);
        let before = bytes(&handed);
        let attached = Attached::open(handed, OpenOptions::new(entry).registry(registry)).unwrap();
        let policy = &policy::SemverRange;
        let is_known = registry.get("extra").is_some();
        // A handler for it is of no use: what it knows is another version.
        let all = || match is_known {
            true => handlers().with(Notes {
                kind: "extra",
                version: 1,
            }),
            false => handlers(),
        };

        // Not allowed: refused, and nothing changed.
        let failed = Incoming::take_over(
            attached,
            all(),
            TakeOverOptions::new(registry).policy(policy),
        )
        .unwrap_err();
        let TakeOverError::Degraded { lost } = &failed.error else {
            panic!("{}", failed.error)
        };
        let names: Vec<_> = lost
            .iter()
            .map(|finding| finding.entry.found.as_str())
            .collect();
        match dialect {
            Writing::TABLE if is_known => {
                assert_eq!(names, ["extra-v2", "extra-v2", "shared-v2"]);
            }
            // Nobody here knows the object: it is left alone.
            Writing::TABLE => assert_eq!(names, ["extra-v2", "extra-v2"]),
            _ => assert_eq!(names, ["extra-v2", "shared-v2"]),
        }
        let text = failed.error.to_string();
        assert!(text.starts_with("optional parts would be lost: "), "{text}");
        assert!(text.contains("found extra-v2, expected "), "{text}");
        let handed = failed.returned.into_handed();
        assert!(bytes(&handed) == before);

        // Allowed.
        let attached = Attached::open(handed, OpenOptions::new(entry).registry(registry)).unwrap();
        let incoming = Incoming::take_over(
            attached,
            all(),
            TakeOverOptions::new(registry).policy(policy).degrade(true),
        )
        .unwrap();
        assert_eq!(incoming.admitted().verdict().decision, Decision::Degrade);
        assert_eq!((incoming.files(), incoming.lost()), (5, 3));
        let (one, two) = (
            incoming.session("one").unwrap(),
            incoming.session("two").unwrap(),
        );
        for (session, token) in [(&one, 2), (&one, 4), (&two, 5), (&one, 2)] {
            let error = session.retrieve_any(token).unwrap_err();
            assert!(matches!(error, IncomingError::Lost { .. }));
            let text = format!(
                "the file of token {token:#x} in session `{}` is lost: nothing here restores `extra-v2`",
                session.name()
            );
            assert_eq!(error.to_string(), text);
        }
        incoming.flb::<()>("shared-v2").unwrap_err();
        assert_eq!(incoming.waiting().unwrap().unwrap().2, 2, "the others wait");
        let files: Vec<_> = [1, 3]
            .iter()
            .map(|t| one.retrieve::<Note>(*t).unwrap())
            .collect();
        assert_eq!((files[0].number, files[1].number), (1, 3));
        assert_eq!(incoming.waiting().unwrap(), None);
        two.finish().unwrap();
        let arena = incoming.finish().unwrap();
        drop((one, two, files, incoming));
        assert_eq!(
            arena.free_pages(),
            self::arena().free_pages(),
            "not a page is lost or has two owners"
        );
        drop(arena.into_handed().unwrap());
    }
}

#[test]
fn what_is_lost_goes_back_with_the_rest() {
    let registry = registry(&[&NOTE, &EXTRA_1, &SHARED_1]);
    let (handed, entry) = with_extras(Writing::TABLE);
    let before = bytes(&handed);
    let attached = Attached::open(handed, OpenOptions::new(entry).registry(&registry)).unwrap();
    let policy = &policy::SemverRange;
    let incoming = Incoming::take_over(
        attached,
        handlers(),
        TakeOverOptions::new(&registry).policy(policy).degrade(true),
    )
    .unwrap();
    let one = incoming.session("one").unwrap();
    one.retrieve::<Note>(1).unwrap();
    one.retrieve_any(2).unwrap_err();
    drop(one);
    let handed = incoming.into_attached().unwrap().into_handed();
    assert!(bytes(&handed) == before);
}

#[test]
fn what_must_not_be_lost_still_needs_a_handler() {
    let registry = registry(&[&NOTE, &EXTRA_2, &SHARED_2]);
    for degrade in [false, true] {
        let (handed, entry) = with_extras(Writing::TABLE);
        let attached = Attached::open(handed, OpenOptions::new(entry).registry(&registry)).unwrap();
        let options = TakeOverOptions::new(&registry).degrade(degrade);
        let failed = Incoming::take_over(attached, handlers(), options);
        // It is restorable here, and optional; but nobody restores it.
        let error = failed.unwrap_err().error;
        assert_eq!(
            error.to_string(),
            "3 files are `extra-v2`, for which this program has no handler"
        );
    }
    // A kind that is not optional is not lost, whoever allows what.
    static NOTE_2: Component =
        Component::new("note", &[Generation::new(2)]).carried_in(Carrier::FileHandler);
    let registry = self::registry(&[&NOTE_2]);
    let handover = written(Writing::TABLE, old().side());
    let attached =
        Attached::open(handover.0, OpenOptions::new(handover.1).registry(&registry)).unwrap();
    let failed = Incoming::take_over(
        attached,
        handlers(),
        TakeOverOptions::new(&registry).degrade(true),
    );
    assert!(matches!(
        failed.unwrap_err().error,
        TakeOverError::Refused(_)
    ));
}

#[test]
fn a_file_is_lost_with_what_it_needs() {
    static NEED_1: Component = Component::new("need", &[Generation::new(1)]).optional();
    static NEED_2: Component = Component::new("need", &[Generation::new(2)]).optional();
    static EXTRA: Component = Component::new("extra", &[Generation::new(1).needs(&[("need", 1)])])
        .carried_in(Carrier::FileHandler)
        .optional();
    static MUST: Component = Component::new("extra", &[Generation::new(1).needs(&[("need", 1)])])
        .carried_in(Carrier::FileHandler);
    let writer = registry(&[&NOTE, &EXTRA, &NEED_2]);
    let written = || {
        let all = handlers().with(Notes {
            kind: "extra",
            version: 1,
        });
        let kho = kho(Writing::TABLE, writer.side()).unwrap();
        let luo = Orchestrator::new(kho, all, 0).unwrap();
        let one = luo.create_session("one").unwrap();
        one.preserve(1, Note::new("note", 1)).unwrap();
        one.preserve(2, Note::new("extra", 2)).unwrap();
        let frozen = luo.freeze().unwrap();
        drop((luo, one));
        let (arena, entry) = frozen.hand_over().unwrap();
        (arena.into_handed().unwrap(), entry)
    };
    let all = || {
        handlers().with(Notes {
            kind: "extra",
            version: 1,
        })
    };
    let take_over = |registry: &Registry| {
        let (handed, entry) = written();
        let attached = Attached::open(handed, OpenOptions::new(entry).registry(registry)).unwrap();
        Incoming::take_over(
            attached,
            all(),
            TakeOverOptions::new(registry).degrade(true),
        )
    };
    let incoming = take_over(&registry(&[&NOTE, &EXTRA, &NEED_1])).unwrap();
    let one = incoming.session("one").unwrap();
    assert_eq!(one.retrieve::<Note>(1).unwrap().number, 1);
    let error = one.retrieve_any(2).unwrap_err();
    assert!(matches!(error, IncomingError::Lost { .. }), "{error}");
    let error = take_over(&registry(&[&NOTE, &MUST, &NEED_1]))
        .unwrap_err()
        .error;
    let error = error.to_string();
    assert!(error.contains("found need-v2, expected need-v1"), "{error}");
    take_over(&registry(&[&NOTE, &EXTRA, &NEED_2])).unwrap();
}

#[test]
fn metadata_and_regions_of_another_version_are_no_reason_to_refuse() {
    let registry = old();
    for listed in [false, true] {
        let built = built(1, "luo-v5", |b| {
            b.metadata(2, "8.0", 7);
            b.memblock("memblock-v2", &[("log", 4096)]);
            if listed {
                b.table("kexec-metadata", 2, 1);
                b.table("memblock", 2, 1);
            }
        });
        let entry = Entry::new(PhysAddr::new(built.fdt));
        let handover =
            Handover::open(&built.mem, OpenOptions::new(entry).registry(&registry)).unwrap();
        let mut reading = handover.reading().unwrap();
        let (manifest, luo) = survey(&handover, &mut reading, &registry).unwrap();
        let admitted = registry.admit(&policy::SemverRange, manifest).unwrap();
        assert_eq!(admitted.verdict().decision, Decision::Degrade);
        assert_eq!(
            admitted.verdict().lost().count(),
            if listed { 4 } else { 2 }
        );
        luo.unwrap().restore(&admitted).unwrap();
        // A reader takes it over as if they were not there.
        let (handed, entry) = handed_of(&built);
        let attached = Attached::open(handed, OpenOptions::new(entry).registry(&registry)).unwrap();
        let policy = &policy::SemverRange;
        let incoming = Incoming::take_over(
            attached,
            handlers(),
            TakeOverOptions::new(&registry).policy(policy),
        )
        .unwrap();
        assert_eq!((incoming.kexec_count(), incoming.lost()), (None, 0));
        assert_eq!(
            incoming
                .session("vm")
                .unwrap()
                .retrieve::<Note>(3)
                .unwrap()
                .number,
            0
        );
    }
}

/// A handover that was built, in an arena.
fn handed_of(built: &Built) -> (kho_mem::Handed, Entry) {
    let arena = Arena::memfd(&ArenaConfig::new(PhysAddr::new(BASE), SIZE)).unwrap();
    for (pa, size) in built.mem.runs() {
        let bytes = built.mem.read(pa, size as usize);
        arena
            .file()
            .unwrap()
            .write_all_at(&bytes, pa - BASE)
            .unwrap();
    }
    let handed = arena.into_handed().unwrap();
    (handed, Entry::new(PhysAddr::new(built.fdt)))
}

#[test]
fn files_that_are_lost_are_told_apart_where_nothing_is_taken_over() {
    let registry = registry(&[&NOTE, &EXTRA_1, &SHARED_1]);
    let (handed, entry) = with_extras(Writing::COMPOSITE);
    let handover = Handover::open(&handed, OpenOptions::new(entry).registry(&registry)).unwrap();
    let mut reading = handover.reading().unwrap();
    let (manifest, luo) = survey(&handover, &mut reading, &registry).unwrap();
    let luo = luo.unwrap();
    let admitted = registry.admit(&policy::SemverRange, manifest).unwrap();
    let sessions = luo.restore(&admitted).unwrap();
    let lost: Vec<_> = sessions
        .iter()
        .flat_map(|session| session.files().collect::<Vec<_>>())
        .filter(|file| file.is_lost())
        .map(|file| (file.token().get(), file.compatible()))
        .collect();
    assert_eq!(lost, [(2, "extra-v2"), (4, "extra-v2"), (5, "extra-v2")]);
    admitted.require("extra", 2).unwrap_err();
    // A verdict that does not give it up does not open it.
    let mut other = Manifest::new();
    handover.add_to(&mut other);
    other.add(Carrier::Luo, luo.compatible(), Default::default());
    let other = registry.admit(&policy::SemverRange, other).unwrap();
    assert!(
        other
            .verdict()
            .findings
            .iter()
            .all(|f| f.outcome == Outcome::Restorable)
    );
    assert_eq!(
        luo.restore(&other).unwrap_err().to_string(),
        "note-v1 was not admitted: the verdict covers no version of it"
    );
    assert_eq!(luo.body().unwrap().block_version(), 1);
}
