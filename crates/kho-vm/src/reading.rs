//! A handover as it is read here, with every file's checksum: what a guest is compared with.

use std::collections::BTreeMap;

use kho_compat::{Manifest, Registry, policy};
use kho_core::{Entry, Handover, Memblock, Metadata};
use kho_guest::{Found, Hasher, Name};
use kho_luo::{IncomingFile, Luo};
use kho_mem::{PhysAddr, PhysMem, PhysMemExt};
use kho_memfd::{Memfd, Piece};
use kho_radix::Restoring;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::wait::Spinner;

/// A handover, read.
pub(crate) struct Reading {
    pub(crate) sessions: Vec<SessionRead>,
    /// As a capture's facts.
    pub(crate) facts: Value,
    /// The root FDT's page.
    pub(crate) root: Vec<u8>,
    /// Where what may be altered lies.
    pub(crate) places: Places,
}

/// A session.
pub(crate) struct SessionRead {
    pub(crate) name: Name,
    /// Where its entry lies.
    pub(crate) at: u64,
    pub(crate) files: Vec<FileRead>,
}

/// A memfd.
pub(crate) struct FileRead {
    pub(crate) token: u64,
    /// Where its entry lies.
    pub(crate) at: u64,
    /// What its entry holds: where its state lies.
    pub(crate) data: u64,
    pub(crate) size: u64,
    pub(crate) pos: u64,
    pub(crate) seals: u32,
    pub(crate) sha256: String,
}

impl FileRead {
    /// How what a guest found differs from it.
    pub(crate) fn difference(&self, found: &Found) -> Option<String> {
        let mut all = Vec::new();
        let mut compare = |what: &str, here: String, there: String| {
            if here != there {
                all.push(format!("{what} {there} instead of {here}"));
            }
        };
        compare("size", self.size.to_string(), found.size.to_string());
        compare("position", self.pos.to_string(), found.pos.to_string());
        compare(
            "seals",
            format!("{:#x}", self.seals),
            format!("{:#x}", found.seals),
        );
        compare("sha256", self.sha256.clone(), found.sha256.clone());
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// Where parts of a handover lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) root: u64,
    pub(crate) luo: Option<u64>,
    pub(crate) metadata: Option<u64>,
    /// FLBs by name.
    pub(crate) flbs: BTreeMap<String, u64>,
}

/// A step of reading that failed: what it was.
fn failed(what: &str) -> impl Fn(String) -> Failure {
    move |error| Failure::of(format!("reading the handover: {what}"), error)
}

/// Reads the handover at `entry` of `memory`, all of it.
pub(crate) fn read(memory: &dyn PhysMem, entry: Entry) -> Result<Reading, Failure> {
    let handover = Handover::open(memory, entry);
    let handover = handover.map_err(|error| failed("the root")(error.to_string()))?;
    let mut reading = reading(&handover)?;
    let mut manifest = Manifest::new();
    handover.add_to(&mut manifest);
    let metadata = Metadata::read(&handover);
    let metadata = metadata.map_err(|damage| failed("metadata")(damage.to_string()))?;
    let memblock = Memblock::read(&handover, &mut reading);
    let memblock = memblock.map_err(|damage| failed("memblock")(damage.to_string()))?;
    if let Some(memblock) = &memblock {
        memblock.add_to(&mut manifest);
    }
    let luo = Luo::read(&handover, &mut reading);
    let luo = luo.map_err(|damage| failed("LUO")(damage.to_string()))?;
    let mut facts = outline(&handover, entry, metadata.as_ref());
    let mut places = Places {
        root: entry.fdt_addr.get(),
        luo: luo.as_ref().map(|luo| luo.at().get()),
        metadata: handover
            .subtree(kho_core::metadata::v1::METADATA_SUBTREE)
            .map(|subtree| subtree.addr.get()),
        flbs: BTreeMap::new(),
    };
    let mut sessions = Vec::new();
    if let Some(luo) = &luo {
        luo.add_to(&mut manifest);
        let mut value = Map::new();
        value.insert("compatible".into(), luo.compatible().into());
        sessions = files(&handover, luo, manifest, &mut value)?;
        facts.insert("luo".into(), value.into());
        let flbs = luo.body().map(kho_luo::Body::flbs).unwrap_or_default();
        places.flbs = flbs
            .iter()
            .map(|flb| (flb.name.clone(), flb.at.get()))
            .collect();
    }
    let root = memory.bytes(entry.fdt_addr, kho_mem::PAGE_SIZE);
    let root = root.map_err(|error| failed("the root")(error.to_string()))?;
    Ok(Reading {
        sessions,
        root: root.into_owned(),
        facts: facts.into(),
        places,
    })
}

fn reading<'m>(handover: &Handover<'m>) -> Result<kho_radix::Reading<'m>, Failure> {
    let reading = handover.reading();
    reading.map_err(|damage| failed("the subtrees")(damage.to_string()))
}

