//! The ioctls of `/dev/liveupdate` as released. Their crate knows nothing of ours, its tests included.
#![allow(clippy::unwrap_used)]

kho_golden::released! {
    ioctls_are_as_released: kho_golden::IOCTLS, "v1", 1;
}
