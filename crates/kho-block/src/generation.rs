//! The component and its generations.

use crate::v1::{BLOCK_SIZE, BlockHeader, MAX_BLOCKS, VERSION};
use kho_compat::{AbiLayout, Component, Generation, Variant, constant};
use kho_mem::PageSize;

/// The name in `block-v1`.
pub const NAME: &str = "block";

/// `block-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .since("Linux 7.2")
    .layouts(&[BlockHeader::layout])
    .constants(&[constant!(BLOCK_SIZE), constant!(MAX_BLOCKS)])
    .variants(&[
        Variant::new("page size", "16k").constants(&[constant!(BLOCK_SIZE = PageSize::K16.len())]),
        Variant::new("page size", "64k").constants(&[constant!(BLOCK_SIZE = PageSize::K64.len())]),
    ]);

/// Linked blocks as a component.
pub const COMPONENT: Component = Component::new(
    NAME,
    &[
        GENERATION,
        #[cfg(feature = "experimental-v2")]
        crate::v2::GENERATION,
    ],
)
.summary("linked blocks: sets of fixed-size entries in chained pages")
.of_crate(env!("CARGO_PKG_NAME"));

kho_compat::submit! { COMPONENT }
