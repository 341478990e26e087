//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used)]

kho_golden::released! {
    block_is_as_released: kho_block::COMPONENT, "v1", 14;
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
