//! The regions that `reserve_mem=` set aside.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use dtoolkit::Node;
use dtoolkit::fdt::FdtNode;
use kho_compat::{Carrier, Compat, Component, Manifest, Owned, Place};
use kho_mem::{Damage, Defect, Link, PAGE_SIZE_U64, PageRun, PhysAddr, PhysMemExt, PhysRange};
use kho_radix::Reading;
use vm_fdt::FdtWriter;

use crate::fdt::{self, Tree};
use crate::memblock::v1::{
    MEMBLOCK_SUBTREE, MEMBLOCK_VERSION, PROP_SIZE, PROP_START, REGION_VERSION,
};
use crate::v4::PROP_COMPATIBLE;
use crate::{Handover, Subtree};
use crate::{MEMBLOCK, REGION};

mod owner;
pub mod v1;

pub(crate) use owner::OWNER;

/// The largest memblock FDT that is read. A kernel writes one page.
const MEMBLOCK_MAX: u64 = 16 * PAGE_SIZE_U64;

/// A region that `reserve_mem=` set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// The name that the user gave it.
    pub name: String,
    /// Its compat string.
    pub compatible: String,
    /// Where it lies; `None` for a region of a version that is not read here.
    pub range: Option<PhysRange>,
    /// Its first bytes, as many as are preserved. A kernel preserves size / 4096 pages from the
    /// page of the start on: the tail of a region that is not whole pages is lost.
    pub preserved: u64,
}

/// The memblock FDT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memblock {
    at: PhysAddr,
    compatible: String,
    regions: Vec<Region>,
}

/// The memblock FDT, decoded from its bytes alone: its regions' memory was not looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemblockFdt {
    /// Its compat string.
    pub compatible: String,
    /// Its regions; `None` for a version that is not read here.
    pub regions: Option<Vec<RegionNode>>,
}

/// A region's node of the memblock FDT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegionNode {
    /// The name that the user gave it.
    pub name: String,
    /// Its compat string.
    pub compatible: String,
    /// Its address and bytes; `None` for a region of a version that is not read here.
    pub place: Option<(PhysAddr, u64)>,
}

impl MemblockFdt {
    /// Decodes the FDT that `bytes`, which lie at `at`, begin with.
    ///
    /// # Errors
    ///
    /// The FDT is damaged, or a property is missing.
    pub fn decode(bytes: &[u8], at: PhysAddr) -> Result<Self, Damage> {
        let tree = Tree::check(bytes, at, "memblock FDT")?;
        let compatible = tree.string(&tree.root(), PROP_COMPATIBLE)?;
        let region = |node: FdtNode<'_>| {
            let compatible = tree.string(&node, PROP_COMPATIBLE)?;
            let place = if is(&compatible, REGION.name, REGION_VERSION) {
                let start = PhysAddr::new(tree.u64(&node, PROP_START)?);
                Some((start, tree.u64(&node, PROP_SIZE)?))
            } else {
                None
            };
            Ok(RegionNode {
                name: node.name().to_string(),
                compatible,
                place,
            })
        };
        let is_known = is(&compatible, MEMBLOCK.name, MEMBLOCK_VERSION);
        let regions = is_known.then(|| tree.children().map(region).collect::<Result<_, Damage>>());
        let regions = regions.transpose()?;
        Ok(Self {
            compatible,
            regions,
        })
    }
}

fn is(text: &str, name: &str, version: u32) -> bool {
    Compat::parse(text).is_ok_and(|c| c.base().name() == name && c.base().version() == version)
}

impl Memblock {
    /// Reads the memblock FDT of `handover` and claims its regions; `None` where it has none.
    ///
    /// # Errors
    ///
    /// The FDT is damaged, or a region of a known version is empty, leaves the address space, is
    /// not preserved, or shares memory. The regions of an unknown version are not looked at.
    pub fn read(
        handover: &Handover<'_>,
        reading: &mut Reading<'_>,
    ) -> Result<Option<Self>, Damage> {
        let subtree = handover.subtree(MEMBLOCK_SUBTREE);
        let read = subtree.map(|subtree| reading.all_or_none(|reading| read(reading, subtree)));
        read.transpose()
    }

    /// The FDT's compat string.
    #[must_use]
    pub fn compatible(&self) -> &str {
        &self.compatible
    }

