//! What is written of a handover for given inputs: the part of the formats that no struct shows.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use kho_compat::{Ability, Dialect, Features, Presence, Side, Vector};
use kho_mem::{Order, PhysAddr, PhysRange};
use kho_radix::dump::{Dump, Failure, arena, number, text, vector};

use crate::abi::{COMPONENT, MEMBLOCK, MEMBLOCK_SUBTREE, METADATA_SUBTREE, REGION};
use crate::fdt::Tree;
use crate::{Entry, Kho, KhoConfig};

const PAGE: usize = 4096;

/// A side that knows this crate's components and an owner of a subtree, but not what they really need:
/// that has versions of its own, and a history of its own.
fn side() -> Result<Side, Failure> {
    let mut kho = Ability::try_from(&COMPONENT)?;
    kho.needs = Vec::from(["second".to_string(), "first".to_string()]);
    let mut first = Ability::new("first", 12)?;
    first.needs.push("third".to_string());
    first.features = Some(Features::BASE);
    let mut owner = Ability::new("owner", 7)?;
    owner.subtree = Some("owned".to_string());
    owner.presence = Presence::Optional;
    owner.features = Some(Features {
        supported: 0x8000_0000_0000_0007,
        required: 1,
        active: 3,
    });
    let unused = Ability::new("unused", 1)?;
    let needs = [Ability::new("second", 3)?, Ability::new("third", 4)?];
    let abilities = [kho, first, owner, unused].into_iter().chain(needs);
    Ok(Side::new(abilities)?)
}

pub(crate) fn kho(config: KhoConfig) -> Result<Kho, Failure> {
    Ok(Kho::new(arena()?, &config.side(side()?))?)
}

pub(crate) fn add(kho: &Kho, name: &str, bytes: &[u8], size: u64) -> Result<(), Failure> {
    let mut blob = kho.preserver().alloc_preserve(bytes.len())?;
    for (byte, value) in blob.iter_mut().zip(bytes) {
        *byte = *value;
    }
    Ok(kho.add_subtree(name, blob, size)?)
}

/// A handover that was handed over.
struct Handed {
    dump: Dump,
    entry: Entry,
    tracker: PhysAddr,
}

fn hand_over(kho: Kho) -> Result<Handed, Failure> {
    let (entry, tracker) = (kho.entry(), kho.preserver().root());
    let arena = kho.hand_over().map_err(|_| "still shared")?;
    let dump = Dump::new(arena)?;
    Ok(Handed {
        dump,
        entry,
        tracker,
    })
}

impl Handed {
    /// The root FDT, whose size its header says. What is behind it is 0.
    fn root(&self) -> Result<Vec<u8>, Failure> {
        let mut page = self.dump.read(self.entry.fdt_addr, PAGE)?;
        let size = page.get(4..8).and_then(|size| size.first_chunk());
        let size = size.map_or(0, |size| u32::from_be_bytes(*size));
        let rest = page.split_off(page.len().min(size as usize));
        if rest.iter().any(|byte| *byte != 0) {
            return Err("not 0 behind the FDT".into());
        }
        Ok(page)
    }

    fn blob(&self, name: &str) -> Result<(PhysAddr, u64), Failure> {
        let root = self.root()?;
        let tree = Tree::check(&root, self.entry.fdt_addr, "root FDT")?;
        let node = tree.children().find(|node| node.name() == name);
        let node = node.ok_or("no such subtree")?;
        let value = |name| node.properties().find(|property| property.name() == name);
        let addr = value("preserved-data").ok_or("no address")?;
        let size = value("blob-size").ok_or("no size")?;
        Ok((PhysAddr::new(number(addr.value())), number(size.value())))
    }

    fn add_blob(&mut self, name: &str) -> Result<(), Failure> {
        let (addr, size) = self.blob(name)?;
        self.dump.memory(name, addr, usize::try_from(size)?)
    }

    /// Adds the nodes and properties of an FDT, in its order.
    fn add_tree(&mut self, tree: &[u8]) -> Result<(), Failure> {
        let tree = Tree::check(tree, PhysAddr::NULL, "FDT")?;
        self.add_node(&tree.root());
        tree.children().for_each(|node| self.add_node(&node));
        Ok(())
    }

    fn add_node(&mut self, node: &FdtNode<'_>) {
        self.dump.line(format!("/{}", node.name()));
        for property in node.properties() {
            let mut value = property.value().to_vec();
            self.dump.relocate(&mut value);
            let shown = match value.split_last() {
                Some((0, head)) if head.iter().all(u8::is_ascii_graphic) && head.len() > 1 => {
                    format!("{} and a NUL", text(head))
                }
                _ => value.iter().fold(String::new(), |mut all, byte| {
                    let _ = write!(all, "{byte:02x} ");
                    all
                }),
            };
            self.dump
                .line(format!("  {}: {}", property.name(), shown.trim_end()));
        }
    }
}

/// The root FDT byte by byte.
pub(crate) fn root() -> Vector {
    let name =
        "root FDT: subtrees zeta, 5 bytes, and alpha, 8192 bytes; one between them taken out";
    vector(name, || {
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
        Ok(handed.dump.finish())
    })
}

