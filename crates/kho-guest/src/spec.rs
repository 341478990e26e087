//! A memfd by description: what it holds follows from a seed.

use kho_mem::{PAGE_SIZE, PAGE_SIZE_U64};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A memfd, to be made. What it holds is a function of these numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileSpec {
    /// Its token.
    pub token: u64,
    /// Its bytes.
    pub size: u64,
    /// Its position.
    #[serde(default)]
    pub pos: u64,
    /// Its seals.
    #[serde(default)]
    pub seals: u32,
    /// What its contents are made from.
    pub seed: u64,
    /// Where it has contents, by page: first and one past the last, in order. Elsewhere it is a hole.
    pub data: Vec<(u64, u64)>,
    /// How many pages are written with one call: the kernel may take folios that large.
    #[serde(default = "one")]
    pub write_pages: u64,
    /// Whether its size is set before its contents are written.
    #[serde(default)]
    pub size_first: bool,
    /// Whether its pages have contents in their first bytes alone: it is well compressed then.
    #[serde(default)]
    pub thin: bool,
}

const fn one() -> u64 {
    1
}

impl FileSpec {
    /// A file that has contents everywhere.
    #[must_use]
    pub fn new(token: u64, size: u64, seed: u64) -> Self {
        let pages = size.div_ceil(PAGE_SIZE_U64);
        Self {
            token,
            size,
            pos: 0,
            seals: 0,
            seed,
            data: Vec::from_iter((pages > 0).then_some((0, pages))),
            write_pages: 1,
            size_first: false,
            thin: false,
        }
    }

    /// Its page `page`, as far as the file goes.
    #[must_use]
    pub fn page(&self, page: u64) -> Vec<u8> {
        let start = page.saturating_mul(PAGE_SIZE_U64);
        let len = self.size.saturating_sub(start).min(PAGE_SIZE_U64);
        let mut bytes = if self.has(page) {
            contents(self.seed, page, if self.thin { THIN } else { PAGE_SIZE })
        } else {
            vec![0; PAGE_SIZE]
        };
        bytes.truncate(usize::try_from(len).unwrap_or(bytes.len()));
        bytes
    }

    /// Whether the page `page` is no hole.
    #[must_use]
    pub fn has(&self, page: u64) -> bool {
        let mut data = self.data.iter();
        data.any(|(from, to)| (*from..*to).contains(&page))
    }

    /// The pages `from` to `to`, as far as the file goes.
    #[must_use]
    pub fn pages(&self, from: u64, to: u64) -> Vec<u8> {
        (from..to).flat_map(|page| self.page(page)).collect()
    }

    /// The sha256 of its contents.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut hash = Hasher::default();
        for page in 0..self.size.div_ceil(PAGE_SIZE_U64) {
            hash.update(&self.page(page));
        }
        hash.finish()
    }
}

/// What a thin page has of contents.
const THIN: usize = 16;

/// A page whose first `len` bytes are contents.
fn contents(seed: u64, page: u64, len: usize) -> Vec<u8> {
    let mut state = seed_of(seed, page);
    let words = (0..len / 8).flat_map(|_| next(&mut state).to_le_bytes());
    let mut bytes: Vec<u8> = words.collect();
    bytes.resize(PAGE_SIZE, 0);
    bytes
}

/// A seed made of two numbers.
#[must_use]
pub fn seed_of(one: u64, two: u64) -> u64 {
    let mut state = one;
    let first = next(&mut state);
    let mut state = first ^ two.wrapping_mul(0xd6e8_feb8_6659_fd93);
    next(&mut state)
}

/// SplitMix64: each number a function of the state, which counts.
const fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// sha256 in hexadecimal digits.
#[derive(Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds `len` zeros.
    pub fn zeros(&mut self, mut len: u64) {
        const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
        while len > 0 {
            let part = usize::try_from(len).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.0.update(ZEROS.get(..part).unwrap_or(&ZEROS));
            len -= part as u64;
        }
    }

    /// The sum.
    #[must_use]
    pub fn finish(self) -> String {
        let digits = self.0.finalize();
        digits.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_the_same_however_they_are_asked_for() {
        let file = FileSpec {
            data: vec![(0, 1), (2, 3)],
            ..FileSpec::new(1, 2 * PAGE_SIZE_U64 + 100, 9)
        };
        let all = file.pages(0, 10);
        assert_eq!(all.len() as u64, file.size);
        assert_eq!(all[..4096], file.page(0));
        assert!(all[4096..8192].iter().all(|byte| *byte == 0), "a hole");
        assert_eq!(all[8192..], file.page(2));
        assert!(all[8192..].iter().any(|byte| *byte != 0));
        let mut hash = Hasher::default();
        hash.update(&all[..4096]);
        hash.zeros(4096);
        hash.update(&all[8192..]);
        assert_eq!(hash.finish(), file.sha256());
        let other = FileSpec {
            seed: 10,
            ..file.clone()
        };
        assert_ne!(file.page(0), other.page(0));
    }

    #[test]
    fn a_thin_page_is_one_still() {
        let thin = FileSpec {
            thin: true,
            ..FileSpec::new(1, 2 * PAGE_SIZE_U64, 9)
        };
        let whole = FileSpec::new(1, thin.size, 9);
        assert_eq!(thin.page(0)[..16], whole.page(0)[..16]);
        assert!(thin.page(0)[16..].iter().all(|byte| *byte == 0));
        assert_ne!(thin.page(0), thin.page(1));
    }

    #[test]
    fn an_empty_file_has_no_contents() {
        let file = FileSpec::new(0, 0, 1);
        assert!(file.pages(0, 4).is_empty());
        // sha256 of nothing.
        assert!(file.sha256().starts_with("e3b0c44298fc1c14"));
    }

    #[test]
    fn numbers_are_those_of_the_model() {
        // SplitMix64 from state 0, as published with it.
        assert_eq!(next(&mut 0), 0xe220_a839_7b1d_cdaf);
    }
}
