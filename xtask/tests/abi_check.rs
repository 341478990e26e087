//! This workspace under its own check.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use kho_abi_check::{Format, Options, check_docs, check_linked, kernel};
use kho_golden::INTERFACES;
use xtask::{abi_check, root};

#[test]
fn the_workspace_passes() {
    let registry = kho_golden::components().unwrap();
    let types = kernel::open(&root().join("tests/facts/linux-7.3.4-layouts.json")).unwrap();
    let options = Options::default().kernel(&types);
    let report = check_linked(&abi_check::project(), &options).unwrap();
    let all = registry.components().chain(&INTERFACES);
    assert_eq!(report.components, all.count());
    assert!(report.passes(), "{}", report.render(Format::Human));
}

#[test]
fn the_documents_are_current() {
    let registry = kho_golden::components().unwrap();
    let report = check_docs(
        registry.components().chain(&INTERFACES),
        &abi_check::project(),
    );
    assert!(report.passes(), "{}", report.render(Format::Human));
}
