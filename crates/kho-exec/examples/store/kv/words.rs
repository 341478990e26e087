//! Numbers and bytes in files.

use kho_memfd::{FilePiece, MemFile};

use super::{KvError, Result, damaged};

/// A value, where it lies.
pub(crate) struct Value<'t> {
    pub(super) file: &'t MemFile,
    pub(super) at: u64,
    pub(super) len: u64,
}

impl Value<'_> {
    /// Bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Appends it to `out`.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) -> Result<()> {
        append(self.file, self.at, self.len, out)
    }
}

pub(super) const fn segment_of(place: u64) -> u64 {
    place >> 32
}

pub(super) const fn offset_of(place: u64) -> u64 {
    place & 0xffff_ffff
}

/// Numbers at `at` of `file`.
pub(super) fn read<const N: usize>(file: &MemFile, at: u64) -> Result<[u64; N]> {
    let (mut words, mut buffer) = ([0; N], [0; 64]);
    let bytes = buffer.get_mut(..N * 8).unwrap_or_default();
    if file.read_at(at, bytes)? < N * 8 {
        return Err(damaged("the end of a file", at, file.size()));
    }
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.try_into().map_or(0, u64::from_le_bytes);
    }
    Ok(words)
}

/// Writes numbers at `at` of `file`, which is that large.
pub(super) fn write<const N: usize>(file: &MemFile, at: u64, words: [u64; N]) -> Result<()> {
    let mut buffer = [0; 64];
    for (bytes, word) in buffer.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    put(file, at, buffer.get(..N * 8).unwrap_or_default())
}

/// Writes all of `bytes`, or fails.
pub(super) fn put(file: &MemFile, at: u64, bytes: &[u8]) -> Result<()> {
    if file.write_at(at, bytes)? < bytes.len() {
        return Err(KvError::Full);
    }
    Ok(())
}

pub(super) fn append(file: &MemFile, at: u64, len: u64, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    file.for_each_piece(at, len, |piece| match piece {
        FilePiece::Data(bytes) => out.extend_from_slice(bytes),
        FilePiece::Hole(zeros) => {
            // As long as what was asked for, which lies in a file of this process.
            let zeros = usize::try_from(zeros).unwrap_or(0);
            out.resize(out.len() + zeros, 0);
        }
    })?;
    if (out.len() - before) as u64 != len {
        out.truncate(before);
        return Err(damaged("the end of a file", at, file.size()));
    }
    Ok(())
}
