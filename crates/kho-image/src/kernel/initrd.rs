//! The modules of an initrd: cpio archives one after the other, plain and packed, as Linux takes them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::modules::{is_module, module};
use super::{KernelImage, KernelOptions, Modules, ModulesProgress};
use crate::image::ImageError;
use crate::unpack::{Source, Unpacker};

const ENTRIES_MAX: usize = 1_000_000;
/// The kernel's own limit of a path.
const NAME_MAX: u32 = 4096;
const HEADER: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";

/// Reads every module in the initrd at `path`, or in the bytes `range` of that file, where a unified kernel image has
/// one ([`Unified::initrd`](super::Unified::initrd)). Archives in the cpio formats `newc` and `crc` follow each other,
/// those of early microcode first, each plain or in any [`Compression`](super::Compression). Work is bounded: 1000000
/// entries; each packed archive and each module have at most [`KernelOptions::max_unpacked`] bytes. One module at a
/// time is held in memory.
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
    let limit = options.max_unpacked;
    let mut modules = Modules::default();
    let mut visit = |file: Entry<'_>| {
        if !progress(&file.path, file.done, file.total) {
            return Err(ImageError::Interrupted);
        }
        let mut bytes = Vec::new();
        let contents = file.contents.take(limit.saturating_add(1));
        let read = { contents }.read_to_end(&mut bytes);
        read.map_err(|error| damaged(file.done, error, "a whole entry"))?;
        let strings = match bytes.len() as u64 > limit {
            true => Err(damaged(
                file.done,
                file.size,
                format!("at most {limit} bytes"),
            )),
            false => KernelImage::from_bytes(&bytes, options).and_then(module),
        };
        modules.add(file.path, strings);
        Ok(())
    };
    each_module(path, range, limit, &mut visit)?;
    modules.found.sort_by(|one, two| one.path.cmp(&two.path));
    modules.errors.sort_by(|one, two| one.path.cmp(&two.path));
    Ok(modules)
}

/// The paths of the modules in an initrd, as [`read_initrd`] finds them, in the order of its archives. None is read.
///
/// # Errors
///
/// The file can not be read, is no initrd, or is damaged.
pub fn list_initrd(
    path: &Path,
    range: Option<Range<u64>>,
    options: &KernelOptions,
) -> Result<Vec<PathBuf>, ImageError> {
    let mut paths = Vec::new();
    let mut visit = |file: Entry<'_>| {
        paths.push(file.path);
        Ok(())
    };
    each_module(path, range, options.max_unpacked, &mut visit)?;
    Ok(paths)
}

/// A module, as it comes by.
struct Entry<'e> {
    path: PathBuf,
    size: u32,
    contents: &'e mut dyn Read,
    // How much of the initrd was read before its archive, of how much.
    done: usize,
    total: usize,
}

type Visit<'v> = dyn FnMut(Entry<'_>) -> Result<(), ImageError> + 'v;

fn each_module(
    path: &Path,
    range: Option<Range<u64>>,
    limit: u64,
    visit: &mut Visit<'_>,
) -> Result<(), ImageError> {
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
    let len = range.end.saturating_sub(range.start);
    let mut archives = Archives {
        visit,
        entries: 0,
        done: 0,
        total: usize::try_from(len).unwrap_or(usize::MAX),
    };
    let (mut at, mut seen) = (0, false);
    while at < len {
        let start = range.start.saturating_add(at);
        file.seek(SeekFrom::Start(start)).map_err(io)?;
        let mut input = Source::of((&file).take(len - at));
        archives.done = usize::try_from(at).unwrap_or(usize::MAX);
        let of = |error| damaged(archives.done, error, WHOLE);
        match after_zeros(&mut input).map_err(of)? {
            None => break,
            Some(b'0') => {
                archives.one(&mut input)?;
                at += input.taken();
            }
            Some(_) => {
                let zeros = input.taken();
                let head = input.peek(8).map_err(of)?.iter();
                let head: Vec<_> = head.map(|byte| format!("{byte:02x}")).collect();
                let unpacker = Unpacker::open(&mut input).map_err(of)?;
                let Some(unpacker) = unpacker else {
                    return Err(damaged(archives.done, head.join(" "), PLAIN_OR_PACKED));
                };
                let mut unpacker = unpacker.lenient();
                archives.all(
                    &mut Source::of((&mut unpacker).take(limit.saturating_add(1))),
                    limit,
                )?;
                at += zeros + unpacker.taken().max(1);
            }
        }
        seen = true;
    }
    match seen {
        true => Ok(()),
        false => Err(damaged(0, "nothing", PLAIN_OR_PACKED)),
    }
}

