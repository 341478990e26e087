//! This initramfs, packed once more for the next kernel.

use std::fs;
use std::io;
use std::path::Path;

use kho_guest::PLANS;
use kho_guest::cpio::Cpio;

/// The kernel that the plan may run.
pub(crate) const KERNEL: &str = "/bzImage";

/// The archive that this system was unpacked from.
pub(crate) fn pack() -> io::Result<Vec<u8>> {
    let mut files = vec!["/init".to_owned(), KERNEL.to_owned()];
    for entry in fs::read_dir(PLANS)? {
        files.push(entry?.path().display().to_string());
    }
    let mut cpio = Cpio::new();
    cpio.directory("dev");
    cpio.character("dev/console", (5, 1));
    cpio.directory(PLANS.trim_start_matches('/'));
    for file in files.iter().filter(|file| Path::new(file).exists()) {
        cpio.file(file.trim_start_matches('/'), &fs::read(file)?);
    }
    Ok(cpio.finish())
}
