//! The tasks behind `cargo xtask`, one file each.

pub mod abi_check;
mod workspace;

pub use kho_abi_check::kernel::{KernelTypes, compare};
pub use workspace::root;
