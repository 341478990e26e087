//! `kho demo`: a live update, shown.

use std::ffi::OsString;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use kho_compat::{Component, Registry};
use kho_exec::{Config, Host};
use kho_luo::{FileRef, Orchestrator, OutgoingSession};
use kho_mem::{ARENA_ALIGN, ARENA_MAX, PAGE_SIZE_U64, PhysAddr};
use kho_memfd::{FilePiece, MemFile};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::Xxh3;

use crate::args::{DemoArgs, VersionOf};
use crate::compat::registry;
use crate::error::{Failure, RED};
use crate::human::{count, size};
use crate::progress::{Bar, interrupted};

/// Where the arena lies; any address would do.
const BASE: PhysAddr = PhysAddr::new(1 << 40);
/// The session of what the demo itself keeps, and the tokens of its files.
const OWN: &str = "kho-demo";
const CHECKSUMS: u64 = 1;
const HISTORY: u64 = 2;
/// The most bytes that are made up at once.
const CHUNK: u64 = 4 << 20;

/// The phases of an update, each between two marks: its name, and where it ends.
const PHASES: &[(&str, &str, &str)] = &[
    ("freeze", "freeze", "frozen"),
    ("seal", "frozen", "exec"),
    ("exec", "exec", "start"),
    ("attach", "start", "attached"),
    ("check", "attached", "checked"),
    ("judge", "checked", "judged"),
    ("reclaim", "judged", "reclaimed"),
    ("retrieve", "reclaimed", "first file"),
    ("verify", "first file", "verified"),
    ("finish", "verified", "finished"),
];

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let plan = Plan::of(args)?;
    // A program that does not even start could not hand back.
    let next = args.next.as_ref().map(altered).transpose()?;
    let registry = match &args.of {
        Some(of) => altered(of)?,
        None => registry()?,
    };
    let policy = args.by.policy.0;
    let writing = args.dialect.map_or(policy.writing(), |dialect| dialect.0);
    let config = Config::new()
        .arena(BASE, plan.arena)
        .registry(registry)
        .side(policy.as_written(registry.side(), next.map(Registry::side)))
        .policy(policy)
        .writing(writing)
        .release(env!("CARGO_PKG_VERSION"));
    let mut host = Host::start(config).map_err(demo)?;
    let files = if host.is_incoming() {
        match take_over(args, &plan, &mut host) {
            // Some files are given out. Nothing of the handover has changed: it goes back.
            Err(Failure::Unrestorable(reason))
                if host.failed().is_some() && host.returned().is_none() =>
            {
                return Err(demo(host.hand_back(&reason)));
            }
            taken => taken?,
        }
    } else {
        plan.fits()?;
        fill(&plan, &host)?
    };
    // What came back is shown, not handed over once more.
    if host.returned().is_none() && host.generation() + 1 < args.generations {
        return Err(hand_over(args, &host, &files));
    }
    report(args, &plan, &host, &files)
}

fn demo(error: impl std::fmt::Display) -> Failure {
    Failure::Unrestorable(error.to_string())
}

/// What is to be made.
struct Plan {
    sessions: u64,
    files: u64,
    size: u64,
    arena: u64,
    needed: u64,
}

impl Plan {
    fn of(args: &DemoArgs) -> Result<Self, Failure> {
        let too_much = || {
            Failure::Usage(format!(
                "that is more than an arena of {} holds",
                size(ARENA_MAX)
            ))
        };
        // A file takes its pages, and a page each for its state, its list and the list's chunk.
        let pages = args
            .size
            .div_ceil(PAGE_SIZE_U64)
            .checked_add(4)
            .ok_or_else(too_much)?;
        let count = args.sessions.checked_mul(args.files).ok_or_else(too_much)?;
        let needed = count
            .checked_mul(pages)
            .and_then(|pages| pages.checked_add(pages / 64 + args.sessions + count / 256))
            .and_then(|pages| pages.checked_mul(PAGE_SIZE_U64))
            .ok_or_else(too_much)?;
        // Whole largest blocks, with room for those that small files break up.
        let arena = needed.saturating_add(needed / 16).saturating_add(64 << 20);
        let arena = arena.min(ARENA_MAX + 1).next_multiple_of(ARENA_ALIGN);
        if arena > ARENA_MAX {
            return Err(too_much());
        }
        Ok(Self {
            sessions: args.sessions,
            files: args.files,
            size: args.size,
            arena,
            needed,
        })
    }

