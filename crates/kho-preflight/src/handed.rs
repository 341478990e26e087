//! What the end that is left hands over.

use std::collections::BTreeSet;

use kho_compat::{Ability, Carrier, Manifest, Place, Policy, Side, Strings, Writing};

use crate::Error;
use crate::end::{End, Kernel, Listed, What};
use crate::item::{Item, Spot};
use crate::next::Next;

/// LUO's subtree.
const LUO: &str = "LUO";

/// What `from` hands over.
pub(crate) fn handed_over(
    from: &End,
    next: &Next<'_>,
    policy: &dyn Policy,
) -> Result<Vec<Item>, Error> {
    let mut items = match &from.what {
        What::Kernel(kernel) => return Ok(of_kernel(kernel, next)),
        What::Dump(dump) => return Ok(dump.items.clone()),
        What::Listed(Listed {
            in_use: Some((items, _)),
            ..
        }) => return Ok(items.clone()),
        What::Listed(listed) => {
            let side = &listed.side;
            let composite = policy.writing().strings != Strings::Plain;
            // For who has no composites.
            let plain = side.dialect().is_none() && composite && !next.knows_needs();
            let written = match plain {
                true => Manifest::written_by(side, Writing::PLAIN),
                false => policy.write(side, Some(&next.side)),
            };
            let written = written.map_err(Error::Registry)?;
            Item::all_of(&written, |place: &Place| Spot::new(&place.path))
        }
    };
    // Masks that both sides know are judged, whatever is written.
    if let What::Listed(listed) = &from.what {
        let written: BTreeSet<_> = items
            .iter()
            .filter(|item| item.entry.carrier == Carrier::Features)
            .map(|item| item.entry.found.clone())
            .collect();
        let both = next.masks.keys().filter(|name| !written.contains(*name));
        for ability in both.filter_map(|name| listed.side.get(name)) {
            let Some(features) = ability.features else {
                continue;
            };
            let spot = Spot::new(format!("component `{}`", ability.name));
            items.push(Item::new(
                Carrier::Features,
                &ability.name,
                Some(features),
                spot,
            ));
        }
        items.extend(unsaid(&listed.side, &items));
        items.retain(|item| !listed.unhandled.contains(&item.component()));
    }
    Ok(items)
}

/// The components of `side` whose versions no string and no list in `items` says, as entries of a
/// table: who reads plain strings takes them for what those stand for.
fn unsaid(side: &Side, items: &[Item]) -> Vec<Item> {
    let said: BTreeSet<_> = items
        .iter()
        .filter(|item| item.entry.carrier != Carrier::Subtree)
        .flat_map(|item| match item.entry.carrier {
            Carrier::Features => vec![item.entry.found.clone()],
            _ => item.tokens().iter().map(|t| t.name().to_owned()).collect(),
        })
        .collect();
    let users = || side.abilities().filter(|user| user.carrier.is_some());
    let unsaid = side.abilities().filter(|ability| {
        let is_needed = |user: &Ability| side.needs(&user.name).contains(&ability.name);
        ability.carrier.is_none() && !said.contains(&ability.name) && users().any(is_needed)
    });
    let item = |ability: &Ability| {
        let found = format!("{}-v{}", ability.name, ability.version);
        let spot = Spot::new(format!("component `{}`", ability.name));
        Item::new(Carrier::Table, &found, None, spot)
    };
    unsaid.map(item).collect()
}

/// What a kernel hands over if all that it has is in use; of each component the newest version.
fn of_kernel(kernel: &Kernel, next: &Next<'_>) -> Vec<Item> {
    if kernel.kho.is_err() || kernel.idle.is_some() {
        return Vec::new();
    }
    let item = |carrier, found: &str, features, spot: &Spot| {
        Item::new(carrier, found, features, spot.clone())
    };
    let has_subtree = |name: &str| {
        let root = kernel.root.as_ref();
        if root.is_none() && name == LUO && kernel.no_sessions.is_some() {
            return false;
        }
        root.is_none_or(|root| root.subtrees.iter().any(|subtree| subtree == name))
    };
    let mut items = Vec::new();
    if let Some(root) = &kernel.root {
        items.push(item(Carrier::Root, &root.compatible, None, &root.spot));
        let subtrees = root.subtrees.iter();
        items.extend(subtrees.map(|name| item(Carrier::Subtree, name, None, &root.spot)));
    }
    // In the order in which a reader meets them.
    let seen = kernel.seen.iter().filter_map(|seen| seen.carrier);
    for carrier in seen.collect::<BTreeSet<_>>() {
        let in_use = match carrier.subtree() {
            Some(subtree) => has_subtree(subtree),
            None => kernel.root.is_none(),
        };
        if !in_use {
            continue;
        }
        for seen in kernel.carried_in(carrier) {
            let base = seen.compat.base();
            let newer = kernel.carried_in(carrier).any(|other| {
                let other = other.compat.base();
                other.name() == base.name() && other.version() > base.version()
            });
            // Each FLB is one of its own, versions of one name included.
            if !newer || carrier == Carrier::Flb {
                items.push(item(carrier, &seen.compat.to_string(), None, &seen.spot));
            }
        }
    }
    for masks in &kernel.masks {
        let subtree = match next.carrier_of(&masks.name) {
            Some(carrier @ (Carrier::Luo | Carrier::FileHandler | Carrier::Flb)) => {
                carrier.subtree().is_none_or(has_subtree)
            }
            _ => true,
        };
        if subtree {
            let features = Some(masks.features);
            items.push(item(Carrier::Features, &masks.name, features, &masks.spot));
        }
    }
    items
}
