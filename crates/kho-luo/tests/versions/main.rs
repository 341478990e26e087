//! Versions that meet: upgrades and downgrades between registries, what a handover says of them in
//! each dialect, and what is lost of a handover whose optional parts nobody here restores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use kho_block::v2;
use kho_compat::{
    Carrier, Component, Decision, Generation, Manifest, Outcome, Place, Policy, Registry, Side,
    Writing, policy,
};
use kho_core::{
    Attached, Entry, Handover, Kho, KhoConfig, KhoError, Listed, OpenOptions, PreservedFolio,
    RootFdt, Said,
};
use kho_luo::{
    FileHandler, FlbHandler, HandlerError, Handlers, Held, Incoming, IncomingError, Luo, LuoError,
    Orchestrator, Retrieve, TakeOverError, TakeOverOptions, survey,
};
use kho_mem::{Arena, ArenaConfig, Order, PAGE_SIZE, PhysAddr, PhysMemExt, PhysRange, SliceMem};
use kho_testkit::{Builder, Built};

mod announced;
mod late;
mod listed;
mod lost;
mod upgrade;

const BASE: u64 = 0x1000_0000;
const SIZE: u64 = 16 << 20;

/// A kind of file that everybody knows.
static NOTE: Component = Component::new("note", &[Generation::new(1)])
    .carried_in(Carrier::FileHandler)
    .field(48);
/// One that the rest is worth having without, in two versions.
static EXTRA_1: Component = Component::new("extra", &[Generation::new(1)])
    .carried_in(Carrier::FileHandler)
    .field(48)
    .optional();
static EXTRA_2: Component = Component::new("extra", &[Generation::new(2)])
    .carried_in(Carrier::FileHandler)
    .field(48)
    .optional();
/// What it depends on.
static SHARED_1: Component =
    Component::new("shared", &[Generation::new(1)]).carried_in(Carrier::Flb);
static SHARED_2: Component =
    Component::new("shared", &[Generation::new(2)]).carried_in(Carrier::Flb);

/// The linked components but for those that `own` names, and `own`.
fn registry(own: &[&'static Component]) -> Registry {
    let linked = Registry::linked().unwrap().components();
    let linked = linked.filter(|linked| own.iter().all(|own| own.name != linked.name));
    Registry::new(linked.chain(own.iter().copied())).unwrap()
}

fn old() -> Registry {
    registry(&[&NOTE])
}

fn new() -> Registry {
    registry(&[&NOTE])
        .with_experiment("block", v2::VERSION)
        .unwrap()
}

/// A file of a page that is full of its number.
#[derive(Debug)]
struct Note {
    kind: &'static str,
    number: u8,
    held: Option<(Held, PhysAddr)>,
}

impl Note {
    fn new(kind: &'static str, number: u8) -> Arc<Self> {
        Arc::new(Self {
            kind,
            number,
            held: None,
        })
    }
}

struct Notes {
    kind: &'static str,
    version: u32,
}

impl FileHandler for Notes {
    type File = Note;
    type Preserved = PreservedFolio;

    fn component(&self) -> &'static str {
        self.kind
    }

    fn writes(&self) -> &[u32] {
        std::slice::from_ref(&self.version)
    }

    fn can_preserve(&self, file: &Arc<Note>) -> bool {
        file.kind == self.kind
    }

    fn preserve(&self, kho: &Kho, file: &Arc<Note>) -> Result<PreservedFolio, HandlerError> {
        let page = kho.preserver().alloc_preserve(PAGE_SIZE);
        let mut page = page.map_err(HandlerError::new)?;
        page.fill(file.number);
        Ok(page)
    }

    fn unpreserve(&self, _: &Arc<Note>, page: PreservedFolio) {
        drop(page);
    }

    fn freeze(&self, _: &Arc<Note>, page: &mut PreservedFolio) -> Result<u64, HandlerError> {
        Ok(page.addr().get())
    }

    fn unfreeze(&self, _: &Arc<Note>, _: &mut PreservedFolio) {}

    fn hand_over(&self, _: &Arc<Note>, page: PreservedFolio) {
        page.hand_over();
    }

    fn retrieve(&self, retrieve: &mut Retrieve<'_>, data: u64) -> Result<Arc<Note>, HandlerError> {
        let required = retrieve.admitted.require(self.kind, self.version);
        required.map_err(HandlerError::new)?;
        let at = PhysAddr::new(data);
        let link = retrieve.link(data, "note");
        let claimed = retrieve.claims.page(link);
        claimed.map_err(HandlerError::new)?;
        let mut page = [0; PAGE_SIZE];
        retrieve
            .held
            .copy_to(at, &mut page)
            .map_err(HandlerError::new)?;
        assert!(page.iter().all(|byte| *byte == page[0]));
        let held = Some((retrieve.held.clone(), at));
        Ok(Arc::new(Note {
            kind: self.kind,
            number: page[0],
            held,
        }))
    }

    fn finish(&self, attached: &mut Attached, data: u64, file: Option<Arc<Note>>) {
        let file = file.expect("every file is retrieved");
        let (_, at) = file.held.as_ref().unwrap();
        assert_eq!(at.get(), data);
        let folio = attached.handed_mut().adopt(*at, Order::ZERO).unwrap();
        assert_eq!(folio[17], file.number);
    }
}

