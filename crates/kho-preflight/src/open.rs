//! What was given, recognised by its content.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kho_compat::file::MARKER;
use kho_compat::{Policy, policy};
use kho_image::ImageError;
use kho_mem::{FileMap, PhysAddr};
use memchr::memmem;

use crate::content::{Content, Elf, HEAD, content};
use crate::end::{End, What};
use crate::entry::BootEntry;
use crate::{Error, Preflight, dump, kernel, listed, running};

/// Which of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndRole {
    /// What is left.
    From,
    /// What takes over.
    To,
}

/// How an end is opened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EndOptions<'a> {
    /// Which of the two ends it is. Of the running kernel that is left, what it says of its handover is
    /// read too, and of its modules those that are loaded alone.
    pub role: EndRole,
    /// A directory with the kernel's modules: their strings count as the kernel's.
    pub modules: Option<&'a Path>,
    /// The command line that a kernel is booted with, and what says so. It goes before what a unified kernel image
    /// or a boot loader's entry says.
    pub command_line: Option<(&'a str, &'a str)>,
    /// The initrds that a kernel is booted with.
    pub initrds: &'a [PathBuf],
    /// In a dump, the address of the root FDT. Without it the dump is searched for one.
    pub fdt: Option<PhysAddr>,
    /// In a dump, the address and bytes of the scratch table.
    pub scratch: Option<(PhysAddr, u64)>,
    /// The address of a raw dump's first byte.
    pub base: PhysAddr,
    /// The most bytes that a compressed dump may unpack to.
    pub max_unpacked: u64,
    /// Where the running system's /boot, /lib, /proc and /sys are.
    pub root: &'a Path,
    /// The policy that is to judge: of a dump, what it takes is read too.
    pub policy: &'a dyn Policy,
}

impl EndOptions<'_> {
    /// As far as nothing is known: dumps begin at 0 and unpack to at most 64 GiB, and the running system
    /// is the one below `/`.
    #[must_use]
    pub fn new(role: EndRole) -> Self {
        Self {
            role,
            modules: None,
            command_line: None,
            initrds: &[],
            fdt: None,
            scratch: None,
            base: PhysAddr::new(0),
            max_unpacked: 64 << 30,
            root: Path::new("/"),
            policy: &policy::SemverRange,
        }
    }
}

/// What takes long, for whoever shows progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// A dump or a kernel image is unpacked: in bytes.
    Unpack,
    /// Modules are read: in files.
    Modules,
    /// A dump is surveyed.
    Survey(kho_survey::SurveyStep),
    /// A program was asked and has not answered yet.
    Program,
}

/// Is called with the step, how much of it is done, and of how much, where that is known. Returns
/// whether to go on.
pub type Progress<'p> = dyn FnMut(Step, u64, Option<u64>) -> bool + 'p;

impl Preflight {
    /// Opens what was given: a file, recognised by its content, or `running` for the kernel that runs
    /// here. A program is run with `KHO_MANIFEST=1` if it has the mark of those that answer.
    ///
    /// # Errors
    ///
    /// It can not be read, is damaged, or is nothing that can be judged; `progress` said stop.
    pub fn open(
        &self,
        given: &Path,
        options: &EndOptions<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<End, Error> {
        let mut end = if given == Path::new("running") {
            running::end(options, progress)?
        } else {
            self.file(given, options, progress)?
        };
        // The running kernel's modules were looked for.
        if let Some(dir) = options.modules {
            kernel::add_modules(&mut end, dir, None, progress)?;
        }
        if options.command_line.is_some() || !options.initrds.is_empty() {
            if !matches!(end.what, What::Kernel(_)) {
                return Err(Error::Booted(end.kind));
            }
            end.boot.given(options)?;
        }
        Ok(end)
    }

    fn file(
        &self,
        path: &Path,
        options: &EndOptions<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<End, Error> {
        let io = Error::io(path);
        // Before it is opened: opening a pipe waits for a writer.
        let meta = fs::metadata(path).map_err(&io)?;
        if meta.is_dir() {
            return Err(io(io::ErrorKind::IsADirectory.into()));
        }
        if !meta.is_file() {
            return Err(io(io::Error::other("not a regular file")));
        }
        let mut head = Vec::new();
        let file = File::open(path).map_err(&io)?;
        (&file).take(HEAD).read_to_end(&mut head).map_err(&io)?;
        let unrecognised = |found: &str| {
            Err(Error::Unrecognised {
                found: found.to_owned(),
            })
        };
        match content(&head, path).map_err(&io)? {
            Content::Core => self.dump(path, options, progress),
            Content::Module | Content::Kernel => End::kernel(path, progress),
            Content::Executable => executable(path, &file, &head, progress),
            Content::Manifest => listed::read(path, &file),
            Content::Empty => unrecognised("an empty file"),
            Content::Script => unrecognised("a script, which is never run"),
            Content::Text => entry(path, options, progress),
            Content::Unknown => dump::memory(self, path, options, &head, progress),
        }
    }
}

/// The kernel of a boot loader's entry.
fn entry(path: &Path, options: &EndOptions<'_>, progress: &mut Progress<'_>) -> Result<End, Error> {
    let text = crate::system::text(path).map_err(Error::io(path))?;
    let Some(entry) = BootEntry::parse(&text) else {
        return Err(Error::Unrecognised {
            found: "text".to_owned(),
        });
    };
    let image = entry.find(path, options)?;
    let end = End::kernel(&image, progress);
    let mut end = end.map_err(|error| error.within(&image))?;
    end.form = format!("{}, {}", image.display(), end.form);
    end.name = path.display().to_string();
    let own = std::mem::take(&mut end.boot);
    let boot = entry.boot(path, options)?;
    // Of a unified kernel image what it has itself counts, where the entry does not say another one.
    end.boot.command_line = boot.command_line.or(own.command_line);
    end.boot.initrds = if boot.initrds.is_empty() {
        own.initrds
    } else {
        boot.initrds
    };
    (end.boot.config, end.boot.image) = (own.config, own.image);
    Ok(end)
}

/// A vmlinux, or a program.
fn executable(
    path: &Path,
    file: &File,
    head: &[u8],
    progress: &mut Progress<'_>,
) -> Result<End, Error> {
    let is_kernel = Elf::of(head).and_then(|elf| elf.is_kernel());
    if is_kernel != Some(true) && has_marker(path, file)? {
        return End::program(path, progress);
    }
    match End::kernel(path, progress) {
        Err(Error::Image(ImageError::Damaged { .. })) if is_kernel == Some(false) => {
            Err(Error::NotAsked)
        }
        other => other,
    }
}

fn has_marker(path: &Path, file: &File) -> Result<bool, Error> {
    let map = FileMap::new(file).map_err(Error::io(path))?;
    let bytes = map.get(0..map.len()).unwrap_or_default();
    Ok(memmem::find(bytes, MARKER.as_bytes()).is_some())
}
