//! A kernel image or a module, opened and read.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use kho_mem::FileMap;

use super::survey::{elf_strings, first_word, flat_strings};
use super::{Compression, Evidence, KernelStrings, Unified, config, container, elf};
use crate::image::{ImageError, Progress};

/// Files up to this size are read, so that nobody can truncate them under a mapping.
const READ_MAX: u64 = 64 << 20;

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
    /// A unified kernel image: a PE file with a section `.linux`, which is any of the others but a module.
    Unified,
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
            Self::Unified => "unified kernel image",
            Self::Elf => "vmlinux",
            Self::Flat => "flat Image",
            Self::Module => "module",
        })
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
    init_size: Option<u32>,
    strings: KernelStrings,
    unified: Option<Unified>,
}

impl KernelImage {
    /// Reads the image or module at `path`. What it is is recognised by its content. `progress` is told of the
    /// decompression, in bytes of the compressed stream.
    ///
    /// # Errors
    ///
    /// The file can not be read, is no kernel, is damaged, or unpacks to more than the limit. An
    /// offset in the error counts from the start of the file, or of what was unpacked from it
    /// where the defect lies in that. [`ImageError::Interrupted`] when `progress` says stop.
    ///
    /// ```no_run
    /// use kho_image::kernel::{KernelImage, KernelOptions};
    ///
    /// let options = KernelOptions::default();
    /// let image = KernelImage::open("bzImage".as_ref(), &options, &mut |done, total| {
    ///     eprintln!("{done} of {total:?}");
    ///     true
    /// })?;
    /// println!("{}: {:?}", image.kind(), image.strings().release);
    /// # Ok::<(), kho_image::ImageError>(())
    /// ```
    pub fn open(
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
        let read = Self::read(map.get(0..map.len()).unwrap_or_default(), options, progress);
        if map.was_cut() {
            let path = path.to_owned();
            return Err(ImageError::Shrunk { path });
        }
        read
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
            Some(arch) => flat_strings(data, arch, unwrapped.big)?,
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
        strings.config = config::embedded(data);
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
            init_size: unwrapped.init_size,
            strings,
            unified: unwrapped.unified,
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

    /// Bytes of memory that an x86 boot image takes while it unpacks, as its header says from protocol 2.10 on;
    /// `None` of other images.
    #[must_use]
    pub fn init_size(&self) -> Option<u64> {
        self.init_size.map(u64::from)
    }

    /// What a unified kernel image has beside its kernel, which is that of the first profile.
    #[must_use]
    pub const fn unified(&self) -> Option<&Unified> {
        self.unified.as_ref()
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
