//! What holds for every policy, and what tells them apart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use kho_compat::policy::{self, ALL};
use kho_compat::{
    Ability, Carrier, Decision, Dialect, Finding, Manifest, Place, Policy, Presence, Side, Verdict,
};
use proptest::prelude::*;

fn ability(name: &str, version: u32, carrier: Option<Carrier>, needs: &[&str]) -> Ability {
    let mut ability = Ability::new(name, version).unwrap();
    ability.carrier = carrier;
    ability.needs = needs.iter().map(ToString::to_string).collect();
    ability
}

/// A kernel of these versions.
fn side(kho: u32, radix: u32, vmalloc: u32, luo: u32, block: u32, memfd: u32) -> Side {
    let mut metadata = ability("kexec-metadata", 1, Some(Carrier::Metadata), &[]);
    metadata.presence = Presence::Optional;
    metadata.subtree = Some("kexec-metadata".to_owned());
    Side::new([
        ability("kho", kho, Some(Carrier::Root), &["radix", "vmalloc"]),
        ability("radix", radix, None, &[]),
        ability("vmalloc", vmalloc, None, &[]),
        ability("luo", luo, Some(Carrier::Luo), &["block"]),
        ability("block", block, None, &[]),
        ability("memfd", memfd, Some(Carrier::FileHandler), &["vmalloc"]),
        metadata,
    ])
    .unwrap()
}

fn sides() -> impl Strategy<Value = Side> {
    (0u32..4, 0u32..4, 0u32..4, 0u32..4, 0u32..4, 0u32..4)
        .prop_map(|(a, b, c, d, e, f)| side(a, b, c, d, e, f))
}

fn dialects() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Dialect::Plain), Just(Dialect::Composite)]
}

fn accepts(name: &str, manifest: &Manifest, side: &Side) -> bool {
    policy::by_name(name)
        .unwrap()
        .judge(manifest, side)
        .decision
        == Decision::Accept
}

proptest! {
    #[test]
    fn a_policy_is_deterministic_and_takes_what_its_own_side_wrote(side in sides(), other in sides(), dialect in dialects()) {
        let own = Manifest::written_by(&side, dialect).unwrap();
        for policy in ALL {
            prop_assert_eq!(policy.judge(&own, &side).decision, Decision::Accept, "{}", policy.name());
            let verdict = policy.judge(&own, &other);
            prop_assert_eq!(&verdict, &policy.judge(&own, &other));
            prop_assert_eq!(verdict.findings.len(), own.entries().len());
            prop_assert_eq!(verdict.policy, policy.name());
            let rejected = verdict.rejected().count() > 0;
            prop_assert_eq!(verdict.decision == Decision::Reject, rejected);
        }
    }

    #[test]
    fn an_unknown_mandatory_component_is_rejected_by_every_policy(side in sides(), dialect in dialects()) {
        for carrier in [Carrier::Root, Carrier::Luo, Carrier::FileHandler] {
            let mut manifest = Manifest::written_by(&side, dialect).unwrap();
            manifest.add(carrier, "other-v1", Place::default());
            for policy in ALL {
                prop_assert_eq!(policy.judge(&manifest, &side).decision, Decision::Reject, "{}", policy.name());
            }
        }
    }

    #[test]
    fn what_is_exact_is_taken_by_token_and_that_is_restorable(a in sides(), b in sides(), dialect in dialects()) {
        let manifest = Manifest::written_by(&a, dialect).unwrap();
        let takes = |name| accepts(name, &manifest, &b);
        prop_assert!(!takes("composite-exact") || takes("composite-by-token"));
        prop_assert!(!takes("composite-by-token") || takes("restorable"));
    }
}

