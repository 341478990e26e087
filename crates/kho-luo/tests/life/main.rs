//! The life of sessions, files and FLBs over an update, with handlers that note every call and fail
//! when told to: against a plain model, with every failure undone byte by byte, and up to the
//! format's limits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard};

use kho_compat::{Carrier, Component, Generation, Registry, Writing};
use kho_core::{Attached, Handover, Kho, KhoConfig, PreservedFolio};
use kho_luo::{
    FileHandler, FlbHandler, Frozen, HandlerError, Handlers, Held, Incoming, IncomingError,
    IncomingSession, LuoError, Orchestrator, OutgoingSession, Retrieve, TakeOverError, survey,
};
use kho_mem::{
    Arena, ArenaConfig, Folio, Link, Order, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr, PhysMemExt,
    PhysRange,
};
use kho_radix::Key;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use zerocopy::little_endian::U64;

mod failures;
mod incoming;
mod limits;
mod model;
mod outgoing;
mod reentry;

const FAKE: &str = "fake";
const DECOY: &str = "decoy";
/// A file that every handler takes.
const ANY: &str = "any";

kho_compat::submit! { Component::new(FAKE, &[Generation::new(1)]).carried_in(Carrier::FileHandler).field(48) }
// With a need, so that its composite string is another one.
kho_compat::submit! {
    Component::new(DECOY, &[Generation::new(2).read_only(), Generation::new(3).needs(&[("block", 1)])]).carried_in(Carrier::FileHandler).field(48)
}

const BASE: u64 = 0x1000_0000;
const SIZE: u64 = 16 << 20;

/// What the handlers were asked, and what they are to fail.
#[derive(Clone, Default)]
struct Stage(Arc<Mutex<Record>>);

/// By the kind of call: how many go well before one fails, once.
type Faults = BTreeMap<&'static str, u64>;

#[derive(Default)]
struct Record {
    calls: Vec<String>,
    faults: Faults,
    files: u64,
    flbs: u64,
}

fn due(faults: &mut Faults, kind: &'static str) -> bool {
    match faults.get_mut(kind) {
        Some(0) => faults.remove(kind).is_some(),
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap()
    }

    fn note(&self, kind: &str, who: impl Display) {
        self.lock().calls.push(format!("{kind} {who}"));
    }

    fn call(&self, kind: &'static str, who: impl Display) -> Result<(), HandlerError> {
        self.note(kind, &who);
        if due(&mut self.lock().faults, kind) {
            return Err(HandlerError::new(format!("{kind} of {who} fails")));
        }
        Ok(())
    }

    fn fail(&self, kind: &'static str, after: u64) {
        self.lock().faults.insert(kind, after);
    }

    /// The calls since the last time.
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }

    /// States of files and of FLBs that handlers gave out and did not get back.
    fn alive(&self) -> (u64, u64) {
        let record = self.lock();
        (record.files, record.flbs)
    }
}

/// A file of any kind. With a size, it is handed over in two folios: a page that says what it is,
/// and a body full of its number.
#[derive(Debug)]
struct FakeFile {
    id: u64,
    kind: &'static str,
    size: usize,
    body: Mutex<Body>,
}

#[derive(Debug)]
enum Body {
    None,
    Held(Held, PhysAddr),
    Own(Folio),
}

impl FakeFile {
    fn new(id: u64, kind: &'static str, size: usize) -> Arc<Self> {
        Arc::new(Self {
            id,
            kind,
            size,
            body: Mutex::new(Body::None),
        })
    }

    /// The contents that came with a handover.
    fn contents(&self) -> Vec<u8> {
        match &*self.body.lock().unwrap() {
            Body::None => Vec::new(),
            Body::Held(held, at) => {
                let mut bytes = vec![0; self.size];
                held.copy_to(*at, &mut bytes).unwrap();
                bytes
            }
            Body::Own(folio) => folio[..self.size].to_vec(),
        }
    }

    fn is_whole(&self) -> bool {
        self.contents() == vec![self.id as u8; self.size]
    }

    fn is_own(&self) -> bool {
        matches!(&*self.body.lock().unwrap(), Body::Own(_))
    }

    /// Gives its memory back.
    fn release(&self) {
        *self.body.lock().unwrap() = Body::None;
    }
}

/// Hands files of one kind over.
struct Fake {
    kind: &'static str,
    version: u32,
    stage: Stage,
}

struct FakeState(Option<(PreservedFolio, PreservedFolio)>);

fn word(bytes: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().unwrap())
}

