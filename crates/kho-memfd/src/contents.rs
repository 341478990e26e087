//! A memfd's contents: pieces in file order.

use kho_mem::{Chunk, MemError, PhysMem, PhysRange};

use crate::{FolioEntry, Memfd};

/// A piece of a memfd's contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'m> {
    /// Bytes as they lie in memory.
    Data(&'m [u8]),
    /// This many zero bytes that lie nowhere: a hole, or memory that is stored as zero.
    Hole(u64),
}

impl Piece<'_> {
    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Hole(len) => *len,
        }
    }

    /// Whether the piece has no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Iterator over a memfd's contents in file order.
#[derive(Clone)]
pub struct Pieces<'r> {
    mem: &'r dyn PhysMem,
    folios: core::slice::Iter<'r, FolioEntry>,
    current: kho_mem::Pieces<'r>,
    // The next byte's offset in the file.
    offset: u64,
    size: u64,
}

pub(crate) fn pieces<'r>(memfd: &'r Memfd, mem: &'r dyn PhysMem) -> Pieces<'r> {
    Pieces {
        mem,
        folios: memfd.folios().iter(),
        current: kho_mem::pieces(mem, PhysRange::EMPTY),
        offset: 0,
        size: memfd.size(),
    }
}

impl<'r> Iterator for Pieces<'r> {
    type Item = Result<Piece<'r>, MemError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(chunk) = self.current.next() {
                let piece = match chunk {
                    Ok(Chunk::Bytes(bytes)) => Piece::Data(bytes),
                    Ok(Chunk::Zeros(len)) => Piece::Hole(len as u64),
                    Err(error) => {
                        // Nothing after an error.
                        self.offset = self.size;
                        self.folios = [].iter();
                        return Some(Err(error));
                    }
                };
                self.offset += piece.len();
                return Some(Ok(piece));
            }
            let left = self.size - self.offset;
            if left == 0 {
                return None;
            }
            // Each folio begins where the one before it ends: they were checked to.
            let Some(folio) = self.folios.next() else {
                self.offset = self.size;
                return Some(Ok(Piece::Hole(left)));
            };
            let len = left.min(folio.order.bytes().unwrap_or(left));
            let range = folio.addr.and_then(|addr| PhysRange::new(addr, len));
            match range {
                Some(range) => self.current = kho_mem::pieces(self.mem, range),
                None => {
                    self.offset += len;
                    return Some(Ok(Piece::Hole(len)));
                }
            }
        }
    }
}
