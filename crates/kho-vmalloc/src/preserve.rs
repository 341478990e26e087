//! Preserving an area.

use alloc::vec::Vec;

use kho_mem::{Broken, Errno, Folio, Handed, NotHanded, Order, OutOfMemory, PAGE_SIZE, PhysAddr};
use kho_radix::{Failed, PreservedFolio, Preserver, TrackerError};

use crate::Area;
use crate::v1::{self, CHUNK_ENTRIES, FLAG_ALLOC, FLAGS, VmallocChunk, VmallocSer};

/// An area that can not be preserved.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreserveError {
    /// An area without pages has no descriptor.
    #[error("an area has at least one page")]
    Empty,
    /// The descriptor has one order for all runs of pages.
    #[error("the folios of an area are of one order: found {found} after {first}")]
    MixedOrders {
        /// The first folio's order.
        first: Order,
        /// Another one's.
        found: Order,
    },
    /// The descriptor counts pages with 32 bits.
    #[error("an area has at most {max} pages, not {pages}", max = u32::MAX)]
    TooLarge {
        /// Pages asked for.
        pages: u64,
    },
    /// Flags that the format does not define.
    #[error("unknown flags {0:#x}")]
    UnknownFlags(u16),
    /// No page is left in the arena.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The tracker refuses.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// The chunk pages do not hold the area's folios.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl PreserveError {
    /// What a kernel returns in its place.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Empty | Self::MixedOrders { .. } => Errno::EINVAL,
            Self::TooLarge { .. } => Errno::EFBIG,
            Self::UnknownFlags(_) => Errno::EOPNOTSUPP,
            Self::OutOfMemory(error) => error.errno(),
            Self::Tracker(error) => error.errno(),
            Self::Broken(error) => error.errno(),
        }
    }
}

/// An area that is preserved and owned: its folios and the chunk pages that list them. Dropped, it
/// is neither.
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, PhysAddr};
/// use kho_radix::Preserver;
/// use kho_vmalloc::PreservedArea;
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let preserver = Preserver::new(arena)?;
/// let area = PreservedArea::of_bytes(&preserver, &[7; 5000])?;
/// assert_eq!(area.ser().total_pages.get(), 2);
/// assert_eq!(preserver.pages(), 3, "two pages, and the chunk that lists them");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PreservedArea {
    folios: Vec<PreservedFolio>,
    chunks: Vec<PreservedFolio>,
    ser: VmallocSer,
}

impl PreservedArea {
    /// Preserves the area that consists of `folios` in this order, all of one order, and lists
    /// them.
    ///
    /// # Errors
    ///
    /// No folios, folios of several orders, more pages than 32 bits count, unknown flags, or no
    /// memory left for chunks or the tracker. The folios come back, and nothing stays preserved.
    pub fn preserve(
        preserver: &Preserver,
        folios: Vec<Folio>,
        flags: u16,
    ) -> Result<Self, Failed<Vec<Folio>, PreserveError>> {
        let (order, pages) = match check(&folios, flags) {
            Ok(found) => found,
            Err(error) => {
                return Err(Failed {
                    error,
                    returned: folios,
                });
            }
        };
        let mut waiting = folios.into_iter();
        let mut kept: Vec<PreservedFolio> = Vec::with_capacity(waiting.len());
        let mut returned = Vec::new();
        let listed = preserver.step(|| {
            let done = keep_and_list(preserver, &mut waiting, &mut kept, &mut returned);
            if done.is_err() {
                // In their order, and before the step takes its nodes back.
                let failed = core::mem::take(&mut returned);
                returned.extend(kept.drain(..).map(PreservedFolio::unpreserve));
                returned.extend(failed);
            }
            done
        });
        let (first, chunks) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                returned.extend(waiting);
                return Err(Failed { error, returned });
            }
        };
        let ser = v1::encode(first, pages, flags, order);
        Ok(Self {
            folios: kept,
            chunks,
            ser,
        })
    }

    /// Preserves an area of single pages with `bytes` in it; what is left of the last page is 0.
    ///
    /// # Errors
    ///
    /// As [`PreservedArea::preserve`]; and no page is left for the bytes.
    pub fn of_bytes(preserver: &Preserver, bytes: &[u8]) -> Result<Self, PreserveError> {
        let mut folios = Vec::with_capacity(bytes.len().div_ceil(PAGE_SIZE));
        for part in bytes.chunks(PAGE_SIZE) {
            let mut folio = preserver.arena().alloc(Order::ZERO)?;
            let (head, tail) = folio.split_at_mut(part.len());
            head.copy_from_slice(part);
            tail.fill(0);
            folios.push(folio);
        }
        Self::preserve(preserver, folios, FLAG_ALLOC).map_err(|failed| failed.error)
    }

    /// The descriptor of version 1: what the area's user hands over who contains it. Who points to one asks
    /// [`Format::encode`](crate::Format::encode).
    #[must_use]
    pub const fn ser(&self) -> VmallocSer {
        self.ser
    }

    /// The descriptor of version 2.
    #[cfg(feature = "experimental-v2")]
    #[must_use]
    pub fn ser_v2(&self) -> crate::v2::VmallocSer {
        crate::v2::encode(&self.ser, self.chunks.len() as u64)
    }

    /// The area's folios, in its order.
    #[must_use]
    pub fn folios(&self) -> &[PreservedFolio] {
        &self.folios
    }

    /// The area's folios, to be written to.
    pub fn folios_mut(&mut self) -> &mut [PreservedFolio] {
        &mut self.folios
    }

    /// Ends its preservation; the chunk pages are freed.
    #[must_use]
    pub fn unpreserve(self) -> Vec<Folio> {
        self.folios
            .into_iter()
            .map(PreservedFolio::unpreserve)
            .collect()
    }

    /// Gives it to the handover.
    pub fn hand_over(self) {
        self.folios
            .into_iter()
            .chain(self.chunks)
            .for_each(PreservedFolio::hand_over);
    }
}

