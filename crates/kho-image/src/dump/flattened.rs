//! The flattened form: a dump written to a pipe, as records that say where their bytes belong.
//!
//! `makedumpfile -F` writes it, and QEMU for its formats kdump-zlib, kdump-lzo and kdump-snappy. A head of 4096 bytes is followed by
//! records: offset and length as 64-bit big-endian numbers, then the bytes. A later record overwrites an
//! earlier one. A record of twice -1 ends them.

use std::collections::BTreeMap;

use crate::dump::field;
use crate::dump::source::Source;
use crate::image::{ImageError, Progress};

pub(crate) const MAGIC: &[u8] = b"makedumpfile\0\0\0\0";
/// Bytes before the first record.
const HEAD: u64 = 4096;
const RECORD: usize = 16;
const LIMIT: u64 = i64::MAX as u64;

/// Bytes of the dump that lie in the file in one piece.
#[derive(Clone, Copy, Debug)]
struct Extent {
    // Where in the dump.
    start: u64,
    len: u64,
    // Where in the file.
    at: u64,
}

impl Extent {
    const fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// Where the file has each byte of the dump.
#[derive(Debug)]
pub(crate) struct Index {
    // In order, not overlapping.
    extents: Vec<Extent>,
    cut_short: bool,
}

impl Index {
    /// Reads the records of `source`, which begins with [`MAGIC`]. One that is cut short counts as far as it goes.
    pub(crate) fn read(source: &Source, progress: &mut Progress<'_>) -> Result<Self, ImageError> {
        let numbers = |at: u64| {
            let mut bytes = [0; RECORD];
            source.read_at(at, &mut bytes).ok()?;
            let number = |at| i64::from_be_bytes(field(&bytes, at));
            Some((number(0), number(8)))
        };
        if let Some((kind, version)) = numbers(16)
            && (kind, version) != (1, 1)
        {
            return Err(ImageError::damaged(
                "flattened dump",
                16,
                format!("type {kind}, version {version}"),
                "type 1, version 1",
            ));
        }
        let mut extents = BTreeMap::new();
        let mut at = HEAD;
        let cut_short = loop {
            let Some((start, len)) = numbers(at) else {
                break true;
            };
            if (start, len) == (-1, -1) {
                break false;
            }
            let parts = (u64::try_from(start), u64::try_from(len));
            let (Ok(start), Ok(len @ 1..)) = parts else {
                return Err(Self::bad(at, start, len));
            };
            if start.checked_add(len).is_none_or(|end| end > LIMIT) {
                return Err(Self::bad(at, start, len));
            }
            let data = at + RECORD as u64;
            let have = len.min(source.len() - data);
            if have > 0 {
                let (len, at) = (have, data);
                put(&mut extents, Extent { start, len, at });
            }
            if have < len {
                break true;
            }
            at = data + len;
            if !progress(at, Some(source.len())) {
                return Err(ImageError::Interrupted);
            }
        };
        let extents = extents.into_values().collect();
        Ok(Self { extents, cut_short })
    }

    fn bad(at: u64, start: impl ToString, len: impl ToString) -> ImageError {
        let found = format!("{} bytes for offset {}", len.to_string(), start.to_string());
        let expected = "at least a byte of a file of less than 2^63 bytes";
        ImageError::damaged("record of the flattened dump", at, found, expected)
    }

    /// The dump's length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.extents.last().map_or(0, Extent::end)
    }

    /// Whether the last record is missing.
    pub(crate) const fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Where in the file the byte at `offset` lies, and how many bytes lie there; `None` in place of where for
    /// bytes that no record has.
    pub(crate) fn place(&self, offset: u64) -> Option<(Option<u64>, u64)> {
        let next = self
            .extents
            .partition_point(|extent| extent.end() <= offset);
        let extent = self.extents.get(next)?;
        Some(match offset.checked_sub(extent.start) {
            Some(into) => (Some(extent.at + into), extent.len - into),
            None => (None, extent.start - offset),
        })
    }
}

/// Puts `new` over what lies there.
fn put(extents: &mut BTreeMap<u64, Extent>, new: Extent) {
    let below = extents
        .range(..new.start)
        .next_back()
        .map(|(_, extent)| *extent);
    if let Some(below) = below.filter(|below| below.end() > new.start) {
        let len = new.start - below.start;
        extents.insert(below.start, Extent { len, ..below });
        keep_behind(extents, below, new.end());
    }
    while let Some((&start, &inner)) = extents.range(new.start..new.end()).next() {
        extents.remove(&start);
        keep_behind(extents, inner, new.end());
    }
    extents.insert(new.start, new);
}

/// What of `old` lies from `end` on stays.
fn keep_behind(extents: &mut BTreeMap<u64, Extent>, old: Extent, end: u64) {
    if old.end() > end {
        let cut = end - old.start;
        let rest = Extent {
            start: end,
            len: old.len - cut,
            at: old.at + cut,
        };
        extents.insert(end, rest);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)]
    use super::*;

    #[test]
    fn later_records_lie_over_earlier_ones() {
        // Every pair and some triples of short extents, against bytes painted one by one.
        let spans: Vec<(u64, u64)> = (0..6)
            .flat_map(|start| (1..=6 - start).map(move |len| (start, len)))
            .collect();
        for a in &spans {
            for b in &spans {
                for c in spans.iter().step_by(4) {
                    let mut map = BTreeMap::new();
                    let mut painted = [None; 6];
                    for (number, (start, len)) in [a, b, c].into_iter().enumerate() {
                        let at = 100 * (number as u64 + 1);
                        put(
                            &mut map,
                            Extent {
                                start: *start,
                                len: *len,
                                at,
                            },
                        );
                        for byte in 0..*len {
                            painted[usize::try_from(start + byte).unwrap()] = Some(at + byte);
                        }
                    }
                    let index = Index {
                        extents: map.into_values().collect(),
                        cut_short: false,
                    };
                    for (offset, expected) in painted.iter().enumerate() {
                        let found = index.place(offset as u64);
                        assert_eq!(
                            found.and_then(|(at, _)| at),
                            *expected,
                            "{a:?} {b:?} {c:?} {offset}"
                        );
                        if let Some((_, run)) = found {
                            assert!(run > 0 && offset as u64 + run <= index.len());
                        }
                    }
                }
            }
        }
    }
}
