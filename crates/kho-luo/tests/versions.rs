//! Versions that meet: upgrades and downgrades between registries, what a handover says of them in
//! each dialect, and what is lost of a handover whose optional parts nobody here restores.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use kho_block::v2;
use kho_compat::{
    Carrier, Component, Decision, Generation, Manifest, Outcome, Place, Policy, Registry, Side,
    Writing, policy,
};
use kho_core::{
    Attached, Entry, Handover, Kho, KhoConfig, KhoError, Listed, PreservedFolio, RootFdt, Said,
};
use kho_luo::{
    FileHandler, FlbHandler, HandlerError, Handlers, Held, Incoming, IncomingError, Luo, LuoError,
    Orchestrator, Retrieve, TakeOverError, survey_with,
};
use kho_mem::{Arena, ArenaConfig, Order, PAGE_SIZE, PhysAddr, PhysMemExt, PhysRange, SliceMem};
use kho_testkit::{Builder, Built};

const BASE: u64 = 0x1000_0000;
const SIZE: u64 = 16 << 20;

static BLOCK_2: Component = v2::COMPONENT;
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
    registry(&[&NOTE, &BLOCK_2])
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
    let attached = Attached::open_with(handed, entry, registry).unwrap();
    let handover = attached.handover();
    let mut reading = handover.reading().unwrap();
    let luo = Luo::read_with(&handover, &mut reading, registry)
        .unwrap()
        .unwrap();
    let body = luo.body().unwrap();
    assert_eq!(body.block_version(), block);
    assert_eq!((body.session_blocks(), body.files()), (2, 70));
    assert_eq!(body.sessions()[7].file_blocks(), 2);
    let whole = arena().free_pages();
    let incoming = Incoming::take_over(attached, registry, policy, handlers()).unwrap();
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
    assert_eq!((incoming.lost(), incoming.waiting()), (0, None));
    let arena = incoming.finish().unwrap();
    drop((session, files, incoming));
    assert_eq!(arena.free_pages(), whole, "not a page is lost");
}

/// Refuses the handover by `registry`. Nothing of it has changed then.
fn refused(
    (handed, entry): (kho_mem::Handed, Entry),
    registry: &Registry,
    policy: &dyn Policy,
) -> String {
    let before = bytes(&handed);
    let (handed, error) = match Attached::open_with(handed, entry, registry) {
        Err(failed) => (failed.returned, failed.error.to_string()),
        Ok(attached) => {
            let failed = Incoming::take_over(attached, registry, policy, handlers()).unwrap_err();
            (failed.returned.into_handed(), failed.error.to_string())
        }
    };
    assert!(bytes(&handed) == before);
    // The one that wrote it takes it back.
    upgrade((handed, entry), &new(), 2, &policy::SemverRange);
    error
}

const SAYING: [Writing; 3] = [
    Writing::COMPOSITE,
    Writing::COMPOSITE_DIRECT,
    Writing::TABLE,
];

#[test]
fn an_old_writer_is_read_by_a_new_reader() {
    for dialect in Writing::ALL {
        for policy in [&policy::SemverRange as &dyn Policy, &policy::NewestCommon] {
            upgrade(written(dialect, old().side()), &new(), 1, policy);
            upgrade(written(dialect, old().side()), &old(), 1, policy);
        }
    }
}

#[test]
fn a_new_writer_is_read_by_a_new_reader() {
    for dialect in SAYING {
        upgrade(
            written(dialect, new().side()),
            &new(),
            2,
            &policy::SemverRange,
        );
    }
    upgrade(
        written(Writing::TABLE, new().side()),
        &new(),
        2,
        &policy::NewestCommon,
    );
    upgrade(
        written(Writing::TABLE, new().side()),
        &new(),
        2,
        &policy::CheckAtRestore,
    );
}

