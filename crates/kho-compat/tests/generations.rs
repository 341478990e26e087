//! Components with several generations: what their strings stand for, list and need.
#![allow(clippy::unwrap_used)]

use kho_compat::policy::SemverRange;
use kho_compat::{
    Admitted, Announced, Carrier, Component, Decision, Generation, Manifest, Place, Policy,
    Registry, RegistryError, Side, Strings,
};

static BLOCK: Component = Component::new("block", &[Generation::new(1), Generation::new(2)]);
static LUO: Component = Component::new(
    "luo",
    &[
        Generation::new(4).needs(&[("block", 1)]),
        Generation::new(5).minor(3).needs(&[("block", 2)]),
    ],
)
.carried_in(Carrier::Luo);
static VMALLOC: Component = Component::new("vmalloc", &[Generation::new(1), Generation::new(2)]);
static KHO: Component =
    Component::new("kho", &[Generation::new(4).lists(&[("vmalloc", 1)])]).carried_in(Carrier::Root);
static MEMFD: Component = Component::new("memfd", &[Generation::new(3).needs(&[("vmalloc", 2)])])
    .carried_in(Carrier::FileHandler);

fn admit(components: &[&'static Component], strings: &[(Carrier, &str)]) -> Admitted {
    let registry = Registry::new(components.iter().copied()).unwrap();
    let mut manifest = Manifest::new();
    for (carrier, found) in strings {
        manifest.add(*carrier, found, Place::default());
    }
    registry.admit(&SemverRange, manifest).unwrap()
}

#[test]
fn a_plain_string_stands_for_what_its_own_version_was_released_with() {
    for (string, block) in [("luo-v4", 1), ("luo-v5", 2)] {
        let admitted = admit(&[&LUO, &BLOCK], &[(Carrier::Luo, string)]);
        assert_eq!(admitted.version_of("block"), Some(block));
        assert!(admitted.require("block", block).is_ok());
        assert!(admitted.require("block", 3 - block).is_err());
    }
}

#[test]
fn what_is_needed_counts_before_what_is_listed_alone() {
    let strings = [
        (Carrier::Root, "kho-v4"),
        (Carrier::FileHandler, "memfd-v3"),
    ];
    let admitted = admit(&[&KHO, &MEMFD, &VMALLOC], &strings);
    let memfd = Announced::default().in_string("memfd-v3");
    assert_eq!(admitted.version_for(&memfd, "vmalloc"), Some(2));
    assert!(admitted.require("vmalloc", 2).is_ok());
}

#[test]
fn a_version_is_written_with_what_it_announces() {
    let registry = Registry::new([&LUO, &BLOCK]).unwrap();
    let text = |side: &Side| side.compat("luo", Strings::Transitive).unwrap().to_string();
    assert_eq!(text(registry.side()), "luo-v5;block-v2");
    let older = registry.side().clone().writing("luo", 4).unwrap();
    assert_eq!(older.get("luo").unwrap().minor, 0);
    assert_eq!(older.stands_for("block"), Some(1));
    // The next side restores luo-v4 and nothing newer.
    static NEXT: Component = Component::new("luo", &[Generation::new(4).needs(&[("block", 1)])])
        .carried_in(Carrier::Luo);
    static BLOCK_1: Component = Component::new("block", &[Generation::new(1)]);
    let next = Registry::new([&NEXT, &BLOCK_1]).unwrap();
    let common = registry.side().newest_common(next.side());
    assert_eq!(text(&common), "luo-v4;block-v1");
    assert_eq!(common.get("luo").unwrap().minor, 0);
}

#[test]
fn needs_of_a_generation_that_is_only_read_must_be_linked() {
    static OLD: Component = Component::new(
        "memfd",
        &[
            Generation::new(1).needs(&[("pool", 1)]).read_only(),
            Generation::new(2),
        ],
    );
    let error = Registry::new([&OLD]).unwrap_err();
    assert_eq!(
        error,
        RegistryError::UnknownNeed("memfd".into(), "pool".into())
    );
}

#[test]
fn an_object_that_is_left_alone_announces_nothing() {
    static MEMFD_2: Component =
        Component::new("memfd", &[Generation::new(2).needs(&[("vmalloc", 1)])])
            .carried_in(Carrier::FileHandler);
    static VMALLOC_1: Component = Component::new("vmalloc", &[Generation::new(1)]);
    let strings = [
        (Carrier::Flb, "x-v1;vmalloc-v9"),
        (Carrier::FileHandler, "memfd-v2"),
    ];
    let admitted = admit(&[&MEMFD_2, &VMALLOC_1], &strings);
    assert_eq!(admitted.version_of("vmalloc"), Some(1));
    assert!(admitted.require("vmalloc", 1).is_ok());
}

#[test]
fn what_another_component_lists_is_not_passed_over() {
    static FOO: Component =
        Component::new("foo", &[Generation::new(1)]).carried_in(Carrier::FileHandler);
    let registry = Registry::new([&KHO, &FOO]).unwrap();
    let judge = |carrier, found: &str| {
        let mut manifest = Manifest::new();
        manifest.add(carrier, found, Place::default());
        SemverRange.judge(&manifest, registry.side()).decision
    };
    assert_eq!(judge(Carrier::Root, "kho-v4;vmalloc-v1"), Decision::Accept);
    assert_eq!(
        judge(Carrier::FileHandler, "foo-v1;vmalloc-v9"),
        Decision::Reject
    );
    let admitted = admit(&[&KHO], &[(Carrier::Root, "kho-v4;vmalloc-v1")]);
    assert!(
        admitted.require("vmalloc", 1).is_err(),
        "nothing here restores it"
    );
}

#[test]
fn two_generations_may_share_a_string() {
    static BITMAP: Component = Component::new(
        "bitmap",
        &[
            Generation::new(1).announced_by("kho-v1"),
            Generation::new(2).announced_by("kho-v1"),
        ],
    );
    let numbers =
        |string: &str| -> Vec<u32> { BITMAP.announced_by(string).map(|one| one.number).collect() };
    assert_eq!(numbers("kho-v1"), [1, 2]);
    assert!(numbers("bitmap-v1").is_empty());
    assert_eq!(LUO.announced_by("luo-v5").count(), 1);
    static BAD: Component = Component::new("bitmap", &[Generation::new(1).announced_by("Kho v1")]);
    assert!(matches!(
        Registry::new([&BAD]),
        Err(RegistryError::Name(..))
    ));
}

#[test]
fn what_is_lost_says_nothing_of_what_others_need() {
    static LOST: Component = Component::new("zzz", &[Generation::new(2).needs(&[("vmalloc", 2)])])
        .carried_in(Carrier::FileHandler)
        .optional();
    static MEMFD_2: Component =
        Component::new("memfd", &[Generation::new(2).needs(&[("vmalloc", 1)])])
            .carried_in(Carrier::FileHandler);
    let strings = [
        (Carrier::FileHandler, "zzz-v1;vmalloc-v2"),
        (Carrier::FileHandler, "memfd-v2;vmalloc-v1"),
        (Carrier::FileHandler, "memfd-v2"),
    ];
    let admitted = admit(&[&LOST, &MEMFD_2, &VMALLOC], &strings);
    assert_eq!(admitted.verdict().decision, Decision::Degrade);
    assert_eq!(admitted.version_of("vmalloc"), Some(1));
    let memfd = Announced::default().in_string("memfd-v2");
    assert_eq!(admitted.version_for(&memfd, "vmalloc"), Some(1));
}
