//! Keys in a row, leaf by leaf.

use core::ops::Range;

use kho_mem::{PageRun, Pfn, PhysAddr};

use crate::key::bit;
use crate::v1::LEAF_BITS;
use crate::{Key, KeyRun, TrackerError};

/// The address of the key `index` of `run`.
pub(crate) fn nth(run: KeyRun, index: u64) -> PhysAddr {
    run.nth(index).addr()
}

/// The first key of `run`, all of whose keys are keys.
pub(crate) fn first_key(run: KeyRun) -> Result<Key, TrackerError> {
    let pages = run.keys.checked_mul(run.order.pages());
    let fits = pages
        .and_then(|pages| run.pfn.get().checked_add(pages))
        .is_some_and(|end| end <= Pfn::LIMIT);
    let no_key = TrackerError::NoKey {
        run: PageRun {
            pfn: run.pfn,
            pages: pages.unwrap_or(u64::MAX),
        },
        order: run.order,
    };
    if !fits || run.keys == 0 {
        return Err(no_key);
    }
    Key::encode(run.addr(), run.order).ok_or(no_key)
}

/// Keys in a row of one leaf: bits `from..to`.
pub(crate) struct Part {
    // What its keys begin with.
    pub(crate) prefix: u64,
    // The first key's place in the whole row.
    pub(crate) index: u64,
    pub(crate) from: usize,
    to: usize,
}

impl Part {
    /// The words that hold the bits.
    pub(crate) fn range(&self) -> Range<usize> {
        self.from / 64..self.to.div_ceil(64)
    }

    /// The words that hold the bits, each with its mask.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (from, to) = (self.from, self.to);
        self.range().map(move |word| {
            let low = from.saturating_sub(word * 64);
            let high = (to - word * 64).min(64);
            (word, (u64::MAX >> (64 - (high - low))) << low)
        })
    }
}

/// `count` keys from `first` on, leaf by leaf: keys of one order, as [`first_key`] finds them to be.
pub(crate) fn parts(first: Key, count: u64) -> impl Iterator<Item = Part> {
    let mut index = 0;
    core::iter::from_fn(move || {
        let left = count.checked_sub(index).filter(|left| *left > 0)?;
        let key = first.get() + index;
        let from = bit(key);
        let room = (1 << LEAF_BITS) - from;
        let bits = usize::try_from(left).map_or(room, |left| room.min(left));
        let part = Part {
            prefix: key >> LEAF_BITS,
            index,
            from,
            to: from + bits,
        };
        index += bits as u64;
        Some(part)
    })
}
