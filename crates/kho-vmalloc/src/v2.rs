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
use kho_mem::Located;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

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
const _: () = assert!(offset_of!(VmallocSer, nr_chunks) == 16);

/// The descriptor of an area that has the descriptor `start` in version 1, and a list of `chunks` chunk pages.
pub(crate) fn encode(start: &v1::VmallocSer, chunks: u64) -> VmallocSer {
    let mut ser = VmallocSer::new_zeroed();
    // It fits, since it is the first part of it.
    let _ = start.write_to_prefix(ser.as_mut_bytes());
    ser.nr_chunks.set(chunks);
    ser
}

/// Decodes the descriptor `ser`, whose first part says `start` as one of version 1.
pub(crate) fn decode(start: Descriptor, ser: &Located<VmallocSer>) -> Descriptor {
    let (count, at) = (ser.nr_chunks.get(), ser.addr_of(|ser| &ser.nr_chunks));
    Descriptor {
        chunks: Some(Chunks { count, at }),
        ..start
    }
}

/// `vmalloc-v2`.
pub(crate) const GENERATION: Generation = Generation::new(VERSION)
    .experimental()
    .layouts(&[VmallocSer::layout, VmallocChunk::layout]);
