//! Tasks of this workspace: `cargo xtask --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{abi_check, dependencies, mutations};

mod bare;
#[cfg(feature = "bench")]
mod bench;
mod loom;
mod miri;
mod pauses;
mod service;
mod store_load;

/// Tasks of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    AbiCheck(abi_check::Args),
    Bare(bare::Args),
    #[cfg(feature = "bench")]
    Bench(bench::Args),
    Dependencies(dependencies::Args),
    Loom(loom::Args),
    Miri(miri::Args),
    Mutations(mutations::Args),
    Pauses(pauses::Args),
    StoreLoad(store_load::Args),
    #[cfg(feature = "vm")]
    #[command(alias = "lab")]
    Vm(kho_vm::Args),
}

fn main() -> ExitCode {
    let Cli { task } = Cli::parse();
    match task {
        Task::AbiCheck(args) => abi_check::run(&args),
        Task::Bare(args) => bare::run(&args),
        #[cfg(feature = "bench")]
        Task::Bench(args) => bench::run(&args),
        Task::Dependencies(args) => dependencies::run(&args),
        Task::Loom(args) => loom::run(&args),
        Task::Miri(args) => miri::run(&args),
        Task::Mutations(args) => mutations::run(&args),
        Task::Pauses(args) => pauses::run(&args),
        Task::StoreLoad(args) => store_load::run(&args),
        #[cfg(feature = "vm")]
        Task::Vm(args) => kho_vm::run(&args),
    }
}
