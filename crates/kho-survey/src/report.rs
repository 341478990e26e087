//! A survey as JSON: the names and values that the captures' facts have, and more.

use kho_compat::describe::Members;
use kho_compat::{Carrier, Fact, Finding, Manifest, Verdict, View};
use kho_mem::PhysAddr;
use kho_radix::Preserved;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::Survey;
use crate::hash::hex;

/// Where in a file the byte at an address of memory stands.
type Locate<'l> = dyn Fn(PhysAddr) -> Option<u64> + 'l;

impl Survey<'_> {
    /// All that was gathered, without the failure. What was not found, or not reached, is left out.
    /// `locate` says where in the dump's file the byte at an address stands.
    #[must_use]
    pub fn json(&self, locate: &Locate<'_>) -> Map<String, Value> {
        json(self, locate)
    }
}

fn json(survey: &Survey<'_>, locate: &Locate<'_>) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(entry) = survey.entry {
        let (addr, size) = entry.scratch.unzip();
        out.insert(
            "entry".into(),
            json!({
                "fdt_addr": entry.fdt_addr.get(),
                "fdt_size": entry.fdt_size,
                "scratch_addr": addr.map(PhysAddr::get),
                "scratch_size": size,
            }),
        );
        out.insert(
            "scratch_source".into(),
            survey.scratch_source.map(|s| s.id()).into(),
        );
    }
    if let Some(root) = &survey.root {
        out.insert("compatible".into(), root.compatible().into());
        out.insert("dialect".into(), survey.manifest.writing().id().into());
        if let Some(listed) = listed_json(&survey.manifest) {
            out.insert("listed".into(), listed);
        }
    }
    if let Some(preserved) = &survey.preserved {
        out.insert("preserved".into(), preserved_json(preserved));
    }
    if let Some((ranges, pages)) = survey.unclaimed {
        // Preserved memory of no structure that is known here.
        out.insert(
            "unclaimed".into(),
            json!({ "entries": ranges, "pages": pages }),
        );
    }
    if let Some(handover) = &survey.handover {
        let subtrees: Map<_, _> = handover
            .subtrees()
            .iter()
            .map(|s| {
                (
                    s.name.clone(),
                    json!({ "pa": s.addr.get(), "size": s.size }),
                )
            })
            .collect();
        out.insert("subtrees".into(), subtrees.into());
    }
    if let Some(scratch) = &survey.scratch {
        let areas: Vec<_> = scratch
            .areas()
            .iter()
            .map(|area| json!([area.start().get(), area.len()]))
            .collect();
        out.insert("scratch".into(), areas.into());
    }
    for found in &survey.found {
        let (name, fact) = found.contents.facts();
        out.insert(name.into(), value(fact));
    }
    match &survey.verdict {
        Some(Ok(admitted)) => {
            out.insert("verdict".into(), verdict_json(admitted.verdict(), locate));
        }
        Some(Err(refused)) => {
            out.insert("verdict".into(), verdict_json(refused.verdict(), locate));
        }
        None => {}
    }
    out
}

/// A fact in JSON.
#[must_use]
pub fn value(fact: Fact) -> Value {
    match fact {
        Fact::Null => Value::Null,
        Fact::Bool(value) => value.into(),
        Fact::Number(value) => value.into(),
        Fact::Text(value) => value.into(),
        Fact::List(facts) => facts.into_iter().map(value).collect(),
        Fact::Map(members) => members_json(members).into(),
    }
}

/// Named facts in JSON.
#[must_use]
pub fn members_json(members: Members) -> Map<String, Value> {
    let member = |(name, fact)| (name, value(fact));
    members.into_iter().map(member).collect()
}

/// The table or the masks of the root FDT, by component; `None` where there are none.
fn listed_json(manifest: &Manifest) -> Option<Value> {
    let mut listed = Map::new();
    for entry in manifest.entries() {
        let value = match (entry.carrier, entry.features) {
            (Carrier::Table, _) => {
                let version = manifest.listed(entry.component());
                let mut value = json!({ "version": version, "optional": entry.optional });
                if let Some(value) = value.as_object_mut().filter(|_| entry.minor > 0) {
                    value.insert("minor".into(), entry.minor.into());
                }
                value
            }
            (Carrier::Features, Some(features)) => json!({
                "supported": features.supported,
                "required": features.required,
                "active": features.active,
            }),
            _ => continue,
        };
        listed.insert(entry.component().to_owned(), value);
    }
    (!listed.is_empty()).then(|| listed.into())
}

fn preserved_json(preserved: &Preserved) -> Value {
    let in_pages = |order| preserved.page_size().pages_of(order).unwrap_or_default();
    let by_order: Map<_, _> = preserved
        .by_order()
        .iter()
        .map(|(order, n)| (in_pages(*order).to_string(), (*n).into()))
        .collect();
    let mut hash = Sha256::new();
    let mut record = Vec::with_capacity(12 << 10);
    for folio in preserved.iter() {
        record.extend_from_slice(&folio.addr().get().to_le_bytes());
        record.extend_from_slice(&u32::from(in_pages(folio.order)).to_le_bytes());
        if record.len() >= 12 << 10 {
            hash.update(&record);
            record.clear();
        }
    }
    hash.update(&record);
    json!({
        "entries": preserved.keys(),
        "pages": preserved.pages(),
        "radix_nodes": preserved.nodes().len(),
        "by_order": by_order,
        "sha256": hex(&hash.finalize()),
    })
}

fn finding_json(finding: &Finding, locate: &Locate<'_>) -> Value {
    let entry = &finding.entry;
    let mut value = json!({
        "carrier": entry.carrier.id(),
        "found": entry.to_string(),
        "expected": finding.expected.to_string(),
        "outcome": finding.outcome.id(),
        "reason": finding.reason_text(View::Here),
        "uses": entry.uses,
        "where": entry.place.path,
        "at": entry.place.addr,
        "file_offset": locate(PhysAddr::new(entry.place.addr)),
        "consequence": finding.consequence().to_string(),
    });
    if let (Some(note), Value::Object(members)) = (&finding.note, &mut value) {
        members.insert("note".into(), note.to_string().into());
    }
    value
}

fn verdict_json(verdict: &Verdict, locate: &Locate<'_>) -> Value {
    json!({
        "policy": verdict.policy,
        "decision": verdict.decision.id(),
        "findings": verdict.findings.iter().map(|f| finding_json(f, locate)).collect::<Vec<_>>(),
    })
}
