//! The component's ABI as released: changing it takes a new version and a new snapshot.

#[test]
fn vmalloc_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/vmalloc",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", kho_vmalloc::abi::COMPONENT.describe());
    });
}