fn set_word(bytes: &mut [u8], index: usize, value: u64) {
    bytes[8 * index..8 * index + 8].copy_from_slice(&value.to_le_bytes());
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> HandlerError {
    HandlerError::new(error)
}

/// The file's number, as its entry's data says or leads to.
fn id_of(attached: &Attached, data: u64) -> u64 {
    if data & 1 == 1 {
        return data >> 1;
    }
    attached
        .handed()
        .read::<U64>(PhysAddr::new(data))
        .unwrap()
        .get()
}

impl FileHandler for Fake {
    type File = FakeFile;
    type Preserved = FakeState;

    fn component(&self) -> &'static str {
        self.kind
    }

    fn writes(&self) -> &[u32] {
        std::slice::from_ref(&self.version)
    }

    fn can_preserve(&self, file: &Arc<FakeFile>) -> bool {
        file.kind == self.kind || file.kind == ANY
    }

    fn preserve(&self, kho: &Kho, file: &Arc<FakeFile>) -> Result<FakeState, HandlerError> {
        self.stage.call("preserve", file.id)?;
        let mut memory = None;
        if file.size > 0 {
            let preserver = kho.preserver();
            // The body first: its nodes are there when the page fails.
            let mut body = preserver.alloc_preserve(file.size).map_err(refused)?;
            let mut page = preserver.alloc_preserve(PAGE_SIZE).map_err(refused)?;
            body[..file.size].fill(file.id as u8);
            for (index, value) in [file.id, body.addr().get(), file.size as u64, 0]
                .into_iter()
                .enumerate()
            {
                set_word(&mut page, index, value);
            }
            memory = Some((page, body));
        }
        self.stage.lock().files += 1;
        Ok(FakeState(memory))
    }

    fn unpreserve(&self, file: &Arc<FakeFile>, _state: FakeState) {
        self.stage.note("unpreserve", file.id);
        self.stage.lock().files -= 1;
    }

    fn freeze(&self, file: &Arc<FakeFile>, state: &mut FakeState) -> Result<u64, HandlerError> {
        self.stage.call("freeze", file.id)?;
        let Some((page, _)) = &mut state.0 else {
            return Ok(file.id << 1 | 1);
        };
        set_word(page, 3, u64::MAX);
        Ok(page.addr().get())
    }

    fn unfreeze(&self, file: &Arc<FakeFile>, state: &mut FakeState) {
        self.stage.note("unfreeze", file.id);
        if let Some((page, _)) = &mut state.0 {
            set_word(page, 3, 0);
        }
    }

    fn hand_over(&self, file: &Arc<FakeFile>, state: FakeState) {
        self.stage.note("hand over", file.id);
        self.stage.lock().files -= 1;
        if let Some((page, body)) = state.0 {
            page.hand_over();
            body.hand_over();
        }
    }

    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<FakeFile>, HandlerError> {
        retrieve
            .admitted
            .require(self.kind, self.version)
            .map_err(refused)?;
        if data & 1 == 1 {
            self.stage.call("retrieve", data >> 1)?;
            return Ok(FakeFile::new(data >> 1, self.kind, 0));
        }
        let (at, state) = (PhysAddr::new(data), retrieve.link(data, "fake state"));
        retrieve.claims.page(state).map_err(refused)?;
        let mut head = [0; 32];
        retrieve.held.copy_to(at, &mut head).map_err(refused)?;
        assert_eq!(word(&head, 3), u64::MAX, "it was frozen");
        let body = PhysAddr::new(word(&head, 1));
        let link = Link {
            to: body,
            at,
            name: "fake body",
        };
        retrieve.claims.folio(link).map_err(refused)?;
        self.stage.call("retrieve", word(&head, 0))?;
        Ok(Arc::new(FakeFile {
            id: word(&head, 0),
            kind: self.kind,
            size: word(&head, 2) as usize,
            body: Mutex::new(Body::Held(retrieve.held.clone(), body)),
        }))
    }

    fn can_finish(&self, _: &Attached, file: Option<&Arc<FakeFile>>) -> Result<(), HandlerError> {
        let who = file.map_or("nobody's".to_owned(), |file| file.id.to_string());
        self.stage.call("can_finish", who)
    }

    fn finish(&self, attached: &mut Attached, data: u64, file: Option<Arc<FakeFile>>) {
        let id = id_of(attached, data);
        let Some(file) = file else {
            return self.stage.note("finish", format!("{id} unretrieved"));
        };
        self.stage.note("finish", file.id);
        assert_eq!(file.id, id);
        let mut body = file.body.lock().unwrap();
        if let Body::Held(_, at) = &*body {
            let order = file.size.div_ceil(PAGE_SIZE).next_power_of_two().ilog2() as u8;
            let folio = attached.handed_mut().adopt(*at, Order::new(order).unwrap());
            *body = Body::Own(folio.unwrap());
        }
    }
}

/// An object of one page that says its name.
struct FakeFlb {
    name: &'static str,
    stage: Stage,
}

#[derive(Debug, PartialEq)]
struct FlbObject(String);

impl FlbHandler for FakeFlb {
    type Object = FlbObject;
    type Preserved = PreservedFolio;

    fn name(&self) -> &str {
        self.name
    }

