//! What is to be packed: a directory, checked as a whole before anything is made of it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use kho_block::v1::count_per_block;
use kho_compat::Writing;
use kho_luo::SessionName;
use kho_luo::v5::{FileSer, SessionSer};
use kho_mem::{Order, PAGE_SIZE, PAGE_SIZE_U64};
use kho_memfd::Seals;
use kho_memfd::v2::FolioSer;
use kho_vmalloc::v1::CHUNK_ENTRIES;
use rustix::fs::{SeekFrom, seek};

use super::manifest;
use crate::error::Failure;
use crate::progress::interrupted;
use crate::restore::MANIFEST;

/// The largest folio that a file without a list of them is put into: 2 MiB, a huge page.
const HUGE: u32 = 9;

/// What is handed over.
pub(super) struct Source {
    pub(super) dir: PathBuf,
    /// Kexec metadata: the release, and how many kexecs came before.
    pub(super) metadata: Option<(String, u32)>,
    /// How many live updates came before this one; `None` for a handover without LUO.
    pub(super) number: Option<u64>,
    /// How the strings of the manifest are written.
    pub(super) writing: Writing,
    /// Name, what the entry holds, files.
    pub(super) flbs: Vec<(String, u64, u64)>,
    pub(super) sessions: Vec<SessionOf>,
    /// What was not taken as it stands.
    pub(super) notes: Vec<String>,
}

pub(super) struct SessionOf {
    pub(super) name: SessionName,
    pub(super) files: Vec<FileOf>,
}

/// A file and what is made of it.
pub(super) struct FileOf {
    pub(super) token: u64,
    /// The file itself, with no symbolic link on the way.
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) pos: u64,
    pub(super) seals: Seals,
    /// Orders in order of the file, run-length encoded; `None` for holes of a page.
    pub(super) shape: Shape,
    /// What its contents must have, in lower case.
    pub(super) sha256: Option<String>,
}

/// Orders of folios in order of the file, run-length encoded; `None` for holes, which are a page
/// each. They cover the file, and no one begins behind its end.
pub(super) type Shape = Vec<(Option<Order>, u64)>;

impl Source {
    /// Reads the manifest of `dir`, or `dir` itself where it has none.
    /// `allow_missing` takes one that a restore left files or parts of them out of, too.
    pub(super) fn read(dir: &Path, allow_missing: bool) -> Result<Self, Failure> {
        let root = Root::new(dir)?;
        match root.dir.join(MANIFEST).symlink_metadata() {
            Ok(_) => manifest::read(&root, allow_missing),
            Err(error) if error.kind() == io::ErrorKind::NotFound => by_names(&root),
            Err(error) => Err(unreadable(&root.dir.join(MANIFEST), &error)),
        }
    }

    pub(super) fn files(&self) -> u64 {
        let sessions = self.sessions.iter();
        sessions.fold(0, |sum, session| sum + session.files.len() as u64)
    }

    pub(super) fn bytes(&self) -> u64 {
        let files = self.sessions.iter().flat_map(|session| &session.files);
        files.fold(0, |sum, file| file.size.saturating_add(sum))
    }

    /// Pages that it takes at most: exactly those of the files and of the blocks, more than those
    /// of the tracker.
    pub(super) fn most_pages(&self) -> u64 {
        const FIXED: u64 = 64;
        let blocks = |entries: usize, size| entries.div_ceil(count_per_block(size)) as u64;
        let mut pages = FIXED + blocks(self.sessions.len(), size_of::<SessionSer>());
        for session in &self.sessions {
            pages = pages.saturating_add(blocks(session.files.len(), size_of::<FileSer>()));
            for file in &session.files {
                let records = file.shape.iter().fold(0u64, |n, (_, more)| n + more);
                let list = records.div_ceil((PAGE_SIZE / size_of::<FolioSer>()) as u64);
                let chunks = list / CHUNK_ENTRIES as u64 + 1;
                let contents = file.shape.iter().fold(0u64, |sum, (order, n)| {
                    sum.saturating_add(order.map_or(0, |order| order.pages().saturating_mul(*n)))
                });
                pages = pages
                    .saturating_add(contents)
                    .saturating_add(list + chunks + 1);
            }
        }
        // A leaf has 32768 keys; each order that is there may have leaves and tables of its own.
        pages.saturating_add(pages / 1024).saturating_add(4096)
    }
}

