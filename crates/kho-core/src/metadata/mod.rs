//! The kexec metadata.

use alloc::format;
use alloc::string::{String, ToString};

use kho_compat::{Carrier, Manifest, Owned, Place};
use kho_mem::{Damage, Defect, Link, Located, PhysAddr, PhysMem, PhysMemExt, is_printable};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::metadata::v1::{KexecMetadata, METADATA_SUBTREE, METADATA_VERSION, RELEASE_LEN};
use crate::{Handover, KhoError};

mod owner;
pub mod v1;

pub(crate) use owner::OWNER;

/// What the predecessor tells about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Metadata {
    /// Version 1.
    V1 {
        /// The release of the kernel that handed over.
        previous_release: String,
        /// How many kexecs came before.
        kexec_count: u32,
    },
    /// A version that is not read here; the rest of the handover does not depend on it.
    Other {
        /// The version.
        version: u32,
    },
}

impl Metadata {
    /// Reads the metadata of `handover`; `None` where it has none.
    ///
    /// # Errors
    ///
    /// The blob is too small for a version, or version 1 has another size or no terminated
    /// release.
    pub fn read(handover: &Handover<'_>) -> Result<Option<Self>, Damage> {
        let Some(subtree) = handover.subtree(METADATA_SUBTREE) else {
            return Ok(None);
        };
        read(handover.mem(), subtree.addr, subtree.size)
            .map(Some)
            .map_err(owner::within)
    }

    /// Decodes `blob`, all of the metadata, which lies at `at`.
    ///
    /// # Errors
    ///
    /// As [`Metadata::read`].
    pub fn decode(blob: &[u8], at: PhysAddr) -> Result<Self, Damage> {
        let bad_size = || bad_size(blob.len() as u64, at);
        let (version, _) = U32::read_from_prefix(blob).map_err(|_| bad_size())?;
        let version = version.get();
        if version != METADATA_VERSION {
            return Ok(Self::Other { version });
        }
        let data = KexecMetadata::read_from_bytes(blob).map_err(|_| bad_size())?;
        let data = Located::new(data, at);
        let release_at = data.addr_of(|data| &data.previous_release);
        let damage = |defect| Damage::new(defect, "previous_release", release_at);
        let Some(len) = data.previous_release.iter().position(|byte| *byte == 0) else {
            return Err(damage(Defect::Unterminated).expected("a NUL within 65 bytes"));
        };
        if len == 0 {
            return Err(damage(Defect::Empty).expected("a kernel's release"));
        }
        let text = data.previous_release.get(..len).unwrap_or_default();
        match str::from_utf8(text) {
            Ok(text) if is_printable(text) => Ok(Self::V1 {
                previous_release: text.to_string(),
                kexec_count: data.kexec_count.get(),
            }),
            _ => Err(damage(Defect::BadText).found(format!("\"{}\"", text.escape_ascii()))),
        }
    }

    /// The version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        match self {
            Self::V1 { .. } => METADATA_VERSION,
            Self::Other { version } => *version,
        }
    }

    /// Adds the version of the metadata at `at` to `manifest`.
    pub fn add_to(&self, manifest: &mut Manifest, at: PhysAddr) {
        let token = format!("{METADATA_SUBTREE}-v{}", self.version());
        manifest.add(
            Carrier::Owned(Owned::KEXEC_METADATA),
            &token,
            Place::new(at.get(), "kexec metadata, version"),
        );
    }
}

fn bad_size(size: u64, at: PhysAddr) -> Damage {
    Damage::new(Defect::BadSize, "blob", at)
        .found(format!("{size} bytes"))
        .expected(format!("{} bytes", size_of::<KexecMetadata>()))
}

fn read(mem: &dyn PhysMem, at: PhysAddr, size: u64) -> Result<Metadata, Damage> {
    if size < size_of::<U32>() as u64 {
        return Err(bad_size(size, at));
    }
    // Of another version no more is looked at.
    let version = mem.follow::<U32>(Link::given(at, "version"))?.get();
    if version != METADATA_VERSION {
        return Ok(Metadata::Other { version });
    }
    if size != size_of::<KexecMetadata>() as u64 {
        return Err(bad_size(size, at));
    }
    let bytes = mem.bytes(at, size_of::<KexecMetadata>());
    Metadata::decode(&bytes.map_err(|error| error.damage("blob", at))?, at)
}

/// The metadata of a kernel of this release, after `kexec_count` kexecs.
pub(crate) fn encode(release: &str, kexec_count: u32) -> Result<KexecMetadata, KhoError> {
    let mut field = [0; RELEASE_LEN];
    match field.get_mut(..release.len()) {
        Some(head)
            if !release.is_empty() && release.len() < RELEASE_LEN && is_printable(release) =>
        {
            head.copy_from_slice(release.as_bytes());
        }
        _ => return Err(KhoError::BadRelease(release.to_string())),
    }
    Ok(KexecMetadata {
        version: U32::new(METADATA_VERSION),
        previous_release: field,
        kexec_count: U32::new(kexec_count),
    })
}
