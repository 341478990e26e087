//! What the reader says of memfds for given inputs: what it takes, and what it refuses.

use std::sync::Arc;

use kho_abi_check::{Failure, Text};
use kho_compat::{Admitted, Component, Manifest, Registry, policy};
use kho_core::{Kho, KhoConfig};
use kho_luo::{Handlers, Luo, Orchestrator, Session};
use kho_mem::{Arena, PhysAddr};
use kho_memfd::{MemFile, Memfd, MemfdError, MemfdHandler, Piece, RestoredMemfd};

use super::written::zeros;
use crate::dump::{Dump, Names, arena};
use crate::edits::{Edit, Reading, Refusal, addr, behind, bytes, kind, word};
use crate::opened::Opened;
use crate::peers::{BLOCK, KHO, VMALLOC};

const PAGE: u64 = 4096;
/// Where the state's address stands in a file's entry.
const DATA: u64 = 48;
const TOKEN: u64 = 0;
const POS: u64 = 0;
const SIZE: u64 = 8;
const SEALS: u64 = 16;
const FLAGS: u64 = 20;
const COUNT: u64 = 24;
const LIST: u64 = 32;
const LIST_PAGES: u64 = 40;
const LIST_FLAGS: u64 = 44;
/// Flags of a record.
const DIRTY: u64 = 1 << 52;
const UPTODATE: u64 = 1 << 53;

static LUO: Component = kho_luo::COMPONENT;
static MEMFD: Component = kho_memfd::COMPONENT;

/// A handed file, of a session: its state, the first page of its list, and where the state's address is.
struct Handed {
    dump: Dump,
    opened: Opened,
    registry: Registry,
    admitted: Admitted,
    state: PhysAddr,
    list: PhysAddr,
    data: PhysAddr,
}

impl Handed {
    fn new(make: impl FnOnce(&MemFile, &Arena) -> Result<(), Failure>) -> Result<Self, Failure> {
        let registry = Registry::new([*KHO, &LUO, *BLOCK, &MEMFD, *VMALLOC])?;
        let config = KhoConfig::new().side(registry.side().clone());
        let kho = Kho::new(arena()?, &config)?;
        let file = MemFile::new(kho.arena());
        make(&file, kho.arena())?;
        let outgoing = Orchestrator::new(kho, Handlers::new().with(MemfdHandler), 0)?;
        let session = outgoing.create_session("session")?;
        session.preserve(TOKEN, Arc::new(file))?;
        let frozen = outgoing.freeze()?;
        drop((session, outgoing));
        let (arena, entry) = frozen.hand_over().map_err(|_| "still shared")?;
        let dump = Dump::new(arena)?;

        let opened = Opened::new(&dump, entry, &registry)?;
        let (handover, mut reading) = opened.again(dump.mem())?;
        let luo = Luo::read(&handover, &mut reading, &registry)?;
        let luo = luo.ok_or("no LUO")?;
        let body = luo.body().ok_or("no sessions")?;
        let mut files = body.sessions().iter().flat_map(Session::files);
        let file = files.next().ok_or("no file")?;
        let state = PhysAddr::new(file.data);
        let chunk = PhysAddr::new(dump.word(behind(state, LIST))?);
        let list = match chunk {
            PhysAddr::NULL => chunk,
            chunk => PhysAddr::new(dump.word(behind(chunk, 8))?),
        };
        let mut manifest = Manifest::new();
        handover.add_to(&mut manifest);
        luo.add_to(&mut manifest);
        Ok(Self {
            admitted: registry.admit(&policy::SemverRange, manifest)?,
            data: behind(file.at, DATA),
            opened,
            registry,
            dump,
            state,
            list,
        })
    }

    /// The record of this index.
    fn record(&self, index: u64) -> PhysAddr {
        behind(self.list, 16 * index)
    }

    /// The frame number and the flags of the record of this index.
    fn word(&self, index: u64) -> Result<u64, Failure> {
        self.dump.word(self.record(index))
    }

