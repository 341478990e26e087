//! The kexec metadata.

use alloc::format;
use alloc::string::{String, ToString};

use kho_compat::{Carrier, Manifest, Place};
use kho_mem::{Damage, Defect, Link, Located, PhysAddr, PhysMem, PhysMemExt, is_printable};
use zerocopy::little_endian::U32;

use crate::Handover;
use crate::abi::{KexecMetadata, METADATA_SUBTREE, METADATA_VERSION};

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
            .map_err(|d| d.within("kexec metadata"))
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
            Carrier::Metadata,
            &token,
            Place::new(at.get(), "kexec metadata, version"),
        );
    }
}

fn read(mem: &dyn PhysMem, at: PhysAddr, size: u64) -> Result<Metadata, Damage> {
    let bad_size = |expected: usize| {
        Damage::new(Defect::BadSize, "blob", at)
            .found(format!("{size} bytes"))
            .expected(format!("{expected} bytes"))
    };
    if size < size_of::<U32>() as u64 {
        return Err(bad_size(size_of::<KexecMetadata>()));
    }
    let version = mem.follow::<U32>(Link::given(at, "version"))?.get();
    if version != METADATA_VERSION {
        return Ok(Metadata::Other { version });
    }
    if size != size_of::<KexecMetadata>() as u64 {
        return Err(bad_size(size_of::<KexecMetadata>()));
    }
    let data: Located<KexecMetadata> = mem.follow(Link::given(at, "blob"))?;
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
        Ok(text) if is_printable(text) => Ok(Metadata::V1 {
            previous_release: text.to_string(),
            kexec_count: data.kexec_count.get(),
        }),
        _ => Err(damage(Defect::BadText).found(format!("\"{}\"", text.escape_ascii()))),
    }
}
