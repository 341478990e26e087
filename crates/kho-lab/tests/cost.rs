//! What versions cost: bytes in memory, and edits of others.
#![allow(clippy::unwrap_used)]

use kho_compat::{Ability, Carrier, Features, Manifest, Side, Writing, policy};
use kho_lab::{forced_edits, version_bytes};

fn ability(name: &str, version: u32, carrier: Option<Carrier>, needs: &[&str]) -> Ability {
    let mut ability = Ability::new(name, version).unwrap();
    ability.carrier = carrier;
    ability.needs = needs.iter().map(ToString::to_string).collect();
    ability.features = Some(Features::BASE);
    ability
}

/// A kernel whose tracker needs `of_radix`.
fn side(of_radix: &[&str]) -> Side {
    let own = [
        ability("kho", 4, Some(Carrier::Root), &["radix", "vmalloc"]),
        ability("radix", 1, None, of_radix),
        ability("vmalloc", 1, None, &[]),
        ability("luo", 5, Some(Carrier::Luo), &["block"]),
        ability("block", 1, None, &[]),
        ability("memfd", 2, Some(Carrier::FileHandler), &["vmalloc"]),
        ability("kexec-metadata", 1, Carrier::by_id("kexec-metadata"), &[]),
    ];
    let more = of_radix.iter().map(|name| ability(name, 1, None, &[]));
    Side::new(own.into_iter().chain(more)).unwrap()
}

#[test]
fn edits_are_those_of_strings_that_list_it() {
    let edits = |name: &str, component: &str| {
        let policy = policy::by_name(name).unwrap();
        forced_edits(policy, &side(&["slab"]), component).unwrap()
    };
    // slab: what needs it has no string, so a list of direct needs does not have it. vmalloc: the
    // root's and the memfd handler's. The root's own number forces nothing.
    for (policy, slab, vmalloc, luo, kho) in [
        ("global-version", 1, 1, 1, 0),
        ("composite-exact", 1, 2, 0, 0),
        ("composite-exact-direct", 0, 2, 0, 0),
        ("composite-by-token", 1, 2, 0, 0),
        ("composite-by-token-direct", 0, 2, 0, 0),
        ("semver-range", 1, 2, 0, 0),
        ("newest-common", 0, 0, 0, 0),
        ("check-at-restore", 0, 0, 0, 0),
        ("feature-masks", 0, 0, 0, 0),
    ] {
        let found = ["slab", "vmalloc", "luo", "kho"].map(|component| edits(policy, component));
        assert_eq!(found, [slab, vmalloc, luo, kho], "{policy}");
    }
}

#[test]
fn bytes_are_those_of_the_formats() {
    let side = side(&[]);
    let bytes = |dialect| version_bytes(&Manifest::written_by(&side, dialect).unwrap());
    // kho-v4 and its NUL take 8, luo-v5 8, a file's handler 48, the metadata's number 4.
    assert_eq!(bytes(Writing::PLAIN), 8 + 8 + 48 + 4);
    // kho-v4;radix-v1;vmalloc-v1 and its NUL take 28, luo-v5;block-v1 16.
    assert_eq!(bytes(Writing::COMPOSITE), 28 + 16 + 48 + 4);
    // Per property 12, the value, the name and its NUL; the node 8 and its name.
    let names = "kho radix vmalloc luo block memfd kexec-metadata ".len() as u64;
    let more = |dialect| bytes(dialect) - bytes(Writing::PLAIN);
    assert_eq!(more(Writing::TABLE), 16 + names + 7 * (12 + 8));
    assert_eq!(more(Writing::FEATURES), 20 + names + 7 * (12 + 24));
}
