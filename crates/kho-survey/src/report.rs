//! A survey as JSON: the names and values that the captures' facts have, and more.

use kho_compat::{Carrier, Finding, Manifest, Verdict, View};
use kho_core::Metadata;
use kho_luo::{Body, Name, Session};
use kho_mem::{Order, PhysAddr};
use kho_radix::Preserved;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::hash::hex;
use crate::{Hashes, MemfdFacts, Survey};

/// Where in a file the byte at an address of memory stands.
type Locate<'l> = dyn Fn(PhysAddr) -> Option<u64> + 'l;

impl Survey<'_> {
    /// All that was gathered, without the failure. What was not found, or not reached, is left out.
    /// `locate` says where in the dump's file the byte at an address stands.
    #[must_use]
    pub fn json(&self, locate: &Locate<'_>, hashes: Option<&Hashes>) -> Map<String, Value> {
        json(self, locate, hashes)
    }
}

fn json(survey: &Survey<'_>, locate: &Locate<'_>, hashes: Option<&Hashes>) -> Map<String, Value> {
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
    match &survey.metadata {
        Some(Metadata::V1 {
            previous_release,
            kexec_count,
        }) => {
            out.insert(
                "kexec_metadata".into(),
                json!({
                    "version": 1,
                    "previous_release": previous_release,
                    "kexec_count": kexec_count,
                }),
            );
        }
        Some(Metadata::Other { version }) => {
            out.insert("kexec_metadata".into(), json!({ "version": version }));
        }
        None => {}
    }
    if let Some(memblock) = &survey.memblock {
        let regions: Vec<_> = memblock
            .regions()
            .iter()
            .map(|region| {
                json!({
                    "name": region.name,
                    "compatible": region.compatible,
                    "start": region.range.map(|range| range.start().get()),
                    "size": region.range.map(|range| range.len()),
                    "preserved": region.preserved,
                })
            })
            .collect();
        out.insert(
            "memblock".into(),
            json!({ "compatible": memblock.compatible(), "regions": regions }),
        );
    }
    if let Some(luo) = &survey.luo {
        let mut value = Map::new();
        value.insert("compatible".into(), luo.compatible().into());
        if let Some(body) = luo.body() {
            luo_json(&mut value, body, &survey.memfds, hashes);
        }
        out.insert("luo".into(), value.into());
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
    let by_order: Map<_, _> = preserved
        .by_order()
        .iter()
        .map(|(order, n)| (order.to_string(), (*n).into()))
        .collect();
    let mut hash = Sha256::new();
    let mut record = Vec::with_capacity(12 << 10);
    for folio in preserved.iter() {
        record.extend_from_slice(&folio.addr().get().to_le_bytes());
        record.extend_from_slice(&u32::from(folio.order.get()).to_le_bytes());
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

fn luo_json(
    out: &mut Map<String, Value>,
    body: &Body,
    memfds: &[Vec<Option<MemfdFacts>>],
    hashes: Option<&Hashes>,
) {
    out.insert("liveupdate_num".into(), body.liveupdate_num().into());
    let sessions: Vec<_> = body
        .sessions()
        .iter()
        .enumerate()
        .map(|(index, session)| {
            let facts = memfds.get(index).map(Vec::as_slice).unwrap_or_default();
            let hashes = hashes
                .and_then(|hashes| hashes.get(index))
                .map(Vec::as_slice);
            session_json(body, session, facts, hashes)
        })
        .collect();
    out.insert("sessions".into(), sessions.into());
    out.insert("session_blocks".into(), body.session_blocks().into());
    out.insert("flbs".into(), flbs_json(body));
    if let Some(pages) = body.flb_pages() {
        out.insert("flb_pgcnt".into(), pages.into());
    }
}

/// The file-lifecycle-bound objects of `body`.
#[must_use]
pub fn flbs_json(body: &Body) -> Value {
    let flb =
        |flb: &kho_luo::Flb| json!({ "name": flb.name, "data": flb.data, "count": flb.count });
    body.flbs().iter().map(flb).collect::<Vec<_>>().into()
}

fn session_json(
    body: &Body,
    session: &Session,
    facts: &[Option<MemfdFacts>],
    hashes: Option<&[Option<String>]>,
) -> Value {
    let files: Vec<_> = session
        .files()
        .iter()
        .enumerate()
        .map(|(index, file)| {
            let mut out = Map::new();
            out.insert("compatible".into(), body.compatible_of(file).into());
            out.insert("token".into(), file.token.into());
            if let Some(Some(facts)) = facts.get(index) {
                memfd_json(&mut out, facts);
            }
            if let Some(Some(hash)) = hashes.and_then(|hashes| hashes.get(index)) {
                out.insert("sha256".into(), hash.as_str().into());
            }
            Value::from(out)
        })
        .collect();
    let mut out = Map::new();
    name_json(&mut out, session.name());
    out.insert("count".into(), session.files().len().into());
    out.insert("files".into(), files.into());
    out.insert("file_blocks".into(), session.file_blocks().into());
    out.into()
}

/// Adds the name, and its bytes where it is no text.
pub fn name_json(out: &mut Map<String, Value>, name: &Name) {
    match name.as_str() {
        Some(text) => {
            out.insert("name".into(), text.into());
        }
        None => {
            out.insert("name".into(), name.to_string().into());
            out.insert("name_bytes".into(), hex(name.as_bytes()).into());
        }
    }
}

/// Adds what was gathered of a memfd.
pub fn memfd_json(out: &mut Map<String, Value>, facts: &MemfdFacts) {
    out.insert("pos".into(), facts.pos.into());
    out.insert("size".into(), facts.size.into());
    out.insert("seals".into(), facts.seals.into());
    out.insert("nr_folios".into(), facts.nr_folios.into());
    out.insert(
        "vmalloc".into(),
        json!({
            "total_pages": facts.total_pages,
            "flags": facts.vmalloc_flags,
            "order": facts.vmalloc_order,
            "chunks": facts.chunks,
        }),
    );
    // Left out where all folios are single pages, as most are.
    if facts
        .orders
        .iter()
        .any(|(order, _)| *order != Some(Order::ZERO))
    {
        let orders: Vec<_> = facts
            .orders
            .iter()
            .map(|(order, n)| json!([order.map(Order::get), n]))
            .collect();
        out.insert("folio_orders".into(), orders.into());
    }
}

fn finding_json(finding: &Finding, locate: &Locate<'_>) -> Value {
    let entry = &finding.entry;
    json!({
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
    })
}

fn verdict_json(verdict: &Verdict, locate: &Locate<'_>) -> Value {
    json!({
        "policy": verdict.policy,
        "decision": verdict.decision.id(),
        "findings": verdict.findings.iter().map(|f| finding_json(f, locate)).collect::<Vec<_>>(),
    })
}
