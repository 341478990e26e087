//! Feature masks: bits that a reader must know, in place of numbers.

use alloc::vec::Vec;

use super::{Policy, Rule, each_token, in_range, judge_strings, restorable, unknown};
use crate::{
    Alternative, Compat, Expected, Manifest, ManifestEntry, Reason, Side, Token, Verdict, Writing,
};

/// A component is restorable where its reader supports every feature that its writer requires, and its
/// writer supports every one that the reader requires. Features in use that are not required are
/// ignored by a reader that does not know them.
///
/// The number of a string is not judged where the handover has a mask of its component. It still says which
/// layout is read where the reader restores that number; any other is read as the reader's own version, the
/// newest that its masks speak of: `kho-v5` with the masks of `kho-v4` is read as `kho-v4`.
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

    fn reads_as(&self, token: &Token, manifest: &Manifest, side: &Side) -> u32 {
        let own = side.get(token.name());
        let own = own.filter(|own| !own.restores(token.version()));
        match own.filter(|own| manifest.features(&own.name).is_some()) {
            Some(own) => own.version,
            None => token.version(),
        }
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), self, manifest, side)
    }
}

impl Rule for FeatureMasks {
    fn expected(&self, name: &str, side: &Side) -> Vec<Compat> {
        restorable(name, side).map(Compat::from).collect()
    }

    fn check(&self, compat: &Compat, manifest: &Manifest, side: &Side) -> Result<(), Reason> {
        each_token(compat, side, |own, token| {
            match manifest.features(token.name()) {
                // The mask has a finding of its own.
                Some(_) => Ok(()),
                None => in_range(own, token, manifest, side),
            }
        })
    }
}

/// What was expected of the masks of `entry`, and why it can not be restored.
pub(super) fn judge(entry: &ManifestEntry, side: &Side) -> (Expected, Result<(), Reason>) {
    let none = |reason| (Expected::default(), Err(reason));
    let Some(own) = side.get(&entry.found) else {
        return none(unknown(&entry.found));
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
