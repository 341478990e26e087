//! What holds for every policy, and what tells them apart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod claims;
mod losses;

use kho_compat::policy::{self, ALL};
use kho_compat::{
    Ability, Carrier, Component, Consequence, Decision, Features, Finding, Generation, Manifest,
    Outcome, Place, Policy, Presence, Reason, Registry, Side, Strings, Token, Verdict, Writing,
};
use proptest::prelude::*;

fn ability(name: &str, version: u32, carrier: Option<Carrier>, needs: &[&str]) -> Ability {
    let mut ability = Ability::new(name, version).unwrap();
    ability.carrier = carrier;
    ability.needs = needs.iter().map(ToString::to_string).collect();
    ability.features = Some(Features::BASE);
    ability
}

/// A kernel of these versions.
fn side(kho: u32, radix: u32, vmalloc: u32, luo: u32, block: u32, memfd: u32) -> Side {
    let mut metadata = ability(
        "kexec-metadata",
        1,
        Some(Carrier::Owned(kho_compat::Owned::KEXEC_METADATA)),
        &[],
    );
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

fn dialects() -> impl Strategy<Value = Writing> {
    prop::sample::select(&Writing::ALL[..])
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
        let side = side.in_dialect(dialect);
        prop_assert_eq!(own.writing(), match dialect {
            Writing::COMPOSITE_DIRECT => Writing::COMPOSITE,
            other => other,
        });
        for policy in ALL {
            // In the dialect that the policy writes, too, and whoever the next side is.
            for next in [None, Some(&side)] {
                let written = policy.write(&side, next).unwrap();
                prop_assert_eq!(policy.judge(&written, &side).decision, Decision::Accept, "{}", policy.name());
            }
            prop_assert_eq!(&policy.write(&side, None).unwrap(), &own);
            let written = policy.write(&side, Some(&other)).unwrap();
            let verdict = policy.judge(&written, &other);
            prop_assert_eq!(&verdict, &policy.judge(&written, &other));
            prop_assert_eq!(verdict.findings.len(), written.entries().len());
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
        for carrier in [Carrier::Root, Carrier::Luo, Carrier::FileHandler, Carrier::Table, Carrier::Features] {
            let mut manifest = Manifest::written_by(&side, dialect).unwrap();
            match carrier {
                Carrier::Table => manifest.add_listed(&"other-v1".parse().unwrap(), false, Place::default()),
                Carrier::Features => manifest.add_features("other", Features::of(3, 2), Place::default()),
                _ => manifest.add(carrier, "other-v1", Place::default()),
            }
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
        prop_assert!(!takes("composite-by-token") || takes("semver-range"));
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
            "composite-exact-direct",
            "composite-by-token",
            "composite-by-token-direct",
            "semver-range",
            "component-callback",
            "newest-common",
            "check-at-restore",
            "feature-masks"
        ]
    );
    use Decision::{Accept, Reject};
    // A plain string does not say which blocks it means: nobody can see the difference. Whoever writes
    // composites and compares whole strings sees that it is another one.
    let plain = Manifest::written_by(&older, Writing::PLAIN).unwrap();
    let mut expected = [Accept; 10];
    (expected[1], expected[2]) = (Reject, Reject);
    assert_eq!(decide(&plain), expected);
    // A composite does; the global version does not look.
    let composite = Manifest::written_by(&older, Writing::COMPOSITE).unwrap();
    let mut expected = [Reject; 10];
    expected[0] = Accept;
    assert_eq!(decide(&composite), expected);
    // Another root is another everything.
    let other_root = Manifest::written_by(&side(3, 1, 1, 5, 2, 2), Writing::COMPOSITE).unwrap();
    assert_eq!(decide(&other_root), [Reject; 10]);
    let global = policy::by_name("global-version")
        .unwrap()
        .judge(&other_root, &newer_block);
    let luo: Vec<&Finding> = global
        .rejected()
        .filter(|finding| finding.entry.carrier == Carrier::Luo)
        .collect();
    assert_eq!(luo[0].reason, Some(Reason::OtherRoot));
    assert_eq!(luo[0].consequence(), Consequence::ColdBoot);
}

#[test]
fn what_is_exact_is_the_string_of_the_receivers_dialect() {
    let side = side(4, 1, 1, 5, 1, 2);
    let of = |dialect| side.clone().in_dialect(dialect);
    let all = [Writing::PLAIN, Writing::COMPOSITE, Writing::TABLE];
    let exact = policy::CompositeExact(policy::Needs::Transitive);
    for (from, to) in all.iter().flat_map(|from| all.map(|to| (*from, to))) {
        let manifest = exact.write(&of(from), Some(&of(to))).unwrap();
        assert_eq!(manifest, Manifest::written_by(&side, from).unwrap());
        let verdict = exact.judge(&manifest, &of(to));
        let same = from.strings == to.strings;
        assert_eq!(verdict.decision == Decision::Accept, same, "{from} to {to}");
        // What takes the other's strings besides is left for it and comes from it.
        let both = of(to).taking([Writing::COMPOSITE, Writing::PLAIN]);
        assert_eq!(exact.judge(&manifest, &both).decision, Decision::Accept);
        if !same {
            let luo = verdict
                .findings
                .iter()
                .find(|f| f.entry.carrier == Carrier::Luo);
            let luo = luo.unwrap();
            let own = side.compat("luo", to.strings).unwrap();
            assert_eq!(luo.expected.to_string(), own.to_string());
            assert_eq!(luo.reason, Some(Reason::NotTheString { own }));
        }
        // A number in a table, or of an owner, is no composite.
        let others = verdict.findings.iter();
        let mut others = others.filter(|finding| !finding.entry.carrier.holds_composites());
        assert!(others.all(|finding| finding.outcome == Outcome::Restorable));
        for policy in ["global-version", "composite-by-token", "semver-range"] {
            assert!(accepts(policy, &manifest, &of(to)), "{policy}");
        }
    }
}

#[test]
fn what_can_restore_an_older_version_says_so() {
    let older = side(4, 1, 1, 5, 1, 2);
    let mut block = ability("block", 2, None, &[]);
    block.restores = ">=1, <3".parse().unwrap();
    let others = older.abilities().filter(|ability| ability.name != "block");
    let others = others.cloned();
    let both = Side::new(others.chain([block])).unwrap();
    let manifest = Manifest::written_by(&older, Writing::COMPOSITE).unwrap();
    assert!(accepts("semver-range", &manifest, &both));
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
            let verdict = policy::SemverRange.judge(manifest, side);
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
    let manifest = Manifest::written_by(&side, Writing::PLAIN).unwrap();
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
    own.restores = "^4".parse().unwrap();
    assert_eq!(
        message(vec![own]),
        "component `luo` writes version 5 but restores ^4 only"
    );
    assert!(Ability::new("Luo", 5).is_err());
}

/// A side with one more component, whose string or place in the table is all that differs.
fn with(side: &Side, change: impl FnOnce(&mut Ability), name: &str) -> Side {
    let mut abilities: Vec<_> = side.abilities().cloned().collect();
    change(
        abilities
            .iter_mut()
            .find(|ability| ability.name == name)
            .unwrap(),
    );
    Side::new(abilities).unwrap()
}

fn judged(name: &str, from: &Side, to: &Side) -> Verdict {
    let policy = policy::by_name(name).unwrap();
    policy.judge(&policy.write(from, Some(to)).unwrap(), to)
}

#[test]
fn the_newest_common_version_is_the_one_written() {
    let old = side(4, 1, 1, 5, 1, 2);
    let new = with(
        &side(4, 1, 1, 5, 2, 2),
        |block| {
            block.writes = vec![1];
            block.restores = ">=1, <3".parse().unwrap();
        },
        "block",
    );
    let newest = policy::by_name("newest-common").unwrap();
    let written = |from: &Side, to: Option<&Side>| newest.write(from, to).unwrap().listed("block");
    assert_eq!(written(&new, Some(&old)), Some(1));
    assert_eq!(written(&new, Some(&new)), Some(2));
    assert_eq!(written(&new, None), Some(2));
    assert_eq!(written(&old, Some(&new)), Some(1));
    // Down and up again, where the semver range goes up only.
    assert_eq!(
        judged("newest-common", &new, &old).decision,
        Decision::Accept
    );
    assert_eq!(
        judged("newest-common", &old, &new).decision,
        Decision::Accept
    );
    assert_eq!(
        judged("semver-range", &new, &old).decision,
        Decision::Reject
    );
    assert_eq!(
        judged("semver-range", &old, &new).decision,
        Decision::Accept
    );
    // Nothing in common: refused, and nothing made up.
    let far = side(4, 1, 1, 5, 3, 2);
    assert_eq!(written(&new, Some(&far)), Some(2));
    assert_eq!(
        judged("newest-common", &new, &far).decision,
        Decision::Reject
    );
    assert!(new.clone().writing("block", 1).is_ok());
    let error = new.clone().writing("block", 3).unwrap_err().to_string();
    assert_eq!(
        error,
        "block-v3 can not be written here, where version 2 is"
    );
}

#[test]
fn masks_are_judged_by_what_is_required() {
    let base = side(4, 1, 1, 5, 1, 2);
    let masks = |supported, required| {
        with(
            &base,
            |memfd| memfd.features = Some(Features::of(supported, required)),
            "memfd",
        )
    };
    let decide = |from: &Side, to: &Side| judged("feature-masks", from, to).decision;
    // An addition that a reader may ignore: both ways.
    let more = masks(0b11, 0b01);
    assert_eq!(decide(&base, &more), Decision::Accept);
    assert_eq!(decide(&more, &base), Decision::Accept);
    // One that it must know: up only.
    let must = masks(0b11, 0b11);
    assert_eq!(decide(&must, &base), Decision::Reject);
    assert_eq!(decide(&base, &must), Decision::Reject);
    assert_eq!(decide(&must, &more), Decision::Accept);
    let verdict = judged("feature-masks", &must, &base);
    let finding = verdict.rejected().next().unwrap();
    assert_eq!(
        finding.entry.to_string(),
        "memfd supported 0x3, required 0x3, active 0x3"
    );
    assert_eq!(finding.expected.to_string(), "supported 0x1, required 0x1");
    assert_eq!(finding.reason, Some(Reason::NotSupported { features: 2 }));
    // The number is not looked at where there is a mask, and is where there is none.
    let other_number = side(4, 1, 1, 5, 1, 3);
    assert_eq!(decide(&other_number, &base), Decision::Accept);
    let plain = Manifest::written_by(&other_number, Writing::PLAIN).unwrap();
    assert!(!accepts("feature-masks", &plain, &base));
}

#[test]
fn a_kernel_without_a_policy_compares_whole_strings() {
    let mut side = side(4, 1, 1, 5, 1, 2).in_dialect(Writing::PLAIN);
    side = with(
        &side,
        |luo| luo.restores = ">=4, <6".parse().unwrap(),
        "luo",
    );
    let side = side.in_dialect(Writing::PLAIN).comparing_whole(true);
    for policy in ALL {
        for (dialect, luo, decision) in [
            (Writing::PLAIN, 5, Decision::Accept),
            (Writing::TABLE, 5, Decision::Accept),
            (Writing::COMPOSITE, 5, Decision::Reject),
            (Writing::STRING_LIST, 5, Decision::Accept),
            (Writing::PLAIN, 4, Decision::Reject),
        ] {
            let from = crate::side(4, 1, 1, luo, 1, 2);
            let manifest = Manifest::written_by(&from, dialect).unwrap();
            // It finds its own string in a list, which is not that string byte for byte.
            let exact = policy.name().starts_with("composite-exact");
            let list = dialect == Writing::STRING_LIST && exact;
            let decision = if list { Decision::Reject } else { decision };
            let found = policy.judge(&manifest, &side).decision;
            assert_eq!(found, decision, "{} {dialect} {luo}", policy.name());
        }
    }
}

#[test]
fn a_component_is_asked_itself() {
    /// Version 2 if nothing else is in use beside a root of version 4, version 7 always.
    fn check(token: &Token, manifest: &Manifest) -> Result<(), Reason> {
        match token.version() {
            7 => Ok(()),
            2 if manifest.of(Carrier::Luo).next().is_none() => Ok(()),
            _ => Err(Reason::Other(format!("{token} beside LUO"))),
        }
    }
    static KHO: Component = Component::new("kho", &[Generation::new(4)]).carried_in(Carrier::Root);
    static LUO: Component = Component::new("luo", &[Generation::new(5)]).carried_in(Carrier::Luo);
    static BLOCK: Component = Component::new("block", &[Generation::new(1)]);
    static MEMFD: Component = Component::new("memfd", &[Generation::new(2).needs(&[("block", 1)])])
        .carried_in(Carrier::FileHandler)
        .checked_by(check);
    let registry = Registry::new([&KHO, &LUO, &BLOCK, &MEMFD]).unwrap();
    let judge = |policy: &str, luo: bool, file: &str, side: &Side| {
        let mut manifest = Manifest::new();
        manifest.add(Carrier::Root, "kho-v4", Place::default());
        if luo {
            manifest.add(Carrier::Luo, "luo-v5", Place::default());
        }
        manifest.add(Carrier::FileHandler, file, Place::default());
        let verdict = policy::by_name(policy).unwrap().judge(&manifest, side);
        verdict.findings.last().unwrap().reason.clone()
    };
    let own = registry.side();
    let asked = |luo, file| judge("component-callback", luo, file, own);
    assert_eq!(asked(false, "memfd-v2;block-v1"), None);
    assert_eq!(asked(true, "memfd-v7"), None);
    let beside = Some(Reason::Other("memfd-v2 beside LUO".to_owned()));
    assert_eq!(asked(true, "memfd-v2"), beside);
    // One without a check has its versions.
    assert!(matches!(
        asked(true, "memfd-v7;block-v2"),
        Some(Reason::NotRestorable { .. })
    ));
    // So has a side without code; and no other policy asks.
    let file = with(own, |memfd| memfd.check = None, "memfd");
    assert_eq!(judge("component-callback", true, "memfd-v2", &file), None);
    assert!(judge("component-callback", true, "memfd-v7", &file).is_some());
    assert_eq!(judge("semver-range", true, "memfd-v2", own), None);
    // What it admits can be restored, what it does not can not.
    let admit = |found: &str| {
        let mut manifest = Manifest::new();
        manifest.add(Carrier::FileHandler, found, Place::default());
        registry.admit(&policy::ComponentCallback, manifest)
    };
    assert_eq!(admit("memfd-v2").unwrap().require("memfd", 2), Ok(()));
    assert!(admit("memfd-v3").is_err());
}

#[test]
fn order_and_equal_tokens_matter_to_whoever_compares_whole_strings() {
    let side = side(4, 1, 1, 5, 1, 2);
    let judge = |policy: &str, string: &str| {
        let mut manifest = Manifest::new();
        manifest.add(Carrier::Root, string, Place::default());
        let verdict = policy::by_name(policy).unwrap().judge(&manifest, &side);
        verdict.findings[0].clone()
    };
    for policy in ALL.iter().map(|policy| policy.name()) {
        let exact = policy.starts_with("composite-exact");
        let loose = [
            "kho-v4;vmalloc-v1;radix-v1",
            "kho-v4;radix-v1;radix-v1;vmalloc-v1",
            "kho-v4;kho-v4",
        ];
        for string in loose {
            let finding = judge(policy, string);
            let strict = kho_compat::Compat::parse(string).unwrap_err();
            if exact {
                assert_eq!(finding.reason, Some(Reason::NotACompatString(strict)));
                assert_eq!((finding.outcome, finding.note), (Outcome::Rejected, None));
            } else {
                assert_eq!(
                    (finding.outcome, finding.note),
                    (Outcome::Restorable, Some(strict)),
                    "{policy}"
                );
            }
        }
        // Order or not, a part of another version is another version.
        if ![
            "global-version",
            "composite-exact",
            "composite-exact-direct",
        ]
        .contains(&policy)
        {
            assert_eq!(
                judge(policy, "kho-v4;vmalloc-v1;radix-v2").outcome,
                Outcome::Rejected
            );
        }
        for string in [
            "kho-v4;radix-v1;radix-v2",
            "kho-v4;kho-v5",
            "kho-v4-radix-v1-vmalloc-v1",
        ] {
            let finding = judge(policy, string);
            assert_eq!(
                (finding.outcome, finding.note),
                (Outcome::Rejected, None),
                "{policy} {string}"
            );
            assert!(matches!(finding.reason, Some(Reason::NotACompatString(_))));
        }
    }
}

#[test]
fn a_range_may_ask_for_an_addition() {
    let mut own = ability("block", 1, None, &[]);
    let judge = |own: &Ability, minor| {
        let mut manifest = Manifest::new();
        let token = "block-v1".parse().unwrap();
        manifest.add_listed(&token, false, Place::default());
        manifest.set_minor(&token, minor);
        let side = Side::new([own.clone()]).unwrap();
        policy::SemverRange.judge(&manifest, &side).decision
    };
    // An addition may be ignored by who does not know it.
    assert_eq!(judge(&own, 3), Decision::Accept);
    own.minor = 2;
    own.restores = ">=1.2, <2".parse().unwrap();
    assert_eq!(judge(&own, 2), Decision::Accept);
    assert_eq!(judge(&own, 1), Decision::Reject);
    let written = Manifest::written_by(&Side::new([own]).unwrap(), Writing::TABLE).unwrap();
    assert_eq!(written.minor(&"block-v1".parse().unwrap()), 2);
}
