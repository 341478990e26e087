//! The component's ABI as released: changing it takes a new version and a new snapshot.

#[test]
fn memfd_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/memfd",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v2", kho_memfd::abi::COMPONENT.describe());
    });
}
