//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used, missing_docs)]

use kho_abi_check::{describe, describe_variant, vectors_of};
use kho_core::{COMPONENT, MEMBLOCK, METADATA, REGION};
use kho_golden as _; // Links the vectors.

#[test]
fn kho_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/kho",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v4", describe(&COMPONENT).unwrap());
    });
}

#[test]
fn what_differs_by_page_size_is_as_released() {
    let generation = COMPONENT.written();
    let labels: Vec<_> = generation.variants.iter().map(|one| one.label).collect();
    assert_eq!(labels, ["16k", "64k"]);
    for variant in generation.variants {
        insta::with_settings!({
            snapshot_path => "../../../abi-snapshots/kho",
            prepend_module_to_snapshot => false,
            omit_expression => true,
            snapshot_suffix => variant.label,
        }, {
            let text = describe_variant(&COMPONENT, generation, variant).unwrap();
            insta::assert_snapshot!("v4", text);
        });
    }
}

#[test]
fn metadata_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/kexec-metadata",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", describe(&METADATA).unwrap());
    });
}

#[test]
fn memblock_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/memblock",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", describe(&MEMBLOCK).unwrap());
    });
}

#[test]
fn reserve_mem_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/reserve-mem",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", describe(&REGION).unwrap());
    });
}

#[test]
fn vectors_are_linked_and_always_the_same() {
    for (component, count) in [(COMPONENT, 8), (METADATA, 2), (MEMBLOCK, 3), (REGION, 2)] {
        let vectors = vectors_of(component.name);
        assert_eq!(vectors.len(), count, "{}", component.name);
        for vector in vectors {
            assert_eq!(vector.make().unwrap(), vector.make().unwrap());
        }
    }
}