fn check(folios: &[Folio], flags: u16) -> Result<(Order, u32), PreserveError> {
    let first = folios.first().ok_or(PreserveError::Empty)?.order();
    if let Some(other) = folios.iter().find(|folio| folio.order() != first) {
        return Err(PreserveError::MixedOrders {
            first,
            found: other.order(),
        });
    }
    if flags & !FLAGS != 0 {
        return Err(PreserveError::UnknownFlags(flags));
    }
    let pages = (folios.len() as u64) << first.get();
    let count = u32::try_from(pages).map_err(|_| PreserveError::TooLarge { pages })?;
    Ok((first, count))
}

fn keep_and_list(
    preserver: &Preserver,
    waiting: &mut impl Iterator<Item = Folio>,
    kept: &mut Vec<PreservedFolio>,
    failed: &mut Vec<Folio>,
) -> Result<Chunks, PreserveError> {
    for folio in waiting {
        match preserver.preserve_folio(folio) {
            Ok(folio) => kept.push(folio),
            Err(refused) => {
                failed.push(refused.returned);
                return Err(refused.error.into());
            }
        }
    }
    list(preserver, kept)
}

/// The address of the first chunk page, and all of them.
type Chunks = (PhysAddr, Vec<PreservedFolio>);

/// Lists `folios` in chunk pages. One that fills up is followed by another, even by an empty one.
fn list(preserver: &Preserver, folios: &[PreservedFolio]) -> Result<Chunks, PreserveError> {
    let count = folios.len() / CHUNK_ENTRIES + 1;
    let mut chunks: Vec<PreservedFolio> = Vec::with_capacity(count);
    let mut left = folios.chunks(CHUNK_ENTRIES);
    for _ in 0..count {
        let mut chunk = preserver.alloc_preserve(PAGE_SIZE)?;
        if let Some(last) = chunks.last_mut() {
            VmallocChunk::of(last)?.hdr.next.set(chunk.addr().get());
        }
        let entries = VmallocChunk::of(&mut chunk)?.phys.iter_mut();
        for (entry, folio) in entries.zip(left.next().unwrap_or_default()) {
            entry.set(folio.addr().get());
        }
        chunks.push(chunk);
    }
    let (there, missing) = (chunks.len(), left.len().max(1));
    let first = chunks.first().filter(|_| left.len() == 0);
    let first = first.ok_or(Broken::new("chunk pages", there + missing, there))?;
    Ok((first.addr(), chunks))
}

impl Area {
    /// Makes the area's folios the caller's own, in its order. The chunk pages stay handed over
    /// until the rest is freed.
    ///
    /// # Errors
    ///
    /// A run of pages was adopted before, or is larger than a folio. None is adopted then.
    pub fn adopt(&self, handed: &mut Handed) -> Result<Vec<Folio>, NotHanded> {
        let pages = self.order.pages();
        for run in &self.runs {
            let run = kho_mem::PageRun {
                pfn: run.pfn(),
                pages,
            };
            if !handed.contains(run) || self.order > Order::MAX_FOLIO {
                return Err(NotHanded { run });
            }
        }
        // No run is listed twice: each was claimed.
        self.runs
            .iter()
            .map(|run| handed.adopt(*run, self.order))
            .collect()
    }
}
