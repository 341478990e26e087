//! What a kernel image or a module holds, as plain data.

use std::fmt;

use kho_compat::{Carrier, Compat};

use super::{sections, strings};

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

    /// What carries the string, where its name says it: see the [module](crate::kernel#what-a-kernel-says-and-what-it-does-not).
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
    /// Its configuration, where the image has it (`CONFIG_IKCONFIG`).
    pub config: Option<String>,
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
    /// [module](crate::kernel#what-a-kernel-says-and-what-it-does-not).
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
