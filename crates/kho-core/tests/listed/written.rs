//! Versions that a side writes, and how they are said.

use super::*;

fn with_side(dialect: Writing, side: Side) -> Result<Kho, KhoError> {
    Kho::new(arena(), &KhoConfig::new().writing(dialect).side(side))
}

#[test]
fn a_version_that_nothing_would_say_is_not_written() {
    let unsaid = |dialect, side: &Side| match with_side(dialect, side.clone()) {
        Err(KhoError::Unsaid {
            token,
            writing: said,
        }) => {
            assert_eq!(said, dialect);
            Some(token)
        }
        Err(error) => unreachable!("{error}"),
        Ok(_) => None,
    };
    let two = registry(&[BIT], &[&BIT_2]);
    // `far` needs it through `middle`: its string in the direct dialect does not list it. `owner` has
    // no string.
    for dialect in [
        Writing::PLAIN,
        Writing::FEATURES,
        Writing::COMPOSITE,
        Writing::COMPOSITE_DIRECT,
    ] {
        assert_eq!(
            unsaid(dialect, two.side()).as_deref(),
            Some("bit-v2"),
            "{dialect}"
        );
    }
    let error = with_side(Writing::PLAIN, two.side().clone())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "bit-v2 can not be said in the plain dialect"
    );
    assert_eq!(unsaid(Writing::TABLE, two.side()), None);
    // Without `owner`, every string of who needs it lists it.
    let strings = registry(&[BIT, "owner"], &[&BIT_2]);
    assert_eq!(unsaid(Writing::COMPOSITE, strings.side()), None);
    assert_eq!(
        unsaid(Writing::COMPOSITE_DIRECT, strings.side()).as_deref(),
        Some("bit-v2")
    );
    let near = registry(&[BIT, "owner", "far"], &[&BIT_2]);
    assert_eq!(unsaid(Writing::COMPOSITE_DIRECT, near.side()), None);
    assert_eq!(
        unsaid(Writing::PLAIN, near.side()).as_deref(),
        Some("bit-v2")
    );
    // Nobody needs it: no string would name it.
    let alone = registry(&[BIT, "owner", "far", "near", "middle"], &[&BIT_2]);
    assert_eq!(
        unsaid(Writing::COMPOSITE, alone.side()).as_deref(),
        Some("bit-v2")
    );
    // What the plain strings stand for can be said by all.
    static BOTH: Component = Component::new(BIT, &[Generation::new(1), Generation::new(2)]);
    let both = registry(&[BIT], &[&BOTH]);
    let next = Registry::linked().unwrap().side();
    for dialect in Writing::ALL {
        assert_eq!(unsaid(dialect, &both.side().newest_common(next)), None);
        assert_eq!(
            unsaid(dialect, &both.side().clone().writing(BIT, 1).unwrap()),
            None
        );
    }
}

#[test]
fn a_version_that_is_not_written_here_is_refused() {
    static RADIX: Component = Component::new(
        "radix",
        &[Generation::new(1).read_only(), Generation::new(2)],
    );
    static METADATA: Component = Component::new("kexec-metadata", &[Generation::new(2)])
        .owned(kho_compat::Owned::KEXEC_METADATA);
    for (component, message) in [
        (
            &RADIX,
            "radix-v2 can not be written here, where version 1 is",
        ),
        (
            &METADATA,
            "kexec-metadata-v2 can not be written here, where version 1 is",
        ),
    ] {
        let side = registry(&[component.name], &[component]).side().clone();
        for dialect in Writing::ALL {
            let error = with_side(dialect, side.clone()).map(|_| ()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}

#[test]
fn the_side_is_what_is_written() {
    static NEAR: Component =
        Component::new("near", &[Generation::new(6).minor(3).needs(&[(BIT, 1)])])
            .carried_in(Carrier::FileHandler)
            .features(Features::of(7, 5));
    let registry = registry(&["near"], &[&NEAR]);
    for (dialect, compat) in [
        (Writing::PLAIN, "near-v6"),
        (Writing::COMPOSITE, "near-v6;bit-v1"),
        (Writing::TABLE, "near-v6"),
        (Writing::FEATURES, "near-v6"),
    ] {
        let kho = with_side(dialect, registry.side().clone()).unwrap();
        assert_eq!(kho.compat("near").unwrap().to_string(), compat);
        assert_eq!((kho.side(), kho.writing()), (registry.side(), dialect));
        kho.announce(&["near"]).unwrap();
        let listed = listed(&kho);
        let near = listed.iter().find(|listed| listed.name == "near");
        let said = near.map(|near| near.said);
        assert_eq!(
            said,
            match dialect {
                Writing::TABLE => Some(Said::Version {
                    version: 6,
                    minor: 3,
                    optional: false
                }),
                Writing::FEATURES => Some(Said::Features(Features::of(7, 5))),
                _ => None,
            }
        );
    }
    // Read by a registry that knows it, and by one that does not.
    let kho = with_side(Writing::TABLE, registry.side().clone()).unwrap();
    kho.announce(&["near"]).unwrap();
    let entry = kho.entry();
    let handed = kho.hand_over().unwrap().into_handed().unwrap();
    let attached = Attached::open(handed, OpenOptions::new(entry).registry(&registry)).unwrap();
    let handover = attached.handover();
    let mut manifest = Manifest::new();
    handover.add_to(&mut manifest);
    assert_eq!(manifest.listed("near"), Some(6));
    assert_eq!(manifest.minor(&"near-v6".parse().unwrap()), 3);
    let judge = |registry: &Registry| {
        registry
            .admit(&kho_compat::policy::SemverRange, manifest.clone())
            .is_ok()
    };
    assert!(judge(&registry));
    // An addition may be ignored.
    static NEAR_6: Component =
        Component::new("near", &[Generation::new(6)]).carried_in(Carrier::FileHandler);
    assert!(judge(&self::registry(&["near"], &[&NEAR_6])));
    assert!(!judge(&self::registry(&["near"], &[&NEAR_1])));
}

static NEAR_1: Component =
    Component::new("near", &[Generation::new(1)]).carried_in(Carrier::FileHandler);
