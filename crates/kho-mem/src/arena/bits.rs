//! A set of small numbers in which the first member is found in O(log n).

use alloc::vec;
use alloc::vec::Vec;

const WORD: usize = u64::BITS as usize;

/// Numbers below a length, one bit each, under levels of summaries: a bit of a summary says that a
/// word one level down is not zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BitTree {
    // Level 0 holds the members.
    levels: Vec<Vec<u64>>,
    len: usize,
}

/// The bits `from..to` of the word `word`, as a mask; `from` and `to` count over all words.
fn mask(word: usize, from: usize, to: usize) -> u64 {
    let start = word * WORD;
    let low = from.saturating_sub(start).min(WORD);
    let high = to.saturating_sub(start).min(WORD);
    if low >= high {
        return 0;
    }
    let ones = if high - low == WORD {
        u64::MAX
    } else {
        (1 << (high - low)) - 1
    };
    ones << low
}

impl BitTree {
    /// No members, of the numbers below `len`. The words are not touched.
    pub(crate) fn new(len: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = len.div_ceil(WORD).max(1);
        loop {
            levels.push(vec![0; words]);
            if words == 1 {
                break;
            }
            words = words.div_ceil(WORD);
        }
        Self { levels, len }
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, bit: usize) -> bool {
        let word = self.levels.first().and_then(|level| level.get(bit / WORD));
        word.is_some_and(|word| word >> (bit % WORD) & 1 == 1)
    }

    /// Adds `bit`; returns whether it was new.
    pub(crate) fn insert(&mut self, bit: usize) -> bool {
        debug_assert!(bit < self.len);
        let mut at = bit;
        for level in &mut self.levels {
            let Some(word) = level.get_mut(at / WORD) else {
                return false;
            };
            let (before, one) = (*word, 1 << (at % WORD));
            *word |= one;
            if before & one != 0 {
                // Only level 0 can have it already without the summaries having it too.
                return false;
            }
            if before != 0 {
                return true;
            }
            at /= WORD;
        }
        true
    }

    /// Takes `bit` out; returns whether it was there.
    pub(crate) fn remove(&mut self, bit: usize) -> bool {
        let mut at = bit;
        for level in &mut self.levels {
            let Some(word) = level.get_mut(at / WORD) else {
                return false;
            };
            let one = 1 << (at % WORD);
            if *word & one == 0 {
                return false;
            }
            *word &= !one;
            if *word != 0 {
                return true;
            }
            at /= WORD;
        }
        true
    }

    /// The smallest member.
    pub(crate) fn first(&self) -> Option<usize> {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            let word = *level.get(at)?;
            if word == 0 {
                return None;
            }
            at = at * WORD + word.trailing_zeros() as usize;
        }
        Some(at)
    }

    /// Adds or takes out all of `from..to`, by words.
    pub(crate) fn set_range(&mut self, from: usize, to: usize, member: bool) {
        let to = to.min(self.len);
        if from >= to {
            return;
        }
        let (mut from, mut to) = (from, to);
        for level in 0..self.levels.len() {
            if level == 0 {
                for index in from / WORD..to.div_ceil(WORD) {
                    let mask = mask(index, from, to);
                    if let Some(word) = self.levels.first_mut().and_then(|l| l.get_mut(index)) {
                        *word = if member { *word | mask } else { *word & !mask };
                    }
                }
            } else {
                // Each bit of from..to is a word one level down that may have changed.
                for index in from..to {
                    let below = self.levels.get(level - 1).and_then(|l| l.get(index));
                    let full = below.is_some_and(|word| *word != 0);
                    if let Some(word) = self
                        .levels
                        .get_mut(level)
                        .and_then(|l| l.get_mut(index / WORD))
                    {
                        let one = 1 << (index % WORD);
                        *word = if full { *word | one } else { *word & !one };
                    }
                }
            }
            from /= WORD;
            to = to.div_ceil(WORD);
        }
    }

    /// The first `count` members in a row, looked for by words. O(len / 64).
    pub(crate) fn first_run(&self, count: usize) -> Option<usize> {
        let words = self.levels.first()?;
        let (mut start, mut len) = (0, 0);
        for (index, word) in words.iter().enumerate() {
            let mut at = index * WORD;
            let mut bits = *word;
            let end = at + WORD;
            while at < end {
                let ones = bits.trailing_ones() as usize;
                if ones > 0 {
                    if len == 0 {
                        start = at;
                    }
                    len += ones;
                    if len >= count {
                        return Some(start);
                    }
                    at += ones;
                    bits = bits
                        .checked_shr(u32::try_from(ones).unwrap_or(64))
                        .unwrap_or(0);
                }
                if at < end {
                    len = 0;
                    let zeros = (bits.trailing_zeros() as usize).min(end - at);
                    at += zeros;
                    bits = bits
                        .checked_shr(u32::try_from(zeros).unwrap_or(64))
                        .unwrap_or(0);
                }
            }
        }
        None
    }

    /// The members in order.
    #[cfg(any(test, feature = "std", feature = "fault-injection"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let words = self.levels.first().map(Vec::as_slice).unwrap_or_default();
        words.iter().enumerate().flat_map(|(index, word)| {
            (0..WORD)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| index * WORD + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Miri runs each case some thousand times slower.
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

        #[test]
        fn it_is_a_set(len in 1usize..10_000, steps in prop::collection::vec((0u8..4, any::<u32>(), any::<u32>()), 1..60)) {
            let mut tree = BitTree::new(len);
            let mut model = BTreeSet::new();
            for (step, a, b) in steps {
                let (a, b) = (a as usize % len, b as usize % len);
                match step {
                    0 => prop_assert_eq!(tree.insert(a), model.insert(a)),
                    1 => prop_assert_eq!(tree.remove(a), model.remove(&a)),
                    2 => {
                        tree.set_range(a.min(b), a.max(b), true);
                        model.extend(a.min(b)..a.max(b));
                    }
                    _ => {
                        tree.set_range(a.min(b), a.max(b), false);
                        model.retain(|n| !(a.min(b)..a.max(b)).contains(n));
                    }
                }
                prop_assert_eq!(tree.first(), model.first().copied());
                prop_assert_eq!(tree.contains(a), model.contains(&a));
                let run = 1 + b % 130;
                let expected = (0..len).find(|from| (*from..from + run).all(|n| model.contains(&n)));
                prop_assert_eq!(tree.first_run(run), expected);
            }
            prop_assert!(tree.iter().eq(model.iter().copied()));
            let mut rebuilt = BitTree::new(len);
            for bit in &model {
                rebuilt.insert(*bit);
            }
            prop_assert_eq!(rebuilt, tree, "the summaries are those of the members");
        }
    }
}
