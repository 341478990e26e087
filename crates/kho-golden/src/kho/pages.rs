//! Handovers of 16 and 64 KiB pages, built byte by byte, and opened. What their subtrees hold has versions of
//! its own, and is not looked at.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_compat::Registry;
use kho_core::{Entry, Handover, OpenError, OpenOptions};
use kho_mem::{PageSize, PhysAddr};
use kho_testkit::{Builder, Built, MemfdSpec};

use crate::edits::{Refusal, kind};
use crate::peers::KHO;

pub(crate) fn opened_16k() -> Result<Text, Failure> {
    opened(PageSize::K16)
}

pub(crate) fn opened_64k() -> Result<Text, Failure> {
    opened(PageSize::K64)
}

/// A handover with all that Linux hands over, in folios of orders 0 to 2 and of the largest block of buddies.
fn built(size: PageSize) -> Built {
    let mut built = Builder::with_page(size.bytes());
    built.metadata(1, "7.3.4", 2);
    built.memblock(
        "memblock-v1",
        &[("whole", 4 * size.bytes()), ("odd", size.bytes() + 0x800)],
    );
    let file = |order, pages| MemfdSpec {
        order,
        ..MemfdSpec::new(vec![7; pages * size.len()])
    };
    built.session_of("memfds", &[file(0, 3), file(2, 5)]);
    // One more than a block holds.
    let files: Vec<_> = (0..size.bytes() / 64)
        .map(|token| Builder::file("other-v1", 0, token))
        .collect();
    built.session(b"blocks", &files);
    built.flb("flb-v1", 0xfeed, 3);
    // A root FDT of more than 4 KiB.
    for number in 0..96 {
        let blob = built.blob(b"more");
        built.subtree(&format!("more-{number:02}"), blob, 4);
    }
    built.finish()
}

fn opened(size: PageSize) -> Result<Text, Failure> {
    let built = built(size);
    let registry = Registry::new([*KHO])?;
    let entry = Entry::new(PhysAddr::new(built.fdt))
        .with_scratch(PhysAddr::new(built.scratch.0), built.scratch.1)
        .with_page_size(size);
    let handover = Handover::open(&built.mem, OpenOptions::new(entry).registry(&registry))?;
    let mut text = format!(
        "{}, pages of {}\n",
        handover.root().compatible(),
        handover.page_size()
    );
    let subtrees = handover.subtrees();
    let _ = writeln!(text, "{} subtrees", subtrees.len());
    for subtree in subtrees.iter().filter(|subtree| subtree.size != 4) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}: {} bytes", subtree.name, subtree.size);
    }
    let preserved = handover.preserved();
    let mut orders = BTreeMap::new();
    for run in preserved.runs() {
        let order = size.pages_of(run.order).ok_or("less than a page")?;
        *orders.entry(order).or_insert(0) += run.keys;
    }
    for (order, keys) in orders {
        let _ = writeln!(text, "order {order}: {keys} keys");
    }
    let _ = writeln!(
        text,
        "{} pages, {} nodes",
        preserved.pages(),
        preserved.nodes().len()
    );
    let scratch = handover.scratch().ok_or("no scratch table")?;
    let _ = writeln!(text, "{} scratch areas", scratch.areas().len());
    let (ranges, pages) = handover.reading()?.claims().unclaimed();
    let _ = writeln!(text, "{pages} pages in {ranges} ranges have no owner yet");

    let mut say = |what: &str, entry: Entry| {
        let opened = Handover::open(&built.mem, OpenOptions::new(entry).registry(&registry));
        let said = match opened {
            Ok(_) => "opened".to_owned(),
            Err(OpenError::Damaged(damage)) => Refusal::from(damage).to_string(),
            Err(error) => kind(&error),
        };
        let _ = writeln!(text, "{what}: {said}");
    };
    let at = |addr: u64| Entry::new(PhysAddr::new(addr)).with_page_size(size);
    say("root FDT 4 KiB later", at(built.fdt + 4096));
    for fdt_size in [0, 8192, size.bytes() - 1, size.bytes() + 4096] {
        let mut entry = entry;
        entry.fdt_size = fdt_size;
        say(&format!("root FDT of {fdt_size} bytes"), entry);
    }
    for other in PageSize::ALL.into_iter().filter(|other| *other != size) {
        let opened = Handover::open(
            &built.mem,
            OpenOptions::new(entry.with_page_size(other)).registry(&registry),
        );
        // What is damaged then depends on where things lie.
        let said = if opened.is_err() { "refused" } else { "opened" };
        let _ = writeln!(text, "read as of pages of {other}: {said}");
    }
    Ok(text.into())
}
