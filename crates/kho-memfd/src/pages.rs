//! The pages of a memfd: folios by their place in the file, and holes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use kho_core::PreservedFolio;
use kho_mem::{
    Arena, Broken, Folio, Order, OutOfMemory, PAGE_SHIFT, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr, put,
};

use crate::{FileError, FolioEntry, Memfd, Seals};

/// The largest folio of a file: 2 MiB, a huge page.
const MAX_ORDER: u8 = 9;

/// Where a file stands in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// It came with a handover that is not finished.
    Incoming,
    /// It is this process's own.
    Own,
    Preserved,
    Frozen,
    Gone,
}

/// The contents of a run of pages of the file.
#[derive(Debug)]
pub(crate) enum Slot {
    /// One that is not `used` is zeros, whatever lies in it.
    Own {
        folio: Folio,
        used: bool,
    },
    Preserved(PreservedFolio),
}

impl Slot {
    pub(crate) const fn own(folio: Folio) -> Self {
        Self::Own { folio, used: true }
    }

    pub(crate) fn order(&self) -> Order {
        match self {
            Self::Own { folio, .. } => folio.order(),
            Self::Preserved(folio) => folio.order(),
        }
    }

    /// Its contents; `None` where they are zeros that lie nowhere.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Own { folio, used } => used.then_some(folio),
            Self::Preserved(folio) => Some(folio),
        }
    }

    pub(crate) const fn is_preserved(&self) -> bool {
        matches!(self, Self::Preserved(_))
    }

    /// Its bytes, which are its contents from here on.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Own { folio, used } => {
                if !core::mem::replace(used, true) {
                    folio.fill(0);
                }
                folio
            }
            Self::Preserved(folio) => folio,
        }
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) arena: Option<Arena>,
    pub(crate) phase: Phase,
    pub(crate) size: u64,
    pub(crate) pos: u64,
    pub(crate) seals: Seals,
    // By the page offset in the file. They do not overlap; no one begins at or past the size.
    pub(crate) slots: BTreeMap<u64, Slot>,
    // Of a file that came with a handover that is not finished, instead of slots.
    pub(crate) held: Vec<FolioEntry>,
}

/// What holds a page of a file, with its first page.
pub(crate) enum Run<'s> {
    Hole(u64),
    Slot(u64, &'s [u8]),
    Held(u64, PhysAddr),
}

impl Run<'_> {
    pub(crate) const fn first(&self) -> u64 {
        match self {
            Self::Hole(first) | Self::Slot(first, _) | Self::Held(first, _) => *first,
        }
    }
}

