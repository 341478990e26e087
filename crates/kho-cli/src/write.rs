//! Writing beside, and renaming at the end.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use kho_mem::PAGE_SIZE;
use kho_memfd::Piece;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::error::Failure;

/// A directory in the making. Until [`Staging::commit`] nothing of it shows in the output
/// directory; dropped before, it is gone.
pub(crate) struct Staging {
    out: PathBuf,
    force: bool,
    // Holds `root`, and what --force replaces until the commit is through.
    temp: TempDir,
    // Behind it: as long as the directory is there it is known to be in use.
    _lock: File,
    root: PathBuf,
    // The entries of `root`, in the order they were made.
    entries: Vec<PathBuf>,
}

impl Staging {
    /// A staging directory for `out`, on the same file system.
    pub(crate) fn new(out: &Path, force: bool) -> Result<Self, Failure> {
        // Inside where `out` exists (it may be a mount point), beside where it does not.
        let mut place = out;
        while !place.exists() {
            place = match place.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
        }
        if !place.is_dir() {
            let text = format!("{} is not a directory", place.display());
            return Err(Failure::Usage(text));
        }
        let at = |error| Failure::Write {
            path: place.to_owned(),
            error,
        };
        clear_leavings(place);
        let (temp, lock) = make(place).map_err(at)?;
        // The temporary directory is private; what becomes of `root` is the user's, by umask.
        let root = temp.path().join("new");
        fs::create_dir(&root).map_err(at)?;
        fs::create_dir(temp.path().join("old")).map_err(at)?;
        Ok(Self {
            out: out.to_owned(),
            force,
            temp,
            _lock: lock,
            root,
            entries: Vec::new(),
        })
    }

    pub(crate) fn create_dir(&mut self, name: &Path) -> Result<(), Failure> {
        let path = self.root.join(name);
        fs::create_dir(&path).map_err(|error| Failure::Write { path, error })?;
        self.entries.push(name.to_owned());
        Ok(())
    }

    pub(crate) fn write(&mut self, name: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.root.join(name);
        fs::write(&path, bytes).map_err(|error| Failure::Write { path, error })?;
        self.entries.push(name.to_owned());
        Ok(())
    }

    /// Where what lies in a directory of it is to be written, by whoever writes it.
    pub(crate) fn place(&self, name: &Path) -> PathBuf {
        self.root.join(name)
    }

    /// Where the entry `name` is to be written, by whoever writes it.
    pub(crate) fn entry(&mut self, name: &Path) -> PathBuf {
        self.entries.push(name.to_owned());
        self.root.join(name)
    }

    /// Makes everything visible in the output directory. A failure on the way takes back what it
    /// had done.
    ///
    /// `replaced` are the directories of an earlier restore there, which --force replaces.
    pub(crate) fn commit(self, replaced: &[PathBuf]) -> Result<(), Failure> {
        let at = |error| Failure::Write {
            path: self.out.clone(),
            error,
        };
        if !self.out.exists() {
            let made = missing_parents(&self.out);
            let done = match self.out.parent() {
                Some(parent) => fs::create_dir_all(parent),
                None => Ok(()),
            };
            return done
                .and_then(|()| fs::rename(&self.root, &self.out))
                .map_err(|error| {
                    for dir in &made {
                        // Best effort: those that were made are empty.
                        drop(fs::remove_dir(dir));
                    }
                    at(error)
                });
        }
        let there = |name: &&PathBuf| self.out.join(name).symlink_metadata().is_ok();
        let listed: HashSet<&PathBuf> = replaced.iter().collect();
        let goes = |name: &PathBuf| self.force && listed.contains(name);
        if let Some(name) = self.entries.iter().filter(there).find(|name| !goes(name)) {
            return Err(Failure::InTheWay(self.out.join(name), self.force));
        }
        let old = self.temp.path().join("old");
        let aside = replaced.iter().filter(there).filter(|name| goes(name));
        let aside = aside.map(|name| (self.out.join(name), old.join(name)));
        let anew = self
            .entries
            .iter()
            .map(|name| (self.root.join(name), self.out.join(name)));
        let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (from, to) in aside.chain(anew) {
            if let Err(error) = fs::rename(&from, &to) {
                let undone = moved
                    .iter()
                    .rev()
                    .all(|(from, to)| fs::rename(to, from).is_ok());
                if !undone {
                    // What was there before must not go with the temporary directory.
                    let kept = self.temp.keep();
                    let error = io::Error::other(format!(
                        "{error}; what was replaced is in {}",
                        kept.display()
                    ));
                    return Err(Failure::Write { path: to, error });
                }
                return Err(Failure::Write { path: to, error });
            }
            moved.push((from, to));
        }
        Ok(())
    }
}

