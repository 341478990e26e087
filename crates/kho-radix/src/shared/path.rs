//! The path to a leaf of a shared tracker: followed, remembered, and grown.

use super::pool::{Fresh, Pool};
use super::store::Page;
use super::sync::{AtomicU64, Ordering};
use crate::TrackerError;
use crate::key::slot;
use crate::tracker::TABLES;
use crate::v1::TABLE_BITS;

/// What holds as long as this crate has no defect: nobody else writes entries.
const NO_NODE: TrackerError = TrackerError::Broken("a node of the pool where an entry leads");

/// The leaf that was used last, and the tables on the way to it. What was found once holds: no entry changes
/// again.
pub(super) struct Path<'t> {
    pool: &'t Pool,
    // What the keys of the leaf begin with.
    prefix: u64,
    leaf: Option<&'t Page>,
    // By level, from level 1 on.
    tables: [Option<&'t Page>; TABLES],
    // Taken for a node that another thread was faster to add: it is the next one's.
    spare: Option<Fresh<'t>>,
}

impl Drop for Path<'_> {
    fn drop(&mut self) {
        if let Some(spare) = self.spare.take() {
            spare.give_back();
        }
    }
}

/// No prefix has all bits.
const NOWHERE: u64 = u64::MAX;

impl<'t> Path<'t> {
    /// A path that leads nowhere yet.
    pub(super) const fn new(pool: &'t Pool) -> Self {
        Self {
            pool,
            prefix: NOWHERE,
            leaf: None,
            tables: [None; TABLES],
            spare: None,
        }
    }

    /// The pool of its tracker.
    pub(super) const fn pool(&self) -> &'t Pool {
        self.pool
    }

    /// The lowest table on the way to both `prefix` and the leaf that was used last, and its level.
    #[inline]
    fn fork(&self, prefix: u64) -> (Option<&'t Page>, usize) {
        let differs = prefix ^ self.prefix;
        let level = (differs | 1).ilog2() / TABLE_BITS;
        match self.tables.get(level as usize) {
            Some(Some(table)) => (Some(*table), level as usize + 1),
            _ => (self.pool.root(), TABLES),
        }
    }

    /// The leaf of the keys that begin with `prefix`, where there is one. It is the near one then.
    #[inline]
    pub(super) fn seek(&mut self, prefix: u64) -> Option<&'t Page> {
        if prefix == self.prefix {
            return self.leaf;
        }
        self.descend(prefix, false).ok().flatten()
    }

    /// The leaf of the keys that begin with `prefix`, which is added where there is none, with the tables on the
    /// way to it.
    #[inline]
    pub(super) fn go_to(&mut self, prefix: u64) -> Result<&'t Page, TrackerError> {
        let leaf = match self.leaf {
            Some(leaf) if prefix == self.prefix => return Ok(leaf),
            _ => self.descend(prefix, true)?,
        };
        leaf.ok_or(NO_NODE)
    }

    /// Goes down to the leaf of the keys that begin with `prefix`, and adds what is not there if `grow` says
    /// so. Where that leads nowhere there is no near leaf any more.
    #[inline]
    fn descend(&mut self, prefix: u64, grow: bool) -> Result<Option<&'t Page>, TrackerError> {
        let (mut node, top) = self.fork(prefix);
        // The way to the near leaf is overwritten step by step.
        self.prefix = NOWHERE;
        for level in (1..=top).rev() {
            *self.tables.get_mut(level - 1).ok_or(NO_NODE)? = node;
            let Some(entry) = node.and_then(|node| node.get(slot(prefix, level))) else {
                return Ok(None);
            };
            // Acquire: see `grow`.
            let mut addr = u64::from_le(entry.load(Ordering::Acquire));
            if addr == 0 && grow {
                addr = self.grow(entry)?;
            }
            node = self.pool.node(addr);
            if node.is_none() && addr != 0 {
                return Err(NO_NODE);
            }
        }
        if node.is_some() {
            self.prefix = prefix;
            self.leaf = node;
        }
        Ok(node)
    }

    /// Lets `entry`, which was 0, name a new node, unless it names one by now; returns what it names.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, entry: &AtomicU64) -> Result<u64, TrackerError> {
        let fresh = match self.spare.take().map_or_else(|| self.pool.take(), Ok) {
            Ok(fresh) => fresh,
            // Another thread may have had the page for this very node.
            Err(error) => match u64::from_le(entry.load(Ordering::Acquire)) {
                0 => return Err(error),
                addr => return Ok(addr),
            },
        };
        let addr = self.pool.addr(&fresh).get();
        // An entry goes from 0 to an address, once, and stays: there is nothing to mistake it for.
        // - Release: the page's zeros (stores of this thread, or of one that gave the page back, which its
        //   being taken again has acquired) come before the entry. Who reads the address with Acquire sees
        //   zeros, or what was written to the node since, never what the page held before. So does who
        //   reads the memory later by other means, a next kernel.
        // - Acquire, where another thread was faster: its node's zeros, likewise. On success nothing is
        //   read that another thread wrote.
        match entry.compare_exchange(0, addr.to_le(), Ordering::Release, Ordering::Acquire) {
            Ok(_) => Ok(addr),
            Err(there) => {
                // Still zero, and named by nobody.
                self.spare = Some(fresh);
                Ok(u64::from_le(there))
            }
        }
    }
}
