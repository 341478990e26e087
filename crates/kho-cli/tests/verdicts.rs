//! One verdict: preflight, the take-over of a live update, the restoring of an image and the laboratory's model
//! judge alike, by every policy, in every dialect, whatever versions the reader has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{Temp, kho};
use kho_compat::file::ManifestFile;
use kho_compat::policy::{ALL, When};
use kho_compat::{
    Admitted, Component, Decision, Generation, NotAdmitted, Policy, Refusal, Registry, Writing,
};
use kho_core::{Attached, Entry, Kho, KhoConfig, OpenError, OpenOptions, RestoreError};
use kho_lab::{History, Kind, Known, Layout, Release, Run};
use kho_luo::{
    FileRef, Handlers, Incoming, IncomingError, Orchestrator, TakeOverError, TakeOverOptions,
};
use kho_mem::{ARENA_ALIGN, Arena, ArenaConfig, Handed, PhysAddr, PhysMem, PhysRange};
use kho_memfd::{MemFile, MemfdError, MemfdHandler};
use kho_preflight::{End, EndOptions, EndRole, Preflight};
use kho_survey::{Survey, SurveyOptions};
use {kho_fd as _, kho_vmalloc as _};

const BASE: u64 = 0x1000_0000;
const SIZE: u64 = 2 * ARENA_ALIGN;

/// What becomes of a handover.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    /// Everything is restored.
    Accept,
    /// Everything but what is optional.
    Degrade,
    /// The policy takes it, and no code reads it: the model calls it silently wrong.
    Unreadable,
    /// Refused before anything is restored.
    Reject,
    /// Refused while restoring, when so many components had been given out.
    Late(usize),
}

impl Verdict {
    /// What a policy alone says of it, as long as nothing is read.
    const fn decision(&self) -> Decision {
        match self {
            Self::Accept | Self::Unreadable => Decision::Accept,
            Self::Degrade => Decision::Degrade,
            Self::Reject | Self::Late(_) => Decision::Reject,
        }
    }

    fn done(admitted: &Admitted) -> Self {
        match admitted.verdict().decision {
            Decision::Degrade => Self::Degrade,
            _ => Self::Accept,
        }
    }

    fn of(error: &NotAdmitted) -> Self {
        match &error.refusal {
            Refusal::Late { given, .. } if given.is_empty() => Self::Reject,
            Refusal::Late { given, .. } => Self::Late(given.len()),
            _ => Self::Unreadable,
        }
    }
}

fn leaked(components: impl IntoIterator<Item = &'static Component>) -> &'static Registry {
    Box::leak(Box::new(Registry::new(components).unwrap()))
}

/// The linked components, where `name` reads and writes `numbers` alone, the last of them by default.
fn altered(name: &str, numbers: &[u32]) -> &'static Registry {
    let linked = Registry::linked().unwrap();
    leaked(linked.components().map(|component| -> &'static Component {
        if component.name != name {
            return component;
        }
        let generation = |number: &u32| -> Generation {
            let mut generation = component.written().clone();
            generation.number = *number;
            generation
        };
        let generations: Vec<_> = numbers.iter().map(generation).collect();
        Box::leak(Box::new(component.clone().generations(generations.leak())))
    }))
}

/// A reader: what it is, and its components.
fn readers() -> Vec<(String, &'static Registry)> {
    let linked = Registry::linked().unwrap();
    let mut all = vec![("equal".to_owned(), linked)];
    for name in ["kho", "radix", "luo", "block", "memfd", "vmalloc"] {
        let own = linked.get(name).unwrap().major();
        // One that no code here reads, experiments included.
        let newer = own + 7;
        all.push((format!("{name} older"), altered(name, &[own - 1])));
        all.push((format!("{name} newer"), altered(name, &[newer])));
        all.push((format!("{name} both"), altered(name, &[own, newer])));
    }
    // A reader of some dialect, and one that is known by its components alone.
    for dialect in Writing::ALL {
        let equal = Box::leak(Box::new(linked.in_dialect(dialect)));
        all.push((format!("equal {dialect}"), equal));
    }
    let metadata = "kexec-metadata";
    all.push((format!("{metadata} newer"), altered(metadata, &[2])));
    let others = linked.components().filter(|one| one.name != "memfd");
    all.push(("memfd unknown".to_owned(), leaked(others)));
    all
}

