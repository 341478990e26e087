//! A memfd's contents: pieces in file order, and a reader over them.

use std::io;

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
    folios: std::slice::Iter<'r, FolioEntry>,
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

/// A memfd's contents as a stream.
pub struct Reader<'r> {
    pieces: Pieces<'r>,
    current: Option<Piece<'r>>,
}

impl<'r> Reader<'r> {
    pub(crate) const fn new(pieces: Pieces<'r>) -> Self {
        Self {
            pieces,
            current: None,
        }
    }
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match self.current.take() {
                Some(Piece::Data(bytes)) if !bytes.is_empty() => {
                    let len = bytes.len().min(buf.len());
                    let (head, tail) = bytes.split_at(len);
                    if let Some(target) = buf.get_mut(..len) {
                        target.copy_from_slice(head);
                    }
                    self.current = Some(Piece::Data(tail));
                    return Ok(len);
                }
                Some(Piece::Hole(hole)) if hole > 0 => {
                    let len = usize::try_from(hole).map_or(buf.len(), |hole| hole.min(buf.len()));
                    if let Some(target) = buf.get_mut(..len) {
                        target.fill(0);
                    }
                    self.current = Some(Piece::Hole(hole - len as u64));
                    return Ok(len);
                }
                _ => match self.pieces.next() {
                    None => return Ok(0),
                    Some(Ok(piece)) => self.current = Some(piece),
                    Some(Err(error)) => return Err(io::Error::other(error)),
                },
            }
        }
    }
}
