//! Tokens of a session's files: each once, and found again.
//!
//! They are the user's to choose, and most users count. So as long as each token is larger than the one
//! before, nothing is kept of them beside the files themselves.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

/// The user's name for a file, unique in its session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct FileToken(u64);

impl FileToken {
    /// The token as the handover has it.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for FileToken {
    fn from(token: u64) -> Self {
        Self(token)
    }
}

impl fmt::Display for FileToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::LowerHex for FileToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// The tokens that are taken.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Each larger than the one before; the last one.
    Rising(Option<FileToken>),
    Any(BTreeSet<FileToken>),
}

impl Default for Taken {
    fn default() -> Self {
        Self::Rising(None)
    }
}

impl Taken {
    /// Whether `token` is taken. `all` are the tokens that are, in the order in which they were taken:
    /// gone through once in a life, when the first one comes that is not larger than the last.
    pub(crate) fn has(&mut self, token: FileToken, all: impl Iterator<Item = FileToken>) -> bool {
        match self {
            Self::Rising(last) if last.is_none_or(|last| token > last) => false,
            Self::Rising(_) => {
                let all: BTreeSet<_> = all.collect();
                let has = all.contains(&token);
                *self = Self::Any(all);
                has
            }
            Self::Any(all) => all.contains(&token),
        }
    }

    /// Takes a token that is not taken: see [`Taken::has`].
    pub(crate) fn take(&mut self, token: FileToken) {
        match self {
            Self::Rising(last) => *last = Some(token),
            Self::Any(all) => drop(all.insert(token)),
        }
    }
}

/// Files in order of their tokens.
#[derive(Debug, Default)]
pub(crate) enum ByToken {
    /// As they stand.
    #[default]
    AsTheyStand,
    /// Their places.
    Places(Vec<usize>),
}

impl ByToken {
    /// Puts `count` files in order, whose tokens `token` says by place.
    pub(crate) fn new(count: usize, token: impl Fn(usize) -> FileToken) -> Self {
        if (1..count).all(|at| token(at - 1) < token(at)) {
            return Self::AsTheyStand;
        }
        let mut places: Vec<_> = (0..count).collect();
        places.sort_unstable_by_key(|at| token(*at));
        Self::Places(places)
    }

    /// The place of the file of `wanted`, of `count` files whose tokens `token` says by place. O(1) where it is
    /// at `guess`, O(log files) elsewhere.
    pub(crate) fn find(
        &self,
        wanted: FileToken,
        guess: usize,
        count: usize,
        token: impl Fn(usize) -> FileToken,
    ) -> Option<usize> {
        if guess < count && token(guess) == wanted {
            return Some(guess);
        }
        let place = |at: usize| match self {
            Self::AsTheyStand => at,
            Self::Places(places) => places.get(at).copied().unwrap_or(at),
        };
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if token(place(middle)) < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = (low < count).then(|| place(low))?;
        (token(found) == wanted).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn a_token_is_taken_once() {
        for span in [1, 3, 50, u64::MAX] {
            let (mut taken, mut all, mut state) = (Taken::default(), Vec::new(), 9);
            for count in 0..300u64 {
                // First rising, then as it comes.
                let token = if count < 20 {
                    count * 2
                } else {
                    random(&mut state) % span
                };
                let token = FileToken(token);
                let has = taken.has(token, all.iter().copied());
                assert_eq!(has, all.contains(&token));
                if !has {
                    taken.take(token);
                    all.push(token);
                }
            }
        }
    }

    #[test]
    fn every_file_is_found_whatever_the_guess() {
        let mut state = 5;
        let rising: Vec<u64> = (0..100).map(|token| token * 3).collect();
        let mixed: Vec<u64> = (0..100).map(|_| random(&mut state)).collect();
        for tokens in [Vec::new(), vec![7], rising, mixed] {
            let tokens: Vec<_> = tokens.into_iter().map(FileToken).collect();
            let of = |at: usize| tokens[at];
            let order = ByToken::new(tokens.len(), of);
            for guess in [0, 1, 50, 99, 100, usize::MAX] {
                for (at, token) in tokens.iter().enumerate() {
                    let found = order.find(*token, guess, tokens.len(), of);
                    assert_eq!(found, Some(at));
                }
                for token in [1, u64::MAX].map(FileToken) {
                    assert_eq!(order.find(token, guess, tokens.len(), of), None);
                }
            }
        }
    }
}
