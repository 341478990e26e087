//! Preserved memory that is owned: what is dropped is no longer preserved.

use core::fmt;
use core::ops::{Deref, DerefMut};

use kho_mem::{Folio, Order, PageRun, Pages, PhysAddr};

use crate::{Key, Preserver, Tracker, TrackerError};

/// What a tracker holds of one owner.
trait Member: Copy {
    /// Takes it out.
    fn remove(self, tracker: &mut Tracker) -> Result<(), TrackerError>;
}

impl Member for Key {
    #[inline]
    fn remove(self, tracker: &mut Tracker) -> Result<(), TrackerError> {
        tracker.remove(self)
    }
}

impl Member for PageRun {
    fn remove(self, tracker: &mut Tracker) -> Result<(), TrackerError> {
        tracker.remove_pages(self)
    }
}

/// An owner's part of a tracker: dropped, it is taken out, unless it was handed over.
struct Kept<M: Member> {
    member: M,
    handed_over: bool,
    preserver: Preserver,
}

impl<M: Member> Kept<M> {
    const fn new(preserver: Preserver, member: M) -> Self {
        Self {
            member,
            handed_over: false,
            preserver,
        }
    }

    fn hand_over(mut self) {
        self.handed_over = true;
    }
}

impl<M: Member> Drop for Kept<M> {
    #[inline]
    fn drop(&mut self) {
        if !self.handed_over {
            let member = self.member;
            self.preserver.undo(|tracker| member.remove(tracker));
        }
    }
}

/// A folio that is preserved and owned. Dropped, it is neither.
pub struct PreservedFolio {
    // In this order: no key is left of memory that is free.
    kept: Kept<Key>,
    folio: Folio,
}

impl PreservedFolio {
    pub(crate) const fn new(preserver: Preserver, key: Key, folio: Folio) -> Self {
        let kept = Kept::new(preserver, key);
        Self { kept, folio }
    }

    /// The first byte's address: what a handover's structures name it by.
    #[must_use]
    pub fn addr(&self) -> PhysAddr {
        self.folio.addr()
    }

    /// Whether it is preserved in the tracker of `preserver`.
    #[must_use]
    pub fn is_of(&self, preserver: &Preserver) -> bool {
        self.kept.preserver.is(preserver)
    }

    /// log2 of its pages.
    #[must_use]
    pub fn order(&self) -> Order {
        self.folio.order()
    }

    /// Ends its preservation.
    #[must_use]
    pub fn unpreserve(self) -> Folio {
        drop(self.kept);
        self.folio
    }

    /// Gives it to the handover: it stays preserved, and is no longer owned.
    pub fn hand_over(self) {
        self.kept.hand_over();
        self.folio.hand_over();
    }
}

impl Deref for PreservedFolio {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.folio
    }
}

impl DerefMut for PreservedFolio {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.folio
    }
}

impl fmt::Debug for PreservedFolio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreservedFolio({}, order {})", self.addr(), self.order())
    }
}

/// A run of pages that is preserved and owned. Dropped, it is neither.
pub struct PreservedPages {
    // In this order: no key is left of memory that is free.
    kept: Kept<PageRun>,
    pages: Pages,
}

impl PreservedPages {
    pub(crate) fn new(preserver: Preserver, pages: Pages) -> Self {
        let kept = Kept::new(preserver, pages.run());
        Self { kept, pages }
    }

    /// The pages by number.
    #[must_use]
    pub fn run(&self) -> PageRun {
        self.pages.run()
    }

    /// Ends its preservation.
    #[must_use]
    pub fn unpreserve(self) -> Pages {
        drop(self.kept);
        self.pages
    }

    /// Gives them to the handover: they stay preserved, and are no longer owned.
    pub fn hand_over(self) {
        self.kept.hand_over();
        self.pages.hand_over();
    }
}

impl Deref for PreservedPages {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.pages
    }
}

impl DerefMut for PreservedPages {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.pages
    }
}

impl fmt::Debug for PreservedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreservedPages({})", self.run())
    }
}
