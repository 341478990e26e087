//! How the owner of a structure describes what it found: facts for programs, branches of a tree for people.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

/// A value for programs: what JSON can hold.
///
/// ```
/// use kho_compat::Fact;
///
/// let fact = Fact::map([("version", Fact::from(1u32)), ("release", "7.3.4".into())]);
/// assert_eq!(fact.get("release").and_then(Fact::as_str), Some("7.3.4"));
/// assert_eq!(fact.get("version").and_then(Fact::as_u64), Some(1));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Fact {
    /// Nothing is known.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// Facts in order.
    List(Vec<Fact>),
    /// Named facts in order.
    Map(Members),
}

/// Named facts in order.
pub type Members = Vec<(String, Fact)>;

impl Fact {
    /// Named facts in order.
    #[must_use]
    pub fn map<const N: usize>(members: [(&str, Self); N]) -> Self {
        let named = |(name, fact): (&str, Self)| (name.to_string(), fact);
        Self::Map(members.into_iter().map(named).collect())
    }

    /// The member `name` of a map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else {
            return None;
        };
        let found = members.iter().find(|(member, _)| member == name);
        found.map(|(_, fact)| fact)
    }

    /// The number that it is.
    #[must_use]
    pub const fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The text that it is.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($from:ty => |$value:ident| $fact:expr;)*) => { $(
        impl From<$from> for Fact {
            fn from($value: $from) -> Self {
                $fact
            }
        }
    )* };
}

from! {
    bool => |value| Self::Bool(value);
    u8 => |value| Self::Number(value.into());
    u16 => |value| Self::Number(value.into());
    u32 => |value| Self::Number(value.into());
    u64 => |value| Self::Number(value);
    // No target of these crates has more than 64 bits.
    usize => |value| Self::Number(value as u64);
    &str => |value| Self::Text(value.to_string());
    &String => |value| Self::Text(value.clone());
    String => |value| Self::Text(value);
    Vec<Fact> => |value| Self::List(value);
    Members => |value| Self::Map(value);
}

impl<T: Into<Self>> From<Option<T>> for Fact {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl FromIterator<Fact> for Fact {
    fn from_iter<I: IntoIterator<Item = Fact>>(facts: I) -> Self {
        Self::List(facts.into_iter().collect())
    }
}

/// How a part of a line stands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// As the rest.
    Plain,
    /// A name that a reader looks for.
    Strong,
    /// An address, a detail.
    Dim,
    /// Something is lost.
    Warning,
    /// Something is wrong.
    Bad,
}

/// A line of a tree for people, and what hangs on it.
///
/// ```
/// use kho_compat::Branch;
///
/// let mut branch = Branch::new("devices  ").dim("pci-v2");
/// branch.list(&[1, 2, 3], 2, "device", |device| Branch::new(format!("device {device}")));
/// assert_eq!(branch.text(), "devices  pci-v2");
/// assert_eq!(branch.children[1].text(), "device 2");
/// assert_eq!(branch.children[2].left_out, Some((1, "device")));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Branch {
    /// The line.
    pub line: Vec<(Tone, String)>,
    /// What hangs on it.
    pub children: Vec<Branch>,
    /// Set where it stands for entries that are left out: how many, and what one is called.
    pub left_out: Option<(u64, &'static str)>,
}

impl Branch {
    /// A line that begins with `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self::default().plain(text)
    }

    /// Adds text.
    #[must_use]
    pub fn plain(self, text: impl Into<String>) -> Self {
        self.toned(Tone::Plain, text)
    }

    /// Adds a name that a reader looks for.
    #[must_use]
    pub fn strong(self, text: impl Into<String>) -> Self {
        self.toned(Tone::Strong, text)
    }

    /// Adds a detail.
    #[must_use]
    pub fn dim(self, text: impl Into<String>) -> Self {
        self.toned(Tone::Dim, text)
    }

    /// Adds what is lost.
    #[must_use]
    pub fn warning(self, text: impl Into<String>) -> Self {
        self.toned(Tone::Warning, text)
    }

    /// Adds what is wrong.
    #[must_use]
    pub fn bad(self, text: impl Into<String>) -> Self {
        self.toned(Tone::Bad, text)
    }

    fn toned(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.line.push((tone, text.into()));
        self
    }

    /// Hangs a branch for each of `items` on it, `limit` at most, and one for those that are left out.
    pub fn list<T>(
        &mut self,
        items: &[T],
        limit: usize,
        what: &'static str,
        branch: impl FnMut(&T) -> Self,
    ) {
        self.children.extend(items.iter().take(limit).map(branch));
        let rest = items.len().saturating_sub(limit) as u64;
        if rest > 0 {
            self.children.push(Self {
                left_out: Some((rest, what)),
                ..Self::default()
            });
        }
    }

    /// The line without tones.
    #[must_use]
    pub fn text(&self) -> String {
        self.line.iter().map(|(_, text)| text.as_str()).collect()
    }
}

/// `1 page`, `2 pages`.
#[must_use]
pub fn count(n: u64, what: impl Display) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

/// Bytes in a unit that gives a number below 1024: exact where it is whole, else one decimal.
///
/// ```
/// use kho_compat::size;
///
/// assert_eq!(size(1536), "1.5 KiB");
/// ```
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: &[&str] = &["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    let name = UNITS.get(unit).copied().unwrap_or("bytes");
    let scale = 1u64 << (10 * unit);
    if unit == 0 && bytes == 1 {
        return "1 byte".to_string();
    }
    if bytes.is_multiple_of(scale) {
        return format!("{} {name}", bytes / scale);
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(scale) / 2) / u128::from(scale);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_or_rounded() {
        let cases: &[(u64, &str)] = &[
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (4 << 20, "4 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(*bytes), *text);
        }
    }
}
