//! Packed bytes, which can be looked at before they are taken.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

/// Bytes that are read at a time.
const STEP: usize = 128 << 10;

pub(crate) struct Source<'d> {
    inner: Box<dyn Read + 'd>,
    // What was read and not taken lies at `at..end`.
    buf: Vec<u8>,
    at: usize,
    end: usize,
    // Bytes that were taken.
    taken: Rc<Cell<u64>>,
}

impl<'d> Source<'d> {
    pub(super) fn new(inner: impl Read + 'd, taken: Rc<Cell<u64>>) -> Self {
        Self {
            inner: Box::new(inner),
            buf: Vec::new(),
            at: 0,
            end: 0,
            taken,
        }
    }

    /// As [`Source::new`], where nobody else counts.
    pub(crate) fn of(inner: impl Read + 'd) -> Self {
        Self::new(inner, Rc::default())
    }

    /// Bytes that were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.get()
    }

    fn rest(&self) -> &[u8] {
        self.buf.get(self.at..self.end).unwrap_or_default()
    }

    /// The next `len` bytes, or as many as there are.
    pub(crate) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        while self.rest().len() < len && self.more()? {}
        Ok(self.rest().get(..len).unwrap_or(self.rest()))
    }

    /// Reads more into the buffer; whether there was more.
    fn more(&mut self) -> io::Result<bool> {
        if self.at > 0 {
            self.buf.copy_within(self.at..self.end, 0);
            self.end -= self.at;
            self.at = 0;
        }
        if self.end == self.buf.len() {
            self.buf.resize(self.end + STEP, 0);
        }
        loop {
            let room = self.buf.get_mut(self.end..).unwrap_or_default();
            match self.inner.read(room) {
                Ok(len) => {
                    self.end += len;
                    return Ok(len > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes `len` bytes and drops them.
    pub(super) fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let there = self.fill_buf()?.len();
            if there == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = usize::try_from(len).map_or(there, |len| len.min(there));
            self.consume(step);
            len -= step as u64;
        }
        Ok(())
    }

    /// Appends `len` bytes to `out`, which grows with what is there.
    pub(super) fn append(&mut self, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match self.take(len as u64).read_to_end(out)? == len {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Puts `bytes` back, which were taken last.
    pub(super) fn give_back(&mut self, bytes: Vec<u8>) {
        self.taken.set(self.taken.get() - bytes.len() as u64);
        self.end = self.end - self.at + bytes.len();
        self.buf.splice(..self.at, bytes);
        self.at = 0;
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(buf)?;
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() {
            self.more()?;
        }
        Ok(self.rest())
    }

    fn consume(&mut self, len: usize) {
        self.at = self.end.min(self.at + len);
        self.taken.set(self.taken.get() + len as u64);
    }
}
