//! LiME: ranges of memory one after the other, each with a header of 32 bytes that says its first and last address.

use kho_mem::{PhysAddr, PhysRange};

use crate::dump::field;
use crate::dump::source::Source;
use crate::image::{ImageError, Segment};

pub(crate) const MAGIC: &[u8] = b"EMiL";
const HEADER: usize = 32;

/// The ranges of `source`, checked and in order of address, and how many bytes are missing of the last one.
pub(crate) fn segments(source: &Source) -> Result<(Vec<Segment>, u64), ImageError> {
    let mut lacks = 0;
    let mut segments: Vec<Segment> = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let damaged = |found: String, expected| {
            let what = format!("LiME range {}", segments.len());
            Err(ImageError::damaged(what, at, found, expected))
        };
        let mut header = [0; HEADER];
        if source.read_at(at, &mut header).is_err() {
            return damaged("less than a header".to_owned(), "32 bytes");
        }
        let version = u32::from_le_bytes(field(&header, 4));
        if !header.starts_with(MAGIC) || version != 1 {
            let magic = header.get(..4).unwrap_or_default().escape_ascii();
            let found = format!("`{magic}`, version {version}");
            return damaged(found, "`EMiL`, version 1");
        }
        let (first, last) = (field(&header, 8), field(&header, 16));
        let (first, last) = (u64::from_le_bytes(first), u64::from_le_bytes(last));
        let len = last.checked_sub(first).and_then(|len| len.checked_add(1));
        let range = len.and_then(|len| PhysRange::new(PhysAddr::new(first), len));
        let Some(range) = range else {
            return damaged(
                format!("{first:#x} to {last:#x}"),
                "a last address above the first",
            );
        };
        let offset = at + HEADER as u64;
        let stored = range.len().min(source.len() - offset);
        lacks = range.len() - stored;
        segments.push(Segment {
            range,
            offset,
            stored,
            zeros: false,
        });
        at = offset + stored;
    }
    segments.sort_unstable_by_key(|segment| segment.range.start());
    for (one, two) in segments.iter().zip(segments.iter().skip(1)) {
        if one.range.overlaps(&two.range) {
            return Err(ImageError::damaged(
                "LiME ranges overlap",
                two.offset - HEADER as u64,
                format!("{} and {}", one.range, two.range),
                "ranges that do not share memory",
            ));
        }
    }
    Ok((segments, lacks))
}
