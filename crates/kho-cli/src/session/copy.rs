//! Contents from one file to another, holes left out.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kho_mem::PAGE_SIZE;
use kho_memfd::Piece;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error::Failure;

/// Bytes that are read at once.
const BATCH: usize = 1 << 20;

static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// A file, and what to call it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl Named {
    fn reading(&self, error: impl std::fmt::Display) -> Failure {
        Failure::Input(vec![("error", format!("{}: {error}", self.path.display()))])
    }

    fn writing(&self, error: io::Error) -> Failure {
        let path = self.path.clone();
        Failure::Write { path, error }
    }
}

/// Copies the first `len` bytes of `from` to `to`, which is empty, and tells `each` of every piece.
/// Zero pages become holes.
pub(super) fn copy(
    from: &Named,
    to: &Named,
    len: u64,
    each: &mut dyn FnMut(Piece<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut buffer = vec![0; BATCH];
    let mut at = 0;
    while at < len {
        let (hole, data) = next(&from.file, at, len);
        if hole > 0 {
            each(Piece::Hole(hole))?;
            at += hole;
        }
        let end = at + data;
        while at < end {
            let room = usize::try_from(end - at).map_or(BATCH, |left| left.min(BATCH));
            let bytes = buffer.get_mut(..room).unwrap_or_default();
            let read = match from.file.read_at(bytes, at) {
                Ok(0) => return Err(from.reading("it became shorter while it was read")),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(from.reading(error)),
            };
            let bytes = bytes.get(..read).unwrap_or_default();
            write(&to.file, bytes, at).map_err(|error| to.writing(error))?;
            each(Piece::Data(bytes))?;
            at += read as u64;
        }
    }
    to.file.set_len(len).map_err(|error| to.writing(error))
}

/// How many bytes from `at` on are a hole, and how many behind it are data, up to `len` in all.
fn next(file: &File, at: u64, len: u64) -> (u64, u64) {
    let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.clamp(at, len),
        // No data from here on.
        Err(Errno::NXIO) => len,
        // A file system that does not know holes.
        Err(_) => return (0, len - at),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(data)).unwrap_or(len);
    (data - at, end.clamp(data, len) - data)
}

/// Writes what is not zero of `bytes`, page by page, to the offset `at`.
fn write(to: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let is_zero = |page: &[u8]| ZEROS.starts_with(page);
    let mut offset = at;
    let pages: Vec<_> = bytes.chunks(PAGE_SIZE).collect();
    for run in pages.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let len: usize = run.iter().map(|page| page.len()).sum();
        if run.first().is_some_and(|page| !is_zero(page)) {
            let from = usize::try_from(offset - at).unwrap_or(usize::MAX);
            let run = bytes.get(from..).and_then(|rest| rest.get(..len));
            to.write_all_at(run.unwrap_or_default(), offset)?;
        }
        offset += len as u64;
    }
    Ok(())
}

/// The file behind `fd` with a position of its own, so that looking for holes leaves that of `fd`;
/// `fd` itself where it can not be opened again.
pub(super) fn again(fd: &OwnedFd, path: &Path) -> Result<Named, Failure> {
    let file = match File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
        Ok(file) => file,
        Err(_) => {
            let error = |error| Failure::Input(vec![("error", format!("{error}"))]);
            fd.try_clone().map_err(error)?.into()
        }
    };
    let path = path.to_owned();
    Ok(Named { file, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn temp(bytes: &[(u64, &[u8])], len: u64) -> Named {
        let file = tempfile::tempfile().unwrap();
        for (at, bytes) in bytes {
            file.write_all_at(bytes, *at).unwrap();
        }
        file.set_len(len).unwrap();
        let path = "file".into();
        Named { file, path }
    }

    fn contents(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// Copies, and checks what arrives and what is told of it.
    fn check(bytes: &[(u64, &[u8])], len: u64) -> File {
        let (from, to) = (temp(bytes, len), temp(&[], 0));
        let mut told = Vec::new();
        copy(&from, &to, len, &mut |piece| {
            match piece {
                Piece::Data(bytes) => told.extend_from_slice(bytes),
                Piece::Hole(len) => told.resize(told.len() + usize::try_from(len).unwrap(), 0),
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(contents(&to.file), contents(&from.file));
        assert_eq!(told, contents(&from.file));
        to.file
    }

    #[test]
    fn contents_arrive_whatever_is_hole() {
        let page = [7; PAGE_SIZE];
        check(&[], 0);
        check(&[(0, b"short")], 5);
        check(&[(0, b"short")], 9000);
        check(&[(5000, b"middle")], 3 << 20);
        check(
            &[(0, &page), (1 << 20, &page), (3 << 20, &page)],
            (3 << 20) + 4096,
        );
        check(
            &[(0, &[0; 3 * PAGE_SIZE]), (2 * PAGE_SIZE as u64, &page)],
            20000,
        );
    }

    #[test]
    fn what_is_zero_takes_no_room() {
        let zeros = vec![0; 4 << 20];
        let file = check(&[(0, &zeros), (1 << 20, b"x")], 4 << 20);
        assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn a_file_that_shrinks_is_told() {
        let (from, to) = (temp(&[(0, b"abc")], 3), temp(&[], 0));
        let failure = copy(&from, &to, 10, &mut |_| Ok(()));
        // What is behind the end is a hole to some file systems, and no data to others.
        if let Err(failure) = failure {
            assert!(format!("{failure:?}").contains("shorter"), "{failure:?}");
        }
    }
}
