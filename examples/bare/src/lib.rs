//! Writes a handover of every format into an arena, and reads it back, without the standard library.
#![no_std]

extern crate alloc;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;

use kho_compat::{Component, Registry, RegistryError, Writing, policy};
use kho_core::{Attached, Entry, Handover, Kho, KhoConfig, Memblock, Metadata, OpenOptions};
use kho_luo::{Handlers, Incoming, Orchestrator, survey};
use kho_mem::{Arena, ArenaConfig, Handed, PhysAddr};
use kho_memfd::{MemFile, Memfd, MemfdHandler, Piece};

/// What a step of the example may fail with.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The components of this program, by name.
const COMPONENTS: &[&Component] = &[
    &kho_core::COMPONENT,
    &kho_core::METADATA,
    &kho_core::MEMBLOCK,
    &kho_core::REGION,
    &kho_radix::COMPONENT,
    &kho_vmalloc::COMPONENT,
    &kho_block::COMPONENT,
    &kho_luo::COMPONENT,
    &kho_memfd::COMPONENT,
];

/// The registry of this program.
///
/// # Errors
///
/// The components contradict each other.
pub fn registry() -> Result<Registry, RegistryError> {
    Registry::new(COMPONENTS.iter().copied())
}

/// Bytes of the arena: the heap has to hold it, and some hundred KiB besides.
pub const ARENA: u64 = 8 << 20;

const SESSION: &str = "vm7";
const REGION: &str = "log";

/// Writes a handover with one session, in which each of `files` is a memfd whose token is its place.
///
/// # Errors
///
/// The files do not fit the arena.
pub fn write(registry: &Registry, files: &[&[u8]]) -> Result<(Handed, Entry), Failure> {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), ARENA))?;
    let config = KhoConfig::new()
        .side(registry.side().clone())
        .writing(Writing::COMPOSITE)
        .metadata("7.3.4", 2);
    let kho = Kho::new(arena.clone(), &config)?;
    kho.reserve_mem(REGION, arena.alloc_pages_zeroed(2)?)
        .map_err(|failed| failed.error)?;

    let luo = Orchestrator::new(kho, Handlers::new().with(MemfdHandler), 0)?;
    let session = luo.create_session(SESSION)?;
    for (token, bytes) in (0..).zip(files) {
        let file = MemFile::new(&arena);
        file.write_at(0, bytes)?;
        session.preserve(token, Arc::new(file))?;
    }
    drop(arena);
    let frozen = luo.freeze()?;
    drop((session, luo));
    let (arena, entry) = frozen.hand_over().map_err(|_| "a session is open")?;
    let handed = arena.into_handed().map_err(|_| "the arena is in use")?;
    Ok((handed, entry))
}

/// Reads the memfds of a handover as a dump of it would be read. Nothing of it changes.
///
/// # Errors
///
/// The handover is damaged, or not admitted.
pub fn read(registry: &Registry, handed: &Handed, entry: Entry) -> Result<Vec<Vec<u8>>, Failure> {
    let handover = Handover::open(handed, OpenOptions::new(entry).registry(registry))?;
    let mut reading = handover.reading()?;
    let (manifest, luo) = survey(&handover, &mut reading, registry)?;
    let Some(Metadata::V1 { .. }) = Metadata::read(&handover)? else {
        return Err("no kexec metadata".into());
    };
    let memblock = Memblock::read(&handover, &mut handover.reading()?)?;
    if !memblock.is_some_and(|memblock| memblock.regions().iter().any(|it| it.name == REGION)) {
        return Err("no reserve_mem region".into());
    }
    let admitted = registry.admit(&policy::SemverRange, manifest)?;
    let luo = luo.ok_or("no LUO")?;
    let sessions = luo.restore(&admitted)?;
    let session = sessions.get(SESSION.as_bytes()).ok_or("no session")?;
    let mut restoring = reading.admitted(&admitted);
    let mut files = Vec::new();
    for file in session.files() {
        let memfd = Memfd::restore(&mut restoring, &file)?;
        let mut bytes = Vec::new();
        for piece in memfd.pieces() {
            match piece? {
                Piece::Data(data) => bytes.extend_from_slice(data),
                Piece::Hole(len) => bytes.resize(bytes.len() + usize::try_from(len)?, 0),
            }
        }
        files.push(bytes);
    }
    Ok(files)
}

/// Takes a handover over: its memfds are read where they lie, and are this program's own in the end.
///
/// # Errors
///
/// The handover is damaged, or not admitted.
pub fn take_over(
    registry: &Registry,
    handed: Handed,
    entry: Entry,
) -> Result<Vec<Vec<u8>>, Failure> {
    let attached = Attached::open(handed, OpenOptions::new(entry).registry(registry))
        .map_err(|failed| failed.error)?;
    let handlers = Handlers::new().with(MemfdHandler);
    let incoming =
        Incoming::take_over(attached, handlers, registry).map_err(|failed| failed.error)?;
    let session = incoming.session(SESSION)?;
    let mut files = Vec::new();
    for token in session.tokens() {
        files.push(session.retrieve::<MemFile>(token)?);
    }
    incoming.finish()?;
    let mut contents = Vec::new();
    for file in files {
        // Its own from here on: it can be written.
        let end = file.size();
        file.write_at(end, b".")?;
        file.truncate(end)?;
        let mut bytes = alloc::vec![0; usize::try_from(end)?];
        file.read_at(0, &mut bytes)?;
        contents.push(bytes);
    }
    Ok(contents)
}

/// Writes a handover, reads it, and takes it over. Returns how many bytes its memfds have.
///
/// # Errors
///
/// A step fails, or what is read is not what was written.
pub fn journey() -> Result<usize, Failure> {
    if Registry::linked().is_ok() != cfg!(not(target_os = "none")) {
        return Err("constructors run where there is an operating system, and only there".into());
    }
    let registry = registry()?;
    // Longer than a page, so that its folios are listed.
    let large: Vec<u8> = (0..10_000u32).map(|at| at.to_le_bytes()[0]).collect();
    let files: [&[u8]; 3] = [b"guest memory", &large, b""];
    let (handed, entry) = write(&registry, &files)?;
    if read(&registry, &handed, entry)? != files {
        return Err("what was read is not what was written".into());
    }
    if take_over(&registry, handed, entry)? != files {
        return Err("what was taken over is not what was written".into());
    }
    Ok(files.iter().map(|file| file.len()).sum())
}
