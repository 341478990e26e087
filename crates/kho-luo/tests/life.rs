//! The life of sessions, files and FLBs over an update, with handlers that note every call and fail
//! when told to: against a plain model, with every failure undone byte by byte, and up to the
//! format's limits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard};

use kho_compat::{Carrier, Component, Generation, Registry, Writing, policy};
use kho_core::{Attached, Handover, Kho, KhoConfig, PreservedFolio};
use kho_luo::{
    FileHandler, FlbHandler, Frozen, HandlerError, Handlers, Held, Incoming, IncomingError,
    LuoError, Orchestrator, OutgoingSession, Retrieve, RetrievedSession, TakeOverError, survey,
};
use kho_mem::{
    Arena, ArenaConfig, Folio, Link, Order, PAGE_SIZE, PAGE_SIZE_U64, PhysAddr, PhysMemExt,
    PhysRange,
};
use kho_radix::Key;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use zerocopy::little_endian::U64;

const FAKE: &str = "fake";
const DECOY: &str = "decoy";

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
        file.kind == self.kind
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
        for user in users {
            let stage = stage.clone();
            handlers = handlers.with_flb(user, FakeFlb { name, stage });
        }
    }
    handlers
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
    Incoming::take_over(attached, registry, &policy::SemverRange, handlers).unwrap()
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

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(0x006b_686f),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

// Small lives, one for each unhappy path.

/// Sessions `vm` (two files with memory and an FLB of both kinds) and `empty`, over there.
struct There {
    stage: Stage,
    incoming: Incoming,
    session: RetrievedSession,
    whole: u64,
}

fn there() -> There {
    let (stage, arena) = (Stage::default(), arena());
    let whole = arena.free_pages();
    let luo = orchestrator(&arena, &stage);
    drop(arena);
    let vm = luo.create_session("vm").unwrap();
    vm.preserve(1, FakeFile::new(11, FAKE, 100)).unwrap();
    vm.preserve(2, FakeFile::new(12, DECOY, 9000)).unwrap();
    let empty = luo.create_session("empty").unwrap();
    let frozen = luo.freeze().unwrap();
    drop((vm, empty, luo));
    let incoming = take_over(attach(frozen), handlers(&stage));
    let session = incoming.session("vm").unwrap();
    stage.calls();
    There {
        stage,
        incoming,
        session,
        whole,
    }
}

fn retrieved(session: &RetrievedSession, token: u64) -> Arc<FakeFile> {
    let file = session.retrieve::<FakeFile>(token).unwrap();
    assert!(file.is_whole());
    file
}

#[test]
fn a_session_has_a_name_of_its_own() {
    let arena = arena();
    let luo = orchestrator(&arena, &Stage::default());
    for bad in [&b""[..], b"a\0b", &[b'x'; 64]] {
        let error = luo.create_session(bad).unwrap_err();
        assert!(matches!(error, LuoError::BadName(_)), "{error}");
    }
    let longest = luo.create_session([b'x'; 63]).unwrap();
    let before = (arena.free_blocks(), luo.kho().preserver().keys());
    let error = luo.create_session([b'x'; 63]).unwrap_err();
    let expected = format!("there is a session `{}` already", "x".repeat(63));
    assert_eq!(error.to_string(), expected);
    assert_eq!(
        (arena.free_blocks(), luo.kho().preserver().keys()),
        before,
        "nothing changed"
    );
    longest.close();
    luo.create_session([b'x'; 63]).unwrap();
}

#[test]
fn a_token_is_taken_once_per_session() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    one.preserve(7, FakeFile::new(1, FAKE, 0)).unwrap();
    stage.calls();
    let error = one.preserve(7, FakeFile::new(2, FAKE, 0)).unwrap_err();
    let expected = "session `one` has a file of token 0x7 already";
    assert_eq!(error.to_string(), expected);
    assert_eq!((stage.calls(), one.files()), (Vec::new(), 1));
    two.preserve(7, FakeFile::new(2, FAKE, 0)).unwrap();
}

#[test]
fn a_file_is_busy_in_every_session() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    let file = FakeFile::new(1, FAKE, 100);
    one.preserve(1, file.clone()).unwrap();
    for (session, token) in [(&one, 2), (&two, 1)] {
        let error = session.preserve(token, file.clone()).unwrap_err();
        assert_eq!(why(&error), "busy");
    }
    one.close();
    two.preserve(1, file).unwrap();
}

#[test]
fn a_file_without_a_handler_is_refused() {
    let stage = Stage::default();
    let arena = arena();
    let luo = orchestrator(&arena, &stage);
    let session = luo.create_session("vm").unwrap();
    let before = arena.free_blocks();
    for file in [
        FakeFile::new(1, "none", 100) as kho_luo::FileRef,
        Arc::new("text".to_owned()),
    ] {
        assert_eq!(why(&session.preserve(1, file).unwrap_err()), "no handler");
    }
    assert_eq!((stage.calls(), arena.free_blocks()), (Vec::new(), before));
}

#[test]
fn handlers_are_asked_in_order_of_registration() {
    // Of two that take the same files the first has them; the second is never asked.
    let (first, second) = (Stage::default(), Stage::default());
    let of = |stage: &Stage| Fake {
        kind: FAKE,
        version: 1,
        stage: stage.clone(),
    };
    let handlers = Handlers::new().with(of(&first)).with(of(&second));
    let luo = Orchestrator::new(kho(arena(), Writing::PLAIN), handlers, 0).unwrap();
    let session = luo.create_session("vm").unwrap();
    session.preserve(1, FakeFile::new(1, FAKE, 0)).unwrap();
    assert_eq!(first.calls(), lines(&["preserve 1"]));
    assert_eq!(second.calls(), lines(&[]));
}

#[test]
fn a_handler_whose_component_is_not_linked_is_refused() {
    let stage = Stage::default();
    let unlinked = Fake {
        kind: "unlinked",
        version: 1,
        stage,
    };
    let arena = arena();
    let kho = kho(arena.clone(), Writing::PLAIN);
    let before = (arena.free_blocks(), kho.preserver().keys());
    let error = Orchestrator::new(kho.clone(), Handlers::new().with(unlinked), 0).unwrap_err();
    assert!(matches!(error, LuoError::Registry(_)), "{error}");
    assert_eq!((arena.free_blocks(), kho.preserver().keys()), before);
}

#[test]
fn flbs_have_names_that_fit_and_63_fit_the_area() {
    let with = |names: &[String]| {
        let names = names.iter().map(|name| &*name.clone().leak());
        let stage = Stage::default();
        let handlers = names.fold(handlers(&stage), |handlers, name| {
            let stage = stage.clone();
            handlers.with_flb(FAKE, FakeFlb { name, stage })
        });
        let arena = arena();
        let kho = kho(arena.clone(), Writing::PLAIN);
        let before = (arena.free_blocks(), kho.preserver().keys());
        let made = Orchestrator::new(kho.clone(), handlers, 0).map(drop);
        if made.is_err() {
            assert_eq!((arena.free_blocks(), kho.preserver().keys()), before);
        }
        made.map_err(|error| error.to_string())
    };
    for bad in [
        "".to_owned(),
        "a\n".to_owned(),
        "ä".to_owned(),
        "x".repeat(48),
    ] {
        let error = with(std::slice::from_ref(&bad)).unwrap_err();
        let expected = format!("`{bad}` is no FLB's name: 1 to 47 printable bytes are");
        assert_eq!(error, expected);
    }
    with(&["x".repeat(47)]).unwrap();
    // Two are there already.
    let more: Vec<_> = (0..62).map(|number| format!("flb-v{number}")).collect();
    with(&more[..61]).unwrap();
    assert_eq!(with(&more).unwrap_err(), "64 FLBs, where 63 fit");
}

