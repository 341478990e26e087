//! Each preserved range is used once.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use kho_mem::{Damage, Defect, Link, PAGE_SHIFT, PageSize, PhysAddr, PhysRange};

use crate::preserved::in_pages;
use crate::{Preserved, PreservedRange};

const WORD: usize = u64::BITS as usize;

/// Which preserved ranges are spoken for. A predecessor that hands the same memory over as two
/// things is found here: the second claim fails and names the first.
///
/// Takes a bit per preserved range, and a record per claim.
#[derive(Clone, Debug)]
pub struct Claims {
    preserved: Preserved,
    // A bit per preserved range, by its number in order of address.
    claimed: Vec<u64>,
    // In order of claim, so that a failed step can be taken back, and the first owner named.
    log: Vec<Claim>,
    // Ranges claimed.
    count: usize,
}

/// Ranges in a row that were claimed one after the other.
#[derive(Clone, Copy, Debug)]
struct Claim {
    first: usize,
    count: usize,
    // Of each.
    pages: u64,
    owner: &'static str,
}

impl Claims {
    /// Nothing claimed yet.
    #[must_use]
    pub fn new(preserved: &Preserved) -> Self {
        Self {
            preserved: preserved.clone(),
            claimed: vec![0; preserved.keys().div_ceil(WORD)],
            log: Vec::new(),
            count: 0,
        }
    }

    /// The page size of the handover.
    #[must_use]
    #[inline]
    pub const fn page_size(&self) -> PageSize {
        self.preserved.page_size()
    }

    /// The preserved memory that claims are made on.
    #[must_use]
    pub const fn preserved(&self) -> &Preserved {
        &self.preserved
    }

