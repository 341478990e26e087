//! A region.

use kho_abi_check::{Failure, Text};
use kho_core::memblock::v1::MEMBLOCK_SUBTREE;
use kho_core::{KhoConfig, MEMBLOCK};
use kho_mem::Order;

use crate::edits::{addr, behind, bytes, word};
use crate::kho::handed::{hand_over, kho};
use crate::memblock::Regions;
use crate::peers::in_version_1;

kho_abi_check::vectors!("reserve-mem", [
    "a region of 5 pages, `trace`" => written,
    "what is read of a region of 3 pages, `trace`, beside another" => read,
    "what is read of a region that is no whole page, where nothing is preserved" => elsewhere,
]);

/// A region.
pub(crate) fn written() -> Result<Text, Failure> {
    let kho = kho(KhoConfig::new())?;
    let pages = kho.arena().alloc_pages_zeroed(5)?;
    let run = pages.run();
    kho.reserve_mem("trace", pages)?;
    let mut handed = hand_over(kho)?;
    let (at, size) = handed.blob(MEMBLOCK_SUBTREE)?;
    let tree = handed.dump.read(at, usize::try_from(size)?)?;
    handed.add_tree(&in_version_1(&tree, &MEMBLOCK))?;
    // In which keys depends on where they lie: the tracker's vectors show how a run is split.
    let keys = handed.dump.keys(handed.tracker)?;
    let inside = keys
        .iter()
        .filter(|key| (run.pfn.get()..run.end()).contains(&key.pfn().get()));
    let pages: u64 = inside.map(|key| Order::pages(key.order())).sum();
    handed.dump.line(format!("{pages} pages preserved"));
    Ok(handed.dump.finish().into())
}

/// A region.
pub(crate) fn read() -> Result<Text, Failure> {
    let regions = Regions::new()?;
    let fdt = &regions.fdt;
    let [trace, oops] = regions.starts;
    let (start, size) = (fdt.value("trace", "start")?, fdt.value("trace", "size")?);
    let string = fdt.value("trace", "compatible")?;
    let compatible =
        |text: &[u8; 14]| bytes(format!("compatible: {}", text.escape_ascii()), string, text);
    let of = |bytes: u64| word(format!("size: {bytes}"), size, bytes);
    let mut edits = Vec::from([
        compatible(b"reserve-mem-v2"),
        compatible(b"reserve-mem_v1"),
        word("start: 0", start, 0),
        addr("start: 8 bytes further", start, behind(trace, 8)),
        addr(
            "start: 8 bytes further, size: 8192",
            start,
            behind(trace, 8),
        )
        .word(size, 8192),
        word("start: outside memory", start, 0x10_0000_0000),
        addr(
            "start: a page of the tracker",
            start,
            regions.handed.tracker,
        )
        .word(size, 4096),
        addr("start: that of the other, size: 4096", start, oops).word(size, 4096),
        addr("start: the FDT of the regions, size: 4096", start, fdt.at).word(size, 4096),
        addr("start: that of the other, size: 1", start, oops).word(size, 1),
    ]);
    edits.extend([0, 1, 4095, 8193, 12287, u64::MAX].map(of));
    edits.extend(fdt.lengths("trace", "start")?);
    edits.extend(fdt.lengths("trace", "size")?);
    Ok(regions.readings(&MEMBLOCK, &edits)?.into())
}

/// A region where nothing is preserved.
pub(crate) fn elsewhere() -> Result<Text, Failure> {
    let regions = Regions::new()?;
    let (start, size) = (
        regions.fdt.value("trace", "start")?,
        regions.fdt.value("trace", "size")?,
    );
    let at = |what, bytes| {
        addr(
            format!("a page of the tracker, {what}"),
            start,
            regions.handed.tracker,
        )
        .word(size, bytes)
    };
    let edits = [at("5000 bytes", 5000), at("4095 bytes", 4095)];
    Ok(regions.readings(&MEMBLOCK, &edits)?.into())
}
