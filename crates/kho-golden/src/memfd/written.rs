//! What is written of memfds for given inputs: the part of the format that no struct shows.

use std::sync::Arc;

use kho_abi_check::{Failure, Text};
use kho_compat::{Ability, Side};
use kho_core::{Kho, KhoConfig};
use kho_luo::FileHandler;
use kho_mem::{Arena, Order, PhysAddr};
use kho_memfd::{MemFile, MemfdHandler};

use crate::dump::{Dump, arena, number};

const PAGE: usize = 4096;
const SER: usize = 48;

/// A handover without what a program links beside.
pub(crate) fn kho() -> Result<Kho, Failure> {
    let mut kho = Ability::try_from(&kho_core::COMPONENT)?;
    kho.needs.clear();
    Ok(Kho::new(
        arena()?,
        &KhoConfig::new().side(Side::new([kho])?),
    )?)
}

/// Files of one arena that were handed over: where their states lie, and the memory.
pub(crate) fn hand_over(
    kho: Kho,
    files: Vec<MemFile>,
    late: impl Fn(&MemFile) -> Result<(), Failure>,
) -> Result<(Vec<PhysAddr>, PhysAddr, Dump), Failure> {
    let mut states = Vec::new();
    for file in files {
        let file = Arc::new(file);
        let mut preserved = MemfdHandler.preserve(&kho, &file)?;
        late(&file)?;
        states.push(PhysAddr::new(MemfdHandler.freeze(&file, &mut preserved)?));
        MemfdHandler.hand_over(&file, preserved);
    }
    let tracker = kho.preserver().root();
    let arena = kho.hand_over().map_err(|_| "still shared")?;
    Ok((states, tracker, Dump::new(arena)?))
}

/// Adds the state at `at`, and the pages of its list.
fn add(dump: &mut Dump, at: PhysAddr) -> Result<(), Failure> {
    dump.memory("state", at, SER)?;
    let (count, mut chunk) = (PhysAddr::new(at.get() + 24), PhysAddr::new(at.get() + 32));
    let mut left = usize::try_from(dump.word(count)?)?.saturating_mul(16);
    chunk = PhysAddr::new(dump.word(chunk)?);
    let mut slot = 1;
    while left > 0 {
        let page = dump.word(PhysAddr::new(chunk.get() + 8 * slot))?;
        let len = left.min(PAGE);
        dump.memory("folios", PhysAddr::new(page), len)?;
        left -= len;
        slot += 1;
    }
    Ok(())
}

/// A file with a hole.
pub(crate) fn hole() -> Result<Text, Failure> {
    let kho = kho()?;
    let file = MemFile::new(kho.arena());
    file.write_at(0, b"head\n")?;
    file.write_at(8192, b"tail\n")?;
    file.set_pos(2)?;
    file.add_seals(6)?;
    let late = |file: &MemFile| Ok(file.set_pos(0x1234_5678_9abc)?);
    let (states, tracker, mut dump) = hand_over(kho, vec![file], late)?;
    let at = *states.first().ok_or("no state")?;
    add(&mut dump, at)?;
    for record in 0..3 {
        let list = PhysAddr::new(dump.word(PhysAddr::new(at.get() + 32))? + 8);
        let word = dump.word(PhysAddr::new(dump.word(list)? + 16 * record))?;
        let folio = PhysAddr::new((word & ((1 << 52) - 1)) * PAGE as u64);
        if !folio.is_null() {
            dump.memory("folio", folio, PAGE)?;
        }
    }
    dump.preserved(tracker)?;
    Ok(dump.finish().into())
}

/// A file of large folios.
pub(crate) fn large() -> Result<Text, Failure> {
    let kho = kho()?;
    let file = MemFile::new(kho.arena());
    for (index, order) in [(4, 1), (0, 2), (6, 1)] {
        file.insert(index, zeros(kho.arena(), order)?)?;
    }
    file.truncate(6 * PAGE as u64 + 1)?;
    let (states, tracker, mut dump) = hand_over(kho, vec![file], |_| Ok(()))?;
    for at in states {
        add(&mut dump, at)?;
    }
    dump.preserved(tracker)?;
    Ok(dump.finish().into())
}