/// What there is beside LUO.
fn outline(
    handover: &Handover<'_>,
    entry: Entry,
    metadata: Option<&Metadata>,
) -> Map<String, Value> {
    let mut facts = Map::new();
    facts.insert("compatible".into(), handover.root().compatible().into());
    facts.insert("preserved".into(), preserved(handover));
    let subtrees = handover.subtrees().iter();
    let subtrees: Map<_, _> = subtrees
        .map(|s| {
            (
                s.name.clone(),
                json!({ "pa": s.addr.get(), "size": s.size }),
            )
        })
        .collect();
    facts.insert("subtrees".into(), subtrees.into());
    if let Some(table) = handover.scratch() {
        let areas = table.areas().iter();
        let areas: Vec<_> = areas
            .map(|area| json!([area.start().get(), area.len()]))
            .collect();
        facts.insert("scratch".into(), areas.into());
    }
    if let Some(Metadata::V1 {
        previous_release,
        kexec_count,
    }) = metadata
    {
        let value = json!({
            "version": 1,
            "previous_release": previous_release,
            "kexec_count": kexec_count,
        });
        facts.insert("kexec_metadata".into(), value);
    }
    let (scratch_addr, scratch_size) = entry.scratch.unzip();
    let value = json!({
        "fdt_addr": entry.fdt_addr.get(),
        "fdt_size": entry.fdt_size,
        "scratch_addr": scratch_addr.map(PhysAddr::get),
        "scratch_size": scratch_size,
    });
    facts.insert("entry".into(), value);
    facts
}

fn preserved(handover: &Handover<'_>) -> Value {
    let preserved = handover.preserved();
    let by_order = preserved.by_order();
    let by_order: Map<_, _> = by_order
        .iter()
        .map(|(order, count)| (order.to_string(), (*count).into()))
        .collect();
    let mut hash = Sha256::new();
    for folio in preserved.iter() {
        hash.update(folio.addr().get().to_le_bytes());
        hash.update(u32::from(folio.order.get()).to_le_bytes());
    }
    let sha256: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    json!({
        "entries": preserved.keys(),
        "pages": preserved.pages(),
        "radix_nodes": preserved.nodes().len(),
        "by_order": by_order,
        "sha256": sha256,
    })
}

