//! What is told of a live update, line by line.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use kho_compat::{Carrier, Component, Generation, Registry};
use kho_core::{Attached, Entry, Kho, KhoConfig};
use kho_luo::{
    FileHandler, FileRef, Frozen, HandlerError, Handlers, Incoming, IncomingError, Orchestrator,
    Retrieve,
};
use kho_mem::{Arena, ArenaConfig, PhysAddr};
use kho_memfd::{MemFile, MemfdHandler};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps what is told as lines: the level, the spans around it, what, and the numbers and names.
#[derive(Clone)]
struct Listener {
    most: Level,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    spans: Vec<(String, Level)>,
    entered: Vec<usize>,
}

#[derive(Default)]
struct Line {
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            // Words and addresses of others.
            "error" | "place" | "reason" | "fdt" => {}
            name => {
                let _ = self.fields.insert(name, text);
            }
        }
    }
}

impl Line {
    fn fields(&self) -> String {
        self.fields
            .iter()
            .fold(String::new(), |mut all, (name, value)| {
                let _ = write!(all, " {name}={value}");
                all
            })
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line::default();
        span.record(&mut line);
        let text = format!(
            "{}{}",
            span.metadata().name(),
            line.fields().replace(' ', ",")
        );
        let mut state = self.state.lock().unwrap();
        state.spans.push((text, *span.metadata().level()));
        Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut state = self.state.lock().unwrap();
        let entered = state.entered.iter().filter_map(|at| state.spans.get(*at));
        let spans: Vec<_> = entered.map(|(name, _)| name.clone()).collect();
        let level = event.metadata().level();
        let text = format!(
            "{level} {}: {}{}",
            spans.join("/"),
            line.message,
            line.fields()
        );
        state.lines.push(text);
    }

    fn enter(&self, span: &Id) {
        let at = usize::try_from(span.into_u64()).unwrap() - 1;
        self.state.lock().unwrap().entered.push(at);
    }

    fn exit(&self, _: &Id) {
        self.state.lock().unwrap().entered.pop();
    }
}

/// What `step` is told, up to `most`.
fn told<T>(most: Level, step: impl FnOnce() -> T) -> (T, Vec<String>) {
    let listener = Listener {
        most,
        state: Arc::default(),
    };
    let done = tracing::subscriber::with_default(listener.clone(), step);
    let mut state = listener.state.lock().unwrap();
    assert!(state.entered.is_empty(), "every span is left");
    // Spans are for everybody: none of them is lost where little is asked for.
    assert!(state.spans.iter().all(|(_, level)| *level <= Level::INFO));
    (done, std::mem::take(&mut state.lines))
}

const SHY: &str = "shy";

kho_compat::submit! { Component::new(SHY, &[Generation::new(1)]).carried_in(Carrier::FileHandler).field(48) }

/// A file that freezes as often as its number says, and never comes back.
struct Shy(Mutex<u32>);
struct ShyHandler;

impl FileHandler for ShyHandler {
    type File = Shy;
    type Preserved = ();

    fn component(&self) -> &'static str {
        SHY
    }

    fn writes(&self) -> &[u32] {
        &[1]
    }

    fn preserve(&self, _: &Kho, _: &Arc<Shy>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn unpreserve(&self, _: &Arc<Shy>, (): ()) {}

    fn freeze(&self, file: &Arc<Shy>, (): &mut ()) -> Result<u64, HandlerError> {
        let mut left = file.0.lock().unwrap();
        *left = left
            .checked_sub(1)
            .ok_or_else(|| HandlerError::new("not now"))?;
        Ok(1)
    }

    fn unfreeze(&self, _: &Arc<Shy>, (): &mut ()) {}

    fn hand_over(&self, _: &Arc<Shy>, (): ()) {}

    fn retrieve(&self, _: &mut Retrieve<'_>, _: u64) -> Result<Arc<Shy>, HandlerError> {
        Err(HandlerError::new("gone"))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<Shy>>) {}
}

fn handlers() -> Handlers {
    Handlers::new().with(MemfdHandler).with(ShyHandler)
}

fn outgoing(shy: u32) -> Result<Frozen, kho_luo::LuoError> {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20)).unwrap();
    let kho = Kho::new(arena.clone(), &KhoConfig::new()).unwrap();
    let luo = Orchestrator::new(kho, handlers(), 3).unwrap();
    let session = luo.create_session("vm").unwrap();
    let file = MemFile::new(&arena);
    file.write_at(0, &[7; 5000]).unwrap();
    session.preserve(1, Arc::new(file) as FileRef).unwrap();
    let shy = Arc::new(Shy(Mutex::new(shy)));
    session.preserve(2, shy as FileRef).unwrap();
    luo.freeze()
}

fn attach(frozen: Frozen) -> Attached {
    let (arena, entry) = frozen.hand_over().unwrap();
    Attached::open(arena.into_handed().unwrap(), entry).unwrap()
}

