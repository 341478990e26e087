//! Where unpacked bytes go: memory, or a sparse temporary file where they are many.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use kho_mem::FileMap;

use super::{Compression, Unpacker};
use crate::dump::pages::is_zero;
use crate::elf;
use crate::image::{Bytes, ImageError, Progress};

/// Images up to this size stay in memory.
const IN_MEMORY: usize = 16 << 20;
/// Bytes that are unpacked at a time.
const STEP: usize = 256 << 10;
/// Bytes that are asked for at a time.
const PART: usize = 16 << 10;
/// Where an ELF core says how long it is, what comes after is read this far only: enough for
/// padding and the checksum, not for a bomb.
const SLACK: u64 = 1 << 20;

/// How many bytes may come out, and what raises that.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) bytes: u64,
    pub(crate) advice: &'static str,
}

/// What came out.
pub(crate) struct Unpacked<T> {
    pub(crate) bytes: T,
    /// The error of a packed file that ended before its stream did: `bytes` came before.
    pub(crate) cut: Option<ImageError>,
}

/// What unpacks to more than the limit.
pub(crate) fn too_long(
    compression: Compression,
    offset: u64,
    limit: Limit,
    found: &str,
) -> ImageError {
    ImageError::damaged(
        format!("{compression} stream is too long"),
        offset,
        format!("{found} than {} bytes", limit.bytes),
        format!("an image that unpacks to no more: {}", limit.advice),
    )
}

/// A failure of the temporary file, which is not the image's fault.
pub(crate) fn temporary(error: io::Error) -> ImageError {
    ImageError::Io {
        path: std::env::temp_dir(),
        error,
    }
}

/// Passes what `unpacker` reads to `sink` until that says that it is enough. The packed bytes, of which there are
/// `total`, lie at `offset` of what they were found in. Returns the error of a file that is cut short.
fn pump(
    mut unpacker: Unpacker<'_>,
    (offset, total): (u64, u64),
    limit: Limit,
    progress: &mut Progress<'_>,
    sink: &mut dyn FnMut(&[u8]) -> Result<bool, ImageError>,
) -> Result<Option<ImageError>, ImageError> {
    let mut buf = vec![0; STEP];
    let mut done = 0u64;
    loop {
        let mut len = 0;
        let mut failed = None;
        // As much as there is room for: whole pages, of which those of zeros become holes.
        while let Some(room) = buf.get_mut(len..).filter(|room| !room.is_empty()) {
            // A reader that fails may lose what it had unpacked for the same call.
            let part = room.len().min(PART);
            match unpacker.read(room.get_mut(..part).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if !progress(unpacker.taken(), Some(total)) {
                        return Err(ImageError::Interrupted);
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        done += len as u64;
        if done > limit.bytes {
            return Err(too_long(unpacker.compression(), offset, limit, "more"));
        }
        let piece = buf.get(..len).unwrap_or_default();
        let enough = !piece.is_empty() && !sink(piece)?;
        if let Some(error) = failed {
            let cut = error.kind() == io::ErrorKind::UnexpectedEof;
            let how = if cut {
                "is cut short"
            } else {
                "can not be unpacked"
            };
            let error = ImageError::damaged(
                format!("{} stream {how}", unpacker.compression()),
                offset.saturating_add(unpacker.taken()),
                format!("{error} after {done:#x} unpacked bytes"),
                "a whole stream with a window of at most 128 MiB",
            );
            return if cut { Ok(Some(error)) } else { Err(error) };
        }
        if piece.is_empty() || enough {
            return Ok(None);
        }
        if !progress(unpacker.taken(), Some(total)) {
            return Err(ImageError::Interrupted);
        }
    }
}

/// Unpacks `data`, which lies at `offset` of what it was found in. `look` sees the first bytes, to refuse them
/// before all is unpacked. Bytes after the last stream are passed over.
pub(crate) fn to_memory(
    data: &[u8],
    offset: u64,
    limit: Limit,
    look: &dyn Fn(&[u8]) -> Result<(), ImageError>,
    progress: &mut Progress<'_>,
) -> Result<Vec<u8>, ImageError> {
    let opened = Unpacker::open(data).map_err(temporary)?;
    let unpacker = opened.ok_or_else(|| {
        ImageError::damaged("packed bytes", offset, "bytes of no known kind", "a stream")
    })?;
    let mut out: Vec<u8> = Vec::new();
    let place = (offset, data.len() as u64);
    let cut = pump(unpacker.lenient(), place, limit, progress, &mut |piece| {
        out.try_reserve(piece.len())
            .map_err(|error| temporary(io::Error::other(error)))?;
        let first = out.is_empty();
        out.extend_from_slice(piece);
        if first {
            look(&out)?;
        }
        Ok(true)
    })?;
    cut.map_or(Ok(out), Err)
}

/// Unpacks a dump. Bytes after the segments of an ELF core are not unpacked.
pub(crate) fn to_image(
    unpacker: Unpacker<'_>,
    total: u64,
    limit: Limit,
    progress: &mut Progress<'_>,
) -> Result<Unpacked<Bytes>, ImageError> {
    let mut memory: Vec<u8> = Vec::new();
    let mut spilled: Option<File> = None;
    let mut done = 0u64;
    let mut needed = None;
    let cut = pump(unpacker, (0, total), limit, progress, &mut |piece| {
        match &mut spilled {
            Some(file) => write_sparse(file, piece).map_err(temporary)?,
            None => {
                memory.extend_from_slice(piece);
                needed = needed.or_else(|| elf::needed(&memory));
                if memory.len() > IN_MEMORY {
                    let mut file = tempfile::tempfile().map_err(temporary)?;
                    write_sparse(&mut file, &memory).map_err(temporary)?;
                    memory = Vec::new();
                    spilled = Some(file);
                }
            }
        }
        done += piece.len() as u64;
        Ok(needed.is_none_or(|needed: u64| done <= needed.saturating_add(SLACK)))
    })?;
    let bytes = match spilled {
        None => Bytes::Vec(memory),
        Some(file) => {
            // A hole at the end has no byte yet.
            file.set_len(done).map_err(temporary)?;
            FileMap::new(&file).map(Bytes::Map).map_err(temporary)?
        }
    };
    Ok(Unpacked { bytes, cut })
}

/// Writes `bytes` at the file's position, pages of zero as holes.
fn write_sparse(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    for page in bytes.chunks(kho_mem::PAGE_SIZE * 16) {
        if is_zero(page) {
            let len = i64::try_from(page.len()).map_err(io::Error::other)?;
            file.seek(SeekFrom::Current(len))?;
        } else {
            file.write_all(page)?;
        }
    }
    Ok(())
}