/// Reads the sessions of `luo`, and adds them to its facts.
fn files(
    handover: &Handover<'_>,
    luo: &Luo,
    manifest: Manifest,
    facts: &mut Map<String, Value>,
) -> Result<Vec<SessionRead>, Failure> {
    let Some(body) = luo.body() else {
        return Ok(Vec::new());
    };
    let registry = Registry::linked().map_err(|error| failed("versions")(error.to_string()))?;
    let admitted = registry.admit(&policy::SemverRange, manifest);
    let admitted = admitted.map_err(|refused| failed("versions")(refused.to_string()))?;
    let incoming = luo.restore(&admitted);
    let incoming = incoming.map_err(|error| failed("LUO")(error.to_string()))?;
    let mut reading = reading(handover)?;
    let mut restoring = reading.admitted(&admitted);
    let (mut sessions, mut values) = (Vec::new(), Vec::new());
    let mut spinner = Spinner::new("reading files");
    for (entry, session) in body.sessions().iter().zip(incoming.iter()) {
        let (mut files, mut of_session) = (Vec::new(), Vec::new());
        for file in session.files() {
            spinner.tick()?;
            let (file, value) = self::file(&mut restoring, &file)?;
            files.push(file);
            of_session.push(value);
        }
        let name = Name::new(session.name().as_bytes());
        values.push(json!({
            "name": session.name().to_string(),
            "count": files.len(),
            "files": of_session,
            "file_blocks": entry.file_blocks(),
        }));
        sessions.push(SessionRead {
            name,
            at: entry.at().get(),
            files,
        });
    }
    facts.insert("liveupdate_num".into(), body.liveupdate_num().into());
    facts.insert("sessions".into(), values.into());
    facts.insert("session_blocks".into(), body.session_blocks().into());
    let flbs = body.flbs().iter();
    let flbs: Vec<_> = flbs
        .map(|flb| json!({ "name": flb.name, "data": flb.data, "count": flb.count }))
        .collect();
    facts.insert("flbs".into(), flbs.into());
    if let Some(pages) = body.flb_pages() {
        facts.insert("flb_pgcnt".into(), pages.into());
    }
    Ok(sessions)
}

fn file(
    restoring: &mut Restoring<'_, '_>,
    file: &IncomingFile<'_>,
) -> Result<(FileRead, Value), Failure> {
    let what = format!("file {:#x}", file.token());
    let restored = Memfd::restore(restoring, file);
    let restored = restored.map_err(|error| failed(&what)(error.to_string()))?;
    let mut hash = Hasher::default();
    for piece in restored.pieces() {
        match piece.map_err(|error| failed(&what)(error.to_string()))? {
            Piece::Data(bytes) => hash.update(bytes),
            Piece::Hole(len) => hash.zeros(len),
        }
    }
    let memfd = restored.memfd();
    let read = FileRead {
        token: file.token(),
        at: file.entry().at.get(),
        data: file.entry().data,
        size: memfd.size(),
        pos: memfd.pos(),
        seals: memfd.seals(),
        sha256: hash.finish(),
    };
    let mut value = Map::new();
    value.insert("compatible".into(), file.compatible().into());
    value.insert("token".into(), read.token.into());
    value.insert("pos".into(), read.pos.into());
    value.insert("size".into(), read.size.into());
    value.insert("seals".into(), read.seals.into());
    value.insert("nr_folios".into(), memfd.folios().len().into());
    let area = memfd.area();
    value.insert(
        "vmalloc".into(),
        json!({
            "total_pages": area.pages(),
            "flags": area.flags(),
            "order": area.order().get(),
            "chunks": area.chunks(),
        }),
    );
    value.insert("sha256".into(), read.sha256.clone().into());
    Ok((read, value.into()))
}

/// How the sessions that a guest gave differ from those that were read before: by name and token.
pub(crate) fn differences(one: &[SessionRead], two: &[SessionRead]) -> Vec<String> {
    let mut all = Vec::new();
    let by_name: BTreeMap<_, _> = two.iter().map(|session| (&session.name, session)).collect();
    for session in one {
        let Some(other) = by_name.get(&session.name) else {
            all.push(format!("session `{}` is missing", session.name));
            continue;
        };
        let tokens: BTreeMap<_, _> = other.files.iter().map(|file| (file.token, file)).collect();
        for file in &session.files {
            let what = format!("session `{}`, file {:#x}", session.name, file.token);
            match tokens.get(&file.token) {
                None => all.push(format!("{what} is missing")),
                Some(other) => {
                    let found = other.found();
                    let found = file.difference(&found);
                    all.extend(found.map(|difference| format!("{what}: {difference}")));
                }
            }
        }
        if session.files.len() < other.files.len() {
            all.push(format!(
                "session `{}` has more files than before",
                session.name
            ));
        }
    }
    if one.len() < two.len() {
        all.push("there are more sessions than before".to_owned());
    }
    all
}

impl FileRead {
    fn found(&self) -> Found {
        Found {
            size: self.size,
            pos: self.pos,
            seals: self.seals,
            blocks: 0,
            sha256: self.sha256.clone(),
        }
    }
}
