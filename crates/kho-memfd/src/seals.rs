//! What may no longer be done to a memfd.

use alloc::vec::Vec;
use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use crate::v2;

/// Seals of a memfd: a set of `F_SEAL_*` bits. It shows as their names.
///
/// ```
/// use kho_memfd::Seals;
///
/// let seals = Seals::SHRINK | Seals::GROW;
/// assert_eq!(seals.to_string(), "shrink, grow");
/// assert_eq!(seals.bits(), 6);
/// assert!(seals.intersects(Seals::GROW | Seals::WRITE));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Seals(u32);

impl Seals {
    /// No more seals.
    pub const SEAL: Self = Self(v2::SEAL_SEAL);
    /// The file can not get smaller.
    pub const SHRINK: Self = Self(v2::SEAL_SHRINK);
    /// The file can not get larger.
    pub const GROW: Self = Self(v2::SEAL_GROW);
    /// The contents can not change.
    pub const WRITE: Self = Self(v2::SEAL_WRITE);
    /// No new writable mapping or write.
    pub const FUTURE_WRITE: Self = Self(v2::SEAL_FUTURE_WRITE);
    /// The executable bit can not change.
    pub const EXEC: Self = Self(v2::SEAL_EXEC);
    /// All of them.
    pub const ALL: Self = Self(v2::SEALS);

    const NAMES: [(Self, &str); 6] = [
        (Self::SEAL, "seal"),
        (Self::SHRINK, "shrink"),
        (Self::GROW, "grow"),
        (Self::WRITE, "write"),
        (Self::FUTURE_WRITE, "future-write"),
        (Self::EXEC, "exec"),
    ];

    /// The bits, as `F_GET_SEALS` has them.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all are known.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 & !Self::ALL.0 == 0
    }

    /// Whether it has one of `others`.
    #[must_use]
    pub const fn intersects(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl From<u32> for Seals {
    fn from(bits: u32) -> Self {
        Self(bits)
    }
}

impl BitOr for Seals {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Seals {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Self::NAMES
            .iter()
            .filter(|(seal, _)| self.intersects(*seal));
        let names: Vec<_> = set.map(|(_, name)| *name).collect();
        f.pad(&names.join(", "))
    }
}

impl fmt::LowerHex for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}
