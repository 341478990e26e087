//! The life of many files: preserved, frozen, found again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kho_compat::{Carrier, Component, Generation, Registry};
use kho_core::{Attached, Kho, KhoConfig, OpenOptions};
use kho_luo::{
    FileHandler, FileRef, HandlerError, Handlers, Incoming, Orchestrator, OutgoingSession, Retrieve,
};
use kho_mem::{ARENA_ALIGN, Arena, ArenaConfig, PAGE_SIZE_U64, PhysAddr};

use crate::Result;

const NAME: &str = "bench";

static COMPONENT: Component = Component::new(NAME, &[Generation::new(1)])
    .carried_in(Carrier::FileHandler)
    .field(48);

/// A file that is a number and takes no memory, so that what is measured is LUO.
#[derive(Debug)]
pub struct Number(u64);

struct Numbers;

impl FileHandler for Numbers {
    type File = Number;
    type Preserved = ();

    fn component(&self) -> &'static str {
        NAME
    }

    fn writes(&self) -> &[u32] {
        &[1]
    }

    fn preserve(&self, _kho: &Kho, _file: &Arc<Number>) -> std::result::Result<(), HandlerError> {
        Ok(())
    }

    fn unpreserve(&self, _file: &Arc<Number>, (): ()) {}

    fn freeze(&self, file: &Arc<Number>, (): &mut ()) -> std::result::Result<u64, HandlerError> {
        Ok(file.0)
    }

    fn unfreeze(&self, _file: &Arc<Number>, (): &mut ()) {}

    fn hand_over(&self, _file: &Arc<Number>, (): ()) {}

    fn retrieve(
        &self,
        _retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> std::result::Result<Arc<Number>, HandlerError> {
        Ok(Arc::new(Number(data)))
    }

    fn finish(&self, _attached: &mut Attached, _data: u64, _file: Option<Arc<Number>>) {}
}

/// The parts of the life of many files, as JSON and plots call them: making the sessions and preserving every
/// file, one call each; freezing them and writing them down; opening the handover, which is checked and judged
/// until every session and file is known; retrieving every session and every file, one call each; finishing.
pub const PARTS: [(&str, &str); 5] = [
    ("preserve_ns", "preserved"),
    ("freeze_ns", "frozen"),
    ("deserialize_ns", "opened, checked"),
    ("retrieve_ns", "retrieved"),
    ("finish_ns", "finished"),
];

fn name(session: u64) -> String {
    format!("session-{session}")
}

/// What each part takes of `files` files over `sessions` sessions.
pub fn life(files: u64, sessions: u64) -> Result<[Duration; 5]> {
    let linked = kho_golden::components()?.components();
    let registry = Registry::new(linked.chain([&COMPONENT]))?;
    let handlers = || Handlers::new().with(Numbers);
    // Blocks of files and of sessions, and what the rest of the handover takes.
    let pages = files / 50 + sessions * 9 / 8 + 1024;
    let size = (pages * PAGE_SIZE_U64).next_multiple_of(ARENA_ALIGN);
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(1 << 32), size))?;
    // What a system takes to find memory that was never used is not LUO's.
    drop(arena.alloc_pages_zeroed(arena.free_pages())?);
    let config = KhoConfig::new().side(registry.side().clone());
    let all: Vec<Arc<Number>> = (0..files).map(|file| Arc::new(Number(file))).collect();

    let kho = Kho::new(arena.clone(), &config)?;
    let orchestrator = Orchestrator::new(kho, handlers(), 0)?;
    drop(arena);
    let start = Instant::now();
    let mut made: Vec<OutgoingSession> = Vec::new();
    for session in 0..sessions {
        made.push(orchestrator.create_session(name(session))?);
    }
    for (file, session) in (0..).zip(&all).zip(made.iter().cycle()) {
        let (token, file) = file;
        session.preserve(token, Arc::clone(file) as FileRef)?;
    }
    let preserve = start.elapsed();

    let start = Instant::now();
    let frozen = orchestrator.freeze()?;
    let freeze = start.elapsed();
    drop((made, orchestrator));
    let (arena, entry) = frozen.hand_over().map_err(|_| "sessions are in use")?;
    let handed = arena.into_handed().map_err(|_| "the arena is in use")?;

    let start = Instant::now();
    let attached = Attached::open(handed, OpenOptions::new(entry).registry(&registry))?;
    let incoming = Incoming::take_over(attached, handlers(), &registry)?;
    let deserialize = start.elapsed();

    let start = Instant::now();
    let mut found = Vec::new();
    for session in 0..sessions {
        found.push(incoming.session(name(session))?);
    }
    for (token, session) in (0..files).zip(found.iter().cycle()) {
        let file = session.retrieve::<Number>(token)?;
        if file.0 != token {
            return Err(format!("file {token} is {}", file.0).into());
        }
    }
    let retrieve = start.elapsed();

    let start = Instant::now();
    incoming.finish()?;
    Ok([preserve, freeze, deserialize, retrieve, start.elapsed()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_live() {
        life(300, 3).unwrap();
    }
}
