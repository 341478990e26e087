//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used, missing_docs)]

use kho_abi_check::{describe, describe_variant, vectors_of};
use kho_golden as _; // Links the vectors.

#[test]
fn block_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/block",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", describe(&kho_block::COMPONENT).unwrap());
    });
}

#[test]
fn what_differs_by_page_size_is_as_released() {
    let generation = kho_block::COMPONENT.written();
    let labels: Vec<_> = generation.variants.iter().map(|one| one.label).collect();
    assert_eq!(labels, ["16k", "64k"]);
    for variant in generation.variants {
        insta::with_settings!({
            snapshot_path => "../../../abi-snapshots/block",
            prepend_module_to_snapshot => false,
            omit_expression => true,
            snapshot_suffix => variant.label,
        }, {
            let text = describe_variant(&kho_block::COMPONENT, generation, variant).unwrap();
            insta::assert_snapshot!("v1", text);
        });
    }
}

/// The experiment's snapshot changes with it, and no release has it.
#[test]
#[cfg(feature = "experimental-v2")]
fn version_2_is_as_recorded() {
    let component = kho_block::COMPONENT;
    let generation = component.generation(2).unwrap();
    assert_eq!(generation.role, kho_compat::Role::Experimental);
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/block",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        let text = kho_abi_check::describe_generation(&component, generation).unwrap();
        insta::assert_snapshot!("v2", text);
    });
}

#[test]
fn vectors_are_linked_and_always_the_same() {
    let vectors = vectors_of(kho_block::NAME);
    assert_eq!(vectors.len(), 14);
    for vector in vectors {
        assert_eq!(vector.make().unwrap(), vector.make().unwrap());
    }
}
