//! A handover in an arena of one's own: what is restored is used where it lies.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kho_compat::{Admitted, NotAdmitted};
use kho_mem::{
    Arena, Damage, Defect, Folio, Handed, Link, Order, PageRun, PageSize, Pages, PhysAddr,
};
use kho_radix::{Failed, RestoreError};

use crate::COMPONENT;
use crate::handover::Parts;
use crate::{Handover, OpenError, OpenOptions, ScratchTable};

/// A handover that a predecessor left in an arena.
///
/// Attaching checks what opening a dump checks, and changes nothing. Restoring moves pages out, as
/// owned folios, where they lie. Until something is restored or freed, the handover is as the
/// predecessor left it, and may be handed back.
///
/// ```
/// use kho_core::{Attached, Handover, Kho, KhoConfig};
/// use kho_mem::{Arena, ArenaConfig, PhysAddr};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let kho = Kho::new(arena, &KhoConfig::new())?;
/// let mut folio = kho.preserver().alloc_preserve(4096)?;
/// folio[7] = 7;
/// let addr = folio.addr();
/// folio.hand_over();
/// let entry = kho.entry();
/// let handed = kho.hand_over().unwrap().into_handed().unwrap();
///
/// let mut attached = Attached::open(handed, entry)?;
/// let root = attached.handover().root().clone();
/// let admitted = Handover::admit_root(kho_compat::Registry::linked().unwrap(), &root)?;
/// let folio = attached.restore_folio(&admitted, addr)?;
/// assert_eq!(folio[7], 7);
/// assert!(attached.restore_folio(&admitted, addr).is_err(), "once");
/// let arena = attached.finish();
/// assert_eq!(arena.free_pages(), 2047);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Attached {
    handed: Handed,
    parts: Arc<Parts>,
    arena: Option<Arena>,
}

impl Attached {
    /// Opens the handover that begins at an [`Entry`](crate::Entry), or as [`OpenOptions`] say, with the
    /// checks of [`Handover::open`].
    ///
    /// # Errors
    ///
    /// As [`Handover::open`]. The memory comes back as it was.
    pub fn open<'r>(
        handed: Handed,
        options: impl Into<OpenOptions<'r>>,
    ) -> Result<Self, Failed<Handed, OpenError>> {
        let options = options.into();
        let opened = Handover::open(&handed, options);
        let of_arena = opened.and_then(|handover| match handover.page_size() {
            PageSize::K4 => Ok(handover.into_parts()),
            other => {
                let at = options.entry.fdt_addr;
                Err(Damage::new(Defect::BadSize, "page size", at)
                    .found(other)
                    .expected("4 KiB, the page size of an arena")
                    .into())
            }
        });
        match of_arena {
            Ok(parts) => Ok(Self {
                handed,
                parts,
                arena: None,
            }),
            Err(error) => Err(Failed {
                error,
                returned: handed,
            }),
        }
    }

    /// The handover, to be read.
    #[must_use]
    pub fn handover(&self) -> Handover<'_> {
        Handover::of(&self.handed, Arc::clone(&self.parts))
    }

    /// The memory that is handed over and not restored.
    #[must_use]
    pub const fn handed(&self) -> &Handed {
        &self.handed
    }

    /// The memory that is handed over and not restored, for what moves pages out of it: each
    /// component's own restoring.
    pub const fn handed_mut(&mut self) -> &mut Handed {
        &mut self.handed
    }

    /// The arena, in which everything is free now that the handover does not use. Nothing of the
    /// handover changes.
    pub fn reclaim(&mut self) -> Arena {
        if let Some(arena) = &self.arena {
            return arena.clone();
        }
        let handover = self.handover();
        let keep: Vec<_> = handover.reached().collect();
        let scratch = handover
            .scratch()
            .map_or(&[][..], ScratchTable::areas)
            .to_vec();
        let arena = self.handed.reclaim(keep, &scratch);
        self.arena.insert(arena).clone()
    }

    /// Restores the folio that begins at `addr`, once: it is the caller's own from here on.
    ///
    /// # Errors
    ///
    /// The verdict does not cover this handover's root, no preserved folio begins at `addr`, or it
    /// was restored before.
    pub fn restore_folio(
        &mut self,
        admitted: &Admitted,
        addr: PhysAddr,
    ) -> Result<Folio, RestoreError> {
        self.require(admitted)?;
        let handover = self.handover();
        let folio = handover.preserved().folio_at(Link::given(addr, "folio"))?;
        if folio.order > Order::MAX_FOLIO {
            let damage = Damage::new(Defect::BadOrder, "folio", addr).found(folio.order);
            return Err(damage.expected("a folio of order 0 to 10").into());
        }
        self.reclaim();
        self.handed
            .adopt(addr, folio.order)
            .map_err(|_| restored_before(addr))
    }

    /// Restores a run of pages that was preserved as such, once.
    ///
    /// # Errors
    ///
    /// As [`Attached::restore_folio`], and preserved ranges do not fill the run.
    pub fn restore_pages(
        &mut self,
        admitted: &Admitted,
        run: PageRun,
    ) -> Result<Pages, RestoreError> {
        self.require(admitted)?;
        let handover = self.handover();
        let mut claims = kho_radix::Claims::new(handover.preserved());
        claims.pages(Link::given(run.addr(), "pages"), run.pages)?;
        self.reclaim();
        self.handed
            .adopt_pages(run)
            .map_err(|_| restored_before(run.addr()))
    }

    fn require(&self, admitted: &Admitted) -> Result<(), NotAdmitted> {
        let announced = self.handover().announced();
        admitted.found(&announced, &COMPONENT).map(|_| ())
    }

    /// Ends the handover: what was not restored is freed.
    #[must_use]
    pub fn finish(mut self) -> Arena {
        let arena = self.reclaim();
        self.handed.free_rest();
        arena
    }

    /// The memory as it is, untouched where nothing was restored.
    #[must_use]
    pub fn into_handed(self) -> Handed {
        self.handed
    }
}

fn restored_before(addr: PhysAddr) -> RestoreError {
    Damage::new(Defect::Shared, "memory", addr)
        .found("restored already")
        .expected("memory that is restored once")
        .into()
}

impl core::fmt::Debug for Attached {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Attached")
            .field("handed", &self.handed)
            .finish()
    }
}