#[test]
fn what_is_frozen_refuses_everything() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let session = luo.create_session("vm").unwrap();
    session.preserve(1, FakeFile::new(1, FAKE, 100)).unwrap();
    let frozen = luo.freeze().unwrap();
    stage.calls();
    let refusals = [
        luo.create_session("more").unwrap_err(),
        luo.create_session("vm").unwrap_err(),
        session.preserve(2, FakeFile::new(2, FAKE, 0)).unwrap_err(),
        luo.freeze().unwrap_err(),
    ];
    assert!(refusals.iter().all(|error| why(error) == "frozen"));
    assert_eq!(stage.calls(), lines(&[]));
    let frozen = frozen.hand_over().expect_err("a session is open");
    assert_eq!(why(&luo.freeze().unwrap_err()), "frozen", "as before");
    frozen.thaw();
    assert_eq!(stage.calls(), lines(&["unfreeze 1"]));
    session.preserve(2, FakeFile::new(2, FAKE, 0)).unwrap();
    luo.create_session("more").unwrap();
}

#[test]
fn sessions_dropped_while_frozen_are_closed_when_thawed() {
    let stage = Stage::default();
    let arena = arena();
    let luo = orchestrator(&arena, &stage);
    let sessions: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|name| luo.create_session(name).unwrap())
        .collect();
    for (index, session) in sessions.iter().enumerate() {
        let id = index as u64 * 10;
        session.preserve(1, FakeFile::new(id, FAKE, 100)).unwrap();
        session
            .preserve(2, FakeFile::new(id + 1, DECOY, 0))
            .unwrap();
    }
    let frozen = luo.freeze().unwrap();
    stage.calls();
    let [one, two, three] = <[_; 3]>::try_from(sessions).unwrap();
    drop((three, one));
    assert_eq!((stage.calls(), luo.sessions()), (Vec::new(), 3), "waiting");
    drop(frozen);
    let expected = [
        "unfreeze 21",
        "unfreeze 20",
        "unfreeze 11",
        "unfreeze 10",
        "unfreeze 1",
        "unfreeze 0",
        "unpreserve 21",
        "unpreserve 20",
        "unpreserve 1",
        "unpreserve 0",
    ];
    assert_eq!(stage.calls(), lines(&expected), "in order of closing");
    assert_eq!((luo.sessions(), two.files(), stage.alive()), (1, 2, (2, 2)));
    luo.create_session("one").unwrap();
}

#[test]
fn sessions_dropped_while_frozen_are_handed_over() {
    let There { incoming, .. } = there();
    let names: Vec<_> = incoming
        .sessions()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!((names, incoming.files()), (lines(&["vm", "empty"]), 2));
}

#[test]
fn sessions_keep_their_order_where_many_were_closed() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let mut sessions: Vec<_> = (0..200)
        .map(|n| (n, luo.create_session(format!("s{n}")).unwrap()))
        .collect();
    for (n, session) in &sessions {
        session.preserve(*n, FakeFile::new(*n, FAKE, 0)).unwrap();
    }
    sessions.retain(|(n, _)| n % 9 == 4);
    for n in 200..210 {
        sessions.push((n, luo.create_session(format!("s{n}")).unwrap()));
    }
    sessions.retain(|(n, _)| n % 2 == 0);
    // They are still found by their names.
    for (n, session) in &sessions {
        session
            .preserve(1000, FakeFile::new(1000 + n, DECOY, 0))
            .unwrap();
    }
    let expected: Vec<_> = sessions.iter().map(|(n, _)| format!("s{n}")).collect();
    assert_eq!(luo.sessions(), expected.len());
    let frozen = luo.freeze().unwrap();
    drop((sessions, luo));
    let incoming = take_over(attach(frozen), handlers(&stage));
    let names: Vec<_> = incoming
        .sessions()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, expected);
}

#[test]
fn a_freeze_that_fails_unfreezes_the_latest_first() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let sessions: Vec<_> = (0..3)
        .map(|n| luo.create_session(format!("s{n}")).unwrap())
        .collect();
    for (id, session) in [(0, 0), (1, 0), (2, 2), (3, 2), (4, 2)] {
        let file = FakeFile::new(id, if id % 2 == 0 { FAKE } else { DECOY }, 10);
        sessions[session].preserve(id, file).unwrap();
    }
    stage.calls();
    stage.fail("freeze", 3);
    let error = luo.freeze().unwrap_err();
    let expected = "freeze of the file of token 0x3 in session `s2` by handler `decoy`: \
                    freeze of 3 fails";
    assert_eq!(error.to_string(), expected);
    let expected = [
        "freeze 0",
        "freeze 1",
        "freeze 2",
        "freeze 3",
        "unfreeze 2",
        "unfreeze 1",
        "unfreeze 0",
    ];
    assert_eq!(stage.calls(), lines(&expected));
    drop(luo.freeze().unwrap());
}

#[test]
fn a_failed_retrieve_keeps_failing_with_the_same_error() {
    let there = there();
    there.stage.fail("retrieve", 0);
    let first = there.session.retrieve_any(2).unwrap_err().to_string();
    let expected = "retrieving the file of token 0x2 in session `vm`: retrieve of 12 fails";
    assert_eq!(first, expected);
    let second = there.session.retrieve_any(2).unwrap_err().to_string();
    assert_eq!(second, first);
    assert_eq!(
        there.stage.calls(),
        lines(&["retrieve 12"]),
        "not tried again"
    );
    let file = retrieved(&there.session, 1);
    let arena = there.incoming.finish().unwrap();
    let expected = [
        "retrieve 11",
        "can_finish 11",
        "can_finish nobody's",
        "finish 12 unretrieved",
        "finish 11",
        "FLB finish alone-v1 unretrieved",
        "FLB finish shared-v1 unretrieved",
    ];
    assert_eq!(there.stage.calls(), lines(&expected));
    assert!(file.is_own() && file.is_whole());
    assert_eq!(
        arena.free_pages(),
        there.whole - 1,
        "one page is the file's"
    );
}

#[test]
fn a_file_retrieved_twice_is_the_same_file() {
    let there = there();
    let first = retrieved(&there.session, 1);
    assert!(Arc::ptr_eq(&first, &retrieved(&there.session, 1)));
    assert_eq!(there.stage.calls(), lines(&["retrieve 11"]));
    let error = there.session.retrieve_any(3).unwrap_err().to_string();
    assert_eq!(error, "session `vm` has no file of token 0x3");
    let error = there.session.retrieve::<String>(1).unwrap_err().to_string();
    let expected = "the file of token 0x1 in session `vm` is of another kind: `fake`";
    assert_eq!(error, expected);
}

