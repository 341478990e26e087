//! Without the feature, version 2 is a version like any that is not known.
#![cfg(not(feature = "experimental-v2"))]
#![allow(clippy::unwrap_used)]

use kho_block::Format;
use kho_compat::Registry;
use kho_core::{Entry, Handover};
use kho_mem::PhysAddr;
use kho_testkit::Builder;

#[test]
fn version_two_is_not_known() {
    assert_eq!(Format::ALL, [Format::V1]);
    assert_eq!((Format::of(1), Format::of(2)), (Some(Format::V1), None));
    let mut b = Builder::new();
    b.table("block", 2, 0);
    let built = b.finish();
    let handover = Handover::open(&built.mem, Entry::new(PhysAddr::new(built.fdt))).unwrap();
    for compatible in ["", "luo-v5", "luo-v5;block-v2"] {
        let announced = handover.announced().in_string(compatible);
        let error = Format::announced(&announced).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no code here reads the layout of block-v2: expected block-v1"
        );
    }
    assert_eq!(
        Format::announced(&handover.announced().in_string("luo-v5;block-v1")),
        Ok(Format::V1)
    );
    assert!(!Registry::linked().unwrap().restores("block", 2));
}
