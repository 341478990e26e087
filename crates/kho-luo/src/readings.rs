//! What the reader says of sessions for given inputs: what it takes, and what it refuses.

use std::fmt::Write as _;
use std::sync::Arc;

use kho_compat::{Dialect, Registry, Vector, policy};
use kho_core::{Attached, Handover, Kho, KhoConfig};
use kho_mem::PhysAddr;
use kho_radix::dump::{Dump, Failure, Names, arena, vector};
use kho_radix::edits::{Edit, Nowhere, Reading, Refusal, addr, behind, bytes, kind, word};

use crate::abi::SUBTREE;
use crate::golden::{File, Log, file, hand_over, orchestrator, side, tail};
use crate::peers::registry;
use crate::{
    FileHandler, FileRef, FlbHandler, HandlerError, Handlers, Incoming, IncomingError, Luo,
    LuoError, Orchestrator, Retrieve,
};

/// A handed LUO: its header, and where things lie.
struct Handed {
    dump: Dump,
    handover: Handover<'static>,
    registry: Registry,
    header: PhysAddr,
    sessions: PhysAddr,
    flbs: PhysAddr,
}

/// The sessions `zeta` with files 9 and 3, `empty`, and one whose name has 63 bytes, with file 2^64 - 1;
/// an FLB of two files and another.
fn written(dialect: Dialect) -> Result<Handed, Failure> {
    let orchestrator = orchestrator(dialect, &Log::default())?;
    let zeta = orchestrator.create_session("zeta")?;
    let empty = orchestrator.create_session("empty")?;
    let long = orchestrator.create_session([b'x'; 63])?;
    zeta.preserve(9, file("beta", "one", 0xb1))?;
    zeta.preserve(3, file("alpha", "two", 0xa3_0000_0000_0000))?;
    long.preserve(u64::MAX, file("alpha", "three", 0xa2))?;
    let entry = orchestrator.kho().entry();
    let (header, _, dump) = hand_over(orchestrator, vec![zeta, empty, long])?;
    let (sessions, flbs) = tail(&header);
    let registry = registry()?;
    let handover = Handover::open_with(dump.mem(), entry, &registry)?.in_memory(&Nowhere);
    Ok(Handed {
        header: handover.subtree(SUBTREE).ok_or("no subtree")?.addr,
        handover,
        registry,
        dump,
        sessions,
        flbs,
    })
}

impl Handed {
    fn readings(mut self, edits: &[Edit]) -> Result<String, Failure> {
        let (handover, registry) = (&self.handover, &self.registry);
        self.dump.readings(edits, |mem, names| {
            read(&handover.in_memory(mem), registry, names)
        })?;
        Ok(self.dump.finish())
    }

    /// Edits that put every sort of address at `at`.
    fn addresses(&self, place: &str, at: PhysAddr) -> [Edit; 5] {
        let to = |what, to| addr(format!("{place}: {what}"), at, to);
        [
            to("0", PhysAddr::NULL),
            to("unaligned", behind(self.sessions, 16)),
            to("outside memory", PhysAddr::new(0x10_0000_0000)),
            to("the header", self.header),
            to("the FLB area", self.flbs),
        ]
    }
}

fn read(handover: &Handover<'_>, registry: &Registry, names: &mut Names) -> Reading {
    let mut reading = handover.reading()?;
    let before = reading.claims().count();
    let luo = Luo::read_with(handover, &mut reading, registry);
    if luo.is_err() && reading.claims().count() != before {
        return Err(Refusal::new("and stays claimed"));
    }
    let Some(luo) = luo? else {
        return Ok("no LUO".to_owned());
    };
    let Some(body) = luo.body() else {
        return Ok(format!(
            "{}, of which the string alone is read",
            luo.compatible()
        ));
    };
    let mut text = format!("{}, update {}\n", luo.compatible(), body.liveupdate_num());
    let (sessions, files) = (body.sessions().len(), body.files());
    let blocks = body.session_blocks();
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{sessions} sessions in {blocks} blocks, {files} files"
    );
    for session in body.sessions() {
        let files = session.files().iter().map(|file| {
            let (token, of, data) = (file.token, body.compatible_of(file), file.data);
            format!(
                " {token:#x} {of} {:#x}",
                names.name(PhysAddr::new(data)).get()
            )
        });
        let files: Vec<_> = files.collect();
        let name = shortened(&session.name().to_string());
        let _ = writeln!(
            text,
            "{name}, {} blocks:{}",
            session.file_blocks(),
            files.join(",")
        );
    }
    for handler in body.handlers() {
        let (compatible, files, (_, first)) = (&handler.compatible, handler.files, &handler.first);
        let first = shortened(&first.to_string());
        let _ = writeln!(
            text,
            "{}: {files} files, first in {first}",
            shortened(compatible)
        );
    }
    if let Some(pages) = body.flb_pages() {
        let _ = writeln!(text, "{} FLBs in {pages} pages", body.flbs().len());
    }
    // There may be 63.
    for flb in body.flbs().iter().take(3) {
        let (name, data, count) = (shortened(&flb.name), flb.data, flb.count);
        let _ = writeln!(text, "FLB {name}: {data:#x}, {count} files");
    }
    Ok(text)
}

