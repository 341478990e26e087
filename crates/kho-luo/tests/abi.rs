//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used)]

kho_golden::released! {
    luo_is_as_released: kho_luo::COMPONENT, "v5", 13;
}
