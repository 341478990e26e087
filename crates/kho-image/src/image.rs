//! A dump as physical memory.

use std::fs::File;
use std::path::{Path, PathBuf};

use kho_mem::{Chunk, FileMap, MemError, MemErrorKind, PageSize, PhysAddr, PhysMem, PhysRange};

use crate::dump::kdump::{self, Kdump};
use crate::dump::source::Source;
use crate::dump::vmcoreinfo::{self, VmcoreInfo};
use crate::dump::{flattened, foreign, lime};
use crate::elf;
use crate::kind::ImageKind;
use crate::unpack::{self, Compression, Unpacker};

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
    /// The file is damaged.
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
    /// The file is something else than a dump of physical memory, or one of a kind that is not read.
    #[error("not a dump of physical memory that can be read: {found}: {advice}")]
    Foreign {
        /// What it is.
        found: String,
        /// What to do.
        advice: String,
    },
    /// The file got shorter, or could not be read any more, while it was mapped.
    #[error("{}: was cut short while it was read", path.display())]
    Shrunk {
        /// The file.
        path: PathBuf,
    },
    /// The caller's progress function said stop.
    #[error("interrupted")]
    Interrupted,
}

impl ImageError {
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

    /// The first `len` bytes, or all of fewer.
    pub(crate) fn head(&self, len: usize) -> &[u8] {
        self.get(0..len.min(self.len())).unwrap_or_default()
    }
}

/// How a dump stores memory.
#[derive(Debug)]
enum Store {
    /// As it is, in segments: in order of address, not overlapping, each with at least one byte.
    Segments(Source, Vec<Segment>),
    /// Page by page, packed.
    Kdump(Box<Kdump>),
}

