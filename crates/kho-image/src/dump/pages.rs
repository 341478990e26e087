//! Pages of a dump, unpacked one by one: the decompressors, and where unpacked pages stay.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress, Status};
use kho_mem::FileMap;
use kho_mem::sync::Mutex;

/// How a page is packed: the flags of its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packing {
    Plain,
    Zlib,
    Lzo,
    Snappy,
    Zstd,
}

impl Packing {
    /// The packing that `flags` stand for.
    pub(crate) const fn of(flags: u32) -> Option<Self> {
        Some(match flags {
            0 => Self::Plain,
            1 => Self::Zlib,
            2 => Self::Lzo,
            4 => Self::Snappy,
            0x20 => Self::Zstd,
            _ => return None,
        })
    }
}

/// Decompressors and their state, used for one page after the other.
pub(crate) struct Unpacker {
    zlib: Decompress,
    snappy: snap::raw::Decoder,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    /// Packed bytes on their way.
    pub(crate) packed: Vec<u8>,
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        Self {
            zlib: Decompress::new(true),
            snappy: snap::raw::Decoder::new(),
            zstd: None,
            packed: Vec::new(),
        }
    }

    /// Unpacks [`packed`](Self::packed) into `page`, all of it. The error says what is wrong.
    pub(crate) fn unpack(&mut self, packing: Packing, page: &mut [u8]) -> Result<(), String> {
        let packed = self.packed.as_slice();
        let done = match packing {
            Packing::Plain => {
                let len = packed.len().min(page.len());
                let (to, from) = (page.get_mut(..len), packed.get(..len));
                if let (Some(to), Some(from)) = (to, from) {
                    to.copy_from_slice(from);
                }
                len
            }
            Packing::Zlib => {
                self.zlib.reset(true);
                let status = self.zlib.decompress(packed, page, FlushDecompress::Finish);
                match status.map_err(|error| error.to_string())? {
                    Status::StreamEnd => {}
                    _ => return Err("a stream without an end".to_owned()),
                }
                usize::try_from(self.zlib.total_out()).unwrap_or(0)
            }
            Packing::Lzo => {
                let done = lzokay::decompress::decompress(packed, page);
                done.map_err(|error| error.to_string())?
            }
            Packing::Snappy => {
                let done = self.snappy.decompress(packed, page);
                done.map_err(|error| error.to_string())?
            }
            Packing::Zstd => {
                if self.zstd.is_none() {
                    let made = zstd::bulk::Decompressor::new();
                    self.zstd = Some(made.map_err(|error| error.to_string())?);
                }
                let done = self
                    .zstd
                    .as_mut()
                    .map(|zstd| zstd.decompress_to_buffer(packed, page));
                done.unwrap_or(Ok(0)).map_err(|error| error.to_string())?
            }
        };
        if done == page.len() {
            Ok(())
        } else {
            Err(format!("{done} bytes"))
        }
    }
}

/// What is known of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nothing yet.
    Unread,
    /// It is in the cache.
    Cached,
    /// It is zero, and lies nowhere.
    Zero,
}

/// Unpacked pages in a temporary file without a name, each at its number times its size. They are written to the
/// file and read through a mapping: a disk that is full is an error of the write.
pub(crate) struct Cache {
    file: File,
    map: FileMap,
    page_size: usize,
    // Two bits for each of 32 pages.
    states: Mutex<HashMap<u64, u64>>,
}

impl Cache {
    /// A cache for `pages` pages; it takes room as pages are put in.
    pub(crate) fn new(pages: u64, page_size: usize) -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        let len = pages.checked_mul(page_size as u64);
        file.set_len(len.ok_or(io::ErrorKind::FileTooLarge)?)?;
        let map = FileMap::new(&file)?;
        Ok(Self {
            file,
            map,
            page_size,
            states: Mutex::default(),
        })
    }

    pub(crate) fn state(&self, page: u64) -> State {
        let states = self.states.lock().get(&(page / 32)).copied();
        match states.unwrap_or(0) >> (page % 32 * 2) & 3 {
            0 => State::Unread,
            1 => State::Cached,
            _ => State::Zero,
        }
    }

    /// Puts page number `page` in. A page that is there already stays: it may be looked at.
    pub(crate) fn put(&self, page: u64, bytes: &[u8]) -> io::Result<State> {
        let zero = is_zero(bytes);
        let mut states = self.states.lock();
        let word = states.entry(page / 32).or_default();
        let shift = page % 32 * 2;
        if *word >> shift & 3 == 0 {
            if !zero {
                self.file
                    .write_all_at(bytes, page * self.page_size as u64)?;
            }
            *word |= if zero { 2 } else { 1 } << shift;
        }
        Ok(if zero { State::Zero } else { State::Cached })
    }

    /// A view of `len` bytes from the byte `offset` of page number `page` on, which are all cached.
    pub(crate) fn get(&self, page: u64, offset: usize, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(page).ok()?.checked_mul(self.page_size)?;
        let start = start.checked_add(offset)?;
        self.map.get(start..start.checked_add(len)?)
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}
