//! The component and its generations.

use crate::v1::{VERSION, VmallocChunk, VmallocSer};
use kho_compat::{AbiLayout, Component, Generation};

/// The name in `vmalloc-v1`.
pub const NAME: &str = "vmalloc";

/// `vmalloc-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .since("Linux 6.18")
    .layouts(&[VmallocSer::layout, VmallocChunk::layout]);

/// Preserved vmalloc areas as a component.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("preserved vmalloc areas: chunk lists of pages")
    .of_crate(env!("CARGO_PKG_NAME"));

kho_compat::submit! { COMPONENT }
