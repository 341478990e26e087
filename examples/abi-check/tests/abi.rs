//! The ABI is as its versions say: what `cargo xtask abi-check` is to the workspace next door.

use abi_check_example as _; // Links the component.
use kho_abi_check::{Format, Options, Project, check_linked};

#[test]
fn the_abi_is_as_its_versions_say() {
    let project = Project::new(env!("CARGO_MANIFEST_DIR")).bless_with("ABI_BLESS=1 cargo test");
    let report = check_linked(&project, &Options::from_env()).expect("a check can be made");
    assert_eq!(report.components, 1, "the component is linked");
    assert!(report.passes(), "{}", report.render(Format::Human));
}
