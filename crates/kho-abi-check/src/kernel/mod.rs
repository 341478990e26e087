//! A real kernel's types, and layouts compared with them.
//!
//! [`open`] reads them from whichever of these a file is, told by its content:
//!
//! - a facts file: JSON, as pahole's output was written down,
//! - an ELF file, such as `vmlinux`, a module or an object file, with BTF or DWARF,
//! - raw BTF, such as `/sys/kernel/btf/vmlinux`.
//!
//! The three say the same of the same kernel: members keep the names and the types that the C
//! sources give them, and typedefs are followed where types are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use kho_compat::Component;
use object::read::ReadCache;

mod btf;
mod compare;
mod dwarf;
mod elf;
mod facts;
mod types;

pub use compare::compare;
use types::{CType, Member, Struct};

/// The longest facts file that is read.
const MAX_FACTS: u64 = 64 << 20;
/// The longest raw BTF that is read; a kernel's has some megabytes.
const MAX_BTF: u64 = 256 << 20;
/// The longest ELF file that is read; an unstripped kernel has around one gigabyte.
const MAX_ELF: u64 = 4 << 30;
/// How many members a struct may have.
const MAX_MEMBERS: usize = 1024;
/// The longest name of a struct, a member or a type.
const MAX_NAME: usize = 255;
/// How many different structs of one name are kept.
const MAX_DEFINITIONS: usize = 4;
/// How many types may lie between a member and the type that its typedefs and arrays end at.
const MAX_CHAIN: usize = 32;

/// Why a kernel's types could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// One of the others, with the file that it is about.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What there is to say of it.
        #[source]
        error: Box<KernelError>,
    },
    /// The file could not be opened or read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The file is none of those that hold a kernel's types.
    #[error("{0}")]
    Unknown(&'static str),
    /// A facts file is damaged.
    #[error("{0}")]
    Facts(String),
    /// An ELF file is damaged.
    #[error("ELF: {0}")]
    Elf(String),
    /// An ELF file has no debug information.
    #[error("no DWARF and no BTF: the file was stripped or built without debug information")]
    NoTypes,
    /// A module's BTF, which is of no use without the kernel's.
    #[error(
        "BTF of a module, which continues the kernel's: give the kernel's own or one with DWARF"
    )]
    SplitBtf,
    /// The debug information is damaged, or of a kind that is not read.
    #[error("DWARF: {0}")]
    Dwarf(String),
    /// The BTF is damaged.
    #[error("BTF: {0}")]
    Btf(String),
}

impl From<KernelError> for String {
    fn from(error: KernelError) -> Self {
        error.to_string()
    }
}

impl KernelError {
    /// The same, with the struct that it is of.
    fn within(self, name: &str) -> Self {
        match self {
            Self::Dwarf(text) => Self::Dwarf(format!("struct {name}: {text}")),
            Self::Btf(text) => Self::Btf(format!("struct {name}: {text}")),
            other => other,
        }
    }
}

/// A kernel's types: those structs that were asked for and that it has; of a facts file all.
#[derive(Clone, Debug)]
pub struct KernelTypes {
    structs: Structs,
    source: &'static str,
}

/// The different definitions of each name; at least one.
type Structs = BTreeMap<String, Vec<Struct>>;

/// Equal if they say the same of memory, wherever it was read.
impl PartialEq for KernelTypes {
    fn eq(&self, other: &Self) -> bool {
        self.structs == other.structs
    }
}

impl Eq for KernelTypes {}