/// How versions are said.
pub(crate) fn dialects() -> Vector {
    let name =
        "root FDT in each dialect, whose root needs first and second: a subtree with an owner";
    vector(name, || {
        let mut text = String::new();
        for dialect in Dialect::ALL {
            let kho = kho(KhoConfig::new().dialect(dialect))?;
            add(&kho, "owned", b"o", 1)?;
            // In use no more.
            kho.list(&["unused"])?;
            kho.unlist(&["unused"]);
            let mut handed = hand_over(kho)?;
            handed.dump.line(format!("{dialect}:"));
            let root = handed.root()?;
            handed.add_tree(&root)?;
            text.push_str(&handed.dump.finish());
        }
        Ok(text)
    })
}

/// With scratch areas: 40 MiB at 0xcc00000, none, 120 MiB at 0x5400000.
pub(crate) fn with_scratch() -> Result<Kho, Failure> {
    let areas = [
        (0xcc0_0000, 40 << 20),
        (0xcc0_0000, 0),
        (0x540_0000, 120 << 20),
    ];
    let areas = areas.map(|(addr, size)| PhysRange::new(PhysAddr::new(addr), size));
    kho(KhoConfig::new().scratch(areas.into_iter().flatten()))
}

/// The table of scratch areas.
pub(crate) fn scratch() -> Vector {
    let name = "scratch table: 40 MiB at 0xcc00000, none, 120 MiB at 0x5400000";
    vector(name, || {
        let mut handed = hand_over(with_scratch()?)?;
        let (at, size) = handed.entry.scratch.ok_or("no table")?;
        handed.dump.memory("table", at, usize::try_from(size)?)?;
        // The table itself is not preserved.
        let (tracker, fdt) = (handed.tracker, handed.entry.fdt_addr);
        handed.dump.name(fdt);
        handed.dump.preserved(tracker)?;
        Ok(handed.dump.finish())
    })
}

/// The kexec metadata.
pub(crate) fn metadata() -> Vector {
    vector(
        "release 7.3.4, 258 kexecs; releases of 64 and 65 bytes",
        || {
            let mut handed = hand_over(kho(KhoConfig::new().metadata("7.3.4", 258))?)?;
            handed.add_blob(METADATA_SUBTREE)?;
            let mut out = handed.dump.finish();
            let long = "x".repeat(64);
            let mut handed = hand_over(kho(KhoConfig::new().metadata(long, 0xa1b2_c3d4))?)?;
            handed.add_blob(METADATA_SUBTREE)?;
            out.push_str(&handed.dump.finish());
            let refused = kho(KhoConfig::new().metadata("x".repeat(65), 1)).is_err();
            let _ = writeln!(out, "65 bytes refused: {refused}");
            Ok(out)
        },
    )
}

/// The FDT of the regions.
pub(crate) fn memblock() -> Vector {
    vector("regions: trace, 3 pages; oops.1, a page", || {
        let kho = kho(KhoConfig::new())?;
        for (name, pages) in [("trace", 3), ("oops.1", 1)] {
            let pages = kho.arena().alloc_pages_zeroed(pages)?;
            kho.reserve_mem(name, pages)?;
        }
        let mut handed = hand_over(kho)?;
        handed.add_blob(MEMBLOCK_SUBTREE)?;
        Ok(handed.dump.finish())
    })
}

/// What is listed with regions.
pub(crate) fn listed() -> Vector {
    vector("what is listed with a region", || {
        let mut abilities = vec![Ability::try_from(&COMPONENT)?];
        for component in [&MEMBLOCK, &REGION] {
            abilities.push(Ability::try_from(component)?);
        }
        for ability in &mut abilities {
            ability.needs.clear();
        }
        let config = KhoConfig::new().dialect(Dialect::Table);
        let kho = Kho::new(arena()?, &config.side(Side::new(abilities)?))?;
        let pages = kho.arena().alloc_pages_zeroed(1)?;
        kho.reserve_mem("region", pages)?;
        let handed = hand_over(kho)?;
        let root = handed.root()?;
        let tree = Tree::check(&root, handed.entry.fdt_addr, "root FDT")?;
        let table = tree.children().find(|node| node.name() == "compat");
        let table = table.ok_or("no table")?;
        let names: Vec<_> = table
            .properties()
            .map(|property| property.name().to_string())
            .filter(|name| name != COMPONENT.name)
            .collect();
        Ok(names.join(", "))
    })
}

/// A region.
pub(crate) fn region() -> Vector {
    vector("a region of 5 pages, `trace`", || {
        let kho = kho(KhoConfig::new())?;
        let pages = kho.arena().alloc_pages_zeroed(5)?;
        let run = pages.run();
        kho.reserve_mem("trace", pages)?;
        let mut handed = hand_over(kho)?;
        let (at, size) = handed.blob(MEMBLOCK_SUBTREE)?;
        let tree = handed.dump.read(at, usize::try_from(size)?)?;
        handed.add_tree(&tree)?;
        // In which keys depends on where they lie: the tracker's vectors show how a run is split.
        let keys = handed.dump.keys(handed.tracker)?;
        let inside = keys
            .iter()
            .filter(|key| (run.pfn..run.end()).contains(&key.pfn()));
        let pages: u64 = inside.map(|key| Order::pages(key.order())).sum();
        handed.dump.line(format!("{pages} pages preserved"));
        Ok(handed.dump.finish())
    })
}
