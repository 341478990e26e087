//! The kexec metadata in a survey.

use alloc::boxed::Box;
use alloc::format;

use kho_compat::describe::Members;
use kho_compat::{Branch, Fact, Manifest};
use kho_mem::{Damage, PhysAddr};

use super::{Metadata, read};
use crate::{Contents, METADATA, Owner, Position, Subtree, Surveying};

/// The owner of the kexec metadata.
pub(crate) const OWNER: Owner = Owner::new(&METADATA, survey)
    .at(Position::First)
    .peeked_at(peek);

/// The metadata, and where it lies.
#[derive(Debug)]
struct Found {
    metadata: Metadata,
    at: PhysAddr,
}

fn survey(
    surveying: &mut Surveying<'_, '_>,
    subtree: &Subtree,
) -> Result<Box<dyn Contents>, Damage> {
    let (mem, at) = (surveying.reading.mem(), subtree.addr);
    let metadata = read(mem, at, subtree.size).map_err(within)?;
    Ok(Box::new(Found { metadata, at }))
}

pub(super) fn within(damage: Damage) -> Damage {
    damage.within("kexec metadata")
}

impl Contents for Found {
    fn add_to(&self, manifest: &mut Manifest) {
        self.metadata.add_to(manifest, self.at);
    }

    fn facts(&self) -> (&'static str, Fact) {
        let version = ("version", self.metadata.version().into());
        let fact = match &self.metadata {
            Metadata::V1 {
                previous_release,
                kexec_count,
            } => Fact::map([
                version,
                ("previous_release", previous_release.into()),
                ("kexec_count", (*kexec_count).into()),
            ]),
            Metadata::Other { .. } => Fact::map([version]),
        };
        ("kexec_metadata", fact)
    }

    fn tree(&self, _limit: usize) -> Branch {
        match &self.metadata {
            Metadata::V1 {
                previous_release,
                kexec_count,
            } => Branch::new(format!(
                "from Linux {previous_release}, kexec {kexec_count}"
            )),
            Metadata::Other { version } => {
                Branch::default().warning(format!("kexec metadata of version {version}, lost"))
            }
        }
    }

    fn release(&self) -> Option<&str> {
        match &self.metadata {
            Metadata::V1 {
                previous_release, ..
            } => Some(previous_release),
            Metadata::Other { .. } => None,
        }
    }

    fn noted(&self) -> Members {
        let (name, fact) = self.facts();
        let known = self.release().map(|_| (name.into(), fact));
        known.into_iter().collect()
    }
}

fn peek(blob: &[u8], at: PhysAddr) -> Result<(Members, Branch), Damage> {
    let metadata = Metadata::decode(blob, at).map_err(within)?;
    let (release, kexecs, line) = match &metadata {
        Metadata::V1 {
            previous_release,
            kexec_count,
        } => (
            Some(previous_release),
            Some(*kexec_count),
            Branch::new(format!("Linux {previous_release}, kexec {kexec_count}")),
        ),
        Metadata::Other { version } => (
            None,
            None,
            Branch::default().warning(format!("version {version}, not read")),
        ),
    };
    let facts = [
        ("kind", METADATA.name.into()),
        ("version", metadata.version().into()),
        ("previous_release", release.into()),
        ("kexec_count", kexecs.into()),
    ];
    Ok((facts.map(|(name, fact)| (name.into(), fact)).into(), line))
}
