//! What lies in memory: the descriptor of a vmalloc area and its chunk pages.
//!
//! Linux calls the structs `kho_vmalloc` and `kho_vmalloc_chunk`.

use alloc::format;

use kho_compat::AbiLayout;
use kho_mem::{Broken, Damage, Defect, Located, Order, PAGE_SIZE, PageSize, PhysAddr};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::read::Descriptor;

/// The number in `vmalloc-v1`.
pub const VERSION: u32 = 1;

/// [`VmallocSer::flags`]: the area was allocated, not only mapped.
pub const FLAG_ALLOC: u16 = 1 << 0;

/// [`VmallocSer::flags`]: huge mappings are allowed.
pub const FLAG_HUGE: u16 = 1 << 1;

/// Every flag that the format defines.
pub const FLAGS: u16 = FLAG_ALLOC | FLAG_HUGE;

/// Entries in a chunk page.
pub const CHUNK_ENTRIES: usize = chunk_entries(PageSize::K4);

/// Entries in a chunk page of `size`: what its header leaves.
pub(crate) const fn chunk_entries(size: PageSize) -> usize {
    size.len() / size_of::<u64>() - 1
}

/// The descriptor: where the chunk list starts and what the area is.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "kho_vmalloc", constants(FLAG_ALLOC, FLAG_HUGE, FLAGS))]
pub struct VmallocSer {
    /// Physical address of the first chunk page.
    pub first: U64,
    /// Pages in the area: entries × 2^order.
    pub total_pages: U32,
    /// [`FLAGS`].
    pub flags: U16,
    /// log2 of the pages that an entry stands for.
    pub order: U16,
}

/// The head of a chunk page.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "kho_vmalloc_hdr")]
pub struct VmallocHeader {
    /// Physical address of the next chunk page, 0 for none.
    pub next: U64,
}

const _: () = assert!(size_of::<VmallocHeader>() == 8);

/// A chunk page. A chunk that fills up is followed by a new one even if no page is left.
#[derive(AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[abi(c_name = "kho_vmalloc_chunk", constants(CHUNK_ENTRIES))]
pub struct VmallocChunk {
    /// Where the list goes on.
    pub hdr: VmallocHeader,
    /// Physical addresses of runs of 2^order pages, ended by the first 0.
    pub phys: [U64; CHUNK_ENTRIES],
}

const _: () = assert!(size_of::<VmallocSer>() == 16);

const _: () = assert!(size_of::<VmallocChunk>() == PAGE_SIZE);

impl VmallocChunk {
    /// The chunk that fills `page`, to be written.
    pub(crate) fn of(page: &mut [u8]) -> Result<&mut Self, Broken> {
        let found = page.len();
        match Self::mut_from_prefix(page) {
            Ok((chunk, _)) => Ok(chunk),
            Err(_) => Err(Broken::new("bytes of a chunk page", PAGE_SIZE, found)),
        }
    }
}

/// The descriptor of an area of `pages` pages, whose chunk list begins at `first`.
pub(crate) fn encode(first: PhysAddr, pages: u32, flags: u16, order: Order) -> VmallocSer {
    VmallocSer {
        first: U64::new(first.get()),
        total_pages: U32::new(pages),
        flags: U16::new(flags),
        order: U16::new(u16::from(order.get())),
    }
}

/// Decodes the descriptor of an area of pages of `page_size`.
///
/// # Errors
///
/// Unknown flags, an order that does not divide the pages, or pages without a chunk.
pub(crate) fn decode(ser: &Located<VmallocSer>, page_size: PageSize) -> Result<Descriptor, Damage> {
    let flags = ser.flags.get();
    if flags & !FLAGS != 0 {
        let at = ser.addr_of(|ser| &ser.flags);
        return Err(Damage::new(Defect::UnknownFlags, "flags", at)
            .found(format!("{flags:#x}"))
            .expected(format!("no bit outside {FLAGS:#x}")));
    }
    let total = u64::from(ser.total_pages.get());
    let order = u8::try_from(ser.order.get())
        .ok()
        .filter(|order| Order::new(*order).is_some_and(|order| total % order.pages() == 0))
        .and_then(|order| page_size.frames_of(order))
        .ok_or_else(|| {
            Damage::new(Defect::BadOrder, "order", ser.addr_of(|ser| &ser.order))
                .found(ser.order.get())
                .expected(format!("an order whose pages divide total_pages {total}"))
        })?;
    let first = ser.link(|ser| &ser.first, "vmalloc chunk");
    if first.is_null() && total > 0 {
        return Err(Damage::new(Defect::Null, "first chunk", first.at)
            .found(0)
            .expected(format!("the chunk list of {total} pages")));
    }
    Ok(Descriptor {
        flags,
        order,
        total,
        total_at: ser.addr_of(|ser| &ser.total_pages),
        first,
        chunks: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_is_no_page_is_an_error() {
        let error = VmallocChunk::of(&mut [0; 4088]).err();
        let expected = Broken::new("bytes of a chunk page", 4096, 4088);
        assert_eq!(error, Some(expected));
    }
}
