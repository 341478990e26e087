//! Kernel images and modules, read for the compat strings that they can restore, without booting
//! them.
//!
//! [`KernelImage`] opens a bzImage, a vmlinux, an arm64 (or RISC-V) Image, an EFI zboot image or a
//! module, any of them compressed as well, and recognises it by its content. [`KernelStrings`] is
//! what was found, as plain data. [`read_modules`] reads a directory of modules.
//!
//! # What a kernel says, and what it does not
//!
//! No released kernel lists what it can restore. There are drafts of two ELF sections that do,
//! `.liveupdate_versions` and `.liveupdate_features`; where an image has one, that is the
//! evidence for everything of LUO's. Otherwise it is the strings themselves, which stand in the
//! image since the kernel compares with them. Two forms count ([`Standing`]):
//!
//! - A *constant*: NUL, the string, NUL. `kho-v4`, `luo-v5`, `memblock-v1` and `reserve-mem-v1`
//!   stand so in Linux 7.3.4.
//! - A *field*: the `compatible` of a registered file handler or FLB, 48 bytes padded with NULs,
//!   behind a pointer. Its last byte is not NUL on a machine with kernel addresses at the top, so
//!   that no NUL comes before the string. `memfd-v2` stands so in Linux 7.3.4, in `.data`.
//!
//! A part of a longer string (`Spectre-v2 mitigation is off`) never counts.
//!
//! Limits of that evidence:
//!
//! - A name says what carries its string for the components that are linked (link `kho-luo` and
//!   `kho-memfd` for `luo` and `memfd`) and for all that ends in `-flb`. Whether another one is a file
//!   handler's can not be told from the string: such strings are
//!   [candidates](KernelStrings::candidates).
//! - Versions of structures without a string, as the kexec metadata's number, can not be seen.
//! - A string can be missing that is in use: a compiler may turn a copy of it into instructions, and a
//!   linker lets it share the end of a longer one. That a kernel has KHO is therefore looked for
//!   in other traces as well ([`KernelStrings::kho`]).
//! - A string can stand there that nothing restores: a test's, or one of two versions of which one
//!   is only written.
//!
//! ```no_run
//! use kho_image::kernel::{KernelImage, KernelOptions};
//!
//! let image = KernelImage::open("/boot/vmlinuz-7.3.4".as_ref(), &KernelOptions::default())?;
//! if !image.strings().has_kho() {
//!     println!("no KHO at all");
//! }
//! for (carrier, found) in image.strings().carriers() {
//!     println!("{}: {found}", carrier.title());
//! }
//! # Ok::<(), kho_image::ImageError>(())
//! ```

mod container;
mod elf;
mod modules;
mod sections;
mod strings;
mod unpack;

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use kho_compat::{Carrier, Compat};
use kho_mem::FileMap;
use memchr::memmem;

use crate::image::{ImageError, Progress};
pub use modules::{ModuleError, ModuleStrings, Modules, ModulesProgress, read_modules};
use strings::{Found, Region};
pub use unpack::Compression;

/// Files up to this size are read, so that nobody can truncate them under a mapping.
const READ_MAX: u64 = 64 << 20;
/// A banner is read this far.
const LINE_MAX: usize = 512;
/// How every kernel introduces itself.
const BANNER: &str = "Linux version ";

/// Strings that stand alone in a kernel with KHO, whatever its version: a property of the root
/// FDT, source files that warnings name, and symbols (in the tables of an unstripped vmlinux, or
/// of what modules may use).
const KHO_TRACES: &[&str] = &[
    "preserved-memory-map",
    "kernel/liveupdate/kexec_handover.c",
    "kernel/kexec_handover.c",
    "kho_populate",
    "kho_preserve_folio",
];
/// The same for LUO.
const LUO_TRACES: &[&str] = &[
    "kernel/liveupdate/luo_session.c",
    "kernel/liveupdate/luo_file.c",
    "kernel/liveupdate/luo_flb.c",
    "liveupdate_reboot",
    "liveupdate_register_file_handler",
];

