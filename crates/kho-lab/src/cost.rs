//! What versions cost: bytes in the memory that is handed over, and edits of other components.

use std::collections::BTreeSet;

use kho_compat::{
    Ability, Carrier, Compat, Decision, Manifest, ManifestEntry, Policy, RegistryError, Side,
    Versions,
};

/// The head of a property in a device tree: its tag, its length, the offset of its name.
const FDT_PROPERTY: usize = 12;
/// The tags that begin and end a node.
const FDT_NODE: usize = 8;

const fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// Bytes that the versions in `manifest` take in the memory that is handed over, each use counted: of a
/// string its field or its FDT property's value, of a table or masks the whole node, its property names
/// included. Subtrees have no version of their own and cost nothing here.
///
/// ```
/// use kho_compat::{Carrier, Manifest, Place};
///
/// let mut manifest = Manifest::new();
/// manifest.add(Carrier::Luo, "luo-v5;block-v1", Place::default());
/// assert_eq!(kho_lab::version_bytes(&manifest), 16);
/// ```
#[must_use]
pub fn version_bytes(manifest: &Manifest) -> u64 {
    let entries: u64 = manifest.entries().iter().map(bytes_of).sum();
    let nodes = [Carrier::Table, Carrier::Features].into_iter();
    let nodes = nodes.filter(|carrier| manifest.of(*carrier).next().is_some());
    let nodes = nodes.filter_map(|carrier| Some(FDT_NODE + aligned(carrier.node()?.len() + 1)));
    entries.saturating_add(nodes.map(|bytes| bytes as u64).sum())
}

fn bytes_of(entry: &ManifestEntry) -> u64 {
    // Between the strings of a list there is one byte.
    let text = entry.found.len() - entry.found.matches(Compat::BETWEEN_STRINGS).count();
    // Of a property its name stands in the tree's strings.
    let listed = |value: usize| FDT_PROPERTY + value + entry.component().len() + 1;
    let bytes = match entry.carrier {
        Carrier::Owned(owned) if owned.is_number() => 4,
        Carrier::Luo => Compat::field_len_of(text),
        Carrier::FileHandler | Carrier::Flb => 48,
        Carrier::Table => listed(8),
        Carrier::Features => listed(24),
        Carrier::Subtree => 0,
        // The root, the memblock FDT and its regions: a property's value.
        _ => aligned(text + 1),
    };
    (bytes as u64).saturating_mul(entry.uses)
}

/// How many other components' strings or entries a maintainer of `side` changes with the version of
/// `component`.
///
/// Found by experiment: what the policy has `side` write is compared with what it writes after the change.
/// A policy that sees no version but the root's has the root's changed.
///
/// # Errors
///
/// A component's name is none that a compat string could hold.
pub fn forced_edits(
    policy: &dyn Policy,
    side: &Side,
    component: &str,
) -> Result<usize, RegistryError> {
    let is_root = |ability: &Ability| ability.carrier == Some(Carrier::Root);
    let before = changed(side, |_| false)?;
    let all_but_root = policy.write(&changed(side, |ability| !is_root(ability))?, None)?;
    if policy.judge(&all_but_root, &before).decision == Decision::Accept {
        let mut roots = side.carried_in(Carrier::Root);
        let has_other = roots.any(|root| root.name != component);
        return Ok(usize::from(
            has_other && !side.get(component).is_some_and(is_root),
        ));
    }
    let after = policy.write(&changed(side, |ability| ability.name == component)?, None)?;
    let before = policy.write(&before, None)?;
    let same: BTreeSet<_> = before.entries().iter().map(key).collect();
    let changed = after.entries().iter();
    let changed = changed.filter(|entry| !same.contains(&key(entry)));
    let others: BTreeSet<_> = changed.map(ManifestEntry::component).collect();
    Ok(others.iter().filter(|other| **other != component).count())
}

fn key(entry: &ManifestEntry) -> (Carrier, &str) {
    (entry.carrier, &entry.found)
}

/// `side` with other versions, and another required feature, of the components that `which` picks. Each
/// restores its own version alone.
fn changed(side: &Side, which: impl Fn(&Ability) -> bool) -> Result<Side, RegistryError> {
    let abilities = side.abilities().map(|ability| {
        let mut ability = ability.clone();
        if which(&ability) {
            ability.version ^= 1;
            if let Some(features) = &mut ability.features {
                const NEW: u64 = 1 << 63;
                features.supported |= NEW;
                features.required ^= NEW;
            }
        }
        ability.restores = Versions::from_iter([ability.version]);
        ability.writes.clear();
        ability
    });
    Side::new(abilities)
}