fn written(writing: Writing) -> (Handed, Entry) {
    let scratch = PhysRange::new(PhysAddr::new(BASE + SIZE - ARENA_ALIGN), ARENA_ALIGN).unwrap();
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(BASE), SIZE).scratch(scratch)).unwrap();
    let config = KhoConfig::new()
        .scratch([scratch])
        .metadata("7.3.4", 1)
        .writing(writing);
    let kho = Kho::new(arena.clone(), &config).unwrap();
    let luo = Orchestrator::new(kho, handlers(), 0).unwrap();
    let session = luo.create_session("one").unwrap();
    let file = Arc::new(MemFile::new(&arena));
    file.write_at(0, b"kept").unwrap();
    session.preserve(1, file as FileRef).unwrap();
    let frozen = luo.freeze().unwrap();
    drop((luo, session, arena));
    let (arena, entry) = frozen.hand_over().unwrap();
    (arena.into_handed().unwrap(), entry)
}

fn handlers() -> Handlers {
    Handlers::new().with(MemfdHandler)
}

/// The way of a live update: `Attached::open`, `Incoming::take_over`, `retrieve`, `finish`. Gives the handover
/// back where it is not finished.
fn taken_over(
    handed: Handed,
    entry: Entry,
    reader: &Registry,
    policy: &dyn Policy,
) -> (Verdict, Handed) {
    let options = OpenOptions::new(entry).registry(reader).policy(policy);
    let attached = match Attached::open(handed, options) {
        Ok(attached) => attached,
        Err(failed) => {
            let verdict = match &failed.error {
                OpenError::Incompatible(_) => Verdict::Reject,
                OpenError::NotAdmitted(error) => Verdict::of(error),
                other => panic!("{other}"),
            };
            return (verdict, failed.returned);
        }
    };
    // Files of a component that is lost with it need no handler.
    let options = TakeOverOptions::new(reader).policy(policy);
    let incoming = match Incoming::take_over(attached, handlers(), options) {
        Ok(incoming) => incoming,
        Err(failed) => {
            let verdict = match &failed.error {
                TakeOverError::Refused(_) => Verdict::Reject,
                TakeOverError::NotAdmitted(error) => Verdict::of(error),
                other => panic!("{other}"),
            };
            return (verdict, failed.returned.into_handed());
        }
    };
    let session = incoming.session("one").unwrap();
    let verdict = match session.retrieve::<MemFile>(1) {
        Ok(file) => {
            let mut bytes = [0; 4];
            file.read_at(0, &mut bytes).unwrap();
            assert_eq!(&bytes, b"kept");
            incoming.can_finish().unwrap();
            Verdict::done(incoming.admitted())
        }
        Err(IncomingError::Retrieve { error, .. }) => {
            let error = error.get();
            let refused = match (
                error.downcast_ref::<NotAdmitted>(),
                error.downcast_ref::<RestoreError>(),
                error.downcast_ref::<MemfdError>(),
            ) {
                (Some(refused), ..)
                | (_, Some(RestoreError::NotAdmitted(refused)), _)
                | (.., Some(MemfdError::NotAdmitted(refused))) => refused,
                _ => panic!("{error}"),
            };
            if incoming.admitted().is_late() {
                assert_eq!(incoming.admitted().failed(), Some(refused));
                incoming.finish().unwrap_err();
            }
            Verdict::of(refused)
        }
        Err(other) => panic!("{other}"),
    };
    drop(session);
    let attached = incoming.into_attached().expect("it goes back");
    (verdict, attached.into_handed())
}

/// The way of `kho restore`: surveyed, judged, and each file opened.
fn restored(
    handed: &dyn PhysMem,
    entry: Entry,
    reader: &'static Registry,
    policy: &dyn Policy,
) -> Verdict {
    let options = SurveyOptions::default().entry(entry).policy(policy);
    let survey = Survey::of(handed, reader, &options, &mut |_, _, _| true);
    let admitted = match &survey.verdict {
        Some(Ok(admitted)) => admitted,
        Some(Err(_)) => return Verdict::Reject,
        None => panic!("no verdict: {:?}", survey.failure),
    };
    let Some(handover) = &survey.handover else {
        // The root is not read: what is wrong with it, said again.
        let error = kho_core::Handover::open(
            handed,
            OpenOptions::new(entry).registry(reader).policy(policy),
        );
        let Err(OpenError::NotAdmitted(error)) = error.map(|_| ()) else {
            panic!("{:?}", survey.failure);
        };
        return Verdict::of(&error);
    };
    assert!(survey.failure.is_none(), "{:?}", survey.failure);
    let luo = survey.luo().unwrap();
    let restore = || -> Result<bool, RestoreError> {
        handover.require(admitted)?;
        let sessions = luo.luo().restore(admitted)?;
        let mut reading = handover.reading()?;
        for session in sessions.iter() {
            for (index, file) in session.files().enumerate() {
                let announced = handover.announced().in_string(file.compatible());
                let name = announced.base().unwrap().name().to_owned();
                match reader.get(&name) {
                    Some(component) => admitted.found_all(&announced, component, reader)?,
                    None => admitted.require_base(&announced, file.compatible())?,
                }
                let Some(owner) = luo.owner_of(0, index) else {
                    return Ok(false);
                };
                owner
                    .restore(&mut reading.admitted(admitted), &file)?
                    .unwrap();
            }
        }
        Ok(true)
    };
    match restore() {
        Ok(true) => Verdict::done(admitted),
        Ok(false) => Verdict::Unreadable,
        Err(RestoreError::NotAdmitted(error)) => Verdict::of(&error),
        Err(other) => panic!("{other}"),
    }
}

