//! What every test of the command needs.
// Not every one needs all of it.
#![allow(dead_code)]

use std::process::{Command, Output};

/// Runs the command.
pub(crate) fn kho(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kho"))
        .args(args)
        .output()
        .unwrap()
}

/// What it said.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
