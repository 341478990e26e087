//! The versions of the format that are read and written here.

use kho_compat::{Announced, Generation, NotAdmitted, Writes};
use kho_mem::{Damage, Link, Located, PageSize, PhysAddr, PhysMem, PhysMemExt};

use crate::COMPONENT;
use crate::v1;
#[cfg(feature = "experimental-v2")]
use crate::v2;

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

/// The start of a header, which is the same in every version.
pub(crate) type Header = Located<v1::BlockHeader>;

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
            Self::V1 => v1::VERSION,
            #[cfg(feature = "experimental-v2")]
            Self::V2 => v2::VERSION,
        }
    }

    /// Bytes of a block's header: entries are packed behind it.
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            Self::V1 => size_of::<v1::BlockHeader>(),
            #[cfg(feature = "experimental-v2")]
            Self::V2 => size_of::<v2::BlockHeader>(),
        }
    }

    /// Where the entries of the block at `block` begin.
    pub(crate) const fn entries(self, block: PhysAddr) -> PhysAddr {
        match self {
            Self::V1 => Located::<v1::BlockHeader>::place_of(block, 1),
            #[cfg(feature = "experimental-v2")]
            Self::V2 => Located::<v2::BlockHeader>::place_of(block, 1),
        }
    }

    /// Entries of `entry_size` bytes that fit a block of 4 KiB; 0 where not even one does, and for entries
    /// without bytes.
    #[must_use]
    pub const fn count_per_block(self, entry_size: usize) -> usize {
        self.count_per_page(PageSize::K4, entry_size)
    }

    /// As [`Format::count_per_block`], for a block of a page of `size`.
    ///
    /// ```
    /// use kho_block::{Format, PageSize};
    ///
    /// assert_eq!(Format::V1.count_per_page(PageSize::K64, 80), 819);
    /// ```
    #[must_use]
    pub const fn count_per_page(self, size: PageSize, entry_size: usize) -> usize {
        match (size.len() - self.header_len()).checked_div(entry_size) {
            Some(count) => count,
            None => 0,
        }
    }

    /// The version that `handover` writes.
    ///
    /// # Errors
    ///
    /// It knows no blocks, or asks for a version that is not known here, or for one that its
    /// dialect can not express.
    pub fn written_by<W: Writes>(handover: &W) -> Result<Self, W::Error> {
        let version = handover.written(&COMPONENT)?;
        Ok(Self::of(version).unwrap_or_default())
    }

    /// The version that was announced. Where none was, it is the one that plain strings stand for,
    /// version 1.
    ///
    /// ```
    /// use kho_block::Format;
    /// use kho_compat::Announced;
    ///
    /// let handover = Announced::default();
    /// assert_eq!(Format::announced(&handover), Ok(Format::V1));
    /// assert_eq!(Format::announced(&handover.in_string("luo-v5;block-v1")), Ok(Format::V1));
    /// assert!(Format::announced(&handover.in_string("luo-v5;block-v9")).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// One that is not known here.
    pub fn announced(announced: &Announced) -> Result<Self, NotAdmitted> {
        announced.generation_of(&COMPONENT).map(Self::of_generation)
    }

    /// The format of a generation of this crate.
    pub(crate) fn of_generation(generation: &Generation) -> Self {
        Self::of(generation.number).unwrap_or_default()
    }

    /// Reads and checks the header of the block that `link` points to: that its entries are of
    /// `entry_size` bytes, where it says so.
    pub(crate) fn header(
        self,
        mem: &dyn PhysMem,
        link: Link,
        entry_size: usize,
    ) -> Result<Header, Damage> {
        let link = link.named("block");
        match self {
            Self::V1 => {
                let _ = entry_size;
                mem.follow(link)
            }
            #[cfg(feature = "experimental-v2")]
            Self::V2 => v2::decode(&mem.follow(link)?, entry_size),
        }
    }

    /// Writes what a header says of its entries beyond their count; nothing for a block without any. `None`
    /// where a header can not say it.
    #[inline]
    pub(crate) fn describe(self, block: &mut [u8], count: u64, entry_size: usize) -> Option<()> {
        match self {
            Self::V1 => {
                let _ = (block, count, entry_size);
                Some(())
            }
            #[cfg(feature = "experimental-v2")]
            Self::V2 => v2::encode(block, count, entry_size),
        }
    }
}
