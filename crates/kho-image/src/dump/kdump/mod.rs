//! kdump-compressed dumps: bitmaps say which pages there are, and a descriptor for each stored page where it lies
//! and how it is packed. Pages are unpacked one by one, as they are read.

mod bitmap;
mod header;
mod sweep;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kho_mem::sync::Mutex;
use kho_mem::{Chunk, MemError, MemErrorKind, PhysAddr, PhysRange};

use crate::dump::field;
use crate::dump::pages::{Cache, Packing, State, Unpacker};
use crate::dump::source::Source;
use crate::dump::vmcoreinfo::VmcoreInfo;
use crate::image::{ImageError, ImageOptions, Progress};
use crate::unpack::temporary;
use bitmap::Bitmaps;
use header::Header;

pub(crate) const MAGIC: &[u8] = b"KDUMP   ";
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 24;
/// The most pages that are unpacked for one view.
const PAGES: u64 = 256;
/// The dump level of a writer that left out pages of zeros and nothing else.
const ZERO_PAGES: u32 = 1;

/// Where a page lies and how it is packed. Pages of zeros share one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Descriptor {
    offset: u64,
    size: u32,
    flags: u32,
}

impl Descriptor {
    fn new(bytes: &[u8]) -> Self {
        Self {
            offset: u64::from_le_bytes(field(bytes, 0)),
            size: u32::from_le_bytes(field(bytes, 8)),
            flags: u32::from_le_bytes(field(bytes, 12)),
        }
    }
}

/// Why a page can not be had.
enum Fault {
    /// The file does not have it.
    NotStored,
    Error(ImageError),
}

/// A dump.
pub(crate) struct Kdump {
    path: PathBuf,
    source: Source,
    header: Header,
    bitmaps: Bitmaps,
    // Where pages may lie: behind the descriptors.
    data: u64,
    cut_short: bool,
    // The most bytes that may be unpacked to stay.
    limit: u64,
    unpacked: Mutex<u64>,
    // The descriptor of a page that was seen to be zero.
    zero: Mutex<Option<Descriptor>>,
    unpackers: Mutex<Vec<Unpacker>>,
    cache: OnceLock<Cache>,
    fault: Mutex<Option<ImageError>>,
}

impl Kdump {
    pub(crate) fn open(
        path: &Path,
        source: Source,
        options: &ImageOptions,
        progress: &mut Progress<'_>,
    ) -> Result<Self, ImageError> {
        let header = Header::read(&source)?;
        let io = |error| ImageError::Io {
            path: path.to_owned(),
            error,
        };
        let bitmaps = Bitmaps::read(&source, &header, progress, &io)?;
        if bitmaps.runs().is_empty() {
            let [first, _] = header.bitmaps;
            let found = "no page of memory";
            return Err(ImageError::damaged(
                "first bitmap of the kdump dump",
                first,
                found,
                "memory",
            ));
        }
        let table = bitmaps.stored() * DESCRIPTOR as u64;
        let mut kdump = Self {
            path: path.to_owned(),
            data: header.descriptors.saturating_add(table),
            source,
            header,
            bitmaps,
            cut_short: false,
            limit: options.max_unpacked,
            unpacked: Mutex::default(),
            zero: Mutex::default(),
            unpackers: Mutex::default(),
            cache: OnceLock::new(),
            fault: Mutex::default(),
        };
        // Pages lie in order of address: a file that has the last one has them all.
        let last = kdump.bitmaps.stored().checked_sub(1);
        kdump.cut_short = last.is_some_and(|last| match kdump.descriptor(last) {
            Ok(last) => {
                last.offset == 0
                    || last.offset.saturating_add(last.size.into()) > kdump.source.len()
            }
            Err(_) => true,
        });
        Ok(kdump)
    }

