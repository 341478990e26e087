//! What is judged by the policy, what by what shows of the next end, and what not at all.

use kho_compat::{Carrier, Compat, Consequence, Outcome, Strings};

use crate::end::{Kernel, What};
use crate::item::{Item, Uses};
use crate::next::Next;
use crate::reason::{Part, Unjudged, Why};

/// How one item is judged.
pub(crate) enum Judged {
    /// By the policy.
    ByPolicy,
    /// Here: what becomes of it, why, and what a real kernel does about it.
    Here(Outcome, Option<Why>, Consequence),
    /// Not at all, and why.
    Not(Unjudged),
}

impl Judged {
    const fn rejected(why: Why, consequence: Consequence) -> Self {
        Self::Here(Outcome::Rejected, Some(why), consequence)
    }
}

pub(crate) fn judged(item: &Item, items: &[Item], next: &Next<'_>, uses: Option<&Uses>) -> Judged {
    match &next.end.what {
        What::Listed(_) => Judged::ByPolicy,
        What::Dump(_) => against_dump(item, next),
        What::Kernel(kernel) => against_kernel(item, items, next, kernel, uses),
    }
}

fn against_dump(item: &Item, next: &Next<'_>) -> Judged {
    let name = item.component();
    let is_known = next.side.get(&name).is_some();
    match item.entry.carrier {
        Carrier::Subtree => Judged::Not(Unjudged::NoVersion),
        Carrier::Owned(_) | Carrier::Flb | Carrier::Table if !is_known => {
            Judged::Not(Unjudged::Unused)
        }
        Carrier::Features if !next.masks.contains_key(&name) => Judged::Not(Unjudged::Unused),
        _ => Judged::ByPolicy,
    }
}

fn against_kernel(
    item: &Item,
    items: &[Item],
    next: &Next<'_>,
    kernel: &Kernel,
    uses: Option<&Uses>,
) -> Judged {
    let (name, carrier) = (item.component(), item.entry.carrier);
    let is_known = next.side.get(&name).is_some();
    if let Err(evidence) = &kernel.kho {
        let evidence = evidence.clone();
        return Judged::rejected(Why::NoKho { evidence }, Consequence::WithoutKho);
    }
    let of_luo = |carrier| matches!(carrier, Carrier::Luo | Carrier::FileHandler | Carrier::Flb);
    let mask_of_luo = carrier == Carrier::Features && next.carrier_of(&name).is_some_and(of_luo);
    let has_luo = kernel.luo.is_some() || next.side.get("luo").is_some();
    if !has_luo && (of_luo(carrier) || mask_of_luo) {
        let empty = uses.is_some_and(|uses| uses.sessions == 0 && uses.flbs == 0);
        return match empty {
            true => Judged::Here(Outcome::LeftAlone, Some(Why::NoLuo), Consequence::None),
            false => Judged::rejected(Why::NoLuo, Consequence::WithoutLuo),
        };
    }
    let unseen = |part, evidence: Option<&str>| {
        let evidence = evidence.unwrap_or_default().to_owned();
        Judged::rejected(
            Why::VersionUnseen { part, evidence },
            Consequence::of(carrier),
        )
    };
    let has = |carrier| next.side.carried_in(carrier).next().is_some();
    match carrier {
        Carrier::Subtree => Judged::Not(Unjudged::NoString),
        Carrier::Owned(owned) if owned.is_number() => Judged::Not(Unjudged::NoString),
        Carrier::Table if !is_known => Judged::Not(Unjudged::NoString),
        Carrier::Root if !has(Carrier::Root) => unseen(Part::Kho, kernel.kho.as_deref().ok()),
        Carrier::Luo if !has(Carrier::Luo) => unseen(Part::Luo, kernel.luo.as_deref()),
        Carrier::Features if !next.masks.contains_key(&name) => {
            let by_version = items
                .iter()
                .any(|other| other.entry.carrier != Carrier::Features && other.component() == name);
            // What carries it says whether anybody would be told of it at all.
            let carrier = next.carrier_of(&name);
            if by_version || carrier.is_none() && !is_known {
                return Judged::Not(Unjudged::NoMasks);
            }
            let consequence = Consequence::of(carrier.unwrap_or(Carrier::Features));
            Judged::rejected(Why::NoMasksListed, consequence)
        }
        // An FLB is known by its whole name.
        Carrier::Flb => match item.entry.compat() {
            Ok(compat) if next.has(&compat) => {
                Judged::Here(Outcome::Restorable, None, Consequence::None)
            }
            _ if next.masks.contains_key(&name) => Judged::ByPolicy,
            _ => {
                let consequence = Consequence::ContentsLost;
                Judged::Here(Outcome::Lost, Some(Why::NoFlb), consequence)
            }
        },
        _ => Judged::ByPolicy,
    }
}

/// The strings that the kernel `next` compares with that of `item`, where one of them is a composite and none is
/// that string: a kernel compares whole strings, whatever a policy takes.
pub(crate) fn other_strings(item: &Item, next: &Next<'_>) -> Option<Vec<Compat>> {
    let kernel = next.kernel()?;
    let compared = item.entry.carrier.holds_composites();
    let found = item.entry.compat().ok().filter(|_| compared)?;
    let all = kernel.seen.iter().chain(&kernel.candidates);
    let of_it = all.map(|seen| &seen.compat);
    let of_it = of_it.filter(|compat| compat.base().name() == found.base().name());
    let own: Vec<Compat> = of_it.cloned().collect();
    let is_composite = |compat: &Compat| !compat.parts().is_empty();
    let composite = is_composite(&found) || own.iter().any(is_composite);
    // Of a list it looks for one string.
    let in_list = |compat: &Compat| {
        found.strings() == Strings::List && !is_composite(compat) && compat.base() == found.base()
    };
    let same = |compat: &Compat| compat.to_string() == item.entry.found || in_list(compat);
    (composite && !own.iter().any(same)).then_some(own)
}
