//! A dump as physical memory.

use std::fs::File;
use std::path::{Path, PathBuf};

use kho_mem::{Chunk, FileMap, MemError, MemErrorKind, PhysAddr, PhysMem, PhysRange};

use crate::{elf, unpack};

/// A file that is no memory dump, or a damaged one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file can not be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
    /// The file is damaged, or of a kind that is not read.
    #[error("{what} at file offset {offset:#x}: found {found}, expected {expected}")]
    Damaged {
        /// What is wrong.
        what: String,
        /// Where in the (uncompressed) file.
        offset: u64,
        /// What was found there.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The file is something else than a dump of physical memory that is read here.
    #[error("{found}: expected {expected}")]
    Foreign {
        /// What it is.
        found: String,
        /// What is read here, or how to get it.
        expected: String,
    },
    /// The caller's progress function said stop.
    #[error("interrupted")]
    Interrupted,
}

impl ImageError {
    pub(crate) fn foreign(found: impl Into<String>, expected: impl Into<String>) -> Self {
        let (found, expected) = (found.into(), expected.into());
        Self::Foreign { found, expected }
    }

    pub(crate) fn damaged(
        what: impl Into<String>,
        offset: u64,
        found: impl ToString,
        expected: impl ToString,
    ) -> Self {
        let (found, expected) = (found.to_string(), expected.to_string());
        Self::Damaged {
            what: what.into(),
            offset,
            found,
            expected,
        }
    }
}

/// Called from time to time with what is done and, where it is known, what there is to do, in
/// bytes. Returns whether to go on.
pub type Progress<'p> = dyn FnMut(u64, Option<u64>) -> bool + 'p;

/// How to take a file.
#[derive(Clone, Copy, Debug)]
pub struct ImageOptions {
    /// The physical address of a raw image's first byte. ELF cores say theirs.
    pub base: PhysAddr,
    /// The most bytes that a compressed image may unpack to.
    pub max_unpacked: u64,
}

impl Default for ImageOptions {
    /// Base address 0, at most 64 GiB unpacked.
    fn default() -> Self {
        Self {
            base: PhysAddr::NULL,
            max_unpacked: 64 << 30,
        }
    }
}

/// What a dump is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageKind {
    /// An ELF64 core.
    Elf,
    /// Raw memory from a base address on.
    Raw,
}

/// A stretch of physical memory and where the file has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) range: PhysRange,
    // Offset in the uncompressed file.
    pub(crate) offset: u64,
    // Bytes that the file has.
    pub(crate) stored: u64,
    // Whether the rest of the range is zero, else it is not stored.
    pub(crate) zeros: bool,
}

/// The (uncompressed) bytes of a dump.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// Mapped from the file, or from a temporary one.
    Map(FileMap),
    /// Unpacked, and small.
    Vec(Vec<u8>),
}

impl Bytes {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Map(map) => map.len(),
            Self::Vec(bytes) => bytes.len(),
        }
    }

    pub(crate) fn get(&self, range: std::ops::Range<usize>) -> Option<&[u8]> {
        match self {
            Self::Map(map) => map.get(range),
            Self::Vec(bytes) => bytes.get(range),
        }
    }
}

/// A memory dump, opened: physical memory with holes.
#[derive(Debug)]
pub struct Image {
    bytes: Bytes,
    kind: ImageKind,
    compressed: bool,
    // In order of address, not overlapping, each with at least one byte.
    segments: Vec<Segment>,
    // Bytes that the file should have, and has not.
    lacks: u64,
}

impl Image {
    /// Opens the dump at `path`. What it is is recognised by its content. `progress` is told of the
    /// decompression.
    ///
    /// # Errors
    ///
    /// The file can not be read, is no dump, or is damaged: segments that overlap or wrap, headers
    /// that are not in the file. [`ImageError::Interrupted`] when `progress` says stop.
    pub fn open(
        path: &Path,
        options: &ImageOptions,
        progress: &mut Progress<'_>,
    ) -> Result<Self, ImageError> {
        let io = |error| ImageError::Io {
            path: path.to_owned(),
            error,
        };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        let map = FileMap::new(&file).map_err(io)?;
        let compressed = unpack::is_zstd(&map);
        let bytes = if compressed {
            unpack::zstd(&map, options.max_unpacked, progress)?
        } else {
            Bytes::Map(map)
        };
        Self::from_bytes(bytes, options, compressed)
    }

