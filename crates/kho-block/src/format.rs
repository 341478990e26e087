//! The versions of the format that are read and written here.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kho_compat::{Admitted, NotAdmitted, RegistryError};
use kho_core::{Handover, Kho, KhoError};
use kho_mem::{Damage, PhysAddr, PhysMem, PhysMemExt};

use crate::abi::{self, BLOCK_SIZE, NAME};
#[cfg(feature = "experimental-v2")]
use crate::v2;

/// The most bytes that a header has, in any version of the format.
pub(crate) const MAX_HEADER: usize = 24;

/// A version of the format: what header a block has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Format {
    /// `block-v1`: 16 bytes. What Linux 7.2 and 7.3 write and read, and what a handover has that does
    /// not say otherwise.
    #[default]
    V1,
    /// `block-v2`: 24 bytes, which say how large the entries are.
    #[cfg(feature = "experimental-v2")]
    V2,
}

/// A header, whatever the version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) next: PhysAddr,
    pub(crate) count: u64,
}

impl Format {
    /// All versions that are read and written here.
    pub const ALL: &[Self] = &[
        Self::V1,
        #[cfg(feature = "experimental-v2")]
        Self::V2,
    ];

    /// The format of `block-vversion`; `None` for one that is not known here.
    #[must_use]
    pub fn of(version: u32) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|format| format.version() == version)
    }

    /// The number in `block-v1`.
    #[must_use]
    pub const fn version(self) -> u32 {
        match self {
            Self::V1 => abi::VERSION,
            #[cfg(feature = "experimental-v2")]
            Self::V2 => v2::VERSION,
        }
    }

    /// Bytes of a block's header: entries are packed behind it.
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            Self::V1 => size_of::<abi::BlockHeader>(),
            #[cfg(feature = "experimental-v2")]
            Self::V2 => size_of::<v2::BlockHeader>(),
        }
    }

    /// Entries of `entry_size` bytes that fit a block; 0 where not even one does, and for entries
    /// without bytes.
    #[must_use]
    pub const fn count_per_block(self, entry_size: usize) -> usize {
        match (BLOCK_SIZE - self.header_len()).checked_div(entry_size) {
            Some(count) => count,
            None => 0,
        }
    }

    /// The version that `kho` writes.
    ///
    /// # Errors
    ///
    /// Its side knows no blocks, or asks for a version that is not known here, or for one that its
    /// dialect can not say.
    pub fn written_by(kho: &Kho) -> Result<Self, KhoError> {
        let ability = kho.side().get(NAME);
        let version = ability
            .ok_or_else(|| RegistryError::Unknown(NAME.to_string()))?
            .version;
        let token = || format!("{NAME}-v{version}");
        let format = Self::of(version).ok_or_else(|| {
            let newest = Self::ALL.last().copied().unwrap_or_default();
            RegistryError::NotWritable(token(), newest.version())
        })?;
        let dialect = kho.dialect();
        let is_said = !matches!(
            dialect,
            kho_compat::Dialect::Plain | kho_compat::Dialect::Features
        );
        if format == Self::default() || is_said {
            return Ok(format);
        }
        let token = token();
        Err(KhoError::Unsaid { token, dialect })
    }

    /// The version that was handed over: what the string `compatible` of whoever uses the blocks says,
    /// or else the version table. Where neither says anything, it is the one that plain strings stand
    /// for, version 1.
    ///
    /// ```
    /// # use kho_block::Format;
    /// # fn check(handover: &kho_core::Handover<'_>) {
    /// assert_eq!(Format::handed_over(handover, "luo-v5;block-v1"), Ok(Format::V1));
    /// assert!(Format::handed_over(handover, "luo-v5;block-v9").is_err());
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// One that is not known here.
    pub fn handed_over(handover: &Handover<'_>, compatible: &str) -> Result<Self, NotAdmitted> {
        match handover.version_of(NAME, compatible) {
            None => Ok(Self::default()),
            Some(version) => Self::of(version).ok_or_else(|| NotAdmitted {
                component: NAME.to_string(),
                version,
                covered: known(),
            }),
        }
    }

    /// The version that was handed over, as far as the table, the root's string, or any string that
    /// `admitted` was judged by says it.
    pub(crate) fn admitted(
        admitted: &Admitted,
        handover: &Handover<'_>,
    ) -> Result<Self, NotAdmitted> {
        let root = handover.root().compatible();
        let string = said(admitted).filter(|_| handover.version_of(NAME, root).is_none());
        Self::handed_over(handover, string.as_deref().unwrap_or(root))
    }

    /// Checks that `admitted` covers this version.
    pub(crate) fn require(self, admitted: &Admitted) -> Result<(), NotAdmitted> {
        admitted.require(NAME, self.version())
    }

    /// Reads and checks the header of a block at `addr`, whose address stands at `at`: that its
    /// entries are of `entry_size` bytes, where it says so.
    pub(crate) fn header(
        self,
        mem: &dyn PhysMem,
        addr: PhysAddr,
        at: PhysAddr,
        entry_size: usize,
    ) -> Result<Header, Damage> {
        match self {
            Self::V1 => {
                let _ = entry_size;
                let header: abi::BlockHeader =
                    mem.read(addr).map_err(|error| error.damage("block", at))?;
                Ok(Header {
                    next: PhysAddr::new(header.next.get()),
                    count: header.count.get(),
                })
            }
            #[cfg(feature = "experimental-v2")]
            Self::V2 => {
                let header: v2::BlockHeader =
                    mem.read(addr).map_err(|error| error.damage("block", at))?;
                let damage = |what, offset: usize| {
                    let at = PhysAddr::new(addr.get() + offset as u64);
                    Damage::new(kho_mem::Defect::BadValue, what, at)
                };
                let size = header.entry_size.get();
                if usize::try_from(size) != Ok(entry_size) {
                    let at = core::mem::offset_of!(v2::BlockHeader, entry_size);
                    return Err(damage("entry_size", at)
                        .found(format!("{size} bytes"))
                        .expected(format!("{entry_size} bytes")));
                }
                if header.reserved.get() != 0 {
                    let at = core::mem::offset_of!(v2::BlockHeader, reserved);
                    let found = format!("{:#x}", header.reserved.get());
                    return Err(damage("reserved", at).found(found).expected(0));
                }
                Ok(Header {
                    next: PhysAddr::new(header.next.get()),
                    count: header.count.get(),
                })
            }
        }
    }

    /// Writes what a header says of its entries beyond their count; nothing for a block without any.
    pub(crate) fn describe(self, block: &mut [u8], count: u64, entry_size: usize) {
        match self {
            Self::V1 => {
                let _ = (block, count, entry_size);
            }
            #[cfg(feature = "experimental-v2")]
            Self::V2 => {
                // An entry fits a block.
                let size = u32::try_from(entry_size).unwrap_or(u32::MAX);
                let size = if count > 0 { size } else { 0 };
                let at = core::mem::offset_of!(v2::BlockHeader, entry_size);
                if let Some(word) = block.get_mut(at..at + size_of::<u32>()) {
                    word.copy_from_slice(&size.to_le_bytes());
                }
            }
        }
    }
}

/// A string that `admitted` was judged by and that says the version.
fn said(admitted: &Admitted) -> Option<String> {
    let entries = admitted.manifest().entries().iter();
    let says = |compat: &kho_compat::Compat| compat.tokens().any(|token| token.name() == NAME);
    let mut compats = entries.filter_map(|entry| entry.compat().ok());
    compats.find(says).map(|compat| compat.to_string())
}

/// The versions that are known here, as tokens.
fn known() -> String {
    let tokens = Format::ALL.iter();
    let tokens: Vec<_> = tokens
        .map(|format| format!("{NAME}-v{}", format.version()))
        .collect();
    tokens.join(" and ")
}
