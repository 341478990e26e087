//! A memfd over the folios of an arena.

use alloc::vec::Vec;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, Ordering};

use kho_core::Attached;
use kho_luo::Held;
use kho_mem::sync::{Mutex, MutexGuard};
use kho_mem::{
    Arena, Broken, Errno, Folio, MemError, Order, OutOfMemory, PAGE_SHIFT, PAGE_SIZE_U64, PhysAddr,
    PhysMemExt,
};

use crate::pages::{Phase, Run, Slot, State, index};
use crate::{Memfd, Seals};

/// What a memfd refuses. It is as it was then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A seal forbids it.
    #[error("the file is sealed against {0}")]
    Sealed(&'static str),
    /// It came with a handover that is not finished: it can be read, not written.
    #[error("the file came with a handover that is not finished yet: it can only be read")]
    NotFinished,
    /// It is preserved: its contents can change, its size and pages can not.
    #[error("the file is preserved for an update: its size and pages can not change")]
    Preserved,
    /// It is frozen for an update.
    #[error("the file is frozen for an update")]
    Frozen,
    /// It was handed over, and is no longer here.
    #[error("the file was handed over")]
    Gone,
    /// A file's largest offset is 2^63 - 1.
    #[error("offset {0:#x} is larger than a file's largest")]
    TooLarge(u64),
    /// Seals that are none.
    #[error("unknown seals {0:#x}")]
    UnknownSeals(Seals),
    /// The handover writes another version of vmalloc than a memfd's state of its version contains.
    #[error("memfd-v{memfd} contains vmalloc-v{contains}, and vmalloc-v{written} is to be written")]
    Versions {
        /// The version of memfd that is to be written.
        memfd: u32,
        /// The version of vmalloc that it contains.
        contains: u32,
        /// The version of vmalloc that is to be written.
        written: u32,
    },
    /// A folio that can not be put there.
    #[error("the folio can not be put there: {0}")]
    Misplaced(&'static str),
    /// No page is left.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Memory that was handed over is not there any more.
    #[error(transparent)]
    Memory(#[from] MemError),
    /// A page does not hold what is to be written to it.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl FileError {
    /// What a kernel returns in its place.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Sealed(_) | Self::Preserved | Self::Frozen => Errno::EPERM,
            Self::NotFinished => Errno::EBUSY,
            Self::Gone => Errno::EBADF,
            Self::TooLarge(_) => Errno::EFBIG,
            Self::UnknownSeals(_) | Self::Misplaced(_) | Self::Versions { .. } => Errno::EINVAL,
            Self::OutOfMemory(error) => error.errno(),
            Self::Memory(error) => error.errno(),
            Self::Broken(error) => error.errno(),
        }
    }
}

const MAX_SIZE: u64 = i64::MAX as u64;

/// A memfd whose pages are folios of an arena: sparse, readable and writable at any offset, with a
/// position and seals, as the real one.
///
/// Its life through an update: preserved (contents may change, size and pages may not), frozen
/// (nothing may), and on the other side readable at once and writable when the handover is
/// finished. Nothing is copied on the way.
///
/// Large writes are kept in large folios, up to 2 MiB.
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, PhysAddr};
/// use kho_memfd::MemFile;
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let file = MemFile::new(&arena);
/// file.write_at(10_000, b"far out")?;
/// assert_eq!((file.size(), arena.free_pages()), (10_007, 2047), "the rest is a hole");
/// let mut bytes = [1; 4];
/// file.read_at(9_998, &mut bytes)?;
/// assert_eq!(&bytes, b"\0\0fa");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MemFile {
    // Set while the file came with a handover that is not finished; looked at before `state` is
    // locked, as finishing does.
    held: Option<Held>,
    finished: AtomicBool,
    state: Mutex<State>,
}

/// A piece of a file's contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FilePiece<'a> {
    /// Bytes, as they lie in memory.
    Data(&'a [u8]),
    /// This many zeros that lie nowhere.
    Hole(u64),
}

impl MemFile {
    /// An empty file, whose pages will come from `arena`.
    #[must_use]
    pub fn new(arena: &Arena) -> Self {
        Self {
            held: None,
            finished: AtomicBool::new(true),
            state: Mutex::new(State::own(arena)),
        }
    }

