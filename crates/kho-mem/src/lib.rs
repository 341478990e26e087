//! Physical memory as a Kexec HandOver (KHO) sees it.
//!
//! The words of the field as types ([`PhysAddr`], [`Pfn`], [`Order`]), the page geometry
//! (written once, here), a read-only view of physical memory whose every access is checked
//! ([`PhysMem`]), physical memory of one's own ([`Arena`], whose owned pages are [`Folio`]s; what a
//! predecessor left of one is [`Handed`]), and the one shape in which every crate of this family reports what is wrong
//! with a predecessor's memory ([`Damage`]).
//!
//! This crate knows nothing of any handover format. In Linux: `include/linux/pfn.h`, and the page allocator's
//! orders of `include/linux/mmzone.h`.
//!
//! ```
//! use kho_mem::{PhysAddr, PhysMem, PhysMemExt, SliceMem};
//!
//! // Two bytes of "physical memory" that begin at 0x1000.
//! let mem = SliceMem::new(PhysAddr::new(0x1000), &[0x34, 0x12]);
//! let value: zerocopy::little_endian::U16 = mem.read(PhysAddr::new(0x1000))?;
//! assert_eq!(value.get(), 0x1234);
//!
//! let outside = mem.read::<u8>(PhysAddr::new(0x1002)).unwrap_err();
//! assert_eq!(outside.to_string(), "0x1002..0x1003 is outside this memory");
//! # Ok::<(), kho_mem::MemError>(())
//! ```
//!
//! # Features
//!
//! - `std` (default): mapped files (`FileMap`), arenas in memfds, locks that sleep. Without it the
//!   crate is `no_std` + `alloc`, and locks spin.
//! - `fault-injection`: allocations that fail when told to, for tests.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod addr;
mod arena;
mod damage;
mod errno;
mod link;
#[cfg(feature = "std")]
mod map;
mod page_size;
mod piece;
mod read;
mod slice;
#[doc(hidden)]
pub mod sync;
mod text;
mod write;

pub use addr::{
    Order, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PAGE_SIZE_U64, PageRun, Pfn, PhysAddr, PhysRange,
};
#[cfg(feature = "std")]
pub use arena::HugePages;
pub use arena::{
    ARENA_ALIGN, ARENA_MAX, Arena, ArenaConfig, ArenaError, Folio, Handed, NotHanded, OutOfMemory,
    Pages,
};
#[cfg(target_has_atomic = "64")]
pub use arena::{AtomicPages, PAGE_WORDS};
pub use damage::{Damage, Defect};
pub use errno::Errno;
pub use link::{Link, Located};
#[cfg(feature = "std")]
pub use map::FileMap;
pub use page_size::PageSize;
pub use piece::Piece;
pub use read::{
    Chunk, MemError, MemErrorKind, PhysMem, PhysMemExt, Pieces, is_backed, not_stored, pieces,
    sweep,
};
pub use slice::SliceMem;
pub use text::is_printable;
pub use write::{Broken, fill, put};