/// An offset inside a folio.
pub(crate) fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl State {
    /// An empty file, whose pages will come from `arena`.
    pub(crate) fn own(arena: &Arena) -> Self {
        Self {
            arena: Some(arena.clone()),
            phase: Phase::Own,
            size: 0,
            pos: 0,
            seals: Seals::default(),
            slots: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    /// The file that `memfd` describes.
    pub(crate) fn incoming(memfd: Memfd) -> Self {
        Self {
            arena: None,
            phase: Phase::Incoming,
            size: memfd.size(),
            pos: memfd.pos(),
            seals: memfd.seals(),
            slots: BTreeMap::new(),
            held: memfd.into_folios(),
        }
    }

    pub(crate) fn may_move(&self) -> Result<(), FileError> {
        match self.phase {
            Phase::Frozen => Err(FileError::Frozen),
            Phase::Gone => Err(FileError::Gone),
            Phase::Incoming | Phase::Own | Phase::Preserved => Ok(()),
        }
    }

    pub(crate) fn may_resize(&self) -> Result<(), FileError> {
        match self.phase {
            Phase::Own => Ok(()),
            Phase::Incoming => Err(FileError::NotFinished),
            Phase::Preserved => Err(FileError::Preserved),
            Phase::Frozen => Err(FileError::Frozen),
            Phase::Gone => Err(FileError::Gone),
        }
    }

    /// What holds page `page`, and one past its last page.
    pub(crate) fn run_at(&self, page: u64) -> (Run<'_>, u64) {
        if let Some((first, slot)) = self.covering(page) {
            let run = slot
                .bytes()
                .map_or(Run::Hole(page), |bytes| Run::Slot(first, bytes));
            return (run, first + slot.order().pages());
        }
        // Folios that are held list every page of the file, one after the other.
        let behind = self.held.partition_point(|folio| folio.index <= page);
        let held = behind.checked_sub(1).and_then(|at| self.held.get(at));
        match held.filter(|folio| page < folio.end()) {
            Some(folio) => {
                let held = folio.contents().map(|addr| Run::Held(folio.index, addr));
                (held.unwrap_or(Run::Hole(page)), folio.end())
            }
            None => (Run::Hole(page), self.next_slot(page).unwrap_or(u64::MAX)),
        }
    }

    /// The slot that holds page `page`, with its first page.
    pub(crate) fn covering(&self, page: u64) -> Option<(u64, &Slot)> {
        let (first, slot) = self.slots.range(..=page).next_back()?;
        (page < first + slot.order().pages()).then_some((*first, slot))
    }

    /// The first slot behind page `page`.
    fn next_slot(&self, page: u64) -> Option<u64> {
        let behind = (Bound::Excluded(page), Bound::Unbounded);
        self.slots.range(behind).next().map(|(first, _)| *first)
    }

    /// Whether all bytes of `from..to` lie in slots.
    pub(crate) fn is_backed(&self, from: u64, to: u64) -> bool {
        let (mut page, end) = (from >> PAGE_SHIFT, to.div_ceil(PAGE_SIZE_U64));
        while page < end {
            match self.covering(page) {
                Some((first, slot)) => page = first + slot.order().pages(),
                None => return false,
            }
        }
        true
    }

    /// The bytes of the slot that holds page `page`, with its first byte's offset in the file.
    fn bytes_at(&mut self, page: u64) -> Option<(u64, &mut [u8])> {
        let (first, slot) = self.slots.range_mut(..=page).next_back()?;
        (page < first + slot.order().pages()).then(|| (first << PAGE_SHIFT, slot.bytes_mut()))
    }

    /// Zeroes the bytes of `from..to` that lie in the slot that holds `from` and begins before it: the tail of
    /// the last page, which is not part of the file before it grows.
    pub(crate) fn clear(&mut self, from: u64, to: u64) -> Result<(), Broken> {
        let slot = self.bytes_at(from >> PAGE_SHIFT);
        let Some((start, bytes)) = slot.filter(|(start, _)| *start < from) else {
            return Ok(());
        };
        let (from, found) = (index(from - start), bytes.len());
        let to = found.min(index(to - start));
        let tail = bytes.get_mut(from..to);
        tail.ok_or(Broken::new("bytes of a folio", from, found))?
            .fill(0);
        Ok(())
    }

    /// Writes the first bytes of `bytes` at `offset`: those that one folio holds.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<usize, FileError> {
        let page = offset >> PAGE_SHIFT;
        if let Some((start, room)) = self.bytes_at(page) {
            let (from, found) = (index(offset - start), room.len());
            // At least one byte: a folio without room for it is not where the page is.
            let len = bytes.len().min(found.saturating_sub(from)).max(1);
            let (now, _) = bytes.split_at(len);
            put(room, from, now, "bytes of a folio")?;
            return Ok(len);
        }
        let within = index(offset % PAGE_SIZE_U64);
        let mut folio = self.alloc(page, within + bytes.len())?;
        let (now, _) = bytes.split_at(bytes.len().min(folio.len() - within));
        put(&mut folio, within, now, "bytes of a folio")?;
        // An allocated folio holds what was there before.
        let (head, rest) = folio.split_at_mut(within);
        let (_, tail) = rest.split_at_mut(now.len());
        head.fill(0);
        tail.fill(0);
        self.slots.insert(page, Slot::own(folio));
        Ok(now.len())
    }

    /// The largest folio that the first `len` bytes of page `page` fill, as aligned as the page; a smaller one
    /// where memory has no such folio left.
    fn alloc(&self, page: u64, len: usize) -> Result<Folio, OutOfMemory> {
        let wanted = (len / PAGE_SIZE).max(1);
        let room = self.next_slot(page).map_or(u64::MAX, |next| next - page);
        let aligned = if page == 0 {
            u32::MAX
        } else {
            page.trailing_zeros()
        };
        let most = u32::from(MAX_ORDER)
            .min(room.ilog2())
            .min(wanted.ilog2())
            .min(aligned);
        let mut order = u8::try_from(most)
            .ok()
            .and_then(Order::new)
            .unwrap_or(Order::ZERO);
        let arena = self.arena.as_ref().ok_or(OutOfMemory { pages: 1 })?;
        loop {
            match arena.alloc(order) {
                Ok(folio) => return Ok(folio),
                Err(error) => match order.get().checked_sub(1).and_then(Order::new) {
                    Some(less) => order = less,
                    None => return Err(error),
                },
            }
        }
    }
}