#[test]
fn a_session_is_retrieved_once() {
    let There {
        incoming, session, ..
    } = there();
    drop(session);
    let error = incoming.session("vm").unwrap_err();
    assert!(matches!(error, IncomingError::Retrieved(_)), "{error}");
    for name in ["v", "vm2", "", "a\0"] {
        let error = incoming.session(name).unwrap_err();
        assert!(matches!(error, IncomingError::NoSession(_)), "{error}");
    }
    assert!(incoming.session("empty").unwrap().tokens().is_empty());
}

#[test]
fn a_finish_that_is_refused_leaves_everything_unfinished() {
    let there = there();
    let file = retrieved(&there.session, 1);
    there.stage.calls();
    for (after, calls) in [(0, 1), (1, 2)] {
        let finishes: [&dyn Fn() -> Result<(), IncomingError>; 2] =
            [&|| there.session.finish(), &|| {
                there.incoming.finish().map(drop)
            }];
        for finish in finishes {
            there.stage.fail("can_finish", after);
            let error = finish().unwrap_err();
            assert!(
                matches!(error, IncomingError::CanNotFinish { .. }),
                "{error}"
            );
            let asked = ["can_finish 11", "can_finish nobody's"];
            assert_eq!(there.stage.calls(), lines(&asked[..calls]));
            assert!(!there.incoming.is_finished() && !file.is_own() && file.is_whole());
        }
    }
    let other = retrieved(&there.session, 2);
    there.incoming.finish().unwrap();
    assert!(file.is_own() && other.is_own());
}

#[test]
fn the_last_session_to_finish_ends_the_handover() {
    let there = there();
    let file = retrieved(&there.session, 2);
    there.stage.calls();
    there.session.finish().unwrap();
    let error = there.session.finish().unwrap_err();
    assert!(matches!(error, IncomingError::Finished(_)), "{error}");
    let error = there.session.retrieve_any(1).unwrap_err();
    assert!(matches!(error, IncomingError::Finished(_)), "{error}");
    assert!(!there.incoming.is_finished() && !file.is_own());
    let asked = ["can_finish nobody's", "can_finish 12"];
    assert_eq!(there.stage.calls(), lines(&asked), "asked, not finished");
    let empty = there.incoming.session("empty").unwrap();
    empty.finish().unwrap();
    assert!(there.incoming.is_finished() && file.is_own() && file.is_whole());
    let expected = [
        "finish 12",
        "finish 11 unretrieved",
        "FLB finish alone-v1 unretrieved",
        "FLB finish shared-v1 unretrieved",
    ];
    assert_eq!(there.stage.calls(), lines(&expected));
    let arena = there.incoming.finish().unwrap();
    assert_eq!(there.stage.calls(), lines(&[]), "finished once");
    file.release();
    assert_eq!(arena.free_pages(), there.whole);
}

#[test]
fn an_flb_is_retrieved_and_finished_once() {
    let there = there();
    let object = there.incoming.flb::<FlbObject>("shared-v1").unwrap();
    assert_eq!(object.0, "shared-v1");
    let again = there.incoming.flb::<FlbObject>("shared-v1").unwrap();
    assert!(Arc::ptr_eq(&object, &again));
    assert_eq!(there.stage.calls(), lines(&["FLB retrieve shared-v1"]));
    there.stage.fail("FLB retrieve", 0);
    let first = there.incoming.flb::<FlbObject>("alone-v1").unwrap_err();
    let second = there.incoming.flb::<FlbObject>("alone-v1").unwrap_err();
    let expected = "retrieving the FLB `alone-v1`: FLB retrieve of alone-v1 fails";
    assert_eq!(
        (first.to_string(), second.to_string()),
        (expected.to_owned(), expected.to_owned())
    );
    for error in [
        there.incoming.flb::<FlbObject>("other-v1").unwrap_err(),
        there.incoming.flb::<String>("shared-v1").unwrap_err(),
    ] {
        assert!(matches!(error, IncomingError::NoFlb(_)), "{error}");
    }
    there.stage.calls();
    there.incoming.finish().unwrap();
    there.incoming.finish().unwrap();
    let expected = [
        "can_finish nobody's",
        "can_finish nobody's",
        "finish 12 unretrieved",
        "finish 11 unretrieved",
        "FLB finish alone-v1 unretrieved",
        "FLB finish shared-v1",
    ];
    assert_eq!(there.stage.calls(), lines(&expected));
}

#[test]
fn an_flb_comes_with_the_first_file_and_goes_with_the_last() {
    let stage = Stage::default();
    let luo = orchestrator(&arena(), &stage);
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    one.preserve(1, FakeFile::new(1, DECOY, 0)).unwrap();
    two.preserve(1, FakeFile::new(2, FAKE, 0)).unwrap();
    two.preserve(2, FakeFile::new(3, FAKE, 0)).unwrap();
    one.close();
    two.close();
    let expected = [
        "FLB preserve shared-v1",
        "preserve 1",
        "FLB preserve alone-v1",
        "preserve 2",
        "preserve 3",
        "unpreserve 1",
        "unpreserve 3",
        "unpreserve 2",
        "FLB unpreserve alone-v1",
        "FLB unpreserve shared-v1",
    ];
    assert_eq!(stage.calls(), lines(&expected));
}

/// All bytes of the handover, and what of it is still handed.
fn handed_bytes(incoming: &Incoming) -> (u64, Vec<u8>) {
    let attached = incoming.held().read();
    let handed = attached.handed();
    let bytes = handed.bytes(PhysAddr::new(BASE), SIZE as usize);
    (handed.pages(), bytes.unwrap().into_owned())
}

#[test]
fn a_handover_that_is_handed_back_can_be_taken_over_again() {
    let There {
        stage,
        incoming,
        session,
        whole,
    } = there();
    let before = handed_bytes(&incoming);
    let file = retrieved(&session, 1);
    incoming.flb::<FlbObject>("shared-v1").unwrap();
    stage.fail("retrieve", 0);
    session.retrieve_any(2).unwrap_err();
    let incoming = incoming.into_attached().expect_err("a session is there");
    assert!(Arc::ptr_eq(&file, &retrieved(&session, 1)));
    session.finish().unwrap();
    drop((session, file));
    let attached = incoming.into_attached().unwrap();
    let incoming = take_over(attached, handlers(&stage));
    assert!(handed_bytes(&incoming) == before, "nothing changed");
    let session = incoming.session("vm").unwrap();
    let files = [retrieved(&session, 1), retrieved(&session, 2)];
    let arena = incoming.finish().unwrap();
    assert!(files.iter().all(|file| file.is_own() && file.is_whole()));
    drop(files);
    assert_eq!(arena.free_pages(), whole);
    incoming.into_attached().expect_err("finished");
}

#[test]
fn a_handing_back_that_is_refused_changes_nothing() {
    let There {
        stage,
        incoming,
        session,
        ..
    } = there();
    let file = retrieved(&session, 1);
    let object = incoming.flb::<FlbObject>("shared-v1").unwrap();
    drop(session);
    let incoming = incoming.into_attached().expect_err("a file refers to it");
    stage.calls();
    let again = incoming.flb::<FlbObject>("shared-v1");
    assert!(Arc::ptr_eq(&again.expect("the same object"), &object));
    incoming.finish().unwrap();
    assert!(file.is_own(), "{:?}", stage.calls());
    assert!(file.is_whole());
}

