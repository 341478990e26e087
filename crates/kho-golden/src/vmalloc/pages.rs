//! Areas of 16 and 64 KiB pages, built byte by byte, and read.

use kho_abi_check::{Failure, Text};
use kho_core::{Entry, RootFdt};
use kho_mem::{Damage, Link, PageSize, PhysAddr};
use kho_radix::{Reading, Root};
use kho_testkit::{Builder, Memory};
use kho_vmalloc::Area;

use crate::edits::Refusal;

pub(crate) fn area_16k() -> Result<Text, Failure> {
    area(PageSize::K16)
}

pub(crate) fn area_64k() -> Result<Text, Failure> {
    area(PageSize::K64)
}

/// More pages than a chunk of 4 KiB lists; and two runs of four pages.
fn area(size: PageSize) -> Result<Text, Failure> {
    let mut built = Builder::with_page(size.bytes());
    let many = built.vmalloc(&vec![7; 512 * size.len()], 0);
    let runs = built.vmalloc(&vec![7; 8 * size.len()], 2);
    let at = built.blob(&[many, runs].concat());
    let built = built.finish();
    let root = RootFdt::read(
        &built.mem,
        Entry::new(PhysAddr::new(built.fdt)).with_page_size(size),
    )?;
    let root = Root::new(root.tracker()?, size);
    let read = |mem: &Memory, at: u64| -> Result<String, Damage> {
        let mut reading = Reading::open(mem, root)?;
        let ser = reading.follow(Link::given(PhysAddr::new(at), "descriptor"))?;
        let area = Area::read(&mut reading, &ser)?;
        let (pages, each, chunks) = (area.pages(), area.run_pages(), area.chunks());
        Ok(format!("{pages} pages, {each} in a run, {chunks} chunks"))
    };
    let mut text = String::new();
    let mut say = |what: &str, mem: &Memory, at| {
        let said = read(mem, at).unwrap_or_else(|damage| Refusal::from(damage).to_string());
        text.push_str(&format!("{what}: {said}\n"));
    };
    say("as written", &built.mem, at);
    say("runs of order 2", &built.mem, at + 16);
    let chunk = built.mem.u64(at);
    let last = chunk + 8 * 512;
    let page = built.mem.u64(last);
    for (what, word, value) in [
        ("the last page is listed no more", last, 0),
        ("the last page 4 KiB later", last, page + 4096),
        ("the last page is the chunk", last, chunk),
        ("the chunk leads to the last page", chunk, page),
    ] {
        let mut mem = built.mem.clone();
        mem.set_u64(word, value);
        say(what, &mem, at);
    }
    Ok(text.into())
}