/// How to take a kernel image.
///
/// ```
/// use kho_image::kernel::KernelOptions;
///
/// let options = KernelOptions { max_unpacked: 64 << 20 };
/// assert!(options.max_unpacked < KernelOptions::default().max_unpacked);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelOptions {
    /// The most bytes that a compressed file, and a compressed payload in it, may unpack to each.
    /// They are held in memory.
    pub max_unpacked: u64,
}

impl Default for KernelOptions {
    /// At most 512 MiB unpacked.
    fn default() -> Self {
        Self {
            max_unpacked: 512 << 20,
        }
    }
}

/// What a kernel comes in, compression of the whole file left aside.
///
/// ```
/// use kho_image::kernel::KernelKind;
///
/// assert_eq!(KernelKind::BzImage.to_string(), "x86 boot image");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum KernelKind {
    /// An x86 boot image (bzImage, vmlinuz): `HdrS` at 0x202, the payload's place at 0x248, as the
    /// Linux/x86 boot protocol 2.08 says.
    BzImage,
    /// An EFI zboot image: `MZ`, then `zimg`, the payload's offset and length.
    Zboot,
    /// A vmlinux: an ELF executable of either class and byte order.
    Elf,
    /// A flat Image: `ARM\x64` (arm64) or `RSC\x05` (RISC-V) at 0x38.
    Flat,
    /// A module: a relocatable ELF file.
    Module,
}

impl fmt::Display for KernelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BzImage => "x86 boot image",
            Self::Zboot => "EFI zboot image",
            Self::Elf => "vmlinux",
            Self::Flat => "flat Image",
            Self::Module => "module",
        })
    }
}

/// Where a kernel's word on what it can restore comes from, the best first.
///
/// ```
/// use kho_image::kernel::Evidence;
///
/// assert!(Evidence::Versions < Evidence::Strings);
/// assert_eq!(Evidence::Versions.to_string(), "section .liveupdate_versions");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Evidence {
    /// The section `.liveupdate_versions` (a draft): the kernel lists compat strings.
    Versions,
    /// The section `.liveupdate_features` (a draft): the kernel lists names and feature bits.
    Features,
    /// Strings that stand alone in its data.
    Strings,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Versions => write!(f, "section {}", sections::VERSIONS),
            Self::Features => write!(f, "section {}", sections::FEATURES),
            Self::Strings => f.write_str("strings in its data"),
        }
    }
}

/// In which form a string stands in an image.
///
/// ```
/// use kho_image::kernel::Standing;
///
/// assert_ne!(Standing::Constant, Standing::Field);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Standing {
    /// NUL (or the start of a section), the string, NUL.
    Constant,
    /// At a pointer's alignment, padded with NULs to 48 bytes, and behind what is no text.
    Field,
}

/// A compat string in an image, and where it stands.
///
/// ```
/// # use kho_image::kernel::KernelStrings;
/// # let strings = KernelStrings::default();
/// for found in &strings.strings {
///     // memfd-v2 at 0x89ac68 (.data, 0xffffffff8169ac68)
///     println!("{found}");
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FoundString {
    /// The string, which is in the grammar of compat strings.
    pub text: String,
    /// Its first byte's offset in the unpacked image, where it was found first.
    pub offset: u64,
    /// The ELF section that it stands in.
    pub section: Option<String>,
    /// The address that the kernel is linked to have it at. Modules have none.
    pub address: Option<u64>,
    /// Its form.
    pub standing: Standing,
    /// Whether a section lists it, or it was found for itself.
    pub evidence: Evidence,
    /// How often it stands in the image.
    pub times: u64,
}

impl FoundString {
    /// The string parsed; `None` never for what was read from an image.
    ///
    /// ```
    /// # use kho_image::kernel::KernelStrings;
    /// # let strings = KernelStrings::default();
    /// for compat in strings.strings.iter().filter_map(|found| found.compat()) {
    ///     println!("{} in version {}", compat.base().name(), compat.base().version());
    /// }
    /// ```
    #[must_use]
    pub fn compat(&self) -> Option<Compat> {
        Compat::parse(&self.text).ok()
    }

