//! The FDT of the regions.

use dtoolkit::fdt::Fdt as Tree;
use dtoolkit::{Node, Property};
use kho_abi_check::{Failure, Text};
use kho_compat::{Ability, Component, Side, Writing};
use kho_core::memblock::v1::MEMBLOCK_SUBTREE;
use kho_core::{COMPONENT, MEMBLOCK, REGION};
use kho_core::{Kho, KhoConfig, Memblock};
use kho_mem::PhysAddr;

use crate::dump::arena;
use crate::edits::{Edit, Refusal, behind, bytes, word};
use crate::kho::fdt::Fdt;
use crate::kho::handed::{Handed, hand_over, kho};
use crate::peers::in_version_1;

kho_abi_check::vectors!("memblock", [
    "regions: trace, 3 pages; oops.1, a page" => written,
    "what is listed with a region" => listed,
    "what is read of regions trace, 3 pages, and oops1, a page" => read,
]);

/// A handover with the regions `trace` of 3 pages and `oops1` of a page, where the FDT of them lies, and where
/// the first and the second begin.
pub(crate) struct Regions {
    pub(crate) handed: Handed,
    pub(crate) fdt: Fdt,
    size: PhysAddr,
    pub(crate) starts: [PhysAddr; 2],
}

impl Regions {
    pub(crate) fn new() -> Result<Self, Failure> {
        let kho = kho(KhoConfig::new())?;
        let mut starts = Vec::new();
        for (name, pages) in [("trace", 3), ("oops1", 1)] {
            let pages = kho.arena().alloc_pages_zeroed(pages)?;
            starts.push(pages.addr());
            kho.reserve_mem(name, pages)?;
        }
        let handed = hand_over(kho)?;
        let root = Fdt::new(&handed.dump, handed.entry.fdt_addr)?;
        let at = handed
            .dump
            .word(root.value(MEMBLOCK_SUBTREE, "preserved-data")?)?;
        Ok(Self {
            fdt: Fdt::new(&handed.dump, PhysAddr::new(at))?,
            size: root.value(MEMBLOCK_SUBTREE, "blob-size")?,
            starts: <[_; 2]>::try_from(starts).map_err(|_| "not two regions")?,
            handed,
        })
    }

    /// What is read of them, with the string of `other` as that of version 1.
    pub(crate) fn readings(mut self, other: &Component, edits: &[Edit]) -> Result<String, Failure> {
        let opened = self.handed.open()?;
        self.handed.dump.readings(edits, |mem, names| {
            let (handover, mut reading) = opened.again(mem)?;
            let before = reading.claims().count();
            let memblock = Memblock::read(&handover, &mut reading);
            if memblock.is_err() && reading.claims().count() != before {
                return Err(Refusal::new("and stays claimed"));
            }
            let Some(memblock) = memblock? else {
                return Ok("none".to_string());
            };
            let mut lines = Vec::from([memblock.compatible().to_string()]);
            for region in memblock.regions() {
                let (name, compatible) = (&region.name, &region.compatible);
                let range = region.range.map_or("not read".to_string(), |range| {
                    let at = names.name(range.start());
                    format!(
                        "{} bytes at {at}, {} preserved",
                        range.len(),
                        region.preserved
                    )
                });
                lines.push(format!("{name}, {compatible}: {range}"));
            }
            let claimed = reading.claims().count() - before;
            let claimed = if claimed > 0 {
                "claimed"
            } else {
                "nothing claimed"
            };
            lines.push(claimed.to_string());
            let text = in_version_1(lines.join("\n").as_bytes(), other);
            Ok(String::from_utf8_lossy(&text).into_owned())
        })?;
        Ok(self.handed.dump.finish())
    }
}

/// The FDT of the regions.
pub(crate) fn written() -> Result<Text, Failure> {
    let kho = kho(KhoConfig::new())?;
    for (name, pages) in [("trace", 3), ("oops.1", 1)] {
        let pages = kho.arena().alloc_pages_zeroed(pages)?;
        kho.reserve_mem(name, pages)?;
    }
    let mut handed = hand_over(kho)?;
    let (at, size) = handed.blob(MEMBLOCK_SUBTREE)?;
    let tree = handed.dump.read(at, usize::try_from(size)?)?;
    let title = format!("{MEMBLOCK_SUBTREE} at {}", handed.dump.name(at));
    handed.dump.bytes(&title, in_version_1(&tree, &REGION));
    Ok(handed.dump.finish().into())
}

