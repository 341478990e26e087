//! The versions of the format that are read and written here.

use alloc::vec::Vec;

use kho_compat::{Announced, Generation, NotAdmitted, Writes};
use kho_mem::{Damage, Link, PageSize, PhysMem, PhysMemExt};
use zerocopy::IntoBytes;

use crate::read::Descriptor;
use crate::v1;
#[cfg(feature = "experimental-v2")]
use crate::v2;
use crate::{COMPONENT, PreservedArea};

/// A version of the format: what the descriptor of an area says. Chunk pages are the same in each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Format {
    /// `vmalloc-v1`: 16 bytes. What Linux writes and reads since 6.18, and what a handover has that does
    /// not say otherwise.
    #[default]
    V1,
    /// `vmalloc-v2`: 24 bytes, which say how many chunks the list has.
    #[cfg(feature = "experimental-v2")]
    V2,
}

impl Format {
    /// All versions that are read and written here.
    pub const ALL: &[Self] = &[
        Self::V1,
        #[cfg(feature = "experimental-v2")]
        Self::V2,
    ];

    /// The format of `vmalloc-vversion`; `None` for one that is not known here.
    #[must_use]
    pub fn of(version: u32) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|format| format.version() == version)
    }

    /// The number in `vmalloc-v1`.
    #[must_use]
    pub const fn version(self) -> u32 {
        match self {
            Self::V1 => v1::VERSION,
            #[cfg(feature = "experimental-v2")]
            Self::V2 => v2::VERSION,
        }
    }

    /// The version that `handover` writes.
    ///
    /// # Errors
    ///
    /// It knows no vmalloc areas, or asks for a version that is not known here, or for one that its
    /// dialect can not express.
    pub fn written_by<W: Writes>(handover: &W) -> Result<Self, W::Error> {
        let version = handover.written(&COMPONENT)?;
        Ok(Self::of(version).unwrap_or_default())
    }

    /// The version that was announced. Where none was, it is the one that plain strings stand for,
    /// version 1.
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

    /// Reads the descriptor that `link` points to.
    pub(crate) fn decode(
        self,
        mem: &dyn PhysMem,
        link: Link,
        page_size: PageSize,
    ) -> Result<Descriptor, Damage> {
        let start = v1::decode(&mem.follow(link)?, page_size)?;
        match self {
            Self::V1 => Ok(start),
            #[cfg(feature = "experimental-v2")]
            Self::V2 => Ok(v2::decode(start, &mem.follow(link)?)),
        }
    }

    /// The bytes of the descriptor of `area`.
    #[must_use]
    pub fn encode(self, area: &PreservedArea) -> Vec<u8> {
        match self {
            Self::V1 => area.ser().as_bytes().to_vec(),
            #[cfg(feature = "experimental-v2")]
            Self::V2 => area.ser_v2().as_bytes().to_vec(),
        }
    }
}
