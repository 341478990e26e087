//! Why something can not be judged.

use std::path::{Path, PathBuf};

use kho_compat::RegistryError;
use kho_image::{FindError, Image, ImageError, ImageKind as DumpKind};
use kho_mem::{Defect, PageSize};

use crate::EndKind;

/// Why an end can not be opened, or a move not be judged.
///
/// `Display` is what is wrong, and [`Error::details`] what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file can not be read, or is damaged as an image.
    #[error(transparent)]
    Image(ImageError),
    /// The handover in a memory dump can not be read.
    #[error("{error}")]
    Dump {
        /// Why.
        error: kho_survey::Error,
        /// Whether the dump was taken as raw memory.
        raw: bool,
        /// Where the damage stands in the file.
        file_offset: Option<u64>,
    },
    /// The handover in a memory dump has pages of another size than 4 KiB. What the other end has is not known,
    /// and no kernel takes over from one of another page size.
    #[error("invalid page size {found}: expected 4 KiB, the only one that is judged")]
    PageSize {
        /// What it is.
        found: PageSize,
    },
    /// The file is none of what is taken.
    #[error("it is nothing that can be judged")]
    Unrecognised {
        /// What it is.
        found: String,
    },
    /// The file is a kernel module, which belongs to a kernel image.
    #[error("it is nothing that can be judged")]
    Module,
    /// The program does not answer for its manifest.
    #[error("this program can not be asked, and was not run")]
    NotAsked,
    /// The program was asked, and its answer is no manifest.
    #[error("{what}")]
    Answer {
        /// What is wrong.
        what: &'static str,
        /// What came instead.
        found: String,
    },
    /// The file is no manifest.
    #[error("not a manifest file")]
    Manifest {
        /// What is wrong.
        found: String,
    },
    /// What a file or a program lists is no side.
    #[error("{} contradicts itself", if *.of == EndKind::Program { "the program's answer" } else { "the manifest file" })]
    Contradiction {
        /// Which of the two it is.
        of: EndKind,
        /// How.
        found: String,
    },
    /// The compat strings of the next end are those of no side.
    #[error("its compat strings contradict each other")]
    Strings(RegistryError),
    /// No image of the running kernel was found.
    #[error("no image of the running kernel, Linux {release}, was found")]
    NoImage {
        /// The running kernel's release.
        release: String,
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// The running kernel's release could not be a part of a file's name.
    #[error("the running kernel's release is none")]
    Release(String),
    /// Modules were given with something other than a kernel image.
    #[error("modules belong to a kernel image, not to {}", .0.title())]
    Modules(EndKind),
    /// A command line or an initrd was given with something other than a kernel.
    #[error("a command line and an initrd belong to a kernel, not to {}", .0.title())]
    Booted(EndKind),
    /// A file that a boot loader's entry names was not found.
    #[error("{named} of the boot loader's entry was not found")]
    NoFile {
        /// What the entry says.
        named: String,
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// The end that is left holds what this build does not read: what could be lost is not known.
    #[error("{0} is not read by this build: nothing says that it is restored")]
    Unread(String),
    /// A component's name is none that a compat string could hold.
    #[error(transparent)]
    Registry(RegistryError),
    /// The callback asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// An error of a file that was found, not given.
    #[error("{}: {error}", path.display())]
    In {
        /// The file.
        path: PathBuf,
        /// Its error.
        error: Box<Self>,
    },
}

const JUDGED: &str = "a kernel image, a boot loader's entry, a handover in a memory dump, a manifest \
                      file, a program built on these crates, or `running`";
const ANSWERS: &str =
    "a program built on these crates, whose main begins with `kho_compat::answer_manifest!();`";

impl Error {
    /// What was found, what was expected, where it was looked for: a word and a text each.
    #[must_use]
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let both = |found: &str, expected: &str| {
            vec![
                ("found", found.to_owned()),
                ("expected", expected.to_owned()),
            ]
        };
        match self {
            Self::Unrecognised { found } => both(found, JUDGED),
            Self::Module => both("a kernel module", JUDGED),
            Self::NotAsked => both(
                "an ELF program without the mark of those that answer",
                ANSWERS,
            ),
            Self::Answer { found, .. } => both(
                found,
                "its manifest as JSON: main begins with `kho_compat::answer_manifest!();`",
            ),
            Self::Manifest { found } => both(found, "JSON as a program answers KHO_MANIFEST=1"),
            Self::Contradiction { found, .. } => vec![("found", found.clone())],
            Self::Strings(error) => vec![("found", error.to_string())],
            Self::NoImage { looked, .. } | Self::NoFile { looked, .. } => {
                let looked = looked.iter().cloned();
                looked.map(|path| ("looked for", path)).collect()
            }
            Self::Release(found) => vec![("found", found.clone())],
            Self::In { error, .. } => error.details(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |error| {
            Self::Image(ImageError::Io {
                path: path.to_owned(),
                error,
            })
        }
    }

    pub(crate) fn of_dump(error: kho_survey::Error, image: &Image) -> Self {
        let file_offset = match &error {
            kho_survey::Error::Interrupted => return Self::Interrupted,
            kho_survey::Error::Damaged(damage) => image.locate(damage.at()),
            _ => None,
        };
        let unread = match &error {
            kho_survey::Error::Find(FindError::None(_)) => true,
            kho_survey::Error::Damaged(damage) => damage.defect() == Defect::Unreadable,
            _ => false,
        };
        if unread && let Some(fault) = image.take_fault() {
            return Self::Image(fault);
        }
        let raw = image.kind() == DumpKind::Raw;
        Self::Dump {
            error,
            raw,
            file_offset,
        }
    }

    /// This error of the file `path`.
    pub(crate) fn within(self, path: &Path) -> Self {
        match self {
            Self::Interrupted => self,
            error => Self::In {
                path: path.to_owned(),
                error: Box::new(error),
            },
        }
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Interrupted => Self::Interrupted,
            error => Self::Image(error),
        }
    }
}