impl KernelTypes {
    /// Parses a facts file: an object of structs by name, each with `size` and `members` of
    /// `name`, `type`, `offset`, `size`, and `bits` and `bit_offset` where it is a bit field.
    ///
    /// # Errors
    ///
    /// The text is not such a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (structs, source) = (facts::parse(text)?, "facts");
        Ok(Self { structs, source })
    }

    /// Reads the structs called `names` from a file; see [`open`].
    ///
    /// # Errors
    ///
    /// The file cannot be read, is none that holds types, or is damaged.
    pub fn load<N: AsRef<str>>(
        path: &Path,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, KernelError> {
        let read = regular(path).and_then(|file| Self::read(file, names));
        read.map_err(|error| KernelError::File {
            path: path.to_owned(),
            error: Box::new(error),
        })
    }

    /// As [`Self::load`], from an open file or a buffer.
    ///
    /// # Errors
    ///
    /// As of [`Self::load`].
    pub fn read<N: AsRef<str>>(
        mut input: impl Read + Seek,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, KernelError> {
        let names: BTreeSet<String> = names.into_iter().map(|n| n.as_ref().to_owned()).collect();
        let mut start = Vec::new();
        input.rewind()?;
        input.by_ref().take(4096).read_to_end(&mut start)?;
        let (structs, source) = match kind(&start)? {
            Kind::Facts => {
                let text = String::from_utf8(whole(input, MAX_FACTS)?);
                let structs = text.map_err(|error| error.to_string());
                let structs = structs.and_then(|text| facts::parse(&text));
                (structs.map_err(KernelError::Facts)?, "facts")
            }
            Kind::Btf => (btf::structs(&whole(input, MAX_BTF)?, &names)?, "BTF"),
            Kind::Elf => {
                if input.seek(SeekFrom::End(0))? > MAX_ELF {
                    return Err(KernelError::Unknown("an ELF file of more than 4 GiB"));
                }
                elf::structs(&ReadCache::new(input), &names)?
            }
        };
        Ok(Self { structs, source })
    }

    /// What the types were read from: `facts`, `BTF`, `DWARF` or `BTF and DWARF`.
    #[must_use]
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// The names of the structs that the kernel has.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.structs.keys().map(String::as_str)
    }
}

/// Reads a kernel's types from a file: of every struct that a layout of a linked component has the
/// C name of. For others there is [`KernelTypes::load`].
///
/// # Errors
///
/// The file cannot be read, is none that holds types, or is damaged.
pub fn open(path: &Path) -> Result<KernelTypes, KernelError> {
    // Not by their registry: whether they make one is for the check to say.
    let names = inventory::iter::<Component>
        .into_iter()
        .flat_map(|component| component.written().all_layouts())
        .filter_map(|layout| layout.c_name);
    KernelTypes::load(path, names)
}

/// Opens a regular file: a pipe or a terminal may never end.
fn regular(path: &Path) -> Result<File, KernelError> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(KernelError::Unknown("not a regular file"));
    }
    Ok(File::open(path)?)
}

enum Kind {
    Facts,
    Btf,
    Elf,
}

fn kind(start: &[u8]) -> Result<Kind, KernelError> {
    // Of gzip, Zstandard, xz, bzip2 and LZ4 in two forms.
    const COMPRESSED: [&[u8]; 6] = [
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b"\xfd7zXZ\0",
        b"BZh",
        b"\x04\x22\x4d\x18",
        b"\x02\x21\x4c\x18",
    ];
    let starts = |magic: &[u8]| start.starts_with(magic);
    // A byte order mark is no JSON, but editors write it.
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let arm = start.get(0x38..0x3c);
    Err(KernelError::Unknown(if starts(b"\x7fELF") {
        return Ok(Kind::Elf);
    } else if starts(b"\x9f\xeb") {
        return Ok(Kind::Btf);
    } else if starts(b"\xeb\x9f\x01") {
        "BTF of a big-endian kernel, which no handover format is for"
    } else if start.get(0x202..0x206) == Some(b"HdrS")
        || [Some(&b"ARMd"[..]), Some(b"RSC\x05")].contains(&arm)
    {
        "a boot image, which has no types: give the vmlinux that it was made of"
    } else if COMPRESSED.into_iter().any(starts) {
        "compressed: decompress it first"
    } else if text.trim_ascii_start().starts_with(b"{") {
        return Ok(Kind::Facts);
    } else {
        "neither a facts file (JSON), nor an ELF file, nor BTF"
    }))
}

/// All of `input`, which has at most `max` bytes.
fn whole(mut input: impl Read + Seek, max: u64) -> Result<Vec<u8>, KernelError> {
    input.rewind()?;
    let mut out = Vec::new();
    input.take(max.saturating_add(1)).read_to_end(&mut out)?;
    if out.len() as u64 > max {
        return Err(KernelError::Unknown("too long for a file of its kind"));
    }
    Ok(out)
}

/// Adds a definition of `name`, unless an equal one is known.
fn define(structs: &mut Structs, name: &str, found: Struct) {
    let known = structs.entry(name.to_owned()).or_default();
    if known.len() < MAX_DEFINITIONS && !known.contains(&found) {
        known.push(found);
    }
}

/// The string at `offset`, which ends with a zero byte and is no longer than names are.
fn string_at(strings: &[u8], offset: usize) -> Option<&[u8]> {
    let rest = strings.get(offset..)?;
    let window = rest.get(..=MAX_NAME).unwrap_or(rest);
    let end = window.iter().position(|byte| *byte == 0)?;
    window.get(..end)
}
