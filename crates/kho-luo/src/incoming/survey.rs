//! What a handover contains, before anything of it is restored.

use kho_compat::{Judge, Manifest};
use kho_core::{Handover, Owners, Surveying};
use kho_mem::Damage;
use kho_radix::Reading;

use crate::{Luo, NAME};

/// All that a handover contains, gathered without restoring anything: its manifest, to which every linked
/// owner of a subtree adds, and LUO's part, as far as `judge` takes what it announces.
///
/// # Errors
///
/// A part of it is damaged.
pub fn survey<'r>(
    handover: &Handover<'_>,
    reading: &mut Reading<'_>,
    judge: impl Into<Judge<'r>>,
) -> Result<(Manifest, Option<Luo>), Damage> {
    let _span = tracing::info_span!("survey").entered();
    let judge = judge.into();
    let mut manifest = Manifest::new();
    handover.add_to(&mut manifest);
    let owners = Owners::linked();
    // Where owners contradict each other nothing is restored either.
    let reads_luo = owners.is_ok().then_some(judge);
    for owner in owners.iter().flat_map(Owners::iter) {
        if owner.component.name == NAME {
            continue;
        }
        let mut surveying = Surveying {
            handover,
            reading,
            judge,
            progress: &mut |_, _| true,
        };
        if let Some(contents) = owner.survey(&mut surveying)? {
            contents.add_to(&mut manifest);
        }
    }
    let luo = Luo::read_by(handover, reading, reads_luo)?;
    if let Some(luo) = &luo {
        luo.add_to(&mut manifest);
    }
    tracing::debug!(strings = manifest.entries().len(), "surveyed");
    Ok((manifest, luo))
}