#[test]
fn a_handover_that_is_not_taken_over_is_as_it_was() {
    let There {
        stage,
        incoming,
        session,
        ..
    } = there();
    drop(session);
    let before = handed_bytes(&incoming);
    let attached = incoming.into_attached().unwrap();
    let registry = Registry::linked().unwrap();
    let only_fake = Handlers::new().with(Fake {
        kind: FAKE,
        version: 1,
        stage: stage.clone(),
    });
    let failed = Incoming::take_over(attached, registry, &policy::SemverRange, only_fake);
    let failed = failed.unwrap_err();
    let text = "1 files are `decoy-v3`, for which this program has no handler";
    assert!(matches!(failed.error, TakeOverError::NoHandler { .. }));
    assert_eq!(failed.to_string(), text);
    let incoming = take_over(failed.returned, handlers(&stage));
    assert!(handed_bytes(&incoming) == before);
    assert_eq!(stage.calls(), lines(&[]));
}

#[test]
fn a_handover_without_luo_is_refused() {
    let kho = kho(arena(), Writing::PLAIN);
    let entry = kho.entry();
    let handed = kho.hand_over().unwrap().into_handed().unwrap();
    let attached = Attached::open(handed, entry).unwrap();
    let registry = Registry::linked().unwrap();
    let stage = Stage::default();
    let failed = Incoming::take_over(attached, registry, &policy::SemverRange, handlers(&stage));
    assert!(matches!(failed.unwrap_err().error, TakeOverError::NoLuo));
}

#[test]
fn an_orchestrator_that_is_dropped_leaves_the_core_as_it_was() {
    let arena = arena();
    let kho = kho(arena.clone(), Writing::PLAIN);
    let keys: BTreeSet<Key> = kho.preserver().tracker(|tracker| tracker.iter().collect());
    let new = || Orchestrator::new(kho.clone(), handlers(&Stage::default()), 0);
    drop(new().unwrap());
    let left: BTreeSet<Key> = kho.preserver().tracker(|tracker| tracker.iter().collect());
    assert_eq!(left, keys);
    drop(new().expect("it can be made again"));
}

// Every failure point of one life, each in a life of its own.

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The allocation after so many.
    Allocation(u64),
    /// The call of a kind after so many.
    Call(&'static str, u64),
}

const CALLS: [&str; 6] = [
    "preserve",
    "FLB preserve",
    "freeze",
    "retrieve",
    "FLB retrieve",
    "can_finish",
];

/// All that a failed step could have changed: the allocator, the tracker, and every byte of every
/// page that is not free.
#[derive(PartialEq)]
struct Snapshot {
    free: Vec<(usize, usize)>,
    alive: (u64, u64),
    tracker: Option<(Vec<Key>, Vec<PhysAddr>)>,
    pages: BTreeMap<usize, Vec<u8>>,
}

fn snapshot(arena: &Arena, stage: &Stage, kho: Option<&Kho>) -> Snapshot {
    let free = arena.free_blocks();
    let is_free = |page: usize| {
        let block = free.partition_point(|(first, _)| *first <= page);
        let block = block.checked_sub(1).map(|index| free[index]);
        block.is_some_and(|(first, order)| page < first + (1 << order))
    };
    let read = |page: usize| {
        let mut bytes = vec![0; PAGE_SIZE];
        let file = arena.file().expect("an arena in a memfd");
        file.read_exact_at(&mut bytes, (page * PAGE_SIZE) as u64)
            .unwrap();
        (page, bytes)
    };
    // Scratch is nobody's.
    let end = ((scratch().start().get() - BASE) / PAGE_SIZE_U64) as usize;
    let pages = (0..end).filter(|page| !is_free(*page)).map(read).collect();
    let tracker = kho.map(|kho| {
        kho.preserver()
            .tracker(|tracker| (tracker.iter().collect(), tracker.nodes().collect()))
    });
    Snapshot {
        alive: stage.alive(),
        tracker,
        pages,
        free,
    }
}

impl Snapshot {
    fn check(&self, before: &Self, what: &str) {
        assert_eq!(self.free, before.free, "{what}: free blocks");
        assert_eq!(self.alive, before.alive, "{what}: states of handlers");
        assert_eq!(self.tracker, before.tracker, "{what}: the tracker");
        for (page, bytes) in &self.pages {
            assert!(*bytes == before.pages[page], "{what}: bytes of page {page}");
        }
        assert!(self == before, "{what}");
    }
}

/// Goes through a life's steps and has one of them fail once.
struct Script {
    stage: Stage,
    fault: Option<(usize, Fault)>,
    at: usize,
    names: Vec<String>,
    fired: bool,
}

impl Script {
    fn new(fault: Option<(usize, Fault)>) -> Self {
        Self {
            stage: Stage::default(),
            fault,
            at: 0,
            names: Vec::new(),
            fired: false,
        }
    }

    fn arm(&self, arena: &Arena, fault: Fault) {
        match fault {
            Fault::Allocation(after) => arena.fail_after(after),
            Fault::Call(kind, after) => self.stage.fail(kind, after),
        }
    }

    /// Takes the fault back; returns whether it was still to come.
    fn disarm(&self, arena: &Arena) -> bool {
        let alloc = arena.no_fault();
        let call = !std::mem::take(&mut self.stage.lock().faults).is_empty();
        alloc || call
    }

    /// Takes a step; if it is the one that is to fail, it fails first, and nothing has changed
    /// then. Returns the error of it as well.
    fn try_step<T, E: Debug + Display>(
        &mut self,
        name: &str,
        (arena, kho): (&Arena, Option<&Kho>),
        step: impl Fn() -> Result<T, E>,
    ) -> (Option<String>, Result<T, E>) {
        let number = self.at;
        self.at += 1;
        self.names.push(name.to_owned());
        let Some((_, fault)) = self.fault.filter(|(at, _)| *at == number) else {
            return (None, step());
        };
        let before = snapshot(arena, &self.stage, kho);
        self.arm(arena, fault);
        let done = step();
        if self.disarm(arena) {
            return (None, done);
        }
        self.fired = true;
        let what = format!("{name}, {fault:?}");
        let Err(error) = done else {
            panic!("{what}: it went well")
        };
        snapshot(arena, &self.stage, kho).check(&before, &what);
        (Some(error.to_string()), step())
    }

    fn step<T, E: Debug + Display>(
        &mut self,
        name: &str,
        on: (&Arena, Option<&Kho>),
        step: impl Fn() -> Result<T, E>,
    ) -> T {
        self.try_step(name, on, step).1.unwrap()
    }

    /// A step that is not tried again: where it failed it keeps failing.
    fn sticky<T, E: Debug + Display>(
        &mut self,
        name: &str,
        arena: &Arena,
        step: impl Fn() -> Result<T, E>,
    ) -> Option<T> {
        match self.try_step(name, (arena, None), step) {
            (None, done) => Some(done.unwrap()),
            (Some(first), done) => {
                assert_eq!(done.err().map(|error| error.to_string()), Some(first));
                None
            }
        }
    }
}

