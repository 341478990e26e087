//! Version 3 of the format: as version 2, with the descriptor of `vmalloc-v2`. An experiment: off unless
//! the feature `experimental-v3` is on. The linked component has it as an experiment: neither read nor
//! written.
//!
//! Nothing of a memfd changes. Its state *contains* the descriptor of its list, by value, so that a field more in
//! vmalloc moves the end of [`MemfdSer`]: this component needs a new version, a reader and a writer for
//! it, because another one changed. A number of its own for vmalloc does not save it that; all that the number adds is a
//! second place that says the same, and that can contradict: `memfd-v2;vmalloc-v2` is well-formed, both of its versions
//! may be restorable, and no memory is laid out so. The reader refuses it, and the writer does not write it.
//!
//! ```
//! use kho_compat::Registry;
//!
//! let registry = Registry::linked()?
//!     .with_experiment("vmalloc", kho_vmalloc::v2::VERSION)?
//!     .with_experiment("memfd", kho_memfd::v3::VERSION)?;
//! let memfd = registry.compat("memfd", kho_compat::Strings::Transitive)?;
//! assert_eq!(memfd.to_string(), "memfd-v3;vmalloc-v2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::mem::offset_of;

use kho_compat::{AbiLayout, Generation, constant};
use kho_mem::Located;
use kho_vmalloc::PreservedArea;
use kho_vmalloc::v2::VmallocSer;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::read::State;
use crate::v2::{
    self, FolioSer, PFN_BITS, SEAL_EXEC, SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SEAL, SEAL_SHRINK,
    SEAL_WRITE, SEALS,
};

/// The number in `memfd-v3`.
pub const VERSION: u32 = 3;

/// A memfd's state: `luo_file_ser.data` is its address.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(constants(
    SEAL_SEAL,
    SEAL_SHRINK,
    SEAL_GROW,
    SEAL_WRITE,
    SEAL_FUTURE_WRITE,
    SEAL_EXEC,
    SEALS
))]
pub struct MemfdSer {
    /// File position in bytes.
    pub pos: U64,
    /// File size in bytes.
    pub size: U64,
    /// [`SEALS`].
    pub seals: U32,
    /// Zero.
    pub flags: U32,
    /// Records in the vmalloc area.
    pub nr_folios: U64,
    /// The vmalloc area of [`FolioSer`] records.
    pub folios: VmallocSer,
}

const _: () = assert!(size_of::<MemfdSer>() == 56);
const _: () = assert!(offset_of!(MemfdSer, folios) == 32);

/// The state of a memfd that has the state `start` in version 2, but for the descriptor of `list`.
pub(crate) fn encode(start: &v2::MemfdSer, list: Option<&PreservedArea>) -> MemfdSer {
    let mut ser = MemfdSer::new_zeroed();
    // It fits, since all but the descriptor is the first part of it.
    let _ = start.write_to_prefix(ser.as_mut_bytes());
    ser.folios = list.map_or_else(VmallocSer::new_zeroed, PreservedArea::ser_v2);
    ser
}

/// Decodes the state `ser`, whose first part says `start` as one of version 2.
pub(crate) fn decode(start: State, ser: &Located<MemfdSer>) -> State {
    let is_unset = ser.folios.as_bytes().iter().all(|byte| *byte == 0);
    State { is_unset, ..start }
}

/// `memfd-v3`.
pub(crate) const GENERATION: Generation = Generation::new(VERSION)
    .experimental()
    .needs(&[(kho_vmalloc::NAME, kho_vmalloc::v2::VERSION)])
    .layouts(&[MemfdSer::layout, FolioSer::layout])
    .constants(&[constant!(PFN_BITS)]);
