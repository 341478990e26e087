//! What one check of a reader alone refuses: no other stands behind it.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_core::{Entry, Handover, KhoConfig, RootFdt, ScratchTable};
use kho_mem::{Arena, ArenaConfig, Damage, Link, Order, PhysAddr, PhysMem, PhysRange, SliceMem};
use kho_radix::{KeyRun, Preserved, Tracker};

use super::fdt::{Fdt, NOP, before, listing};
use super::handed::{add, hand_over, kho};
use super::read::read_root;
use crate::dump::Dump;
use crate::edits::{Edited, Refusal, addr, behind, bytes};

/// A page that is preserved, and memory where nothing is.
const ELSEWHERE: PhysAddr = PhysAddr::new(0x7000_0000);
const NOWHERE: PhysAddr = PhysAddr::new(0x6000_0000);

/// A tracker that has [`ELSEWHERE`] alone, and whose nodes lie in an arena of their own.
fn elsewhere() -> Result<(Preserved, PhysAddr), Failure> {
    let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x7d57_0000_0000), 8 << 20))?;
    let mut tracker = Tracker::new(arena.clone())?;
    let (pfn, order) = (ELSEWHERE.pfn(), Order::ZERO);
    tracker.add_folios(KeyRun {
        pfn,
        keys: 1,
        order,
    })?;
    let root = tracker.root();
    tracker.hand_over();
    let (dump, beside) = (Dump::new(arena)?, PhysRange::new(ELSEWHERE, 4096));
    let beside = beside.ok_or("no range")?;
    let mem = Edited::new(dump.mem(), std::slice::from_ref(&beside));
    Ok((Preserved::read(&mem, Link::given(root, "root"))?, root))
}

fn said<T>(of: Result<T, Damage>) -> String {
    let refused = of.err().map(|damage| Refusal::from(damage).to_string());
    refused.unwrap_or_else(|| "read".to_owned())
}

/// Root FDTs and handovers.
pub(crate) fn refused() -> Result<Text, Failure> {
    let made = kho(KhoConfig::new())?;
    add(&made, "one", b"hello", 5)?;
    let mut handed = hand_over(made)?;
    let (entry, at) = (handed.entry, handed.entry.fdt_addr);
    let fdt = Fdt::new(&handed.dump, at)?;
    let string = fdt.value("", "compatible")?;
    let end = u64::from(fdt.number(8)? + fdt.number(36)? - 4);
    let edits = [
        bytes(
            "compatible: a NUL alone",
            before(string, 8),
            &1u32.to_be_bytes(),
        )
        .bytes(string, b"\0")
        .bytes(behind(string, 4), &NOP.to_be_bytes()),
        bytes(
            "another token behind the root node",
            behind(at, end),
            &5u32.to_be_bytes(),
        ),
    ];
    handed.dump.readings(&edits, |mem, names| {
        read_root(&RootFdt::read(mem, at)?, names)
    })?;
    handed.dump.line("its string alone:");
    let edits = [bytes(
        "a property whose name is no text",
        fdt.name("blob-size")?,
        b"\x01",
    )];
    handed.dump.readings(&edits, |mem, _| {
        Ok(RootFdt::read(mem, at)?.compatible().to_string())
    })?;
    let edits = [
        bytes("a list without a component", at, &listing(false)),
        bytes("a node in a list", at, &listing(true)),
    ];
    handed.dump.readings(&edits, |mem, _| {
        Ok(format!(
            "{} listed",
            RootFdt::read(mem, at)?.listed()?.len()
        ))
    })?;

    let (opened, (preserved, node)) = (handed.open()?, elsewhere()?);
    let (own, _) = opened.again(handed.dump.mem())?;
    let own = own.preserved().clone();
    let one = fdt.value("one", "preserved-data")?;
    let assemble = |mem: &dyn PhysMem, fdt_addr, preserved: &Preserved| {
        let root = RootFdt::read(mem, fdt_addr)?;
        let entry = Entry { fdt_addr, ..entry };
        Handover::assemble(mem, entry, root, preserved.clone(), None).map(drop)
    };
    let mut text = String::new();
    let mut mem = Edited::new(handed.dump.mem(), &[]);
    mem.make(&bytes("", handed.tracker, &fdt.bytes))?;
    let shared = said(assemble(&mem, handed.tracker, &own));
    let _ = writeln!(text, "a root FDT that is a node of the tracker: {shared}");
    let mut mem = Edited::new(handed.dump.mem(), &[]);
    mem.make(&addr("", one, ELSEWHERE))?;
    let outside = said(assemble(&mem, at, &preserved));
    let _ = writeln!(
        text,
        "a blob that is preserved and not in memory: {outside}"
    );

    for (what, area, root) in [
        ("preserved memory", ELSEWHERE, NOWHERE),
        ("the root FDT", NOWHERE, NOWHERE),
        ("a node of the tracker", node, NOWHERE),
        ("nothing", PhysAddr::new(0x1000_0000), NOWHERE),
    ] {
        let words = [area.get() & !0x3f_ffff, 4 << 20];
        let table: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let place = PhysAddr::new(0x1000);
        let table = ScratchTable::read(&SliceMem::new(place, &table), place, 16)?;
        let clear = said(table.check_clear_of(&preserved, root));
        let _ = writeln!(text, "a scratch area over {what} alone: {clear}");
    }
    let null = said(ScratchTable::read(handed.dump.mem(), PhysAddr::NULL, 16));
    let _ = writeln!(text, "a scratch table at 0: {null}");
    Ok(Text::from(handed.dump.finish() + &text))
}
