//! The `kho` command: inspect what a kernel handed over, and restore its files.
//!
//! [`main`] is the whole command. A program that links components of its own calls it, and has them in
//! `inspect`, `restore`, `preflight` and the others. [`Kho`] takes policies and histories of one's own too.
//!
//! ```no_run
//! // Links the component, its owner among it: the linker drops what nothing refers to.
//! use kho_fd as _;
//!
//! fn main() -> std::process::ExitCode {
//!     kho_cli::main()
//! }
//! ```

mod args;
mod compat;
mod demo;
mod error;
mod human;
mod inspect;
mod lab;
mod lacking;
mod live;
mod own;
mod pack;
mod policy;
mod preflight;
mod progress;
mod restore;
mod session;
mod supervise;
mod write;

use std::process::ExitCode;

use clap::Parser;

pub use own::Kho;

use crate::args::{Cli, Command};
use crate::error::Failure;

/// Runs the command that this program's arguments ask for, with all components that are linked.
///
/// With `KHO_MANIFEST=1` in the environment it answers with the manifest of those, as `kho-cli`. A program with a
/// name of its own calls [`answer_manifest!`](kho_compat::answer_manifest) before.
#[must_use]
pub fn main() -> ExitCode {
    Kho::new().main()
}

fn run() -> ExitCode {
    kho_compat::answer_manifest!();
    let cli = Cli::parse();
    // What is refused or lost a command says itself.
    let level = match cli.verbose {
        0 => tracing::Level::ERROR,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    // Without it a dump that is cut short meanwhile ends the command without a word.
    if let Err(error) = kho_mem::FileMap::guard() {
        tracing::debug!(%error, "SIGBUS is not handled");
    }
    // What runs under the supervisor is interrupted itself.
    if !matches!(cli.command, Command::Run(_)) {
        progress::stop_on_interrupt();
    }
    let done = match &cli.command {
        Command::Inspect(args) => inspect::run(args),
        Command::Restore(args) => restore::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Preflight(args) => preflight::run(args, cli.verbose > 0),
        Command::Compat(args) => compat::run(args),
        Command::Lab(command) => lab::run(command),
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => supervise::run(args),
        Command::Session(command) => session::run(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe had enough: not our failure.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}
