//! The component's ABI as released: changing it takes a new version and a new snapshot.

#[test]
fn block_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/block",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", kho_block::abi::COMPONENT.describe());
    });
}
