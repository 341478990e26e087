//! Memory in the forms that tools write dumps in.

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Range;

use crate::Memory;

/// How pages are packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packed {
    /// Not at all.
    Plain,
    /// `makedumpfile -c`.
    Zlib,
    /// `makedumpfile -l`.
    Lzo,
    /// `makedumpfile -p`.
    Snappy,
    /// `makedumpfile -z`.
    Zstd,
}

impl Packed {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Plain, Self::Zlib, Self::Lzo, Self::Snappy, Self::Zstd];

    /// The page as it is stored, and the flags of its descriptor. One that does not become shorter stays as it is.
    fn pack(self, page: &[u8]) -> (Vec<u8>, u32) {
        let (packed, flags) = match self {
            Self::Plain => (page.to_vec(), 0),
            Self::Zlib => {
                let mut out =
                    flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(page).expect("a Vec");
                (out.finish().expect("a Vec"), 1)
            }
            Self::Lzo => (lzokay::compress::compress(page).expect("a page"), 2),
            Self::Snappy => (
                snap::raw::Encoder::new()
                    .compress_vec(page)
                    .expect("a page"),
                4,
            ),
            Self::Zstd => (zstd::bulk::compress(page, 1).expect("a page"), 0x20),
        };
        if packed.len() < page.len() {
            (packed, flags)
        } else {
            (page.to_vec(), 0)
        }
    }
}

/// A kdump-compressed dump to be written.
#[derive(Clone, Debug)]
pub struct Kdump {
    /// How its pages are packed.
    pub packed: Packed,
    /// Bytes of a page.
    pub page_size: u32,
    /// The version of its headers.
    pub version: u32,
    /// What it says of how it was filtered.
    pub level: u32,
    /// Addresses of pages that are filtered out.
    pub excluded: BTreeSet<u64>,
    /// The note about the kernel.
    pub vmcoreinfo: Option<String>,
    /// The pages of this part, if the dump is split.
    pub split: Option<Range<u64>>,
    /// Whether there is but one bitmap, of stored pages.
    pub one_bitmap: bool,
}

impl Default for Kdump {
    /// Version 6, pages of 4 KiB by zlib, nothing filtered, no note.
    fn default() -> Self {
        Self {
            packed: Packed::Zlib,
            page_size: 4096,
            version: 6,
            level: 0,
            excluded: BTreeSet::new(),
            vmcoreinfo: None,
            split: None,
            one_bitmap: false,
        }
    }
}

/// A kdump-compressed dump, and where in it things lie.
#[derive(Clone, Debug)]
pub struct Laid {
    /// The file.
    pub bytes: Vec<u8>,
    /// The sub header.
    pub sub: usize,
    /// The two bitmaps.
    pub bitmaps: [usize; 2],
    /// The descriptors, 24 bytes each.
    pub descriptors: usize,
    /// What lies behind them.
    pub data: usize,
}

