//! The component's ABI as released: changing it takes a new version and a new snapshot.

#[test]
fn radix_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/radix",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", kho_radix::abi::COMPONENT.describe());
    });
}
