//! Reading and checking an area's chunk list.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use kho_mem::{Damage, Defect, Link, Located, Order, PageSize, PhysAddr, PhysMemExt};
use kho_radix::Reading;
use zerocopy::little_endian::U64;

use crate::v1::{self, VmallocSer};
use crate::{Format, NAME};

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
        reading.within("vmalloc area", |reading| {
            let descriptor = v1::decode(ser, reading.page_size())?;
            read(reading, descriptor)
        })
    }

    /// As [`Area::read`], for the descriptor that `link` points to, which is of the version `format`: for whoever
    /// contains a descriptor, and knows by its own version which one. The descriptor itself is not claimed.
    ///
    /// # Errors
    ///
    /// As [`Area::read`]; the descriptor lies outside memory; the list has not as many chunks as a descriptor
    /// of version 2 says.
    pub fn read_as(format: Format, reading: &mut Reading<'_>, link: Link) -> Result<Self, Damage> {
        reading.within("vmalloc area", |reading| {
            let descriptor = format.decode(reading.mem(), link, reading.page_size())?;
            read(reading, descriptor)
        })
    }

    /// As [`Area::read_as`], of the version that was announced to `reading`: for whoever points to a descriptor.
    ///
    /// # Errors
    ///
    /// As [`Area::read_as`]; a version that is not known here.
    pub fn read_at(reading: &mut Reading<'_>, link: Link) -> Result<Self, Damage> {
        match Format::announced(reading.announced()) {
            Ok(format) => Self::read_as(format, reading, link),
            Err(error) => Err(
                Damage::new(Defect::BadValue, "version of its descriptor", link.at)
                    .found(format!("{NAME}-v{}", error.version))
                    .expected(error.covered)
                    .within("vmalloc area"),
            ),
        }
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
    /// Pages in the area, and where that number stands.
    pub(crate) total: u64,
    pub(crate) total_at: PhysAddr,
    /// The first chunk of the list; null for an area without pages.
    pub(crate) first: Link,
    /// Chunks of the list, where the descriptor says so.
    pub(crate) chunks: Option<Chunks>,
}

/// A number of chunks, and where it stands.
pub(crate) struct Chunks {
    pub(crate) count: u64,
    pub(crate) at: PhysAddr,
}

fn read(reading: &mut Reading<'_>, descriptor: Descriptor) -> Result<Area, Damage> {
    let Descriptor {
        flags,
        order,
        total,
        total_at,
        first,
        chunks: said,
    } = descriptor;
    let pages_mismatch = |listed: &str| {
        Damage::new(Defect::Mismatch, "total_pages", total_at)
            .found(total)
            .expected(format!("{listed}, the pages that the chunks list"))
    };
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
                return Err(pages_mismatch(&format!("more than {total}")));
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
        return Err(pages_mismatch(&area.pages().to_string()));
    }
    // The pages say how long the list is; the count has to agree.
    match said.filter(|said| said.count != u64::from(area.chunks)) {
        Some(said) => Err(Damage::new(Defect::Mismatch, "nr_chunks", said.at)
            .found(said.count)
            .expected(format!("{}, the chunks of the list", area.chunks))),
        None => Ok(area),
    }
}