/// An object of a page.
struct Shared(&'static str);

impl FlbHandler for Shared {
    type Object = ();
    type Preserved = PreservedFolio;

    fn name(&self) -> &str {
        self.0
    }

    fn preserve(&self, kho: &Kho) -> Result<(u64, PreservedFolio), HandlerError> {
        let page = kho.preserver().alloc_preserve(PAGE_SIZE);
        let page = page.map_err(HandlerError::new)?;
        Ok((page.addr().get(), page))
    }

    fn unpreserve(&self, page: PreservedFolio) {
        drop(page);
    }

    fn hand_over(&self, page: PreservedFolio) {
        page.hand_over();
    }

    fn retrieve(&self, retrieve: &mut Retrieve<'_>, data: u64) -> Result<Arc<()>, HandlerError> {
        let link = retrieve.link(data, "object");
        let claimed = retrieve.claims.page(link);
        claimed.map_err(HandlerError::new).map(|_| Arc::new(()))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<()>>) {}
}

fn handlers() -> Handlers {
    Handlers::new().with(Notes {
        kind: "note",
        version: 1,
    })
}

fn scratch() -> PhysRange {
    PhysRange::new(PhysAddr::new(BASE + (12 << 20)), 4 << 20).unwrap()
}

/// An arena whose bytes can be looked at while it is in use: through its file.
fn arena() -> Arena {
    Arena::memfd(&ArenaConfig::new(PhysAddr::new(BASE), SIZE).scratch(scratch())).unwrap()
}

fn kho(dialect: Writing, side: &Side) -> Result<Kho, KhoError> {
    let config = KhoConfig::new()
        .scratch([scratch()])
        .metadata("7.3.4", 3)
        .writing(dialect)
        .side(side.clone());
    Kho::new(arena(), &config)
}

/// The handover that `side` writes: 60 sessions, one of them with 70 files, so that both sets have
/// two blocks in either version.
fn written(dialect: Writing, side: &Side) -> (kho_mem::Handed, Entry) {
    let luo = Orchestrator::new(kho(dialect, side).unwrap(), handlers(), 0).unwrap();
    let sessions: Vec<_> = (0..60)
        .map(|number| luo.create_session(format!("session {number}")).unwrap())
        .collect();
    for token in 0..70 {
        sessions[7]
            .preserve(token, Note::new("note", token as u8))
            .unwrap();
    }
    let frozen = luo.freeze().unwrap();
    drop((luo, sessions));
    let (arena, entry) = frozen.hand_over().unwrap();
    (arena.into_handed().unwrap(), entry)
}

fn bytes(handed: &kho_mem::Handed) -> Vec<Vec<u8>> {
    let pages =
        (0..SIZE / PAGE_SIZE as u64).map(|page| PhysAddr::new(BASE + page * PAGE_SIZE as u64));
    pages
        .filter_map(|at| Some(handed.bytes(at, PAGE_SIZE).ok()?.into_owned()))
        .collect()
}

/// Takes the handover over by `registry`, retrieves all of it and finishes it.
fn upgrade(
    (handed, entry): (kho_mem::Handed, Entry),
    registry: &Registry,
    block: u32,
    policy: &dyn Policy,
) {
    let attached = Attached::open(handed, OpenOptions::new(entry).registry(registry)).unwrap();
    let handover = attached.handover();
    let mut reading = handover.reading().unwrap();
    let luo = Luo::read(&handover, &mut reading, registry)
        .unwrap()
        .unwrap();
    let body = luo.body().unwrap();
    assert_eq!(body.block_version(), block);
    assert_eq!((body.session_blocks(), body.files()), (2, 70));
    assert_eq!(body.sessions()[7].file_blocks(), 2);
    let whole = arena().free_pages();
    let incoming = Incoming::take_over(
        attached,
        handlers(),
        TakeOverOptions::new(registry).policy(policy),
    )
    .unwrap();
    assert_eq!(
        (incoming.sessions().len(), incoming.kexec_count()),
        (60, Some(3))
    );
    let session = incoming.session("session 7").unwrap();
    let files: Vec<_> = (0..70)
        .map(|token| session.retrieve::<Note>(token).unwrap())
        .collect();
    assert!(
        files
            .iter()
            .zip(0..)
            .all(|(file, number)| file.number == number)
    );
    assert_eq!((incoming.lost(), incoming.waiting().unwrap()), (0, None));
    let arena = incoming.finish().unwrap();
    drop((session, files, incoming));
    assert_eq!(arena.free_pages(), whole, "not a page is lost");
}

/// A handover that was built, with a session of 60 files of the kind `note`.
fn built(version: u32, luo: &str, more: impl FnOnce(&mut Builder)) -> Built {
    let mut b = Builder::new();
    b.block_version = version;
    b.luo_compatible = luo.into();
    let page = b.folio(0);
    let files: Vec<_> = (0..64)
        .map(|token| Builder::file("note-v1", page, token))
        .collect();
    b.session(b"vm", &files);
    more(&mut b);
    b.finish()
}