impl Laid {
    /// Sets bytes of the file.
    pub fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn bit(map: &mut [u8], page: u64) {
    map[page as usize / 8] |= 1 << (page % 8);
}

impl Kdump {
    /// Writes `memory`. A page is there if a part of it is.
    pub fn write(&self, memory: &Memory) -> Laid {
        let size = u64::from(self.page_size);
        let block = self.page_size as usize;
        let runs = memory.runs();
        let pages: BTreeSet<u64> = runs
            .iter()
            .flat_map(|(pa, len)| pa / size..(pa + len).div_ceil(size))
            .collect();
        let end = pages.last().map_or(0, |last| last + 1);
        let bitmap = (end as usize).div_ceil(8).next_multiple_of(block);
        let mut maps = [vec![0; bitmap], vec![0; bitmap]];
        let (mut table, mut data) = (Vec::new(), Vec::new());
        let of_part = |page: &u64| self.split.as_ref().is_none_or(|part| part.contains(page));
        let stored: Vec<u64> = pages
            .iter()
            .copied()
            .filter(|page| !self.excluded.contains(&(page * size)))
            .collect();
        let note = self.vmcoreinfo.as_deref().unwrap_or_default();
        let count = stored.iter().filter(|page| of_part(page)).count();
        let sub = block;
        let bitmaps = [
            2 * block,
            2 * block + if self.one_bitmap { 0 } else { bitmap },
        ];
        let descriptors = bitmaps[1] + bitmap;
        let data_at = descriptors + 24 * count;
        let mut zero: Option<[u8; 24]> = None;
        pages.iter().for_each(|page| bit(&mut maps[0], *page));
        for page in &stored {
            bit(&mut maps[1], *page);
            if !of_part(page) {
                continue;
            }
            let bytes = memory.padded(page * size, block);
            let is_zero = bytes.iter().all(|byte| *byte == 0);
            if let Some(zero) = zero.filter(|_| is_zero) {
                table.extend(zero);
                continue;
            }
            let (packed, flags) = self.packed.pack(&bytes);
            let mut descriptor = [0; 24];
            descriptor[..8].copy_from_slice(&((data_at + data.len()) as u64).to_le_bytes());
            descriptor[8..12].copy_from_slice(&(packed.len() as u32).to_le_bytes());
            descriptor[12..16].copy_from_slice(&flags.to_le_bytes());
            data.extend(packed);
            table.extend(descriptor);
            if is_zero {
                zero = Some(descriptor);
            }
        }
        let mut head = vec![0; 2 * block];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"KDUMP   ");
        let blocks = (descriptors - 2 * block) / block;
        let words = [
            (8, self.version),
            (428, self.page_size),
            (432, 1),
            (436, blocks as u32),
            (440, end.min(u64::from(u32::MAX)) as u32),
        ];
        words
            .iter()
            .for_each(|(at, value)| put(*at, &value.to_le_bytes()));
        if self.version >= 1 {
            put(sub + 8, &self.level.to_le_bytes());
        }
        if let Some(part) = &self.split {
            put(sub + 12, &1u32.to_le_bytes());
            for at in [16, 80] {
                put(sub + at, &part.start.to_le_bytes());
                put(sub + at + 8, &part.end.to_le_bytes());
            }
        }
        if !note.is_empty() {
            // Behind the sub header, in its block.
            put(sub + 32, &((sub + 512) as u64).to_le_bytes());
            put(sub + 40, &(note.len() as u64).to_le_bytes());
            put(sub + 512, note.as_bytes());
        }
        if self.version >= 6 {
            put(sub + 96, &end.to_le_bytes());
        }
        let [first, second] = maps;
        let first = if self.one_bitmap { Vec::new() } else { first };
        Laid {
            bytes: [head, first, second, table, data].concat(),
            sub,
            bitmaps,
            descriptors,
            data: data_at,
        }
    }
}

/// A flattened dump of `records`: where each belongs, and its bytes.
pub fn flatten<'b>(records: impl IntoIterator<Item = (u64, &'b [u8])>) -> Vec<u8> {
    let mut out = vec![0; 4096];
    out[..12].copy_from_slice(b"makedumpfile");
    out[16..24].copy_from_slice(&1u64.to_be_bytes());
    out[24..32].copy_from_slice(&1u64.to_be_bytes());
    for (at, bytes) in records {
        out.extend(at.to_be_bytes());
        out.extend((bytes.len() as u64).to_be_bytes());
        out.extend(bytes);
    }
    out.extend([0xff; 16]);
    out
}

impl Memory {
    /// `len` bytes at `pa`, zeros where there is no memory.
    fn padded(&self, pa: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        for (start, bytes) in self.frames(pa, len as u64) {
            let at = (start - pa) as usize;
            out[at..at + bytes.len()].copy_from_slice(bytes);
        }
        out
    }

    /// The memory as a LiME dump: a range per run of pages.
    pub fn to_lime(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (pa, len) in self.runs() {
            out.extend(b"EMiL\x01\0\0\0");
            out.extend(pa.to_le_bytes());
            out.extend((pa + len - 1).to_le_bytes());
            out.extend([0; 8]);
            out.extend(self.padded(pa, len as usize));
        }
        out
    }
}
