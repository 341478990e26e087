//! The component's ABI as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used)]

kho_golden::released! {
    fd_is_as_released: kho_fd::COMPONENT, "v1", 3;
}
