//! The tasks behind `cargo xtask`, one file each.

pub mod abi_check;
pub mod dependencies;
pub mod mutations;
mod workspace;

pub use kho_abi_check::kernel::{KernelTypes, compare};
pub use workspace::{cargo, executable, exit, metadata, root};
