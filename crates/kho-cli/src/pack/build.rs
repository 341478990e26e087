//! The handover itself, made by the same engine that a live update uses.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use kho_compat::Writing;
use kho_core::{Entry, Kho, KhoConfig, KhoError};
use kho_luo::{Frozen, Handlers, LuoError, Orchestrator};
use kho_mem::{
    ARENA_ALIGN, ARENA_MAX, Arena, ArenaConfig, ArenaError, Chunk, Damage, Folio, Handed, MemError,
    MemErrorKind, PAGE_SIZE_U64, PageRun, PhysAddr, PhysMem, PhysRange,
};
use kho_memfd::{MemFile, MemfdHandler, Piece};
use kho_survey::{Error, Hasher, Survey, SurveyOptions};

use super::source::{FileOf, Source, extents, is_hole, refused, unreadable};
use crate::compat::registry;
use crate::error::Failure;
use crate::human::size;
use crate::progress::{Bar, interrupted};

/// The memory of an image: where it lies, and the scratch areas at its end.
pub(super) struct Memory {
    pub(super) base: PhysAddr,
    pub(super) bytes: u64,
    pub(super) scratch: [PhysRange; 2],
}

/// Makes the file of a description, in the arena.
type Make<'m> = dyn FnMut(&Arena, &FileOf) -> Result<MemFile, Failure> + 'm;

/// What the source has been made into. Everything is written down, and owned still.
enum Made {
    Luo(Frozen),
    // A handover without LUO.
    Core(Kho),
}

/// How much memory the handover takes, without its scratch areas: a multiple of 4 MiB. It is made
/// for that, without the files' contents.
///
/// In an arena that only ever allocates, at most one free block of each order below the largest is
/// left over. So the memory in use is all but a part of the last 4 MiB, however large the arena is.
pub(super) fn measure(source: &Source, writing: Writing, base: PhysAddr) -> Result<u64, Failure> {
    let most = source.most_pages().saturating_mul(PAGE_SIZE_U64);
    let Some(most) = most
        .checked_next_multiple_of(ARENA_ALIGN)
        .filter(|most| *most < ARENA_MAX)
    else {
        return Err(refused(
            "the files are too large for an image",
            source.dir.display(),
            format!("{} of memory or more", size(most)),
            format!("less than {}", size(ARENA_MAX)),
        ));
    };
    let config = ArenaConfig::new(base, most + ARENA_ALIGN);
    let arena = Arena::memfd(&config).map_err(no_arena)?;
    // The table is as long wherever its areas are.
    let scratch = PhysRange::new(base, ARENA_ALIGN).unwrap_or(PhysRange::EMPTY);
    let mut bar = Bar::new("measuring");
    let (mut done, total) = (0, source.bytes());
    let made = make(
        source,
        writing,
        &arena,
        [scratch, PhysRange::EMPTY],
        &mut |arena, file| {
            let mem = MemFile::new(arena);
            for (index, order) in file.folios() {
                let folio = arena.alloc(order).map_err(internal)?;
                done += folio.len() as u64;
                if !bar.at(done.min(total), Some(total)) {
                    return Err(Failure::Interrupted);
                }
                insert(&mem, index, folio)?;
            }
            mem.truncate(file.size).map_err(internal)?;
            Ok(mem)
        },
    )?;
    let all = arena.range().len() / PAGE_SIZE_U64;
    let used = all.saturating_sub(arena.free_pages()) * PAGE_SIZE_U64;
    drop(made);
    Ok(used.next_multiple_of(ARENA_ALIGN))
}

fn make(
    source: &Source,
    writing: Writing,
    arena: &Arena,
    scratch: [PhysRange; 2],
    file_of: &mut Make<'_>,
) -> Result<Made, Failure> {
    let mut config = KhoConfig::new().writing(writing).scratch(scratch);
    if let Some((release, count)) = &source.metadata {
        config = config.metadata(release, *count);
    }
    // First of all, so that a raw image does not begin with the contents of a file, by which it
    // would be taken for something else.
    let kho = Kho::new(arena.clone(), &config).map_err(core_refused)?;
    let Some(number) = source.number else {
        return Ok(Made::Core(kho));
    };
    let luo = Orchestrator::new(kho, Handlers::new().with(MemfdHandler), number)
        .and_then(|luo| luo.with_foreign_flbs(source.flbs.iter().cloned()))
        .map_err(luo_refused)?;
    let mut open = Vec::with_capacity(source.sessions.len());
    for session in &source.sessions {
        let outgoing = luo
            .create_session(session.name.as_bytes())
            .map_err(luo_refused)?;
        for file in &session.files {
            if interrupted() {
                return Err(Failure::Interrupted);
            }
            let mem = file_of(arena, file)?;
            mem.set_pos(file.pos).map_err(internal)?;
            mem.add_seals(file.seals).map_err(internal)?;
            outgoing
                .preserve(file.token, Arc::new(mem))
                .map_err(luo_refused)?;
        }
        open.push(outgoing);
    }
    // Sessions that are dropped from here on are part of the handover.
    luo.freeze().map(Made::Luo).map_err(luo_refused)
}

