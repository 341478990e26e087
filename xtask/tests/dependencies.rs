//! The crates that component crates pull in.
#![allow(missing_docs)]

#[test]
fn the_table_of_dependencies_is_current() -> Result<(), String> {
    xtask::dependencies::check()
}