    fn preserve(&self, kho: &Kho) -> Result<(u64, PreservedFolio), HandlerError> {
        self.stage.call("FLB preserve", self.name)?;
        let page = kho.preserver().alloc_preserve(PAGE_SIZE);
        let mut page = page.map_err(refused)?;
        page[..self.name.len()].copy_from_slice(self.name.as_bytes());
        self.stage.lock().flbs += 1;
        Ok((page.addr().get(), page))
    }

    fn unpreserve(&self, _: PreservedFolio) {
        self.stage.note("FLB unpreserve", self.name);
        self.stage.lock().flbs -= 1;
    }

    fn hand_over(&self, page: PreservedFolio) {
        self.stage.note("FLB hand over", self.name);
        self.stage.lock().flbs -= 1;
        page.hand_over();
    }

    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<FlbObject>, HandlerError> {
        let at = PhysAddr::new(data);
        let link = retrieve.link(data, "fake FLB");
        retrieve.claims.page(link).map_err(refused)?;
        self.stage.call("FLB retrieve", self.name)?;
        let mut name = vec![0; self.name.len()];
        retrieve.held.copy_to(at, &mut name).map_err(refused)?;
        Ok(Arc::new(FlbObject(String::from_utf8(name).unwrap())))
    }

    fn finish(&self, _: &mut Attached, _: u64, object: Option<Arc<FlbObject>>) {
        let how = if object.is_some() { "" } else { " unretrieved" };
        self.stage.note("FLB finish", format!("{}{how}", self.name));
    }
}

/// The FLBs, and the kinds of file that depend on each.
const FLBS: [(&str, &[&str]); 2] = [("shared-v1", &[FAKE, DECOY]), ("alone-v1", &[FAKE])];

fn handlers(stage: &Stage) -> Handlers {
    let fake = |kind, version| Fake {
        kind,
        version,
        stage: stage.clone(),
    };
    let mut handlers = Handlers::new().with(fake(FAKE, 1)).with(fake(DECOY, 3));
    for (name, users) in FLBS {
        let stage = stage.clone();
        handlers = handlers.with_flb(users.iter().copied(), FakeFlb { name, stage });
    }
    handlers
}

/// Handlers of which two are one too many, and what the refusal says.
fn duplicates(stage: &Stage) -> [(Handlers, &'static str); 2] {
    let fake = Fake {
        kind: FAKE,
        version: 1,
        stage: stage.clone(),
    };
    let (name, of_flb) = ("alone-v1", stage.clone());
    let flb = FakeFlb {
        name,
        stage: of_flb,
    };
    [
        (
            handlers(stage).with(fake),
            "component `fake` has two file handlers",
        ),
        // Of other files than the first one's.
        (
            handlers(stage).with_flb([DECOY], flb),
            "two FLBs have the name `alone-v1`",
        ),
    ]
}

fn scratch() -> PhysRange {
    PhysRange::new(PhysAddr::new(BASE + (12 << 20)), 4 << 20).unwrap()
}

fn arena_config() -> ArenaConfig {
    ArenaConfig::new(PhysAddr::new(BASE), SIZE).scratch(scratch())
}

fn arena() -> Arena {
    Arena::heap(&arena_config()).unwrap()
}

fn kho(arena: Arena, dialect: Writing) -> Kho {
    let config = KhoConfig::new()
        .scratch([scratch()])
        .metadata("7.3.4", 1)
        .writing(dialect);
    Kho::new(arena, &config).unwrap()
}

fn orchestrator(arena: &Arena, stage: &Stage) -> Orchestrator {
    Orchestrator::new(kho(arena.clone(), Writing::PLAIN), handlers(stage), 0).unwrap()
}

fn attach(frozen: Frozen) -> Attached {
    let (arena, entry) = frozen.hand_over().unwrap();
    Attached::open(arena.into_handed().unwrap(), entry).unwrap()
}

fn take_over(attached: Attached, handlers: Handlers) -> Incoming {
    let registry = Registry::linked().unwrap();
    Incoming::take_over(attached, handlers, registry).unwrap()
}

/// The refusal in a word.
fn why(error: &LuoError) -> &'static str {
    match error {
        LuoError::SessionExists(_) => "session exists",
        LuoError::TokenExists { .. } => "token exists",
        LuoError::Busy => "busy",
        LuoError::NoHandler => "no handler",
        LuoError::Frozen => "frozen",
        LuoError::Handler { .. } => "handler",
        LuoError::Flb { .. } => "FLB",
        LuoError::Set { .. } => "set",
        _ => "other",
    }
}

fn lines(calls: &[&str]) -> Vec<String> {
    calls.iter().map(|call| (*call).to_owned()).collect()
}

#[rustfmt::skip]
const CALLS: [&str; 6] = [
    "preserve", "FLB preserve", "freeze", "retrieve", "FLB retrieve", "can_finish",
];