/// The laboratory's model: each version has a layout of its own. It takes all for used that a side has, so that it
/// gets what is.
fn modelled(writing: Writing, reader: &Registry, policy: &dyn Policy) -> Verdict {
    let used = |registry: &Registry| {
        let unused = ["fd", "memblock", "reserve-mem"];
        let used = registry.components();
        let used = used.filter(|one| !unused.contains(&one.name));
        let used = Registry::new(used).unwrap();
        match registry.side().dialect() {
            Some(dialect) => used.in_dialect(dialect),
            None => used,
        }
    };
    let mut layouts = BTreeMap::new();
    let mut release = |name: &str, registry: &Registry| {
        let mut known = BTreeMap::new();
        let registry = used(registry);
        for component in registry.components() {
            let mut layout = |number: u32| {
                let name = format!("{}-{number}", component.name);
                let layout = Layout {
                    hash: Some(name.clone()),
                    ..Layout::default()
                };
                layouts.insert(name.clone(), layout);
                name
            };
            let own = component.major();
            let others = component.generations.iter().map(|one| one.number);
            let others = others.filter(|number| *number != own);
            let others = others.map(|number| (number, layout(number))).collect();
            let own = layout(own);
            known.insert(component.name.to_owned(), Known { own, others });
        }
        Release {
            name: name.to_owned(),
            date: String::new(),
            text: String::new(),
            source: String::new(),
            side: registry.side().clone(),
            layouts: known,
        }
    };
    let writer = Registry::linked().unwrap().in_dialect(writing);
    let releases = vec![release("from", &writer), release("to", reader)];
    let history = History {
        name: "pair".to_owned(),
        title: String::new(),
        text: String::new(),
        layouts,
        measurements: None,
        releases,
    };
    let run = Run::new(&history, &[policy], &mut |_, _| true)
        .unwrap()
        .unwrap();
    let cell = run.policies[0].cell(0, 1).unwrap();
    match cell.kind {
        Kind::Accepted => Verdict::Accept,
        Kind::Degraded => Verdict::Degrade,
        Kind::Silent => Verdict::Unreadable,
        Kind::Rejected => Verdict::Reject,
        Kind::Late => Verdict::Late(cell.restored),
    }
}

fn open(preflight: &Preflight, path: &Path, role: EndRole) -> End {
    let mut progress = |_, _, _| true;
    preflight
        .open(path, &EndOptions::new(role), &mut progress)
        .unwrap()
}

