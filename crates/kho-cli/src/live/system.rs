//! The running system's files below /proc and /sys: its own word, read with a limit.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kho_preflight::command_line::CommandLine;
pub(super) use kho_preflight::system::*;

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
pub(super) fn shows_handovers(
    root: &Path,
    command_line: &CommandLine,
) -> Result<(), (String, String)> {
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
        Ok(false) => Err(match command_line.switch("kho", true) {
            kho if !kho.on => (
                format!(
                    "KHO is switched off: {} on the command line",
                    kho.words.last().map_or("kho=off", String::as_str)
                ),
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
