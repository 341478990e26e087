//! Owned pages.
#![allow(unsafe_code)]

use alloc::sync::Arc;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::Inner;
use crate::{Order, PAGE_SIZE, PAGE_SIZE_U64, PageRun, Pfn, PhysAddr, PhysRange};

/// A run of pages of an arena, owned: exclusive access to their bytes, given back to the allocator
/// when dropped.
///
/// Made by [`Arena::alloc_pages`](super::Arena::alloc_pages), or of a [`Folio`]. Holding one
/// proves that nobody else of this process has a view of these bytes.
pub struct Pages {
    inner: Arc<Inner>,
    // The first byte: in the backing of `inner`, at a page's boundary, with `count` pages from there on.
    start: NonNull<u8>,
    count: usize,
}

// SAFETY:
// - The bytes are reached through their one owner alone, by the rules of `&` and `&mut`.
// - They are kept alive by `inner`, which is `Send` and `Sync`.
unsafe impl Send for Pages {}
// SAFETY: as above; a shared `Pages` gives shared views.
unsafe impl Sync for Pages {}

impl Pages {
    /// The pages `page..page + count` of `inner`.
    ///
    /// # Safety
    ///
    /// - They lie in the arena.
    /// - Nobody owns them, and no view of them is left: they were just taken out of the allocator's
    ///   free blocks, or out of the handed pages through an exclusive reference.
    pub(super) unsafe fn new(inner: Arc<Inner>, page: usize, count: usize) -> Self {
        debug_assert!((page + count) * PAGE_SIZE <= inner.backing.len());
        // SAFETY: the pages lie in the backing, so that this stays in its allocation, whose start is not
        // null. A backing never moves.
        let start = unsafe { NonNull::new_unchecked(inner.backing.start().add(page * PAGE_SIZE)) };
        Self {
            inner,
            start,
            count,
        }
    }

    /// The first page, from the arena's base on.
    #[inline]
    fn page(&self) -> usize {
        (self.start.addr().get() - self.inner.backing.start().addr()) / PAGE_SIZE
    }

    /// The first byte's address.
    #[must_use]
    #[inline]
    pub fn addr(&self) -> PhysAddr {
        self.inner.addr(self.page())
    }

    /// The pages by number.
    #[must_use]
    pub fn run(&self) -> PageRun {
        PageRun {
            pfn: self.addr().pfn(),
            pages: self.count as u64,
        }
    }

    /// Their bytes' addresses.
    #[must_use]
    pub fn range(&self) -> PhysRange {
        let len = self.count as u64 * PAGE_SIZE_U64;
        PhysRange::new(self.addr(), len).unwrap_or(PhysRange::EMPTY)
    }

    /// Gives the pages to the handover: they are no longer owned, and not free either. The next
    /// process (or this one, through [`Arena::into_handed`](super::Arena::into_handed)) finds
    /// them there. The bytes stay as they are.
    pub fn hand_over(self) {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never used or dropped again, so the reference count is moved out of
        // it exactly once.
        drop(unsafe { core::ptr::read(&this.inner) });
    }

    /// Splits them: the first `pages` stay here, those behind are another owner's. `None`, and all stay,
    /// where one of the two would have none.
    ///
    /// ```
    /// use kho_mem::{Arena, ArenaConfig, PhysAddr};
    ///
    /// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
    /// let mut pages = arena.alloc_pages(5)?;
    /// let rest = pages.split_off(2).unwrap();
    /// assert_eq!((pages.run().pages, rest.run().pages), (2, 3));
    /// drop(rest); // back to the allocator
    /// assert_eq!(arena.free_pages(), 2046);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split_off(&mut self, pages: usize) -> Option<Self> {
        let rest = self.count.checked_sub(pages).filter(|rest| *rest > 0)?;
        if pages == 0 {
            return None;
        }
        self.count = pages;
        // SAFETY: the pages were `self`'s, so they lie in the arena and nobody else owns them; `self`
        // has just given them up, and no view of them is left, since `&mut self` is exclusive.
        Some(unsafe { Self::new(Arc::clone(&self.inner), self.page() + pages, rest) })
    }

    /// The arena they are of.
    #[must_use]
    pub fn arena(&self) -> super::Arena {
        super::Arena(Arc::clone(&self.inner), super::Purpose::Contents)
    }

    /// Their first byte in this process. Valid for reads and writes of `count` pages, which are
    /// initialised, as long as `self` lives; what may be done with it goes by the rules of `&self` and
    /// `&mut self`.
    #[inline]
    pub(super) const fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// How many they are.
    #[inline]
    pub(super) const fn count(&self) -> usize {
        self.count
    }
}

impl Deref for Pages {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY:
        // - The bytes lie in the backing (checked when the pages were taken), which `self.inner`
        //   keeps alive, and are initialised: memory of a memfd or of `alloc_zeroed`.
        // - `self` is their only owner in this process (`Pages::new`), so that a mutable view comes
        //   from `&mut self` alone and can not exist beside this one.
        // - A memfd is mapped once in this process (`Sole`). That no other process writes to it, and
        //   nobody through its descriptor, can not be checked here: `Arena::file` and `Handed::attach`
        //   say so, as `FileMap` does of a mapped file.
        unsafe { core::slice::from_raw_parts(self.start(), self.count * PAGE_SIZE) }
    }
}

impl DerefMut for Pages {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; and `&mut self` of the only owner is exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.start(), self.count * PAGE_SIZE) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.inner.buddy.lock().free_run(self.page(), self.count);
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({})", self.run())
    }
}

/// 2^order pages of an arena, naturally aligned, owned: [`Pages`] that are a folio.
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, Order, PhysAddr};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let mut folio = arena.alloc_zeroed(Order::new(2).unwrap())?;
/// assert_eq!(folio.len(), 4 * 4096);
/// assert!(folio.addr().get().is_multiple_of(4 * 4096));
/// folio[0] = 1;
/// drop(folio); // back to the allocator
/// assert_eq!(arena.free_pages(), 2048);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Folio(Pages);

impl Folio {
    /// The pages `page..page + 2^order` of `inner`.
    ///
    /// # Safety
    ///
    /// As [`Pages::new`]; and `page` is aligned to the folio's size.
    pub(super) unsafe fn new(inner: Arc<Inner>, page: usize, order: Order) -> Self {
        // SAFETY: passed on.
        Self(unsafe { Pages::new(inner, page, 1 << order.get()) })
    }

    /// The first byte's address.
    #[must_use]
    #[inline]
    pub fn addr(&self) -> PhysAddr {
        self.0.addr()
    }

    /// The first page's number.
    #[must_use]
    pub fn pfn(&self) -> Pfn {
        self.0.addr().pfn()
    }

    /// log2 of its pages, 0 to 10.
    #[must_use]
    #[inline]
    pub fn order(&self) -> Order {
        let order = u8::try_from(self.0.count.trailing_zeros()).ok();
        order.and_then(Order::new).unwrap_or(Order::ZERO)
    }

    /// Its pages by number.
    #[must_use]
    pub fn run(&self) -> PageRun {
        self.0.run()
    }

    /// Gives it to the handover: see [`Pages::hand_over`].
    pub fn hand_over(self) {
        self.0.hand_over();
    }

    /// The arena it is of.
    #[must_use]
    pub fn arena(&self) -> super::Arena {
        self.0.arena()
    }
}

impl From<Folio> for Pages {
    fn from(folio: Folio) -> Self {
        folio.0
    }
}

impl Deref for Folio {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Folio {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for Folio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folio({}, order {})", self.addr(), self.order())
    }
}