    /// What carries the string, where its name says it: see the [module](self#what-a-kernel-says-and-what-it-does-not).
    ///
    /// ```
    /// # use kho_image::kernel::KernelStrings;
    /// # let strings = KernelStrings::default();
    /// let unknown = strings.strings.iter().filter(|found| found.carrier().is_none());
    /// # assert_eq!(unknown.count(), 0);
    /// ```
    #[must_use]
    pub fn carrier(&self) -> Option<Carrier> {
        strings::carrier(self.compat()?.base().name())
    }
}

impl fmt::Display for FoundString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.text, self.offset)?;
        match (&self.section, self.address) {
            (Some(section), Some(address)) => write!(f, " ({section}, {address:#x})"),
            (Some(section), None) => write!(f, " ({section})"),
            _ => Ok(()),
        }
    }
}

/// An entry of `.liveupdate_features`: a component by name, with feature bits in place of a
/// version.
///
/// ```
/// # use kho_image::kernel::KernelStrings;
/// # let strings = KernelStrings::default();
/// for entry in &strings.features {
///     println!("{}: supports {:#x}, requires {:#x}", entry.name, entry.supported, entry.required);
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FoundFeatures {
    /// The component's name: `luo`.
    pub name: String,
    /// Bytes of the feature words, as the entry says.
    pub bytes: u32,
    /// Features that the kernel can restore.
    pub supported: u64,
    /// Features that a kernel must support which restores what this one hands over.
    pub required: u64,
    /// Features that this kernel uses.
    pub active: u64,
    /// The entry's offset in the unpacked image.
    pub offset: u64,
    /// The ELF section that it stands in.
    pub section: Option<String>,
    /// The address that the kernel is linked to have it at.
    pub address: Option<u64>,
}

/// What shows that a kernel has KHO, or LUO.
///
/// ```
/// # use kho_image::kernel::KernelStrings;
/// # let strings = KernelStrings::default();
/// match &strings.kho {
///     Some(trace) => println!("KHO: {} at {:#x}", trace.text, trace.offset),
///     None => println!("no KHO at all"),
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Trace {
    /// The string: a compat string, or another one that only such a kernel has.
    pub text: String,
    /// Its offset in the unpacked image.
    pub offset: u64,
    /// The ELF section that it stands in.
    pub section: Option<String>,
}

/// What a kernel image or a module holds, as plain data.
///
/// ```
/// use kho_image::kernel::KernelStrings;
///
/// let nothing = KernelStrings::default();
/// assert!(!nothing.has_kho() && nothing.strings.is_empty());
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct KernelStrings {
    /// The release (`7.3.4`): from the `Linux version` banner, the x86 boot header, or a module's
    /// `vermagic`.
    pub release: Option<String>,
    /// The whole banner, where the image has one.
    pub banner: Option<String>,
    /// The architecture, as `uname -m` says it, but `arm64` for 64-bit ARM.
    pub arch: Option<String>,
    /// What was looked at, the best first. Sections are here if the image has them;
    /// [`Evidence::Strings`] always, since no section tells of KHO's own strings.
    pub evidence: Vec<Evidence>,
    /// Strings of known names, each once, in the image's order, those of `.liveupdate_versions`
    /// first: all of that section whatever their names.
    ///
    /// With either section, strings that were found for themselves are here only if the root
    /// FDT or memblock's carries them and the section does not name them; others are candidates.
    pub strings: Vec<FoundString>,
    /// Strings in the grammar that may belong to a live update, but need not: of an unknown name and
    /// in a handler's or an FLB's form, or akin in their names (`kho-test-v1`).
    pub candidates: Vec<FoundString>,
    /// Constants in the grammar that have nothing to do with it, for instance `arm-smmu-v3`: how
    /// often such were passed over.
    pub ignored: u64,
    /// The entries of `.liveupdate_features`.
    pub features: Vec<FoundFeatures>,
    /// What shows that the kernel has KHO: `None` is "no KHO at all". Not looked for in modules.
    pub kho: Option<Trace>,
    /// What shows that the kernel has LUO. Not looked for in modules.
    pub luo: Option<Trace>,
}

