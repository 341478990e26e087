//! Reading and checking an area's chunk list.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use kho_mem::{Damage, Defect, Link, Located, Order, PageSize, PhysAddr, PhysMemExt};
use kho_radix::Reading;
use zerocopy::little_endian::U64;

use crate::v1::{self, VmallocSer};

/// A preserved vmalloc area: its pages, all of them checked and claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Area {
    pub(crate) runs: Vec<PhysAddr>,
    pub(crate) order: Order,
    page_size: PageSize,
    flags: u16,
    chunks: u32,
}

impl Area {
    /// Reads the area that `ser` describes, and claims its memory.
    ///
    /// # Errors
    ///
    /// Unknown flags, an impossible order, a chunk or run of pages that is null, unaligned,
    /// outside memory, not preserved or in use elsewhere, a list that comes back to itself, or a
    /// number of pages that is not the announced one.
    pub fn read(reading: &mut Reading<'_>, ser: &Located<VmallocSer>) -> Result<Self, Damage> {
        reading.within("vmalloc area", |reading| read(reading, ser))
    }

    /// Pages in the area, of the handover's own size.
    #[must_use]
    pub fn pages(&self) -> u64 {
        (self.runs.len() as u64) * self.run_pages()
    }

    /// Pages in each run, of the handover's own size.
    #[must_use]
    pub const fn run_pages(&self) -> u64 {
        self.order.pages() >> self.page_size.order().get()
    }

    /// The page size of the handover.
    #[must_use]
    pub const fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// log2 of the frames of 4 KiB in each run.
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

/// What the descriptor of an area says, before any address in it is followed.
pub(crate) struct Descriptor {
    pub(crate) flags: u16,
    /// log2 of the frames of 4 KiB in a run.
    pub(crate) order: Order,
    /// Pages in the area.
    pub(crate) total: u64,
    /// The first chunk of the list; null for an area without pages.
    pub(crate) first: Link,
}

fn read(reading: &mut Reading<'_>, ser: &Located<VmallocSer>) -> Result<Area, Damage> {
    let Descriptor {
        flags,
        order,
        total,
        first,
    } = v1::decode(ser, reading.page_size())?;
    let mut area = Area {
        runs: Vec::new(),
        order,
        page_size: reading.page_size(),
        flags,
        chunks: 0,
    };
    let mem = reading.mem();
    let mut next = first;
    let mut chunks: Vec<PhysAddr> = Vec::new();
    while !next.is_null() {
        reading.page(next).map_err(|damage| {
            match chunks.iter().position(|known| *known == next.to) {
                Some(index) => Damage::new(Defect::Cycle, "chunk list", next.at)
                    .found(format!("{}, which is chunk {index} of this list", next.to))
                    .expected("0 or a chunk of its own"),
                None => damage,
            }
        })?;
        chunks.push(next.to);
        let page = mem
            .bytes(next.to, area.page_size.len())
            .map_err(|error| error.damage(next.name, next.at))?;
        let mut words = Located::<U64>::all(&page, next.to);
        let header = words
            .next()
            .map_or(next, |word| word.link(|word| word, "vmalloc chunk"));
        let mut full = true;
        for phys in words.take(v1::chunk_entries(area.page_size)) {
            let run = phys.link(|phys| phys, "vmalloc pages");
            if run.is_null() {
                full = false;
                break;
            }
            // Checked as it goes, so that a list is never longer than what it announces.
            if area.pages() >= total {
                return Err(pages_mismatch(ser, &format!("more than {total}")));
            }
            reading.pages(run, area.run_pages())?;
            area.runs.push(run.to);
        }
        area.chunks += 1;
        next = header;
        // A chunk that fills up is followed by another, even by an empty one; no other chunk is.
        if full == next.is_null() {
            return Err(Damage::new(Defect::Malformed, "chunk list", next.at)
                .found(if full {
                    "the end of the list after a full chunk".into()
                } else {
                    format!("{} after a chunk that is not full", next.to)
                })
                .expected(if full { "another chunk" } else { "0" }));
        }
    }
    if area.pages() != total {
        return Err(pages_mismatch(ser, &area.pages().to_string()));
    }
    Ok(area)
}

fn pages_mismatch(ser: &Located<VmallocSer>, listed: &str) -> Damage {
    let at = ser.addr_of(|ser| &ser.total_pages);
    Damage::new(Defect::Mismatch, "total_pages", at)
        .found(ser.total_pages.get())
        .expected(format!("{listed}, the pages that the chunks list"))
}
