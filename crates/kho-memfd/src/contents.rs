//! A memfd's contents: pieces in file order.

use kho_mem::{MemError, MemErrorKind, PhysMem, PhysRange, Piece};

use crate::{FolioEntry, Memfd};

/// Iterator over a memfd's contents in file order. An error is the last item, unless it is
/// [`MemErrorKind::NotStored`]: the contents go on behind its `len` bytes.
#[derive(Clone)]
pub struct MemfdPieces<'r> {
    mem: &'r dyn PhysMem,
    folios: core::slice::Iter<'r, FolioEntry>,
    current: kho_mem::Pieces<'r>,
    // The next byte's offset in the file.
    offset: u64,
    size: u64,
}

pub(crate) fn pieces<'r>(memfd: &'r Memfd, mem: &'r dyn PhysMem) -> MemfdPieces<'r> {
    MemfdPieces {
        mem,
        folios: memfd.folios().iter(),
        current: kho_mem::pieces(mem, PhysRange::EMPTY),
        offset: 0,
        size: memfd.size(),
    }
}

impl<'r> Iterator for MemfdPieces<'r> {
    type Item = Result<Piece<'r>, MemError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(chunk) = self.current.next() {
                let piece = match chunk {
                    Ok(chunk) => Piece::from(chunk),
                    Err(error) if error.kind == MemErrorKind::NotStored => {
                        self.offset += error.len;
                        return Some(Err(error));
                    }
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
            let range = folio.contents().and_then(|addr| PhysRange::new(addr, len));
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
