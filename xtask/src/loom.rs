//! `cargo xtask loom`: does the tracker that threads share hold in every order of its steps.

use std::process::{Command, ExitCode};

use xtask::root;

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
    let root = root();
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["test", "--release", "--locked", "--package", "kho-radix"])
        .args(["--test", "loom", "--target-dir"])
        .arg(root.join("target/loom"))
        .arg("--")
        .args(&args.filters)
        .env("RUSTFLAGS", format!("{flags} --cfg loom"))
        .current_dir(root);
    match cargo.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        // What cargo ends with where a test fails or does not compile.
        Ok(status) if status.code() == Some(101) => ExitCode::FAILURE,
        Ok(status) => {
            eprintln!("loom: cargo: {status}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("loom: cargo: {error}");
            ExitCode::from(2)
        }
    }
}
