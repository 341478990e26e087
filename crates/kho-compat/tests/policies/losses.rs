//! What is lost, and what is lost with it.

use kho_compat::Strings;

use super::*;

#[test]
fn what_is_optional_is_lost_and_the_rest_is_kept() {
    let base = side(4, 1, 1, 5, 1, 2);
    let optional = |version| {
        with(
            &side(4, 1, 1, 5, 1, version),
            |memfd| memfd.presence = Presence::Optional,
            "memfd",
        )
    };
    for policy in [
        "composite-exact",
        "composite-by-token",
        "semver-range",
        "check-at-restore",
    ] {
        let verdict = judged(policy, &base, &optional(3));
        assert_eq!(verdict.decision, Decision::Degrade, "{policy}");
        assert!(
            verdict
                .lost()
                .all(|finding| finding.entry.component() == "memfd")
        );
    }
    // In a table its writer says so, to a reader that never heard of it.
    let mut manifest = Manifest::written_by(&base, Writing::TABLE).unwrap();
    manifest.add_listed(&"other-v1".parse().unwrap(), true, Place::default());
    let verdict = policy::SemverRange.judge(&manifest, &base);
    assert_eq!(verdict.decision, Decision::Degrade);
    // Metadata of another version is lost, and nothing else.
    let mut manifest = Manifest::written_by(&side(4, 1, 1, 5, 1, 2), Writing::PLAIN).unwrap();
    manifest.add(
        Carrier::Owned(kho_compat::Owned::KEXEC_METADATA),
        "kexec-metadata-v2",
        Place::default(),
    );
    let verdict = policy::SemverRange.judge(&manifest, &base);
    assert_eq!(verdict.decision, Decision::Degrade);
}

#[test]
fn what_a_need_needs_is_seen_or_not() {
    let plain = side(4, 1, 1, 5, 1, 2);
    let slab = |version| {
        let others = plain.abilities().filter(|ability| ability.name != "radix");
        let radix = ability("radix", 1, None, &["slab"]);
        let all = others
            .cloned()
            .chain([radix, ability("slab", version, None, &[])]);
        Side::new(all).unwrap()
    };
    let plain = {
        let abilities = plain.abilities().cloned();
        Side::new(abilities.chain([ability("slab", 1, None, &[])])).unwrap()
    };
    let text = |side: &Side, strings| side.compat("kho", strings).unwrap().to_string();
    assert_eq!(
        text(&slab(1), Strings::Transitive),
        "kho-v4;radix-v1;slab-v1;vmalloc-v1"
    );
    assert_eq!(
        text(&slab(1), Strings::Direct),
        "kho-v4;radix-v1;vmalloc-v1"
    );
    assert_eq!(text(&slab(1), Writing::TABLE.strings), "kho-v4");
    // The new need changes its users' users where they see it.
    assert_eq!(
        judged("composite-exact", &plain, &slab(1)).decision,
        Decision::Reject
    );
    assert_eq!(
        judged("composite-exact-direct", &plain, &slab(1)).decision,
        Decision::Accept
    );
    // And so does its version, or nobody sees that.
    assert_eq!(
        judged("composite-by-token", &slab(1), &slab(2)).decision,
        Decision::Reject
    );
    assert_eq!(
        judged("composite-by-token-direct", &slab(1), &slab(2)).decision,
        Decision::Accept
    );
}

#[test]
fn no_flag_makes_optional_what_the_rest_needs() {
    let base = side(4, 1, 1, 5, 1, 2);
    for name in ["kho", "radix", "vmalloc", "luo", "block", "memfd"] {
        let mut manifest = Manifest::written_by(&base, Writing::PLAIN).unwrap();
        manifest.add_listed(
            &format!("{name}-v9").parse().unwrap(),
            true,
            Place::default(),
        );
        for policy in ALL.iter().skip(1) {
            let verdict = policy.judge(&manifest, &base);
            let name = format!("{name} under {}", policy.name());
            // memfd-v2 by its string and memfd-v9 by the table contradict each other.
            assert_eq!(verdict.decision, Decision::Reject, "{name}: {verdict:?}");
        }
        let mut manifest = Manifest::written_by(&base, Writing::PLAIN).unwrap();
        let nothing = Features {
            supported: 0,
            required: 0,
            active: 0,
        };
        manifest.add_features(name, nothing, Place::default());
        let verdict = policy::SemverRange.judge(&manifest, &base);
        assert_eq!(verdict.decision, Decision::Reject, "{name}");
    }
}

#[test]
fn files_are_lost_with_what_their_handler_needs() {
    let base = side(4, 1, 1, 5, 1, 2);
    let abilities = base.abilities().cloned();
    let mut pool = ability("pool", 1, None, &[]);
    pool.presence = Presence::Optional;
    let mut huge = ability("huge", 1, Some(Carrier::FileHandler), &["pool"]);
    huge.presence = Presence::Optional;
    let side = Side::new(abilities.chain([pool, huge])).unwrap();
    let mut manifest = Manifest::written_by(&side, Writing::PLAIN).unwrap();
    manifest.add_listed(&"pool-v2".parse().unwrap(), true, Place::default());
    let verdict = policy::SemverRange.judge(&manifest, &side);
    assert_eq!(verdict.decision, Decision::Degrade);
    let lost = verdict.lost().map(|finding| finding.entry.found.as_str());
    let lost: Vec<_> = lost.collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(lost.contains(&"huge-v1") && lost.contains(&"pool-v2"));
    let losses = verdict.losses();
    let huge = losses.get(Carrier::FileHandler, "huge-v1").unwrap();
    let need = "pool".to_owned();
    assert_eq!(huge.reason, Some(Reason::NeedLost { need }));
    assert_eq!(losses.need("huge", &side), Some("pool"));
    assert_eq!(losses.need("memfd", &side), None);
    assert!(losses.get(Carrier::FileHandler, "memfd-v2").is_none());
    assert_eq!(losses.of_sessions(&side).count(), 2);
}

