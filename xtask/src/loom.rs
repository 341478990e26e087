//! `cargo xtask loom`: does the tracker that threads share hold in every order of its steps.

use std::process::ExitCode;

use xtask::{cargo, exit};

/// Run the tests of what threads share under loom, which tries every order in which they may take turns.
///
/// A test is run again and again, with the threads' atomic steps interleaved in another way each time, and
/// with every value that a load may see by the memory model. What holds then holds on any machine, for
/// the few threads and keys that the tests have.
///
/// Built with `--cfg loom`, into a target directory of its own: everything is compiled anew at first.
///
/// Exit codes: 0 it holds, 1 a test failed or does not compile, 2 cargo does not start.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask loom                      everything: a minute at first, a quarter of one later on
  cargo xtask loom leaf                 the tests whose names contain that
  LOOM_LOG=1 cargo xtask loom leaf      with every step of theirs")]
pub(crate) struct Args {
    /// Run the tests alone whose names contain one of these.
    filters: Vec<String>,
}

/// Runs the tests.
pub(crate) fn run(args: &Args) -> ExitCode {
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let status = cargo()
        .args(["test", "--release", "--locked", "--package", "kho-radix"])
        .args(["--test", "loom", "--target-dir", "target/loom", "--"])
        .args(&args.filters)
        .env("RUSTFLAGS", format!("{flags} --cfg loom"))
        .status();
    let done = status.map_err(|error| error.to_string());
    let done = done.and_then(|status| match status.code() {
        Some(0) => Ok(0),
        // What cargo ends with where a test fails or does not compile.
        Some(101) => Ok(1),
        _ => Err(status.to_string()),
    });
    exit("loom", done.map_err(|error| format!("cargo: {error}")))
}
