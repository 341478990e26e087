//! The data that is worked on.

use kho_mem::Order;

/// The state that the generator begins with where nobody says otherwise.
pub const SEED: u64 = 88_172_645_463_325_252;

/// A xorshift64 generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// One that begins with `seed`, which is not 0.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { SEED } else { seed })
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Which data: how much, and how it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data {
    /// The generator's first state.
    pub seed: u64,
    /// Contiguous pages.
    pub contiguous: u64,
    /// Random pages.
    pub random: u64,
    /// Pages that the random ones are chosen from.
    pub span: u64,
    /// Large folios in a row.
    pub folios: u64,
    /// Their order.
    pub order: Order,
    /// Entries of four words in blocks.
    pub entries: u64,
}

impl Data {
    /// The data that the figures are of: 4 Mi contiguous pages, 1 Mi random pages over 1 TiB, 1 TiB in
    /// folios of 2 MiB, 1.27 million entries, which is what 10000 blocks hold.
    #[must_use]
    pub const fn standard() -> Self {
        Self {
            seed: SEED,
            contiguous: 4 << 20,
            random: 1 << 20,
            span: 1 << 28,
            folios: 512 << 10,
            order: match Order::new(9) {
                Some(order) => order,
                None => Order::ZERO,
            },
            entries: 1_270_000,
        }
    }

    /// `percent` of each amount, at least one of each. Blocks end at what the format holds.
    #[must_use]
    pub fn scaled(self, percent: u64) -> Self {
        let of = |amount: u64| (amount.saturating_mul(percent) / 100).max(1);
        Self {
            contiguous: of(self.contiguous),
            random: of(self.random),
            folios: of(self.folios),
            entries: of(self.entries).min(Self::standard().entries),
            ..self
        }
    }

    /// The data that the environment asks for: `KHO_BENCH_SEED`, `KHO_BENCH_PERCENT` and
    /// `KHO_BENCH_ORDER`.
    #[must_use]
    pub fn from_env() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let mut data = Self::standard();
        data.seed = number("KHO_BENCH_SEED").unwrap_or(data.seed);
        let order = number("KHO_BENCH_ORDER").and_then(|order| u8::try_from(order).ok());
        data.order = order.and_then(Order::new).unwrap_or(data.order);
        data.scaled(number("KHO_BENCH_PERCENT").unwrap_or(100))
    }

    /// How many pages the random ones are one from the other, on average and at most.
    #[must_use]
    pub const fn apart(&self) -> u64 {
        self.span / if self.random == 0 { 1 } else { self.random } + 1
    }

    /// The numbers of random pages, in the order of their making. Some come twice.
    #[must_use]
    pub fn random_pages(&self) -> Vec<u64> {
        let mut random = Random::new(self.seed);
        (0..self.random)
            .map(|_| random.next() % self.span.max(1))
            .collect()
    }
}

/// The entry `index` of a set: four words that differ.
#[must_use]
pub const fn entry(index: u64) -> [u64; 4] {
    [index, index.wrapping_mul(3), index ^ 5, !index]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_yardsticks() {
        // x ^= x << 13; x ^= x >> 7; x ^= x << 17, in another language.
        let mut random = Random::new(SEED);
        assert_eq!(random.next(), 8_748_534_153_485_358_512);
        assert_eq!(random.next(), 3_040_900_993_826_735_515);
        let pages = Data::standard().scaled(1).random_pages();
        assert_eq!(pages.len(), 10_485);
        assert!(pages.iter().all(|page| *page < 1 << 28));
    }

    #[test]
    fn amounts_scale_and_limits_do_not() {
        let data = Data::standard().scaled(200);
        assert_eq!((data.contiguous, data.entries), (8 << 20, 1_270_000));
        assert_eq!(Data::standard().scaled(0).folios, 1);
    }
}