    pub(crate) const fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) const fn vmcoreinfo(&self) -> Option<&VmcoreInfo> {
        self.header.vmcoreinfo.as_ref()
    }

    /// Which kinds of pages the writer left out, as bits.
    pub(crate) const fn level(&self) -> Option<u32> {
        self.header.level
    }

    /// Whether the writer, or somebody after it, left the end away.
    pub(crate) const fn is_cut_short(&self) -> bool {
        self.cut_short || self.header.incomplete
    }

    pub(crate) fn memory(&self) -> u64 {
        let pages: u64 = self
            .bitmaps
            .runs()
            .iter()
            .map(|run| run.end - run.start)
            .sum();
        pages * self.page()
    }

    /// Bytes of memory that were left out, where they may be anything.
    pub(crate) fn missing(&self) -> u64 {
        if self.header.level == Some(ZERO_PAGES) {
            return 0;
        }
        let stored = self.bitmaps.stored().saturating_mul(self.page());
        self.memory().saturating_sub(stored)
    }

    /// What was wrong with the page that could not be read.
    pub(crate) fn take_fault(&self) -> Option<ImageError> {
        self.fault.lock().take()
    }

    fn page(&self) -> u64 {
        u64::from(self.header.page_size)
    }

    fn io(&self, error: io::Error) -> ImageError {
        let path = self.path.clone();
        // What is read was in the file when it was opened.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return ImageError::Shrunk { path };
        }
        ImageError::Io { path, error }
    }

    pub(crate) fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        let run = self.bitmaps.run(from.get() / self.page())?;
        PhysRange::new(
            PhysAddr::new(run.start * self.page()),
            (run.end - run.start) * self.page(),
        )
    }

    /// Where the file has the byte at `addr`; `None` where it is packed.
    pub(crate) fn locate(&self, addr: PhysAddr) -> Option<u64> {
        let page = addr.get() / self.page();
        self.bitmaps.run(page).filter(|run| run.contains(&page))?;
        let window = self.bitmaps.window(&self.source, page).ok()?;
        let found = window
            .is_stored(0)
            .then(|| self.descriptor(window.index).ok())??;
        let plain = Packing::of(found.flags) == Some(Packing::Plain);
        plain.then(|| self.source.locate(found.offset + addr.get() % self.page()))?
    }

    pub(crate) fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        let (page, into) = (addr.get() / self.page(), addr.get() % self.page());
        let fail = |len: u64, kind| MemError { addr, len, kind };
        let run = self.bitmaps.run(page).filter(|run| run.contains(&page));
        let run = run.ok_or(fail(len as u64, MemErrorKind::Outside))?;
        if len == 0 {
            return Ok(Chunk::Bytes(&[]));
        }
        // Bytes from the address to the end of so many pages, as far as they were asked for.
        let bytes = |pages: u64| (pages * self.page() - into).min(len as u64);
        let failed = |fault| match fault {
            Fault::NotStored => fail(bytes(1), MemErrorKind::NotStored),
            Fault::Error(error) => {
                *self.fault.lock() = Some(error);
                fail(bytes(1), MemErrorKind::Unreadable)
            }
        };
        let window = self.bitmaps.window(&self.source, page);
        let window = window.map_err(|error| failed(Fault::Error(self.io(error))))?;
        let wanted = (into + len as u64)
            .div_ceil(self.page())
            .min(run.end - page);
        if !window.is_stored(0) {
            let left_out = bytes(window.alike(wanted));
            return if self.header.level == Some(ZERO_PAGES) {
                Ok(Chunk::Zeros(usize::try_from(left_out).unwrap_or(len)))
            } else {
                Err(fail(left_out, MemErrorKind::NotStored))
            };
        }
        let stored = window.alike(wanted.min(PAGES));
        let first = self.ready(window.index, page).map_err(failed)?;
        let alike = |ahead: &u64| !matches!(self.ready(window.index + ahead, page + ahead), Ok(state) if state == first);
        let have = (1..stored).find(alike).unwrap_or(stored);
        let len = usize::try_from(bytes(have)).unwrap_or(len);
        if first == State::Zero {
            return Ok(Chunk::Zeros(len));
        }
        let into = usize::try_from(into).unwrap_or(0);
        let view = self
            .cache
            .get()
            .and_then(|cache| cache.get(window.index, into, len));
        view.map(Chunk::Bytes)
            .ok_or(fail(len as u64, MemErrorKind::Unreadable))
    }

    /// As [`Kdump::chunk`], by the bitmaps alone: no page is unpacked.
    pub(crate) fn extent(&self, addr: PhysAddr, len: usize) -> Result<usize, MemError> {
        let (page, into) = (addr.get() / self.page(), addr.get() % self.page());
        let run = self.bitmaps.run(page).filter(|run| run.contains(&page));
        let window = self.bitmaps.window(&self.source, page);
        let stored = window.ok().filter(|window| window.is_stored(0));
        let (Some(run), Some(window), true) = (run, stored, len > 0) else {
            // Nothing is unpacked there either.
            return self.chunk(addr, len).map(|chunk| chunk.len());
        };
        let wanted = (into + len as u64).div_ceil(self.page());
        let stored = window.alike(wanted.min(run.end - page));
        let is_there = |ahead: u64| {
            let found = self.descriptor(window.index + ahead);
            found.is_ok_and(|found| {
                let end = found.offset.checked_add(u64::from(found.size));
                found.offset != 0 && end.is_some_and(|end| end <= self.source.len())
            })
        };
        let have = if self.is_cut_short() {
            (0..stored).find(|ahead| !is_there(*ahead))
        } else {
            None
        };
        let bytes = |pages: u64| (pages * self.page() - into).min(len as u64);
        match have {
            Some(0) => Err(MemError {
                addr,
                len: bytes(1),
                kind: MemErrorKind::NotStored,
            }),
            have => Ok(usize::try_from(bytes(have.unwrap_or(stored))).unwrap_or(len)),
        }
    }

    fn descriptor(&self, index: u64) -> io::Result<Descriptor> {
        let mut bytes = [0; DESCRIPTOR];
        let at = self.header.descriptors + index * DESCRIPTOR as u64;
        self.source.read_at(at, &mut bytes)?;
        Ok(Descriptor::new(&bytes))
    }

    /// Sees to it that stored page number `index`, which is page `page` of memory, is in the cache.
    fn ready(&self, index: u64, page: u64) -> Result<State, Fault> {
        let cache = self.cache()?;
        let state = cache.state(index);
        if state != State::Unread {
            return Ok(state);
        }
        let descriptor = match self.descriptor(index) {
            Ok(descriptor) => descriptor,
            Err(_) if self.cut_short => return Err(Fault::NotStored),
            Err(error) => return Err(Fault::Error(self.io(error))),
        };
        if self.is_zero(descriptor) {
            return Ok(State::Zero);
        }
        let mut bytes = vec![0; self.header.page_size as usize];
        self.with_unpacker(|unpacker| self.unpack(unpacker, descriptor, page, &mut bytes))?;
        let state = self.keep(cache, index, &bytes)?;
        if state == State::Zero {
            *self.zero.lock() = Some(descriptor);
        }
        Ok(state)
    }

    fn cache(&self) -> Result<&Cache, Fault> {
        if let Some(cache) = self.cache.get() {
            return Ok(cache);
        }
        let made = Cache::new(self.bitmaps.stored(), self.header.page_size as usize);
        let made = made.map_err(|error| Fault::Error(temporary(error)))?;
        Ok(self.cache.get_or_init(|| made))
    }

    fn keep(&self, cache: &Cache, index: u64, bytes: &[u8]) -> Result<State, Fault> {
        let state = cache.put(index, bytes);
        let state = state.map_err(|error| Fault::Error(temporary(error)))?;
        if state == State::Cached {
            let mut unpacked = self.unpacked.lock();
            *unpacked += bytes.len() as u64;
            if *unpacked > self.limit {
                let found = format!("more than {} bytes in the pages that are read", self.limit);
                let expected = "a dump that unpacks to no more: --max-unpacked raises the limit";
                let error = ImageError::damaged("kdump dump is too large", 0, found, expected);
                return Err(Fault::Error(error));
            }
        }
        Ok(state)
    }

    fn is_zero(&self, descriptor: Descriptor) -> bool {
        *self.zero.lock() == Some(descriptor)
    }

    fn with_unpacker<T>(&self, work: impl FnOnce(&mut Unpacker) -> T) -> T {
        let idle = self.unpackers.lock().pop();
        let mut unpacker = idle.unwrap_or_else(Unpacker::new);
        let done = work(&mut unpacker);
        self.unpackers.lock().push(unpacker);
        done
    }

    /// Unpacks page `page` of memory, whose descriptor was read, into `bytes`.
    fn unpack(
        &self,
        unpacker: &mut Unpacker,
        descriptor: Descriptor,
        page: u64,
        bytes: &mut [u8],
    ) -> Result<(), Fault> {
        let Descriptor {
            offset,
            size,
            flags,
        } = descriptor;
        let damaged = |what: &str, found: String, expected: String| {
            let what = format!(
                "{what} of page {page:#x} (memory at {:#x})",
                page * self.page()
            );
            Err(Fault::Error(ImageError::damaged(
                what, offset, found, expected,
            )))
        };
        let end = offset.checked_add(u64::from(size));
        let gone = offset == 0 || end.is_none_or(|end| end > self.source.len());
        if gone && self.is_cut_short() {
            return Err(Fault::NotStored);
        }
        let Some(packing) = Packing::of(flags) else {
            let expected = "0, 1 (zlib), 2 (lzo), 4 (snappy) or 0x20 (zstd)";
            return damaged(
                "flags in the descriptor",
                format!("{flags:#x}"),
                expected.to_owned(),
            );
        };
        let most = self.header.page_size;
        let fits = if packing == Packing::Plain {
            size == most
        } else {
            (1..=most).contains(&size)
        };
        if !fits {
            let expected = if packing == Packing::Plain {
                ""
            } else {
                "1 to "
            };
            return damaged(
                "size in the descriptor",
                size.to_string(),
                format!("{expected}{most}"),
            );
        }
        if gone || offset < self.data {
            let expected = format!("{:#x} to {:#x}", self.data, self.source.len());
            return damaged(
                "offset in the descriptor",
                format!("{size} bytes at {offset:#x}"),
                expected,
            );
        }
        unpacker.packed.resize(size as usize, 0);
        let read = self.source.read_at(offset, &mut unpacker.packed);
        read.map_err(|error| Fault::Error(self.io(error)))?;
        unpacker.unpack(packing, bytes).or_else(|found| {
            let expected = format!("{most} bytes packed by {packing:?}").to_lowercase();
            damaged("contents", found, expected)
        })
    }
}

impl fmt::Debug for Kdump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            header,
            bitmaps,
            ..
        } = self;
        let mut out = f.debug_struct("Kdump");
        out.field("path", path)
            .field("header", header)
            .field("bitmaps", bitmaps)
            .finish_non_exhaustive()
    }
}
