//! `std::io` for contents and files.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::{FileError, MemFile, MemfdPieces, Piece, RestoredMemfd};

/// A memfd's contents as a stream.
pub struct Reader<'r> {
    pieces: MemfdPieces<'r>,
    current: Option<Piece<'r>>,
}

impl<'r> Reader<'r> {
    const fn new(pieces: MemfdPieces<'r>) -> Self {
        Self {
            pieces,
            current: None,
        }
    }
}

impl Read for Reader<'_> {
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

impl RestoredMemfd<'_> {
    /// The contents as a stream. A folio is looked at when it is read, never held.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self.pieces())
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        let kind = match &error {
            FileError::Sealed(_) => io::ErrorKind::PermissionDenied,
            FileError::NotFinished | FileError::Preserved | FileError::Frozen => {
                io::ErrorKind::ResourceBusy
            }
            FileError::TooLarge(_) => io::ErrorKind::FileTooLarge,
            FileError::UnknownSeals(_) | FileError::Misplaced(_) => io::ErrorKind::InvalidInput,
            FileError::OutOfMemory(_) => io::ErrorKind::StorageFull,
            FileError::Gone
            | FileError::Memory(_)
            | FileError::Broken(_)
            | FileError::Versions { .. } => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl Read for &MemFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let pos = self.pos();
        let done = self.read_at(pos, buf)?;
        if done > 0 {
            self.set_pos(pos + done as u64)?;
        }
        Ok(done)
    }
}

impl Write for &MemFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let pos = self.pos();
        let done = self.write_at(pos, bytes)?;
        self.set_pos(pos + done as u64)?;
        Ok(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &MemFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(pos) => (pos, 0),
            SeekFrom::Current(by) => (self.pos(), by),
            SeekFrom::End(by) => (self.size(), by),
        };
        let pos = base.checked_add_signed(by);
        let pos = pos.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a position before the start")
        })?;
        self.set_pos(pos)?;
        Ok(pos)
    }
}
