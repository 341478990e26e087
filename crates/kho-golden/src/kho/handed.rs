//! Handovers that were handed over.

use std::fmt::Write as _;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use kho_abi_check::Failure;
use kho_compat::{Ability, Features, Presence, Registry, Side};
use kho_core::COMPONENT;
use kho_core::{Entry, Kho, KhoConfig};
use kho_mem::{PhysAddr, PhysRange};

use crate::dump::{Dump, arena, number, text};
use crate::opened::Opened;
use crate::peers::KHO;

// The format's number, written once more: a dump must not change with the constant.
pub(crate) const PAGE: usize = 4096;

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

/// A handover that was handed over.
pub(crate) struct Handed {
    pub(crate) dump: Dump,
    pub(crate) entry: Entry,
    pub(crate) tracker: PhysAddr,
}

pub(crate) fn hand_over(kho: Kho) -> Result<Handed, Failure> {
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
    /// Opens it.
    pub(crate) fn open(&self) -> Result<Opened, Failure> {
        Opened::new(&self.dump, self.entry, &Registry::new([*KHO])?)
    }

    /// The root FDT, whose size its header says. What is behind it is 0.
    pub(crate) fn root(&self) -> Result<Vec<u8>, Failure> {
        let mut page = self.dump.read(self.entry.fdt_addr, PAGE)?;
        let size = page.get(4..8).and_then(|size| size.first_chunk());
        let size = size.map_or(0, |size| u32::from_be_bytes(*size));
        let rest = page.split_off(page.len().min(size as usize));
        if rest.iter().any(|byte| *byte != 0) {
            return Err("not 0 behind the FDT".into());
        }
        Ok(page)
    }

    pub(crate) fn blob(&self, name: &str) -> Result<(PhysAddr, u64), Failure> {
        let root = self.root()?;
        let tree = Fdt::new(&root)?;
        let node = tree.root().children().find(|node| node.name() == name);
        let node = node.ok_or("no such subtree")?;
        let value = |name| node.properties().find(|property| property.name() == name);
        let addr = value("preserved-data").ok_or("no address")?;
        let size = value("blob-size").ok_or("no size")?;
        Ok((PhysAddr::new(number(addr.value())), number(size.value())))
    }

    pub(crate) fn add_blob(&mut self, name: &str) -> Result<(), Failure> {
        let (addr, size) = self.blob(name)?;
        self.dump.memory(name, addr, usize::try_from(size)?)
    }

    /// Adds the nodes and properties of an FDT, in its order.
    pub(crate) fn add_tree(&mut self, tree: &[u8]) -> Result<(), Failure> {
        let root = Fdt::new(tree)?.root();
        self.add_node(&root);
        root.children().for_each(|node| self.add_node(&node));
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
