//! The component and its generations.

use crate::v1::{RadixLeaf, RadixNode, VERSION};
use kho_compat::{AbiLayout, Component, Generation, constant};
use kho_mem::PAGE_SHIFT;

/// The name in `radix-v1`.
pub const NAME: &str = "radix";

/// `radix-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .since("Linux 7.1")
    .layouts(&[RadixNode::layout, RadixLeaf::layout])
    .constants(&[constant!(PAGE_SHIFT)]);

/// The tracker as a component.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("tracker of preserved memory: a radix tree of pages")
    .of_crate(env!("CARGO_PKG_NAME"));

kho_compat::submit! { COMPONENT }
