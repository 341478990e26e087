//! The ABI is as its versions say: what `cargo xtask abi-check` is to the workspace next door.

use abi_check_example::abi::{NAME, device};
use kho_abi_check::{Failure, Format, Options, Project, Text, check_linked, vectors};
use zerocopy::IntoBytes;

// What the crate's code writes for given inputs. No program has it: it is part of this test.
vectors!(NAME, ["device 1:2a:1f.7" => written]);

fn written() -> Result<Text, Failure> {
    Ok(Text::bytes(device(1, 0x2a, 0x1f, 7).as_bytes()))
}

#[test]
fn the_abi_is_as_its_versions_say() {
    let project = Project::new(env!("CARGO_MANIFEST_DIR")).bless_with("ABI_BLESS=1 cargo test");
    let report = check_linked(&project, &Options::from_env()).expect("a check can be made");
    assert_eq!(report.components, 1, "the component is linked");
    assert!(report.passes(), "{}", report.render(Format::Human));
}