/// A memory dump, opened: physical memory with holes.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    store: Store,
    kind: ImageKind,
    compression: Option<Compression>,
    vmcoreinfo: Option<VmcoreInfo>,
    notes: Vec<String>,
    // Bytes that the file should have, and has not.
    lacks: u64,
    // Whether the compressed file is cut short.
    is_cut: bool,
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
        let len = map.len() as u64;
        let mut cut = None;
        let mut compression = None;
        let unpacked = match Unpacker::open(&file).map_err(io)? {
            Some(unpacker) => {
                compression = Some(unpacker.compression());
                let limit = unpack::Limit {
                    bytes: options.max_unpacked,
                    advice: "--max-unpacked raises the limit",
                };
                let unpacked = unpack::to_image(unpacker, len, limit, progress);
                if map.was_cut() {
                    let path = path.to_owned();
                    return Err(ImageError::Shrunk { path });
                }
                let unpacked = unpacked?;
                cut = unpacked.cut;
                Some(unpacked.bytes)
            }
            None => None,
        };
        let source = match unpacked {
            Some(bytes) => Source::new(bytes, None),
            None => Source::new(Bytes::Map(map), Some(file)),
        };
        let mut opened = Self::from_source(path, source, options, compression, progress);
        let is_shorter = || std::fs::metadata(path).is_ok_and(|now| now.len() < len);
        if (opened.is_err() || cut.is_some()) && is_shorter() {
            let path = path.to_owned();
            return Err(ImageError::Shrunk { path });
        }
        match (&mut opened, cut) {
            // What came before the cut is a dump that lacks its end.
            (Ok(image), Some(cut)) => {
                image.notes.push(cut.to_string());
                image.is_cut = true;
            }
            // It is seen from the beginning of a file what it is.
            (Err(ImageError::Interrupted | ImageError::Foreign { .. }), _) | (_, None) => {}
            (Err(_), Some(cut)) => return Err(cut),
        }
        opened
    }

    fn from_source(
        path: &Path,
        mut source: Source,
        options: &ImageOptions,
        compression: Option<Compression>,
        progress: &mut Progress<'_>,
    ) -> Result<Self, ImageError> {
        let mut notes = Vec::new();
        if source.bytes().head(flattened::MAGIC.len()) == flattened::MAGIC {
            let index = flattened::Index::read(&source, progress)?;
            if index.is_cut_short() {
                notes
                    .push("the flattened dump is cut short: its last record is missing".to_owned());
            }
            source = source.flattened(index);
        }
        let mut head = [0; foreign::HEAD];
        let len = usize::try_from(source.len()).map_or(head.len(), |len| len.min(head.len()));
        let (head, _) = head.split_at_mut(len);
        source.read_at(0, head).map_err(|error| ImageError::Io {
            path: path.to_owned(),
            error,
        })?;
        if let Some((found, advice)) = foreign::foreign(head, source.len()) {
            return Err(ImageError::Foreign {
                found: found.to_owned(),
                advice: advice.to_owned(),
            });
        }
        let mut lacks = 0;
        let (kind, store, vmcoreinfo) = if head.starts_with(kdump::MAGIC) {
            let kdump = Kdump::open(path, source, options, progress)?;
            if kdump.is_cut_short() {
                notes.push("the dump is cut short: pages at its end are not stored".to_owned());
            }
            let info = kdump.vmcoreinfo().cloned();
            (ImageKind::Kdump, Store::Kdump(Box::new(kdump)), info)
        } else if head.starts_with(elf::MAGIC) {
            let bytes = source.head();
            let segments;
            (segments, lacks) = elf::segments(&bytes, source.len())?;
            let info = vmcoreinfo::of_elf(&bytes);
            drop(bytes);
            (ImageKind::Elf, Store::Segments(source, segments), info)
        } else if head.starts_with(lime::MAGIC) {
            let segments;
            (segments, lacks) = lime::segments(&source)?;
            (ImageKind::Lime, Store::Segments(source, segments), None)
        } else if source.is_flattened() {
            let found = head.get(..8).unwrap_or(head).escape_ascii().to_string();
            let expected = "a kdump-compressed dump or an ELF core";
            return Err(ImageError::damaged(
                "contents of the flattened dump",
                0,
                found,
                expected,
            ));
        } else {
            let segments = raw(source.len(), options.base)?;
            (ImageKind::Raw, Store::Segments(source, segments), None)
        };
        if let Some(bytes) = vmcoreinfo.as_ref().and_then(VmcoreInfo::page_size)
            && !PageSize::ALL.iter().any(|size| size.bytes() == bytes)
        {
            return Err(ImageError::Foreign {
                found: format!("memory of a kernel with pages of {bytes} bytes"),
                advice: "a handover is read of kernels with pages of 4, 16 or 64 KiB".to_owned(),
            });
        }
        let image = Self {
            path: path.to_owned(),
            store,
            kind,
            compression,
            vmcoreinfo,
            notes,
            lacks,
            is_cut: false,
        };
        tracing::debug!(form = image.form(), memory = image.memory(), "image opened");
        Ok(image)
    }

    /// Whether the file is as long as it was. To be asked before anything that was made of its memory is handed
    /// out: what is missing of a mapped file reads as zeros ([`FileMap::guard`]).
    ///
    /// # Errors
    ///
    /// It is shorter, or its temporary copy could not be kept.
    pub fn check(&self) -> Result<(), ImageError> {
        let source = match &self.store {
            Store::Segments(source, _) => source,
            Store::Kdump(kdump) => kdump.source(),
        };
        match source.bytes() {
            // Nobody else has the temporary file: there is no room for its pages.
            Bytes::Map(map) if map.was_cut() && self.is_compressed() => Err(ImageError::Io {
                path: std::env::temp_dir(),
                error: std::io::ErrorKind::StorageFull.into(),
            }),
            Bytes::Map(map) if map.was_cut() => Err(ImageError::Shrunk {
                path: self.path.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// What the dump is.
    #[must_use]
    pub const fn kind(&self) -> ImageKind {
        self.kind
    }

    /// Whether it was compressed.
    #[must_use]
    pub const fn is_compressed(&self) -> bool {
        self.compression.is_some()
    }

    /// How it was compressed, the pages of kdump's own format left aside.
    #[must_use]
    pub const fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Whether it is in the flattened form of makedumpfile and QEMU.
    #[must_use]
    pub fn is_flattened(&self) -> bool {
        match &self.store {
            Store::Segments(source, _) => source.is_flattened(),
            Store::Kdump(kdump) => kdump.source().is_flattened(),
        }
    }

    /// What the dump is in words: `kdump-compressed dump, flattened, zstd`.
    #[must_use]
    pub fn form(&self) -> String {
        let flattened = if self.is_flattened() {
            ", flattened"
        } else {
            ""
        };
        let packed = self
            .compression
            .map(|compression| format!(", {compression}"));
        format!(
            "{}{flattened}{}",
            self.kind.title(),
            packed.unwrap_or_default()
        )
    }

    /// What the kernel whose memory it is says of itself, where the dump has that.
    #[must_use]
    pub const fn vmcoreinfo(&self) -> Option<&VmcoreInfo> {
        self.vmcoreinfo.as_ref()
    }

    /// The page size of the kernel whose memory it is, where the dump has that and a handover can have it.
    #[must_use]
    pub fn page_size(&self) -> Option<PageSize> {
        let bytes = self.vmcoreinfo()?.page_size()?;
        PageSize::ALL.into_iter().find(|size| size.bytes() == bytes)
    }

    /// Which kinds of pages the dump's writer left out, as makedumpfile's dump level: bits for pages of zeros (1),
    /// page cache (2, 4), user data (8) and free pages (16). `None` where the dump does not state it.
    #[must_use]
    pub fn dump_level(&self) -> Option<u32> {
        match &self.store {
            Store::Segments(..) => None,
            Store::Kdump(kdump) => kdump.level(),
        }
    }

    /// What a reader of the dump should know, in sentences: that its end is missing.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why memory of the dump could not be read, where an access failed with
    /// [`MemErrorKind::Unreadable`] or [`PhysMem::sweep`] passed over a page: damage of the dump, not of what was
    /// in memory. It is told once.
    #[must_use]
    pub fn take_fault(&self) -> Option<ImageError> {
        match &self.store {
            Store::Segments(..) => None,
            Store::Kdump(kdump) => kdump.take_fault(),
        }
    }

    /// Bytes of physical memory in it, holes left out.
    #[must_use]
    pub fn memory(&self) -> u64 {
        match &self.store {
            Store::Segments(_, segments) => segments
                .iter()
                .fold(0, |sum, segment| segment.range.len().saturating_add(sum)),
            Store::Kdump(kdump) => kdump.memory(),
        }
    }

    /// Bytes of physical memory whose contents are not stored: they were filtered out when the dump was
    /// written, or the file is cut short.
    #[must_use]
    pub fn missing(&self) -> u64 {
        match &self.store {
            Store::Segments(_, segments) => {
                let missing = segments.iter().filter(|segment| !segment.zeros);
                missing.fold(0, |sum, segment| {
                    (segment.range.len() - segment.stored).saturating_add(sum)
                })
            }
            Store::Kdump(kdump) => kdump.missing(),
        }
    }

    /// Whether the contents of all of its memory are known to be stored.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.is_cut_short() && self.missing() == 0
    }

    /// Whether the end of the file is missing, where that can be seen.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        let is_cut = match &self.store {
            Store::Segments(..) => self.lacks > 0,
            Store::Kdump(kdump) => kdump.is_cut_short(),
        };
        is_cut || self.is_cut
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
        let (source, segments) = match &self.store {
            Store::Segments(source, segments) => (source, segments),
            Store::Kdump(kdump) => return kdump.locate(addr),
        };
        let segment = segment(segments, addr)?;
        let from = addr.get() - segment.range.start().get();
        (from < segment.stored).then(|| source.locate(segment.offset + from))?
    }
}

