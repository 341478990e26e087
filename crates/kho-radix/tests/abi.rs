//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used, missing_docs)]

use kho_abi_check::{describe, describe_variant, vectors_of};
use kho_golden as _; // Links the vectors.

#[test]
fn radix_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/radix",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", describe(&kho_radix::COMPONENT).unwrap());
    });
}

#[test]
fn what_differs_by_page_size_is_as_released() {
    let generation = kho_radix::COMPONENT.written();
    let labels: Vec<_> = generation.variants.iter().map(|one| one.label).collect();
    assert_eq!(labels, ["16k", "64k"]);
    for variant in generation.variants {
        insta::with_settings!({
            snapshot_path => "../../../abi-snapshots/radix",
            prepend_module_to_snapshot => false,
            omit_expression => true,
            snapshot_suffix => variant.label,
        }, {
            let text = describe_variant(&kho_radix::COMPONENT, generation, variant).unwrap();
            insta::assert_snapshot!("v1", text);
        });
    }
}

#[test]
fn vectors_are_linked_and_always_the_same() {
    let vectors = vectors_of(kho_radix::NAME);
    assert_eq!(vectors.len(), 8);
    for vector in vectors {
        assert_eq!(vector.make().unwrap(), vector.make().unwrap());
    }
}