/// Three sessions at a block's border, files of two handlers at another, two FLBs; over there and
/// finished. Returns the script, with the fault that came or did not.
fn live(dialect: Writing, fault: Option<(usize, Fault)>) -> Script {
    let mut script = Script::new(fault);
    let stage = script.stage.clone();
    let arena = Arena::memfd(&arena_config()).unwrap();
    let whole = arena.free_pages();
    let kho = kho(arena.clone(), dialect);
    let on = (&arena, Some(&kho));
    let luo = script.step("new", on, || {
        Orchestrator::new(kho.clone(), handlers(&stage), 4)
    });
    let files = [
        FakeFile::new(1, FAKE, 100),
        FakeFile::new(2, DECOY, 9000),
        FakeFile::new(3, DECOY, 5000),
        FakeFile::new(4, FAKE, 40_000),
        FakeFile::new(5, FAKE, 1),
    ];
    let mut open: Vec<OutgoingSession> = Vec::new();
    open.push(script.step("create a", on, || luo.create_session("a")));
    script.step("preserve 1", on, || open[0].preserve(1, files[0].clone()));
    script.step("preserve 2", on, || open[0].preserve(2, files[1].clone()));
    open.push(script.step("create b", on, || luo.create_session("b")));
    script.step("preserve 3", on, || open[1].preserve(3, files[2].clone()));
    script.step("preserve 4", on, || open[1].preserve(4, files[3].clone()));
    // Up to the border of a block of sessions, and of one of files.
    for number in 2..51 {
        open.push(luo.create_session(format!("{number}")).unwrap());
    }
    for id in 102..163 {
        open[1].preserve(id, FakeFile::new(id, DECOY, 0)).unwrap();
    }
    open.push(script.step("create c", on, || luo.create_session("c")));
    script.step("preserve 5", on, || open[1].preserve(5, files[4].clone()));
    assert_eq!((open[1].files(), luo.sessions()), (64, 52));

    let before = fault
        .is_none()
        .then(|| snapshot(&arena, &stage, Some(&kho)));
    script.step("freeze", on, || luo.freeze()).thaw();
    if let Some(before) = before {
        snapshot(&arena, &stage, Some(&kho)).check(&before, "thawed");
    }
    let frozen = luo.freeze().unwrap();
    drop((open, luo, kho, arena, files));

    let incoming = take_over(attach(frozen), handlers(&stage));
    assert_eq!((incoming.number(), incoming.files()), (5, 66));
    let arena = incoming.settle();
    let objects =
        FLBS.map(|(name, _)| script.sticky(name, &arena, || incoming.flb::<FlbObject>(name)));
    let a = incoming.session("a").unwrap();
    let b = incoming.session("b").unwrap();
    let mut files: Vec<Arc<FakeFile>> = Vec::new();
    // One is never retrieved.
    for (session, token) in [(&b, 5), (&a, 1), (&b, 3), (&a, 2), (&b, 110)] {
        let name = format!("retrieve {token}");
        files.extend(script.sticky(&name, &arena, || session.retrieve::<FakeFile>(token)));
    }
    script.step("finish b", (&arena, None), || b.finish());
    script.step("finish", (&arena, None), || incoming.finish());
    assert!(incoming.is_finished());
    assert!(files.iter().all(|file| file.is_whole()));
    drop((incoming, a, b, files, objects));
    assert_eq!(arena.free_pages(), whole, "no page is lost: {fault:?}");
    assert_eq!(stage.alive(), (0, 0));
    drop(arena.into_handed().expect("nobody owns a page"));
    script
}

/// What fails in a life whose dialect is `dialect`: allocations and calls of handlers.
fn failures(dialect: Writing) -> (usize, usize) {
    let script = live(dialect, None);
    let mut counts = Vec::new();
    for (number, name) in script.names.iter().enumerate() {
        let points = |fault: &dyn Fn(u64) -> Fault| {
            (0..)
                .take_while(|after| live(dialect, Some((number, fault(*after)))).fired)
                .count()
        };
        let allocations = points(&Fault::Allocation);
        let calls: usize = CALLS
            .iter()
            .map(|kind| points(&|after| Fault::Call(kind, after)))
            .sum();
        println!("{name}: {allocations} allocations, {calls} calls");
        counts.push((allocations, calls));
    }
    let allocations: usize = counts.iter().map(|(count, _)| count).sum();
    let calls: usize = counts.iter().map(|(_, count)| count).sum();
    println!("{allocations} allocations and {calls} calls failed, each once");
    (allocations, calls)
}

#[test]
fn every_failure_of_a_life_is_undone_and_the_update_goes_on() {
    let (allocations, calls) = failures(Writing::PLAIN);
    assert!(allocations >= 33 && calls >= 146, "they do not get fewer");
    // With a list that says what is in use, which is undone as well.
    assert_eq!(failures(Writing::TABLE), (allocations, calls));
}

// Against a model.

/// Kind and size of the files there are.
const FILES: [(&str, usize); 8] = [
    (FAKE, 0),
    (FAKE, 100),
    (FAKE, 9000),
    (DECOY, 0),
    (DECOY, 8192),
    (DECOY, 1),
    ("none", 0),
    (FAKE, 0),
];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn pages_of(file: usize) -> u64 {
    match FILES[file].1 {
        0 => 0,
        size => 1 + size.div_ceil(PAGE_SIZE).next_power_of_two() as u64,
    }
}

#[derive(Clone, Debug)]
enum Op {
    Create(usize),
    Close(usize),
    Preserve(usize, u64, usize),
    Freeze,
    Thaw,
    Fail(&'static str, u64),
    /// Over there and back, by a number that says what is retrieved and in which order; and
    /// whether the sessions are finished one by one.
    Update(u64, bool),
}

fn ops() -> impl Strategy<Value = Vec<(Op, Option<u64>)>> {
    let name = 0..NAMES.len();
    let op = prop_oneof![
        4 => name.clone().prop_map(Op::Create),
        2 => name.clone().prop_map(Op::Close),
        12 => (name, 0u64..4, 0..FILES.len())
            .prop_map(|(name, token, file)| Op::Preserve(name, token, file)),
        1 => Just(Op::Freeze),
        1 => Just(Op::Thaw),
        2 => (prop::sample::select(&CALLS[..]), 0u64..4)
            .prop_map(|(kind, after)| Op::Fail(kind, after)),
        2 => (any::<u64>(), any::<bool>()).prop_map(|(seed, each)| Op::Update(seed, each)),
    ];
    let fault = prop_oneof![4 => Just(None), 1 => (0u64..9).prop_map(Some)];
    prop::collection::vec((op, fault), 1..48)
}

/// `items` in an order of the seed's.
fn shuffled<T>(seed: u64, items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut keyed: Vec<_> = (1u64..)
        .zip(items)
        .map(|(at, item)| (at.wrapping_mul(seed | 1).rotate_left(17), item))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, item)| item).collect()
}

type Done = Result<(), &'static str>;

