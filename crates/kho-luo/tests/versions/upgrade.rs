//! Upgrades and downgrades between registries.

use super::*;

/// Refuses the handover by `registry`. Nothing of it has changed then.
fn refused(
    (handed, entry): (kho_mem::Handed, Entry),
    registry: &Registry,
    policy: &dyn Policy,
) -> String {
    let before = bytes(&handed);
    let (handed, error) = match Attached::open(handed, OpenOptions::new(entry).registry(registry)) {
        Err(failed) => (failed.returned, failed.error.to_string()),
        Ok(attached) => {
            let failed = Incoming::take_over(
                attached,
                handlers(),
                TakeOverOptions::new(registry).policy(policy),
            )
            .unwrap_err();
            (failed.returned.into_handed(), failed.error.to_string())
        }
    };
    assert!(bytes(&handed) == before);
    // The one that wrote it takes it back.
    upgrade((handed, entry), &new(), 2, &policy::SemverRange);
    error
}

const SAYING: [Writing; 3] = [
    Writing::COMPOSITE,
    Writing::COMPOSITE_DIRECT,
    Writing::TABLE,
];

#[test]
fn an_old_writer_is_read_by_a_new_reader() {
    for dialect in Writing::ALL {
        for policy in [&policy::SemverRange as &dyn Policy, &policy::NewestCommon] {
            upgrade(written(dialect, old().side()), &new(), 1, policy);
            upgrade(written(dialect, old().side()), &old(), 1, policy);
        }
    }
}

#[test]
fn a_new_writer_is_read_by_a_new_reader() {
    for dialect in SAYING {
        upgrade(
            written(dialect, new().side()),
            &new(),
            2,
            &policy::SemverRange,
        );
    }
    upgrade(
        written(Writing::TABLE, new().side()),
        &new(),
        2,
        &policy::NewestCommon,
    );
    upgrade(
        written(Writing::TABLE, new().side()),
        &new(),
        2,
        &policy::CheckAtRestore,
    );
}

#[test]
fn a_new_writer_writes_what_an_old_reader_reads() {
    let common = new().side().newest_common(old().side());
    for dialect in Writing::ALL {
        upgrade(written(dialect, &common), &old(), 1, &policy::SemverRange);
        upgrade(written(dialect, &common), &new(), 1, &policy::SemverRange);
    }
    // Byte for byte what the old one writes.
    for dialect in [Writing::PLAIN, Writing::COMPOSITE, Writing::TABLE] {
        let (ours, theirs) = (written(dialect, &common), written(dialect, old().side()));
        assert!(bytes(&ours.0) == bytes(&theirs.0), "{dialect}");
    }
}

#[test]
fn a_new_writer_is_refused_by_an_old_reader_before_anything_is_restored() {
    for (dialect, message) in [
        (Writing::COMPOSITE, "LUO header, compatible at 0x"),
        (
            Writing::COMPOSITE_DIRECT,
            "found luo-v5;block-v2, expected luo-v5",
        ),
        (
            Writing::COMPOSITE,
            "block-v2 is not restorable here, only block-v1",
        ),
        (Writing::TABLE, "root FDT, compat/block at 0x"),
        (Writing::TABLE, "found block-v2, expected block-v1"),
    ] {
        let error = refused(written(dialect, new().side()), &old(), &policy::SemverRange);
        assert!(error.contains(message), "{dialect}: {error}");
    }
    // A policy that does not look, and code that does not follow it.
    for dialect in SAYING {
        let error = refused(
            written(dialect, new().side()),
            &old(),
            &policy::GlobalVersion,
        );
        assert_eq!(
            error, "no code here reads the layout of block-v2: expected block-v1",
            "{dialect}"
        );
    }
}

#[test]
fn a_version_that_would_not_be_said_is_not_written() {
    for dialect in [Writing::PLAIN, Writing::FEATURES] {
        let error = kho(dialect, new().side()).map(|_| ()).unwrap_err();
        let message = format!("block-v2 can not be said in the {dialect} dialect");
        assert_eq!(error.to_string(), message);
    }
    static LUO_6: Component = Component::new(
        "luo",
        &[
            Generation::new(5).read_only(),
            Generation::new(6).needs(&[("block", 1)]),
        ],
    )
    .carried_in(Carrier::Luo)
    .subtree("LUO");
    let side = registry(&[&NOTE, &LUO_6]).side().clone();
    let kho = kho(Writing::TABLE, &side).unwrap();
    let error = Orchestrator::new(kho, handlers(), 0).unwrap_err();
    assert!(matches!(error, LuoError::Registry(_)));
    assert_eq!(
        error.to_string(),
        "luo-v6 can not be written here, where version 5 is"
    );
}
