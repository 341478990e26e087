//! `cargo xtask miri`: does the unsafe code of the arena hold what it says.

use std::process::{Command, ExitCode};
use std::time::Instant;

use xtask::root;

/// Run the arena's tests under Miri, which finds undefined behaviour.
///
/// Miri interprets a program and stops where an access is out of bounds, of freed or uninitialised
/// memory, unaligned, a data race, or beside a reference that forbids it. What ran without such a
/// stop is shown to be sound for these tests, and for them alone.
///
/// It knows no mapped files and no memfds, and is some thousand times slower than the machine: the
/// tests that need the ones or take too long are left out, and named. Nothing it runs reaches the
/// system (no clock, no files, no random numbers but its own), so that two runs are the same.
///
/// Needs rustup and a nightly toolchain. The components miri and rust-src are added to it where
/// they are missing.
///
/// Exit codes: 0 clean, 1 a test failed or behaviour is undefined, 2 Miri can not be had.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask miri                      everything: three minutes at first, one later on
  cargo xtask miri arena::tests         the tests whose names contain that
  MIRIFLAGS=-Zmiri-tree-borrows cargo xtask miri
                                        by the other model of what references forbid")]
pub(crate) struct Args {
    /// Run the tests alone whose names contain one of these.
    filters: Vec<String>,
    /// The toolchain: a nightly one.
    #[arg(long, value_name = "NAME", default_value = "nightly")]
    toolchain: String,
}

/// Tests that Miri runs.
struct Suite {
    package: &'static str,
    target: &'static [&'static str],
    // Tests by the start of their names, and why they are left out.
    left_out: &'static [(&'static str, &'static str)],
}

const SUITES: [Suite; 2] = [
    Suite {
        package: "kho-mem",
        target: &["--lib", "--all-features"],
        left_out: &[
            ("map::tests", "mapped files"),
            (
                "arena::bits::tests::it_is_a_set",
                "safe code, and nine minutes of it",
            ),
        ],
    },
    // The owners of pages as their users move them about, and share them among threads.
    Suite {
        package: "kho-radix",
        target: &["--test", "tracker", "--test", "shared"],
        left_out: &[
            ("a_tracker_is_a_set_of_keys", "hundreds of cases"),
            ("keys_are_walked_in_order", "hundreds of cases"),
            ("what_is_written_is_read", "hundreds of cases"),
            ("one_thread_does_what_a_tracker_does", "hundreds of cases"),
            ("many_threads_make_one_tree", "hundreds of cases"),
            (
                "what_threads_are_told_is_what_is_there",
                "hundreds of cases",
            ),
            ("leaves_have_all_keys_in_order", "hundreds of cases"),
            (
                "leaves_find_the_damage_that_a_walk_finds",
                "hundreds of cases",
            ),
            ("nodes_suffice_and_are_not_too_many", "hundreds of cases"),
        ],
    },
];

/// What Miri must have; the second is what it builds the standard library from.
const COMPONENTS: [&str; 2] = ["miri", "rust-src"];

/// proptest looks for the file of earlier failures, and there are no files.
const FLAGS: &str = "-Zmiri-env-set=PROPTEST_DISABLE_FAILURE_PERSISTENCE=true";

/// Runs the tests and says what came of them.
pub(crate) fn run(args: &Args) -> ExitCode {
    if let Err(error) = ready(&args.toolchain) {
        eprintln!("miri: {error}");
        eprintln!("miri: nothing was checked");
        return ExitCode::from(2);
    }
    let start = Instant::now();
    let mut failed = Vec::new();
    for suite in &SUITES {
        for (name, why) in suite.left_out {
            println!("miri: {}: {name} is left out: {why}", suite.package);
        }
        match test(suite, args) {
            Ok(true) => {}
            Ok(false) => failed.push(suite.package),
            Err(error) => {
                eprintln!("miri: {error}");
                return ExitCode::from(2);
            }
        }
    }
    let seconds = start.elapsed().as_secs();
    if !failed.is_empty() {
        println!("miri: {} failed, {seconds} s", failed.join(" and "));
        return ExitCode::from(1);
    }
    if args.filters.is_empty() {
        println!("miri: clean, {seconds} s");
    } else {
        let names = args.filters.join(", ");
        println!("miri: clean where a test's name contains {names}; {seconds} s");
    }
    ExitCode::SUCCESS
}

/// Makes sure of the toolchain and its components.
fn ready(toolchain: &str) -> Result<(), String> {
    let install = format!(
        "rustup toolchain install {toolchain} --profile minimal --component {}",
        COMPONENTS.join(",")
    );
    let listed = Command::new("rustup")
        .args(["component", "list", "--installed", "--toolchain", toolchain])
        .output()
        .map_err(|error| format!("rustup, which Miri is had through, does not start: {error}"))?;
    if !listed.status.success() {
        let error = String::from_utf8_lossy(&listed.stderr);
        return Err(format!(
            "the toolchain `{toolchain}` is not there:\n{}\nThis installs it: {install}",
            error.trim_end()
        ));
    }
    // A line is a component's name, for most of them with the target behind it.
    let listed = String::from_utf8_lossy(&listed.stdout);
    let there = |name: &str| {
        listed.lines().any(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    let missing: Vec<_> = COMPONENTS.into_iter().filter(|name| !there(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("miri: adding {} to {toolchain}", missing.join(" and "));
    let added = Command::new("rustup")
        .args(["component", "add", "--toolchain", toolchain])
        .args(&missing)
        .status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(format!(
        "{} can not be added to the toolchain `{toolchain}`: a nightly is not always built with them, \
         and without a network none is had at all.\nThis looks for a nightly that has them: {install}",
        missing.join(" and ")
    ))
}

/// Runs a suite; returns whether it passed.
fn test(suite: &Suite, args: &Args) -> Result<bool, String> {
    let given = std::env::var("MIRIFLAGS").unwrap_or_default();
    // `cargo +nightly` is the rustup proxy's; the `cargo` that started this task is none.
    let mut command = Command::new("rustup");
    command
        .args(["run", &args.toolchain, "cargo", "miri", "test"])
        .args(["--locked", "--package", suite.package])
        .args(suite.target)
        .arg("--")
        .args(suite.left_out.iter().flat_map(|(name, _)| ["--skip", name]))
        .args(&args.filters)
        .env("MIRIFLAGS", format!("{given} {FLAGS}"))
        .current_dir(root());
    let status = command
        .status()
        .map_err(|error| format!("rustup run {}: {error}", args.toolchain))?;
    Ok(status.success())
}