/// A long name by its beginning and its length.
fn shortened(name: &str) -> String {
    match name.get(..16) {
        Some(head) if name.len() > 32 => format!("{head}... of {} bytes", name.len()),
        _ => name.to_owned(),
    }
}

fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field
        .iter_mut()
        .zip(text)
        .for_each(|(to, byte)| *to = *byte);
    field
}

/// The header's string and numbers.
pub(crate) fn header() -> Vector {
    let name = "what is read of sessions zeta (9, 3), empty, 63 bytes (2^64-1), and of headers";
    vector(name, || {
        let handed = written(Dialect::Plain)?;
        let at = handed.header;
        let string = |text: &[u8]| {
            let title = format!("string: {}", text.escape_ascii());
            bytes(title, at, &padded::<8>(text))
        };
        let strings: [&[u8]; 13] = [
            b"luo-v4",
            b"luo-v6",
            b"luo-v50",
            b"luo-v05",
            b"luo-v0",
            b"luo_v5",
            b"LUO-v5",
            b"beta-v12",
            b"luo-v5;",
            b"luo-v5\0x",
            b"",
            b"luo-v5\x01",
            b"luo-v5\xff",
        ];
        let mut edits: Vec<_> = strings.into_iter().map(string).collect();
        let number = |value| word(format!("liveupdate_num: {value}"), behind(at, 8), value);
        edits.extend([0, 1, u64::MAX].map(number));
        edits.extend(handed.addresses("sessions_pa", behind(at, 16)));
        edits.extend(handed.addresses("flbs_pa", behind(at, 24)));
        edits.push(addr(
            "flbs_pa: the sessions",
            behind(at, 24),
            handed.sessions,
        ));
        handed.readings(&edits)
    })
}

/// The header of a composite string, which is longer.
pub(crate) fn composite() -> Vector {
    vector("what is read of headers of 40 bytes", || {
        let handed = written(Dialect::Composite)?;
        let string = |text: &[u8]| {
            let title = format!("string: {}", text.escape_ascii());
            bytes(title, handed.header, &padded::<16>(text))
        };
        let strings: [&[u8]; 6] = [
            b"luo-v5",
            b"luo-v5;block-v2",
            b"luo-v5;block-v0",
            b"luo-v5;other-v1",
            b"luo-v6;block-v1",
            b"luo-v5;block-v01",
        ];
        let edits: Vec<_> = strings.into_iter().map(string).collect();
        handed.readings(&edits)
    })
}

/// Sessions and their files.
pub(crate) fn sessions() -> Vector {
    let name = "what is read of these sessions: names, files, tokens";
    vector(name, || {
        let handed = written(Dialect::Plain)?;
        let block = handed.sessions;
        let session = |number: u64| behind(block, 16 + 80 * number);
        let files = PhysAddr::new(handed.dump.word(behind(session(0), 64))?);
        let (first, second) = (behind(files, 16), behind(files, 16 + 64));
        let name = |title: &str, text: &[u8]| bytes(format!("name: {title}"), session(0), text);
        let mut edits = Vec::from([
            name("empty", &[0; 64]),
            name("63 bytes", &padded::<64>(&[b'n'; 63])),
            name("64 bytes", &[b'n'; 64]),
            name("that of the session after it", &padded::<64>(b"empty")),
            name("no text", &padded::<64>(b"\xff\x01\n")),
            name("and more behind the NUL", &padded::<64>(b"zeta\0more")),
        ]);
        edits.extend(handed.addresses("files", behind(session(0), 64)));
        edits.extend([
            word(
                "files of the next session: the same",
                behind(session(1), 64),
                files.get(),
            )
            .word(behind(session(1), 72), 2),
            word("count: 0", behind(session(0), 72), 0),
            word("count: 1", behind(session(0), 72), 1),
            word("count: 3", behind(session(0), 72), 3),
            word("count of no files: 1", behind(session(1), 72), 1),
            word("no files, count: 0", behind(session(0), 64), 0).word(behind(session(0), 72), 0),
            word("entries of sessions: 2", behind(block, 8), 2),
            word("entries of sessions: 4", behind(block, 8), 4),
            word("entries of sessions: 52", behind(block, 8), 52),
            word("entries of files: 1", behind(files, 8), 1),
            word("entries of files: 64, count 64", behind(files, 8), 64)
                .word(behind(session(0), 72), 64),
            word("token: as another", behind(second, 56), 9),
            word("token: 0", behind(second, 56), 0),
            word("token: of another session", behind(second, 56), u64::MAX),
            word("data: 0", behind(first, 48), 0),
        ]);
        let compatible =
            |title: &str, text: &[u8; 48]| bytes(format!("compatible: {title}"), first, text);
        edits.extend([
            compatible("empty", &[0; 48]),
            compatible("47 bytes", &padded(&[b'c'; 47])),
            compatible("48 bytes", &[b'c'; 48]),
            compatible("no ASCII", &padded(b"beta-v\xc3\xa9")),
            compatible("a control character", &padded(b"beta-v1\n")),
            compatible("a space", &padded(b"beta v1")),
            compatible("of another version", &padded(b"beta-v13")),
            compatible("that of the other file", &padded(b"alpha-v3")),
            compatible("and more behind the NUL", &padded(b"beta-v12\0more")),
        ]);
        handed.readings(&edits)
    })
}