impl KernelStrings {
    /// Whether the kernel has KHO.
    ///
    /// ```
    /// # use kho_image::kernel::KernelStrings;
    /// assert!(!KernelStrings::default().has_kho());
    /// ```
    #[must_use]
    pub const fn has_kho(&self) -> bool {
        self.kho.is_some()
    }

    /// Whether the kernel has LUO.
    ///
    /// ```
    /// # use kho_image::kernel::KernelStrings;
    /// assert!(!KernelStrings::default().has_luo());
    /// ```
    #[must_use]
    pub const fn has_luo(&self) -> bool {
        self.luo.is_some()
    }

    /// The strings of which is known what carries them, with that.
    ///
    /// A file handler of an unknown name is not among them: see the
    /// [module](self#what-a-kernel-says-and-what-it-does-not).
    ///
    /// ```
    /// use kho_compat::Carrier;
    /// # use kho_image::kernel::KernelStrings;
    /// # let strings = KernelStrings::default();
    /// let root = strings.carriers().find(|(carrier, _)| *carrier == Carrier::Root);
    /// # assert!(root.is_none());
    /// ```
    pub fn carriers(&self) -> impl Iterator<Item = (Carrier, &FoundString)> {
        self.strings
            .iter()
            .filter_map(|found| Some((found.carrier()?, found)))
    }
}

/// A kernel image or a module, read.
///
/// ```
/// use kho_image::kernel::{KernelImage, KernelOptions};
///
/// let error = KernelImage::from_bytes(b"#!/bin/sh\n", &KernelOptions::default()).unwrap_err();
/// assert!(error.to_string().starts_with("not a kernel image at file offset 0x0"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelImage {
    kind: KernelKind,
    compressions: Vec<Compression>,
    unpacked: u64,
    strings: KernelStrings,
}

impl KernelImage {
    /// Reads the image or module at `path`. What it is is recognised by its content.
    ///
    /// # Errors
    ///
    /// The file can not be read, is no kernel, is damaged, or unpacks to more than the limit. An
    /// offset in the error counts from the start of the file, or of what was unpacked from it
    /// where the defect lies in that.
    ///
    /// ```no_run
    /// use kho_image::kernel::{KernelImage, KernelOptions};
    ///
    /// let image = KernelImage::open("bzImage".as_ref(), &KernelOptions::default())?;
    /// println!("{}: {:?}", image.kind(), image.strings().release);
    /// # Ok::<(), kho_image::ImageError>(())
    /// ```
    pub fn open(path: &Path, options: &KernelOptions) -> Result<Self, ImageError> {
        Self::open_with(path, options, &mut |_, _| true)
    }

    /// [`KernelImage::open`] with a function that is told of the progress of decompression, in
    /// bytes of the compressed stream.
    ///
    /// # Errors
    ///
    /// As [`KernelImage::open`], and [`ImageError::Interrupted`] when `progress` says stop.
    ///
    /// ```no_run
    /// use kho_image::kernel::{KernelImage, KernelOptions};
    ///
    /// let image = KernelImage::open_with(
    ///     "bzImage".as_ref(),
    ///     &KernelOptions::default(),
    ///     &mut |done, total| {
    ///         eprintln!("{done} of {total:?}");
    ///         true
    ///     },
    /// )?;
    /// # Ok::<(), kho_image::ImageError>(())
    /// ```
    pub fn open_with(
        path: &Path,
        options: &KernelOptions,
        progress: &mut Progress<'_>,
    ) -> Result<Self, ImageError> {
        let io = |error| ImageError::Io {
            path: path.to_owned(),
            error,
        };
        // Before it is opened: opening a pipe waits for a writer.
        let meta = fs::metadata(path).map_err(io)?;
        if meta.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        if !meta.is_file() {
            return Err(io(std::io::Error::other("not a regular file")));
        }
        let file = File::open(path).map_err(io)?;
        if meta.len() <= READ_MAX {
            let mut bytes = Vec::new();
            // One byte more, should it have grown.
            (&file)
                .take(READ_MAX + 1)
                .read_to_end(&mut bytes)
                .map_err(io)?;
            return Self::read(&bytes, options, progress);
        }
        let map = FileMap::new(&file).map_err(io)?;
        Self::read(map.get(0..map.len()).unwrap_or_default(), options, progress)
    }

