//! The component and its generations.

use crate::v1::{FdSer, VERSION};
use kho_compat::{AbiLayout, Carrier, Component, Generation};
use kho_luo::v5::COMPAT_LEN;

/// The name in `fd-v1`.
pub const NAME: &str = "fd";

/// `fd-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .since("kho-fd 0.1.0")
    .layouts(&[FdSer::layout]);

/// The descriptor handler as a component.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("file handler of descriptors that an exec keeps; between processes only")
    .of_crate(env!("CARGO_PKG_NAME"))
    .carried_in(Carrier::FileHandler)
    .field(COMPAT_LEN);

kho_compat::submit! { COMPONENT }
