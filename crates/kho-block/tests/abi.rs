//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used)]

kho_golden::released! {
    block_is_as_released: kho_block::COMPONENT, "v1", 14;
}

#[cfg(feature = "experimental-v2")]
kho_golden::recorded! { version_2_is_as_recorded: kho_block::COMPONENT, "v2" }
