//! The modules of a kernel, from its directory.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::{KernelImage, KernelKind, KernelOptions, KernelStrings, read_initrd};
use crate::image::ImageError;

/// A directory of modules is less deep than this.
const DEPTH_MAX: usize = 32;
/// Distributions ship less than ten thousand.
const MODULES_MAX: usize = 100_000;
/// Files and directories of any kind.
const ENTRIES_MAX: usize = 1_000_000;

const SUFFIXES: &[&str] = &[
    ".ko", ".ko.xz", ".ko.zst", ".ko.gz", ".ko.lz4", ".ko.lzma", ".ko.bz2",
];

/// A module that has compat strings.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ModuleStrings {
    /// The module's file, relative to the directory.
    pub path: PathBuf,
    /// What it holds.
    pub strings: KernelStrings,
}

/// A file or directory that could not be read, or a damaged module.
#[derive(Debug)]
#[non_exhaustive]
pub struct ModuleError {
    /// The file, relative to the directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: ImageError,
}

/// What the modules of a directory hold.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Modules {
    /// Modules that were read, those without compat strings included.
    pub read: usize,
    /// Those that have compat strings, features or candidates, in order of their paths.
    pub found: Vec<ModuleStrings>,
    /// What could not be read, in order of paths.
    pub errors: Vec<ModuleError>,
}

/// Told of each module before it is read: its path relative to the directory, how many were read,
/// and how many there are. Returns whether to go on.
pub type ModulesProgress<'p> = dyn FnMut(&Path, usize, usize) -> bool + 'p;

/// Reads every module below `dir`, which is usually `/lib/modules/RELEASE`, or an initrd ([`read_initrd`]): files whose names end
/// in `.ko`, or in that and `.xz`, `.zst`, `.gz`, `.lz4`, `.lzma` or `.bz2`. Symbolic links are not followed. Work is bounded:
/// 32 directories deep, 100000 modules, 1000000 files of any kind, and each module unpacks to at
/// most [`KernelOptions::max_unpacked`].
///
/// A module can register file handlers and FLBs once it is loaded. Whether it will be loaded, its
/// file does not say.
///
/// # Errors
///
/// The directory can not be read, a bound is exceeded, or `progress` said stop
/// ([`ImageError::Interrupted`]). What is wrong with single files is in [`Modules::errors`].
///
/// ```no_run
/// use kho_image::kernel::{KernelOptions, read_modules};
///
/// let dir = "/lib/modules/7.3.4".as_ref();
/// let modules = read_modules(dir, &KernelOptions::default(), &mut |_, _, _| true)?;
/// for module in &modules.found {
///     for found in &module.strings.strings {
///         println!("{}: {}", module.path.display(), found.text);
///     }
/// }
/// println!("{} read, {} could not be", modules.read, modules.errors.len());
/// # Ok::<(), kho_image::ImageError>(())
/// ```
pub fn read_modules(
    dir: &Path,
    options: &KernelOptions,
    progress: &mut ModulesProgress<'_>,
) -> Result<Modules, ImageError> {
    if dir.is_file() {
        return read_initrd(dir, None, options, progress);
    }
    let mut modules = Modules::default();
    let mut paths = walk(dir, &mut modules.errors)?;
    paths.sort_unstable();
    for (done, path) in paths.iter().enumerate() {
        let relative = path.strip_prefix(dir).unwrap_or(path);
        if !progress(relative, done, paths.len()) {
            return Err(ImageError::Interrupted);
        }
        let strings = KernelImage::open(path, options, &mut |_, _| true).and_then(module);
        modules.add(relative.to_owned(), strings);
    }
    modules.errors.sort_by(|one, two| one.path.cmp(&two.path));
    tracing::debug!(
        read = modules.read,
        found = modules.found.len(),
        errors = modules.errors.len(),
        "modules read"
    );
    Ok(modules)
}

impl Modules {
    /// Adds what the module at `path` holds, or what is wrong with it.
    pub(super) fn add(&mut self, path: PathBuf, strings: Result<KernelStrings, ImageError>) {
        match strings {
            Ok(strings) => {
                self.read += 1;
                let empty = strings.strings.is_empty()
                    && strings.features.is_empty()
                    && strings.candidates.is_empty();
                if !empty {
                    self.found.push(ModuleStrings { path, strings });
                }
            }
            Err(error) => self.errors.push(ModuleError { path, error }),
        }
    }
}

/// What the module `image` holds.
pub(super) fn module(image: KernelImage) -> Result<KernelStrings, ImageError> {
    if image.kind() == KernelKind::Module {
        return Ok(image.into_strings());
    }
    Err(ImageError::damaged(
        "not a module",
        0,
        image.kind(),
        "a relocatable ELF file",
    ))
}

/// The paths of the modules below `dir`.
fn walk(dir: &Path, errors: &mut Vec<ModuleError>) -> Result<Vec<PathBuf>, ImageError> {
    let io = |path: &Path, error| ImageError::Io {
        path: path.to_owned(),
        error,
    };
    let too_many = |what: &str, limit: usize| {
        let found = format!("more than {limit} {what}");
        let expected = "a kernel's modules, /lib/modules/RELEASE";
        ImageError::damaged(format!("directory {}", dir.display()), 0, found, expected)
    };
    let mut paths = Vec::new();
    let mut seen = 0usize;
    let mut pending = vec![(dir.to_owned(), 0)];
    while let Some((at, depth)) = pending.pop() {
        let entries = match fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(io(&at, error)),
            Err(error) => {
                let path = at.strip_prefix(dir).unwrap_or(&at).to_owned();
                let error = io(&at, error);
                errors.push(ModuleError { path, error });
                continue;
            }
        };
        for entry in entries {
            seen += 1;
            if seen > ENTRIES_MAX {
                return Err(too_many("files", ENTRIES_MAX));
            }
            let kind = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)));
            let (path, kind) = match kind {
                Ok(entry) => entry,
                Err(error) => {
                    let path = at.strip_prefix(dir).unwrap_or(&at).to_owned();
                    let error = io(&at, error);
                    errors.push(ModuleError { path, error });
                    // A directory that keeps failing would be read for ever.
                    break;
                }
            };
            if kind.is_dir() {
                if depth == DEPTH_MAX {
                    return Err(too_many("directories in each other", DEPTH_MAX));
                }
                pending.push((path, depth + 1));
            } else if kind.is_file() && path.file_name().is_some_and(is_module) {
                if paths.len() == MODULES_MAX {
                    return Err(too_many("modules", MODULES_MAX));
                }
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

pub(super) fn is_module(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    SUFFIXES
        .iter()
        .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix.as_bytes()))
}
