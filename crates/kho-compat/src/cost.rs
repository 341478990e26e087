//! What versions cost in the memory that is handed over.

use crate::{Carrier, Compat, Entry, Manifest};

/// The head of a property in a device tree: its tag, its length, the offset of its name.
const FDT_PROPERTY: usize = 12;
/// The tags that begin and end a node.
const FDT_NODE: usize = 8;

const fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

impl Manifest {
    /// Bytes that these versions take in the memory that is handed over, each use counted: of a string
    /// its field or its FDT property's value, of a table or masks the whole node, its property names
    /// included. Subtrees have no version of their own and cost nothing here.
    ///
    /// ```
    /// use kho_compat::{Carrier, Manifest, Place};
    ///
    /// let mut manifest = Manifest::new();
    /// manifest.add(Carrier::Luo, "luo-v5;block-v1", Place::default());
    /// assert_eq!(manifest.bytes(), 16);
    /// ```
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let entries: u64 = self.entries().iter().map(cost).sum();
        let nodes: u64 = [Carrier::Table, Carrier::Features]
            .into_iter()
            .filter(|carrier| self.of(*carrier).next().is_some())
            .filter_map(|carrier| Some(FDT_NODE + aligned(carrier.node()?.len() + 1)))
            .map(|bytes| bytes as u64)
            .sum();
        entries.saturating_add(nodes)
    }
}

fn cost(entry: &Entry) -> u64 {
    let text = entry.found.len();
    // Of a property its name stands in the tree's strings.
    let listed = |value: usize| FDT_PROPERTY + value + entry.component().len() + 1;
    let bytes = match entry.carrier {
        Carrier::Owned(owned) if owned.is_number() => 4,
        Carrier::Root | Carrier::Owned(_) => aligned(text + 1),
        Carrier::Luo => Compat::field_len_of(text),
        Carrier::FileHandler | Carrier::Flb => 48,
        Carrier::Subtree => 0,
        Carrier::Table => listed(8),
        Carrier::Features => listed(24),
    };
    (bytes as u64).saturating_mul(entry.uses)
}