const WHOLE: &str = "a whole archive";
const PLAIN_OR_PACKED: &str = "a cpio archive, plain or packed";

fn damaged(at: usize, found: impl ToString, expected: impl ToString) -> ImageError {
    ImageError::damaged("initrd", at as u64, found, expected)
}

/// Passes zeros over, which stand between archives; the byte that follows, `None` at the end.
fn after_zeros(input: &mut Source<'_>) -> io::Result<Option<u8>> {
    loop {
        let rest = input.fill_buf()?;
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        let (first, is_end) = (rest.get(zeros).copied(), rest.is_empty());
        input.consume(zeros);
        if first.is_some() || is_end {
            return Ok(first);
        }
    }
}

struct Archives<'v, 'f> {
    visit: &'v mut Visit<'f>,
    entries: usize,
    done: usize,
    total: usize,
}

impl Archives<'_, '_> {
    /// Reads the archives that one packed one holds, of at most `limit` bytes.
    fn all(&mut self, input: &mut Source<'_>, limit: u64) -> Result<(), ImageError> {
        loop {
            match after_zeros(input) {
                Ok(None) => break,
                Ok(Some(b'0')) => self.one(input)?,
                Ok(Some(_)) => {
                    return Err(damaged(self.done, "something else in it", "a cpio archive"));
                }
                // Padding of less than a block's header, which lz4 has no word for.
                Err(error) if input.taken() > 0 && error.kind() == io::ErrorKind::UnexpectedEof => {
                    break;
                }
                Err(error) => return Err(damaged(self.done, error, WHOLE)),
            }
        }
        if input.taken() > limit {
            let found = format!("more than {limit} bytes");
            return Err(damaged(self.done, found, "an archive of no more"));
        }
        Ok(())
    }

    /// Reads one archive, up to its trailer.
    fn one(&mut self, input: &mut Source<'_>) -> Result<(), ImageError> {
        let at = self.done;
        let cut = |error: io::Error, what: &str| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(at, "the end of the file", what),
            _ => damaged(at, error, what),
        };
        loop {
            let mut header = [0; HEADER];
            let read = input.read_exact(&mut header);
            read.map_err(|error| cut(error, "a whole entry's header"))?;
            if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
                let found = header.get(..6).unwrap_or_default().escape_ascii();
                return Err(damaged(at, found, "070701 or 070702"));
            }
            let field = |index: usize| {
                let text = header.get(6 + 8 * index..14 + 8 * index)?;
                u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
            };
            let (Some(mode), Some(size), Some(len)) = (field(1), field(6), field(11)) else {
                return Err(damaged(at, "an entry's header", "hexadecimal digits"));
            };
            if len > NAME_MAX {
                return Err(damaged(
                    at,
                    format!("a name of {len} bytes"),
                    format!("at most {NAME_MAX}"),
                ));
            }
            // Name and contents are padded to 4 bytes.
            let mut name = vec![0; (HEADER + len as usize).next_multiple_of(4) - HEADER];
            let read = input.read_exact(&mut name);
            read.map_err(|error| cut(error, "a whole entry's name"))?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            if name == TRAILER {
                return Ok(());
            }
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(damaged(
                    at,
                    format!("more than {ENTRIES_MAX} entries"),
                    "an initrd",
                ));
            }
            let path = PathBuf::from(OsStr::from_bytes(name));
            let is_file = mode & 0o170_000 == 0o100_000;
            let mut contents = input.take(u64::from(size));
            // A file with several names has its contents at the last of them.
            if is_file && size > 0 && path.file_name().is_some_and(is_module) {
                (self.visit)(Entry {
                    path,
                    size,
                    contents: &mut contents,
                    done: at,
                    total: self.total,
                })?;
            }
            let rest = io::copy(&mut contents, &mut io::sink());
            rest.map_err(|error| cut(error, "a whole entry"))?;
            if contents.limit() > 0 {
                return Err(damaged(at, "the end of the file", "a whole entry"));
            }
            let padding = u64::from(size).next_multiple_of(4) - u64::from(size);
            let rest = io::copy(&mut input.take(padding), &mut io::sink());
            rest.map_err(|error| cut(error, "a whole entry"))?;
        }
    }
}
