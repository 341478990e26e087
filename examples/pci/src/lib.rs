//! PCI devices that a live update keeps: a component that owns a subtree of the root FDT, outside the workspace
//! whose crates it uses.
//!
//! A program that links this crate shows the devices in `inspect`, judges them in its verdict and in `preflight`,
//! lists them in its manifest, and restores them: see `src/main.rs`.

mod generation;
mod owner;
mod read;
pub mod v1;
pub mod v2;
mod write;

pub use generation::COMPONENT;
pub use read::{Device, Devices};
pub use write::{NewDevice, hand_over};