#[test]
fn a_new_writer_writes_what_an_old_reader_reads() {
    let common = new().side().newest_common(old().side());
    for dialect in Writing::ALL {
        upgrade(written(dialect, &common), &old(), 1, &policy::SemverRange);
        upgrade(written(dialect, &common), &new(), 1, &policy::SemverRange);
    }
    // Byte for byte what the old one writes.
    for dialect in [Writing::PLAIN, Writing::COMPOSITE, Writing::TABLE] {
        let (ours, theirs) = (written(dialect, &common), written(dialect, old().side()));
        assert!(bytes(&ours.0) == bytes(&theirs.0), "{dialect}");
    }
}

#[test]
fn a_new_writer_is_refused_by_an_old_reader_before_anything_is_restored() {
    for (dialect, message) in [
        (Writing::COMPOSITE, "LUO header, compatible at 0x"),
        (
            Writing::COMPOSITE_DIRECT,
            "found luo-v5;block-v2, expected luo-v5",
        ),
        (
            Writing::COMPOSITE,
            "block-v2 is not restorable here, only block-v1",
        ),
        (Writing::TABLE, "root FDT, compat/block at 0x"),
        (Writing::TABLE, "found block-v2, expected block-v1"),
    ] {
        let error = refused(written(dialect, new().side()), &old(), &policy::SemverRange);
        assert!(error.contains(message), "{dialect}: {error}");
    }
    // A policy that does not look, and code that does not follow it.
    for dialect in SAYING {
        let error = refused(
            written(dialect, new().side()),
            &old(),
            &policy::GlobalVersion,
        );
        assert_eq!(
            error, "block-v2 was not admitted: the verdict covers no version of it",
            "{dialect}"
        );
    }
}

#[test]
fn a_version_that_would_not_be_said_is_not_written() {
    for dialect in [Writing::PLAIN, Writing::FEATURES] {
        let error = kho(dialect, new().side()).map(|_| ()).unwrap_err();
        let message = format!("block-v2 can not be said in the {dialect} dialect");
        assert_eq!(error.to_string(), message);
    }
    static LUO_6: Component = Component::new(
        "luo",
        &[
            Generation::new(5).read_only(),
            Generation::new(6).needs(&[("block", 1)]),
        ],
    )
    .carried_in(Carrier::Luo)
    .subtree("LUO");
    let side = registry(&[&NOTE, &LUO_6]).side().clone();
    let kho = kho(Writing::TABLE, &side).unwrap();
    let error = Orchestrator::new(kho, handlers(), 0).unwrap_err();
    assert!(matches!(error, LuoError::Registry(_)));
    assert_eq!(
        error.to_string(),
        "luo-v6 can not be written here, where version 5 is"
    );
}

