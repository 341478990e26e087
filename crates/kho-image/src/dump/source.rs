//! The bytes of a dump's file: as they lie there, or put in order where the file is flattened.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use kho_mem::Chunk;

use crate::dump::flattened::Index;
use crate::image::Bytes;

/// The most bytes that are copied to have an ELF core's headers in one piece.
const HEAD: u64 = 16 << 20;

/// A file, uncompressed and in order.
#[derive(Debug)]
pub(crate) struct Source {
    bytes: Bytes,
    // Reads do not go through the mapping where the file itself can be asked: a page that is looked at once does
    // not stay resident, and a file that is cut short meanwhile is an error.
    file: Option<File>,
    index: Option<Index>,
}

impl Source {
    /// `file` is what `bytes` map, if they do.
    pub(crate) const fn new(bytes: Bytes, file: Option<File>) -> Self {
        Self {
            bytes,
            file,
            index: None,
        }
    }

    /// The same file, taken as the pieces of another one.
    pub(crate) fn flattened(self, index: Index) -> Self {
        Self {
            index: Some(index),
            ..self
        }
    }

    pub(crate) const fn is_flattened(&self) -> bool {
        self.index.is_some()
    }

    /// The file as it lies there.
    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn len(&self) -> u64 {
        match &self.index {
            Some(index) => index.len(),
            None => self.bytes.len() as u64,
        }
    }

    /// Where in the file the byte at `offset` lies, and how many bytes of it lie there; `None` in place of where
    /// for bytes that a flattened file leaves out.
    fn place(&self, offset: u64) -> Option<(Option<u64>, u64)> {
        match &self.index {
            Some(index) => index.place(offset),
            None => {
                let left = self.len().checked_sub(offset).filter(|left| *left > 0)?;
                Some((Some(offset), left))
            }
        }
    }

    /// Where in the file the byte at `offset` lies.
    pub(crate) fn locate(&self, offset: u64) -> Option<u64> {
        self.place(offset)?.0
    }

    /// The longest piece from `offset` on that lies in one place, of at most `len` bytes.
    pub(crate) fn piece(&self, offset: u64, len: usize) -> Option<Chunk<'_>> {
        let (at, left) = self.place(offset)?;
        let len = usize::try_from(left).map_or(len, |left| left.min(len));
        let Some(at) = at else {
            return Some(Chunk::Zeros(len));
        };
        let at = usize::try_from(at).ok()?;
        self.bytes.get(at..at.checked_add(len)?).map(Chunk::Bytes)
    }

    /// Copies the bytes at `offset` into `buf`.
    ///
    /// # Errors
    ///
    /// The file can not be read. What lies behind its end is [`io::ErrorKind::UnexpectedEof`].
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut offset = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (at, left) = self.place(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
            let len = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            let (part, behind) = rest.split_at_mut(len);
            match (at, &self.file) {
                (None, _) => part.fill(0),
                (Some(at), Some(file)) => file.read_exact_at(part, at)?,
                (Some(at), None) => {
                    let at = usize::try_from(at).map_err(io::Error::other)?;
                    let from = self.bytes.get(at..at.saturating_add(len));
                    part.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                }
            }
            offset += len as u64;
            rest = behind;
        }
        Ok(())
    }

    /// The file's beginning in one piece: all of it where that takes no copy.
    pub(crate) fn head(&self) -> Cow<'_, [u8]> {
        if self.index.is_none() {
            return Cow::Borrowed(self.bytes.get(0..self.bytes.len()).unwrap_or_default());
        }
        let len = usize::try_from(self.len().min(HEAD)).unwrap_or(0);
        let mut head = vec![0; len];
        // Every byte up to the length is there.
        if self.read_at(0, &mut head).is_err() {
            head.clear();
        }
        Cow::Owned(head)
    }
}
