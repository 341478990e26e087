//! Each preserved range is used once.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use kho_mem::{Damage, Defect, Order, PAGE_SHIFT, PAGE_SIZE_U64, PhysAddr, PhysRange};

use crate::{Folio, Preserved};

/// Who claimed a range: an index into the names that [`Claims`] was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner(u8);

/// Which preserved ranges are spoken for. A predecessor that hands the same memory over as two
/// things is found here: the second claim fails and names the first.
#[derive(Clone, Debug)]
pub struct Claims<'p> {
    preserved: &'p Preserved,
    // Per key in order of address: 0, or an index into `owners` plus one.
    marks: Vec<u8>,
    owners: Vec<&'static str>,
}

impl<'p> Claims<'p> {
    /// Nothing claimed yet. Takes a byte per preserved range.
    #[must_use]
    pub fn new(preserved: &'p Preserved) -> Self {
        Self {
            preserved,
            marks: vec![0; preserved.keys()],
            owners: Vec::new(),
        }
    }

    /// The preserved memory that claims are made on.
    #[must_use]
    pub const fn preserved(&self) -> &'p Preserved {
        self.preserved
    }

    fn owner(&mut self, name: &'static str) -> Owner {
        let index = self
            .owners
            .iter()
            .position(|known| *known == name)
            .unwrap_or_else(|| {
                self.owners.push(name);
                self.owners.len() - 1
            });
        // A handful of kinds of structure exist; past 254 they would share the last name.
        Owner(u8::try_from(index + 1).unwrap_or(u8::MAX))
    }

    fn mark(&mut self, folio: Folio, owner: Owner) -> Result<(), &'static str> {
        let Some(mark) = self.marks.get_mut(folio.ordinal) else {
            return Err("another handover");
        };
        if *mark != 0 {
            let first = usize::from(*mark - 1);
            return Err(self.owners.get(first).copied().unwrap_or("something else"));
        }
        *mark = owner.0;
        Ok(())
    }

    /// Claims the folio that begins at `addr`, which was read at `at`, for `what`.
    ///
    /// # Errors
    ///
    /// No preserved range begins there, its order is larger than a folio's, or it is claimed
    /// already.
    pub fn folio(
        &mut self,
        addr: PhysAddr,
        what: &'static str,
        at: PhysAddr,
    ) -> Result<Folio, Damage> {
        let folio = self.preserved.folio_at(addr, what, at)?;
        if folio.order > Order::MAX_FOLIO {
            return Err(Damage::new(Defect::BadOrder, what, at)
                .found(format!("order {} at {addr}", folio.order))
                .expected(format!("a folio of order 0 to {}", Order::MAX_FOLIO)));
        }
        let owner = self.owner(what);
        self.mark(folio, owner)
            .map_err(|first| shared(what, at, addr, first))?;
        Ok(folio)
    }

    /// Claims a single page: a folio of order 0.
    ///
    /// # Errors
    ///
    /// As [`Claims::folio`], and the folio is larger.
    pub fn page(
        &mut self,
        addr: PhysAddr,
        what: &'static str,
        at: PhysAddr,
    ) -> Result<Folio, Damage> {
        let folio = self.preserved.folio_at(addr, what, at)?;
        if folio.order != Order::ZERO {
            return Err(Damage::new(Defect::BadOrder, what, at)
                .found(format!("order {} at {addr}", folio.order))
                .expected("a page preserved with order 0"));
        }
        self.folio(addr, what, at)
    }

    /// Claims the preserved ranges that hold `len` bytes from `addr` on, which must begin with
    /// one of them. What is left of the last is claimed too.
    ///
    /// # Errors
    ///
    /// `addr` begins no preserved range, the bytes leave the address space or preserved memory,
    /// or one of the ranges is claimed already. Nothing is claimed then but what came before.
    pub fn bytes(
        &mut self,
        addr: PhysAddr,
        len: u64,
        what: &'static str,
        at: PhysAddr,
    ) -> Result<(), Damage> {
        self.cover(addr, len, what, at, false)
    }

    /// Claims a run of pages that was preserved as such: it must begin and end with preserved
    /// ranges. (How it was cut into ranges is the writer's affair: a kernel splits at NUMA nodes.)
    ///
    /// # Errors
    ///
    /// As [`Claims::bytes`], and a preserved range reaches past the run's end.
    pub fn pages(
        &mut self,
        addr: PhysAddr,
        pages: u64,
        what: &'static str,
        at: PhysAddr,
    ) -> Result<(), Damage> {
        let Some(len) = pages.checked_mul(PAGE_SIZE_U64) else {
            return Err(wraps(what, at, addr, &format!("{pages} pages")));
        };
        self.cover(addr, len, what, at, true)
    }

    fn cover(
        &mut self,
        addr: PhysAddr,
        len: u64,
        what: &'static str,
        at: PhysAddr,
        exact: bool,
    ) -> Result<(), Damage> {
        let first = self.preserved.folio_at(addr, what, at)?;
        let Some(range) = PhysRange::new(addr, len) else {
            return Err(wraps(what, at, addr, &format!("{len} bytes")));
        };
        let owner = self.owner(what);
        let mut folio = first;
        loop {
            let end = u128::from(folio.run().end()) << PAGE_SHIFT;
            if exact && end > range.end() {
                return Err(Damage::new(Defect::Overlap, what, at)
                    .found(format!(
                        "{range}, cut by an order {} range at {}",
                        folio.order,
                        folio.addr()
                    ))
                    .expected("a run that preserved ranges fill"));
            }
            self.mark(folio, owner)
                .map_err(|first| shared(what, at, folio.addr(), first))?;
            if end >= range.end() {
                return Ok(());
            }
            let next = u64::try_from(end).ok().map(PhysAddr::new);
            folio = next
                .and_then(|next| self.preserved.lookup(next))
                .ok_or_else(|| {
                    Damage::new(Defect::NotPreserved, what, at)
                        .found(format!("{range}, preserved up to {end:#x} only"))
                        .expected("preserved memory")
                })?;
        }
    }

    /// Preserved ranges that nobody claimed, and their pages.
    #[must_use]
    pub fn unclaimed(&self) -> (u64, u64) {
        let free = self
            .preserved
            .iter()
            .zip(&self.marks)
            .filter(|(_, mark)| **mark == 0);
        free.fold((0, 0), |(ranges, pages), (folio, _)| {
            (ranges + 1, pages + folio.order.pages())
        })
    }
}

fn shared(what: &'static str, at: PhysAddr, addr: PhysAddr, first: &str) -> Damage {
    Damage::new(Defect::Shared, what, at)
        .found(format!("{addr}, in use already: {first}"))
        .expected("memory of its own")
}

fn wraps(what: &'static str, at: PhysAddr, addr: PhysAddr, len: &str) -> Damage {
    Damage::new(Defect::Wraps, what, at)
        .found(format!("{len} at {addr}"))
        .expected("a range inside the address space")
}
