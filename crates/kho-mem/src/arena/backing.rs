//! What an arena's pages are made of: a mapped memfd, or the heap.
#![allow(unsafe_code)]

use core::ptr::NonNull;

use alloc::alloc::{Layout, alloc_zeroed, dealloc};

use crate::PAGE_SIZE;

/// Bytes that are mapped, or allocated, once, and live until they are dropped. Nothing here says
/// who may touch which of them: see [`super::Inner`].
#[derive(Debug)]
pub(crate) enum Backing {
    /// A shared mapping of a memfd.
    #[cfg(feature = "std")]
    Mapped {
        map: memmap2::MmapRaw,
        file: std::fs::File,
        huge: super::HugePages,
        // Last, so that the mapping is gone when another may be made.
        #[allow(dead_code)]
        sole: super::memfd::Sole,
    },
    /// Page-aligned zeroed memory of this process alone.
    Heap(Heap),
    /// The same, from the system: a page is there once it is touched.
    #[cfg(feature = "std")]
    Anonymous(memmap2::MmapRaw),
}

/// An allocation of the global allocator.
#[derive(Debug)]
pub(crate) struct Heap {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY:
// - `Heap` is the sole owner of its allocation, and hands the pointer out to `Inner` alone, which
//   gives each page to one owner at a time.
// - The global allocator takes memory back from any thread.
unsafe impl Send for Heap {}
// SAFETY: a shared `Heap` gives its address and length and nothing else.
unsafe impl Sync for Heap {}

impl Heap {
    /// `len` zeroed bytes; `None` where there are not that many. `len` is not 0.
    pub(crate) fn new(len: usize) -> Option<Self> {
        let layout = Layout::from_size_align(len, PAGE_SIZE).ok()?;
        if layout.size() == 0 {
            return None;
        }
        // SAFETY: the layout's size is not zero, as just checked, which is all that is asked.
        let start = unsafe { alloc_zeroed(layout) };
        NonNull::new(start).map(|start| Self { start, layout })
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY:
        // - `start` came from `alloc_zeroed` with this very layout, and nothing else frees it.
        // - No view is left: views borrow from owners that keep `Inner`, and with it this, alive.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Backing {
    /// `len` zeroed bytes of this process alone; `None` where there are not that many. `len` is not 0.
    ///
    /// From the system where there is one: nothing is touched that is not used, and huge pages are asked
    /// for, since a tracker's nodes are used in no order, and small pages of them are more than a
    /// processor keeps translations of.
    pub(crate) fn own(len: usize) -> Option<Self> {
        // Miri knows the global allocator better.
        #[cfg(all(feature = "std", not(miri)))]
        if let Ok(map) = memmap2::MmapMut::map_anon(len) {
            let map = memmap2::MmapRaw::from(map);
            // Where the system has none, small ones do.
            let _ = map.advise(memmap2::Advice::HugePage);
            return Some(Self::Anonymous(map));
        }
        Heap::new(len).map(Self::Heap)
    }

    /// The first byte. Valid for reads and writes of [`Backing::len`] bytes, which are
    /// initialised, until `self` is dropped.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        match self {
            #[cfg(feature = "std")]
            Self::Mapped { map, .. } => map.as_mut_ptr(),
            Self::Heap(heap) => heap.start.as_ptr(),
            #[cfg(feature = "std")]
            Self::Anonymous(map) => map.as_mut_ptr(),
        }
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            #[cfg(feature = "std")]
            Self::Mapped { map, .. } => map.len(),
            Self::Heap(heap) => heap.layout.size(),
            #[cfg(feature = "std")]
            Self::Anonymous(map) => map.len(),
        }
    }
}