/// Objects that files depend on.
pub(crate) fn flbs() -> Vector {
    vector("what is read of the FLBs of these sessions", || {
        let handed = written(Dialect::Plain)?;
        let area = handed.flbs;
        let entry = |number: u64| behind(area, 16 + 64 * number);
        let name = |title: &str, text: &[u8; 48]| bytes(format!("name: {title}"), entry(0), text);
        let other = handed.dump.read(entry(1), 48)?;
        let files = |count| {
            word(
                format!("count of files: {count}"),
                behind(entry(0), 56),
                count,
            )
        };
        let entries = |count| word(format!("count of entries: {count}"), behind(area, 8), count);
        let mut edits = Vec::from(
            [0, 2, 1 << 32 | 1].map(|pages| word(format!("pgcnt: {pages}"), area, pages)),
        );
        edits.extend([0, 1, 3, u64::MAX].map(entries));
        edits.extend([0, 1, 3, 4].map(files));
        edits.extend([
            name("empty", &[0; 48]),
            name("47 bytes", &padded(&[b'f'; 47])),
            name("48 bytes", &[b'f'; 48]),
            name("that of the other", &padded(&other)),
            name("no ASCII", &padded(b"\xff")),
            word("data: 0", behind(entry(0), 48), 0),
        ]);
        // All of them: the rest is named by numbers.
        let mut all = word("63 entries", behind(area, 8), 63);
        for number in 2..63 {
            let name = format!("flb-{number}");
            all = all
                .bytes(entry(number), &padded::<48>(name.as_bytes()))
                .word(behind(entry(number), 56), 1);
        }
        edits.push(all);
        edits.push(entries(64));
        handed.readings(&edits)
    })
}

/// What the root FDT lists.
pub(crate) fn listed() -> Vector {
    let name = "what is listed with sessions, and what is read of that";
    vector(name, || {
        let mut text = String::new();
        for dialect in [Dialect::Table, Dialect::Features] {
            let handed = written(dialect)?;
            let _ = writeln!(text, "{dialect}:");
            for listed in handed.handover.listed() {
                if listed.name != kho_core::abi::NAME {
                    let _ = writeln!(text, "  {}: {}", listed.name, listed.said);
                }
            }
            let handover = handed.handover.in_memory(handed.dump.mem());
            let luo = Luo::read_with(&handover, &mut handover.reading()?, &handed.registry)?;
            let luo = luo.ok_or("no LUO")?;
            let version = luo.body().map(crate::Body::block_version);
            let format = version.and_then(kho_block::Format::of);
            let _ = writeln!(text, "  read: {}, blocks {format:?}", luo.compatible());
        }
        Ok(text)
    })
}

