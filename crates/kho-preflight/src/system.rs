//! What the running system says of itself below /proc and /sys, read with a limit.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use kho_compat::Compat;
use kho_core::RootFdt;
use kho_mem::{Damage, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr, SliceMem};

use crate::Error;

/// Files below /proc and /sys are shorter, a configuration unpacked included.
pub const FILE_MAX: u64 = 4 << 20;

/// Where a kernel shows its handovers.
pub const DEBUGFS: &str = "sys/kernel/debug/kho";
/// The root FDT of the handover to the next kernel.
pub const ROOT_FDT: &str = "sys/kernel/debug/kho/out/fdt";

/// The blobs of its subtrees, by their names.
pub const SUBTREES: &str = "sys/kernel/debug/kho/out/sub_fdts";

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

/// What a parameter of the kernel's command line says, the last one where there are several.
pub fn parameter(command_line: &str, name: &str) -> Option<String> {
    let mut values = command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values.next_back().map(str::to_owned)
}

/// As the kernel reads a switch.
pub fn is_off(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value.starts_with(['n', '0', 'f']) || value.starts_with("of")
}

/// The root FDT that a file holds.
#[derive(Debug)]
pub enum FdtFile {
    /// The whole.
    Whole(RootFdt),
    /// The beginning alone.
    Cut(Cut),
}

/// A root FDT of which the file has the beginning alone. Linux sizes the file of the one that it makes when
/// it makes it, and adds subtrees after that.
#[derive(Debug)]
pub struct Cut {
    /// Bytes in the file.
    pub shown: usize,
    /// Bytes that there are.
    pub total: usize,
    /// Its compat string, where that is among them.
    pub compatible: Option<String>,
}

/// Reads the root FDT that a file holds. Damage is told by its offset from [`BASE`].
///
/// # Errors
///
/// It is whole, and damaged.
pub fn root_fdt(bytes: &[u8]) -> Result<FdtFile, Damage> {
    match cut(bytes) {
        Some(cut) => Ok(FdtFile::Cut(cut)),
        None => whole_fdt(bytes).map(FdtFile::Whole),
    }
}

/// As [`root_fdt`], of one that is not cut.
///
/// # Errors
///
/// It is damaged.
pub fn whole_fdt(bytes: &[u8]) -> Result<RootFdt, Damage> {
    RootFdt::read(&SliceMem::new(BASE, &page(bytes)), BASE)
}

/// The page that a file may have the used part of.
pub fn page(bytes: &[u8]) -> Vec<u8> {
    let mut page = bytes.to_vec();
    page.resize(page.len().max(PAGE_SIZE), 0);
    page
}

/// What `bytes` are the beginning of, where they are cut.
fn cut(bytes: &[u8]) -> Option<Cut> {
    const MAGIC: u32 = 0xd00d_feed;
    let word = |at: usize| {
        let word = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*word))
    };
    let total = word(4)? as usize;
    let is_cut = word(0)? == MAGIC && (bytes.len() + 1..=PAGE_SIZE).contains(&total);
    is_cut.then(|| Cut {
        shown: bytes.len(),
        total,
        compatible: word(8).and_then(|at| first_compat(bytes.get(at as usize..)?)),
    })
}

/// The compat string among the properties of the root node, with which `structure` begins. The
/// properties' names are at the tree's end, which is not there: it is known by what it says.
fn first_compat(structure: &[u8]) -> Option<String> {
    const BEGIN_NODE: u32 = 1;
    const PROP: u32 = 3;
    let mut words = structure.chunks_exact(4);
    let mut next = || words.next()?.try_into().ok().map(u32::from_be_bytes);
    if (next()?, next()?) != (BEGIN_NODE, 0) {
        return None;
    }
    let mut at = 8usize;
    loop {
        let mut fields = structure.get(at..)?.chunks_exact(4);
        let mut next = || fields.next()?.try_into().ok().map(u32::from_be_bytes);
        let (token, len, _name) = (next()?, next()? as usize, next()?);
        if token != PROP {
            return None;
        }
        at = at.checked_add(12)?;
        let value = structure.get(at..)?.get(..len)?;
        let text = value.strip_suffix(b"\0").map(str::from_utf8);
        if let Some(Ok(text)) = text
            && Compat::parse(text).is_ok_and(|compat| compat.base().name() == kho_core::NAME)
        {
            return Some(text.to_owned());
        }
        at = at.checked_add(len.checked_next_multiple_of(4)?)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 233 bytes of the 345 of a root FDT, as Linux 7.3.4 showed them.
    fn shown() -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = [0xd00d_feed, 345, 0x38, 0x120, 0x28, 17, 16, 0, 0x39, 0xe8];
        let nothing = [0; 4];
        let node = [1, 0, 3, 7, 0x15];
        for word in header.iter().chain(&nothing).chain(&node) {
            bytes.extend_from_slice(&u32::to_be_bytes(*word));
        }
        bytes.extend_from_slice(b"kho-v4\0\0");
        bytes.resize(233, 0);
        bytes
    }

    fn cut_of(bytes: &[u8]) -> Cut {
        match root_fdt(bytes) {
            Ok(FdtFile::Cut(cut)) => cut,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cut_root_fdt_says_its_version() {
        let cut = cut_of(&shown());
        assert_eq!((cut.shown, cut.total), (233, 345));
        assert_eq!(cut.compatible.as_deref(), Some("kho-v4"));
        // Wherever it is cut nothing is read that is not there.
        for len in 8..233 {
            let cut = cut_of(shown().get(..len).unwrap());
            assert_eq!(cut.compatible.is_some(), len >= 0x38 + 20 + 7, "{len}");
        }
    }

    #[test]
    fn what_is_no_cut_root_fdt_is_told() {
        assert!(root_fdt(&[]).is_err());
        assert!(root_fdt(&[0xff; 64]).is_err());
        let mut bytes = shown();
        // More than a page is not cut: it is wrong.
        bytes[4..8].copy_from_slice(&u32::to_be_bytes(4097));
        assert!(root_fdt(&bytes).is_err());
        // Offsets and lengths that lead nowhere.
        for (at, value) in [
            (8, u32::MAX),
            (8, 232),
            (0x38, 9),
            (0x44, u32::MAX),
            (0x44, 8),
        ] {
            let mut bytes = shown();
            bytes[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
            assert_eq!(cut_of(&bytes).compatible, None, "{value:#x} at {at:#x}");
        }
    }
}
