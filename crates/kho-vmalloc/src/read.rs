//! Reading and checking an area's chunk list.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem::offset_of;

use kho_mem::{Damage, Defect, Order, PhysAddr, PhysMem, PhysMemExt};
use kho_radix::Claims;
use zerocopy::FromBytes;

use crate::abi::{FLAGS, VmallocChunk, VmallocSer};

/// A preserved vmalloc area: its pages, all of them checked and claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Area {
    pub(crate) runs: Vec<PhysAddr>,
    pub(crate) order: Order,
    flags: u16,
    chunks: u32,
}

impl Area {
    /// Reads the area that `ser`, whose bytes lie at `at`, describes, and claims its memory.
    ///
    /// # Errors
    ///
    /// Unknown flags, an impossible order, a chunk or run of pages that is null, unaligned,
    /// outside memory, not preserved or in use elsewhere, a list that comes back to itself, or a
    /// number of pages that is not the announced one.
    pub fn read(
        mem: &dyn PhysMem,
        claims: &mut Claims,
        ser: &VmallocSer,
        at: PhysAddr,
    ) -> Result<Self, Damage> {
        claims
            .all_or_none(|claims| read(mem, claims, ser, at))
            .map_err(|damage| damage.within("vmalloc area"))
    }

    /// Pages in the area.
    #[must_use]
    pub fn pages(&self) -> u64 {
        (self.runs.len() as u64) << self.order.get()
    }

    /// log2 of the pages in each run.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// The flags, none of which is unknown.
    #[must_use]
    pub const fn flags(&self) -> u16 {
        self.flags
    }

    /// Chunk pages of the list.
    #[must_use]
    pub const fn chunks(&self) -> u32 {
        self.chunks
    }

    /// The first address of each run of 2^order pages, in the area's order.
    #[must_use]
    pub fn runs(&self) -> &[PhysAddr] {
        &self.runs
    }
}

const fn field(at: PhysAddr, offset: usize) -> PhysAddr {
    PhysAddr::new(at.get().wrapping_add(offset as u64))
}

fn read(
    mem: &dyn PhysMem,
    claims: &mut Claims,
    ser: &VmallocSer,
    at: PhysAddr,
) -> Result<Area, Damage> {
    let flags = ser.flags.get();
    if flags & !FLAGS != 0 {
        let at = field(at, offset_of!(VmallocSer, flags));
        return Err(Damage::new(Defect::UnknownFlags, "flags", at)
            .found(format!("{flags:#x}"))
            .expected(format!("no bit outside {FLAGS:#x}")));
    }
    let total = u64::from(ser.total_pages.get());
    let order_at = field(at, offset_of!(VmallocSer, order));
    let order = u8::try_from(ser.order.get())
        .ok()
        .and_then(Order::new)
        .filter(|order| total % order.pages() == 0)
        .ok_or_else(|| {
            Damage::new(Defect::BadOrder, "order", order_at)
                .found(ser.order.get())
                .expected(format!("an order whose pages divide total_pages {total}"))
        })?;

    let mut area = Area {
        runs: Vec::new(),
        order,
        flags,
        chunks: 0,
    };
    let mut next = PhysAddr::new(ser.first.get());
    let mut next_at = field(at, offset_of!(VmallocSer, first));
    if next.is_null() && total > 0 {
        return Err(Damage::new(Defect::Null, "first chunk", next_at)
            .found(0)
            .expected(format!("the chunk list of {total} pages")));
    }
    let mut chunks: Vec<PhysAddr> = Vec::new();
    while !next.is_null() {
        let chunk = next;
        claims
            .page(chunk, "vmalloc chunk", next_at)
            .map_err(
                |damage| match chunks.iter().position(|known| *known == chunk) {
                    Some(index) => Damage::new(Defect::Cycle, "chunk list", next_at)
                        .found(format!("{chunk}, which is chunk {index} of this list"))
                        .expected("0 or a chunk of its own"),
                    None => damage,
                },
            )?;
        chunks.push(chunk);
        let bytes = mem
            .page(chunk)
            .map_err(|error| error.damage("vmalloc chunk", next_at))?;
        let page = VmallocChunk::ref_from_bytes(&bytes)
            .map_err(|_| Damage::new(Defect::Truncated, "vmalloc chunk", chunk))?;
        let mut entry_at = field(chunk, offset_of!(VmallocChunk, phys));
        let mut full = true;
        for phys in &page.phys {
            let run = PhysAddr::new(phys.get());
            if run.is_null() {
                full = false;
                break;
            }
            // Checked as it goes, so that a list is never longer than what it announces.
            if area.pages() >= total {
                return Err(pages_mismatch(at, total, &format!("more than {total}")));
            }
            claims.pages(run, order.pages(), "vmalloc pages", entry_at)?;
            area.runs.push(run);
            entry_at = field(entry_at, size_of::<u64>());
        }
        area.chunks += 1;
        next = PhysAddr::new(page.hdr.next.get());
        next_at = field(chunk, offset_of!(VmallocChunk, hdr));
        // A chunk that fills up is followed by another, even by an empty one; no other chunk is.
        if full == next.is_null() {
            return Err(Damage::new(Defect::Malformed, "chunk list", next_at)
                .found(if full {
                    "the end of the list after a full chunk".into()
                } else {
                    format!("{next} after a chunk that is not full")
                })
                .expected(if full { "another chunk" } else { "0" }));
        }
    }
    if area.pages() != total {
        return Err(pages_mismatch(at, total, &area.pages().to_string()));
    }
    Ok(area)
}

fn pages_mismatch(at: PhysAddr, total: u64, listed: &str) -> Damage {
    let at = field(at, offset_of!(VmallocSer, total_pages));
    Damage::new(Defect::Mismatch, "total_pages", at)
        .found(total)
        .expected(format!("{listed}, the pages that the chunks list"))
}