/// What is listed with regions.
pub(crate) fn listed() -> Result<Text, Failure> {
    let mut abilities = vec![Ability::try_from(&COMPONENT)?];
    for component in [&MEMBLOCK, &REGION] {
        abilities.push(Ability::try_from(component)?);
    }
    for ability in &mut abilities {
        ability.needs.clear();
    }
    let config = KhoConfig::new().writing(Writing::TABLE);
    let kho = Kho::new(arena()?, &config.side(Side::new(abilities)?))?;
    let pages = kho.arena().alloc_pages_zeroed(1)?;
    kho.reserve_mem("region", pages)?;
    let handed = hand_over(kho)?;
    let root = handed.root()?;
    let tree = Tree::new(&root)?.root();
    let table = tree.children().find(|node| node.name() == "compat");
    let table = table.ok_or("no table")?;
    let names: Vec<_> = table
        .properties()
        .map(|property| property.name().to_string())
        .filter(|name| name != COMPONENT.name)
        .collect();
    Ok(names.join(", ").into())
}

/// The FDT of the regions.
pub(crate) fn read() -> Result<Text, Failure> {
    let regions = Regions::new()?;
    let fdt = &regions.fdt;
    let string = fdt.value("", "compatible")?;
    let compatible =
        |text: &[u8; 11]| bytes(format!("compatible: {}", text.escape_ascii()), string, text);
    let (trace, oops) = (fdt.find("trace", None)?, fdt.find("oops1", None)?);
    let mut tree = fdt.bytes.clone();
    let (own, next) = (MEMBLOCK.major(), MEMBLOCK.major() + 1);
    let [own, next] = [own, next].map(|number| format!("{}-v{number}", MEMBLOCK.name));
    let at = tree
        .windows(own.len())
        .position(|text| text == own.as_bytes());
    let place = at.and_then(|at| tree.get_mut(at..at + next.len()));
    place.ok_or("no string")?.copy_from_slice(next.as_bytes());
    let edits = [
        compatible(b"memblock-v2"),
        compatible(b"memblock-v0"),
        compatible(b"memblocj-v1"),
        compatible(b"memblock_v1"),
        bytes("compatible: not terminated", behind(string, 11), b"1"),
        bytes(
            "compatible: under another name",
            behind(fdt.name("compatible")?, 9),
            b"f",
        ),
        bytes("magic: one off", behind(fdt.at, 3), b"\xee"),
        bytes("trace: named oops1", behind(trace, 4), b"oops1"),
        bytes("trace: named with other signs", behind(trace, 4), b"t@/ e"),
        bytes("trace: without a name", behind(trace, 4), b"\0"),
        bytes(
            "oops1: named with a control character",
            behind(oops, 4),
            b"\x7f",
        ),
        word("blob-size: 100", regions.size, 100),
    ];
    let mut text = regions.readings(&REGION, &edits)?;

    // Of a version whose regions are not looked at, and as large as can be.
    let kho = kho(KhoConfig::new())?;
    let mut blob = kho.preserver().alloc_preserve(1 << 17)?;
    if let Some(head) = blob.get_mut(..tree.len()) {
        head.copy_from_slice(&tree);
    }
    kho.add_subtree(MEMBLOCK_SUBTREE, blob, 65536)?;
    let mut handed = hand_over(kho)?;
    let fdt = Fdt::new(&handed.dump, handed.entry.fdt_addr)?;
    let size = fdt.value(MEMBLOCK_SUBTREE, "blob-size")?;
    let (opened, edit) = (handed.open()?, word("blob-size: 65537", size, 65537));
    handed.dump.readings(&[edit], |mem, _| {
        let (handover, mut reading) = opened.again(mem)?;
        let memblock = Memblock::read(&handover, &mut reading)?;
        Ok(memblock.map_or("none".to_string(), |memblock| {
            memblock.compatible().to_string()
        }))
    })?;
    text.push_str(&handed.dump.finish());
    Ok(text.into())
}