    /// The file that `memfd` describes, in memory that is handed over.
    pub(crate) fn incoming(memfd: Memfd, held: &Held) -> Self {
        Self {
            held: Some(held.clone()),
            finished: AtomicBool::new(false),
            state: Mutex::new(State::incoming(memfd)),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The file, with the memory of the handover where its pages may still lie there.
    fn both(&self) -> (Option<impl Deref<Target = Attached>>, MutexGuard<'_, State>) {
        let held = self
            .held
            .as_ref()
            .filter(|_| !self.finished.load(Ordering::Acquire));
        (held.map(Held::read), self.lock())
    }

    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.lock().size
    }

    /// Position in bytes. It may lie past the end.
    #[must_use]
    pub fn pos(&self) -> u64 {
        self.lock().pos
    }

    /// Its seals.
    #[must_use]
    pub fn seals(&self) -> Seals {
        self.lock().seals
    }

    /// The folios: page offset in the file and order, in order.
    #[must_use]
    pub fn folios(&self) -> Vec<(u64, Order)> {
        let state = self.lock();
        let held = state.held.iter().filter(|folio| folio.addr.is_some());
        let held = held.map(|folio| (folio.index, folio.order));
        held.chain(
            state
                .slots
                .iter()
                .map(|(index, slot)| (*index, slot.order())),
        )
        .collect()
    }

    /// Reads at `offset`, without moving the position. Returns how many bytes that were: fewer than
    /// asked at the end of the file.
    ///
    /// # Errors
    ///
    /// The file was handed over.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, FileError> {
        let mut done = 0usize;
        self.for_each_piece(offset, buf.len() as u64, |piece| {
            let len = match piece {
                FilePiece::Data(bytes) => bytes.len(),
                // No longer than `buf`.
                FilePiece::Hole(len) => usize::try_from(len).unwrap_or(usize::MAX),
            };
            let Some(target) = buf.get_mut(done..done.saturating_add(len)) else {
                return;
            };
            match piece {
                FilePiece::Data(bytes) => target.copy_from_slice(bytes),
                FilePiece::Hole(_) => target.fill(0),
            }
            done += len;
        })?;
        Ok(done)
    }

    /// Looks at the contents of `len` bytes from `offset` on where they lie, piece by piece, in
    /// order. What is past the end is left out.
    ///
    /// `look` is called under the file's lock, and that of the handover where it came with one: it
    /// must not call this file, retrieve another, or finish, or it waits for itself.
    ///
    /// # Errors
    ///
    /// The file was handed over.
    pub fn for_each_piece(
        &self,
        offset: u64,
        len: u64,
        mut look: impl FnMut(FilePiece<'_>),
    ) -> Result<(), FileError> {
        let (held, state) = self.both();
        if state.phase == Phase::Gone {
            return Err(FileError::Gone);
        }
        let end = state.size.min(offset.saturating_add(len));
        let mut at = offset;
        while at < end {
            let (run, until) = state.run_at(at >> PAGE_SHIFT);
            let start = run.first() << PAGE_SHIFT;
            let until = end.min(until.saturating_mul(PAGE_SIZE_U64));
            let (from, to) = (index(at - start), index(until - start));
            match run {
                Run::Hole(_) => look(FilePiece::Hole(until - at)),
                Run::Slot(_, bytes) => {
                    look(FilePiece::Data(bytes.get(from..to).unwrap_or_default()));
                }
                Run::Held(_, addr) => {
                    let held = held.as_ref().ok_or(FileError::Gone)?;
                    let addr = PhysAddr::new(addr.get() + (at - start));
                    look(FilePiece::Data(&held.handed().bytes(addr, to - from)?));
                }
            }
            at = until;
        }
        Ok(())
    }

    /// Writes at `offset`, without moving the position; the file grows as it must. Returns how many
    /// bytes were written: fewer than given where memory runs out.
    ///
    /// # Errors
    ///
    /// A seal forbids it; the file's phase does (see [`FileError`]); no byte could be written for
    /// want of memory.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, FileError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut state = self.lock();
        let end = offset
            .checked_add(bytes.len() as u64)
            .filter(|end| *end <= MAX_SIZE);
        let end = end.ok_or(FileError::TooLarge(offset))?;
        match state.phase {
            Phase::Incoming => return Err(FileError::NotFinished),
            Phase::Frozen => return Err(FileError::Frozen),
            Phase::Gone => return Err(FileError::Gone),
            Phase::Own | Phase::Preserved => {}
        }
        if state.seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE) {
            return Err(FileError::Sealed("writing"));
        }
        if end > state.size && state.seals.intersects(Seals::GROW) {
            return Err(FileError::Sealed("growing"));
        }
        if state.phase == Phase::Preserved && (end > state.size || !state.is_backed(offset, end)) {
            return Err(FileError::Preserved);
        }
        let size = state.size;
        if offset > size {
            state.clear(size, offset)?;
        }
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match state.write(offset + done as u64, rest) {
                Ok(written) => done += written,
                Err(FileError::OutOfMemory(_)) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        state.size = state.size.max(offset + done as u64);
        Ok(done)
    }

