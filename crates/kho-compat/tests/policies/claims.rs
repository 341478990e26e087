//! What the author of each policy claims, and a test that holds the policy to it: a test per policy, of its name.
//! The table of docs/policies.md is made of these.

use super::*;

fn decision(name: &str, from: &Side, to: &Side) -> Decision {
    judged(name, from, to).decision
}

/// The components whose findings are not restorable.
fn refused(verdict: &Verdict) -> Vec<&str> {
    let all = verdict.findings.iter();
    let refused = all.filter(|finding| finding.outcome != Outcome::Restorable);
    refused.map(|finding| finding.entry.component()).collect()
}

const NOW: [u32; 6] = [4, 1, 1, 5, 1, 2];

/// A kernel of today's versions, with one of them raised: of kho, radix, vmalloc, luo, block, memfd.
fn raised(part: Option<usize>) -> Side {
    let mut v = NOW;
    if let Some(part) = part {
        v[part] += 1;
    }
    side(v[0], v[1], v[2], v[3], v[4], v[5])
}

const EVERY_PART: [usize; 6] = [0, 1, 2, 3, 4, 5];

/// One number stands for everything: where the root's is the receiver's own all is taken, where it is not nothing is.
#[test]
fn global_version() {
    for part in EVERY_PART {
        let verdict = judged("global-version", &raised(part.into()), &raised(None));
        let all = verdict
            .findings
            .iter()
            .filter(|finding| !matches!(finding.entry.carrier, Carrier::Subtree));
        let same_root = part != 0;
        assert_eq!(verdict.decision == Decision::Accept, same_root, "{part}");
        let taken = all
            .filter(|finding| finding.outcome == Outcome::Restorable)
            .count();
        assert_eq!(taken > 0, same_root, "{part}");
    }
}

/// A change of any component is seen by all its users, needs of needs included, by a comparison of whole strings.
#[test]
fn composite_exact() {
    for part in EVERY_PART {
        let verdict = judged("composite-exact", &raised(part.into()), &raised(None));
        assert_eq!(verdict.decision, Decision::Reject, "{part}");
        for finding in verdict.rejected() {
            let own = raised(None).compat(finding.entry.component(), Strings::Transitive);
            assert_ne!(finding.entry.found, own.unwrap().to_string());
        }
    }
    // Both users of vmalloc see that it changed, and nobody else.
    let verdict = judged("composite-exact", &raised(Some(2)), &raised(None));
    assert_eq!(refused(&verdict), ["kho", "memfd"]);
    assert_eq!(
        decision("composite-exact", &raised(None), &raised(None)),
        Decision::Accept
    );
}

/// A user sees a change of what it needs itself; one of what its needs need leaves its string as it is.
#[test]
fn composite_exact_direct() {
    let deep = |arena: u32| {
        let base = raised(None);
        let others = base.abilities().filter(|one| one.name != "block").cloned();
        let block = ability("block", 1, None, &["arena"]);
        Side::new(others.chain([block, ability("arena", arena, None, &[])])).unwrap()
    };
    let (one, two) = (deep(1), deep(2));
    assert_eq!(
        decision("composite-exact-direct", &two, &one),
        Decision::Accept
    );
    assert_eq!(decision("composite-exact", &two, &one), Decision::Reject);
    let block = raised(Some(4));
    assert_eq!(
        refused(&judged("composite-exact-direct", &block, &raised(None))),
        ["luo"]
    );
}

/// Each token must be one that the receiver has; order does not matter, and the finding names the component.
#[test]
fn composite_by_token() {
    let now = raised(None);
    let judge = |root: &str| {
        let mut manifest = Manifest::new();
        manifest.add(Carrier::Root, root, Place::new(0x1000, "root"));
        policy::by_name("composite-by-token")
            .unwrap()
            .judge(&manifest, &now)
    };
    for order in ["kho-v4;radix-v1;vmalloc-v1", "kho-v4;vmalloc-v1;radix-v1"] {
        assert_eq!(judge(order).decision, Decision::Accept, "{order}");
    }
    let verdict = judge("kho-v4;vmalloc-v2;radix-v1");
    let reason = verdict.findings[0].reason.clone();
    let token = "vmalloc-v2".parse().unwrap();
    assert_eq!(reason, Some(Reason::NotTheVersion { token, own: 1 }));
}

/// As by token, for strings that list what a component needs itself.
#[test]
fn composite_by_token_direct() {
    for part in EVERY_PART {
        let (from, to) = (raised(part.into()), raised(None));
        let direct = decision("composite-by-token-direct", &from, &to);
        assert_eq!(direct, decision("composite-by-token", &from, &to), "{part}");
        assert_eq!(direct, Decision::Reject, "{part}");
    }
}