    fn readings(mut self, edits: &[Edit]) -> Result<String, Failure> {
        let (opened, registry, admitted) = (&self.opened, &self.registry, &self.admitted);
        self.dump.readings(edits, |mem, names| {
            let (handover, mut reading) = opened.again(mem)?;
            let luo = Luo::read(&handover, &mut reading, registry)?;
            let sessions = luo.as_ref().and_then(|luo| luo.restore(admitted).ok());
            let session = sessions.and_then(|sessions| sessions.get(b"session"));
            let file = session.and_then(|session| session.file(TOKEN));
            let file = file.ok_or_else(|| Refusal::new("no file"))?;
            let before = reading.claims().count();
            let memfd = Memfd::restore(&mut reading.admitted(admitted), &file);
            if memfd.is_err() && reading.claims().count() > before {
                return Err(Refusal::new("and stays claimed"));
            }
            read(&memfd.map_err(refusal)?, names)
        })?;
        Ok(self.dump.finish())
    }
}

fn refusal(error: MemfdError) -> Refusal {
    match error {
        MemfdError::Damaged(damage) => damage.into(),
        other => Refusal::new(kind(&other)),
    }
}

fn read(restored: &RestoredMemfd<'_>, names: &mut Names) -> Reading {
    let memfd = restored.memfd();
    let (pos, size, seals) = (memfd.pos(), memfd.size(), memfd.seals());
    let (flags, list) = (memfd.flags(), memfd.area().pages());
    let mut lines = vec![
        format!("{size} bytes, position {pos}"),
        format!("seals {seals:#x}, flags {flags:#x}"),
        format!("{} folios in {list} pages", memfd.folios().len()),
    ];
    // There may be many.
    for folio in memfd.folios().iter().take(4) {
        let (index, order, flags) = (folio.index, folio.order, folio.flags);
        let at = folio.addr.map(|addr| format!("{}", names.name(addr)));
        let at = at.unwrap_or_else(|| "a hole".to_owned());
        lines.push(format!(
            "page {index}: {at}, order {order}, flags {flags:#x}"
        ));
    }
    let has_folio = |offset: u64| {
        let page = offset / PAGE;
        let mut folios = memfd.folios().iter();
        folios.any(|folio| folio.addr.is_some() && (folio.index..folio.end()).contains(&page))
    };
    let (mut pieces, mut offset) = (Vec::new(), 0);
    for piece in restored.pieces() {
        let piece = piece?;
        pieces.push(match piece {
            Piece::Data(data) => {
                let head = data.get(..4).unwrap_or(data);
                format!("{} from \"{}\"", data.len(), head.escape_ascii())
            }
            // A folio that is not up to date reads as zeros, whatever lies in it.
            Piece::Hole(len) if has_folio(offset) => {
                format!("{len} from \"{}\"", [0; 4].escape_ascii())
            }
            Piece::Hole(len) => format!("a hole of {len}"),
        });
        offset += piece.len();
    }
    if pieces.is_empty() {
        pieces.push("none".to_owned());
    }
    pieces.truncate(4);
    lines.push(format!("contents: {}", pieces.join(", ")));
    Ok(lines.join("\n"))
}

/// A state's fields.
pub(crate) fn states() -> Result<Text, Failure> {
    let handed = Handed::new(|file, _| {
        file.write_at(0, b"head\n")?;
        file.write_at(8192, b"tail\n")?;
        file.set_pos(2)?;
        Ok(file.add_seals(6)?)
    })?;
    let at = |offset| behind(handed.state, offset);
    let data = handed.data;
    let mut edits = vec![
        word("data: 0", data, 0),
        addr("data: unaligned", data, at(8)),
        word("data: outside memory", data, 0x10_0000_0000),
    ];
    let pos = |value| word(format!("pos: {value:#x}"), at(POS), value);
    edits.extend([0, 8197, i64::MAX as u64, 1 << 63].map(pos));
    let size = |value| word(format!("size: {value:#x}"), at(SIZE), value);
    edits.extend(
        [
            0,
            1,
            0x2000,
            0x2001,
            0x3000,
            0x3001,
            i64::MAX as u64,
            1 << 63,
        ]
        .map(size),
    );
    let seals = |value: u32| {
        bytes(
            format!("seals: {value:#x}"),
            at(SEALS),
            &value.to_le_bytes(),
        )
    };
    edits.extend([0, 1, 2, 4, 8, 0x10, 0x20, 0x3f, 0x40, 1 << 31].map(seals));
    let flags = |value: u32| {
        bytes(
            format!("flags: {value:#x}"),
            at(FLAGS),
            &value.to_le_bytes(),
        )
    };
    edits.extend([1, 1 << 31].map(flags));
    let count = |value| word(format!("nr_folios: {value}"), at(COUNT), value);
    edits.extend([0, 2, 4, 256, 257, u64::MAX].map(count));
    edits.extend([
        word("folios: none", at(LIST), 0).bytes(at(LIST_PAGES), &[0; 8]),
        word("folios: none, nr_folios: 0", at(LIST), 0)
            .bytes(at(LIST_PAGES), &[0; 8])
            .word(at(COUNT), 0),
        word("folios: none, nr_folios: 0, size: 0", at(LIST), 0)
            .bytes(at(LIST_PAGES), &[0; 8])
            .word(at(COUNT), 0)
            .word(at(SIZE), 0),
        word("folios: none but flags, nr_folios: 0, size: 0", at(LIST), 0)
            .bytes(at(LIST_PAGES), &[0; 4])
            .word(at(COUNT), 0)
            .word(at(SIZE), 0),
        bytes("flags of the list: 3", at(LIST_FLAGS), &[3]),
        bytes("flags of the list: 4", at(LIST_FLAGS), &[4]),
        bytes("pages of the list: 2", at(LIST_PAGES), &[2]),
    ]);
    Ok(handed.readings(&edits)?.into())
}