/// What the life cycle is, in plain collections. Each step notes the calls that it makes.
#[derive(Clone, Default)]
struct Model {
    // Sessions in order of creation: name, tokens and files.
    sessions: Vec<(usize, Vec<(u64, usize)>)>,
    closing: Vec<usize>,
    frozen: bool,
    // Files that depend on each FLB.
    flbs: [u64; 2],
    faults: Faults,
    calls: Vec<String>,
}

impl Model {
    fn call(&mut self, kind: &'static str, who: impl Display) -> bool {
        self.calls.push(format!("{kind} {who}"));
        !due(&mut self.faults, kind)
    }

    fn files(&self) -> Vec<usize> {
        let files = self.sessions.iter().flat_map(|(_, files)| files);
        files.map(|(_, file)| *file).collect()
    }

    fn session(&mut self, name: usize) -> Option<&mut Vec<(u64, usize)>> {
        let session = self.sessions.iter_mut().find(|(other, _)| *other == name);
        session.map(|(_, files)| files)
    }

    fn create(&mut self, name: usize) -> Done {
        if self.frozen {
            return Err("frozen");
        }
        if self.session(name).is_some() {
            return Err("session exists");
        }
        self.sessions.push((name, Vec::new()));
        Ok(())
    }

    fn take_flb(&mut self, flb: usize) -> bool {
        if self.flbs[flb] == 0 && !self.call("FLB preserve", FLBS[flb].0) {
            return false;
        }
        self.flbs[flb] += 1;
        true
    }

    fn release_flb(&mut self, flb: usize) {
        self.flbs[flb] -= 1;
        if self.flbs[flb] == 0 {
            self.call("FLB unpreserve", FLBS[flb].0);
        }
    }

    fn preserve(&mut self, name: usize, token: u64, file: usize) -> Done {
        if self.frozen {
            return Err("frozen");
        }
        let session = self.session(name).expect("it is open");
        if session.iter().any(|(other, _)| *other == token) {
            return Err("token exists");
        }
        let kind = FILES[file].0;
        if kind == "none" {
            return Err("no handler");
        }
        if self.files().contains(&file) {
            return Err("busy");
        }
        let needed: Vec<usize> = (0..2).filter(|flb| FLBS[*flb].1.contains(&kind)).collect();
        let taken = needed.iter().take_while(|flb| self.take_flb(**flb)).count();
        let all = taken == needed.len();
        if all && self.call("preserve", file) {
            self.session(name).expect("it is open").push((token, file));
            return Ok(());
        }
        for flb in needed[..taken].iter().rev() {
            self.release_flb(*flb);
        }
        Err(if all { "handler" } else { "FLB" })
    }

    fn close(&mut self, name: usize) {
        if self.frozen {
            self.closing.push(name);
            return;
        }
        let files = std::mem::take(self.session(name).expect("it is open"));
        self.sessions.retain(|(other, _)| *other != name);
        for (_, file) in files.into_iter().rev() {
            self.call("unpreserve", file);
            for flb in (0..2)
                .rev()
                .filter(|flb| FLBS[*flb].1.contains(&FILES[file].0))
            {
                self.release_flb(flb);
            }
        }
    }

    fn freeze(&mut self) -> Done {
        if self.frozen {
            return Err("frozen");
        }
        let files = self.files();
        let done = files
            .iter()
            .take_while(|file| self.call("freeze", **file))
            .count();
        if done < files.len() {
            self.unfreeze(&files[..done]);
            return Err("handler");
        }
        self.frozen = true;
        Ok(())
    }

    fn unfreeze(&mut self, files: &[usize]) {
        for file in files.iter().rev() {
            self.call("unfreeze", file);
        }
    }

    fn thaw(&mut self) {
        self.unfreeze(&self.files());
        self.frozen = false;
        for name in std::mem::take(&mut self.closing) {
            self.close(name);
        }
    }

    fn hand_over(&mut self) {
        for file in self.files() {
            self.call("hand over", file);
        }
        for flb in (0..2).filter(|flb| self.flbs[*flb] > 0).collect::<Vec<_>>() {
            self.call("FLB hand over", FLBS[flb].0);
        }
    }

    /// Pages of files and FLBs.
    fn pages(&self) -> u64 {
        let files: u64 = self.files().into_iter().map(pages_of).sum();
        files + self.flbs.iter().filter(|count| **count > 0).count() as u64
    }

    /// Blocks of the set of sessions and of each set of files: one, where there is an entry.
    fn blocks(&self) -> u64 {
        let full = self.sessions.iter().filter(|(_, files)| !files.is_empty());
        u64::from(!self.sessions.is_empty()) + full.count() as u64
    }
}

/// The real thing. Its sessions are open until they are closed, or the update happens.
struct World {
    arena: Arena,
    whole: u64,
    base: u64,
    stage: Stage,
    luo: Orchestrator,
    frozen: Option<Frozen>,
    open: BTreeMap<usize, OutgoingSession>,
    files: Vec<Arc<FakeFile>>,
}

impl World {
    fn new(arena: Arena, stage: Stage, files: Vec<Arc<FakeFile>>, generation: u64) -> Self {
        let whole = arena.free_pages();
        let dialect = Writing::ALL[(3 + generation as usize) % Writing::ALL.len()];
        let kho = kho(arena.clone(), dialect);
        let luo = Orchestrator::new(kho, handlers(&stage), generation).unwrap();
        Self {
            base: luo.kho().preserver().pages(),
            arena,
            whole,
            stage,
            luo,
            frozen: None,
            open: BTreeMap::new(),
            files,
        }
    }

    fn first() -> Self {
        let files = FILES.iter().enumerate();
        let files = files.map(|(id, (kind, size))| FakeFile::new(id as u64, kind, *size));
        Self::new(arena(), Stage::default(), files.collect(), 0)
    }

    /// Takes the step, and has the model take it; `None` where it makes no sense.
    fn step(&mut self, model: &mut Model, op: &Op) -> Option<(Result<(), LuoError>, Done)> {
        let both = match *op {
            Op::Create(name) => {
                let done = self.luo.create_session(NAMES[name]);
                let done = done.map(|session| drop(self.open.insert(name, session)));
                (done, model.create(name))
            }
            Op::Preserve(name, token, file) => {
                let session = self.open.get(&name)?;
                let done = session.preserve(token, self.files[file].clone());
                (done, model.preserve(name, token, file))
            }
            Op::Close(name) => {
                self.open.remove(&name)?.close();
                model.close(name);
                (Ok(()), Ok(()))
            }
            Op::Freeze => {
                let done = self.luo.freeze();
                let done = done.map(|frozen| self.frozen = Some(frozen));
                (done, model.freeze())
            }
            Op::Thaw => {
                self.frozen.take()?.thaw();
                model.thaw();
                (Ok(()), Ok(()))
            }
            Op::Fail(kind, after) => {
                self.stage.fail(kind, after);
                model.faults.insert(kind, after);
                (Ok(()), Ok(()))
            }
            Op::Update(..) => return None,
        };
        Some(both)
    }