fn insert(mem: &MemFile, index: u64, folio: Folio) -> Result<(), Failure> {
    mem.insert(index, folio).map_err(internal)
}

/// The handover in memory that is nobody's: as the next kernel finds it.
pub(super) struct Packed {
    handed: Handed,
    pub(super) entry: Entry,
    pub(super) compatible: String,
    /// The memory in use, in order.
    pub(super) runs: Vec<PageRun>,
}

impl Packed {
    /// Makes the handover of `source`, and reads it back.
    pub(super) fn new(source: &Source, writing: Writing, at: &Memory) -> Result<Self, Failure> {
        let [low, global] = at.scratch;
        let config = ArenaConfig::new(at.base, at.bytes)
            .scratch(low)
            .scratch(global);
        let arena = Arena::memfd(&config).map_err(no_arena)?;
        let mut bar = Bar::new("reading");
        let (mut done, total) = (0u64, source.bytes());
        let made = make(source, writing, &arena, at.scratch, &mut |arena, file| {
            load(arena, file, &mut |bytes| {
                done += bytes;
                bar.at(done, Some(total))
            })
        })?;
        let owned = || internal("something of the handover is still owned");
        drop(arena);
        let (arena, entry) = match made {
            Made::Luo(frozen) => frozen.hand_over().map_err(|_| owned())?,
            Made::Core(kho) => {
                let entry = kho.entry();
                (kho.hand_over().map_err(|_| owned())?, entry)
            }
        };
        let mut packed = Self {
            handed: arena.into_handed().map_err(|_| owned())?,
            entry,
            compatible: String::new(),
            runs: Vec::new(),
        };
        let mem = packed.memory()?;
        let (compatible, runs) = read_back(&mem, entry)?;
        packed.compatible = compatible;
        packed.runs = runs;
        Ok(packed)
    }

    /// The memory, to be read without touching what was never written.
    pub(super) fn memory(&self) -> Result<Sparse<'_>, Failure> {
        let range = self.handed.range();
        let data = match self.handed.file() {
            Some(file) => extents(file, range.len()).map_err(internal)?,
            None => vec![(0, range.len())],
        };
        Ok(Sparse {
            handed: &self.handed,
            base: range.start().get(),
            data,
        })
    }
}

/// Reads all of the handover with the checks that it meets on the other side. Returns the root's
/// string and the memory that is in use.
fn read_back(mem: &Sparse<'_>, entry: Entry) -> Result<(String, Vec<PageRun>), Failure> {
    let damaged = |damage: Damage| Failure::Damaged {
        damage,
        file_offset: None,
        note: Some("in what was just packed: a defect of this program".to_owned()),
    };
    let options = SurveyOptions::default().entry(entry);
    let survey = Survey::of(mem, registry()?, &options, &mut |_, _, _| !interrupted());
    match (survey.failure, survey.handover) {
        (None, Some(handover)) => {
            let compatible = handover.root().compatible().to_owned();
            Ok((compatible, handover.page_runs()))
        }
        (Some(Error::Damaged(damage)), _) => Err(damaged(damage)),
        (Some(Error::Interrupted), _) => Err(Failure::Interrupted),
        (Some(error), _) => Err(internal(error)),
        (None, None) => Err(internal("its root is of a version that is not read here")),
    }
}

/// Handed memory of a memfd, in which what was never written is zeros that are stored nowhere:
/// looking at them through the mapping would take memory.
pub(super) struct Sparse<'h> {
    handed: &'h Handed,
    base: u64,
    // Where the memfd has bytes, by offset: start and end, in order.
    data: Vec<(u64, u64)>,
}

impl PhysMem for Sparse<'_> {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        // Looked at first, for what is not there at all.
        let offset = addr.get().wrapping_sub(self.base);
        let next = self.data.partition_point(|(_, end)| *end <= offset);
        let room = |end: u64| usize::try_from(end - offset).map_or(len, |room| room.min(len));
        match self.data.get(next) {
            Some((start, end)) if *start <= offset => self.handed.chunk(addr, room(*end)),
            next => {
                let region = self.handed.region(addr).filter(|r| r.contains(addr));
                let region = region.ok_or(MemError {
                    addr,
                    len: len as u64,
                    kind: MemErrorKind::Outside,
                })?;
                // Of an arena, which ends inside the address space.
                let end = u64::try_from(region.end()).unwrap_or(u64::MAX) - self.base;
                let end = next.map_or(end, |(start, _)| end.min(*start));
                Ok(Chunk::Zeros(room(end)))
            }
        }
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        self.handed.region(from)
    }
}

