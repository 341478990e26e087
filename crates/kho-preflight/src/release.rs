//! Kernel releases, compared by their numbers.

/// The numbers of a release: `[7, 3, 4]` of `7.3.4-rt1`.
#[must_use]
pub(crate) fn numbers(release: &str) -> Option<[u32; 3]> {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
    let mut parts = release.get(..end.unwrap_or(release.len()))?.split('.');
    let mut next = || parts.next().map(str::parse::<u32>);
    let (major, minor) = (next()?.ok()?, next()?.ok()?);
    Some([major, minor, next().and_then(Result::ok).unwrap_or(0)])
}

/// Releases from one to another, both included. `[6, 19, u32::MAX]` is the last 6.19.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Releases {
    /// The first.
    pub first: [u32; 3],
    /// The last that is known to be among them.
    pub last: [u32; 3],
}

impl Releases {
    /// From `first` to `last`.
    #[must_use]
    pub const fn new(first: [u32; 3], last: [u32; 3]) -> Self {
        Self { first, last }
    }

    /// Whether `release` is among them by its numbers: `None` for one without.
    #[must_use]
    pub fn has(self, release: &str) -> Option<bool> {
        let numbers = numbers(release)?;
        Some((self.first..=self.last).contains(&numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert_eq!(numbers("6.17.8+deb13-amd64"), Some([6, 17, 8]));
        assert_eq!(numbers("7.3-rc1"), Some([7, 3, 0]));
        assert_eq!(numbers("linux"), None);
        let of_6_19 = Releases::new([6, 19, 0], [6, 19, u32::MAX]);
        assert_eq!(of_6_19.has("6.19.10"), Some(true));
        assert_eq!(of_6_19.has("6.2.1"), Some(false));
        assert_eq!(of_6_19.has(""), None);
    }
}
