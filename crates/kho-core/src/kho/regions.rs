//! Regions that are handed over under a name, and the memblock FDT that lists them.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use kho_mem::{Broken, PAGE_SIZE, Pages, fill};
use kho_radix::{Failed, PreservedPages};

use super::root::{Change, one_page};
use super::{Kho, KhoError, Shared, State};
use crate::memblock;
use crate::memblock::v1::MEMBLOCK_SUBTREE;

const WHAT: &str = "bytes of the memblock FDT";

impl Kho {
    /// Hands a region of memory over under a name, as `reserve_mem=` does.
    ///
    /// # Errors
    ///
    /// The name is taken or is none, its FDT (a page) or the root FDT is full, or no page is left.
    /// The pages come back, and everything is as it was.
    pub fn reserve_mem(&self, name: &str, pages: Pages) -> Result<(), Failed<Pages, KhoError>> {
        let preserver = &self.0.preserver;
        let mut returned = None;
        let done = preserver.step(|| {
            let region = preserver.preserve_pages(pages).map_err(|failed| {
                returned = Some(failed.returned);
                KhoError::from(failed.error)
            })?;
            let mut state = self.0.state.lock();
            match self.0.list_region(&mut state, name, &region) {
                Ok(()) => {
                    state.regions.push((name.to_owned(), region));
                    Ok(())
                }
                Err(error) => {
                    returned = Some(region.unpreserve());
                    Err(error)
                }
            }
        });
        match (done, returned) {
            (Err(error), Some(returned)) => Err(Failed { error, returned }),
            _ => Ok(()),
        }
    }
}

impl Shared {
    /// Lists `region` in the memblock FDT.
    fn list_region(
        &self,
        state: &mut State,
        name: &str,
        region: &PreservedPages,
    ) -> Result<(), KhoError> {
        let duplicate = |what, name: &str| KhoError::Duplicate {
            what,
            name: name.to_owned(),
        };
        if state.regions.iter().any(|(other, _)| other == name) {
            return Err(duplicate("reserve_mem region", name));
        }
        let regions = state.regions.iter();
        let regions = regions.map(|(name, region)| (name.as_str(), region.run()));
        let regions: Vec<_> = regions.chain([(name, region.run())]).collect();
        let tree = memblock::encode(&regions).map_err(|_| KhoError::BadName(name.to_owned()))?;
        let tree = one_page("the memblock FDT", name, tree)?;
        let size = tree.len() as u64;
        let mut subtrees = state.subtrees.iter().enumerate();
        let found = subtrees.find(|(_, subtree)| subtree.name == MEMBLOCK_SUBTREE);
        let Some((at, subtree)) = found else {
            let mut blob = self.preserver.alloc_preserve(PAGE_SIZE)?;
            fill(&mut blob, &tree, WHAT)?;
            let added = self.insert(state, MEMBLOCK_SUBTREE, blob, size, true);
            return added.map_err(|failed| failed.error);
        };
        // Somebody else's: what it holds is not ours to write over.
        if !subtree.regions {
            return Err(duplicate("subtree", MEMBLOCK_SUBTREE));
        }
        let root = self.root_tree(state, Change::Resize(at, size))?;
        let State { fdt, subtrees, .. } = state;
        let found = subtrees.len();
        let subtree = subtrees.get_mut(at);
        let subtree = subtree.ok_or(Broken::new("subtrees", at + 1, found))?;
        let before = fdt.to_vec();
        fill(fdt, &root, "bytes of the root FDT")?;
        fill(&mut subtree.blob, &tree, WHAT).or_else(|broken| {
            fill(fdt, &before, "bytes of the root FDT")?;
            Err(broken)
        })?;
        subtree.size = size;
        Ok(())
    }
}
