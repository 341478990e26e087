//! Manifest files as released: changing them takes a new version and a new snapshot.
#![cfg(feature = "file")]
#![allow(clippy::unwrap_used)]

kho_golden::released! {
    manifest_files_are_as_released: kho_compat::file::COMPONENT, "v1", 4;
}