impl FileOf {
    /// The folios: page offset in the file and order, in order.
    pub(super) fn folios(&self) -> impl Iterator<Item = (u64, Order)> + '_ {
        let mut next = 0;
        self.shape.iter().flat_map(move |(order, count)| {
            let (first, pages) = (next, order.map_or(1, |order| order.pages()));
            next += pages * count;
            let count = if order.is_some() { *count } else { 0 };
            (0..count).filter_map(move |n| Some((first + n * pages, (*order)?)))
        })
    }

    /// That there is nothing where the manifest says that there are holes. `data` is where the file
    /// has bytes at all.
    pub(super) fn check_holes(&self, file: &File, data: &[(u64, u64)]) -> Result<(), Failure> {
        let mut page = 0u64;
        for (order, count) in &self.shape {
            let from = page * PAGE_SIZE_U64;
            page += order.map_or(1, |order| order.pages()) * count;
            if order.is_none() {
                self.check_hole(file, data, from, self.size.min(page * PAGE_SIZE_U64))?;
            }
        }
        Ok(())
    }

    fn check_hole(
        &self,
        file: &File,
        data: &[(u64, u64)],
        from: u64,
        to: u64,
    ) -> Result<(), Failure> {
        let mut buf = vec![0; 64 << 10];
        let first = data.partition_point(|(_, end)| *end <= from);
        for (start, end) in data.iter().skip(first).take_while(|(start, _)| *start < to) {
            let (mut at, end) = ((*start).max(from), (*end).min(to));
            while at < end {
                let want = usize::try_from(end - at).map_or(buf.len(), |n| n.min(buf.len()));
                let part = buf.get_mut(..want).unwrap_or_default();
                file.read_exact_at(part, at)
                    .map_err(|error| unreadable(&self.path, &error))?;
                if let Some(offset) = part.iter().position(|byte| *byte != 0) {
                    return Err(refused(
                        "a file has contents where the manifest has a hole",
                        self.path.display(),
                        format!("a byte that is not 0 at offset {:#x}", at + offset as u64),
                        "zeros, or another `folio_orders`",
                    ));
                }
                at += want as u64;
            }
        }
        Ok(())
    }
}

/// The directory that everything is in.
pub(super) struct Root {
    /// As it was given.
    pub(super) dir: PathBuf,
    // With no symbolic link on the way.
    real: PathBuf,
}

impl Root {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let usage = |error| Failure::Usage(format!("{}: {error}", dir.display()));
        let real = dir.canonicalize().map_err(usage)?;
        if !real.is_dir() {
            return Err(usage(io::ErrorKind::NotADirectory.into()));
        }
        let dir = dir.to_owned();
        Ok(Self { dir, real })
    }

    /// Where `path`, which stands at `place`, leads to: inside the directory.
    pub(super) fn resolve(&self, path: &Path, place: &str) -> Result<PathBuf, Failure> {
        let shown = || format!("{path:?}");
        let inside = "a path inside the directory";
        let plain = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if path.as_os_str().is_empty() || path.as_os_str().as_bytes().contains(&0) || !plain {
            return Err(refused(
                "a path leaves the directory",
                place,
                shown(),
                inside,
            ));
        }
        let real = match self.real.join(path).canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(refused("a file is missing", place, shown(), "a file there"));
            }
            Err(error) => return Err(unreadable(&self.dir.join(path), &error)),
        };
        if !real.starts_with(&self.real) {
            let found = format!("{path:?}, which leads to {real:?}");
            return Err(refused("a path leaves the directory", place, found, inside));
        }
        Ok(real)
    }

    /// The file that `path`, which stands at `place`, leads to, and its size.
    pub(super) fn file(&self, path: &Path, place: &str) -> Result<(PathBuf, u64), Failure> {
        let real = self.resolve(path, place)?;
        let meta = real
            .metadata()
            .map_err(|error| unreadable(&self.dir.join(path), &error))?;
        if !meta.is_file() {
            let found = format!("{path:?}, which is none");
            return Err(refused("no regular file", place, found, "a regular file"));
        }
        Ok((real, meta.len()))
    }
}

