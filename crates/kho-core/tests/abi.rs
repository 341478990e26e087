//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

#[test]
fn kho_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/kho",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v4", kho_core::abi::COMPONENT.describe());
    });
}

#[test]
fn metadata_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/kexec-metadata",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", kho_core::abi::METADATA.describe());
    });
}

#[test]
fn memblock_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/memblock",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", kho_core::abi::MEMBLOCK.describe());
    });
}

#[test]
fn reserve_mem_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/reserve-mem",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", kho_core::abi::REGION.describe());
    });
}

/// An error would be blessed like anything else.
#[test]
fn vectors_are_made_and_always_the_same() {
    use kho_core::abi::{COMPONENT, MEMBLOCK, METADATA, REGION};
    let components = [COMPONENT, MEMBLOCK, METADATA, REGION];
    for vector in components.iter().flat_map(|one| one.vectors) {
        let (made, again) = (vector(), vector());
        assert!(!made.text.starts_with("error: "), "{made:?}");
        assert_eq!(made, again);
    }
}
