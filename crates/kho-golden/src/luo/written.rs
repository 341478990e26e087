//! What is written of sessions for given inputs: the part of the format that no struct shows.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use kho_abi_check::{Failure, Text};
use kho_compat::{Ability, Carrier, Side, Writing};
use kho_core::{Attached, Kho, KhoConfig, PreservedFolio};
use kho_luo::COMPONENT;
use kho_luo::v5::SUBTREE;
use kho_luo::{
    FileHandler, FlbHandler, HandlerError, Handlers, Orchestrator, OutgoingSession, Retrieve,
};
use kho_mem::PhysAddr;

use super::peers::version_of;
use crate::dump::{Dump, arena, number};
use crate::peers::{BLOCK, block_header};

const PAGE: usize = 4096;

/// What handlers were asked, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, step: &str, what: &str) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(format!("{step} {what}"));
    }

    /// The steps since the last time, in a line.
    pub(crate) fn take(&self) -> String {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *log).join(", ")
    }
}

/// A file that is its name, of a kind that one handler takes.
pub(crate) struct File {
    kind: &'static str,
    pub(crate) name: String,
    pub(crate) data: u64,
}

pub(crate) fn file(kind: &'static str, name: &str, data: u64) -> Arc<File> {
    let name = name.to_owned();
    Arc::new(File { kind, name, data })
}

/// Takes the files of a kind; `any` takes all.
struct Files {
    kind: &'static str,
    log: Log,
}

impl FileHandler for Files {
    type File = File;
    type Preserved = PreservedFolio;

    fn component(&self) -> &'static str {
        self.kind
    }

    fn writes(&self) -> &[u32] {
        version_of(self.kind)
    }

    fn can_preserve(&self, file: &Arc<File>) -> bool {
        self.kind == file.kind || self.kind == "any"
    }

    fn preserve(&self, kho: &Kho, file: &Arc<File>) -> Result<PreservedFolio, HandlerError> {
        self.log.add("preserve", &file.name);
        kho.preserver()
            .alloc_preserve(1)
            .map_err(|error| HandlerError::new(Box::new(error)))
    }

    fn unpreserve(&self, file: &Arc<File>, _preserved: PreservedFolio) {
        self.log.add("unpreserve", &file.name);
    }

    fn freeze(&self, file: &Arc<File>, _: &mut PreservedFolio) -> Result<u64, HandlerError> {
        self.log.add("freeze", &file.name);
        if file.data == 0 {
            return Err(HandlerError::new("no data"));
        }
        Ok(file.data)
    }

    fn unfreeze(&self, file: &Arc<File>, _: &mut PreservedFolio) {
        self.log.add("unfreeze", &file.name);
    }

    fn hand_over(&self, file: &Arc<File>, preserved: PreservedFolio) {
        self.log.add("hand over", &file.name);
        preserved.hand_over();
    }

    fn retrieve(&self, _: &mut Retrieve<'_>, _: u64) -> Result<Arc<File>, HandlerError> {
        Err(HandlerError::new("never retrieved"))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<File>>) {}
}

/// An object without memory.
struct Object {
    name: &'static str,
    data: u64,
    log: Log,
}

impl FlbHandler for Object {
    type Object = ();
    type Preserved = ();

    fn name(&self) -> &str {
        self.name
    }

    fn preserve(&self, _: &Kho) -> Result<(u64, ()), HandlerError> {
        self.log.add("preserve", self.name);
        Ok((self.data, ()))
    }

    fn unpreserve(&self, (): ()) {
        self.log.add("unpreserve", self.name);
    }

    fn hand_over(&self, (): ()) {
        self.log.add("hand over", self.name);
    }

    fn retrieve(&self, _: &mut Retrieve<'_>, _: u64) -> Result<Arc<()>, HandlerError> {
        Err(HandlerError::new("never retrieved"))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<()>>) {}
}