fn update(most: Level) -> Vec<String> {
    let ((), lines) = told(most, || {
        let attached = attach(outgoing(1).unwrap());
        let incoming = Incoming::take_over(attached, handlers(), Registry::linked().unwrap());
        let incoming = incoming.unwrap();
        let session = incoming.session("vm").unwrap();
        session.retrieve::<MemFile>(1).unwrap();
        let error = session.retrieve::<Shy>(2).map(drop).unwrap_err();
        assert!(matches!(error, IncomingError::Retrieve { .. }));
        session.finish().unwrap();
    });
    lines
}

const FULL: [&str; 21] = [
    "TRACE : file preserved component=\"memfd\" session=vm token=0x1",
    "TRACE : file preserved component=\"shy\" session=vm token=0x2",
    "INFO freeze,number=3: frozen files=2 sessions=1",
    "TRACE open/judge,policy=\"semver-range\": restorable found=kho-v4",
    "INFO open/judge,policy=\"semver-range\": judged decision=\"accept\" findings=1",
    "DEBUG open: tracker read keys=10 nodes=6 pages=10",
    "DEBUG open: handover opened subtrees=1",
    "DEBUG survey: LUO read files=2 flbs=0 sessions=1",
    "DEBUG survey: surveyed strings=5",
    "TRACE judge,policy=\"semver-range\": restorable found=kho-v4",
    "TRACE judge,policy=\"semver-range\": restorable found=LUO",
    "TRACE judge,policy=\"semver-range\": restorable found=luo-v5",
    "TRACE judge,policy=\"semver-range\": restorable found=memfd-v2",
    "TRACE judge,policy=\"semver-range\": restorable found=shy-v1",
    "INFO judge,policy=\"semver-range\": judged decision=\"accept\" findings=5",
    "DEBUG restore: sessions opened files=2 sessions=1",
    "INFO : taken over files=2 lost=0 number=4 sessions=1",
    "DEBUG : session retrieved files=2 session=vm",
    "DEBUG retrieve,session=vm,token=0x1: retrieved",
    "WARN retrieve,session=vm,token=0x2: not retrieved",
    "INFO finish,session=vm: finished files=2 retrieved=1 sessions=1",
];

#[test]
fn an_update_is_told_at_every_level() {
    for (level, shown) in [
        (Level::ERROR, &[][..]),
        (Level::WARN, &["WARN"]),
        (Level::INFO, &["WARN", "INFO"]),
        (Level::DEBUG, &["WARN", "INFO", "DEBUG"]),
        (Level::TRACE, &["WARN", "INFO", "DEBUG", "TRACE"]),
    ] {
        let of_it = |line: &&str| shown.contains(&line.split(' ').next().unwrap());
        let expected: Vec<_> = FULL.into_iter().filter(of_it).collect();
        assert_eq!(update(level), expected, "{level}");
    }
}

#[test]
fn a_freeze_that_fails_is_warned_of_and_one_that_is_called_off_is_told() {
    let ((), lines) = told(Level::INFO, || drop(outgoing(0).unwrap_err()));
    assert_eq!(lines, ["WARN freeze,number=3: not frozen"]);
    let ((), lines) = told(Level::INFO, || outgoing(1).unwrap().unfreeze());
    assert_eq!(lines, [FULL[2], "INFO : unfrozen"]);
}

#[test]
fn what_is_not_taken_over_is_warned_of() {
    let linked = Registry::linked().unwrap();
    let attached = attach(outgoing(1).unwrap());
    let only = Handlers::new().with(MemfdHandler);
    let (failed, lines) = told(Level::INFO, || Incoming::take_over(attached, only, linked));
    assert_eq!(lines, [FULL[14], "WARN : not taken over"]);
    // A version that is not known: by its string, as a kernel warns of it.
    let attached = failed.map(drop).unwrap_err().returned;
    let without = linked.components().filter(|one| one.name != SHY);
    let without = Registry::new(without).unwrap();
    let (_, lines) = told(Level::INFO, || {
        Incoming::take_over(attached, handlers(), &without).map(drop)
    });
    let expected = [
        "WARN judge,policy=\"semver-range\": rejected found=shy-v1",
        "INFO judge,policy=\"semver-range\": judged decision=\"reject\" findings=5",
        "WARN : not taken over",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_is_not_opened_is_warned_of() {
    let (arena, entry) = outgoing(1).unwrap().hand_over().unwrap();
    let handed = arena.into_handed().unwrap();
    let beside = Entry::new(PhysAddr::new(entry.fdt_addr.get() + 4096));
    let (failed, lines) = told(Level::INFO, || Attached::open(handed, beside).map(drop));
    assert!(failed.is_err());
    assert_eq!(lines, ["WARN open: not opened"]);
}
