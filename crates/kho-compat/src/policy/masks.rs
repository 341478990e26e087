//! Feature masks: bits that a reader must know, in place of numbers.

use alloc::vec::Vec;

use super::{Found, InRange, Policy, Rule, judge_strings};
use crate::{
    Ability, Alternative, Carrier, Compat, Expected, Manifest, ManifestEntry, Reason, Side,
    Verdict, Writing,
};

/// A component is restorable where its reader supports every feature that its writer requires, and its
/// writer supports every one that the reader requires. Features in use that are not required are
/// ignored by a reader that does not know them.
///
/// The number of a string is not judged where the handover has a mask of its component, and does not say what is
/// read: masks that are the reader's own are read as the reader's own version, the newest that they speak of
/// (`kho-v5` with the masks of `kho-v4` as `kho-v4`). Other masks that suit are read as the number says where the
/// reader restores it, or else as the reader's own version too: bits are additive.
#[derive(Clone, Copy, Debug, Default)]
pub struct FeatureMasks;

impl Policy for FeatureMasks {
    fn name(&self) -> &'static str {
        "feature-masks"
    }

    fn summary(&self) -> &'static str {
        "the reader must support every feature that the writer requires"
    }

    fn writing(&self) -> Writing {
        Writing::FEATURES
    }

    fn reads_as(
        &self,
        component: &str,
        announced: Option<u32>,
        manifest: &Manifest,
        side: &Side,
    ) -> Option<u32> {
        let masks = manifest.features(component);
        let Some(own) = side.get(component).filter(|_| masks.is_some()) else {
            return announced;
        };
        let restored = announced.filter(|version| own.restores(*version));
        restored
            .filter(|_| own.features != masks)
            .or(Some(own.version))
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), self, manifest, side)
    }
}

impl Rule for FeatureMasks {
    fn expected(&self, own: &Ability, carrier: Carrier, side: &Side) -> Vec<Compat> {
        InRange.expected(own, carrier, side)
    }

    fn check(&self, found: &Found<'_>) -> Result<(), Reason> {
        found.each_token(|own, token| match found.manifest.features(token.name()) {
            // The mask has a finding of its own.
            Some(_) => Ok(()),
            None => found.in_range(own, token),
        })
    }
}

/// What was expected of the masks of `entry`, and why it can not be restored.
pub(super) fn judge(entry: &ManifestEntry, side: &Side) -> (Expected, Result<(), Reason>) {
    let none = |reason| (Expected::default(), Err(reason));
    let Some(own) = side.get(&entry.found) else {
        let name = entry.found.clone();
        return none(Reason::UnknownComponent { name });
    };
    let Some(found) = entry.features else {
        return none(Reason::MasksMissing);
    };
    let Some(own) = own.features else {
        return none(Reason::NoMasks);
    };
    let expected = Alternative::Masks {
        supported: own.supported,
        required: own.required,
    };
    let (missing, lacking) = (found.missing(own.supported), own.missing(found.supported));
    let judged = if missing != 0 {
        Err(Reason::NotSupported { features: missing })
    } else if lacking != 0 {
        Err(Reason::NotProvided { features: lacking })
    } else {
        Ok(())
    };
    (Expected::from_iter([expected]), judged)
}
