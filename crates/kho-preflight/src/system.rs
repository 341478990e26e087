//! What the running system says of itself below /proc and /sys, read with a limit.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use kho_mem::{PAGE_SIZE_U64, PhysAddr};

use crate::Error;

/// Files below /proc and /sys are shorter, a configuration unpacked included.
pub const FILE_MAX: u64 = 4 << 20;

/// Where a kernel shows its handovers.
pub const DEBUGFS: &str = "sys/kernel/debug/kho";
/// The handover that a kernel was given.
pub const KHO_IN: &str = "sys/kernel/debug/kho/in";
/// The handover to the next kernel.
pub const KHO_OUT: &str = "sys/kernel/debug/kho/out";
/// The root FDT of the handover to the next kernel.
pub const ROOT_FDT: &str = "sys/kernel/debug/kho/out/fdt";
/// The blobs of its subtrees, by their names.
pub const KHO_SUBTREES: &str = "sys/kernel/debug/kho/out/sub_fdts";

/// Where the bytes of a file are said to lie: what a file was made of it does not say.
pub const BASE: PhysAddr = PhysAddr::new(PAGE_SIZE_U64);

/// The first [`FILE_MAX`] bytes of the file `path`.
///
/// # Errors
///
/// It can not be read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(FILE_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text; what is no UTF-8 is replaced.
///
/// # Errors
///
/// It can not be read.
pub fn text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// The running kernel's release: the one below `root`, else what `uname` says.
///
/// # Errors
///
/// It could not be a part of a file's name.
pub fn release(root: &Path) -> Result<String, Error> {
    let path = root.join("proc/sys/kernel/osrelease");
    let release = match text(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
    };
    // It becomes a part of file names.
    if release.is_empty() || release.contains('/') || !kho_mem::is_printable(&release) {
        return Err(Error::Release(release.escape_debug().to_string()));
    }
    Ok(release)
}

/// The number that the file `path` holds.
#[must_use]
pub fn number(path: &Path) -> Option<u64> {
    text(path).ok()?.trim().parse().ok()
}