    /// Reads the image or module in `bytes`.
    ///
    /// # Errors
    ///
    /// As [`KernelImage::open`].
    ///
    /// ```
    /// use kho_image::kernel::{KernelImage, KernelOptions};
    ///
    /// assert!(KernelImage::from_bytes(&[], &KernelOptions::default()).is_err());
    /// ```
    pub fn from_bytes(bytes: &[u8], options: &KernelOptions) -> Result<Self, ImageError> {
        Self::read(bytes, options, &mut |_, _| true)
    }

    fn read(
        bytes: &[u8],
        options: &KernelOptions,
        progress: &mut Progress<'_>,
    ) -> Result<Self, ImageError> {
        let unwrapped = container::unwrap(bytes, options.max_unpacked, progress)?;
        let data = &unwrapped.bytes[..];
        let mut kind = unwrapped.kind;
        let mut strings = match unwrapped.flat {
            Some(arch) => flat(data, arch, unwrapped.big)?,
            None => {
                let elf = elf::parse(data)?;
                if elf.relocatable {
                    if kind != KernelKind::Elf {
                        return Err(ImageError::damaged(
                            "boot image's payload",
                            0,
                            "a relocatable ELF file",
                            "a kernel",
                        ));
                    }
                    kind = KernelKind::Module;
                }
                elf_strings(data, &elf)?
            }
        };
        if let Some(version) = unwrapped.version
            && strings.release.is_none()
        {
            strings.release = first_word(&version);
        }
        if strings.release.is_none() && kind != KernelKind::Module {
            return Err(ImageError::damaged(
                "not a Linux kernel",
                0,
                "no version",
                "\"Linux version\" and a number",
            ));
        }
        tracing::debug!(
            %kind,
            unpacked = data.len(),
            strings = strings.strings.len(),
            candidates = strings.candidates.len(),
            ignored = strings.ignored,
            "kernel image read"
        );
        Ok(Self {
            kind,
            compressions: unwrapped.compressions,
            unpacked: data.len() as u64,
            strings,
        })
    }

    /// What the kernel came in.
    ///
    /// ```no_run
    /// # use kho_image::kernel::{KernelImage, KernelKind, KernelOptions};
    /// # let image = KernelImage::from_bytes(&[], &KernelOptions::default())?;
    /// assert_eq!(image.kind(), KernelKind::BzImage);
    /// # Ok::<(), kho_image::ImageError>(())
    /// ```
    #[must_use]
    pub const fn kind(&self) -> KernelKind {
        self.kind
    }

    /// How it was compressed, from the outside inwards; empty for a plain one.
    ///
    /// ```no_run
    /// # use kho_image::kernel::{Compression, KernelImage, KernelOptions};
    /// # let image = KernelImage::from_bytes(&[], &KernelOptions::default())?;
    /// assert_eq!(image.compressions(), [Compression::Zstd]);
    /// # Ok::<(), kho_image::ImageError>(())
    /// ```
    #[must_use]
    pub fn compressions(&self) -> &[Compression] {
        &self.compressions
    }

    /// Bytes of the unpacked image, in which strings have their offsets.
    ///
    /// ```no_run
    /// # use kho_image::kernel::{KernelImage, KernelOptions};
    /// # let image = KernelImage::from_bytes(&[], &KernelOptions::default())?;
    /// println!("{} MiB unpacked", image.unpacked() >> 20);
    /// # Ok::<(), kho_image::ImageError>(())
    /// ```
    #[must_use]
    pub const fn unpacked(&self) -> u64 {
        self.unpacked
    }

    /// What was looked at, the best first: [`KernelStrings::evidence`].
    ///
    /// ```no_run
    /// # use kho_image::kernel::{Evidence, KernelImage, KernelOptions};
    /// # let image = KernelImage::from_bytes(&[], &KernelOptions::default())?;
    /// if image.evidence() == [Evidence::Strings] {
    ///     println!("the kernel itself says nothing; its strings do");
    /// }
    /// # Ok::<(), kho_image::ImageError>(())
    /// ```
    #[must_use]
    pub fn evidence(&self) -> &[Evidence] {
        &self.strings.evidence
    }