/// Makes the files of a kind out of their data.
struct Kind(&'static str, Log);

impl FileHandler for Kind {
    type File = File;
    type Preserved = ();

    fn component(&self) -> &'static str {
        self.0
    }

    fn preserve(&self, _: &Kho, _: &Arc<File>) -> Result<(), HandlerError> {
        Err(HandlerError::new("never preserved"))
    }

    fn unpreserve(&self, _: &Arc<File>, (): ()) {}

    fn freeze(&self, _: &Arc<File>, (): &mut ()) -> Result<u64, HandlerError> {
        Err(HandlerError::new("never frozen"))
    }

    fn unfreeze(&self, _: &Arc<File>, (): &mut ()) {}

    fn hand_over(&self, _: &Arc<File>, (): ()) {}

    fn retrieve(&self, _: &mut Retrieve<'_>, data: u64) -> Result<Arc<File>, HandlerError> {
        self.1.add("retrieve", &format!("{} {data:#x}", self.0));
        match data {
            0xbad => Err(HandlerError::new("it is bad")),
            _ => Ok(file(self.0, "retrieved", data)),
        }
    }

    fn can_finish(&self, _: &Attached, file: Option<&Arc<File>>) -> Result<(), HandlerError> {
        let what = file.map_or("none".to_owned(), |file| format!("{:#x}", file.data));
        self.1.add("may finish", &format!("{} {what}", self.0));
        match file {
            None if self.0 == "alpha" => Err(HandlerError::new("it was not retrieved")),
            _ => Ok(()),
        }
    }

    fn finish(&self, _: &mut Attached, data: u64, file: Option<Arc<File>>) {
        let what = if file.is_some() { "retrieved" } else { "left" };
        self.1
            .add("finish", &format!("{} {data:#x} {what}", self.0));
    }
}

