//! Sets of versions.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use semver::{Comparator, Op, Version, VersionReq};

/// The versions that one side restores: numbers, as a component knows them, and ranges, as a file
/// states them.
///
/// ```
/// use kho_compat::Versions;
///
/// let known = Versions::from_iter([1, 3, 4]);
/// assert!(known.has(3, 0) && !known.has(2, 0));
/// assert_eq!(known.to_string(), "^1 || >=3, <5");
/// assert!(">=1, <3".parse::<Versions>()?.has(2, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Versions {
    numbers: BTreeSet<u32>,
    ranges: Vec<VersionReq>,
}

impl Versions {
    /// Whether version `major.minor` is in the set. A number stands for all its minor versions: what
    /// a minor version adds may be ignored.
    #[must_use]
    pub fn has(&self, major: u32, minor: u16) -> bool {
        if self.numbers.contains(&major) {
            return true;
        }
        let version = Version::new(u64::from(major), u64::from(minor), 0);
        self.ranges.iter().any(|range| range.matches(&version))
    }

    /// The versions of the set in order. A range has no end worth naming: of ranges, those within 64
    /// below and 8 above `own` are given.
    pub fn near(&self, own: u32) -> impl Iterator<Item = u32> {
        let mut all: Vec<u32> = self.numbers.iter().copied().collect();
        if !self.ranges.is_empty() {
            let window = own.saturating_sub(64)..=own.saturating_add(8);
            all.extend(window.filter(|version| self.has(*version, 0)));
            all.sort_unstable();
            all.dedup();
        }
        all.into_iter()
    }

    /// Whether `major` is in the set whatever its minor version.
    pub(crate) fn has_number(&self, major: u32) -> bool {
        self.numbers.contains(&major)
    }
}

impl FromIterator<u32> for Versions {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        Self {
            numbers: numbers.into_iter().collect(),
            ranges: Vec::new(),
        }
    }
}

impl From<VersionReq> for Versions {
    fn from(range: VersionReq) -> Self {
        Self {
            numbers: BTreeSet::new(),
            ranges: Vec::from([range]),
        }
    }
}

impl FromStr for Versions {
    type Err = semver::Error;

    /// Semver requirements, with ` || ` between alternatives. `^4` and `>=1, <3` are numbers.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut out = Self::default();
        for part in text.split("||") {
            let range = VersionReq::parse(part.trim())?;
            match whole_majors(&range) {
                Some(numbers) => out.numbers.extend(numbers),
                None => out.ranges.push(range),
            }
        }
        Ok(out)
    }
}

/// The majors of a range that has all their minor versions, and not more than 64 of them.
fn whole_majors(range: &VersionReq) -> Option<core::ops::Range<u32>> {
    let major = |comparator: &Comparator, op| {
        let whole = comparator.op == op && comparator.minor.is_none();
        u32::try_from(comparator.major).ok().filter(|_| whole)
    };
    let (first, end) = match range.comparators.as_slice() {
        [one] => {
            let first = major(one, Op::Caret)?;
            (first, first.checked_add(1)?)
        }
        [from, below] => (major(from, Op::GreaterEq)?, major(below, Op::Less)?),
        _ => return None,
    };
    (1..=64)
        .contains(&end.checked_sub(first)?)
        .then_some(first..end)
}

/// As semver requirements: `^4`, or `^1 || >=3, <5`.
impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for number in &self.numbers {
            match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
                _ => runs.push((*number, *number)),
            }
        }
        let of_run = |(first, last): (u32, u32)| {
            if first == last {
                alloc::format!("^{first}")
            } else {
                alloc::format!(">={first}, <{}", u64::from(last) + 1)
            }
        };
        let ranges = self.ranges.iter().map(ToString::to_string);
        let parts: Vec<String> = runs.into_iter().map(of_run).chain(ranges).collect();
        f.write_str(&parts.join(" || "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_set_agree() {
        for (numbers, text) in [
            (&[][..], ""),
            (&[4], "^4"),
            (&[1, 2], ">=1, <3"),
            (&[1, 3, 4, 9], "^1 || >=3, <5 || ^9"),
        ] {
            let set = Versions::from_iter(numbers.iter().copied());
            assert_eq!(set.to_string(), text);
            if let Ok(parsed) = text.parse::<Versions>() {
                for number in 0..12 {
                    assert_eq!(parsed.has(number, 0), set.has(number, 0), "{text} {number}");
                }
                assert_eq!(parsed.to_string(), text);
            }
        }
        assert!("five".parse::<Versions>().is_err());
    }

    #[test]
    fn a_range_may_ask_for_a_minor_version() {
        let set: Versions = ">=1.2, <2".parse().unwrap_or_default();
        assert!(set.has(1, 2) && set.has(1, 3) && !set.has(1, 1) && !set.has(2, 0));
        assert_eq!(set.near(1).count(), 0);
        let all: Versions = ">=3".parse().unwrap_or_default();
        assert_eq!(all.near(4).last(), Some(12));
    }
}