    /// Whether the machine has the memory.
    fn fits(&self) -> Result<(), Failure> {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let available = text.lines().find_map(|line| {
            let kib = line
                .strip_prefix("MemAvailable:")?
                .trim()
                .strip_suffix("kB")?;
            kib.trim().parse::<u64>().ok()?.checked_mul(1024)
        });
        match available {
            Some(available) if available < self.needed => Err(Failure::Usage(format!(
                "that takes {}, and this machine has {} available",
                size(self.needed),
                size(available)
            ))),
            _ => Ok(()),
        }
    }

    fn count(&self) -> u64 {
        self.sessions * self.files
    }

    fn bytes(&self) -> u64 {
        self.count() * self.size
    }

    fn session(index: u64) -> String {
        format!("session-{index}")
    }
}

/// What one generation holds.
struct Files {
    // By session.
    files: Vec<Vec<Arc<MemFile>>>,
    checksums: Arc<MemFile>,
    history: Arc<MemFile>,
}

/// Bytes that no other file has, the same each time they are made.
fn made_up(buffer: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in buffer.chunks_mut(size_of::<u64>()) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bytes = state.to_le_bytes();
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }
}

fn fill(plan: &Plan, host: &Host) -> Result<Files, Failure> {
    let new = || Arc::new(MemFile::new(host.arena()));
    let mut out = Files {
        files: Vec::new(),
        checksums: new(),
        history: new(),
    };
    let mut bar = Bar::new("filling");
    let mut buffer = vec![0; usize::try_from(plan.size.min(CHUNK)).unwrap_or(0)];
    let mut number = 0u64;
    for _ in 0..plan.sessions {
        let mut files = Vec::new();
        for _ in 0..plan.files {
            let file = new();
            let mut hash = Xxh3::new();
            let mut offset = 0;
            while offset < plan.size {
                let len = usize::try_from((plan.size - offset).min(CHUNK)).unwrap_or(0);
                let part = buffer.get_mut(..len).unwrap_or_default();
                made_up(part, (number << 32) | (offset / CHUNK));
                hash.update(part);
                let written = file.write_at(offset, part).map_err(demo)?;
                if written < len {
                    return Err(demo("the arena is full"));
                }
                offset += len as u64;
                if !bar.at(number * plan.size + offset, Some(plan.bytes())) {
                    return Err(Failure::Interrupted);
                }
            }
            let sum = hash.digest().to_le_bytes();
            out.checksums.write_at(number * 8, &sum).map_err(demo)?;
            number += 1;
            files.push(file);
        }
        out.files.push(files);
    }
    Ok(out)
}

/// Hands over to this program again. Returns only if that failed.
fn hand_over(args: &DemoArgs, host: &Host, files: &Files) -> Failure {
    let (orchestrator, sessions) = match prepare(host, files) {
        Ok(prepared) => prepared,
        Err(failure) => return failure,
    };
    let exe = match std::env::current_exe() {
        Ok(exe) => exe,
        Err(error) => return demo(error),
    };
    let mut next = Command::new(exe);
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--of") {
        arguments.drain(at..arguments.len().min(at + 2));
    }
    next.args(arguments);
    if let Some(of) = &args.next {
        next.arg("--of").arg(OsString::from(of.to_string()));
    }
    if interrupted() {
        return Failure::Interrupted;
    }
    let error = host.exec(&orchestrator, next);
    drop(sessions);
    demo(error)
}

type Prepared = (Orchestrator, Vec<OutgoingSession>);

fn prepare(host: &Host, files: &Files) -> Result<Prepared, Failure> {
    let orchestrator = host.orchestrator().map_err(demo)?;
    let mut sessions = Vec::new();
    let mut bar = Bar::new("preserving");
    let total = files.files.iter().map(Vec::len).sum::<usize>() as u64;
    let mut done = 0;
    for (index, files) in (0..).zip(&files.files) {
        let session = orchestrator
            .create_session(Plan::session(index))
            .map_err(demo)?;
        for (token, file) in (0..).zip(files) {
            session
                .preserve(token, Arc::clone(file) as FileRef)
                .map_err(demo)?;
            done += 1;
            if !bar.count(done, total) {
                return Err(Failure::Interrupted);
            }
        }
        sessions.push(session);
    }
    let own = orchestrator.create_session(OWN).map_err(demo)?;
    own.preserve(CHECKSUMS, Arc::clone(&files.checksums) as FileRef)
        .map_err(demo)?;
    own.preserve(HISTORY, Arc::clone(&files.history) as FileRef)
        .map_err(demo)?;
    sessions.push(own);
    Ok((orchestrator, sessions))
}

