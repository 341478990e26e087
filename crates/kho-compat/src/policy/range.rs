//! Semver range: every component says which versions it restores, and is asked.

use super::{InRange, Policy, judge_strings};
use crate::{Manifest, Side, Verdict};

/// The root, LUO and file-handler strings must be restorable by a linked component, each token of
/// a composite included, and so must the versions of a table. What no linked component knows among
/// subtrees and FLBs is reported and left alone; metadata and memblock regions of another version are
/// lost.
///
/// A component that can read what older ones wrote says so, and is believed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SemverRange;

impl Policy for SemverRange {
    fn name(&self) -> &'static str {
        "semver-range"
    }

    fn summary(&self) -> &'static str {
        "every component says which versions it restores, and is asked about each that is listed"
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        judge_strings(self.name(), &InRange, manifest, side)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::{Carrier, Component, Decision, Generation, Outcome, Place, Registry};

    static KHO: Component = Component::new("kho", &[Generation::new(4).needs(&[("radix", 1)])])
        .carried_in(Carrier::Root);
    static RADIX: Component = Component::new("radix", &[Generation::new(1)]);
    static LUO: Component = Component::new("luo", &[Generation::new(5)])
        .carried_in(Carrier::Luo)
        .subtree("LUO")
        .optional();
    static MEMFD: Component = Component::new(
        "memfd",
        &[Generation::new(1).read_only(), Generation::new(2)],
    )
    .carried_in(Carrier::FileHandler);

    fn judge(entries: &[(Carrier, &str)]) -> Verdict {
        let registry = Registry::new([&KHO, &RADIX, &LUO, &MEMFD]).unwrap();
        let mut manifest = Manifest::new();
        for (carrier, found) in entries {
            manifest.add(*carrier, found, Place::new(0x1000, "here"));
        }
        SemverRange.judge(&manifest, registry.side())
    }

    #[test]
    fn strings_that_carry_data_must_be_restorable() {
        use Carrier::{FileHandler, Flb, Luo, Root, Subtree};
        use Outcome::{LeftAlone, Rejected};
        let cases: &[(Carrier, &str, Outcome)] = &[
            (Root, "kho-v4", Outcome::Restorable),
            (Root, "kho-v4;radix-v1", Outcome::Restorable),
            (Root, "kho-v4;radix-v2", Rejected),
            (Root, "kho-v4;other-v1", Rejected),
            (Root, "kho-v5", Rejected),
            (Root, "luo-v5", Rejected),
            (Root, "kho-v4 ", Rejected),
            (Luo, "luo-v5", Outcome::Restorable),
            (Luo, "luo-v6", Rejected),
            (FileHandler, "memfd-v1", Outcome::Restorable),
            (FileHandler, "memfd-v2", Outcome::Restorable),
            (FileHandler, "memfd-v3", Rejected),
            (FileHandler, "kho-v4", Rejected),
            (FileHandler, "guest_memfd-v1", Rejected),
            (Flb, "liveupdate-test-flb-v0", LeftAlone),
            (Subtree, "LUO", Outcome::Restorable),
            (Subtree, "kho_test", LeftAlone),
        ];
        for (carrier, found, outcome) in cases {
            let verdict = judge(&[(*carrier, found)]);
            assert_eq!(verdict.findings[0].outcome, *outcome, "{carrier:?} {found}");
            let reject = *outcome == Rejected;
            assert_eq!(
                verdict.decision == Decision::Reject,
                reject,
                "{carrier:?} {found}"
            );
        }
    }

    #[test]
    fn an_admitted_handover_covers_its_own_versions_only() {
        let registry = Registry::new([&KHO, &RADIX, &LUO, &MEMFD]).unwrap();
        let mut manifest = Manifest::new();
        manifest.add(Carrier::Root, "kho-v4", Place::default());
        manifest.add(Carrier::FileHandler, "memfd-v1", Place::default());
        let mut both = manifest.clone();
        both.add(Carrier::FileHandler, "memfd-v2", Place::default());
        let both = registry.admit(&SemverRange, both).unwrap();
        assert_eq!(
            (both.require("memfd", 1), both.require("memfd", 2)),
            (Ok(()), Ok(()))
        );
        let admitted = registry.admit(&SemverRange, manifest).unwrap();
        assert_eq!(admitted.require("kho", 4), Ok(()));
        assert_eq!(admitted.require("radix", 1), Ok(()));
        assert_eq!(admitted.require("memfd", 1), Ok(()));
        let error = admitted.require("memfd", 2).unwrap_err().to_string();
        assert_eq!(
            error,
            "memfd-v2 was not admitted: the verdict covers memfd-v1"
        );
        let error = admitted.require("luo", 5).unwrap_err().to_string();
        assert_eq!(
            error,
            "luo-v5 was not admitted: the verdict covers no version of it"
        );
    }

    #[test]
    fn what_is_lost_is_not_covered() {
        static POOL: Component = Component::new("pool", &[Generation::new(1)]).optional();
        let registry = Registry::new([&KHO, &RADIX, &POOL]).unwrap();
        let mut manifest = Manifest::new();
        manifest.add(Carrier::Root, "kho-v4", Place::default());
        manifest.add_listed(&"pool-v9".parse().unwrap(), true, Place::default());
        let admitted = registry.admit(&SemverRange, manifest).unwrap();
        assert_eq!(admitted.verdict().decision, Decision::Degrade);
        assert!(admitted.require("pool", 9).is_err() && admitted.require("pool", 1).is_err());
        assert_eq!(admitted.require("radix", 1), Ok(()));
    }
}
