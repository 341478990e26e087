//! The compressions that kernels and modules come in, into memory and no further than a limit.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};

use super::elf;
use crate::image::{ImageError, Progress};

/// Bytes that are unpacked between two looks at the limit.
const STEP: usize = 256 << 10;
/// Memory that a decompressor may take for its window. Kernels are packed with at most 128 MiB.
const WINDOW_KIB: u32 = 160 << 10;
const WINDOW_LOG: u32 = 27;
/// The legacy LZ4 frame has blocks of this many unpacked bytes, but for its last.
const LZ4_BLOCK: usize = 8 << 20;
/// What a block of [`LZ4_BLOCK`] bytes may take where nothing in it repeats.
const LZ4_BOUND: usize = LZ4_BLOCK + LZ4_BLOCK / 255 + 16;

/// How a kernel, or a part of one, is compressed. Recognised by the first bytes.
///
/// ```
/// use kho_image::kernel::Compression;
///
/// assert_eq!(Compression::of(&[0x1f, 0x8b, 8, 0]), Some(Compression::Gzip));
/// assert_eq!(Compression::of(b"\x7fELF"), None);
/// assert_eq!(Compression::Lz4.to_string(), "lz4");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Compression {
    /// gzip (RFC 1952): 1f 8b.
    Gzip,
    /// zstd (RFC 8878): 28 b5 2f fd.
    Zstd,
    /// xz: fd, `7zXZ`, 00. Branch filters, which kernels are packed with, are read.
    Xz,
    /// The legacy LZ4 frame, 0x184c2102 in little-endian order: what `lz4 -l` writes.
    Lz4,
    /// LZMA with its 13-byte header (`.lzma`): 5d 00 00.
    Lzma,
    /// bzip2: `BZh`.
    Bzip2,
}

const MAGICS: &[(&[u8], Compression)] = &[
    (b"\x1f\x8b", Compression::Gzip),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    (b"\xfd7zXZ\0", Compression::Xz),
    (b"\x02\x21\x4c\x18", Compression::Lz4),
    (b"\x5d\0\0", Compression::Lzma),
    (b"BZh", Compression::Bzip2),
];

impl Compression {
    /// The compression of bytes that begin with `head`; `None` for all others.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        MAGICS
            .iter()
            .find(|(magic, _)| head.starts_with(magic))
            .map(|(_, compression)| *compression)
    }

    /// Its usual name: `gzip`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Bzip2 => "bzip2",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A reader that shows how much of it was read.
struct Counted<'d> {
    data: &'d [u8],
    read: &'d Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.data.read(buf)?;
        self.read.set(self.read.get() + len as u64);
        Ok(len)
    }
}

/// Blocks of the legacy LZ4 frame, each behind its length.
struct Lz4<'d> {
    source: Counted<'d>,
    // Of a whole block's size from the first block on: small ones cost no more than their bytes.
    block: Vec<u8>,
    // What of it was not read yet.
    rest: std::ops::Range<usize>,
    done: u64,
    finished: bool,
}

impl<'d> Lz4<'d> {
    fn new(mut source: Counted<'d>) -> io::Result<Self> {
        source.read_exact(&mut [0; 4])?;
        Ok(Self {
            source,
            block: Vec::new(),
            rest: 0..0,
            done: 0,
            finished: false,
        })
    }

    fn next_block(&mut self) -> io::Result<()> {
        let left = self.source.data.len();
        if left == 0 {
            self.finished = true;
            return Ok(());
        }
        let mut len = [0; 4];
        self.source.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len);
        // What a kernel's build appends: all the unpacked bytes' number.
        if left == 4 && u64::from(len) == self.done {
            self.finished = true;
            return Ok(());
        }
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let len = usize::try_from(len)
            .ok()
            .filter(|len| (1..=LZ4_BOUND).contains(len))
            .ok_or_else(|| invalid(format!("a block of {len:#x} bytes")))?;
        let Some(packed) = self.source.data.get(..len) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if self.block.is_empty() {
            self.block = vec![0; LZ4_BLOCK];
        }
        let size = lz4_flex::block::decompress_into(packed, &mut self.block)
            .map_err(|error| invalid(error.to_string()))?;
        self.rest = 0..size;
        self.done += size as u64;
        self.source.data = self.source.data.get(len..).unwrap_or_default();
        self.source
            .read
            .set(self.source.read.get().saturating_add(len as u64));
        Ok(())
    }
}

impl Read for Lz4<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut rest = self.block.get(self.rest.clone()).unwrap_or_default();
            if !rest.is_empty() {
                let len = rest.read(buf)?;
                self.rest.start += len;
                return Ok(len);
            }
            if self.finished {
                return Ok(0);
            }
            // Empty blocks cost input, so that this ends.
            self.next_block()?;
        }
    }
}

fn decoder<'d>(compression: Compression, source: Counted<'d>) -> io::Result<Box<dyn Read + 'd>> {
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::read::GzDecoder::new(source)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::new(source)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
            source, true, WINDOW_KIB,
        )),
        Compression::Lz4 => Box::new(Lz4::new(source)?),
        Compression::Lzma => Box::new(lzma_rust2::LzmaReader::new_mem_limit(
            source, WINDOW_KIB, None,
        )?),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
    })
}

/// Unpacks `data`, which lies at `offset` of what it was found in, to at most `limit` bytes.
pub(super) fn unpack(
    compression: Compression,
    data: &[u8],
    offset: u64,
    limit: u64,
    progress: &mut Progress<'_>,
) -> Result<Vec<u8>, ImageError> {
    let read = Cell::new(0);
    let broken = |error: &io::Error, done: usize| {
        let what = if error.kind() == io::ErrorKind::UnexpectedEof {
            format!("{compression} stream is cut short")
        } else {
            format!("{compression} stream can not be unpacked")
        };
        let at = offset.saturating_add(read.get());
        let found = format!("{error} after {done:#x} unpacked bytes");
        ImageError::damaged(
            what,
            at,
            found,
            "a whole stream with a window of at most 128 MiB",
        )
    };
    let source = Counted { data, read: &read };
    let mut decoder = decoder(compression, source).map_err(|error| broken(&error, 0))?;
    let mut out: Vec<u8> = Vec::new();
    let mut buf = vec![0; STEP];
    loop {
        let len = match decoder.read(&mut buf) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(&error, out.len())),
        };
        if (out.len() as u64).saturating_add(len as u64) > limit {
            return Err(too_long(compression, offset, limit, "more"));
        }
        out.try_reserve(len)
            .map_err(|error| broken(&io::Error::other(error), out.len()))?;
        let first = out.is_empty();
        out.extend_from_slice(buf.get(..len).unwrap_or_default());
        // A memory dump is refused before all of it is unpacked.
        if first {
            elf::refuse_core(&out)?;
        }
        if !progress(read.get(), Some(data.len() as u64)) {
            return Err(ImageError::Interrupted);
        }
    }
    Ok(out)
}

/// What unpacks to more than the limit.
pub(super) fn too_long(
    compression: Compression,
    offset: u64,
    limit: u64,
    found: &str,
) -> ImageError {
    ImageError::damaged(
        format!("{compression} stream is too long"),
        offset,
        format!("{found} than {limit} bytes"),
        "an image that unpacks to no more: the limit can be raised",
    )
}
