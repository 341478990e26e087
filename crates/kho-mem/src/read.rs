//! Checked reads of physical memory.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use zerocopy::FromBytes;

use crate::{Damage, Link, Located, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr, PhysRange};

/// An access to memory that is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct MemError {
    /// The first byte asked for.
    pub addr: PhysAddr,
    /// How many bytes were asked for.
    pub len: u64,
    /// Why they can not be had.
    pub kind: MemErrorKind,
}

/// Why an access failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemErrorKind {
    /// A part of the range is not in this memory.
    Outside,
    /// The range leaves the 64-bit address space.
    Wraps,
    /// The memory is there, and the dump does not store what it holds: it was filtered out when the dump was
    /// written, or the dump is cut short.
    NotStored,
    /// What stores the memory is itself damaged or can not be read: the memory knows more of it than fits here
    /// (`kho_image::Image::take_fault`).
    Unreadable,
}

impl MemError {
    fn text(&self) -> String {
        let end = u128::from(self.addr.get()) + u128::from(self.len);
        match self.kind {
            MemErrorKind::Outside => {
                alloc::format!("{}..{end:#x} is outside this memory", self.addr)
            }
            MemErrorKind::NotStored => {
                alloc::format!("{}..{end:#x} is not stored in this dump", self.addr)
            }
            MemErrorKind::Unreadable => {
                alloc::format!("{}..{end:#x} can not be read from this dump", self.addr)
            }
            MemErrorKind::Wraps => {
                alloc::format!(
                    "{} bytes at {} leave the address space",
                    self.len,
                    self.addr
                )
            }
        }
    }
}

/// A piece of memory as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chunk<'m> {
    /// Stored bytes.
    Bytes(&'m [u8]),
    /// This many zero bytes that are stored nowhere (the tail of an ELF segment).
    Zeros(usize),
}

impl Chunk<'_> {
    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Zeros(len) => *len,
        }
    }

    /// Whether the piece has no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Read-only physical memory: a dump, a guest's memory, an arena.
///
/// Two methods are all there is to implement; [`PhysMemExt`] adds typed reads over them. Memory
/// may have holes. Every access is bounds-checked and fails with the address.
pub trait PhysMem: Send + Sync {
    /// The longest piece of memory that starts at `addr`, is stored in one place, and is at most
    /// `len` bytes long. Never empty unless `len` is 0.
    ///
    /// # Errors
    ///
    /// `addr` is not in this memory, or what it holds is not stored ([`MemErrorKind::NotStored`]). The error's
    /// `len` is then how many bytes from `addr` on are not stored: at least 1, at most `len`.
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError>;

    /// How many bytes from `addr` on are stored, of at most `len`: as [`PhysMem::chunk`], for whoever does not look at
    /// them. Memory that is packed is not unpacked for it.
    ///
    /// # Errors
    ///
    /// As [`PhysMem::chunk`].
    fn extent(&self, addr: PhysAddr, len: usize) -> Result<usize, MemError> {
        self.chunk(addr, len).map(|chunk| chunk.len())
    }

    /// The first region of memory that ends above `from`: the one that holds `from`, or the next
    /// one. Regions do not overlap; two of them may touch. Memory whose contents are not stored belongs to a
    /// region as well.
    fn region(&self, from: PhysAddr) -> Option<PhysRange>;