/// How the directories begin that are renamed at the end.
const PREFIX: &str = ".kho-writing-";

/// Makes a directory in `place` and locks it, so that others leave it alone.
fn make(place: &Path) -> io::Result<(TempDir, File)> {
    loop {
        let temp = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
        match File::open(temp.path()) {
            // Somebody who clears leavings may have come before the lock, and has taken it for one.
            Ok(dir) if lock(&dir) && temp.path().exists() => return Ok((temp, dir)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether nobody else has the lock of `dir`. Where locks are not to be had, it is left alone.
fn lock(dir: &File) -> bool {
    match flock(dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => true,
        Err(rustix::io::Errno::WOULDBLOCK) => false,
        Err(error) => {
            tracing::debug!(%error, "directories can not be locked there");
            true
        }
    }
}

/// Removes what killed commands left in `place`: directories of ours that nobody has locked. One that holds what
/// was to be replaced stays: the command was killed while it renamed.
fn clear_leavings(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_ours {
            continue;
        }
        let Ok(dir) = File::open(&path) else { continue };
        if !matches!(
            flock(&dir, FlockOperation::NonBlockingLockExclusive),
            Ok(())
        ) {
            continue;
        }
        let known = |entry: &fs::DirEntry| {
            ["new", "old"]
                .map(OsStr::new)
                .contains(&&*entry.file_name())
        };
        let inside = fs::read_dir(&path).map(|all| all.flatten().all(|entry| known(&entry)));
        let replaced = fs::read_dir(path.join("old")).is_ok_and(|mut old| old.next().is_some());
        let path = path.display();
        if replaced {
            let note =
                format!("{path} holds what an interrupted restore was to replace: it is kept");
            drop(writeln!(anstream::stderr(), "note: {note}"));
        } else if inside.unwrap_or(false) {
            let removed = fs::remove_dir_all(entry.path());
            tracing::info!(%path, ?removed, "leavings of a killed command");
        }
    }
}

/// The ancestors of `path` that do not exist, innermost first.
fn missing_parents(path: &Path) -> Vec<PathBuf> {
    let ancestors = path.ancestors().skip(1);
    ancestors
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .map(Path::to_owned)
        .collect()
}

/// Bytes that are gathered before they are written.
const BATCH: usize = 1 << 20;
/// Slices that one call takes.
const SLICES: usize = 512;

/// A file that is written front to back, with holes where its contents are zero.
pub(crate) struct SparseFile<'m> {
    path: PathBuf,
    file: File,
    // Contents that follow each other from `start` on.
    batch: Vec<&'m [u8]>,
    batched: usize,
    start: u64,
    // Where the next piece goes, and where the file's own position is.
    end: u64,
    position: u64,
}

static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

impl<'m> SparseFile<'m> {
    pub(crate) fn create(staging: &Staging, name: &Path) -> Result<Self, Failure> {
        // It is written beside; what goes wrong is named by where it is to be.
        let path = staging.out.join(name);
        match File::create_new(staging.root.join(name)) {
            Ok(file) => Ok(Self {
                path,
                file,
                batch: Vec::new(),
                batched: 0,
                start: 0,
                end: 0,
                position: 0,
            }),
            Err(error) => Err(Failure::Write { path, error }),
        }
    }

    /// Appends `piece`.
    pub(crate) fn piece(&mut self, piece: Piece<'m>) -> Result<(), Failure> {
        match piece {
            Piece::Hole(len) => {
                self.flush()?;
                self.end += len;
                self.start = self.end;
            }
            Piece::Data(bytes) => {
                for page in bytes.chunks(PAGE_SIZE) {
                    if ZEROS.starts_with(page) {
                        self.flush()?;
                        self.end += page.len() as u64;
                        self.start = self.end;
                    } else {
                        self.batch.push(page);
                        self.batched += page.len();
                        self.end += page.len() as u64;
                        if self.batched >= BATCH || self.batch.len() == SLICES {
                            self.flush()?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.write().map_err(|error| Failure::Write {
            path: self.path.clone(),
            error,
        })?;
        self.batch.clear();
        self.batched = 0;
        self.start = self.end;
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if self.position != self.start {
            self.file.seek(SeekFrom::Start(self.start))?;
        }
        let mut slices: Vec<_> = self.batch.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match self.file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position = self.end;
        Ok(())
    }

    /// Ends the file at `size` bytes, of which a hole may be the last.
    pub(crate) fn finish(mut self, size: u64) -> Result<(), Failure> {
        self.flush()?;
        self.file.set_len(size).map_err(|error| Failure::Write {
            path: self.path,
            error,
        })
    }
}
