//! Unified kernel images: PE files whose sections are a kernel, its command line and its initrd, as
//! the UAPI Group's specification and systemd-stub have them.

use std::ops::Range;

use super::container::{half, inside, int};
use crate::image::ImageError;

/// Sections of text are longer in no image. The kernel cuts command lines at 4 KiB at most.
const TEXT_MAX: usize = 64 << 10;
/// No image has nearly as many profiles.
const PROFILES_MAX: usize = 256;
const SECTION_LEN: usize = 40;

/// What boots with one profile of a unified kernel image: sections that the profile has, and of the
/// others those that precede all profiles. Of several sections of one name the first counts.
///
/// ```no_run
/// # use kho_image::kernel::{KernelImage, KernelOptions};
/// let image = KernelImage::open("/efi/EFI/Linux/7.3.4.efi".as_ref(), &KernelOptions::default(), &mut |_, _| true)?;
/// if let Some(unified) = image.unified() {
///     println!("boots with {}", unified.cmdline.as_deref().unwrap_or("no command line"));
/// }
/// # Ok::<(), kho_image::ImageError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Unified {
    /// The kernel's command line (`.cmdline`), without the white space around it.
    pub cmdline: Option<String>,
    /// Where the image has the initrd (`.initrd`), in bytes of the file. Of an image inside a compressed file, of
    /// what that unpacks to.
    pub initrd: Option<Range<u64>>,
    /// The operating system's release file (`.osrel`).
    pub osrel: Option<String>,
    /// The kernel's release (`.uname`).
    pub uname: Option<String>,
    /// The profile's own description (`.profile`): lines of `ID=` and `TITLE=`.
    pub profile: Option<String>,
    /// What boots with the other profiles, in their order; empty in those.
    pub others: Vec<Unified>,
    /// The kernel (`.linux`).
    kernel: Option<Range<usize>>,
}

/// A section's name and where its bytes lie in the file.
struct Section<'d> {
    name: &'d [u8],
    header: usize,
    // In virtual memory, and in the file, which is padded to the alignment of files.
    len: u32,
    stored: u32,
    offset: u32,
}

impl Section<'_> {
    fn range(&self, bytes: &[u8]) -> Result<Range<usize>, ImageError> {
        let len = match self.len {
            0 => self.stored,
            len => len.min(self.stored),
        };
        match inside(bytes, u64::from(self.offset), u64::from(len)) {
            Some((start, len)) => Ok(start..start + len),
            None => Err(ImageError::damaged(
                format!("PE section {}", String::from_utf8_lossy(self.name)),
                self.header as u64,
                format!("{len:#x} bytes from {:#x} on", self.offset),
                format!("bytes inside the file of {:#x} bytes", bytes.len()),
            )),
        }
    }

    fn text(&self, bytes: &[u8]) -> Result<String, ImageError> {
        let range = self.range(bytes)?;
        let text = bytes.get(range).unwrap_or_default();
        if text.len() > TEXT_MAX {
            return Err(ImageError::damaged(
                format!("PE section {}", String::from_utf8_lossy(self.name)),
                self.header as u64,
                format!("{:#x} bytes of text", text.len()),
                format!("at most {TEXT_MAX:#x}"),
            ));
        }
        let blank = |c: char| c == '\0' || c.is_ascii_whitespace();
        Ok(String::from_utf8_lossy(text).trim_matches(blank).to_owned())
    }
}

/// The headers of the sections; `None` for what is no PE file.
fn sections(bytes: &[u8]) -> Option<impl Iterator<Item = Section<'_>>> {
    let pe = usize::try_from(int(bytes, 0x3c)?).ok()?;
    let signature = bytes.get(pe..)?.starts_with(b"PE\0\0");
    let number = half(bytes, pe + 6)?;
    let table = pe + 24 + usize::from(half(bytes, pe + 20)?);
    (bytes.starts_with(b"MZ") && signature).then(|| {
        (0..usize::from(number)).map_while(move |index| {
            let at = table + index * SECTION_LEN;
            let name = bytes.get(at..at + 8)?;
            Some(Section {
                name: name.split(|byte| *byte == 0).next()?,
                header: at,
                len: int(bytes, at + 8)?,
                stored: int(bytes, at + 16)?,
                offset: int(bytes, at + 20)?,
            })
        })
    })
}

impl Unified {
    /// The image in `bytes` and where its kernel lies; `None` for a file without a section `.linux`.
    pub(super) fn of(bytes: &[u8]) -> Result<Option<(Self, Range<usize>)>, ImageError> {
        let Some(sections) = sections(bytes) else {
            return Ok(None);
        };
        let sections: Vec<_> = sections.collect();
        if !sections.iter().any(|section| section.name == b".linux") {
            return Ok(None);
        }
        let mut profiles = sections.split(|section| section.name == b".profile");
        let starts = sections
            .iter()
            .filter(|section| section.name == b".profile");
        let base = Self::with(&Self::default(), profiles.next().unwrap_or_default(), bytes)?;
        let mut all = Vec::new();
        for (start, sections) in starts.zip(profiles) {
            if all.len() == PROFILES_MAX {
                return Err(ImageError::damaged(
                    "PE section .profile",
                    start.header as u64,
                    format!("more than {PROFILES_MAX}"),
                    "an image of fewer profiles",
                ));
            }
            let mut profile = Self::with(&base, sections, bytes)?;
            profile.profile = Some(start.text(bytes)?);
            all.push(profile);
        }
        let mut others = all.into_iter();
        let mut first = others.next().unwrap_or(base);
        first.others = others.collect();
        let Some(kernel) = first.kernel.clone() else {
            return Err(ImageError::damaged(
                "unified kernel image",
                0,
                "no section .linux in its first profile",
                "a kernel",
            ));
        };
        Ok(Some((first, kernel)))
    }

    /// `base`, with what `sections` have in place of its own.
    fn with(base: &Self, sections: &[Section<'_>], bytes: &[u8]) -> Result<Self, ImageError> {
        let first = |name: &[u8]| sections.iter().find(|section| section.name == name);
        let range = |name| first(name).map(|section| section.range(bytes)).transpose();
        let text = |name| first(name).map(|section| section.text(bytes)).transpose();
        let initrd = range(b".initrd")?.map(|range| range.start as u64..range.end as u64);
        Ok(Self {
            cmdline: text(b".cmdline")?.or_else(|| base.cmdline.clone()),
            initrd: initrd.or_else(|| base.initrd.clone()),
            osrel: text(b".osrel")?.or_else(|| base.osrel.clone()),
            uname: text(b".uname")?.or_else(|| base.uname.clone()),
            profile: None,
            others: Vec::new(),
            kernel: range(b".linux")?.or_else(|| base.kernel.clone()),
        })
    }
}
