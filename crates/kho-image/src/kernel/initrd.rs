//! The modules of an initrd: cpio archives one after the other, plain and packed, as Linux takes them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::modules::{is_module, module};
use super::{KernelImage, KernelOptions, Modules, ModulesProgress};
use crate::image::ImageError;
use crate::unpack::Unpacker;

const ENTRIES_MAX: usize = 1_000_000;
const HEADER: usize = 110;

/// Reads every module in the initrd at `path`, or in the bytes `range` of that file, where a unified kernel image has
/// one ([`Unified::initrd`](super::Unified::initrd)). Archives in the cpio formats `newc` and `crc` follow each other,
/// those of early microcode first, each plain or in any [`Compression`](super::Compression). Work is bounded: 1000000
/// entries; the file, each packed archive and each module have at most [`KernelOptions::max_unpacked`] bytes. They are held in memory.
///
/// # Errors
///
/// The file can not be read, is no initrd, or is damaged; `progress` said stop ([`ImageError::Interrupted`]). What is
/// wrong with single modules is in [`Modules::errors`].
///
/// ```no_run
/// use kho_image::kernel::{KernelOptions, read_initrd};
///
/// let options = KernelOptions::default();
/// let modules = read_initrd("/boot/initrd.img".as_ref(), None, &options, &mut |_, _, _| true)?;
/// println!("{} of its {} modules have compat strings", modules.found.len(), modules.read);
/// # Ok::<(), kho_image::ImageError>(())
/// ```
pub fn read_initrd(
    path: &Path,
    range: Option<Range<u64>>,
    options: &KernelOptions,
    progress: &mut ModulesProgress<'_>,
) -> Result<Modules, ImageError> {
    let io = |error| ImageError::Io {
        path: path.to_owned(),
        error,
    };
    let mut file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(io(io::Error::other("not a regular file")));
    }
    let range = range.unwrap_or(0..meta.len());
    file.seek(SeekFrom::Start(range.start)).map_err(io)?;
    let file = file.take(range.end.saturating_sub(range.start));
    let bytes = read(file, options.max_unpacked, 0)?;
    let mut reading = Reading {
        options,
        progress,
        modules: Modules::default(),
        entries: 0,
        total: bytes.len(),
        base: 0,
    };
    reading.archives(&bytes, true)?;
    let mut modules = reading.modules;
    modules.found.sort_by(|one, two| one.path.cmp(&two.path));
    modules.errors.sort_by(|one, two| one.path.cmp(&two.path));
    Ok(modules)
}

fn damaged(at: usize, found: impl ToString, expected: impl ToString) -> ImageError {
    ImageError::damaged("initrd", at as u64, found, expected)
}

fn read(from: impl Read, limit: u64, at: usize) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let read = from.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    match read {
        Ok(_) if bytes.len() as u64 > limit => {
            let found = format!("more than {limit} bytes");
            Err(damaged(at, found, "an archive of no more"))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(damaged(at, error, "a whole archive")),
    }
}

struct Reading<'r, 'p> {
    options: &'r KernelOptions,
    progress: &'r mut ModulesProgress<'p>,
    modules: Modules,
    entries: usize,
    // For the progress and errors: the file's bytes, and where in it the archives at hand lie.
    total: usize,
    base: usize,
}

impl Reading<'_, '_> {
    /// Reads the archives in `bytes`. Those in a packed one are plain.
    fn archives(&mut self, bytes: &[u8], packed: bool) -> Result<(), ImageError> {
        let mut at = 0;
        let mut seen = false;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with(b"07070") {
                at = self.archive(bytes, at)?;
                seen = true;
                continue;
            }
            if rest.first() == Some(&0) {
                at += 1;
                continue;
            }
            let here = self.base + if packed { at } else { 0 };
            let opened = if packed {
                Unpacker::open(rest)
            } else {
                Ok(None)
            };
            let opened = opened.map_err(|error| damaged(here, error, "a whole archive"))?;
            let Some(unpacker) = opened else {
                let head: Vec<_> = rest
                    .iter()
                    .take(8)
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                let expected = "a cpio archive, plain or packed";
                return Err(damaged(here, head.join(" "), expected));
            };
            let mut unpacker = unpacker.lenient();
            let inner = read(&mut unpacker, self.options.max_unpacked, here)?;
            let taken = usize::try_from(unpacker.taken())
                .unwrap_or(usize::MAX)
                .max(1);
            drop(unpacker);
            self.base = at;
            self.archives(&inner, false)?;
            self.base = 0;
            at = at.saturating_add(taken);
            seen = true;
        }
        match seen {
            true => Ok(()),
            false => Err(damaged(
                self.base,
                "nothing",
                "a cpio archive, plain or packed",
            )),
        }
    }

    /// Reads the archive at `at`; returns where it ends.
    fn archive(&mut self, bytes: &[u8], start: usize) -> Result<usize, ImageError> {
        let mut at = start;
        loop {
            let cut = |what: &str| damaged(self.base + at, "the end of the file", what);
            let header = bytes
                .get(at..)
                .and_then(|rest| rest.get(..HEADER))
                .ok_or_else(|| cut("a whole entry's header"))?;
            let field = |index: usize| {
                let text = header.get(6 + 8 * index..14 + 8 * index)?;
                usize::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
            };
            let magic = header.starts_with(b"070701") || header.starts_with(b"070702");
            let (Some(mode), Some(size), Some(len)) = (field(1), field(6), field(11)) else {
                return Err(damaged(
                    self.base + at,
                    "an entry's header",
                    "hexadecimal digits",
                ));
            };
            if !magic {
                let found = header.get(..6).unwrap_or_default().escape_ascii();
                return Err(damaged(self.base + at, found, "070701 or 070702"));
            }
            // Name and contents are padded to 4 bytes, from the archive's start on.
            let align = |to: usize| start + (to - start).next_multiple_of(4);
            let name_end = at + HEADER + len;
            let name = bytes.get(at + HEADER..name_end);
            let name = name.ok_or_else(|| cut("a whole entry's name"))?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let from = align(name_end);
            let contents = from.checked_add(size).and_then(|end| bytes.get(from..end));
            let contents = contents.ok_or_else(|| cut("a whole entry"))?;
            at = align(from + size);
            if name == b"TRAILER!!!" {
                return Ok(at);
            }
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                let found = format!("more than {ENTRIES_MAX} entries");
                return Err(damaged(self.base + at, found, "an initrd"));
            }
            let is_file = mode & 0o170_000 == 0o100_000;
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(name));
            // A file with several names has its contents at the last of them.
            if is_file && size > 0 && path.file_name().is_some_and(is_module) {
                if !(self.progress)(&path, self.base.max(start), self.total) {
                    return Err(ImageError::Interrupted);
                }
                let strings = KernelImage::from_bytes(contents, self.options).and_then(module);
                self.modules.add(path, strings);
            }
            if at >= bytes.len() {
                return Ok(at);
            }
        }
    }
}
