//! The `kho` command with the PCI devices.

// Refers to the crate, so that the linker keeps the component and its owner.
use pci_example as _;

fn main() -> std::process::ExitCode {
    kho_compat::answer_manifest!();
    kho_cli::main()
}