    /// Shows all of memory to `look`, piece by piece in order of address, until it returns false. Returns whether
    /// it never did. A frame of 4 KiB is shown whole, but where a region begins or ends in it. What
    /// is zero, not stored or unreadable is shown as [`Chunk::Zeros`].
    ///
    /// The pieces are for looking through memory once: they need not be kept, so that memory which is unpacked
    /// as it is read does so into one bounded buffer.
    fn sweep(&self, look: &mut dyn FnMut(PhysAddr, Chunk<'_>) -> bool) -> bool {
        sweep(self, look)
    }
}

/// Bytes that are looked at in one go.
const SWEEP: u64 = 4 << 20;

/// [`PhysMem::sweep`] for memory whose pieces are views anyway.
pub fn sweep<M: PhysMem + ?Sized>(
    mem: &M,
    look: &mut dyn FnMut(PhysAddr, Chunk<'_>) -> bool,
) -> bool {
    let is_missing = |error: &MemError| {
        matches!(
            error.kind,
            MemErrorKind::NotStored | MemErrorKind::Unreadable
        )
    };
    let mut frame = [0; PAGE_SIZE];
    let mut next = Some(PhysAddr::NULL);
    while let Some(region) = next.and_then(|from| mem.region(from)) {
        next = u64::try_from(region.end()).ok().map(PhysAddr::new);
        let mut at = region.start();
        let mut left = region.len();
        while left > 0 {
            // Pieces end at multiples of the step, so that frames stay whole.
            let step = left.min(SWEEP - at.get() % SWEEP);
            let chunk = match mem.chunk(at, usize::try_from(step).unwrap_or(usize::MAX)) {
                // Nothing stands in zeros: on to the end of them.
                Ok(Chunk::Zeros(_)) => {
                    let rest = usize::try_from(left).unwrap_or(usize::MAX);
                    mem.chunk(at, rest).unwrap_or(Chunk::Zeros(rest))
                }
                Ok(Chunk::Bytes(bytes)) => {
                    let over = at.get().wrapping_add(bytes.len() as u64) % PAGE_SIZE_U64;
                    let over = usize::try_from(over).unwrap_or(0);
                    if over == 0 || bytes.len() as u64 == step {
                        Chunk::Bytes(bytes)
                    } else if let Some(whole) = bytes.len().checked_sub(over).filter(|len| *len > 0)
                    {
                        Chunk::Bytes(bytes.get(..whole).unwrap_or(bytes))
                    } else {
                        // A frame that lies in pieces.
                        let len = (PAGE_SIZE_U64 - at.get() % PAGE_SIZE_U64).min(left);
                        let len = usize::try_from(len).unwrap_or(PAGE_SIZE);
                        let copied = frame.get_mut(..len).map(|frame| mem.copy_to(at, frame));
                        match frame.get(..len) {
                            Some(frame) if copied == Some(Ok(())) => Chunk::Bytes(frame),
                            _ => Chunk::Zeros(len),
                        }
                    }
                }
                // On to the end of what is missing.
                Err(error) if is_missing(&error) => {
                    let rest = usize::try_from(left).unwrap_or(usize::MAX);
                    let missing = mem.chunk(at, rest).err().filter(is_missing);
                    let len = missing.unwrap_or(error).len.clamp(1, left);
                    Chunk::Zeros(usize::try_from(len).unwrap_or(usize::MAX))
                }
                Err(_) => break,
            };
            if !look(at, chunk) {
                return false;
            }
            left -= chunk.len() as u64;
            at = PhysAddr::new(at.get().wrapping_add(chunk.len() as u64));
        }
    }
    true
}

/// Whether all of `range` is in `mem`. O(regions in the range).
#[must_use]
pub fn is_backed(mem: &(impl PhysMem + ?Sized), range: PhysRange) -> bool {
    let mut at = u128::from(range.start().get());
    while at < range.end() {
        let Ok(addr) = u64::try_from(at) else {
            return false;
        };
        match mem.region(PhysAddr::new(addr)) {
            Some(region) if region.contains(PhysAddr::new(addr)) => at = region.end(),
            _ => return false,
        }
    }
    true
}

/// What `mem` does not store of `range`: offset in the range and bytes of each part, in order, apart. No contents are
/// read.
///
/// # Errors
///
/// A part of the range is not in `mem`.
pub fn not_stored(mem: &dyn PhysMem, range: PhysRange) -> Result<Vec<(u64, u64)>, MemError> {
    let (mut out, mut offset): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
    while let Some(left) = range.len().checked_sub(offset).filter(|left| *left > 0) {
        let addr = PhysAddr::new(range.start().get() + offset);
        match mem.extent(addr, usize::try_from(left).unwrap_or(usize::MAX)) {
            Ok(len) => offset += (len as u64).max(1),
            Err(error) if error.kind == MemErrorKind::NotStored => {
                let len = error.len.clamp(1, left);
                match out.last_mut() {
                    Some((start, before)) if *start + *before == offset => *before += len,
                    _ => out.push((offset, len)),
                }
                offset += len;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(out)
}

/// The bytes of a range in order, in the pieces they are stored in: see [`pieces`].
#[derive(Clone)]
pub struct Pieces<'m> {
    mem: &'m dyn PhysMem,
    next: PhysAddr,
    left: u64,
}

/// The bytes of `range` in order: views, not copies. An error is the last item, unless it is
/// [`MemErrorKind::NotStored`]: after that follows what is stored behind its `len` bytes.
#[must_use]
pub fn pieces(mem: &dyn PhysMem, range: PhysRange) -> Pieces<'_> {
    Pieces {
        mem,
        next: range.start(),
        left: range.len(),
    }
}

impl<'m> Iterator for Pieces<'m> {
    type Item = Result<Chunk<'m>, MemError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let asked = usize::try_from(self.left).unwrap_or(usize::MAX);
        let chunk = self.mem.chunk(self.next, asked);
        match &chunk {
            Ok(chunk) => {
                let len = chunk.len() as u64;
                // The last piece may end at the top of the address space.
                self.next = PhysAddr::new(self.next.get().wrapping_add(len));
                self.left -= len;
            }
            Err(error) if error.kind == MemErrorKind::NotStored => {
                let len = error.len.clamp(1, self.left);
                self.next = PhysAddr::new(self.next.get().wrapping_add(len));
                self.left -= len;
            }
            Err(_) => self.left = 0,
        }
        Some(chunk)
    }
}

static ZERO_PAGE: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Typed reads over any [`PhysMem`].
pub trait PhysMemExt: PhysMem {
    /// `len` bytes at `addr`: a view where they are stored in one piece, a copy otherwise.
    ///
    /// # Errors
    ///
    /// A part of the range is not in this memory. Nothing is allocated before that is known.
    fn bytes(&self, addr: PhysAddr, len: usize) -> Result<Cow<'_, [u8]>, MemError> {
        let outside = |kind| MemError {
            addr,
            len: len as u64,
            kind,
        };
        let Some(range) = PhysRange::new(addr, len as u64) else {
            return Err(outside(MemErrorKind::Wraps));
        };
        match self.chunk(addr, len).map_err(|error| outside(error.kind))? {
            Chunk::Bytes(bytes) if bytes.len() == len => return Ok(Cow::Borrowed(bytes)),
            Chunk::Zeros(n) if n == len => {
                if let Some(zeros) = ZERO_PAGE.get(..len) {
                    return Ok(Cow::Borrowed(zeros));
                }
            }
            _ => {}
        }
        if !is_backed(self, range) {
            return Err(outside(MemErrorKind::Outside));
        }
        let mut out = vec![0; len];
        self.copy_to(addr, &mut out)?;
        Ok(Cow::Owned(out))
    }

    /// Copies memory at `addr` into `buf`.
    ///
    /// # Errors
    ///
    /// A part of the range is not in this memory; `buf` is then undefined.
    fn copy_to(&self, addr: PhysAddr, buf: &mut [u8]) -> Result<(), MemError> {
        let len = buf.len() as u64;
        let mut rest = buf;
        let mut at = addr;
        while !rest.is_empty() {
            let chunk =
                self.chunk(at, rest.len())
                    .map_err(|error| MemError { addr, len, ..error })?;
            let (head, tail) = rest.split_at_mut(chunk.len());
            match chunk {
                Chunk::Bytes(bytes) => head.copy_from_slice(bytes),
                Chunk::Zeros(_) => head.fill(0),
            }
            rest = tail;
            if rest.is_empty() {
                break;
            }
            at = at.checked_add(head.len() as u64).ok_or(MemError {
                addr,
                len,
                kind: MemErrorKind::Wraps,
            })?;
        }
        Ok(())
    }

    /// The value of type `T` at `addr`, by copy; no alignment is asked of the address.
    ///
    /// # Errors
    ///
    /// A part of the value is not in this memory.
    fn read<T: FromBytes>(&self, addr: PhysAddr) -> Result<T, MemError> {
        let bytes = self.bytes(addr, size_of::<T>())?;
        T::read_from_bytes(&bytes).map_err(|_| MemError {
            addr,
            len: size_of::<T>() as u64,
            kind: MemErrorKind::Outside,
        })
    }

    /// The value of type `T` that `link` points to.
    ///
    /// # Errors
    ///
    /// A part of the value is not in this memory: damage of the link.
    #[inline]
    fn follow<T: FromBytes>(&self, link: Link) -> Result<Located<T>, Damage> {
        match self.read(link.to) {
            Ok(value) => Ok(Located::new(value, link.to)),
            Err(error) => Err(error.damage(link.name, link.at)),
        }
    }

    /// The page at `addr`, as a view where it is stored in one piece.
    ///
    /// # Errors
    ///
    /// A part of the page is not in this memory.
    fn page(&self, addr: PhysAddr) -> Result<Cow<'_, [u8]>, MemError> {
        self.bytes(addr, PAGE_SIZE)
    }
}

impl<M: PhysMem + ?Sized> PhysMemExt for M {}
