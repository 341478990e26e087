//! What lies in memory: names of the root FDT, the scratch table, the kexec metadata, and what
//! the boot protocol of x86 carries.
//!
//! Property values that KHO defines are little-endian `u64`s, not the big-endian cells of other
//! device trees, and 4-byte aligned at best.

use kho_compat::{AbiLayout, Carrier, Component, Features, Generation, constant};
use kho_mem::PAGE_SIZE;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The number in `kho-v4`.
pub const VERSION: u32 = 4;
/// The name in `kho-v4`.
pub const NAME: &str = "kho";

/// The name and the number in `vmalloc-v1`, which `kho-v4` lists: its own layout has nothing of it.
pub(crate) const VMALLOC: (&str, u32) = ("vmalloc", 1);

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

/// Feature bits of the root: the tracker is a radix tree (since kho-v2), subtrees have their size
/// (since kho-v3), linked blocks may be used (since kho-v4). Bit 0 is what every component has.
pub const FEATURES: Features = Features::of(0b1111, 0b1111);

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

/// `kho-v4`. Its string lists `vmalloc`, which others need: the root does without it.
const GENERATION: Generation = Generation::new(VERSION)
    .since("Linux 7.2")
    // By its crate's own name, which links it: the linker drops what nothing refers to.
    .needs(&[(kho_radix::abi::NAME, 1)])
    .lists(&[VMALLOC])
    .layouts(&[
        ScratchEntry::layout,
        SetupData::layout,
        KhoData::layout,
        ListedVersion::layout,
        ListedFeatures::layout,
    ])
    .constants(&[
        constant!(FDT_SIZE),
        constant!(PROP_COMPATIBLE),
        constant!(PROP_TRACKER),
        constant!(PROP_BLOB),
        constant!(PROP_BLOB_SIZE),
        constant!(CHOSEN_FDT),
        constant!(CHOSEN_SCRATCH),
        constant!(LISTED_NAME_MAX),
    ]);

/// The root as a component.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("root FDT, subtrees, scratch table")
    .of_crate(env!("CARGO_PKG_NAME"))
    .carried_in(Carrier::Root)
    .features(FEATURES);

kho_compat::submit! { COMPONENT }

/// The version in [`KexecMetadata::version`].
pub const METADATA_VERSION: u32 = 1;
/// The subtree of the kexec metadata.
pub const METADATA_SUBTREE: &str = "kexec-metadata";
/// Bytes of [`KexecMetadata::previous_release`].
pub const RELEASE_LEN: usize = 65;

/// What one kernel tells the next about itself. A reader checks the version before the rest.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(
    c_name = "kho_kexec_metadata",
    packed,
    constants(METADATA_VERSION, RELEASE_LEN)
)]
pub struct KexecMetadata {
    /// [`METADATA_VERSION`].
    pub version: U32,
    /// The release of the kernel that handed over, NUL-terminated: `7.3.4`.
    pub previous_release: [u8; RELEASE_LEN],
    /// How many kexecs came before.
    pub kexec_count: U32,
}

const _: () = assert!(size_of::<KexecMetadata>() == 73);

/// The kexec metadata as a component. Its version is a number in memory; in manifests it is
/// written as a token.
pub const METADATA: Component = Component::new(
    "kexec-metadata",
    &[Generation::new(METADATA_VERSION)
        .since("Linux 7.1")
        .layouts(&[KexecMetadata::layout])],
)
.summary("release of the previous kernel and count of kexecs")
.of_crate(env!("CARGO_PKG_NAME"))
.carried_in(Carrier::Metadata)
.subtree(METADATA_SUBTREE)
.optional();

kho_compat::submit! { METADATA }

/// The number in `memblock-v1`.
pub const MEMBLOCK_VERSION: u32 = 1;
/// The number in `reserve-mem-v1`.
pub const REGION_VERSION: u32 = 1;
/// The subtree of the memblock FDT.
pub const MEMBLOCK_SUBTREE: &str = "memblock";
/// Property of a region's node: its physical address.
pub const PROP_START: &str = "start";
/// Property of a region's node: its bytes.
pub const PROP_SIZE: &str = "size";

/// The memblock FDT as a component.
pub const MEMBLOCK: Component = Component::new(
    "memblock",
    &[Generation::new(MEMBLOCK_VERSION)
        .since("Linux 6.17")
        .constants(&[constant!(PROP_COMPATIBLE)])],
)
.summary("FDT of the regions that reserve_mem= set aside")
.of_crate(env!("CARGO_PKG_NAME"))
.carried_in(Carrier::Memblock)
.subtree(MEMBLOCK_SUBTREE)
.optional();

kho_compat::submit! { MEMBLOCK }

/// A region of the memblock FDT as a component.
pub const REGION: Component = Component::new(
    "reserve-mem",
    &[Generation::new(REGION_VERSION)
        .since("Linux 6.17")
        .constants(&[constant!(PROP_START), constant!(PROP_SIZE)])],
)
.summary("a region that reserve_mem= set aside")
.of_crate(env!("CARGO_PKG_NAME"))
.carried_in(Carrier::Region)
.optional();

kho_compat::submit! { REGION }