/// The directory as it is: sessions are directories, files are files.
fn by_names(root: &Root) -> Result<Source, Failure> {
    let mut sessions = Vec::new();
    let mut names = HashSet::new();
    for dir in list(&root.real)? {
        let path = Path::new(&dir);
        let place = root.dir.join(path).display().to_string();
        let real = root.resolve(path, &place)?;
        if !real.is_dir() {
            return Err(refused(
                "a directory without manifest.json has something else than sessions",
                place,
                "no directory",
                "directories of files, one for each session",
            ));
        }
        let bytes = decode(dir.as_bytes());
        let name = session_name(&bytes, &place)?;
        if !names.insert(name.clone()) {
            let found = format!("`{name}`, as a session before it");
            return Err(refused(
                "a session's name",
                place,
                found,
                "a name of its own",
            ));
        }
        let files = files_by_names(root, path, &real)?;
        sessions.push(SessionOf { name, files });
    }
    Ok(Source {
        dir: root.dir.clone(),
        metadata: None,
        number: Some(0),
        writing: Writing::PLAIN,
        flbs: Vec::new(),
        sessions,
        notes: Vec::new(),
    })
}

fn files_by_names(root: &Root, dir: &Path, real: &Path) -> Result<Vec<FileOf>, Failure> {
    let names = list(real)?;
    let mut tokens: HashSet<u64> = HashSet::new();
    for name in &names {
        if let Some(token) = token_of(name)
            && !tokens.insert(token)
        {
            let place = root.dir.join(dir).join(name).display().to_string();
            let found = format!("{token:#x}, as a file before it");
            return Err(refused(
                "a file's token",
                place,
                found,
                "a token of its own",
            ));
        }
    }
    // 64 bits of tokens are more than there are files.
    let mut left = (1..=u64::MAX).filter(|token| !tokens.contains(token));
    let mut files = Vec::with_capacity(names.len());
    for name in &names {
        let path = dir.join(name);
        let place = root.dir.join(&path).display().to_string();
        let (real, size) = root.file(&path, &place)?;
        let token = token_of(name).or_else(|| left.next()).unwrap_or(0);
        files.push(FileOf {
            token,
            shape: natural(&real, size)?,
            path: real,
            size,
            pos: 0,
            seals: Seals::default(),
            sha256: None,
        });
        if interrupted() {
            return Err(Failure::Interrupted);
        }
    }
    Ok(files)
}

/// The names in `dir`, sorted, those that begin with a dot left out.
fn list(dir: &Path) -> Result<Vec<std::ffi::OsString>, Failure> {
    let io = |error: io::Error| unreadable(dir, &error);
    let mut names = Vec::new();
    for entry in dir.read_dir().map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if !name.as_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The token that a file's name says: up to 16 hexadecimal digits and `.bin`.
fn token_of(name: &OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(".bin")?;
    let fits = (1..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// A session's name of its directory's: the way back of what a restore writes.
fn decode(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(hex_byte);
        out.push(escaped.unwrap_or(*first));
        rest = match escaped {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
    }
    out
}

/// The byte that two digits as a restore writes them are.
fn hex_byte(digits: &[u8]) -> Option<u8> {
    let text = str::from_utf8(digits).ok()?;
    let upper = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    let upper = digits.len() == 2 && text.bytes().all(upper);
    upper.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

/// The session's name `bytes`, which stands at `place`.
pub(super) fn session_name(bytes: &[u8], place: &str) -> Result<SessionName, Failure> {
    SessionName::new(bytes).ok_or_else(|| {
        let found = format!("\"{}\", {} bytes", bytes.escape_ascii(), bytes.len());
        refused(
            "a session's name",
            place,
            found,
            "1 to 63 bytes without a NUL",
        )
    })
}

/// The folios of a file that has no list of them: as large as its data allows, holes left out.
pub(super) fn natural(path: &Path, size: u64) -> Result<Shape, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let data = extents(&file, size).map_err(|error| unreadable(path, &error))?;
    Ok(folios_of(&data, size))
}

fn folios_of(data: &[(u64, u64)], size: u64) -> Shape {
    let mut shape = Shape::new();
    let mut push = |order: Option<Order>, count: u64| match shape.last_mut() {
        _ if count == 0 => {}
        Some((last, n)) if *last == order => *n += count,
        _ => shape.push((order, count)),
    };
    let mut page = 0u64;
    for (start, end) in data {
        // Two extents may share a page.
        let first = (start / PAGE_SIZE_U64).max(page);
        push(None, first - page);
        page = first;
        let end = end.div_ceil(PAGE_SIZE_U64);
        while page < end {
            let most = HUGE.min(page.trailing_zeros()).min((end - page).ilog2());
            // At most 9.
            let order = u8::try_from(most).ok().and_then(Order::new);
            let order = order.unwrap_or(Order::ZERO);
            push(Some(order), 1);
            page += order.pages();
        }
    }
    push(None, size.div_ceil(PAGE_SIZE_U64).saturating_sub(page));
    shape
}

/// Where the first `len` bytes of a file are more than a hole: start and end, in order. A file
/// system that does not say has data everywhere.
pub(super) fn extents(file: &File, len: u64) -> io::Result<Vec<(u64, u64)>> {
    use rustix::io::Errno;
    let mut out = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.max(at),
            // Nothing but a hole from here on.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                out.push((at, len));
                break;
            }
            Err(error) => return Err(error.into()),
        };
        if start >= len {
            break;
        }
        let end = seek(file, SeekFrom::Hole(start))?.clamp(start + 1, len);
        out.push((start, end));
        at = end;
    }
    Ok(out)
}