pub(crate) fn zeros(arena: &Arena, order: u8) -> Result<kho_mem::Folio, Failure> {
    Ok(arena.alloc_zeroed(Order::new(order).ok_or("no order")?)?)
}

/// Files that have no contents.
pub(crate) fn empty() -> Result<Text, Failure> {
    let kho = kho()?;
    let files = vec![MemFile::new(kho.arena()), MemFile::new(kho.arena())];
    if let [empty, hole] = files.as_slice() {
        empty.set_pos(7)?;
        hole.truncate(257 * PAGE as u64)?;
    }
    let (states, tracker, mut dump) = hand_over(kho, files, |_| Ok(()))?;
    for at in states {
        dump.memory("state", at, SER)?;
        let chunk = PhysAddr::new(dump.word(PhysAddr::new(at.get() + 32))?);
        if chunk.is_null() {
            continue;
        }
        dump.memory("list", chunk, PAGE)?;
        for (slot, first) in [(1u64, 0), (2, 256)] {
            let list = PhysAddr::new(dump.word(PhysAddr::new(chunk.get() + 8 * slot))?);
            let page = dump.read(list, PAGE)?;
            let records = page.chunks(16).map(|record| {
                let index = record.get(8..).unwrap_or_default();
                (number(record), number(index))
            });
            // The last page has one record.
            let left = usize::try_from(257 - first)?;
            let listed = records
                .take(left)
                .eq((first..257).take(256).map(|index| (0, index)));
            let list = dump.name(list);
            dump.line(format!("{list}: holes from {first} on: {listed}"));
        }
    }
    dump.preserved(tracker)?;
    Ok(dump.finish().into())
}

/// Seals, one by one.
pub(crate) fn seals() -> Result<Text, Failure> {
    use kho_memfd::v2::{
        SEAL_EXEC, SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SEAL, SEAL_SHRINK, SEAL_WRITE, SEALS,
    };
    const NAMED: &[(&str, u32)] = &[
        ("SEAL", SEAL_SEAL),
        ("SHRINK", SEAL_SHRINK),
        ("GROW", SEAL_GROW),
        ("WRITE", SEAL_WRITE),
        ("FUTURE_WRITE", SEAL_FUTURE_WRITE),
        ("EXEC", SEAL_EXEC),
        ("all", SEALS),
    ];
    let kho = kho()?;
    let mut files = Vec::new();
    for (_, seal) in NAMED {
        let file = MemFile::new(kho.arena());
        file.add_seals(*seal)?;
        files.push(file);
    }
    let refused = MemFile::new(kho.arena()).add_seals(0x40).is_err();
    let (states, _, mut dump) = hand_over(kho, files, |_| Ok(()))?;
    for ((name, _), at) in NAMED.iter().zip(states) {
        // The word of seals and flags.
        let word = dump.word(PhysAddr::new(at.get() + 16))?;
        dump.line(format!("{name}: {word:#018x}"));
    }
    dump.line(format!("0x40 refused: {refused}"));
    Ok(dump.finish().into())
}

/// What a seal forbids.
pub(crate) fn sealed() -> Result<Text, Failure> {
    let arena = arena()?;
    let mut text = String::new();
    for seal in (0..6).map(|bit| 1 << bit) {
        let file = MemFile::new(&arena);
        file.write_at(0, &[1; PAGE])?;
        file.add_seals(seal)?;
        let steps = [
            ("write", file.write_at(0, b"w").is_err()),
            ("grow", file.truncate(2 * PAGE as u64).is_err()),
            ("shrink", file.truncate(0).is_err()),
            ("seal", file.add_seals(0).is_err()),
        ];
        let steps = steps.iter().filter(|(_, refused)| *refused);
        let mut steps: Vec<_> = steps.map(|(step, _)| *step).collect();
        if steps.is_empty() {
            steps.push("nothing");
        }
        text.push_str(&format!("{seal:#x}: {}\n", steps.join(", ")));
    }
    Ok(text.into())
}