#[test]
fn the_header_is_as_long_as_its_string() {
    for (dialect, string, size) in [
        (Writing::PLAIN, "luo-v5", 32),
        (Writing::TABLE, "luo-v5", 32),
        (Writing::FEATURES, "luo-v5", 32),
        (Writing::COMPOSITE, "luo-v5;block-v1", 40),
        (Writing::COMPOSITE_DIRECT, "luo-v5;block-v1", 40),
    ] {
        let (handed, entry) = written(dialect, old().side());
        let handover = Handover::open(&handed, entry).unwrap();
        let subtree = handover.subtree("LUO").unwrap();
        assert_eq!(subtree.size, size, "{dialect}");
        let mut field = string.as_bytes().to_vec();
        field.resize(size as usize - 24, 0);
        assert_eq!(*handed.bytes(subtree.addr, field.len()).unwrap(), field);
        // Behind it the count of updates.
        assert_eq!(
            handed
                .bytes(PhysAddr::new(subtree.addr.get() + field.len() as u64), 8)
                .unwrap()[0],
            1
        );
    }
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

/// How the body of a handover that was built reads: the version of its blocks, or why not.
fn body(built: &Built, registry: &Registry) -> Result<u32, String> {
    let entry = Entry::new(PhysAddr::new(built.fdt));
    let handover = Handover::open_with(&built.mem, entry, registry).unwrap();
    let mut reading = handover.reading().unwrap();
    let (manifest, luo) =
        survey_with(&handover, &mut reading, registry).map_err(|e| e.to_string())?;
    let luo = luo.unwrap();
    match luo.body() {
        Some(body) => Ok(body.block_version()),
        None => {
            // It is not for want of a verdict.
            let admitted = registry.admit(&policy::GlobalVersion, manifest);
            Err(luo.restore(&admitted.unwrap()).unwrap_err().to_string())
        }
    }
}

#[test]
fn blocks_are_read_as_the_version_that_is_said() {
    let nothing = |_: &mut Builder| {};
    let (old, new) = (old(), new());
    let two_is_unknown = "block-v2 was not admitted: the verdict covers no version of it";
    type More = fn(&mut Builder);
    type Read = Result<u32, &'static str>;
    let cases: &[(u32, &str, More, Read, Read)] = &[
        (1, "luo-v5", nothing, Ok(1), Ok(1)),
        (1, "luo-v5;block-v1", nothing, Ok(1), Ok(1)),
        (2, "luo-v5;block-v2", nothing, Ok(2), Err(two_is_unknown)),
        (
            2,
            "luo-v5",
            |b| b.table("block", 2, 0),
            Ok(2),
            Err(two_is_unknown),
        ),
        // The string is nearer than the table.
        (
            1,
            "luo-v5;block-v1",
            |b| b.table("block", 2, 0),
            Ok(1),
            Ok(1),
        ),
        // Masks say no number.
        (
            1,
            "luo-v5",
            |b| b.features("block", [3, 3, 3]),
            Ok(1),
            Ok(1),
        ),
    ];
    for (version, luo, more, by_new, by_old) in cases {
        let built = built(*version, luo, more);
        assert_eq!(body(&built, &new), by_new.map_err(str::to_owned), "{luo}");
        assert_eq!(body(&built, &old), by_old.map_err(str::to_owned), "{luo}");
    }
    // Whatever is nearer: what contradicts itself is not restored.
    for (luo, table) in [("luo-v5;block-v1", 2), ("luo-v5;block-v2", 1)] {
        let built = built(1, luo, |b| b.table("block", table, 1));
        let entry = Entry::new(PhysAddr::new(built.fdt));
        let handover = Handover::open_with(&built.mem, entry, &new).unwrap();
        let mut manifest = Manifest::new();
        handover.add_to(&mut manifest);
        manifest.add(Carrier::Luo, luo, Place::default());
        for policy in policy::ALL {
            let refused = new.admit(*policy, manifest.clone()).unwrap_err();
            assert!(
                refused.to_string().contains("a string says version"),
                "{refused}"
            );
        }
    }
    // What is said is not what is there.
    for (version, luo) in [(2, "luo-v5"), (1, "luo-v5;block-v2")] {
        let error = body(&built(version, luo, nothing), &new).unwrap_err();
        assert!(error.starts_with("LUO: "), "{error}");
    }
    let error = body(&built(1, "luo-v5;block-v3", nothing), &new).unwrap_err();
    assert_eq!(
        error,
        "block-v3 was not admitted: the verdict covers block-v1 and block-v2"
    );
    // A reader that reads version 2 alone does not take a plain string for it.
    static ONLY_2: Component = Component::new("block", &[Generation::new(2)]);
    let error = body(&built(1, "luo-v5", nothing), &registry(&[&NOTE, &ONLY_2])).unwrap_err();
    assert_eq!(
        error,
        "block-v1 was not admitted: the verdict covers no version of it"
    );
}

#[test]
fn damaged_headers_are_named_by_the_set_they_are_in() {
    let mut built = built(2, "luo-v5;block-v2", |_| {});
    let new = new();
    let entry = Entry::new(PhysAddr::new(built.fdt));
    let handover = Handover::open_with(&built.mem, entry, &new).unwrap();
    let luo = handover.subtree("LUO").unwrap().addr.get();
    drop(handover);
    let sessions = built.mem.u64(luo + 24);
    let files = built.mem.u64(sessions + 24 + 64);
    for (block, set, size) in [
        (sessions, "session set", 80),
        (files, "session `vm`: file set", 64),
    ] {
        for wrong in [0u32, 1, size - 1, size + 1, 4096, u32::MAX] {
            built.mem.set_u32(block + 16, wrong);
            let error = body(&built, &new).unwrap_err();
            let expected = format!(
                "LUO: {set}: block 0: entry_size has an impossible value at {:#x}: \
                 found {wrong} bytes, expected {size} bytes",
                block + 16
            );
            assert_eq!(error, expected);
        }
        built.mem.set_u32(block + 16, size);
        built.mem.set_u32(block + 20, 1);
        let error = body(&built, &new).unwrap_err();
        assert!(
            error.contains("reserved has an impossible value"),
            "{error}"
        );
        built.mem.set_u32(block + 20, 0);
        let before = built.mem.u64(block + 8);
        for wrong in [0, before + 100, u64::MAX] {
            built.mem.set_u64(block + 8, wrong);
            let error = body(&built, &new).unwrap_err();
            assert!(error.contains("count has an impossible count"), "{error}");
        }
        built.mem.set_u64(block + 8, before);
        assert_eq!(body(&built, &new), Ok(2));
    }
}

// What is listed.

#[test]
fn what_is_in_use_is_listed_and_no_more() {
    let registry = registry(&[&NOTE, &EXTRA_1, &SHARED_1]);
    let kho = kho(Writing::TABLE, registry.side()).unwrap();
    let own = ["kexec-metadata", "kho", "radix", "vmalloc"];
    let check = |more: &[&str]| {
        let mut names: Vec<_> = own
            .iter()
            .chain(more)
            .map(|name| (*name).to_owned())
            .collect();
        names.sort();
        let listed = listed_in(&kho);
        let listed: Vec<_> = listed.iter().map(|listed| listed.name.clone()).collect();
        assert_eq!(listed, names);
    };
    check(&[]);
    let all = handlers()
        .with(Notes {
            kind: "extra",
            version: 1,
        })
        .with_flb("extra", Shared("shared-v1"));
    let luo = Orchestrator::new(kho.clone(), all, 0).unwrap();
    check(&["block", "luo"]);
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    one.preserve(1, Note::new("note", 1)).unwrap();
    check(&["block", "luo", "note"]);
    two.preserve(1, Note::new("note", 2)).unwrap();
    two.preserve(2, Note::new("extra", 3)).unwrap();
    // An object on which its files depend is not: its name says its version.
    let extra = ["block", "extra", "luo", "note"];
    check(&extra);
    let listed = listed_in(&kho);
    let optional = listed
        .iter()
        .filter(|listed| matches!(listed.said, Said::Version { optional: true, .. }));
    let optional: Vec<_> = optional.map(|listed| listed.name.as_str()).collect();
    assert_eq!(optional, ["extra", "kexec-metadata"]);
    one.close();
    check(&extra);
    luo.freeze().unwrap().thaw();
    check(&extra);
    two.close();
    check(&["block", "luo"]);
    drop(luo);
    check(&[]);
}

/// What the root FDT of a handover that is being made lists.
fn listed_in(kho: &Kho) -> Vec<Listed> {
    let mut page = [0; PAGE_SIZE];
    let at = kho.entry().fdt_addr;
    let file = kho.arena().file().unwrap();
    file.read_exact_at(&mut page, at.get() - BASE).unwrap();
    RootFdt::read(&SliceMem::new(at, &page), at)
        .unwrap()
        .listed()
        .unwrap()
}

#[test]
fn a_root_that_is_full_takes_no_first_file_and_is_as_it_was() {
    let registry = registry(&[&NOTE, &EXTRA_1]);
    let kho = kho(Writing::TABLE, registry.side()).unwrap();
    let all = handlers().with(Notes {
        kind: "extra",
        version: 1,
    });
    let luo = Orchestrator::new(kho.clone(), all, 0).unwrap();
    let session = luo.create_session("one").unwrap();
    session.preserve(1, Note::new("note", 1)).unwrap();
    let blob = || kho.preserver().alloc_preserve(1).unwrap();
    // Names of 4 bytes more take 4 bytes more: three take what is left of the page but for less
    // than a word.
    let fits = |name: &str| kho.add_subtree(name, blob(), 1).is_ok();
    let mut count = 0;
    while fits(&format!("s{count:0>27}")) {
        count += 1;
    }
    let lengths = (3..=27).step_by(4);
    let all = lengths
        .clone()
        .flat_map(|a| lengths.clone().map(move |b| (a, b)));
    let mut all = all.flat_map(|(a, b)| lengths.clone().map(move |c| [a, b, c]));
    for number in 1..3 {
        drop(
            kho.remove_subtree(&format!("s{:0>27}", count - number))
                .unwrap(),
        );
    }
    let full = |lengths: [usize; 3]| {
        let names = lengths
            .iter()
            .zip(["x", "y", "z"])
            .map(|(len, name)| format!("{name:x<len$}"));
        let names: Vec<_> = names.collect();
        let added: Vec<_> = names.iter().filter(|name| fits(name)).collect();
        if added.len() == 3 && kho.list(&["extra"]).is_err() {
            return true;
        }
        if added.len() == 3 {
            kho.unlist(&["extra"]);
        }
        added
            .into_iter()
            .for_each(|name| drop(kho.remove_subtree(name)));
        false
    };
    assert!(all.any(full));
    let state = || {
        let preserver = kho.preserver();
        (kho.arena().free_blocks(), preserver.keys(), listed_in(&kho))
    };
    let before = state();
    for _ in 0..3 {
        let error = session.preserve(2, Note::new("extra", 2)).unwrap_err();
        assert!(
            matches!(error, LuoError::Kho(KhoError::FdtFull { .. })),
            "{error}"
        );
        assert_eq!((state(), session.files()), (before.clone(), 1));
    }
    // Of a kind that is listed there may be more.
    session.preserve(2, Note::new("note", 2)).unwrap();
    // With room it goes on.
    drop(kho.remove_subtree(&format!("s{:0>27}", 0)).unwrap());
    session.preserve(3, Note::new("extra", 3)).unwrap();
}

// What is lost.

/// A handover with files of two kinds, one of them optional, and an object.
fn with_extras(dialect: Writing) -> (kho_mem::Handed, Entry) {
    let registry = registry(&[&NOTE, &EXTRA_2, &SHARED_2]);
    let all = handlers()
        .with(Notes {
            kind: "extra",
            version: 2,
        })
        .with_flb("extra", Shared("shared-v2"));
    let luo = Orchestrator::new(kho(dialect, registry.side()).unwrap(), all, 0).unwrap();
    let (one, two) = (
        luo.create_session("one").unwrap(),
        luo.create_session("two").unwrap(),
    );
    for token in 1..=4 {
        let kind = if token % 2 == 0 { "extra" } else { "note" };
        one.preserve(token, Note::new(kind, token as u8)).unwrap();
    }
    two.preserve(5, Note::new("extra", 5)).unwrap();
    let frozen = luo.freeze().unwrap();
    drop((luo, one, two));
    let (arena, entry) = frozen.hand_over().unwrap();
    (arena.into_handed().unwrap(), entry)
}

#[test]
fn optional_files_are_lost_where_that_is_allowed() {
    // Who knows another version of it, and, where the table says that it is optional, nothing at all.
    let knowing = registry(&[&NOTE, &EXTRA_1, &SHARED_1]);
    let not_knowing = old();
    for (dialect, registry) in [
        (Writing::PLAIN, &knowing),
        (Writing::COMPOSITE, &knowing),
        (Writing::TABLE, &knowing),
        (Writing::TABLE, &not_knowing),
    ] {
        let (handed, entry) = with_extras(dialect);
        let before = bytes(&handed);
        let attached = Attached::open_with(handed, entry, registry).unwrap();
        let policy = &policy::SemverRange;
        let is_known = registry.get("extra").is_some();
        // A handler for it is of no use: what it knows is another version.
        let all = || match is_known {
            true => handlers().with(Notes {
                kind: "extra",
                version: 1,
            }),
            false => handlers(),
        };

        // Not allowed: refused, and nothing changed.
        let failed = Incoming::take_over(attached, registry, policy, all()).unwrap_err();
        let TakeOverError::Degraded { lost } = &failed.error else {
            panic!("{}", failed.error)
        };
        let names: Vec<_> = lost
            .iter()
            .map(|finding| finding.entry.found.as_str())
            .collect();
        match dialect {
            Writing::TABLE if is_known => {
                assert_eq!(names, ["extra-v2", "extra-v2", "shared-v2"]);
            }
            // Nobody here knows the object: it is left alone.
            Writing::TABLE => assert_eq!(names, ["extra-v2", "extra-v2"]),
            _ => assert_eq!(names, ["extra-v2", "shared-v2"]),
        }
        let text = failed.error.to_string();
        assert!(text.starts_with("optional parts would be lost: "), "{text}");
        assert!(text.contains("found extra-v2, expected "), "{text}");
        let handed = failed.returned.into_handed();
        assert!(bytes(&handed) == before);

        // Allowed.
        let attached = Attached::open_with(handed, entry, registry).unwrap();
        let incoming = Incoming::take_over_degraded(attached, registry, policy, all()).unwrap();
        assert_eq!(incoming.admitted().verdict().decision, Decision::Degrade);
        assert_eq!((incoming.files(), incoming.lost()), (5, 3));
        let (one, two) = (
            incoming.session("one").unwrap(),
            incoming.session("two").unwrap(),
        );
        for (session, token) in [(&one, 2), (&one, 4), (&two, 5), (&one, 2)] {
            let error = session.retrieve_any(token).unwrap_err();
            assert!(matches!(error, IncomingError::Lost { .. }));
            let text = format!(
                "the file of token {token:#x} in session `{}` is lost: nothing here restores `extra-v2`",
                session.name()
            );
            assert_eq!(error.to_string(), text);
        }
        incoming.flb::<()>("shared-v2").unwrap_err();
        assert_eq!(incoming.waiting().unwrap().2, 2, "the others wait");
        let files: Vec<_> = [1, 3]
            .iter()
            .map(|t| one.retrieve::<Note>(*t).unwrap())
            .collect();
        assert_eq!((files[0].number, files[1].number), (1, 3));
        assert_eq!(incoming.waiting(), None);
        two.finish().unwrap();
        let arena = incoming.finish().unwrap();
        drop((one, two, files, incoming));
        assert_eq!(
            arena.free_pages(),
            self::arena().free_pages(),
            "not a page is lost or has two owners"
        );
        drop(arena.into_handed().unwrap());
    }
}

#[test]
fn what_is_lost_goes_back_with_the_rest() {
    let registry = registry(&[&NOTE, &EXTRA_1, &SHARED_1]);
    let (handed, entry) = with_extras(Writing::TABLE);
    let before = bytes(&handed);
    let attached = Attached::open_with(handed, entry, &registry).unwrap();
    let policy = &policy::SemverRange;
    let incoming = Incoming::take_over_degraded(attached, &registry, policy, handlers()).unwrap();
    let one = incoming.session("one").unwrap();
    one.retrieve::<Note>(1).unwrap();
    one.retrieve_any(2).unwrap_err();
    drop(one);
    let handed = incoming.into_attached().unwrap().into_handed();
    assert!(bytes(&handed) == before);
}

#[test]
fn what_must_not_be_lost_still_needs_a_handler() {
    let registry = registry(&[&NOTE, &EXTRA_2, &SHARED_2]);
    for degrade in [false, true] {
        let (handed, entry) = with_extras(Writing::TABLE);
        let attached = Attached::open_with(handed, entry, &registry).unwrap();
        let take_over = if degrade {
            Incoming::take_over_degraded
        } else {
            Incoming::take_over
        };
        let failed = take_over(attached, &registry, &policy::SemverRange, handlers());
        // It is restorable here, and optional; but nobody restores it.
        let error = failed.unwrap_err().error;
        assert_eq!(
            error.to_string(),
            "3 files are `extra-v2`, for which this program has no handler"
        );
    }
    // A kind that is not optional is not lost, whoever allows what.
    static NOTE_2: Component =
        Component::new("note", &[Generation::new(2)]).carried_in(Carrier::FileHandler);
    let registry = self::registry(&[&NOTE_2]);
    let handover = written(Writing::TABLE, old().side());
    let attached = Attached::open_with(handover.0, handover.1, &registry).unwrap();
    let failed =
        Incoming::take_over_degraded(attached, &registry, &policy::SemverRange, handlers());
    assert!(matches!(
        failed.unwrap_err().error,
        TakeOverError::Refused(_)
    ));
}

#[test]
fn a_file_is_lost_with_what_it_needs() {
    static NEED_1: Component = Component::new("need", &[Generation::new(1)]).optional();
    static NEED_2: Component = Component::new("need", &[Generation::new(2)]).optional();
    static EXTRA: Component = Component::new("extra", &[Generation::new(1).needs(&[("need", 1)])])
        .carried_in(Carrier::FileHandler)
        .optional();
    static MUST: Component = Component::new("extra", &[Generation::new(1).needs(&[("need", 1)])])
        .carried_in(Carrier::FileHandler);
    let writer = registry(&[&NOTE, &EXTRA, &NEED_2]);
    let written = || {
        let all = handlers().with(Notes {
            kind: "extra",
            version: 1,
        });
        let kho = kho(Writing::TABLE, writer.side()).unwrap();
        let luo = Orchestrator::new(kho, all, 0).unwrap();
        let one = luo.create_session("one").unwrap();
        one.preserve(1, Note::new("note", 1)).unwrap();
        one.preserve(2, Note::new("extra", 2)).unwrap();
        let frozen = luo.freeze().unwrap();
        drop((luo, one));
        let (arena, entry) = frozen.hand_over().unwrap();
        (arena.into_handed().unwrap(), entry)
    };
    let all = || {
        handlers().with(Notes {
            kind: "extra",
            version: 1,
        })
    };
    let take_over = |registry: &Registry| {
        let (handed, entry) = written();
        let attached = Attached::open_with(handed, entry, registry).unwrap();
        Incoming::take_over_degraded(attached, registry, &policy::SemverRange, all())
    };
    let incoming = take_over(&registry(&[&NOTE, &EXTRA, &NEED_1])).unwrap();
    let one = incoming.session("one").unwrap();
    assert_eq!(one.retrieve::<Note>(1).unwrap().number, 1);
    let error = one.retrieve_any(2).unwrap_err();
    assert!(matches!(error, IncomingError::Lost { .. }), "{error}");
    let error = take_over(&registry(&[&NOTE, &MUST, &NEED_1]))
        .unwrap_err()
        .error;
    let error = error.to_string();
    assert!(error.contains("found need-v2, expected need-v1"), "{error}");
    take_over(&registry(&[&NOTE, &EXTRA, &NEED_2])).unwrap();
}

#[test]
fn metadata_and_regions_of_another_version_are_no_reason_to_refuse() {
    let registry = old();
    for listed in [false, true] {
        let built = built(1, "luo-v5", |b| {
            b.metadata(2, "8.0", 7);
            b.memblock("memblock-v2", &[("log", 4096)]);
            if listed {
                b.table("kexec-metadata", 2, 1);
                b.table("memblock", 2, 1);
            }
        });
        let entry = Entry::new(PhysAddr::new(built.fdt));
        let handover = Handover::open_with(&built.mem, entry, &registry).unwrap();
        let mut reading = handover.reading().unwrap();
        let (manifest, luo) = survey_with(&handover, &mut reading, &registry).unwrap();
        let admitted = registry.admit(&policy::SemverRange, manifest).unwrap();
        assert_eq!(admitted.verdict().decision, Decision::Degrade);
        assert_eq!(
            admitted.verdict().lost().count(),
            if listed { 4 } else { 2 }
        );
        luo.unwrap().restore(&admitted).unwrap();
        // A reader takes it over as if they were not there.
        let (handed, entry) = handed_of(&built);
        let attached = Attached::open_with(handed, entry, &registry).unwrap();
        let policy = &policy::SemverRange;
        let incoming = Incoming::take_over(attached, &registry, policy, handlers()).unwrap();
        assert_eq!((incoming.kexec_count(), incoming.lost()), (None, 0));
        assert_eq!(
            incoming
                .session("vm")
                .unwrap()
                .retrieve::<Note>(3)
                .unwrap()
                .number,
            0
        );
    }
}

/// A handover that was built, in an arena.
fn handed_of(built: &Built) -> (kho_mem::Handed, Entry) {
    let arena = Arena::memfd(&ArenaConfig::new(PhysAddr::new(BASE), SIZE)).unwrap();
    for (pa, size) in built.mem.runs() {
        let bytes = built.mem.read(pa, size as usize);
        arena
            .file()
            .unwrap()
            .write_all_at(&bytes, pa - BASE)
            .unwrap();
    }
    let handed = arena.into_handed().unwrap();
    (handed, Entry::new(PhysAddr::new(built.fdt)))
}

#[test]
fn files_that_are_lost_are_told_apart_where_nothing_is_taken_over() {
    let registry = registry(&[&NOTE, &EXTRA_1, &SHARED_1]);
    let (handed, entry) = with_extras(Writing::COMPOSITE);
    let handover = Handover::open_with(&handed, entry, &registry).unwrap();
    let mut reading = handover.reading().unwrap();
    let (manifest, luo) = survey_with(&handover, &mut reading, &registry).unwrap();
    let luo = luo.unwrap();
    let admitted = registry.admit(&policy::SemverRange, manifest).unwrap();
    let sessions = luo.restore(&admitted).unwrap();
    let lost: Vec<_> = sessions
        .iter()
        .flat_map(|session| session.files().collect::<Vec<_>>())
        .filter(|file| file.is_lost())
        .map(|file| (file.token(), file.compatible()))
        .collect();
    assert_eq!(lost, [(2, "extra-v2"), (4, "extra-v2"), (5, "extra-v2")]);
    admitted.require("extra", 2).unwrap_err();
    // A verdict that does not give it up does not open it.
    let mut other = Manifest::new();
    handover.add_to(&mut other);
    other.add(Carrier::Luo, luo.compatible(), Default::default());
    let other = registry.admit(&policy::SemverRange, other).unwrap();
    assert!(
        other
            .verdict()
            .findings
            .iter()
            .all(|f| f.outcome == Outcome::Restorable)
    );
    assert_eq!(
        luo.restore(&other).unwrap_err().to_string(),
        "note-v1 was not admitted: the verdict covers no version of it"
    );
    assert_eq!(luo.body().unwrap().block_version(), 1);
}
