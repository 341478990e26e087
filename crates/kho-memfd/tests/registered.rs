//! Link-time collection can lose entries in silence: these must be there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use kho_compat::{Registry, Strings};
// Nothing else here refers to it, and what nothing refers to is not linked.
use kho_memfd as _;

#[test]
fn every_component_below_memfd_is_registered() {
    let registry = Registry::linked().unwrap();
    let names: Vec<_> = registry
        .components()
        .map(|component| component.name)
        .collect();
    assert_eq!(
        names,
        [
            "block",
            "kexec-metadata",
            "kho",
            "luo",
            "memblock",
            "memfd",
            "radix",
            "reserve-mem",
            "vmalloc"
        ]
    );
}

#[test]
fn strings_are_those_of_both_dialects() {
    let registry = Registry::linked().unwrap();
    for (name, plain, composite, field) in [
        ("kho", "kho-v4", "kho-v4;radix-v1;vmalloc-v1", 32),
        ("luo", "luo-v5", "luo-v5;block-v1", 16),
        ("memfd", "memfd-v2", "memfd-v2;vmalloc-v1", 24),
    ] {
        assert_eq!(
            registry.compat(name, Strings::Plain).unwrap().to_string(),
            plain
        );
        let compat = registry.compat(name, Strings::Transitive).unwrap();
        assert_eq!(
            (compat.to_string().as_str(), compat.field_len()),
            (composite, field)
        );
    }
}
