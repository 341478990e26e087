//! A handover as it is read here, with every file's checksum: what a guest is compared with.

use std::collections::BTreeMap;

use kho_compat::{Fact, Registry};
use kho_core::Entry;
use kho_core::metadata::v1::METADATA_SUBTREE;
use kho_guest::{Found, SessionName};
use kho_luo::{Body, File, Session, Surveyed};
// The handler of the files is referred to: the linker drops what nothing refers to.
use kho_mem::{PhysMem, PhysMemExt};
use kho_memfd as _;
use kho_survey::{Survey, SurveyOptions};
use serde_json::Value;

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
    pub(crate) name: SessionName,
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
        let shown = |of: &Found| {
            let seals = format!("{:#x}", of.seals);
            [
                of.size.to_string(),
                of.pos.to_string(),
                seals,
                of.sha256.clone(),
            ]
        };
        let names = ["size", "position", "seals", "sha256"].into_iter();
        let both = shown(&self.found()).into_iter().zip(shown(found));
        let differ = names.zip(both).filter(|(_, (here, there))| here != there);
        let all = differ.map(|(what, (here, there))| format!("{what} {there} instead of {here}"));
        let all: Vec<_> = all.collect();
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

/// What of a survey is none of the handover's facts.
const NO_FACTS: &str = "scratch_source dialect listed unclaimed verdict";

/// Why the handover was not read.
fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::of("reading the handover", error)
}

/// Reads the handover at `entry` of `memory`, all of it.
pub(crate) fn read(memory: &dyn PhysMem, entry: Entry) -> Result<Reading, Failure> {
    let registry = Registry::linked().map_err(failed)?;
    let mut spinner = Spinner::new("reading files");
    let mut stopped = None;
    let mut progress = |_, _, _| match spinner.tick() {
        Ok(()) => true,
        Err(failure) => {
            stopped = Some(failure);
            false
        }
    };
    let options = SurveyOptions::default().entry(entry);
    let mut survey = Survey::of(memory, registry, &options, &mut progress);
    let done = match survey.failure.take() {
        Some(error) => Err(error),
        None => survey.hash(&mut progress).map(drop),
    };
    if let Err(error) = done {
        return Err(stopped.unwrap_or_else(|| failed(error)));
    }
    if let Some(Err(refused)) = &survey.verdict {
        return Err(failed(refused));
    }
    let luo = survey.luo();
    let sessions = luo.map_or(Ok(Vec::new()), sessions)?;
    let body = luo.and_then(|luo| luo.luo().body());
    let flbs = body.map(Body::flbs).unwrap_or_default().iter();
    let metadata = survey.handover.as_ref();
    let metadata = metadata.and_then(|handover| handover.subtree(METADATA_SUBTREE));
    let places = Places {
        root: entry.fdt_addr.get(),
        luo: luo.map(|luo| luo.luo().at().get()),
        metadata: metadata.map(|subtree| subtree.addr.get()),
        flbs: flbs.map(|flb| (flb.name.clone(), flb.at.get())).collect(),
    };
    let root = memory.bytes(entry.fdt_addr, kho_mem::PAGE_SIZE);
    let root = root.map_err(failed)?.into_owned();
    let mut facts = survey.json(&|_| None);
    facts.retain(|name, _| !NO_FACTS.split(' ').any(|none| none == name));
    Ok(Reading {
        sessions,
        facts: facts.into(),
        root,
        places,
    })
}

/// The sessions of `luo`, all of whose files were read.
fn sessions(luo: &Surveyed) -> Result<Vec<SessionRead>, Failure> {
    let session = |(of, session): (usize, &Session)| {
        let files = session.files().iter().enumerate();
        let files = files.map(|(index, file)| {
            let read = file_read(luo, of, index, file);
            read.ok_or_else(|| failed(format!("file {:#x} is of no known handler", file.token)))
        });
        Ok(SessionRead {
            name: SessionName::new(session.name().as_bytes()).map_err(failed)?,
            at: session.at().get(),
            files: files.collect::<Result<_, _>>()?,
        })
    };
    luo.sessions().iter().enumerate().map(session).collect()
}

fn file_read(luo: &Surveyed, session: usize, index: usize, file: &File) -> Option<FileRead> {
    let facts = Fact::Map(luo.file(session, index)?.facts());
    let number = |name: &str| facts.get(name)?.as_u64();
    Some(FileRead {
        token: file.token.get(),
        at: file.at.get(),
        data: file.data,
        size: number("size")?,
        pos: number("pos")?,
        seals: u32::try_from(number("seals")?).ok()?,
        sha256: luo.sha256(session, index)?.to_owned(),
    })
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
                    let found = file.difference(&other.found());
                    all.extend(found.map(|difference| format!("{what}: {difference}")));
                }
            }
        }
        if session.files.len() < other.files.len() {
            let name = &session.name;
            all.push(format!("session `{name}` has more files than before"));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use kho_core::PhysAddr;
    use kho_image::Image;

    use super::*;
    use crate::place::root;

    /// Whether `all` has each member of `part` with the same value.
    fn has(all: &Value, part: &Value) -> bool {
        match (all, part) {
            (Value::Object(all), Value::Object(part)) => part
                .iter()
                .all(|(name, part)| all.get(name).is_some_and(|all| has(all, part))),
            (Value::Array(all), Value::Array(part)) => {
                all.len() == part.len() && all.iter().zip(part).all(|(all, part)| has(all, part))
            }
            _ => all == part,
        }
    }

    #[test]
    fn captures_are_read_as_their_facts_say() {
        for name in ["small", "mixed", "reserve", "none"] {
            let path = root().join(format!("tests/captures/{name}.core.zst"));
            let image =
                Image::open(&path, &kho_image::ImageOptions::default(), &mut |_, _| true).unwrap();
            let facts = path.with_file_name(format!("{name}.facts.json"));
            let facts: Value = serde_json::from_slice(&std::fs::read(facts).unwrap()).unwrap();
            let number = |name: &str| facts["entry"][name].as_u64().unwrap();
            let scratch = PhysAddr::new(number("scratch_addr"));
            let entry = Entry::new(PhysAddr::new(number("fdt_addr")));
            let entry = entry.with_scratch(scratch, number("scratch_size"));
            let reading = read(&image, entry).unwrap();
            assert!(has(&reading.facts, &facts), "{name}: {}", reading.facts);
            let listed = facts.pointer("/luo/sessions").and_then(Value::as_array);
            assert_eq!(reading.sessions.len(), listed.map_or(0, Vec::len), "{name}");
        }
    }
}