    /// What was found.
    ///
    /// ```no_run
    /// # use kho_image::kernel::{KernelImage, KernelOptions};
    /// # let image = KernelImage::from_bytes(&[], &KernelOptions::default())?;
    /// println!("LUO: {}", image.strings().has_luo());
    /// # Ok::<(), kho_image::ImageError>(())
    /// ```
    #[must_use]
    pub const fn strings(&self) -> &KernelStrings {
        &self.strings
    }

    /// What was found, without the image.
    ///
    /// ```no_run
    /// # use kho_image::kernel::{KernelImage, KernelOptions, KernelStrings};
    /// # let image = KernelImage::from_bytes(&[], &KernelOptions::default())?;
    /// let strings: KernelStrings = image.into_strings();
    /// # Ok::<(), kho_image::ImageError>(())
    /// ```
    #[must_use]
    pub fn into_strings(self) -> KernelStrings {
        self.strings
    }
}

/// The text at the start of `bytes` up to NUL or the end of the line; `None` for what is not
/// printable.
fn line(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let line = bytes.split(|byte| matches!(byte, 0 | b'\n')).next()?;
    let printable = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    (printable && !line.is_empty()).then(|| String::from_utf8_lossy(line).into_owned())
}

fn first_word(text: &str) -> Option<String> {
    text.split_ascii_whitespace().next().map(str::to_owned)
}

/// The longest banner in the regions, not the format that makes it. Linux has two: one from before
/// the build's number and date are known.
fn banner(data: &[u8], regions: &[Region]) -> Option<String> {
    const BANNERS_MAX: usize = 64;
    let all = regions.iter().flat_map(|region| {
        let bytes = region.bytes(data);
        memmem::find_iter(bytes, BANNER).filter_map(move |at| bytes.get(at..))
    });
    let lines = all
        .filter(|rest| rest.get(BANNER.len()).is_some_and(u8::is_ascii_digit))
        .take(BANNERS_MAX)
        .filter_map(line);
    lines.max_by_key(String::len)
}

/// What the sections, or what looks like them, say.
#[derive(Default)]
struct Listed {
    versions: Option<Vec<FoundString>>,
    features: Option<Vec<FoundFeatures>>,
}

fn flat(data: &[u8], arch: &str, big: bool) -> Result<KernelStrings, ImageError> {
    const WORD: u64 = 8;
    let whole = Region::whole(data.len());
    let (versions, features) = sections::look_for(data, &whole, big);
    let mut found = Found::default();
    strings::scan(data, &whole, WORD, &mut found)?;
    let mut strings = merge(found, Listed { versions, features })?;
    strings.arch = Some(arch.to_owned());
    let regions = [whole];
    strings.banner = banner(data, &regions);
    strings.release = release(strings.banner.as_deref());
    traces(&mut strings, data, &regions);
    Ok(strings)
}

fn elf_strings(data: &[u8], elf: &elf::Elf) -> Result<KernelStrings, ImageError> {
    let mut listed = Listed::default();
    let mut regions = Vec::new();
    let mut symbols = Vec::new();
    let mut modinfo = &[][..];
    for section in &elf.sections {
        let region = section.region(elf.relocatable);
        let lists = matches!(
            section.name.as_str(),
            sections::VERSIONS | sections::FEATURES
        );
        if lists && section.is_packed() {
            return Err(ImageError::damaged(
                format!("section {}", section.name),
                region.start as u64,
                "a compressed section",
                "a plain one",
            ));
        }
        match section.name.as_str() {
            sections::VERSIONS => listed
                .versions
                .get_or_insert_default()
                .extend(sections::read_versions(data, &region, elf.big)?),
            sections::FEATURES => listed
                .features
                .get_or_insert_default()
                .extend(sections::read_features(data, &region, elf.big)?),
            ".modinfo" if elf.relocatable => modinfo = section.bytes(data),
            _ if section.is_data() => regions.push(region),
            _ if section.is_strtab() => symbols.push(region),
            _ => {}
        }
    }
    // Without section headers (they are not needed to boot) everything may be data.
    if elf.sections.is_empty() && !elf.relocatable {
        let whole = Region::whole(data.len());
        (listed.versions, listed.features) = sections::look_for(data, &whole, elf.big);
        regions.push(whole);
    }
    let mut found = Found::default();
    for region in &regions {
        strings::scan(data, region, elf.word, &mut found)?;
    }
    let mut strings = merge(found, listed)?;
    strings.arch = Some(elf.arch.clone());
    if elf.relocatable {
        let entry = |name: &str| {
            let mut entries = modinfo.split(|byte| *byte == 0);
            entries.find_map(|entry| line(entry.strip_prefix(name.as_bytes())?))
        };
        if modinfo.is_empty() {
            return Err(ImageError::damaged(
                "not a module",
                0,
                "a relocatable ELF file without .modinfo",
                "a kernel module",
            ));
        }
        strings.release = entry("vermagic=").as_deref().and_then(first_word);
    } else {
        strings.banner = banner(data, &regions);
        strings.release = release(strings.banner.as_deref());
        regions.append(&mut symbols);
        traces(&mut strings, data, &regions);
    }
    Ok(strings)
}