/// Records of folios.
pub(crate) fn records() -> Result<Text, Failure> {
    let handed = Handed::new(|file, arena| {
        for (index, order) in [(0, 2), (4, 0), (7, 0)] {
            file.insert(index, zeros(arena, order)?)?;
        }
        file.truncate(9 * PAGE)?;
        Ok(())
    })?;
    let index = |record, value| {
        word(
            format!("record {record}: index {value}"),
            behind(handed.record(record), 8),
            value,
        )
    };
    let words = [handed.word(0)?, handed.word(1)?];
    let pfn = |record, title: &str, value| {
        word(
            format!("record {record}: {title}"),
            handed.record(record),
            value,
        )
    };
    let [large, small] = words.map(|word| word & (DIRTY - 1));
    let list = handed.list.get() / PAGE;
    let flags = DIRTY | UPTODATE;
    let folio = PhysAddr::new(large * PAGE);
    let edits = [
        addr("data: the large folio, all 0", handed.data, folio),
        index(0, 1),
        index(0, 4),
        index(1, 3),
        index(1, 5),
        index(1, 0),
        index(2, u64::MAX),
        index(5, 9),
        pfn(1, "not dirty", small | UPTODATE),
        pfn(1, "not up to date", small | DIRTY),
        pfn(1, "neither", small),
        pfn(1, "bit 2 of flags", small | flags | DIRTY << 2),
        pfn(1, "bit 11 of flags", small | flags | DIRTY << 11),
        pfn(1, "a hole", 0),
        pfn(1, "a hole that is dirty", DIRTY),
        pfn(1, "the folio before it", large | flags),
        pfn(
            1,
            "the second page of the folio before it",
            (large + 1) | flags,
        ),
        pfn(1, "the list", list | flags),
        pfn(1, "outside memory", 0x100_0000 | flags),
        pfn(1, "the last frame of all", (DIRTY - 1) | flags),
        pfn(0, "the small folio", small | flags),
        pfn(0, "a hole", 0),
        pfn(2, "the large folio, the first a hole", large | flags)
            .word(handed.record(0), 0)
            .word(behind(handed.record(1), 8), 1)
            .word(behind(handed.record(2), 8), 2),
    ];
    Ok(handed.readings(&edits)?.into())
}

/// Lists of many records, and of none.
pub(crate) fn lists() -> Result<Text, Failure> {
    let empty = Handed::new(|file, _| Ok(file.set_pos(7)?))?;
    let at = empty.state;
    let edits = [
        word("size: 1", behind(at, SIZE), 1),
        word("nr_folios: 1", behind(at, COUNT), 1),
        bytes("flags of the list: 1", behind(at, LIST_FLAGS), &[1]),
        bytes("order of the list: 1", behind(at, LIST_FLAGS + 2), &[1]),
    ];
    let mut text = empty.readings(&edits)?;
    let hole = Handed::new(|file, _| Ok(file.truncate(257 * PAGE)?))?;
    let at = |offset| behind(hole.state, offset);
    let to = |records: u64, pages: u64| {
        let title = format!("nr_folios: {records}, size: {pages} pages");
        word(title, at(COUNT), records).word(at(SIZE), pages * PAGE)
    };
    let edits = [
        to(257, 256),
        to(257, 258),
        to(256, 256),
        to(258, 258),
        word("record 255: index 256", behind(hole.record(255), 8), 256),
    ];
    text.push_str(&hole.readings(&edits)?);
    Ok(text.into())
}
