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
