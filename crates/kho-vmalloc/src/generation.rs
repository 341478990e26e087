//! The component and its generations.

use crate::v1::{VERSION, VmallocChunk, VmallocSer, chunk_entries};
use kho_compat::{AbiLayout, Component, Generation, Layout, Variant, constant};
use kho_mem::PageSize;
use zerocopy::little_endian::U64;

/// The name in `vmalloc-v1`.
pub const NAME: &str = "vmalloc";

/// `vmalloc-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .since("Linux 6.18")
    .layouts(&[VmallocSer::layout, VmallocChunk::layout])
    .variants(&[
        Variant::new("page size", "16k").layouts(&[chunk::<{ chunk_entries(PageSize::K16) }>]),
        Variant::new("page size", "64k").layouts(&[chunk::<{ chunk_entries(PageSize::K64) }>]),
    ]);

/// A chunk page of so many entries.
fn chunk<const ENTRIES: usize>() -> Layout {
    VmallocChunk::layout().with_tail::<[U64; ENTRIES]>(&[constant!(CHUNK_ENTRIES = ENTRIES)()])
}

/// Preserved vmalloc areas as a component.
pub const COMPONENT: Component = Component::new(
    NAME,
    &[
        GENERATION,
        #[cfg(feature = "experimental-v2")]
        crate::v2::GENERATION,
    ],
)
.summary("preserved vmalloc areas: chunk lists of pages")
.of_crate(env!("CARGO_PKG_NAME"));

kho_compat::submit! { COMPONENT }
