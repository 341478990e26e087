//! Pages that a predecessor handed over and nobody owns yet.
#![allow(unsafe_code)]

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Arena, Folio, Inner, Pages, Purpose};
use crate::{
    Chunk, MemError, MemErrorKind, Order, PAGE_SIZE, PageRun, PhysAddr, PhysMem, PhysRange,
};

/// An arena as a predecessor left it: readable (it is [`PhysMem`]), and nobody's yet.
///
/// At first all of it is handed over. [`Handed::reclaim`] says what of it is kept and frees the
/// rest for allocation; [`Handed::adopt`] makes an owned folio of handed pages, once. What is
/// never adopted goes back to the allocator with [`Handed::free_rest`]; dropped before, it stays
/// what it is: memory of the handover, for whoever attaches next.
///
/// Views borrow from it and adopting borrows it mutably, so that no view of a page outlives its
/// change of hands.
pub struct Handed {
    inner: Arc<Inner>,
    // Runs of handed pages, first to one past the last, from the arena's base on. They neither
    // overlap nor touch.
    runs: BTreeMap<usize, usize>,
    // Never freed: scratch and page 0.
    carved: BTreeMap<usize, usize>,
}

/// Pages that can not be adopted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{run} is not handed over, or was adopted before")]
pub struct NotHanded {
    /// The pages asked for.
    pub run: PageRun,
}

impl Handed {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        let pages = inner.backing.len() / PAGE_SIZE;
        Self {
            inner,
            runs: BTreeMap::from([(0, pages)]),
            carved: BTreeMap::new(),
        }
    }

    /// The arena's addresses.
    #[must_use]
    pub fn range(&self) -> PhysRange {
        self.inner.range()
    }

    /// Pages that are handed over and not adopted.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.runs.iter().map(|(from, to)| (to - from) as u64).sum()
    }

    /// Whether all of `run` is handed over and not adopted. O(log runs).
    #[must_use]
    pub fn contains(&self, run: PageRun) -> bool {
        self.inner.pages_of(run).is_some_and(|(from, to)| {
            let at = self.runs.range(..=from).next_back();
            at.is_some_and(|(_, end)| to <= *end)
        })
    }

    /// Keeps `keep` and frees the rest, the scratch areas `scratch` apart, for allocation. Pages
    /// that lie outside the arena are passed over.
    ///
    /// The arena is this process's from here on.
    pub fn reclaim(
        &mut self,
        keep: impl IntoIterator<Item = PageRun>,
        scratch: &[PhysRange],
    ) -> Arena {
        let kept: Vec<_> = keep
            .into_iter()
            .filter_map(|run| self.inner.pages_of(run))
            .collect();
        let mut carved = Vec::new();
        if self.inner.base.is_null() {
            carved.push((0, 1));
        }
        carved.extend(scratch.iter().filter_map(|area| self.inner.pages_in(*area)));
        let mut used = kept.clone();
        used.extend(&carved);
        self.carved = merged(carved);
        let kept = merged(kept);
        let used = merged(used);
        let mut buddy = self.inner.buddy.lock();
        // What is handed over and in no used run is free now.
        for (from, to) in core::mem::take(&mut self.runs) {
            let mut at = from;
            let first = used
                .range(..=from)
                .next_back()
                .map_or(from, |(start, _)| *start);
            for (start, end) in used.range(first..to) {
                if *start > at {
                    buddy.free_run(at, start - at);
                }
                at = at.max(*end);
            }
            if at < to {
                buddy.free_run(at, to - at);
            }
            // What was adopted, or freed, is not handed any more, whatever is asked to be kept.
            let first = kept
                .range(..=from)
                .next_back()
                .map_or(from, |(start, _)| *start);
            let parts = kept
                .range(first..to)
                .map(|(start, end)| (from.max(*start), to.min(*end)));
            self.runs.extend(parts.filter(|(start, end)| start < end));
        }
        drop(buddy);
        Arena(Arc::clone(&self.inner), Purpose::Contents)
    }

    /// Makes `run` the caller's own.
    ///
    /// # Errors
    ///
    /// It is not handed over, or was adopted before.
    pub fn adopt_pages(&mut self, run: PageRun) -> Result<Pages, NotHanded> {
        let (from, to) = self.take(run)?;
        // SAFETY: the pages lie in the arena and were just taken out of the handed ones, through
        // `&mut self`: no view of them is left, and they are in nobody's hands.
        Ok(unsafe { Pages::new(Arc::clone(&self.inner), from, to - from) })
    }

    /// Makes the folio of 2^order pages at `addr` the caller's own.
    ///
    /// # Errors
    ///
    /// It is not handed over or was adopted before, or it is no folio: not aligned to its size,
    /// or of an order above [`Order::MAX_FOLIO`].
    pub fn adopt(&mut self, addr: PhysAddr, order: Order) -> Result<Folio, NotHanded> {
        let run = PageRun {
            pfn: addr.pfn(),
            pages: order.pages(),
        };
        let aligned = order <= Order::MAX_FOLIO
            && order
                .bytes()
                .is_some_and(|bytes| addr.get().is_multiple_of(bytes));
        if !aligned {
            return Err(NotHanded { run });
        }
        let (from, _) = self.take(run)?;
        // SAFETY: as in `adopt_pages`; and the address is aligned to the order, as the arena's base
        // is to the largest folio, so that the page is too.
        Ok(unsafe { Folio::new(Arc::clone(&self.inner), from, order) })
    }

    fn take(&mut self, run: PageRun) -> Result<(usize, usize), NotHanded> {
        let Some((from, to)) = self.inner.pages_of(run).filter(|(from, to)| from < to) else {
            return Err(NotHanded { run });
        };
        // What is never allocated is never owned either: it would be freed with its owner.
        let carved = self.carved.range(..to).next_back();
        if carved.is_some_and(|(_, end)| *end > from) {
            return Err(NotHanded { run });
        }
        let Some((start, end)) = self.runs.range(..=from).next_back().map(|(a, b)| (*a, *b)) else {
            return Err(NotHanded { run });
        };
        if to > end {
            return Err(NotHanded { run });
        }
        self.runs.remove(&start);
        if start < from {
            self.runs.insert(start, from);
        }
        if to < end {
            self.runs.insert(to, end);
        }
        Ok((from, to))
    }

    /// Frees all that was not adopted.
    pub fn free_rest(&mut self) {
        let mut buddy = self.inner.buddy.lock();
        for (from, to) in core::mem::take(&mut self.runs) {
            let mut at = from;
            for (start, end) in &self.carved {
                if *end <= at || *start >= to {
                    continue;
                }
                if *start > at {
                    buddy.free_run(at, start - at);
                }
                at = at.max(*end);
            }
            if at < to {
                buddy.free_run(at, to - at);
            }
        }
    }

    /// The memfd of the arena: see [`Arena::file`]; `None` for one on the heap.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn file(&self) -> Option<&std::fs::File> {
        self.inner.file()
    }
}