    /// The regions in the FDT's order. Their names are unique. None for an unknown version.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Adds its strings to `manifest`.
    pub fn add_to(&self, manifest: &mut Manifest) {
        let at = self.at.get();
        manifest.add(
            Carrier::Owned(Owned::MEMBLOCK),
            &self.compatible,
            Place::new(at, "memblock FDT, compatible"),
        );
        for region in &self.regions {
            let path = format!("memblock FDT, region `{}`, compatible", region.name);
            manifest.add(
                Carrier::Owned(Owned::RESERVE_MEM),
                &region.compatible,
                Place::new(at, path),
            );
        }
    }
}

fn read(reading: &mut Reading<'_>, subtree: &Subtree) -> Result<Memblock, Damage> {
    let at = subtree.addr;
    if subtree.size > MEMBLOCK_MAX {
        return Err(Damage::new(Defect::BadSize, "blob", at)
            .found(format!("{} bytes", subtree.size))
            .expected(format!("at most {MEMBLOCK_MAX}"))
            .within("memblock"));
    }
    let len = usize::try_from(subtree.size).unwrap_or(usize::MAX);
    let mem = reading.mem();
    let bytes = mem
        .bytes(at, len)
        .map_err(|error| error.damage("memblock", at))?;
    let fdt = MemblockFdt::decode(&bytes, at)?;
    let mut regions = Vec::new();
    for node in fdt.regions.into_iter().flatten() {
        let mut region = Region {
            name: node.name,
            compatible: node.compatible,
            range: None,
            preserved: 0,
        };
        if let Some((start, size)) = node.place {
            let start = Link {
                to: start,
                at,
                name: "reserve_mem region",
            };
            check(reading, start, size, &mut region).map_err(|damage| {
                damage
                    .within(format!("region `{}`", region.name))
                    .within("memblock")
            })?;
        }
        regions.push(region);
    }
    Ok(Memblock {
        at,
        compatible: fdt.compatible,
        regions,
    })
}

/// Checks the memory of a region and claims it, where it is whole pages: two regions that are
/// not may lie in one page.
fn check(
    reading: &mut Reading<'_>,
    link: Link,
    size: u64,
    region: &mut Region,
) -> Result<(), Damage> {
    let start = link.to;
    if start.is_null() || size == 0 {
        let defect = if size == 0 {
            Defect::BadSize
        } else {
            Defect::Null
        };
        return Err(link
            .damage(defect)
            .found(format!("{size} bytes at {start}"))
            .expected("at least 1 byte at an address"));
    }
    let Some(range) = PhysRange::new(start, size) else {
        return Err(link
            .damage(Defect::Wraps)
            .found(format!("{size:#x} bytes at {start}")));
    };
    let page_size = reading.page_size();
    let first = page_size.page_of(start);
    let pages = size / page_size.bytes();
    let kept = pages * page_size.bytes();
    if first == start && size == kept {
        reading.pages(link, pages)?;
    } else if !PhysRange::new(first, kept)
        .is_some_and(|kept| reading.claims().preserved().contains(kept))
    {
        return Err(link
            .damage(Defect::NotPreserved)
            .found(format!("{pages} pages from {first} on"))
            .expected("preserved memory"));
    }
    region.range = Some(range);
    region.preserved = size.min(kept.saturating_sub(start.get() - first.get()));
    Ok(())
}

/// The memblock FDT that lists `regions`.
pub(crate) fn encode(regions: &[(&str, PageRun)]) -> Result<Vec<u8>, vm_fdt::Error> {
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    tree.property_string(PROP_COMPATIBLE, &token(&MEMBLOCK))?;
    for (name, run) in regions {
        let node = fdt::begin(&mut tree, name)?;
        tree.property_string(PROP_COMPATIBLE, &token(&REGION))?;
        tree.property(PROP_START, &run.addr().get().to_le_bytes())?;
        let size = run.pages * PAGE_SIZE_U64;
        tree.property(PROP_SIZE, &size.to_le_bytes())?;
        tree.end_node(node)?;
    }
    tree.end_node(root)?;
    tree.finish()
}

fn token(component: &Component) -> String {
    format!("{}-v{}", component.name, component.major())
}