/// Takes over what the generation before handed over, and verifies all of it.
fn take_over(args: &DemoArgs, plan: &Plan, host: &mut Host) -> Result<Files, Failure> {
    let first = host
        .retrieve::<MemFile>(Plan::session(0), 0)
        .map_err(demo)?;
    if let Some(file) = &first {
        file.read_at(0, &mut [0]).map_err(demo)?;
    }
    host.mark("first file");
    let lost = || demo("a file did not arrive");
    let own = |host: &mut Host, token| {
        host.retrieve::<MemFile>(OWN, token)
            .map_err(demo)?
            .ok_or_else(lost)
    };
    let (checksums, history) = (own(host, CHECKSUMS)?, own(host, HISTORY)?);
    let mut bar = Bar::new("verifying");
    let (mut number, mut all) = (0u64, Vec::new());
    for session in 0..plan.sessions {
        let mut files = Vec::new();
        for token in 0..plan.files {
            let file = host
                .retrieve::<MemFile>(Plan::session(session), token)
                .map_err(demo)?
                .ok_or_else(lost)?;
            let mut hash = Xxh3::new();
            file.for_each_piece(0, u64::MAX, |piece| match piece {
                FilePiece::Data(bytes) => hash.update(bytes),
                FilePiece::Hole(len) => (0..len).for_each(|_| hash.update(&[0])),
            })
            .map_err(demo)?;
            let mut sum = [0; 8];
            checksums.read_at(number * 8, &mut sum).map_err(demo)?;
            if hash.digest().to_le_bytes() != sum || file.size() != plan.size {
                return Err(demo(format!(
                    "token {token} of session-{session} arrived altered"
                )));
            }
            number += 1;
            files.push(file);
            if !bar.at(number * plan.size, Some(plan.bytes())) {
                return Err(Failure::Interrupted);
            }
        }
        all.push(files);
    }
    if interrupted() {
        return Err(Failure::Interrupted);
    }
    drop(bar);
    host.mark("verified");
    let verdict = verdict(host, args);
    host.finish().map_err(demo)?;
    // One line per update.
    let line = update(host, &verdict);
    history
        .write_at(history.size(), format!("{line}\n").as_bytes())
        .map_err(demo)?;
    Ok(Files {
        files: all,
        checksums,
        history,
    })
}

fn verdict(host: &Host, args: &DemoArgs) -> Value {
    match host.returned() {
        Some(reason) => {
            let next = args.next.as_ref().map(ToString::to_string);
            json!({ "decision": "reject", "reason": reason, "next": next })
        }
        None => {
            let verdict = host.verdict();
            let of = |get: fn(&kho_compat::Verdict) -> &'static str| verdict.map(get);
            json!({ "decision": of(|verdict| verdict.decision.id()), "policy": of(|verdict| verdict.policy) })
        }
    }
}

/// What the update that led here took.
fn update(host: &Host, verdict: &Value) -> Value {
    let marks = host.marks();
    // What came back passed some points twice: the last time counts.
    let at = |what: &str| {
        marks
            .iter()
            .rev()
            .find(|mark| mark.what == what)
            .map(|mark| mark.at)
    };
    let between = |from: &str, to: &str| {
        let (from, to) = at(from).zip(at(to))?;
        to.checked_sub(from).map(|nanos| nanos / 1000)
    };
    let phases: Map<_, _> = PHASES
        .iter()
        .filter_map(|(name, from, to)| Some(((*name).to_owned(), between(from, to)?.into())))
        .collect();
    json!({
        "generation": host.generation() + 1,
        "blackout_us": between("freeze", "first file"),
        "phases_us": phases,
        "verdict": verdict,
        "pid": std::process::id(),
    })
}