#[test]
fn all_four_say_the_same() {
    let dir = Temp::new("verdicts");
    let preflight = Preflight::new(Registry::linked().unwrap());
    let readers: Vec<_> = readers()
        .into_iter()
        .map(|(title, registry)| {
            let text = ManifestFile::of(&title, registry).to_json().unwrap();
            let path = dir.file(&format!("{}.json", title.replace(' ', "-")), text);
            let end = open(&preflight, path.as_ref(), EndRole::To);
            (title, registry, end)
        })
        .collect();
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for writing in Writing::ALL {
        let (mut handed, entry) = written(writing);
        let path = dir.path(&format!("{writing}.core"));
        image(writing, &path);
        let from = open(&preflight, path.as_ref(), EndRole::From);
        for (title, reader, to) in &readers {
            for policy in ALL {
                let (taken, returned) = taken_over(handed, entry, reader, *policy);
                handed = returned;
                let restored = restored(&handed, entry, reader, *policy);
                let judged = preflight.judge(&from, to, *policy).unwrap().decision;
                let modelled = Some(modelled(writing, reader, *policy));
                let name = policy.name();
                // The metadata's number stands in it: its reader looks at it, whatever a policy takes.
                let modelled = modelled.filter(|model| {
                    !(title.starts_with("kexec-metadata") && *model == Verdict::Unreadable)
                });
                let late = policy.when() == When::WhileRestoring;
                let same = taken == restored
                    && judged == taken.decision()
                    && modelled.as_ref().is_none_or(|model| *model == taken)
                    && (late || !matches!(taken, Verdict::Late(_)));
                if !same {
                    wrong.push(format!(
                        "{writing}, {title}, {name}: preflight {judged:?}, take-over {taken:?}, restore \
                         {restored:?}, model {modelled:?}"
                    ));
                }
                *seen.entry(format!("{:?}", taken.decision())).or_insert(0) += 1;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        seen.len() == 3 && seen.values().all(|count| *count > 20),
        "{seen:?}"
    );
}

/// An image of a handover that is written so, at `path`.
fn image(writing: Writing, path: &str) -> Entry {
    let (handed, entry) = written(writing);
    let attached = Attached::open(handed, entry).unwrap();
    let pages = attached.handover().page_runs();
    let handed = attached.into_handed();
    kho_image::write_elf(path.as_ref(), &handed, &pages, &mut |_, _| true).unwrap();
    entry
}

#[test]
fn an_image_of_another_version_is_judged_and_restored_alike() {
    let dir = Temp::new("verdicts-images");
    let linked = Registry::linked().unwrap();
    let preflight = Preflight::new(linked);
    let text = ManifestFile::of("here", linked).to_json().unwrap();
    let here = dir.file("here.json", text);
    let to = open(&preflight, here.as_ref(), EndRole::To);
    let mut wrong = Vec::new();
    for writing in [Writing::PLAIN, Writing::COMPOSITE, Writing::FEATURES] {
        let whole = dir.path(&format!("{writing}.core"));
        let entry = image(writing, &whole);
        let bytes = std::fs::read(&whole).unwrap();
        for (name, other) in [
            ("kho-v4", "kho-v5"),
            ("kho-v4", "kho-v3"),
            ("luo-v5", "luo-v6"),
            ("luo-v5", "luo-v4"),
            ("memfd-v2", "memfd-v3"),
            ("memfd-v2", "memfd-v1"),
            ("memfd-v2", "memfe-v2"),
            ("block-v1", "block-v2"),
            ("radix-v1", "radix-v2"),
            ("vmalloc-v1", "vmalloc-v0"),
        ] {
            let mut bytes = bytes.clone();
            let places: Vec<_> = (0..bytes.len().saturating_sub(name.len()))
                .filter(|at| bytes[*at..].starts_with(name.as_bytes()))
                .collect();
            for at in &places {
                bytes[*at..*at + name.len()].copy_from_slice(other.as_bytes());
            }
            if places.is_empty() {
                continue;
            }
            let path = dir.file(&format!("{writing}-{other}.core"), bytes);
            let options = kho_image::ImageOptions::default();
            let memory = kho_image::Image::open(path.as_ref(), &options, &mut |_, _| true).unwrap();
            for policy in ALL {
                let mut options = EndOptions::new(EndRole::From);
                options.policy = *policy;
                let from = preflight.open(path.as_ref(), &options, &mut |_, _, _| true);
                let from = from.unwrap();
                let judged = preflight.judge(&from, &to, *policy);
                let restored = restored(&memory, entry, linked, *policy);
                // What a policy takes and nobody reads is an error before it is a verdict.
                let judged = judged.map_or(Decision::Accept, |report| report.decision);
                let decision = restored.decision();
                let unread = restored == Verdict::Unreadable;
                if judged != decision && !unread {
                    let name = policy.name();
                    wrong.push(format!(
                        "{writing}, {other}, {name}: preflight {judged:?}, restore {restored:?}"
                    ));
                }
            }
        }
        // The command itself, of what it takes and of what it does not.
        for (file, policy, restores) in [
            (whole.clone(), "check-at-restore", true),
            (
                dir.path(&format!("{writing}-memfd-v3.core")),
                "check-at-restore",
                false,
            ),
            (
                dir.path(&format!("{writing}-kho-v5.core")),
                "semver-range",
                false,
            ),
            (
                dir.path(&format!("{writing}-kho-v5.core")),
                "feature-masks",
                writing == Writing::FEATURES,
            ),
        ] {
            let out = dir.path("out");
            let run = kho(&["restore", &file, "--policy", policy, "--out", &out]);
            assert_eq!(run.status.success(), restores, "{file} {policy}: {run:?}");
            assert_eq!(Path::new(&out).exists(), restores, "{file} {policy}");
            let _ = std::fs::remove_dir_all(&out);
            let run = kho(&["inspect", &file, "--policy", policy]);
            assert_eq!(run.status.success(), restores, "{file} {policy}: {run:?}");
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
