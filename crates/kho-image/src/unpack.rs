//! zstd: into memory where the result is small, into a sparse temporary file otherwise.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use kho_mem::FileMap;

use crate::elf;
use crate::image::{Bytes, ImageError, Progress};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A skippable frame, with which parallel compressors begin: 0x184d2a50 to 0x184d2a5f.
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// Results up to this size stay in memory.
const IN_MEMORY: usize = 16 << 20;
/// Bytes that are decompressed at a time; zero ones of them become holes.
const STEP: usize = 256 << 10;
/// Where an ELF core says how long it is, what comes after is read this far only: enough for
/// padding and the checksum, not for a bomb.
const SLACK: u64 = 1 << 20;

pub(crate) fn is_zstd(map: &FileMap) -> bool {
    match map.get(0..MAGIC.len()) {
        Some([kind @ 0x50..=0x5f, rest @ ..]) if *rest == SKIPPABLE => {
            tracing::debug!(kind, "a skippable frame comes first");
            true
        }
        Some(magic) => *magic == MAGIC,
        None => false,
    }
}

/// A failure of the temporary file, which is not the image's fault.
pub(crate) fn temporary(error: io::Error) -> ImageError {
    ImageError::Io {
        path: std::env::temp_dir(),
        error,
    }
}

fn broken(error: &io::Error, done: u64) -> ImageError {
    let cut = error.kind() == io::ErrorKind::UnexpectedEof;
    let what = if cut {
        "zstd stream is cut short"
    } else {
        "zstd stream can not be unpacked"
    };
    let found = format!("{error} after {done:#x} unpacked bytes");
    ImageError::damaged(
        what,
        0,
        found,
        "a whole zstd stream with a window of at most 128 MiB",
    )
}

/// A reader that shows how much of it was read.
struct Counted<'m> {
    map: &'m FileMap,
    at: usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(self.map.len() - self.at);
        if let (Some(to), Some(from)) = (buf.get_mut(..len), self.map.get(self.at..self.at + len)) {
            to.copy_from_slice(from);
        }
        self.at += len;
        Ok(len)
    }
}

/// What a stream unpacks to.
pub(crate) struct Unpacked {
    pub(crate) bytes: Bytes,
    /// What is wrong with a stream that is cut short; the bytes are those before that.
    pub(crate) cut: Option<ImageError>,
}

pub(crate) fn zstd(
    map: &FileMap,
    limit: u64,
    progress: &mut Progress<'_>,
) -> Result<Unpacked, ImageError> {
    let total = map.len() as u64;
    let source = Counted { map, at: 0 };
    let mut decoder = zstd::Decoder::new(source).map_err(temporary)?;
    let mut memory: Vec<u8> = Vec::new();
    let mut spilled: Option<File> = None;
    let mut buf = vec![0; STEP];
    let mut done = 0u64;
    let (mut needed, mut cut) = (None, None);
    while cut.is_none() {
        let mut len = 0;
        while let Some(rest) = buf.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match decoder.read(rest) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    cut = Some(broken(&error, done + len as u64));
                    break;
                }
                Err(error) => return Err(broken(&error, done + len as u64)),
            }
        }
        let piece = buf.get(..len).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        match &mut spilled {
            Some(file) => write_sparse(file, piece).map_err(temporary)?,
            None => {
                memory.extend_from_slice(piece);
                if needed.is_none() {
                    needed = elf::needed(&memory);
                }
                if memory.len() > IN_MEMORY {
                    let mut file = tempfile::tempfile().map_err(temporary)?;
                    write_sparse(&mut file, &memory).map_err(temporary)?;
                    memory = Vec::new();
                    spilled = Some(file);
                }
            }
        }
        done += len as u64;
        if done > limit {
            return Err(ImageError::damaged(
                "zstd stream is too long",
                0,
                format!("more than {limit} bytes"),
                "an image that unpacks to no more: --max-unpacked raises the limit",
            ));
        }
        let read = decoder.get_ref().get_ref().at as u64;
        if !progress(read, Some(total)) {
            return Err(ImageError::Interrupted);
        }
        if needed.is_some_and(|needed: u64| done > needed.saturating_add(SLACK)) {
            tracing::debug!(done, "what follows the core's segments is not unpacked");
            break;
        }
    }
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
        if page.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(
                i64::try_from(page.len()).map_err(io::Error::other)?,
            ))?;
        } else {
            file.write_all(page)?;
        }
    }
    Ok(())
}