fn release(banner: Option<&str>) -> Option<String> {
    banner
        .and_then(|banner| banner.strip_prefix(BANNER))
        .and_then(first_word)
}

/// What sections list goes before what was found for itself.
fn merge(found: Found, listed: Listed) -> Result<KernelStrings, ImageError> {
    let mut evidence = Vec::new();
    if listed.versions.is_some() {
        evidence.push(Evidence::Versions);
    }
    if listed.features.is_some() {
        evidence.push(Evidence::Features);
    }
    let lists = !evidence.is_empty();
    evidence.push(Evidence::Strings);
    let features = listed.features.unwrap_or_default();
    let mut named: Vec<String> = features.iter().map(|entry| entry.name.clone()).collect();
    let mut all = Found::default();
    for string in listed.versions.unwrap_or_default() {
        named.extend(
            string
                .compat()
                .map(|compat| compat.base().name().to_owned()),
        );
        all.add(true, string)?;
    }
    named.sort_unstable();
    for string in found.strings {
        let below = matches!(string.carrier(), Some(Carrier::Root | Carrier::Owned(_)));
        let unnamed = string.compat().is_some_and(|compat| {
            let name = compat.base().name();
            named
                .binary_search_by(|named| named.as_str().cmp(name))
                .is_err()
        });
        all.add(!lists || below && unnamed, string)?;
    }
    for string in found.candidates {
        all.add(false, string)?;
    }
    Ok(KernelStrings {
        evidence,
        strings: all.strings,
        candidates: all.candidates,
        ignored: found.ignored,
        features,
        ..KernelStrings::default()
    })
}

/// Fills in what shows that the kernel has KHO and LUO.
fn traces(strings: &mut KernelStrings, data: &[u8], regions: &[Region]) {
    let all = || strings.strings.iter().chain(&strings.candidates);
    let of_string = |carrier| {
        let found = all().find(|found| found.carrier() == Some(carrier))?;
        Some(Trace {
            text: found.text.clone(),
            offset: found.offset,
            section: found.section.clone(),
        })
    };
    let listed = |name: &str| {
        let entry = strings.features.iter().find(|entry| entry.name == name)?;
        Some(Trace {
            text: entry.name.clone(),
            offset: entry.offset,
            section: entry.section.clone(),
        })
    };
    let other = |names: &[&str]| {
        regions.iter().find_map(|region| {
            let (at, text) = strings::standing_alone(data, region, names)?;
            Some(Trace {
                text: text.to_owned(),
                offset: region.place(at).0,
                section: region.section.clone(),
            })
        })
    };
    let kho = of_string(Carrier::Root)
        .or_else(|| listed("kho"))
        .or_else(|| other(KHO_TRACES));
    let luo = of_string(Carrier::Luo)
        .or_else(|| listed("luo"))
        .or_else(|| other(LUO_TRACES));
    // There is no LUO without KHO.
    strings.kho = kho.or_else(|| luo.clone());
    strings.luo = luo;
}
