//! What lies in memory: names of the root FDT, the scratch table, the kexec metadata, and what
//! the boot protocol of x86 carries.
//!
//! Property values that KHO defines are little-endian `u64`s, not the big-endian cells of other
//! device trees, and 4-byte aligned at best.

use kho_compat::AbiLayout;
use kho_mem::PAGE_SIZE;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The number in `kho-v4`.
pub const VERSION: u32 = 4;

/// The root FDT is one page.
pub const FDT_SIZE: usize = PAGE_SIZE;

/// Property of the root and of sub-FDTs: a compat string.
pub const PROP_COMPATIBLE: &str = "compatible";

/// Property of the root: physical address of the tracker's root node.
pub const PROP_TRACKER: &str = "preserved-memory-map";

/// Property of a subtree's node: physical address of its blob.
pub const PROP_BLOB: &str = "preserved-data";

/// Property of a subtree's node: the blob's bytes.
pub const PROP_BLOB_SIZE: &str = "blob-size";

/// Alignment of scratch areas.
pub const SCRATCH_ALIGN: u64 = 4 << 20;

/// An entry of the scratch table.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "kho_scratch", constants(SCRATCH_ALIGN))]
pub struct ScratchEntry {
    /// Physical address of the area.
    pub addr: U64,
    /// Its bytes, which may be 0.
    pub size: U64,
}

const _: () = assert!(size_of::<ScratchEntry>() == 16);

/// The `type` of a KHO node.
pub const SETUP_KHO: u32 = 10;

/// [`SetupData::len`] of a KHO node.
pub const SETUP_KHO_LEN: u32 = 32;

/// The head of a node in the setup_data list of x86 boot parameters.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "setup_data", constants(SETUP_KHO, SETUP_KHO_LEN))]
pub struct SetupData {
    /// Physical address of the next node, 0 for none.
    pub next: U64,
    /// What the node carries; C names the field `type`.
    pub r#type: U32,
    /// Bytes that follow this head.
    pub len: U32,
}

/// What a KHO node of the setup_data list carries.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "kho_data")]
pub struct KhoData {
    /// Physical address of the root FDT.
    pub fdt_addr: U64,
    /// Its bytes: a page.
    pub fdt_size: U64,
    /// Physical address of the scratch table.
    pub scratch_addr: U64,
    /// Its bytes: 16 per entry.
    pub scratch_size: U64,
}

const _: () = assert!(size_of::<SetupData>() == 16);

const _: () = assert!(size_of::<KhoData>() == SETUP_KHO_LEN as usize);

/// Property of `/chosen` on device-tree platforms: the root FDT's address and size.
pub const CHOSEN_FDT: &str = "linux,kho-fdt";

/// Property of `/chosen` on device-tree platforms: the scratch table's address and size.
pub const CHOSEN_SCRATCH: &str = "linux,kho-scratch";

/// A component in the version table: the value of its property in the node `compat` of the root FDT.
///
/// No kernel writes the table: it is a dialect, not a part of `kho-v4`.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(constants(LISTED_OPTIONAL))]
pub struct ListedVersion {
    /// The version that was written.
    pub version: U32,
    /// [`LISTED_OPTIONAL`] or nothing.
    pub flags: U32,
}

const _: () = assert!(size_of::<ListedVersion>() == 8);

const _: () = assert!(core::mem::offset_of!(ListedVersion, flags) == 4);

/// The longest name of a component that can be listed: a property's, by the device tree
/// specification.
pub const LISTED_NAME_MAX: usize = 31;

/// Flag of [`ListedVersion::flags`]: the rest is worth restoring without this component.
pub const LISTED_OPTIONAL: u32 = 1;

/// The masks of a component: the value of its property in the node `features` of the root FDT.
///
/// No kernel writes them: they are a dialect, not a part of `kho-v4`.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
pub struct ListedFeatures {
    /// What the writer can restore.
    pub supported: U64,
    /// What whoever restores must support.
    pub required: U64,
    /// What is in use.
    pub active: U64,
}

const _: () = assert!(size_of::<ListedFeatures>() == 24);

const _: () = assert!(core::mem::offset_of!(ListedFeatures, required) == 8);

const _: () = assert!(core::mem::offset_of!(ListedFeatures, active) == 16);