/// LUO, the blocks that it needs, and two kinds of files.
pub(crate) fn side() -> Result<Side, Failure> {
    let mut kho = Ability::try_from(&kho_core::COMPONENT)?;
    kho.needs.clear();
    let mut alpha = Ability::new("alpha", 3)?;
    alpha.carrier = Some(Carrier::FileHandler);
    alpha.needs = vec!["part".to_owned()];
    let mut beta = Ability::new("beta", 12)?;
    beta.carrier = Some(Carrier::FileHandler);
    let mut any = Ability::new("any", 1)?;
    any.carrier = Some(Carrier::FileHandler);
    let (block, part) = (
        Ability::new(BLOCK.name, BLOCK.major())?,
        Ability::new("part", 2)?,
    );
    let luo = Ability::try_from(&COMPONENT)?;
    Ok(Side::new([kho, luo, alpha, beta, any, block, part])?)
}

/// The outgoing side of a handover after four live updates.
pub(crate) fn orchestrator(dialect: Writing, log: &Log) -> Result<Orchestrator, Failure> {
    let files = |kind| Files {
        kind,
        log: log.clone(),
    };
    let object = |name, data| Object {
        name,
        data,
        log: log.clone(),
    };
    let handlers = Handlers::new()
        .with(files("beta"))
        .with(files("alpha"))
        // Never its turn.
        .with(files("any"))
        .with_flb(["alpha"], object("of-alpha-v1", 0x1111))
        .with_flb(["gamma"], object("of-no-file-v1", 0x2222))
        .with_flb(
            ["alpha", "beta"],
            object("of-both-v2", 0x3333_4444_5555_6666),
        );
    let kho = Kho::new(arena()?, &KhoConfig::new().writing(dialect).side(side()?))?;
    Ok(Orchestrator::new(kho, handlers, 4)?)
}

/// Freezes and hands over; returns the header, and the memory.
pub(crate) fn hand_over(
    orchestrator: Orchestrator,
    sessions: Vec<OutgoingSession>,
) -> Result<(Vec<u8>, PhysAddr, Dump), Failure> {
    let frozen = orchestrator.freeze()?;
    drop(sessions);
    let kho = orchestrator.kho();
    let header = kho.with_subtree(SUBTREE, |bytes| bytes.to_vec());
    let (header, tracker) = (header.ok_or("no header")?, kho.preserver().root());
    drop(orchestrator);
    let (arena, _) = frozen.hand_over().map_err(|_| "still shared")?;
    Ok((header, tracker, Dump::new(arena)?))
}

/// What the header's tail names: the sessions and the FLB area.
pub(crate) fn tail(header: &[u8]) -> (PhysAddr, PhysAddr) {
    let at = |back: usize| {
        let from = header.len().saturating_sub(back);
        PhysAddr::new(number(header.get(from..).unwrap_or_default()))
    };
    (at(16), at(8))
}

/// The header by itself.
pub(crate) fn header() -> Result<Text, Failure> {
    let mut text = String::new();
    for dialect in [Writing::PLAIN, Writing::COMPOSITE] {
        let orchestrator = orchestrator(dialect, &Log::default())?;
        let (header, tracker, mut dump) = hand_over(orchestrator, Vec::new())?;
        let (_, flbs) = tail(&header);
        dump.bytes(SUBTREE, header);
        dump.memory("FLBs", flbs, PAGE)?;
        dump.preserved(tracker)?;
        text.push_str(&dump.finish());
    }
    Ok(text.into())
}

/// Sessions, files and objects.
pub(crate) fn sessions() -> Result<Text, Failure> {
    let log = Log::default();
    let orchestrator = orchestrator(Writing::COMPOSITE, &log)?;
    let foreign = ("foreign-v0".to_owned(), 0x7777, 2);
    let orchestrator = orchestrator.with_foreign_flbs([foreign])?;
    let zeta = orchestrator.create_session("zeta")?;
    let empty = orchestrator.create_session("empty")?;
    let closed = orchestrator.create_session("closed")?;
    let long = orchestrator.create_session([b'x'; 63])?;
    zeta.preserve(9, file("beta", "one", 0xb1))?;
    long.preserve(u64::MAX, file("alpha", "two", 0xa2))?;
    closed.preserve(5, file("beta", "gone", 0xb3))?;
    zeta.preserve(3, file("alpha", "three", 0xa3_0000_0000_0000))?;
    closed.close();
    let (header, tracker, mut dump) = hand_over(orchestrator, vec![long, empty, zeta])?;
    let (sessions, flbs) = tail(&header);
    dump.bytes(SUBTREE, header);
    dump.memory("sessions", sessions, PAGE)?;
    for entry in 0..3 {
        let at = sessions.get() + block_header() + 80 * entry + 64;
        let files = PhysAddr::new(dump.word(PhysAddr::new(at))?);
        if !files.is_null() {
            dump.memory("files", files, PAGE)?;
        }
    }
    dump.memory("FLBs", flbs, PAGE)?;
    // Two others are the handlers' own, one is the root FDT.
    dump.preserved(tracker)?;
    Ok(dump.finish().into())
}

