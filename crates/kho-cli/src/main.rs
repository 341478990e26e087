//! The `kho` command.

fn main() -> std::process::ExitCode {
    kho_cli::main()
}
