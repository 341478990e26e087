//! The headers of a kdump-compressed dump: where its bitmaps and descriptors lie.

use std::ops::Range;

use crate::dump::source::Source;
use crate::dump::vmcoreinfo::{LIMIT, VmcoreInfo};
use crate::dump::{field, kdump::MAGIC};
use crate::image::ImageError;

/// The last version of the headers that is known. Each one added fields to the one before.
const VERSION: u32 = 6;
/// Sizes of a block, which is a page of the kernel that wrote the dump.
const BLOCKS: [u32; 5] = [4096, 8192, 16384, 32768, 65536];
/// The most bytes of a bitmap: 2^36 pages, 256 TiB of those of 4 KiB.
const BITMAP: u64 = 8 << 30;
/// Bytes of the headers up to the last field that is read here.
const MAIN: usize = 464;
const SUB: usize = 104;
/// The flag of a dump whose disk was full before its end.
const INCOMPLETE: u32 = 8;

/// What the headers say.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) page_size: u32,
    /// One more than the last page's number.
    pub(crate) pages: u64,
    /// Where the bitmap of the pages that are memory lies, and that of those that are stored: one and the same in
    /// dumps of old writers.
    pub(crate) bitmaps: [u64; 2],
    /// Where the descriptors lie.
    pub(crate) descriptors: u64,
    /// Which kinds of pages were left out, as bits.
    pub(crate) level: Option<u32>,
    /// Whether the writer said that it could not write all.
    pub(crate) incomplete: bool,
    pub(crate) vmcoreinfo: Option<VmcoreInfo>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

fn damaged(what: &str, offset: u64, found: impl ToString, expected: impl ToString) -> ImageError {
    ImageError::damaged(
        format!("{what} of the kdump header"),
        offset,
        found,
        expected,
    )
}

impl Header {
    pub(crate) fn read(source: &Source) -> Result<Self, ImageError> {
        let mut main = [0; MAIN];
        let cut = |at, what: &str| {
            let found = format!("a file of {:#x} bytes", source.len());
            ImageError::damaged(format!("{what} is cut short"), at, found, "all of it")
        };
        source
            .read_at(0, &mut main)
            .map_err(|_| cut(0, "kdump header"))?;
        let version = u32_at(&main, MAGIC.len());
        if let Some(what) = other_layout(&main, version) {
            let advice = "a dump of a 64-bit little-endian machine".to_owned();
            return Err(ImageError::Foreign {
                found: what.to_owned(),
                advice,
            });
        }
        if version > VERSION {
            return Err(damaged("version", 8, version, format!("0 to {VERSION}")));
        }
        let page_size = u32_at(&main, 428);
        if !BLOCKS.contains(&page_size) {
            return Err(damaged(
                "block size",
                428,
                page_size,
                "a page of 4, 8, 16, 32 or 64 KiB",
            ));
        }
        let block = u64::from(page_size);
        let sub_blocks = u32_at(&main, 432);
        if sub_blocks == 0 || i32::try_from(sub_blocks).is_err() {
            return Err(damaged(
                "sub header size",
                432,
                sub_blocks,
                "at least a block",
            ));
        }
        let mut sub = [0; SUB];
        source
            .read_at(block, &mut sub)
            .map_err(|_| cut(block, "kdump sub header"))?;

        let since = |since: u32| version >= since;
        if since(2) && u32_at(&sub, 12) != 0 {
            let own = if since(6) { 80 } else { 16 };
            return Err(split(u64_at(&sub, own)..u64_at(&sub, own + 8)));
        }
        let (pages, pages_at) = match u64_at(&sub, 96) {
            pages if since(6) && pages > 0 => (pages, block + 96),
            _ => (u64::from(u32_at(&main, 440)), 440),
        };
        if pages == 0 || pages.div_ceil(8) > BITMAP {
            let expected = format!("1 to {} pages", BITMAP * 8);
            return Err(damaged("page count", pages_at, pages, expected));
        }
        let bitmap_blocks = u64::from(u32_at(&main, 436));
        let needed = pages.div_ceil(8).div_ceil(block);
        if bitmap_blocks < needed {
            let expected = format!("at least {needed} for {pages} pages");
            return Err(damaged(
                "number of bitmap blocks",
                436,
                bitmap_blocks,
                expected,
            ));
        }
        let first = (1 + u64::from(sub_blocks)) * block;
        let bitmaps = bitmap_blocks * block;
        let descriptors = first + bitmaps;
        if descriptors > source.len() {
            return Err(cut(first, "bitmap of the kdump dump"));
        }
        let second = if bitmap_blocks >= 2 * needed {
            first + bitmaps / 2
        } else {
            first
        };
        let (at, len) = (u64_at(&sub, 32), u64_at(&sub, 40));
        Ok(Self {
            page_size,
            pages,
            bitmaps: [first, second],
            descriptors,
            level: since(1).then(|| u32_at(&sub, 8)),
            incomplete: u32_at(&main, 424) & INCOMPLETE != 0,
            vmcoreinfo: since(3).then(|| vmcoreinfo(source, at, len)).flatten(),
        })
    }
}

/// What the file is if its header is laid out for another kind of machine.
fn other_layout(main: &[u8], version: u32) -> Option<&'static str> {
    if version > VERSION && version.swap_bytes() <= VERSION {
        return Some("a kdump-compressed dump of a big-endian machine");
    }
    // A time of 8 bytes in place of 16, which is not padded.
    let (wide, narrow) = (u32_at(main, 428), u32_at(main, 416));
    (!BLOCKS.contains(&wide) && BLOCKS.contains(&narrow))
        .then_some("a kdump-compressed dump of a 32-bit machine")
}

fn split(pages: Range<u64>) -> ImageError {
    ImageError::Foreign {
        found: format!(
            "one part of a dump that was split over several files (pages {:#x} to {:#x})",
            pages.start, pages.end
        ),
        advice: "put the parts together: makedumpfile --reassemble PART1 PART2 ... DUMP".to_owned(),
    }
}

/// The note at `at`. Nothing depends on it: one that can not be read is none.
fn vmcoreinfo(source: &Source, at: u64, len: u64) -> Option<VmcoreInfo> {
    if at == 0 || len == 0 || len > LIMIT || at.checked_add(len)? > source.len() {
        return None;
    }
    let mut text = vec![0; usize::try_from(len).ok()?];
    source.read_at(at, &mut text).ok()?;
    Some(VmcoreInfo::new(&text))
}
