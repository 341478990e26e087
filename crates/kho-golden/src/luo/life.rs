//! What is done with what was handed over, and what is not taken to be handed over.

use std::fmt::Write as _;
use std::sync::Arc;

use kho_abi_check::{Failure, Text};
use kho_compat::Writing;
use kho_core::{Attached, Kho, KhoConfig, OpenOptions};
use kho_luo::{
    FileHandler, FileRef, FlbHandler, HandlerError, Handlers, Incoming, IncomingError, LuoError,
    Orchestrator, Retrieve,
};

use super::peers::{registry, version_of};
use super::written::{File, Log, file, orchestrator, side};
use crate::dump::arena;
use crate::edits::kind;

/// Makes the files of a kind out of their data.
struct Kind(&'static str, Log);

impl FileHandler for Kind {
    type File = File;
    type Preserved = ();

    fn component(&self) -> &'static str {
        self.0
    }

    fn writes(&self) -> &[u32] {
        version_of(self.0)
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
pub(crate) fn life() -> Result<Text, Failure> {
    let outgoing = orchestrator(Writing::PLAIN, &Log::default())?;
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
    let attached = Attached::open(handed, OpenOptions::new(entry).registry(&registry));
    let attached = attached.map_err(|failed| failed.error)?;
    let handlers = Handlers::new()
        .with(Kind("alpha", log.clone()))
        .with(Kind("beta", log.clone()))
        .with_flb(["alpha"], Data("of-alpha-v1", log.clone()))
        .with_flb(["beta"], Data("of-both-v2", log.clone()));
    let incoming = Incoming::take_over(attached, handlers, &registry);
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
    let names = incoming.sessions();
    let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
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
    let tokens: Vec<_> = one.tokens().into_iter().map(|token| token.get()).collect();
    say("tokens of one", Ok(format!("{tokens:?}")));
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
    Ok(text.into())
}

/// What is not taken to be handed over.
pub(crate) fn refused() -> Result<Text, Failure> {
    let outgoing = orchestrator(Writing::PLAIN, &Log::default())?;
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
    frozen.unfreeze();
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
    Ok(text.into())
}
