//! The running system's files below /proc and /sys: its own word, read with a limit.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kho_compat::Compat;
use kho_core::RootFdt;
use kho_mem::{Damage, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr, SliceMem};

use crate::error::Failure;

/// Files below /proc and /sys are shorter, a configuration unpacked included.
pub(crate) const FILE_MAX: u64 = 4 << 20;

/// Where a kernel shows its handovers.
pub(crate) const DEBUGFS: &str = "sys/kernel/debug/kho";
/// The root FDT of the handover to the next kernel.
pub(crate) const ROOT_FDT: &str = "sys/kernel/debug/kho/out/fdt";

/// The blobs of its subtrees, by their names.
pub(crate) const SUBTREES: &str = "sys/kernel/debug/kho/out/sub_fdts";

/// Where the bytes of a file are said to lie: what a file was made of it does not say.
pub(crate) const BASE: PhysAddr = PhysAddr::new(PAGE_SIZE_U64);

pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(FILE_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// The running kernel's release.
pub(crate) fn release(root: &Path) -> Result<String, Failure> {
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
        let lines = vec![
            ("error", "the running kernel's release is none".to_owned()),
            ("found", release.escape_debug().to_string()),
        ];
        return Err(Failure::Input(lines));
    }
    Ok(release)
}

/// What a parameter of the kernel's command line says, the last one where there are several.
pub(crate) fn parameter(command_line: &str, name: &str) -> Option<String> {
    let mut values = command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values.next_back().map(str::to_owned)
}

/// As the kernel reads a switch.
pub(crate) fn is_off(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value.starts_with(['n', '0', 'f']) || value.starts_with("of")
}

/// The root FDT that a file holds.
#[derive(Debug)]
pub(crate) enum FdtFile {
    Whole(RootFdt),
    Cut(Cut),
}

/// A root FDT of which the file has the beginning alone. Linux sizes the file of the one that it makes when
/// it makes it, and adds subtrees after that.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Bytes in the file.
    pub(crate) shown: usize,
    /// Bytes that there are.
    pub(crate) total: usize,
    /// Its compat string, where that is among them.
    pub(crate) compatible: Option<String>,
}

/// Reads the root FDT that a file holds. Damage is told by its offset from [`BASE`].
pub(crate) fn root_fdt(bytes: &[u8]) -> Result<FdtFile, Damage> {
    match cut(bytes) {
        Some(cut) => Ok(FdtFile::Cut(cut)),
        None => whole_fdt(bytes).map(FdtFile::Whole),
    }
}

/// As [`root_fdt`], of one that is not cut.
pub(super) fn whole_fdt(bytes: &[u8]) -> Result<RootFdt, Damage> {
    RootFdt::read(&SliceMem::new(BASE, &page(bytes)), BASE)
}

/// The page that a file may have the used part of.
pub(super) fn page(bytes: &[u8]) -> Vec<u8> {
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

/// What a look at a file found.
#[derive(Debug)]
pub(super) enum Look {
    Bytes(Vec<u8>),
    /// There is none.
    Absent,
    /// It could not be read, and why.
    Unread(String),
}

/// Reads the file `path`, of at most `max` bytes.
pub(super) fn look(path: &Path, max: u64) -> Look {
    let inner = || -> io::Result<Result<Vec<u8>, String>> {
        // Before it is opened: opening a pipe waits for a writer.
        if !fs::metadata(path)?.is_file() {
            return Ok(Err("not a regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        fs::File::open(path)?
            .take(max.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Ok(Err(format!("longer than {}", crate::human::size(max))));
        }
        Ok(Ok(bytes))
    };
    match inner() {
        Ok(Ok(bytes)) => Look::Bytes(bytes),
        Ok(Err(why)) => Look::Unread(why),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Look::Absent,
        Err(error) => Look::Unread(why(&error)),
    }
}

/// The entries of the directory `path` by name, the first `max` of them, and whether there are more;
/// nothing where there is no directory.
pub(super) fn list(path: &Path, max: usize) -> Result<Option<(Vec<PathBuf>, bool)>, String> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(why(&error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| why(&error))?.path());
        if paths.len() > max {
            break;
        }
    }
    let more = paths.len() > max;
    paths.truncate(max);
    paths.sort();
    Ok(Some((paths, more)))
}

/// An error of the system, in words that help.
pub(super) fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "no permission: root alone may, and nobody where the kernel is locked down".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Whether the kernel shows its handovers in debugfs; why not, and what would help.
pub(super) fn shows_handovers(root: &Path, command_line: &str) -> Result<(), (String, String)> {
    let denied = || {
        (
            "no permission to look into debugfs".to_owned(),
            "run it as root".to_owned(),
        )
    };
    match fs::metadata(root.join(DEBUGFS)) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(denied()),
        Err(_) => {}
    }
    let debugfs = root.join("sys/kernel/debug");
    match fs::read_dir(&debugfs).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(denied()),
        Err(_) => Err((
            "there is no place for debugfs".to_owned(),
            "the kernel needs CONFIG_DEBUG_FS, and /sys mounted".to_owned(),
        )),
        Ok(true) => Err((
            "debugfs is not mounted".to_owned(),
            format!("mount -t debugfs none {}", debugfs.display()),
        )),
        Ok(false) => Err(match parameter(command_line, "kho") {
            Some(value) if is_off(&value) => (
                format!("KHO is switched off: kho={value} on the command line"),
                "boot with kho=on".to_owned(),
            ),
            _ => (
                "debugfs has no `kho`".to_owned(),
                "the kernel needs CONFIG_KEXEC_HANDOVER and CONFIG_KEXEC_HANDOVER_DEBUGFS, and \
                 kho=on on its command line"
                    .to_owned(),
            ),
        }),
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
