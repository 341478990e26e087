//! The versions of the format that are read and written here.

use alloc::vec::Vec;

use kho_compat::{Announced, Generation, NotAdmitted};
use kho_core::Kho;
use kho_luo::HandlerError;
use kho_mem::{Damage, Link, PhysMem, PhysMemExt};
use kho_vmalloc::PreservedArea;
use zerocopy::IntoBytes;

use crate::read::State;
use crate::v2;
#[cfg(feature = "experimental-v3")]
use crate::v3;
use crate::{COMPONENT, FileError, pages};

/// A version of the format: what the state of a memfd says, and so which descriptor of an area it contains.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Format {
    /// `memfd-v2`: 48 bytes, of which 16 are the descriptor of `vmalloc-v1`. What Linux writes and reads
    /// since 7.1, and what a handover has that does not say otherwise.
    #[default]
    V2,
    /// `memfd-v3`: 56 bytes, of which 24 are the descriptor of `vmalloc-v2`.
    #[cfg(feature = "experimental-v3")]
    V3,
}

impl Format {
    /// All versions that are read and written here.
    pub const ALL: &[Self] = &[
        Self::V2,
        #[cfg(feature = "experimental-v3")]
        Self::V3,
    ];

    /// Their numbers.
    pub(crate) const VERSIONS: &[u32] = &[
        v2::VERSION,
        #[cfg(feature = "experimental-v3")]
        v3::VERSION,
    ];

    /// The format of `memfd-vversion`; `None` for one that is not known here.
    #[must_use]
    pub fn of(version: u32) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|format| format.version() == version)
    }

    /// The number in `memfd-v2`.
    #[must_use]
    pub const fn version(self) -> u32 {
        match self {
            Self::V2 => v2::VERSION,
            #[cfg(feature = "experimental-v3")]
            Self::V3 => v3::VERSION,
        }
    }

    /// The version of the descriptor that a state contains.
    #[must_use]
    pub const fn area(self) -> kho_vmalloc::Format {
        match self {
            Self::V2 => kho_vmalloc::Format::V1,
            #[cfg(feature = "experimental-v3")]
            Self::V3 => kho_vmalloc::Format::V2,
        }
    }

    /// The bytes of a memfd's state.
    pub(crate) const fn state_len(self) -> usize {
        match self {
            Self::V2 => size_of::<v2::MemfdSer>(),
            #[cfg(feature = "experimental-v3")]
            Self::V3 => size_of::<v3::MemfdSer>(),
        }
    }

    /// The version that `kho` writes.
    ///
    /// # Errors
    ///
    /// It writes another version of vmalloc than this one contains: no handover says both.
    pub(crate) fn written_by(kho: &Kho) -> Result<Self, HandlerError> {
        let written = |name| kho.side().get(name).map(|ability| ability.version);
        let format = written(COMPONENT.name).and_then(Self::of);
        let (format, vmalloc) = (format.unwrap_or_default(), written(kho_vmalloc::NAME));
        match vmalloc.filter(|version| *version != format.area().version()) {
            None => Ok(format),
            Some(written) => Err(HandlerError::new(FileError::Versions {
                memfd: format.version(),
                contains: format.area().version(),
                written,
            })),
        }
    }

    /// The version that was announced. Where none was, it is the one that plain strings stand for,
    /// version 2.
    ///
    /// # Errors
    ///
    /// One that is not known here.
    pub fn announced(announced: &Announced) -> Result<Self, NotAdmitted> {
        let generation = announced.generation_of(&COMPONENT)?;
        Ok(Self::of_generation(generation))
    }

    /// The format of a generation of this crate.
    pub(crate) fn of_generation(generation: &Generation) -> Self {
        Self::of(generation.number).unwrap_or_default()
    }

    /// Reads the state that `link` points to.
    pub(crate) fn decode(self, mem: &dyn PhysMem, link: Link) -> Result<State, Damage> {
        let start = v2::decode(&mem.follow(link)?)?;
        match self {
            Self::V2 => Ok(start),
            #[cfg(feature = "experimental-v3")]
            Self::V3 => Ok(v3::decode(start, &mem.follow(link)?)),
        }
    }

    /// The state of the memfd `file`, whose `count` records `list` holds.
    pub(crate) fn encode(
        self,
        file: &pages::State,
        count: u64,
        list: Option<&PreservedArea>,
    ) -> Vec<u8> {
        let start = v2::encode(file, count, list);
        match self {
            Self::V2 => start.as_bytes().to_vec(),
            #[cfg(feature = "experimental-v3")]
            Self::V3 => v3::encode(&start, list).as_bytes().to_vec(),
        }
    }
}