    /// Sets the size. What is cut off is freed; what is added is a hole.
    ///
    /// # Errors
    ///
    /// A seal forbids it, or the file's phase does.
    pub fn truncate(&self, size: u64) -> Result<(), FileError> {
        let mut state = self.lock();
        state.may_resize()?;
        if size > MAX_SIZE {
            return Err(FileError::TooLarge(size));
        }
        if size < state.size {
            if state.seals.intersects(Seals::SHRINK) {
                return Err(FileError::Sealed("shrinking"));
            }
        } else if size > state.size && state.seals.intersects(Seals::GROW) {
            return Err(FileError::Sealed("growing"));
        }
        let old = state.size;
        state.clear(old.min(size), old.max(size))?;
        drop(state.slots.split_off(&size.div_ceil(PAGE_SIZE_U64)));
        state.size = size;
        Ok(())
    }

    /// Adds seals. There is no way to take one off.
    ///
    /// # Errors
    ///
    /// The file is sealed against more seals, they are none, or the file's phase forbids it.
    pub fn add_seals(&self, seals: impl Into<Seals>) -> Result<(), FileError> {
        let seals = seals.into();
        let mut state = self.lock();
        state.may_resize()?;
        if !seals.is_known() {
            return Err(FileError::UnknownSeals(seals));
        }
        if state.seals.intersects(Seals::SEAL) {
            return Err(FileError::Sealed("more seals"));
        }
        state.seals |= seals;
        Ok(())
    }

    /// Sets the position, which may lie past the end.
    ///
    /// # Errors
    ///
    /// It is larger than a file's largest offset, or the file is frozen.
    pub fn set_pos(&self, pos: u64) -> Result<(), FileError> {
        let mut state = self.lock();
        state.may_move()?;
        if pos > MAX_SIZE {
            return Err(FileError::TooLarge(pos));
        }
        state.pos = pos;
        Ok(())
    }

    /// Puts a folio of the caller's at page offset `index` of the file, which has none there; the
    /// file grows to its end. For contents that are already in the arena.
    ///
    /// # Errors
    ///
    /// The file's phase or a seal forbids it, the folio is of another arena, or the offset is not
    /// aligned to its size or has a folio already. The folio is freed then.
    pub fn insert(&self, index: u64, folio: Folio) -> Result<(), FileError> {
        let mut state = self.lock();
        state.may_resize()?;
        if state
            .seals
            .intersects(Seals::WRITE | Seals::FUTURE_WRITE | Seals::GROW)
        {
            return Err(FileError::Sealed("writing"));
        }
        let pages = folio.order().pages();
        let end = index
            .checked_add(pages)
            .and_then(|end| end.checked_mul(PAGE_SIZE_U64));
        let end = end
            .filter(|end| *end <= MAX_SIZE)
            .ok_or(FileError::TooLarge(index))?;
        if !state
            .arena
            .as_ref()
            .is_some_and(|arena| folio.arena().is(arena))
        {
            return Err(FileError::Misplaced("it is of another arena"));
        }
        let taken = (index..index + pages).any(|page| state.covering(page).is_some());
        if !index.is_multiple_of(pages) {
            return Err(FileError::Misplaced(
                "its offset is not aligned to its size",
            ));
        }
        if taken {
            return Err(FileError::Misplaced("there is one already"));
        }
        let size = state.size;
        if end > size {
            state.clear(size, end)?;
            state.size = end;
        }
        state.slots.insert(index, Slot::own(folio));
        Ok(())
    }
}