fn report(args: &DemoArgs, plan: &Plan, host: &Host, files: &Files) -> Result<(), Failure> {
    let mut text = vec![0; usize::try_from(files.history.size()).unwrap_or(0)];
    files.history.read_at(0, &mut text).map_err(demo)?;
    let lines = String::from_utf8_lossy(&text);
    let updates: Vec<Value> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let last = updates.last().cloned().unwrap_or(Value::Null);
    let of = |key: &str| last.get(key).cloned().unwrap_or(Value::Null);
    let mut out = std::io::stdout().lock();
    if args.json {
        let value = json!({
            "verified": true,
            "sessions": plan.sessions,
            "files": plan.count(),
            "bytes": plan.bytes(),
            "generations": args.generations,
            "blackout_us": of("blackout_us"),
            "phases_us": of("phases_us"),
            "incoming": { "pid": of("pid"), "generation": of("generation") },
            "verdict": of("verdict"),
            "updates": updates,
        });
        return writeln!(out, "{value:#}").map_err(Failure::Output);
    }
    human(plan, host, &updates, &last).map_err(Failure::Output)
}

fn human(plan: &Plan, host: &Host, updates: &[Value], last: &Value) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let what = format!(
        "{} of {}, {}",
        count(plan.count(), "file"),
        count(plan.sessions, "session"),
        size(plan.bytes())
    );
    if updates.is_empty() {
        return writeln!(
            out,
            "made {what}; nothing was handed over (--generations 1)"
        );
    }
    for update in updates {
        let generation = number(update, "generation");
        let verdict = update.get("verdict").unwrap_or(&Value::Null);
        let reason = verdict.get("reason").and_then(Value::as_str);
        match reason {
            None => writeln!(
                out,
                "generation {} -> {generation} (process {})",
                generation - 1,
                number(update, "pid")
            )?,
            Some(reason) => {
                writeln!(
                    out,
                    "generation {generation} -> {RED}refused{RED:#}: {reason}"
                )?;
                writeln!(
                    out,
                    "handed back: generation {generation} goes on (process {})",
                    number(update, "pid")
                )?;
            }
        }
        timeline(&mut out, update)?;
    }
    writeln!(
        out,
        "blackout {} from the freeze to the first retrieved file",
        time(number(last, "blackout_us"))
    )?;
    writeln!(
        out,
        "verified: generation {} has {what}, every checksum right",
        host.generation() + 1
    )
}

fn timeline(out: &mut dyn Write, update: &Value) -> std::io::Result<()> {
    const WIDTH: u64 = 40;
    let phases = update.get("phases_us").and_then(Value::as_object);
    let phases: Vec<(&str, u64)> = PHASES
        .iter()
        .filter_map(|(name, _, _)| Some((*name, phases?.get(*name)?.as_u64()?)))
        .collect();
    // Verifying is the demo's own; the rest is what an update takes.
    let scale = phases
        .iter()
        .filter(|(name, _)| *name != "verify")
        .map(|(_, us)| *us)
        .max()
        .unwrap_or(1)
        .max(1);
    for (name, us) in phases {
        let bar = usize::try_from((us * WIDTH).div_ceil(scale).min(WIDTH)).unwrap_or(0);
        let more = if us > scale { ">" } else { "" };
        writeln!(
            out,
            "  {name:<9}{:>11}  {}{more}",
            time(us),
            "=".repeat(bar)
        )?;
    }
    Ok(())
}

/// A time for people.
fn time(us: u64) -> String {
    match us {
        0..10_000 => format!("{us} us"),
        10_000..10_000_000 => format!("{}.{} ms", us / 1000, us / 100 % 10),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

/// The linked components, one of them of another version: what a program knows that is to refuse.
fn altered(of: &VersionOf) -> Result<&'static Registry, Failure> {
    let linked = registry()?;
    if linked.get(&of.name).is_none() {
        let known: Vec<_> = linked
            .components()
            .map(|component| component.name)
            .collect();
        return Err(Failure::Usage(format!(
            "no component `{}`: there are {}",
            of.name,
            known.join(", ")
        )));
    }
    let components = linked.components().map(|component| -> &'static Component {
        if component.name != of.name {
            return component;
        }
        let mut generation = component.written().clone();
        generation.number = of.version;
        // Once per program: they live as long as it does, as those that are linked.
        let other = component
            .clone()
            .generations(Box::leak(Box::new([generation])));
        Box::leak(Box::new(other))
    });
    let registry = Registry::new(components).map_err(Failure::Registry)?;
    Ok(Box::leak(Box::new(registry)))
}
