//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used)]

use kho_abi_check::{describe, vectors_of};
use kho_golden as _; // Links the vectors.

#[test]
fn radix_is_as_released() {
    insta::with_settings!({
        snapshot_path => "../../../abi-snapshots/radix",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("v1", describe(&kho_radix::COMPONENT).unwrap());
    });
}

#[test]
fn vectors_are_linked_and_always_the_same() {
    let vectors = vectors_of(kho_radix::NAME);
    assert_eq!(vectors.len(), 8);
    for vector in vectors {
        assert_eq!(vector.make().unwrap(), vector.make().unwrap());
    }
}
