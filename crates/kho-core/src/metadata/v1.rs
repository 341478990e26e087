//! What lies in memory: the kexec metadata, version 1.

use kho_compat::AbiLayout;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

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