#[test]
fn what_is_listed_twice_is_one_entry_of_its_own() {
    let mut manifest = Manifest::new();
    let mut list = |token: &str, optional| {
        manifest.add_listed(&token.parse().unwrap(), optional, Place::default());
    };
    list("block-v1", false);
    list("luo-v99", false);
    list("block-v1", true);
    list("extra-v1", true);
    list("extra-v1", true);
    let optional = manifest.entries().iter();
    let optional: Vec<_> = optional.map(|entry| entry.optional).collect();
    assert_eq!(optional, [false, false, true]);
    manifest.add_features("a", Features::of(3, 1), Place::default());
    manifest.add_features("b", Features::of(1, 1), Place::default());
    manifest.add_features("a", Features::of(5, 4), Place::default());
    let both = Features {
        supported: 1,
        required: 5,
        active: 7,
    };
    assert_eq!(manifest.features("a"), Some(both));
    assert_eq!(manifest.features("b"), Some(Features::of(1, 1)));
}

/// A root that lists `vmalloc` and does without it, on a side that does not know it.
fn without_vmalloc() -> Side {
    let mut kho = ability("kho", 4, Some(Carrier::Root), &["radix", "vmalloc"]);
    kho.lists.insert("vmalloc".to_owned());
    kho.stands_for.insert("vmalloc".to_owned(), 1);
    Side::new([kho, ability("radix", 1, None, &[])]).unwrap()
}

#[test]
fn what_is_listed_and_used_by_nothing_here_does_not_reject() {
    let own = without_vmalloc();
    for policy in ALL {
        let written = policy.write(&own, None).unwrap();
        let verdict = policy.judge(&written, &own);
        assert_eq!(verdict.decision, Decision::Accept, "{}", policy.name());
    }
    let judge = |found: &str, carrier| {
        let mut manifest = Manifest::new();
        match carrier {
            Carrier::Table => {
                manifest.add(Carrier::Root, "kho-v4", Place::default());
                manifest.add_listed(&found.parse().unwrap(), false, Place::default());
            }
            carrier => {
                let root = "kho-v4;radix-v1;vmalloc-v1";
                manifest.add(Carrier::Root, root, Place::default());
                manifest.add(carrier, found, Place::default());
            }
        }
        policy::SemverRange.judge(&manifest, &own)
    };
    // Who uses it has a string of its own, which nobody here knows.
    let memfd = judge("memfd-v2;vmalloc-v1", Carrier::FileHandler);
    assert_eq!(memfd.decision, Decision::Reject);
    assert_eq!(memfd.findings[0].outcome, Outcome::Restorable);
    let table = judge("vmalloc-v9", Carrier::Table);
    assert_eq!(table.findings[1].outcome, Outcome::LeftAlone);
    assert_eq!(table.decision, Decision::Accept);
    assert_eq!(judge("other-v1", Carrier::Table).decision, Decision::Reject);
}

#[test]
fn what_only_the_lost_use_is_lost_with_them() {
    let base = side(4, 1, 1, 5, 1, 2);
    let mut huge = ability("huge", 1, Some(Carrier::FileHandler), &["pool"]);
    huge.presence = Presence::Optional;
    let pool = ability("pool", 1, None, &["vmalloc"]);
    let all = base.abilities().cloned().chain([pool, huge]);
    let wrote = Side::new(all).unwrap();
    let mut manifest = Manifest::new();
    manifest.add(Carrier::Root, "kho-v4", Place::default());
    manifest.add_listed(&"huge-v1".parse().unwrap(), true, Place::default());
    manifest.add(
        Carrier::Owned(kho_compat::Owned::KEXEC_METADATA),
        "kexec-metadata-v2",
        Place::default(),
    );
    let verdict = policy::SemverRange.judge(&manifest, &base);
    let losses = verdict.losses();
    let lost: Vec<_> = losses.components(&wrote).into_iter().collect();
    // Its pool nobody else uses; vmalloc others do.
    assert_eq!(lost, ["huge", "kexec-metadata", "pool"]);
    // No session depends on the metadata.
    let of_sessions: Vec<_> = losses.of_sessions(&base).collect();
    assert_eq!(of_sessions.len(), 1);
    assert_eq!(of_sessions[0].entry.found, "huge-v1");
}

#[test]
fn what_an_owner_carries_is_lost_whatever_component_it_names() {
    let base = side(4, 1, 1, 5, 1, 2);
    for found in [
        "luo-v9",
        "vmalloc-v11",
        "kexec-metadata-v9",
        "memfd-v2;vmalloc",
    ] {
        let mut manifest = Manifest::written_by(&base, Writing::PLAIN).unwrap();
        let carrier = Carrier::Owned(kho_compat::Owned::KEXEC_METADATA);
        manifest.add(carrier, found, Place::default());
        let verdict = policy::SemverRange.judge(&manifest, &base);
        assert_eq!(verdict.decision, Decision::Degrade, "{found}");
    }
}
