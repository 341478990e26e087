//! The tasks behind `cargo xtask`, one file each.

pub mod abi_check;
mod kernel;
mod workspace;

pub use kernel::{KernelTypes, compare};
pub use workspace::root;