    /// Runs a step that claims several ranges. If it fails, none of them stays claimed, so that
    /// trying again fails in the same way.
    ///
    /// # Errors
    ///
    /// Those of the step.
    pub fn all_or_none<T, E>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.count;
        let done = step(self);
        if done.is_err() {
            self.take_back_to(before);
        }
        done
    }

    /// How many ranges are claimed.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Takes the latest claims back until `count` are left.
    pub fn take_back_to(&mut self, count: usize) {
        while self.count > count {
            self.take_back();
        }
    }

    /// Takes the last claim back.
    fn take_back(&mut self) {
        let Some(last) = self.log.last_mut() else {
            return;
        };
        last.count -= 1;
        let ordinal = last.first + last.count;
        if last.count == 0 {
            self.log.pop();
        }
        self.count -= 1;
        if let Some(word) = self.claimed.get_mut(ordinal / WORD) {
            *word &= !(1 << (ordinal % WORD));
        }
    }

    fn mark(&mut self, folio: PreservedRange, owner: &'static str) -> Result<(), &'static str> {
        let ordinal = folio.ordinal;
        let bit = 1 << (ordinal % WORD);
        // Of the tracker that the bits were made for.
        let Some(word) = self.claimed.get_mut(ordinal / WORD) else {
            return Ok(());
        };
        if *word & bit != 0 {
            // Only here, on the way out, is the log searched.
            let mut log = self.log.iter();
            let first =
                log.find(|claim| (claim.first..claim.first + claim.count).contains(&ordinal));
            return Err(first.map_or("something else", |claim| claim.owner));
        }
        *word |= bit;
        self.count += 1;
        let pages = folio.order.pages();
        match self.log.last_mut() {
            Some(last)
                if last.first + last.count == ordinal
                    && last.pages == pages
                    && core::ptr::eq(last.owner, owner) =>
            {
                last.count += 1;
            }
            _ => self.log.push(Claim {
                first: ordinal,
                count: 1,
                pages,
                owner,
            }),
        }
        Ok(())
    }

    /// Claims the folio that `link` points to.
    ///
    /// # Errors
    ///
    /// No preserved range begins there, its order is larger than a folio's, or it is claimed
    /// already.
    pub fn folio(&mut self, link: Link) -> Result<PreservedRange, Damage> {
        let folio = self.preserved.folio_at(link)?;
        let max = self.page_size().max_folio();
        if folio.order > max {
            let max = in_pages(self.page_size(), max);
            return Err(self
                .bad_order(link, folio)
                .expected(format!("a folio of order 0 to {max}")));
        }
        self.take(folio, link)
    }

    fn take(&mut self, folio: PreservedRange, link: Link) -> Result<PreservedRange, Damage> {
        match self.mark(folio, link.name) {
            Ok(()) => Ok(folio),
            Err(first) => Err(shared(link, folio.addr(), first)),
        }
    }

    /// Claims a single page: a folio of order 0.
    ///
    /// # Errors
    ///
    /// As [`Claims::folio`], and the folio is larger.
    pub fn page(&mut self, link: Link) -> Result<PreservedRange, Damage> {
        let folio = self.preserved.folio_at(link)?;
        if folio.order != self.page_size().order() {
            return Err(self
                .bad_order(link, folio)
                .expected("a page preserved with order 0"));
        }
        self.take(folio, link)
    }

    #[cold]
    fn bad_order(&self, link: Link, folio: PreservedRange) -> Damage {
        let order = in_pages(self.page_size(), folio.order);
        let found = format!("order {order} at {}", link.to);
        link.damage(Defect::BadOrder).found(found)
    }

    /// Claims the preserved ranges that hold the `len` bytes that `link` points to, which must
    /// begin with one of them. What is left of the last is claimed too.
    ///
    /// # Errors
    ///
    /// No preserved range begins there, the bytes leave the address space or preserved memory, or
    /// one of the ranges is claimed already. Nothing is claimed then.
    pub fn bytes(&mut self, link: Link, len: u64) -> Result<(), Damage> {
        self.all_or_none(|claims| claims.cover(link, len, false))
    }

    /// Claims a run of pages that was preserved as such: it must begin and end with preserved
    /// ranges. (How it was cut into ranges is the writer's affair: a kernel splits at NUMA nodes.)
    ///
    /// # Errors
    ///
    /// As [`Claims::bytes`], and a preserved range reaches past the run's end.
    pub fn pages(&mut self, link: Link, pages: u64) -> Result<(), Damage> {
        let Some(len) = pages.checked_mul(self.page_size().bytes()) else {
            return Err(wraps(link, &format!("{pages} pages")));
        };
        self.all_or_none(|claims| claims.cover(link, len, true))
    }

    fn cover(&mut self, link: Link, len: u64, exact: bool) -> Result<(), Damage> {
        let first = self.preserved.folio_at(link)?;
        let Some(range) = PhysRange::new(link.to, len) else {
            return Err(wraps(link, &format!("{len} bytes")));
        };
        let mut folio = first;
        loop {
            let end = u128::from(folio.run().end()) << PAGE_SHIFT;
            if exact && end > range.end() {
                return Err(link
                    .damage(Defect::Overlap)
                    .found(format!(
                        "{range}, cut by an order {} range at {}",
                        in_pages(self.page_size(), folio.order),
                        folio.addr()
                    ))
                    .expected("a run that preserved ranges fill"));
            }
            self.mark(folio, link.name)
                .map_err(|first| shared(link, folio.addr(), first))?;
            if end >= range.end() {
                return Ok(());
            }
            let next = u64::try_from(end).ok().map(PhysAddr::new);
            folio = next
                .and_then(|next| self.preserved.lookup(next))
                .ok_or_else(|| {
                    link.damage(Defect::NotPreserved)
                        .found(format!("{range}, preserved up to {end:#x} only"))
                        .expected("preserved memory")
                })?;
        }
    }

    /// Preserved ranges that nobody claimed, and their pages of the handover's own size.
    #[must_use]
    pub fn unclaimed(&self) -> (u64, u64) {
        let frames: u64 = self
            .log
            .iter()
            .map(|claim| claim.pages * claim.count as u64)
            .sum();
        let ranges = self.preserved.keys() as u64 - self.count as u64;
        let left = self.preserved.pages() - (frames >> self.page_size().order().get());
        (ranges, left)
    }
}

fn shared(link: Link, addr: PhysAddr, first: &str) -> Damage {
    link.damage(Defect::Shared)
        .found(format!("{addr}, in use already: {first}"))
        .expected("memory of its own")
}

fn wraps(link: Link, len: &str) -> Damage {
    link.damage(Defect::Wraps)
        .found(format!("{len} at {}", link.to))
        .expected("a range inside the address space")
}
