//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(missing_docs)]

#[test]
fn fd_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/fd",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", kho_fd::abi::COMPONENT.describe());
    });
}

/// An error would be blessed like anything else.
#[test]
fn vectors_are_made_and_always_the_same() {
    for vector in kho_fd::abi::COMPONENT.vectors {
        let (made, again) = (vector(), vector());
        assert!(!made.text.starts_with("error: "), "{made:?}");
        assert_eq!(made, again);
    }
}
