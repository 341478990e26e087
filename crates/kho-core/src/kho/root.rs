//! The root FDT of a handover that is being made: what it says changes with each step.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use kho_mem::fill;
use kho_radix::{Failed, PreservedFolio};

use super::{Counts, KhoError, Shared, State, Subtree};
use crate::root::{self, Blob};
use crate::v4::{FDT_SIZE, LISTED_NAME_MAX, PROP_COMPATIBLE};
use crate::{NAME, REGION, listed};

/// What the root FDT is to say of the subtrees that it does not say yet.
pub(super) enum Change<'c> {
    None,
    Add(Blob<'c>),
    /// By its place.
    Remove(usize),
    /// By its place, to so many bytes.
    Resize(usize, u64),
}

impl Subtree {
    fn blob(&self) -> Blob<'_> {
        Blob {
            name: &self.name,
            addr: self.blob.addr(),
            size: self.size,
            regions: self.regions,
        }
    }
}

/// The FDT `tree`, where it fits its page; `name` is what was added to it.
pub(super) fn one_page(what: &'static str, name: &str, tree: Vec<u8>) -> Result<Vec<u8>, KhoError> {
    if tree.len() <= FDT_SIZE {
        return Ok(tree);
    }
    Err(KhoError::FdtFull {
        what,
        name: name.to_owned(),
        needed: tree.len(),
    })
}

impl Shared {
    /// Adds a subtree, once the root FDT has room for it.
    pub(super) fn insert(
        &self,
        state: &mut State,
        name: &str,
        blob: PreservedFolio,
        size: u64,
        regions: bool,
    ) -> Result<(), Failed<PreservedFolio, KhoError>> {
        let added = Blob {
            name,
            addr: blob.addr(),
            size,
            regions,
        };
        match self.write_root(state, Change::Add(added)) {
            Ok(()) => {
                state.subtrees.push(Subtree {
                    name: name.to_owned(),
                    size,
                    blob,
                    regions,
                });
                Ok(())
            }
            Err(error) => Err(Failed {
                error,
                returned: blob,
            }),
        }
    }

    /// Lists `listed` instead of what was listed, once the root FDT has room for it.
    pub(super) fn relist(&self, state: &mut State, listed: Counts) -> Result<(), KhoError> {
        let before = core::mem::replace(&mut state.listed, listed);
        if listed::lists(self.writing.list).is_none() {
            return Ok(());
        }
        let written = self.write_root(state, Change::None);
        if written.is_err() {
            state.listed = before;
        }
        written
    }

    /// The components in use, in alphabetical order: the root, the owners of subtrees, the regions,
    /// those that were listed, and all that they need.
    fn in_use<'s>(&'s self, subtrees: &[Blob<'_>], listed: &'s Counts) -> BTreeSet<&'s str> {
        let owners = subtrees.iter().flat_map(|subtree| {
            let region = subtree.regions.then(|| self.side.get(REGION.name));
            let owner = self.side.subtree(subtree.name);
            [owner, region.flatten()].into_iter().flatten()
        });
        let users = owners.map(|owner| owner.name.as_str());
        let users = users.chain([NAME]).chain(listed.keys().map(String::as_str));
        let all = users.flat_map(|user| {
            let needs = self.side.needs(user).iter().map(String::as_str);
            needs.chain([user])
        });
        all.collect()
    }

    /// The root FDT with the subtrees there are, but for `change`.
    pub(super) fn root_tree(&self, state: &State, change: Change<'_>) -> Result<Vec<u8>, KhoError> {
        let name = match &change {
            Change::Add(added) => Some(added.name.to_owned()),
            _ => None,
        };
        let mut all: Vec<_> = state.subtrees.iter().map(Subtree::blob).collect();
        match change {
            Change::None => {}
            Change::Add(added) => all.push(added),
            Change::Remove(index) => drop(all.drain(index..=index)),
            Change::Resize(index, size) => {
                if let Some(blob) = all.get_mut(index) {
                    blob.size = size;
                }
            }
        }
        let list = listed::lists(self.writing.list).map(|carrier| {
            let in_use = self.in_use(&all, &state.listed);
            listed::Node::of(&self.side, carrier, in_use)
        });
        if let Some(node) = &list
            && let Some((name, _)) = node
                .properties
                .iter()
                .find(|(name, _)| name.len() > LISTED_NAME_MAX)
        {
            return Err(KhoError::LongName((*name).to_owned()));
        }
        let name = name.unwrap_or_else(|| match &list {
            Some(node) => node.name.to_owned(),
            None => PROP_COMPATIBLE.to_owned(),
        });
        let tree = root::encode(&self.compatible, self.preserver.root(), list, &all)
            .map_err(|_| KhoError::BadName(name.clone()))?;
        one_page("the root FDT", &name, tree)
    }

    /// Writes the root FDT with the subtrees there are, but for `change`.
    pub(super) fn write_root(&self, state: &mut State, change: Change<'_>) -> Result<(), KhoError> {
        let tree = self.root_tree(state, change)?;
        Ok(fill(&mut state.fdt, &tree, "bytes of the root FDT")?)
    }
}
