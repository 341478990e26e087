//! What there is to say of a move: data, and the same as JSON.

use kho_compat::policy::When;
use kho_compat::{Consequence, Decision, Expected, Outcome};
use serde_json::{Value, json};

use crate::end::{End, What};
use crate::item::{Amount, Item, Spot};
use crate::losses::MoveLosses;
use crate::reason::{Unjudged, Why};

/// The format's name.
const FORMAT: &str = "kho-preflight-v1";

/// Whether what one end hands over is restored by the other.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report<'e> {
    /// What is left.
    pub from: &'e End,
    /// What takes over.
    pub to: &'e End,
    /// The policy's name.
    pub policy: &'static str,
    /// When the policy finds a mismatch.
    pub when: When,
    /// The decision.
    pub decision: Decision,
    /// What was judged, one per string.
    pub findings: Vec<MoveFinding>,
    /// What is not judged, and why.
    pub unjudged: Vec<(String, Unjudged)>,
    /// What is lost if one leaves all the same.
    pub losses: MoveLosses,
    /// What else there is to say.
    pub remarks: Vec<String>,
}

/// What becomes of one string, and where its two sides stand.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MoveFinding {
    /// What is handed over.
    pub item: Item,
    /// What becomes of it.
    pub outcome: Outcome,
    /// What could be restored in its place.
    pub expected: Expected,
    /// Why it is not restorable.
    pub why: Option<Why>,
    /// What a real kernel does about it.
    pub consequence: Consequence,
    /// Where what is expected stands.
    pub to: Vec<Spot>,
    /// Files of a handler, where they are known.
    pub files: Option<Amount>,
}

impl Report<'_> {
    /// The report as JSON, in the format `kho-preflight-v1`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut rejected = self.findings.iter();
        // The gravest comes first: in the order of carriers, from the root inwards.
        let gravest = rejected.find(|finding| finding.outcome == Outcome::Rejected);
        let unjudged: Vec<_> = self
            .unjudged
            .iter()
            .map(|(what, why)| json!({ "what": what, "why": why.to_string() }))
            .collect();
        json!({
            "format": FORMAT,
            "decision": self.decision.id(),
            "from": end_json(self.from),
            "to": end_json(self.to),
            "verdict": {
                "policy": self.policy,
                "decision": self.decision.id(),
                "when": self.when.id(),
                "findings": self.findings.iter().map(|finding| self.finding_json(finding)).collect::<Vec<_>>(),
                "not_judged": unjudged,
            },
            "consequence": gravest.map(|finding| self.consequence(finding)),
            "losses": losses_json(&self.losses),
            "remarks": self.remarks,
        })
    }

    /// The consequence of `finding` in words, at the one that takes over.
    #[must_use]
    pub fn consequence(&self, finding: &MoveFinding) -> String {
        match &self.to.release {
            Some(release) => finding.consequence.of_release(release),
            None => finding.consequence.to_string(),
        }
    }

    fn finding_json(&self, finding: &MoveFinding) -> Value {
        let entry = &finding.item.entry;
        let why = finding.why.as_ref().map(ToString::to_string);
        json!({
            "carrier": entry.carrier.id(),
            "found": entry.to_string(),
            "where": spot_json(&finding.item.spot),
            "expected": finding.expected.to_string(),
            "expected_where": finding.to.iter().map(spot_json).collect::<Vec<_>>(),
            "outcome": finding.outcome.id(),
            "reason": why.unwrap_or_default(),
            "uses": entry.uses,
            "files": finding.files.map(|amount| json!({
                "files": amount.files,
                "bytes": amount.exactly(),
                "files_of_unknown_size": amount.unsized_files,
            })),
            "consequence": self.consequence(finding),
        })
    }
}

fn end_json(end: &End) -> Value {
    let (kho, luo) = match &end.what {
        What::Kernel(kernel) => (
            Some(kernel.kho.is_ok()),
            Some(kernel.kho.is_ok() && (kernel.luo.is_some() || kernel.names("luo"))),
        ),
        _ => (None, None),
    };
    let in_use = match &end.what {
        What::Dump(_) => true,
        What::Listed(listed) => listed.in_use.is_some(),
        What::Kernel(_) => false,
    };
    json!({
        "given": end.name,
        "kind": end.kind.id(),
        "title": end.title,
        "form": end.form,
        "release": end.release,
        "arch": end.arch,
        "evidence": end.evidence,
        "notes": end.notes,
        "kho": kho,
        "luo": luo,
        "in_use_known": in_use,
    })
}

fn spot_json(spot: &Spot) -> Value {
    json!({ "what": spot.what, "address": spot.address, "file_offset": spot.offset })
}

fn losses_json(losses: &MoveLosses) -> Value {
    let files = losses.files;
    json!({
        "machine": losses.machine,
        "all_preserved_state": losses.everything,
        "sessions": losses.sessions,
        "files": files.map(|files| files.files),
        // Of files that this build can not read nobody knows how long they are.
        "bytes": files.and_then(Amount::exactly),
        "bytes_known": files.map(|files| files.bytes),
        "preserved_pages": losses.pages,
        "handlers": losses.handlers.iter().map(|(handler, files)| json!({
            "handler": handler,
            "files": files.map(|files| files.files),
            "bytes": files.and_then(Amount::exactly),
        })).collect::<Vec<_>>(),
    })
}