/// What says that it restores an older version is believed: upgrades pass over it, and the way back does not.
#[test]
fn semver_range() {
    for (part, name) in ["kho", "radix", "vmalloc", "luo", "block", "memfd"]
        .iter()
        .enumerate()
    {
        let reads_both = with(
            &raised(part.into()),
            |one| {
                one.restores = format!(">={}, <{}", NOW[part], NOW[part] + 2)
                    .parse()
                    .unwrap();
            },
            name,
        );
        assert_eq!(
            decision("semver-range", &raised(None), &reads_both),
            Decision::Accept,
            "{name}"
        );
        assert_eq!(
            decision("semver-range", &reads_both, &raised(None)),
            Decision::Reject,
            "{name}"
        );
    }
}

/// The newest version that both sides know is the one written: ways back as well, where an older one can be written.
#[test]
fn newest_common() {
    let both = with(
        &raised(Some(4)),
        |block| {
            block.restores = ">=1, <3".parse().unwrap();
            block.writes = vec![1];
        },
        "block",
    );
    for (from, to) in [
        (&both, &raised(None)),
        (&raised(None), &both),
        (&both, &both),
    ] {
        assert_eq!(decision("newest-common", from, to), Decision::Accept);
    }
    // Without the writer there is no way back.
    let reads = with(&both, |block| block.writes.clear(), "block");
    assert_eq!(
        decision("newest-common", &reads, &raised(None)),
        Decision::Reject
    );
}

/// Each component compares its own version when its turn comes: what is not used is not checked.
#[test]
fn check_at_restore() {
    let policy = policy::by_name("check-at-restore").unwrap();
    assert_eq!(policy.when(), policy::When::WhileRestoring);
    // A component that is not in use has no entry, and nothing is said of it.
    let newer = raised(Some(5));
    let mut manifest = Manifest::new();
    manifest.add(Carrier::Root, "kho-v4", Place::default());
    assert_eq!(policy.judge(&manifest, &newer).decision, Decision::Accept);
    manifest.add(Carrier::FileHandler, "memfd-v2", Place::default());
    let verdict = policy.judge(&manifest, &newer);
    assert_eq!(refused(&verdict), ["memfd"]);
}

/// An addition that nobody must know passes in both directions; a required feature stops who does not know it.
#[test]
fn feature_masks() {
    let masks = |supported, required| {
        with(
            &raised(None),
            |block| block.features = Some(Features::of(supported, required)),
            "block",
        )
    };
    let (old, added, required) = (masks(1, 1), masks(3, 1), masks(3, 3));
    for (from, to) in [
        (&old, &added),
        (&added, &old),
        (&added, &required),
        (&required, &added),
    ] {
        assert_eq!(decision("feature-masks", from, to), Decision::Accept);
    }
    for (from, to) in [(&old, &required), (&required, &old)] {
        assert_eq!(refused(&judged("feature-masks", from, to)), ["block"]);
    }
}

/// A component judges what was handed over by a check of its own, which sees all that the handover announces.
#[test]
fn component_callback() {
    /// Version 3 is read if its writer had radix of version 2.
    fn check(token: &Token, manifest: &Manifest) -> Result<(), Reason> {
        match (token.version(), manifest.listed("radix")) {
            (2, _) | (3, Some(2)) => Ok(()),
            _ => Err(Reason::Other("its radix is older".to_owned())),
        }
    }
    static RADIX: Component = Component::new("radix", &[Generation::new(2)]);
    static MEMFD: Component = Component::new("memfd", &[Generation::new(2)])
        .carried_in(Carrier::FileHandler)
        .checked_by(check);
    let registry = Registry::new([&RADIX, &MEMFD]).unwrap();
    let judge = |radix: &str| {
        let mut manifest = Manifest::new();
        manifest.add_listed(&radix.parse().unwrap(), false, Place::default());
        manifest.add(Carrier::FileHandler, "memfd-v3", Place::default());
        let policy = policy::by_name("component-callback").unwrap();
        policy.judge(&manifest, registry.side())
    };
    assert_eq!(judge("radix-v2").decision, Decision::Accept);
    let older = judge("radix-v1");
    let memfd = older
        .findings
        .iter()
        .find(|one| one.entry.component() == "memfd");
    let reason = Reason::Other("its radix is older".to_owned());
    assert_eq!(memfd.unwrap().reason, Some(reason));
}