#[test]
fn the_policies_differ_where_a_part_changes() {
    let older = side(4, 1, 1, 5, 1, 2);
    let newer_block = side(4, 1, 1, 5, 2, 2);
    let decide = |manifest: &Manifest| -> Vec<Decision> {
        let all = ALL.iter();
        all.map(|policy| policy.judge(manifest, &newer_block).decision)
            .collect()
    };
    let names: Vec<_> = ALL.iter().map(|policy| policy.name()).collect();
    assert_eq!(
        names,
        [
            "global-version",
            "composite-exact",
            "composite-by-token",
            "restorable"
        ]
    );
    use Decision::{Accept, Reject};
    // A plain string does not say which blocks it means: nobody can see the difference.
    let plain = Manifest::written_by(&older, Dialect::Plain).unwrap();
    assert_eq!(decide(&plain), [Accept, Accept, Accept, Accept]);
    // A composite does; the global version does not look.
    let composite = Manifest::written_by(&older, Dialect::Composite).unwrap();
    assert_eq!(decide(&composite), [Accept, Reject, Reject, Reject]);
    // Another root is another everything.
    let other_root = Manifest::written_by(&side(3, 1, 1, 5, 2, 2), Dialect::Composite).unwrap();
    assert_eq!(decide(&other_root), [Reject, Reject, Reject, Reject]);
    let global = policy::by_name("global-version")
        .unwrap()
        .judge(&other_root, &newer_block);
    let luo: Vec<&Finding> = global
        .rejected()
        .filter(|finding| finding.carrier == Carrier::Luo)
        .collect();
    assert!(
        luo[0].reason.contains("stands for everything"),
        "{:?}",
        luo[0]
    );
}

#[test]
fn what_can_restore_an_older_version_says_so() {
    let older = side(4, 1, 1, 5, 1, 2);
    let mut block = ability("block", 2, None, &[]);
    block.restores = semver::VersionReq::parse(">=1, <3").unwrap();
    let others = older
        .abilities()
        .filter(|ability| ability.name != "block")
        .cloned();
    let both = Side::new(others.chain([block])).unwrap();
    let manifest = Manifest::written_by(&older, Dialect::Composite).unwrap();
    assert!(accepts("restorable", &manifest, &both));
    assert!(!accepts("composite-by-token", &manifest, &both));
    assert!(!accepts("composite-exact", &manifest, &both));
    assert_eq!(both.restorable_text("block"), "block-v1 or block-v2");
}

#[test]
fn a_policy_of_ones_own_is_one_type() {
    /// Takes nothing on a Friday.
    struct Toy(bool);

    impl Policy for Toy {
        fn name(&self) -> &'static str {
            "toy"
        }
        fn summary(&self) -> &'static str {
            "nothing on a Friday"
        }
        fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
            let verdict = policy::Restorable.judge(manifest, side);
            let decision = if self.0 {
                Decision::Reject
            } else {
                verdict.decision
            };
            Verdict {
                policy: self.name(),
                decision,
                ..verdict
            }
        }
    }

    let side = side(4, 1, 1, 5, 1, 2);
    let manifest = Manifest::written_by(&side, Dialect::Plain).unwrap();
    assert_eq!(
        Toy(false).judge(&manifest, &side).decision,
        Decision::Accept
    );
    assert_eq!(Toy(true).judge(&manifest, &side).decision, Decision::Reject);
    assert!(policy::by_name("toy").is_none());
}

#[test]
fn what_is_no_side_is_refused() {
    let message = |abilities: Vec<Ability>| Side::new(abilities).unwrap_err().to_string();
    let twice = vec![
        ability("block", 1, None, &[]),
        ability("block", 2, None, &[]),
    ];
    assert_eq!(message(twice), "component `block` is listed twice");
    assert!(message(vec![ability("luo", 5, None, &["block"])]).contains("needs `block`"));
    let cycle = vec![ability("a", 1, None, &["b"]), ability("b", 1, None, &["a"])];
    assert!(message(cycle).contains("a needs b needs a"));
    let mut own = ability("luo", 5, None, &[]);
    own.restores = semver::VersionReq::parse("^4").unwrap();
    assert_eq!(
        message(vec![own]),
        "component `luo` writes version 5 but restores ^4 only"
    );
    assert!(Ability::new("Luo", 5).is_err());
}
