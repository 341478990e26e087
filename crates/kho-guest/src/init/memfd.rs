//! Memfds, made and looked at.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use kho_guest::{FileSpec, Found, Hasher};
use kho_mem::PAGE_SIZE_U64;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

/// How much is read at once.
const PART: usize = 1 << 20;

/// Makes the file of `spec`.
pub(crate) fn make(spec: &FileSpec) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("lab", flags)?);
    if spec.size_first {
        file.set_len(spec.size)?;
    }
    for (from, to) in &spec.data {
        let mut page = *from;
        while page < *to {
            let end = page.saturating_add(spec.write_pages.max(1)).min(*to);
            file.write_all_at(&spec.pages(page, end), page * PAGE_SIZE_U64)?;
            page = end;
        }
    }
    file.set_len(spec.size)?;
    file.seek(SeekFrom::Start(spec.pos))?;
    if spec.seals != 0 {
        fcntl_add_seals(&file, SealFlags::from_bits_retain(spec.seals))?;
    }
    Ok(file)
}

/// What is behind `fd`.
pub(crate) fn look(fd: impl AsFd) -> io::Result<Found> {
    // A second descriptor of the same open file.
    let mut file = File::from(fd.as_fd().try_clone_to_owned()?);
    let meta = file.metadata()?;
    let pos = file.stream_position()?;
    let seals = fcntl_get_seals(&file)?;
    let mut hash = Hasher::default();
    let (mut part, mut at) = (vec![0; PART], 0);
    loop {
        let read = file.read_at(&mut part, at)?;
        if read == 0 {
            break;
        }
        hash.update(part.get(..read).unwrap_or_default());
        at += read as u64;
    }
    Ok(Found {
        size: meta.size(),
        pos,
        seals: seals.bits(),
        blocks: meta.blocks(),
        sha256: hash.finish(),
    })
}
