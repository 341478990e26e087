//! What there is to say of a move: data, and the same as JSON.

use kho_compat::policy::When;
use kho_compat::{Consequence, Decision, Expected, Outcome, Token};
use serde_json::{Value, json};

use crate::condition::{Condition, Cost, State};
use crate::config::LUO;
use crate::defect::MetDefect;
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
    /// The decision: the gravest of what the formats, the conditions and the known defects say. A condition that is
    /// known not to be met decides by what it costs, and one that is not seen does not.
    pub decision: Decision,
    /// What was judged, one per string.
    pub findings: Vec<MoveFinding>,
    /// What is not judged, and why.
    pub unjudged: Vec<(String, Unjudged)>,
    /// What is lost if one leaves all the same.
    pub losses: MoveLosses,
    /// The conditions under which it goes so: empty where not both ends are kernels, or nothing is handed over.
    pub conditions: Vec<Condition>,
    /// The known defects of the kernels that it meets, or may meet.
    pub defects: Vec<MetDefect>,
    /// What to do next, where it is not accepted.
    pub next: Vec<String>,
    /// What else there is to say.
    pub remarks: Vec<String>,
    pub(crate) nothing: Option<String>,
    pub(crate) unread: Vec<Token>,
    pub(crate) formats: Decision,
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
            "headline": self.headline(),
            "from": end_json(self.from),
            "to": end_json(self.to),
            "verdict": {
                "policy": self.policy,
                "decision": self.formats.id(),
                "when": self.when.id(),
                "findings": self.findings.iter().map(|finding| self.finding_json(finding)).collect::<Vec<_>>(),
                "not_judged": unjudged,
            },
            "consequence": gravest.map(|finding| self.consequence(finding)),
            "losses": losses_json(&self.losses),
            "conditions": self.conditions.iter().map(condition_json).collect::<Vec<_>>(),
            "known_defects": self.defects.iter().map(MetDefect::json).collect::<Vec<_>>(),
            "next": self.next,
            "remarks": self.remarks,
        })
    }

    /// The decision and why, in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        let decision = self.decision.id();
        let why = self.why();
        if why.is_empty() {
            decision.to_owned()
        } else {
            format!("{decision}{why}")
        }
    }

    fn why(&self) -> String {
        if let Some(nothing) = &self.nothing {
            return format!(": {nothing}");
        }
        let is_decisive = |outcome: Outcome| Decision::of([outcome]) == self.decision;
        let mut notable = self.findings.iter();
        let notable =
            notable.find(|row| row.outcome != Outcome::Restorable && is_decisive(row.outcome));
        match (self.decision, notable) {
            (Decision::Accept, _) => {
                let unseen = self.conditions.iter().filter(|condition| {
                    condition.state != State::Met
                        && !matches!(condition.cost, Cost::Nothing | Cost::Move)
                });
                let mut briefs: Vec<_> = unseen
                    .map(|condition| condition.kind.brief().to_owned())
                    .collect();
                briefs.dedup();
                briefs.extend(
                    self.unread
                        .iter()
                        .map(|token| format!("a reader of {token}")),
                );
                return match briefs.as_slice() {
                    [] => String::new(),
                    briefs => format!(", if: {}", briefs.join("; ")),
                };
            }
            (_, Some(row)) => {
                return match &row.why {
                    Some(Why::NoKho { evidence }) => {
                        format!(": {} has no KHO: {evidence}", self.to.title)
                    }
                    Some(Why::NoLuo) => {
                        let evidence = match &self.to.boot.config {
                            Some(config) if !config.has(LUO) => config.says(LUO),
                            _ => format!("nothing in its image shows {LUO}"),
                        };
                        format!(": {} has KHO and no LUO: {evidence}", self.to.title)
                    }
                    why => {
                        let (title, entry) = (row.item.entry.carrier.title(), &row.item.entry);
                        let why = why.as_ref().map(ToString::to_string).unwrap_or_default();
                        format!(": {title} `{entry}`: {why}")
                    }
                };
            }
            _ => {}
        }
        let defects = self.defects.iter();
        let mut defects = defects.filter(|found| found.decision() == self.decision);
        let conditions = self.conditions.iter();
        let mut conditions = conditions.filter(|found| found.decision() == self.decision);
        match (defects.next(), conditions.next()) {
            (Some(found), _) => format!(": {}: {}", found.defect.id, found.defect.cost),
            (None, Some(found)) => format!(": {}: {}", found.evidence, found.cost),
            (None, None) => {
                ": what is optional would be lost, and the next one refuses that".to_owned()
            }
        }
    }

    /// The consequence of `finding` in words, at the one that takes over.
    #[must_use]
    pub fn consequence(&self, finding: &MoveFinding) -> String {
        finding.consequence.of_release(self.to.release.as_deref())
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

fn condition_json(condition: &Condition) -> Value {
    json!({
        "id": condition.kind.id(),
        "what": condition.kind.title(),
        "state": condition.state.id(),
        "evidence": condition.evidence,
        "cost": condition.cost.id(),
        "advice": condition.advice,
    })
}

impl MetDefect {
    /// It as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let (found, defect) = (self, self.defect);
        json!({
            "id": defect.id,
            "state": found.state.id(),
            "evidence": found.evidence,
            "cost": defect.cost.id(),
            "consequence": defect.consequence,
            "advice": defect.advice,
            "measured": defect.measured,
            "is_measured": found.is_measured,
            "source": defect.source,
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