/// An object that is its data.
struct Data(&'static str, Log);

impl FlbHandler for Data {
    type Object = u64;
    type Preserved = ();

    fn name(&self) -> &str {
        self.0
    }

    fn preserve(&self, _: &Kho) -> Result<(u64, ()), HandlerError> {
        Err(HandlerError::new("never preserved"))
    }

    fn unpreserve(&self, (): ()) {}

    fn hand_over(&self, (): ()) {}

    fn retrieve(&self, _: &mut Retrieve<'_>, data: u64) -> Result<Arc<u64>, HandlerError> {
        self.1.add("retrieve", &format!("{} {data:#x}", self.0));
        Ok(Arc::new(data))
    }

    fn finish(&self, _: &mut Attached, data: u64, object: Option<Arc<u64>>) {
        let what = if object.is_some() {
            "retrieved"
        } else {
            "left"
        };
        self.1
            .add("finish", &format!("{} {data:#x} {what}", self.0));
    }
}

/// The order of the steps of what was handed over.
pub(crate) fn life() -> Vector {
    let name =
        "life of what was handed over: one (alpha 4, beta 2), two (beta 7, which fails, beta 1)";
    vector(name, || {
        let outgoing = orchestrator(Dialect::Plain, &Log::default())?;
        let (one, two) = (
            outgoing.create_session("one")?,
            outgoing.create_session("two")?,
        );
        one.preserve(4, file("alpha", "", 0xa4))?;
        one.preserve(2, file("beta", "", 0xb2))?;
        two.preserve(7, file("beta", "", 0xbad))?;
        two.preserve(1, file("beta", "", 0xb1))?;
        let frozen = outgoing.freeze()?;
        drop((one, two, outgoing));
        let (arena, entry) = frozen.hand_over().map_err(|_| "still shared")?;
        let handed = arena.into_handed().map_err(|_| "still shared")?;

        let (registry, log) = (registry()?, Log::default());
        let attached = Attached::open_with(handed, entry, &registry);
        let attached = attached.map_err(|failed| failed.error)?;
        let handlers = Handlers::new()
            .with(Kind("alpha", log.clone()))
            .with(Kind("beta", log.clone()))
            .with_flb("alpha", Data("of-alpha-v1", log.clone()))
            .with_flb("beta", Data("of-both-v2", log.clone()));
        let incoming = Incoming::take_over(attached, &registry, &policy::SemverRange, handlers);
        let incoming = incoming.map_err(|failed| failed.error)?;

        let mut text = String::new();
        let mut say = |step: &str, said: Result<String, IncomingError>| {
            let said = said.unwrap_or_else(|error| kind(&error));
            let (log, is_finished) = (log.take(), incoming.is_finished());
            let _ = writeln!(
                text,
                "{step}: {said} [{log}]{}",
                if is_finished { ", the end" } else { "" }
            );
        };
        let names = incoming
            .sessions()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        say(
            "sessions",
            Ok(format!("{}, update {}", names.join(" "), incoming.number())),
        );
        let (one, two) = (incoming.session("one")?, incoming.session("two")?);
        say(
            "session one again",
            incoming.session("one").map(|_| "there".to_owned()),
        );
        say(
            "session three",
            incoming.session("three").map(|_| "there".to_owned()),
        );
        say("tokens of one", Ok(format!("{:?}", one.tokens())));
        let data = |file: Result<FileRef, IncomingError>| {
            let file = file.map(|file| file.downcast::<File>());
            file.map(|file| file.map_or("no file".to_owned(), |file| format!("{:#x}", file.data)))
        };
        for (name, session, token) in [
            ("one", &one, 2),
            ("one", &one, 2),
            ("one", &one, 5),
            ("two", &two, 7),
            ("two", &two, 7),
        ] {
            say(
                &format!("file {token} of {name}"),
                data(session.retrieve_any(token)),
            );
        }
        say(
            "file 2 as a number",
            one.retrieve::<u64>(2).map(|_| "there".to_owned()),
        );
        say("finish one", one.finish().map(|()| "done".to_owned()));
        say("finish all", incoming.finish().map(|_| "done".to_owned()));
        let flb = |name| {
            incoming
                .flb::<u64>(name)
                .map(|data| format!("{:#x}", *data))
        };
        say("of-both-v2", flb("of-both-v2"));
        say("of-both-v2", flb("of-both-v2"));
        say("of-none-v1", flb("of-none-v1"));
        say("file 4 of one", data(one.retrieve_any(4)));
        say("finish one", one.finish().map(|()| "done".to_owned()));
        say("finish one", one.finish().map(|()| "done".to_owned()));
        say("file 4 of one", data(one.retrieve_any(4)));
        say(
            "session one",
            incoming.session("one").map(|_| "there".to_owned()),
        );
        say("finish two", two.finish().map(|()| "done".to_owned()));
        Ok(text)
    })
}

/// What is not taken to be handed over.
pub(crate) fn refused() -> Vector {
    vector("names, tokens, files and FLBs that are not taken", || {
        let outgoing = orchestrator(Dialect::Plain, &Log::default())?;
        let mut text = String::new();
        let mut say = |what: &str, said: Result<(), LuoError>| {
            let said = said.map_or_else(|error| kind(&error), |()| "taken".to_owned());
            let _ = writeln!(text, "{what}: {said}");
        };
        let mut sessions = Vec::new();
        for (what, name) in [
            ("a session without a name", &b""[..]),
            ("a session of a byte", b"s"),
            ("the same name", b"s"),
            ("a session of 63 bytes", &[b'n'; 63]),
            ("a session of 64 bytes", &[b'n'; 64]),
            ("a session with a NUL", b"a\0b"),
            ("a session that is no text", b"\xff"),
        ] {
            let session = outgoing.create_session(name);
            say(what, session.map(|session| sessions.push(session)));
        }
        let first = sessions.first().ok_or("no session")?;
        let (once, other) = (file("beta", "once", 1), file("gamma", "other", 1));
        say("token 0", first.preserve(0, once.clone()));
        say("the same file", first.preserve(1, once));
        say("the same token", first.preserve(0, file("beta", "", 2)));
        say(
            "token 2^64 - 1",
            first.preserve(u64::MAX, file("beta", "", 3)),
        );
        say("a file of no handler", first.preserve(5, Arc::new(7u64)));
        say("a file that any handler takes", first.preserve(6, other));
        let frozen = outgoing.freeze()?;
        say(
            "a session while frozen",
            outgoing.create_session("late").map(drop),
        );
        say(
            "a file while frozen",
            first.preserve(9, file("beta", "", 9)),
        );
        frozen.thaw();
        drop((sessions, outgoing));
        let kho = Kho::new(arena()?, &KhoConfig::new().side(side()?))?;
        let many = |count: usize| (0..count).map(|number| format!("flb-v{number}")).collect();
        for (what, names, count) in [
            ("63 FLBs", many(63), 1),
            ("64 FLBs", many(64), 1),
            ("an FLB of 47 bytes", vec!["f".repeat(47)], 1),
            ("an FLB of 48 bytes", vec!["f".repeat(48)], 1),
            ("an FLB without a name", vec![String::new()], 1),
            ("an FLB twice", vec!["flb".to_owned(), "flb".to_owned()], 1),
            ("an FLB that no file depends on", many(1), 0),
        ] {
            let outgoing = Orchestrator::new(kho.clone(), Handlers::new(), 0)?;
            let names: Vec<String> = names;
            let flbs = names.into_iter().map(|name| (name, 1, count));
            say(what, outgoing.with_foreign_flbs(flbs).map(drop));
        }
        for (what, component) in [
            ("a handler of no component", "delta"),
            ("a handler of alpha", "alpha"),
        ] {
            let handlers = Handlers::new().with(Kind(component, Log::default()));
            say(what, Orchestrator::new(kho.clone(), handlers, 0).map(drop));
        }
        Ok(text)
    })
}
