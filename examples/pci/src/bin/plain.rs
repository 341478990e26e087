//! The `kho` command without the PCI devices: what anybody else has.

fn main() -> std::process::ExitCode {
    kho_cli::main()
}
