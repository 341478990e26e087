//! The component and its generations.

use crate::memblock::v1::{MEMBLOCK_VERSION, PROP_SIZE, PROP_START, REGION_VERSION};
use crate::metadata::v1::{KexecMetadata, METADATA_VERSION};
use crate::v4::{
    CHOSEN_FDT, CHOSEN_SCRATCH, FDT_SIZE, KhoData, LISTED_NAME_MAX, ListedFeatures, ListedVersion,
    PROP_BLOB, PROP_BLOB_SIZE, PROP_COMPATIBLE, PROP_TRACKER, ScratchEntry, SetupData, VERSION,
};
use kho_compat::{AbiLayout, Carrier, Component, Features, Generation, Owned, Variant, constant};
use kho_mem::PageSize;

/// The name in `kho-v4`.
pub const NAME: &str = "kho";

/// The name and the number in `vmalloc-v1`, which `kho-v4` lists: its own layout has nothing of it.
const VMALLOC: (&str, u32) = ("vmalloc", 1);

/// Feature bits of the root: the tracker is a radix tree (since kho-v2), subtrees have their size
/// (since kho-v3), linked blocks may be used (since kho-v4). Bit 0 is what every component has.
pub const FEATURES: Features = Features::of(0b1111, 0b1111);

/// `kho-v4`. Its string lists `vmalloc`, which others need: the root does without it.
const GENERATION: Generation = Generation::new(VERSION)
    .since("Linux 7.2")
    // By its crate's own name, which links it: the linker drops what nothing refers to.
    .needs(&[(kho_radix::NAME, 1)])
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
    ])
    .variants(&[
        Variant::new("page size", "16k").constants(&[constant!(FDT_SIZE = PageSize::K16.len())]),
        Variant::new("page size", "64k").constants(&[constant!(FDT_SIZE = PageSize::K64.len())]),
    ]);

/// The root as a component.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("root FDT, subtrees, scratch table")
    .of_crate(env!("CARGO_PKG_NAME"))
    .carried_in(Carrier::Root)
    .features(FEATURES);

kho_compat::submit! { COMPONENT }

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
.owned(Owned::KEXEC_METADATA)
.optional();

kho_compat::submit! { METADATA }

/// The memblock FDT as a component.
pub const MEMBLOCK: Component = Component::new(
    "memblock",
    &[Generation::new(MEMBLOCK_VERSION)
        .since("Linux 6.17")
        .constants(&[constant!(PROP_COMPATIBLE)])],
)
.summary("FDT of the regions that reserve_mem= set aside")
.of_crate(env!("CARGO_PKG_NAME"))
.owned(Owned::MEMBLOCK)
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
.carried_in(Carrier::Owned(Owned::RESERVE_MEM))
.optional();

kho_compat::submit! { REGION }
