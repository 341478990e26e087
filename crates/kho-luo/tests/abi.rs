//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::cast_possible_truncation, missing_docs)]

#[test]
fn luo_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/luo",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v5", kho_luo::abi::COMPONENT.describe());
    });
}

/// An error would be blessed like anything else.
#[test]
fn vectors_are_made_and_always_the_same() {
    for vector in kho_luo::abi::COMPONENT.vectors {
        let (made, again) = (vector(), vector());
        assert!(!made.text.starts_with("error: "), "{made:?}");
        assert_eq!(made, again);
    }
}