/// Reads a file into folios of the arena.
fn load(
    arena: &Arena,
    of: &FileOf,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<MemFile, Failure> {
    let io = |error| unreadable(&of.path, &error);
    let changed = |found: String| {
        refused(
            "a file changed while it was packed",
            of.path.display(),
            found,
            format!("{} bytes, as before", of.size),
        )
    };
    let file = File::open(&of.path).map_err(io)?;
    let found = file.metadata().map_err(io)?.len();
    if found != of.size {
        return Err(changed(format!("{found} bytes")));
    }
    let data = extents(&file, of.size).map_err(io)?;
    of.check_holes(&file, &data)?;
    let is_data = |from: u64, to: u64| {
        let next = data.partition_point(|(_, end)| *end <= from);
        data.get(next).is_some_and(|(start, _)| *start < to)
    };
    let mem = MemFile::new(arena);
    let mut read = Reading {
        at: 0,
        hash: of.sha256.is_some().then(Hasher::default),
        progress,
    };
    for (index, order) in of.folios() {
        let mut folio = arena.alloc(order).map_err(internal)?;
        let from = index * PAGE_SIZE_U64;
        // No folio begins at or behind the file's end.
        let to = of.size.min(from + folio.len() as u64);
        if is_data(from, to) {
            let len = usize::try_from(to - from).unwrap_or(folio.len());
            let (bytes, tail) = folio.split_at_mut(len);
            file.read_exact_at(bytes, from)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => changed("fewer bytes".to_owned()),
                    _ => unreadable(&of.path, &error),
                })?;
            tail.fill(0);
            read.zeros(from)?;
            read.piece(Piece::Data(bytes))?;
        } else {
            zero(arena, &mut folio)?;
            read.zeros(to)?;
        }
        insert(&mem, index, folio)?;
    }
    read.zeros(of.size)?;
    if let (Some(expected), Some(hash)) = (&of.sha256, read.hash) {
        let found = hash.finish();
        if found != *expected {
            return Err(refused(
                "a file has other contents than the manifest says",
                of.path.display(),
                format!("sha256 {found}"),
                format!("{expected}, or a manifest without `sha256` for a file that was changed"),
            ));
        }
    }
    mem.truncate(of.size).map_err(internal)?;
    Ok(mem)
}

/// How far a file was read: hashed and counted up to `at`.
struct Reading<'p> {
    at: u64,
    hash: Option<Hasher>,
    progress: &'p mut dyn FnMut(u64) -> bool,
}

impl Reading<'_> {
    fn piece(&mut self, piece: Piece<'_>) -> Result<(), Failure> {
        if let Some(hash) = &mut self.hash {
            hash.update(piece);
        }
        self.at += piece.len();
        if (self.progress)(piece.len()) {
            Ok(())
        } else {
            Err(Failure::Interrupted)
        }
    }

    fn zeros(&mut self, to: u64) -> Result<(), Failure> {
        match to.checked_sub(self.at) {
            None | Some(0) => Ok(()),
            Some(len) => self.piece(Piece::Hole(len)),
        }
    }
}

/// Zeroes the folio, unless it is a hole of the arena's memfd: that is zero, and takes no memory as
/// long as nobody looks.
fn zero(arena: &Arena, folio: &mut Folio) -> Result<(), Failure> {
    let from = folio.addr().get() - arena.range().start().get();
    let hole = match arena.file() {
        Some(file) => is_hole(file, from, folio.len() as u64).map_err(internal)?,
        None => false,
    };
    if !hole {
        folio.fill(0);
    }
    Ok(())
}

fn no_arena(error: ArenaError) -> Failure {
    match error {
        ArenaError::Config(text) => Failure::Usage(text),
        other => Failure::Input(vec![("error", other.to_string())]),
    }
}

/// What can not be, once the source is checked.
fn internal(error: impl Display) -> Failure {
    Failure::Input(vec![("error", error.to_string())])
}

fn core_refused(error: KhoError) -> Failure {
    Failure::Input(vec![("refused", error.to_string())])
}

fn luo_refused(error: LuoError) -> Failure {
    Failure::Input(vec![("refused", error.to_string())])
}
