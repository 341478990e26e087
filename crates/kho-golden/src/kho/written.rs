//! What is written of a handover for given inputs: the part of the formats that no struct shows.

use kho_abi_check::{Failure, Text};
use kho_compat::{Strings, Writing};
use kho_core::KhoConfig;

use super::handed::{PAGE, add, hand_over, kho, with_scratch};

/// The root FDT byte by byte.
pub(crate) fn root() -> Result<Text, Failure> {
    let kho = kho(KhoConfig::new())?;
    add(&kho, "zeta", b"hello, world", 5)?;
    add(&kho, "middle", b"m", 1)?;
    add(&kho, "alpha", &[0; 2 * PAGE], 2 * PAGE as u64)?;
    drop(kho.remove_subtree("middle"));
    let mut handed = hand_over(kho)?;
    let (at, size) = (handed.entry.fdt_addr, handed.entry.fdt_size);
    let shown = handed.dump.name(at);
    let scratch = handed.entry.scratch.is_some();
    handed.dump.line(format!(
        "entry: FDT of {size} bytes at {shown}, scratch: {scratch}"
    ));
    let root = handed.root()?;
    handed.dump.bytes("root FDT", root);
    handed.add_blob("zeta")?;
    let tracker = handed.tracker;
    handed.dump.preserved(tracker)?;
    Ok(handed.dump.finish().into())
}

/// How versions are said.
pub(crate) fn dialects() -> Result<Text, Failure> {
    let mut text = String::new();
    for dialect in Writing::ALL
        .into_iter()
        .filter(|all| all.strings != Strings::List)
    {
        let kho = kho(KhoConfig::new().writing(dialect))?;
        add(&kho, "owned", b"o", 1)?;
        // In use no more.
        kho.announce(&["unused"])?;
        kho.withdraw(&["unused"]);
        let mut handed = hand_over(kho)?;
        handed.dump.line(format!("{dialect}:"));
        let root = handed.root()?;
        handed.add_tree(&root)?;
        text.push_str(&handed.dump.finish());
    }
    Ok(text.into())
}

/// The table of scratch areas.
pub(crate) fn scratch() -> Result<Text, Failure> {
    let mut handed = hand_over(with_scratch()?)?;
    let (at, size) = handed.entry.scratch.ok_or("no table")?;
    handed.dump.memory("table", at, usize::try_from(size)?)?;
    // The table itself is not preserved.
    let (tracker, fdt) = (handed.tracker, handed.entry.fdt_addr);
    handed.dump.name(fdt);
    handed.dump.preserved(tracker)?;
    Ok(handed.dump.finish().into())
}
