//! A piece of a file's contents.

use crate::Chunk;

/// A piece of a file's contents.
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

impl<'m> From<Chunk<'m>> for Piece<'m> {
    fn from(chunk: Chunk<'m>) -> Self {
        match chunk {
            Chunk::Bytes(bytes) => Self::Data(bytes),
            Chunk::Zeros(len) => Self::Hole(len as u64),
        }
    }
}
