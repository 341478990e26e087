//! Version 2 of the format: a descriptor that says how many chunks its list has. An experiment: off unless
//! the feature `experimental-v2` is on. The linked component has it as an experiment: neither read nor
//! written.
//!
//! Whoever *points* to a descriptor keeps its own layout, and finds out by the announced version which descriptor it
//! points to. Whoever *contains* one does not: its own layout changes with the descriptor's, and so does its
//! version (`memfd-v3`).
//!
//! ```
//! use kho_compat::Registry;
//!
//! let linked = Registry::linked()?;
//! let registry = linked.with_experiment(kho_vmalloc::NAME, kho_vmalloc::v2::VERSION)?;
//! assert!(registry.restores("vmalloc", 1) && registry.restores("vmalloc", 2));
//! assert_eq!(linked.restorable_text("vmalloc"), "vmalloc-v1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::mem::offset_of;

use kho_compat::{AbiLayout, Generation};
use kho_mem::{Damage, Located, PageSize};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::read::{Chunks, Descriptor};
use crate::v1::{self, FLAG_ALLOC, FLAG_HUGE, FLAGS, VmallocChunk};

/// The number in `vmalloc-v2`.
pub const VERSION: u32 = 2;

/// The descriptor. All but its last field is that of version 1.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(constants(FLAG_ALLOC, FLAG_HUGE, FLAGS))]
pub struct VmallocSer {
    /// Physical address of the first chunk page.
    pub first: U64,
    /// Pages in the area: entries × 2^order.
    pub total_pages: U32,
    /// [`FLAGS`].
    pub flags: U16,
    /// log2 of the pages that an entry stands for.
    pub order: U16,
    /// Chunk pages in the list.
    pub nr_chunks: U64,
}

const _: () = assert!(size_of::<VmallocSer>() == 24);
const _: () = assert!(offset_of!(VmallocSer, first) == offset_of!(v1::VmallocSer, first));
const _: () =
    assert!(offset_of!(VmallocSer, total_pages) == offset_of!(v1::VmallocSer, total_pages));
const _: () = assert!(offset_of!(VmallocSer, flags) == offset_of!(v1::VmallocSer, flags));
const _: () = assert!(offset_of!(VmallocSer, order) == offset_of!(v1::VmallocSer, order));
const _: () = assert!(offset_of!(VmallocSer, nr_chunks) == size_of::<v1::VmallocSer>());

/// The descriptor of an area with this one of version 1, whose list has `chunks` chunk pages.
pub(crate) fn encode(ser: v1::VmallocSer, chunks: u64) -> VmallocSer {
    VmallocSer {
        first: ser.first,
        total_pages: ser.total_pages,
        flags: ser.flags,
        order: ser.order,
        nr_chunks: U64::new(chunks),
    }
}

/// Decodes the descriptor of an area of pages of `page_size`.
///
/// # Errors
///
/// As that of version 1.
pub(crate) fn decode(ser: &Located<VmallocSer>, page_size: PageSize) -> Result<Descriptor, Damage> {
    let start = v1::VmallocSer {
        first: ser.first,
        total_pages: ser.total_pages,
        flags: ser.flags,
        order: ser.order,
    };
    Ok(Descriptor {
        chunks: Some(Chunks {
            count: ser.nr_chunks.get(),
            at: ser.addr_of(|ser| &ser.nr_chunks),
        }),
        ..v1::decode(&Located::new(start, ser.at()), page_size)?
    })
}

/// `vmalloc-v2`.
pub(crate) const GENERATION: Generation = Generation::new(VERSION)
    .experimental()
    .layouts(&[VmallocSer::layout, VmallocChunk::layout]);
