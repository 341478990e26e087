//! The first policy: every string that carries data must be restorable by a linked component.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Policy;
use crate::{Carrier, Decision, Entry, Finding, Manifest, Outcome, Side, Verdict, consequence};

/// The root, LUO and file-handler strings must be restorable by a linked component, each token of
/// a composite included. What no linked component knows among subtrees and FLBs is reported and
/// left alone, as are metadata and memblock regions of another version.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restorable;

impl Policy for Restorable {
    fn name(&self) -> &'static str {
        "restorable"
    }

    fn summary(&self) -> &'static str {
        "the root, LUO and every file handler must be restorable by a linked component"
    }

    fn judge(&self, manifest: &Manifest, side: &Side) -> Verdict {
        let findings: Vec<_> = manifest
            .entries()
            .iter()
            .map(|entry| finding(entry, side))
            .collect();
        let rejected = findings
            .iter()
            .any(|finding| finding.outcome == Outcome::Rejected);
        let decision = if rejected {
            Decision::Reject
        } else {
            Decision::Accept
        };
        Verdict {
            policy: self.name(),
            decision,
            findings,
        }
    }
}

fn finding(entry: &Entry, side: &Side) -> Finding {
    let (restorable, expected, reason) = match entry.carrier {
        Carrier::Subtree => {
            let known: Vec<_> = side
                .abilities()
                .filter_map(|c| c.subtree.as_deref())
                .collect();
            let is_known = side.subtree(&entry.found).is_some();
            let reason = if is_known {
                ""
            } else {
                "no linked component knows this subtree"
            };
            (is_known, known.join(", "), reason.to_string())
        }
        carrier => match judge_string(entry, carrier, side) {
            Ok(()) => (true, expected(carrier, side), String::new()),
            Err(reason) => (false, expected(carrier, side), reason),
        },
    };
    let mandatory = matches!(
        entry.carrier,
        Carrier::Root | Carrier::Luo | Carrier::FileHandler
    );
    let outcome = match (restorable, mandatory) {
        (true, _) => Outcome::Restorable,
        (false, false) => Outcome::LeftAlone,
        (false, true) => Outcome::Rejected,
    };
    Finding {
        carrier: entry.carrier,
        found: entry.found.clone(),
        expected: if expected.is_empty() {
            "nothing".to_string()
        } else {
            expected
        },
        outcome,
        reason,
        place: entry.place.clone(),
        uses: entry.uses,
        consequence: if restorable {
            ""
        } else {
            consequence(entry.carrier)
        },
    }
}

fn expected(carrier: Carrier, side: &Side) -> String {
    let known: Vec<_> = side
        .carried_in(carrier)
        .map(|c| side.restorable_text(&c.name))
        .collect();
    known.join(" or ")
}

fn judge_string(entry: &Entry, carrier: Carrier, side: &Side) -> Result<(), String> {
    let compat = entry
        .compat()
        .map_err(|e| format!("not a compat string: {e}"))?;
    let base = compat.base();
    match side.get(base.name()) {
        None => return Err(format!("no linked component is called `{}`", base.name())),
        Some(component) if component.carrier != Some(carrier) => {
            return Err(format!(
                "`{}` is not what a {} names",
                base.name(),
                carrier.title()
            ));
        }
        Some(_) => {}
    }
    for token in compat.tokens() {
        let name = token.name();
        if side.get(name).is_none() {
            return Err(format!("no linked component is called `{name}`"));
        }
        if !side.restores(name, token.version()) {
            let known = side.restorable_text(name);
            return Err(format!("{token} is not restorable here, only {known}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Component, Place, Registry};

    static KHO: Component = Component::new("kho", 4, "^4")
        .carried_in(Carrier::Root)
        .needs(&["radix"]);
    static RADIX: Component = Component::new("radix", 1, "^1");
    static LUO: Component = Component::new("luo", 5, "^5")
        .carried_in(Carrier::Luo)
        .subtree("LUO")
        .optional();
    static MEMFD: Component =
        Component::new("memfd", 2, ">=1, <3").carried_in(Carrier::FileHandler);

    fn judge(entries: &[(Carrier, &str)]) -> Verdict {
        let registry = Registry::new([&KHO, &RADIX, &LUO, &MEMFD]).unwrap();
        let mut manifest = Manifest::new();
        for (carrier, found) in entries {
            manifest.add(*carrier, found, Place::new(0x1000, "here"));
        }
        Restorable.judge(&manifest, registry.side())
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
        let both = registry.admit(&Restorable, both).unwrap();
        assert_eq!(
            (both.require("memfd", 1), both.require("memfd", 2)),
            (Ok(()), Ok(()))
        );
        let admitted = registry.admit(&Restorable, manifest).unwrap();
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
}