    fn check(&self, model: &Model) {
        let sessions = &model.sessions;
        assert_eq!(self.luo.sessions(), sessions.len());
        for (name, files) in sessions {
            if let Some(session) = self.open.get(name) {
                assert_eq!(session.files(), files.len());
            }
        }
        let flbs = model.flbs.iter().filter(|count| **count > 0).count();
        assert_eq!(
            self.stage.alive(),
            (model.files().len() as u64, flbs as u64)
        );
        let preserver = self.luo.kho().preserver();
        let pages = self.base + model.blocks() + model.pages();
        assert_eq!(preserver.pages(), pages);
        let nodes = preserver.tracker(|tracker| tracker.nodes().count()) as u64;
        // The scratch table is not preserved.
        assert_eq!(self.arena.free_pages(), self.whole - pages - nodes - 1);
    }

    /// The update happens: everything is handed over, checked by the reader, and taken over.
    fn update(self, model: &mut Model, seed: u64, each: bool) -> Self {
        let Self {
            arena,
            whole,
            stage,
            luo,
            frozen,
            open,
            mut files,
            ..
        } = self;
        let number = luo.number() + 1;
        let dialect = luo.kho().writing();
        drop((open, luo, arena));
        let attached = attach(frozen.expect("it is frozen"));
        model.hand_over();
        assert_eq!(stage.calls(), std::mem::take(&mut model.calls));
        check_bytes(&attached.handover(), model, dialect);
        let incoming = take_over(attached, handlers(&stage));
        assert_eq!(incoming.number(), number);

        let sessions: Vec<_> = model
            .sessions
            .iter()
            .map(|(name, _)| incoming.session(NAMES[*name]).unwrap())
            .collect();
        let there = retrieve_some(&incoming, &sessions, model, seed);
        let arena = finish(&incoming, &sessions, model, &there, seed, each);
        for file in model.files() {
            // What was not retrieved is gone; there is a new one of its kind.
            let (kind, size) = FILES[file];
            files[file] = match there.get(&file) {
                Some(file) => {
                    assert!(file.is_whole() && file.is_own() == (size > 0));
                    file.release();
                    file.clone()
                }
                None => FakeFile::new(file as u64, kind, size),
            };
        }
        drop((sessions, there, incoming));
        assert_eq!(arena.free_pages(), whole, "not a page is lost");
        assert_eq!(stage.calls(), std::mem::take(&mut model.calls));
        *model = Model {
            faults: std::mem::take(&mut model.faults),
            ..Model::default()
        };
        Self::new(arena, stage, files, number)
    }
}

/// Reads the handover as a dump is read.
fn check_bytes(handover: &Handover<'_>, model: &Model, dialect: Writing) {
    let mut reading = handover.reading().unwrap();
    let (_, luo) = survey(handover, &mut reading).unwrap();
    let luo = luo.unwrap();
    let body = luo.body().unwrap();
    let compat = |kind: &str| match (dialect, kind) {
        (_, FAKE) => "fake-v1",
        (Writing::COMPOSITE | Writing::COMPOSITE_DIRECT, _) => "decoy-v3;block-v1",
        _ => "decoy-v3",
    };
    let read = body.sessions().iter().map(|session| {
        let files = session.files().iter();
        let files = files.map(|file| (file.token, body.compatible_of(file).to_owned()));
        (session.name().to_string(), files.collect::<Vec<_>>())
    });
    let expected = model.sessions.iter().map(|(name, files)| {
        let files = files.iter();
        let files = files.map(|(token, file)| (*token, compat(FILES[*file].0).to_owned()));
        (NAMES[*name].to_owned(), files.collect::<Vec<_>>())
    });
    assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    // What is listed is what is in use.
    let listed: BTreeSet<_> = handover.listed().iter().map(|l| l.name.as_str()).collect();
    let kinds = model.sessions.iter().flat_map(|(_, files)| files);
    let kinds = kinds.map(|(_, file)| FILES[*file].0);
    let own = ["block", "kexec-metadata", "kho", "luo", "radix"];
    let own = own.into_iter().chain(kinds);
    match dialect {
        // `vmalloc` is not linked: a table names it, masks of it there are none.
        Writing::TABLE => assert_eq!(listed, own.chain(["vmalloc"]).collect()),
        Writing::FEATURES => assert_eq!(listed, own.collect()),
        _ => assert!(listed.is_empty()),
    }
    let read = body.flbs().iter().map(|flb| (flb.name.as_str(), flb.count));
    let expected = FLBS.iter().zip(model.flbs);
    let expected = expected
        .map(|((name, _), count)| (*name, count))
        .filter(|(_, count)| *count > 0);
    assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(
        reading.claims().unclaimed().1,
        model.pages(),
        "all but the pages of files and FLBs is accounted for"
    );
}

/// Retrieves some files, each twice, and some FLBs. Returns those that are there, by number.
fn retrieve_some(
    incoming: &Incoming,
    sessions: &[RetrievedSession],
    model: &mut Model,
    seed: u64,
) -> BTreeMap<usize, Arc<FakeFile>> {
    let all = model.sessions.iter().zip(sessions);
    let all = all.flat_map(|((_, files), session)| files.iter().map(move |file| (session, *file)));
    let all = shuffled(seed, all);
    let mut there = BTreeMap::new();
    for (session, (token, file)) in all {
        if seed >> (token + file as u64) & 1 == 1 {
            continue;
        }
        let first = session.retrieve::<FakeFile>(token);
        let second = session.retrieve::<FakeFile>(token);
        let expected = model.call("retrieve", file);
        match (first, second) {
            (Ok(first), Ok(second)) => {
                assert!(expected && Arc::ptr_eq(&first, &second));
                assert_eq!((first.id, first.kind), (file as u64, FILES[file].0));
                there.insert(file, first);
            }
            (Err(first), Err(second)) => {
                assert!(!expected);
                assert_eq!(first.to_string(), second.to_string());
            }
            _ => panic!("the second time is as the first"),
        }
    }
    for flb in (0..2).filter(|flb| seed >> (40 + flb) & 1 == 1) {
        let (name, _) = FLBS[flb];
        let made = incoming.flb::<FlbObject>(name);
        let expected = model.flbs[flb] > 0 && model.call("FLB retrieve", name);
        assert_eq!(
            made.ok(),
            expected.then(|| Arc::new(FlbObject(name.to_owned())))
        );
    }
    there
}

