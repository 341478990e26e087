//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used)]

kho_golden::released! {
    memfd_is_as_released: kho_memfd::COMPONENT, "v2", 8;
}

#[cfg(feature = "experimental-v3")]
kho_golden::recorded! { version_3_is_as_recorded: kho_memfd::COMPONENT, "v3" }