    fn from_bytes(
        bytes: Bytes,
        options: &ImageOptions,
        compressed: bool,
    ) -> Result<Self, ImageError> {
        let head = bytes.get(0..bytes.len().min(64)).unwrap_or_default();
        if let Some((found, advice)) = foreign(head) {
            return Err(ImageError::foreign(found, advice));
        }
        let (kind, (segments, lacks)) = if head.starts_with(elf::MAGIC) {
            (ImageKind::Elf, elf::segments(&bytes)?)
        } else {
            (ImageKind::Raw, (raw(&bytes, options.base)?, 0))
        };
        tracing::debug!(
            ?kind,
            compressed,
            segments = segments.len(),
            bytes = bytes.len(),
            "image opened"
        );
        Ok(Self {
            bytes,
            kind,
            compressed,
            segments,
            lacks,
        })
    }

    /// What the dump is.
    #[must_use]
    pub const fn kind(&self) -> ImageKind {
        self.kind
    }

    /// Whether it was compressed.
    #[must_use]
    pub const fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// Bytes of physical memory in it, holes left out.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.segments
            .iter()
            .fold(0, |sum, segment| segment.range.len().saturating_add(sum))
    }

    /// Bytes of physical memory whose contents are not stored: they were filtered out when the dump was
    /// written, or the file is cut short.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let missing = self.segments.iter().filter(|segment| !segment.zeros);
        missing.fold(0, |sum, segment| {
            (segment.range.len() - segment.stored).saturating_add(sum)
        })
    }

    /// How many bytes the file is too short for what its headers list; `None` where it is whole. Raw memory has
    /// no headers.
    #[must_use]
    pub fn cut(&self) -> Option<u64> {
        (self.lacks > 0).then_some(self.lacks)
    }

    /// Where the (uncompressed) file has the byte at `addr`; `None` for memory that is not there
    /// or that no file byte stands for.
    #[must_use]
    pub fn locate(&self, addr: PhysAddr) -> Option<u64> {
        let segment = self.segment(addr)?;
        let from = addr.get() - segment.range.start().get();
        (from < segment.stored).then_some(segment.offset + from)
    }

    fn segment(&self, addr: PhysAddr) -> Option<&Segment> {
        let index = self
            .segments
            .partition_point(|s| s.range.start() <= addr)
            .checked_sub(1)?;
        self.segments
            .get(index)
            .filter(|segment| segment.range.contains(addr))
    }
}

impl PhysMem for Image {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        let outside = MemError {
            addr,
            len: len as u64,
            kind: MemErrorKind::Outside,
        };
        let segment = self.segment(addr).ok_or(outside)?;
        let from = addr.get() - segment.range.start().get();
        let room = |end: u64| usize::try_from(end - from).map_or(len, |room| room.min(len));
        if from >= segment.stored {
            let len = room(segment.range.len());
            return if segment.zeros {
                Ok(Chunk::Zeros(len))
            } else {
                Err(MemError {
                    len: len as u64,
                    kind: MemErrorKind::NotStored,
                    ..outside
                })
            };
        }
        let start = usize::try_from(segment.offset + from).map_err(|_| outside)?;
        let end = start + room(segment.stored);
        self.bytes.get(start..end).map(Chunk::Bytes).ok_or(outside)
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        let from = u128::from(from.get());
        let index = self
            .segments
            .partition_point(|segment| segment.range.end() <= from);
        self.segments.get(index).map(|segment| segment.range)
    }
}

fn raw(bytes: &Bytes, base: PhysAddr) -> Result<Vec<Segment>, ImageError> {
    let stored = bytes.len() as u64;
    if stored == 0 {
        return Err(ImageError::damaged("image", 0, "an empty file", "memory"));
    }
    let Some(range) = PhysRange::new(base, stored) else {
        let found = format!("{stored:#x} bytes from base address {base}");
        return Err(ImageError::damaged(
            "raw image",
            0,
            found,
            "memory inside the address space",
        ));
    };
    Ok(vec![Segment {
        range,
        offset: 0,
        stored,
        zeros: true,
    }])
}

/// Files that begin like something else than memory.
fn foreign(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const UNPACK: &str = "a plain or zstd-compressed dump: decompress it first";
    const KINDS: &[(&[u8], &str, &str)] = &[
        (
            b"KDUMP   ",
            "a kdump-compressed dump",
            "an ELF core: makedumpfile -E writes one",
        ),
        (b"\x1f\x8b", "gzip", UNPACK),
        (b"\xfd7zXZ\0", "xz", UNPACK),
        (b"\x04\x22\x4d\x18", "lz4", UNPACK),
        (b"BZh", "bzip2", UNPACK),
    ];
    KINDS
        .iter()
        .find(|(magic, ..)| head.starts_with(magic))
        .map(|(_, found, advice)| (*found, *advice))
}