/// Finishes the sessions, and with the last one the handover.
fn finish(
    incoming: &Incoming,
    sessions: &[RetrievedSession],
    model: &mut Model,
    there: &BTreeMap<usize, Arc<FakeFile>>,
    seed: u64,
    each: bool,
) -> Arena {
    let can = |model: &mut Model, files: &[(u64, usize)]| {
        files.iter().all(|(_, file)| match there.get(file) {
            Some(_) => model.call("can_finish", file),
            None => model.call("can_finish", "nobody's"),
        })
    };
    let mut retrieved_flbs = Vec::new();
    for call in &model.calls {
        let name = call.strip_prefix("FLB retrieve ").map(str::to_owned);
        retrieved_flbs.extend(name.filter(|name| incoming.flb::<FlbObject>(name).is_ok()));
    }
    if each {
        let pairs = model.sessions.clone().into_iter().zip(sessions);
        for ((_, files), session) in shuffled(!seed, pairs) {
            // One that is refused is tried again: faults come once.
            while !can(model, &files) {
                assert!(session.finish().is_err() && !incoming.is_finished());
            }
            session.finish().unwrap();
        }
    }
    let unfinished = if each {
        Vec::new()
    } else {
        model.sessions.concat()
    };
    while !can(model, &unfinished) {
        assert!(incoming.finish().is_err() && !incoming.is_finished());
    }
    assert_eq!(incoming.is_finished(), each && !sessions.is_empty());
    let arena = incoming.finish().unwrap();
    for file in model.files().into_iter().rev() {
        let how = if there.contains_key(&file) {
            ""
        } else {
            " unretrieved"
        };
        model.call("finish", format!("{file}{how}"));
    }
    for flb in (0..2)
        .rev()
        .filter(|flb| model.flbs[*flb] > 0)
        .collect::<Vec<_>>()
    {
        let (name, _) = FLBS[flb];
        let is_there = retrieved_flbs.iter().any(|other| other == name);
        let how = if is_there { "" } else { " unretrieved" };
        model.call("FLB finish", format!("{name}{how}"));
    }
    arena
}

trait Concat {
    fn concat(&self) -> Vec<(u64, usize)>;
}

impl Concat for Vec<(usize, Vec<(u64, usize)>)> {
    fn concat(&self) -> Vec<(u64, usize)> {
        self.iter().flat_map(|(_, files)| files.clone()).collect()
    }
}

proptest! {
    #![proptest_config(config(160))]

    #[test]
    fn a_life_is_what_a_model_says(ops in ops()) {
        let (mut world, mut model) = (World::first(), Model::default());
        for (op, fault) in ops {
            if let Op::Update(seed, each) = op {
                if world.frozen.is_none() {
                    let freeze = world.step(&mut model, &Op::Freeze).unwrap();
                    prop_assert_eq!(freeze.0.as_ref().map_err(why).copied(), freeze.1);
                    prop_assert_eq!(world.stage.calls(), std::mem::take(&mut model.calls));
                }
                if world.frozen.is_some() {
                    world = world.update(&mut model, seed, each);
                }
                world.check(&model);
                continue;
            }
            let before = (model.clone(), world.arena.free_blocks());
            if let Some(after) = fault {
                world.arena.fail_after(after);
            }
            let stepped = world.step(&mut model, &op);
            let failed = fault.is_some() && !world.arena.no_fault();
            if let Some((done, expected)) = stepped {
                let done = done.as_ref().map_err(why).copied();
                if failed {
                    // For want of memory; nothing but faults is used up then.
                    prop_assert!(matches!(op, Op::Create(_) | Op::Preserve(..)));
                    prop_assert!(matches!(done, Err("set" | "handler" | "FLB")), "{:?}", done);
                    prop_assert_eq!(world.arena.free_blocks(), before.1);
                    model = before.0;
                    model.faults = world.stage.lock().faults.clone();
                    world.stage.calls();
                } else {
                    prop_assert_eq!(done, expected, "{:?}", op);
                }
            }
            prop_assert_eq!(world.stage.calls(), std::mem::take(&mut model.calls));
            world.check(&model);
        }
        let World { arena, whole, stage, luo, frozen, open, .. } = world;
        drop((open, frozen, luo));
        prop_assert_eq!((arena.free_pages(), stage.alive()), (whole, (0, 0)));
    }
}

// The format's limits.

/// Files that need no memory.
struct Number;

impl FileHandler for Number {
    type File = u64;
    type Preserved = ();

    fn component(&self) -> &'static str {
        FAKE
    }

    fn writes(&self) -> &[u32] {
        &[1]
    }

    fn preserve(&self, _: &Kho, _: &Arc<u64>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn unpreserve(&self, _: &Arc<u64>, (): ()) {}

    fn freeze(&self, file: &Arc<u64>, (): &mut ()) -> Result<u64, HandlerError> {
        Ok(**file)
    }

    fn unfreeze(&self, _: &Arc<u64>, (): &mut ()) {}

    fn hand_over(&self, _: &Arc<u64>, (): ()) {}

    fn retrieve(&self, _: &mut Retrieve<'_>, data: u64) -> Result<Arc<u64>, HandlerError> {
        Ok(Arc::new(data))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<u64>>) {}
}

fn large() -> (Arena, Orchestrator) {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(BASE), 48 << 20)).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let handlers = Handlers::new().with(Number);
    (arena, Orchestrator::new(kho, handlers, 0).unwrap())
}

/// What one more would change.
fn counts(arena: &Arena, luo: &Orchestrator) -> (Vec<(usize, usize)>, u64, usize) {
    let keys = luo.kho().preserver().keys();
    (arena.free_blocks(), keys, luo.sessions())
}

#[test]
fn a_session_holds_630000_files_and_not_one_more() {
    let (arena, luo) = large();
    let whole = arena.free_pages();
    let session = luo.create_session("full").unwrap();
    for token in 0..630_000 {
        session.preserve(token, Arc::new(!token)).unwrap();
    }
    let full = counts(&arena, &luo);
    assert_eq!(
        full.1,
        3 + 1 + 10_000,
        "a block of sessions and all of files"
    );
    let error = session.preserve(630_000, Arc::new(0u64)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file set of the session: a set holds at most 630000 entries of 64 bytes in its \
         10000 blocks, not 630001"
    );
    assert_eq!((counts(&arena, &luo), session.files()), (full, 630_000));
    let frozen = luo.freeze().unwrap();
    drop((session, luo, arena));
    let incoming = take_over(attach(frozen), Handlers::new().with(Number));
    assert_eq!(incoming.files(), 630_000);
    let session = incoming.session("full").unwrap();
    for token in [629_999, 0, 63, 62, 400_000] {
        assert_eq!(*session.retrieve::<u64>(token).unwrap(), !token);
    }
    let arena = incoming.finish().unwrap();
    assert!(arena.free_pages() > whole);
}

#[test]
fn there_are_510000_sessions_and_not_one_more() {
    let (arena, luo) = large();
    let mut sessions: Vec<_> = (0..510_000)
        .map(|number| luo.create_session(format!("s{number}")).unwrap())
        .collect();
    let full = counts(&arena, &luo);
    assert_eq!((full.1, full.2), (3 + 10_000, 510_000));
    let error = luo.create_session("more").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the session set: a set holds at most 510000 entries of 80 bytes in its 10000 blocks, \
         not 510001"
    );
    assert_eq!(counts(&arena, &luo), full);
    // One that is closed makes room for another.
    drop(sessions.swap_remove(0));
    sessions.push(luo.create_session("more").unwrap());
    assert_eq!(counts(&arena, &luo), full);
    let frozen = luo.freeze().unwrap();
    drop((sessions, luo, arena));
    let incoming = take_over(attach(frozen), Handlers::new().with(Number));
    let names = incoming.sessions();
    assert_eq!(names.len(), 510_000);
    assert_eq!(names[0].as_str(), Some("s1"));
    assert_eq!(names[509_999].as_str(), Some("more"));
    assert!(incoming.session("s509999").unwrap().tokens().is_empty());
}