/// Whether `len` bytes of a file from `from` on are a hole.
pub(super) fn is_hole(file: &File, from: u64, len: u64) -> io::Result<bool> {
    match seek(file, SeekFrom::Data(from)) {
        Ok(data) => Ok(data >= from.saturating_add(len)),
        Err(rustix::io::Errno::NXIO) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// A source that is refused.
pub(super) fn refused(
    what: impl Display,
    place: impl Display,
    found: impl Display,
    expected: impl Display,
) -> Failure {
    Failure::Input(vec![
        ("refused", what.to_string()),
        ("where", place.to_string()),
        ("found", found.to_string()),
        ("expected", expected.to_string()),
    ])
}

/// A source that can not be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Input(vec![("error", format!("{}: {error}", path.display()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_tokens() {
        let cases: &[(&str, Option<u64>)] = &[
            ("0000000000000001.bin", Some(1)),
            ("ffffffffffffffff.bin", Some(u64::MAX)),
            ("F.bin", Some(15)),
            ("00000000000000001.bin", None),
            (".bin", None),
            ("+1.bin", None),
            ("1.img", None),
            ("disk.bin", None),
        ];
        for (name, token) in cases {
            assert_eq!(token_of(OsStr::new(name)), *token, "{name}");
        }
    }

    #[test]
    fn directories_say_names() {
        let cases: &[(&str, &[u8])] = &[
            ("plain", b"plain"),
            ("%2E.%2F..", b"../.."),
            ("n%FF%0A", b"n\xff\n"),
            ("a%2541", b"a%41"),
            ("50%", b"50%"),
            ("50%2", b"50%2"),
            ("50%ff", b"50%ff"),
            ("%+1", b"%+1"),
        ];
        for (dir, name) in cases {
            assert_eq!(decode(dir.as_bytes()), *name, "{dir}");
        }
    }

    #[test]
    fn data_is_put_into_the_largest_folios() {
        let shape = |data: &[(u64, u64)], size| {
            let shape = folios_of(data, size);
            let shape = shape.into_iter();
            shape
                .map(|(order, n)| (order.map_or(-1, |order| i32::from(order.get())), n))
                .collect::<Vec<_>>()
        };
        let mib = 1 << 20;
        assert_eq!(shape(&[], 0), []);
        assert_eq!(shape(&[], 5000), [(-1, 2)]);
        assert_eq!(shape(&[(0, 5000)], 5000), [(1, 1)]);
        assert_eq!(
            shape(&[(0, 7 * mib)], 7 * mib + 1),
            [(9, 3), (8, 1), (-1, 1)]
        );
        assert_eq!(
            shape(
                &[(4096, 20_000), (19_000, 19_500), (40_960, 41_000)],
                65_536
            ),
            [(-1, 1), (0, 1), (1, 1), (0, 1), (-1, 5), (0, 1), (-1, 5)]
        );
    }
}