/// Sets that fill their blocks.
pub(crate) fn blocks() -> Result<Text, Failure> {
    let orchestrator = orchestrator(Writing::PLAIN, &Log::default())?;
    let mut sessions = Vec::new();
    for number in 1..=52 {
        sessions.push(orchestrator.create_session(format!("s{number}"))?);
    }
    let first = sessions.first().ok_or("no session")?;
    for token in 1..=64 {
        first.preserve(token, file("beta", "", token))?;
    }
    let (header, _, mut dump) = hand_over(orchestrator, sessions)?;
    let (sessions, _) = tail(&header);
    let files = PhysAddr::new(dump.word(PhysAddr::new(sessions.get() + block_header() + 64))?);
    for at in dump.chain(sessions)? {
        let count = dump.word(PhysAddr::new(at.get() + 8))?;
        let name = dump.read(PhysAddr::new(at.get() + block_header()), 64)?;
        let name = crate::dump::text(&name);
        dump.line(format!("sessions: {count} from {name} on"));
    }
    for at in dump.chain(files)? {
        let count = dump.word(PhysAddr::new(at.get() + 8))?;
        let token = dump.word(PhysAddr::new(at.get() + block_header() + 56))?;
        dump.line(format!("files: {count} from token {token} on"));
    }
    Ok(dump.finish().into())
}

/// The order of a life's steps.
pub(crate) fn life() -> Result<Text, Failure> {
    let log = Log::default();
    let orchestrator = orchestrator(Writing::PLAIN, &log)?;
    let mut text = String::new();
    let mut say = |step: &str| {
        let _ = writeln!(text, "{step}: {}", log.take());
    };
    let one = orchestrator.create_session("one")?;
    let two = orchestrator.create_session("two")?;
    one.preserve(4, file("alpha", "a", 1))?;
    two.preserve(3, file("alpha", "c", 1))?;
    one.preserve(2, file("beta", "b", 1))?;
    two.preserve(1, file("alpha", "d", 1))?;
    say("preserve");
    orchestrator.freeze()?.unfreeze();
    say("freeze and thaw");
    let three = orchestrator.create_session("three")?;
    three.preserve(1, file("alpha", "e", 0))?;
    log.take();
    let refused = orchestrator.freeze().is_err();
    say(&format!("freeze with e, refused {refused}"));
    three.close();
    say("close three");
    two.close();
    say("close two");
    let (_, tracker, mut dump) = hand_over(orchestrator, vec![one])?;
    say("freeze and hand over");
    dump.preserved(tracker)?;
    text.push_str(&dump.finish());
    Ok(text.into())
}

/// What unfreezing leaves.
pub(crate) fn unfrozen() -> Result<Text, Failure> {
    let orchestrator = orchestrator(Writing::PLAIN, &Log::default())?;
    let session = orchestrator.create_session("session")?;
    session.preserve(1, file("beta", "file", 0xb1))?;
    let header = |kho: &Kho| kho.with_subtree(SUBTREE, |bytes| bytes.to_vec());
    let frozen = orchestrator.freeze()?;
    let before = header(orchestrator.kho()).ok_or("no header")?;
    frozen.unfreeze();
    let after = header(orchestrator.kho()).ok_or("no header")?;
    let (again, _, mut dump) = hand_over(orchestrator, vec![session])?;
    let (sessions, flbs) = tail(&again);
    dump.bytes("frozen", before);
    dump.bytes("thawed", after);
    dump.bytes("frozen", again);
    // Nothing twice.
    let files = PhysAddr::new(dump.word(PhysAddr::new(sessions.get() + block_header() + 64))?);
    for (what, at) in [("sessions", sessions), ("files", files), ("FLBs", flbs)] {
        dump.memory(what, at, 16)?;
    }
    Ok(dump.finish().into())
}
