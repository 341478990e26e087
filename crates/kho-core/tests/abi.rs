//! The components' ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used)]

kho_golden::released! {
    kho_is_as_released: kho_core::COMPONENT, "v4", 9;
    metadata_is_as_released: kho_core::METADATA, "v1", 3;
    memblock_is_as_released: kho_core::MEMBLOCK, "v1", 3;
    reserve_mem_is_as_released: kho_core::REGION, "v1", 3;
}