fn segment(segments: &[Segment], addr: PhysAddr) -> Option<&Segment> {
    let index = segments
        .partition_point(|s| s.range.start() <= addr)
        .checked_sub(1)?;
    let found = segments.get(index);
    found.filter(|segment| segment.range.contains(addr))
}

impl PhysMem for Image {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        let (source, segments) = match &self.store {
            Store::Segments(source, segments) => (source, segments),
            Store::Kdump(kdump) => return kdump.chunk(addr, len),
        };
        let outside = MemError {
            addr,
            len: len as u64,
            kind: MemErrorKind::Outside,
        };
        let segment = segment(segments, addr).ok_or(outside)?;
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
        let piece = source.piece(segment.offset + from, room(segment.stored));
        piece.ok_or(outside)
    }

    fn extent(&self, addr: PhysAddr, len: usize) -> Result<usize, MemError> {
        match &self.store {
            Store::Segments(..) => self.chunk(addr, len).map(|chunk| chunk.len()),
            Store::Kdump(kdump) => kdump.extent(addr, len),
        }
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        let segments = match &self.store {
            Store::Segments(_, segments) => segments,
            Store::Kdump(kdump) => return kdump.region(from),
        };
        let from = u128::from(from.get());
        let index = segments.partition_point(|segment| segment.range.end() <= from);
        segments.get(index).map(|segment| segment.range)
    }

    fn sweep(&self, look: &mut dyn FnMut(PhysAddr, Chunk<'_>) -> bool) -> bool {
        match &self.store {
            Store::Segments(..) => kho_mem::sweep(self, look),
            Store::Kdump(kdump) => kdump.sweep(look),
        }
    }
}

fn raw(stored: u64, base: PhysAddr) -> Result<Vec<Segment>, ImageError> {
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