fn merged(mut runs: Vec<(usize, usize)>) -> BTreeMap<usize, usize> {
    runs.sort_unstable();
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (from, to) in runs {
        match out.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => out.push((from, to)),
        }
    }
    out.into_iter().filter(|(from, to)| from < to).collect()
}

impl PhysMem for Handed {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        let outside = MemError {
            addr,
            len: len as u64,
            kind: MemErrorKind::Outside,
        };
        let offset = addr
            .get()
            .checked_sub(self.inner.base.get())
            .ok_or(outside)?;
        let offset = usize::try_from(offset).map_err(|_| outside)?;
        let (_, end) = self
            .runs
            .range(..=offset / PAGE_SIZE)
            .next_back()
            .ok_or(outside)?;
        let room = (end * PAGE_SIZE)
            .checked_sub(offset)
            .filter(|room| *room > 0)
            .ok_or(outside)?;
        let len = len.min(room);
        let start = self.inner.backing.start();
        // SAFETY:
        // - `offset + len` is at most the end of a handed run, which lies in the backing; its bytes
        //   are initialised and live as long as `self.inner`.
        // - Handed pages are in no free block and owned by nobody, and leave `runs` through
        //   `&mut self` alone, so nothing writes to them while this view borrows `self`.
        // - The predecessor is gone or does not touch the arena any more, as `Handed::attach` and
        //   `Arena::into_handed` ask.
        Ok(Chunk::Bytes(unsafe {
            core::slice::from_raw_parts(start.add(offset), len)
        }))
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        let base = self.inner.base.get();
        let page = usize::try_from(from.get().saturating_sub(base)).ok()? / PAGE_SIZE;
        let holds = self
            .runs
            .range(..=page)
            .next_back()
            .filter(|(_, end)| page < **end);
        let (start, end) = holds.or_else(|| self.runs.range(page..).next())?;
        let len = ((end - start) * PAGE_SIZE) as u64;
        PhysRange::new(self.inner.addr(*start), len)
    }
}

impl core::fmt::Debug for Handed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Handed({}, {} pages)", self.range(), self.pages())
    }
}
