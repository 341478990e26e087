//! The `reserve_mem` regions in a survey.

use alloc::boxed::Box;
use alloc::format;

use kho_compat::describe::Members;
use kho_compat::{Branch, Fact, Manifest, count, size};
use kho_mem::{Damage, PAGE_SIZE, PhysAddr};

use super::{Memblock, MemblockFdt, Region, RegionNode};
use crate::{Contents, MEMBLOCK, Owner, Subtree, Surveying};

/// The owner of the memblock FDT.
pub(crate) const OWNER: Owner = Owner::new(&MEMBLOCK, survey).peeked_at(peek);

fn survey(
    surveying: &mut Surveying<'_, '_>,
    subtree: &Subtree,
) -> Result<Box<dyn Contents>, Damage> {
    Ok(Box::new(super::read(surveying.reading, subtree)?))
}

impl Contents for Memblock {
    fn add_to(&self, manifest: &mut Manifest) {
        Self::add_to(self, manifest);
    }

    fn facts(&self) -> (&'static str, Fact) {
        let region = |region: &Region| {
            Fact::map([
                ("name", (&region.name).into()),
                ("compatible", (&region.compatible).into()),
                (
                    "start",
                    region.range.map(|range| range.start().get()).into(),
                ),
                ("size", region.range.map(|range| range.len()).into()),
                ("preserved", region.preserved.into()),
            ])
        };
        let regions = self.regions().iter().map(region).collect();
        let fact = Fact::map([
            ("compatible", self.compatible().into()),
            ("regions", regions),
        ]);
        ("memblock", fact)
    }

    fn tree(&self, limit: usize) -> Branch {
        let mut branch = Branch::new("reserve_mem regions  ").dim(self.compatible());
        branch.list(self.regions(), limit, "region", |region| {
            let Some(range) = region.range else {
                let text = format!("{}  {}, lost", region.name, region.compatible);
                return Branch::default().warning(text);
            };
            let line = Branch::new(format!("{}  {}  ", region.name, size(range.len())))
                .dim(format!("{range}"));
            match range.len() - region.preserved {
                0 => line,
                lost => line
                    .plain("  ")
                    .warning(format!("its last {} not preserved", count(lost, "byte"))),
            }
        });
        branch
    }
}

fn peek(blob: &[u8], at: PhysAddr) -> Result<(Members, Branch), Damage> {
    // Of the page that it lies in its used part may be all that is there.
    let mut page = blob.to_vec();
    page.resize(page.len().max(PAGE_SIZE), 0);
    let MemblockFdt {
        compatible,
        regions,
    } = MemblockFdt::decode(&page, at)?;
    let fact = |region: &RegionNode| {
        Fact::map([
            ("name", (&region.name).into()),
            ("compatible", (&region.compatible).into()),
            ("start", region.place.map(|(start, _)| start.get()).into()),
            ("size", region.place.map(|(_, size)| size).into()),
        ])
    };
    let facts = [
        ("kind", MEMBLOCK.name.into()),
        ("compatible", (&compatible).into()),
        (
            "regions",
            regions
                .as_ref()
                .map_or(Fact::Null, |regions| regions.iter().map(fact).collect()),
        ),
    ];
    let facts = facts.map(|(name, fact)| (name.into(), fact)).into();
    let Some(regions) = regions else {
        return Ok((
            facts,
            Branch::default().warning(format!("{compatible}, not read")),
        ));
    };
    let regions_text = count(regions.len() as u64, "region");
    let mut branch = Branch::new(format!("{compatible}, {regions_text}"));
    branch.list(&regions, usize::MAX, "region", |region| {
        let line = Branch::new(format!("{}  ", region.name));
        match region.place {
            Some((start, len)) => line
                .plain(format!("{}  ", size(len)))
                .dim(format!("at {start}")),
            None => line.warning(format!("{}, not read", region.compatible)),
        }
    });
    Ok((facts, branch))
}
