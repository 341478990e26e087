//! Compat strings: tokens and composites.
//!
//! A token is `name-vN`. A composite is a base token, then its parts in strict alphabetical
//! order, each once, joined by `;`, or the strings of a device tree's list, shown with `, ` between. So
//! it is written; a reader may take other orders ([`Grammar`]).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::Strings;

/// One component's name and version: `block-v1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token {
    name: String,
    version: u32,
}

impl Token {
    /// The token `name-vversion`.
    ///
    /// # Errors
    ///
    /// `name` is not in the grammar.
    pub fn new(name: &str, version: u32) -> Result<Self, GrammarError> {
        check_name(name, 0)?;
        Ok(Self {
            name: name.to_string(),
            version,
        })
    }

    /// The component's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The component's version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    fn parse_at(text: &str, at: usize) -> Result<Self, GrammarError> {
        let error = |at, kind| Err(GrammarError { at, kind });
        if text.is_empty() {
            return error(at, GrammarErrorKind::EmptyToken);
        }
        // The version is what follows the last "-v": names may hold one themselves.
        let Some(split) = before_version(text) else {
            check_name(text, at)?;
            return error(at + text.len(), GrammarErrorKind::NoVersion);
        };
        let (name, rest) = text.split_at(split);
        check_name(name, at)?;
        let digits = rest.get(2..).unwrap_or_default();
        let digits_at = at + split + 2;
        if digits.is_empty() {
            return error(digits_at, GrammarErrorKind::NoVersion);
        }
        if let Some((offset, found)) = digits.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
            return error(digits_at + offset, GrammarErrorKind::BadDigit(found));
        }
        if digits.len() > 1 && digits.starts_with('0') {
            return error(digits_at, GrammarErrorKind::LeadingZero);
        }
        let Ok(version) = digits.parse() else {
            return error(digits_at, GrammarErrorKind::VersionTooLarge);
        };
        Ok(Self {
            name: name.to_string(),
            version,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-v{}", self.name, self.version)
    }
}

impl FromStr for Token {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        Self::parse_at(text, 0)
    }
}

fn check_name(name: &str, at: usize) -> Result<(), GrammarError> {
    let Some(first) = name.chars().next() else {
        return Err(GrammarError {
            at,
            kind: GrammarErrorKind::EmptyName,
        });
    };
    if !first.is_ascii_lowercase() {
        return Err(GrammarError {
            at,
            kind: GrammarErrorKind::BadNameChar(first),
        });
    }
    if let Some(dash) = dash_form(name) {
        let (at, kind) = (at + dash, GrammarErrorKind::DashForm);
        return Err(GrammarError { at, kind });
    }
    let bad = name
        .char_indices()
        .find(|(_, c)| !(c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_')));
    match bad {
        Some((offset, c)) => Err(GrammarError {
            at: at + offset,
            kind: GrammarErrorKind::BadNameChar(c),
        }),
        None => Ok(()),
    }
}

/// Where the version of a token begins: the last `-v`.
pub(crate) fn before_version(token: &str) -> Option<usize> {
    let mut pairs = token.as_bytes().windows(2);
    pairs.rposition(|pair| pair == b"-v")
}

/// Where a name goes on after `-v` and digits: with another token, in the form of the first drafts.
fn dash_form(name: &str) -> Option<usize> {
    // Most names have none, and each is looked at when a string is parsed.
    if !name.bytes().any(|byte| byte == b'-') {
        return None;
    }
    let mut versions = name.match_indices("-v");
    versions.find_map(|(at, v)| {
        let (_, rest) = name.split_at(at + v.len());
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let dash = rest.as_bytes().get(digits) == Some(&b'-');
        (digits > 0 && dash).then_some(at + v.len() + digits)
    })
}

/// How strictly a compat string is parsed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Grammar {
    /// As strings are written: parts in alphabetical order, each once.
    #[default]
    Strict,
    /// Parts in any order, and a token as often as it likes. Two versions of one component are refused.
    Lenient,
}

/// A compat string: a base token and, in a composite, what it needs.
///
/// ```
/// use kho_compat::Compat;
///
/// let compat: Compat = "kho-v4;radix-v1;vmalloc-v1".parse()?;
/// assert_eq!(compat.base().name(), "kho");
/// assert_eq!(compat.parts().len(), 2);
/// assert_eq!(compat.to_string(), "kho-v4;radix-v1;vmalloc-v1");
/// # Ok::<(), kho_compat::GrammarError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Compat {
    base: Token,
    parts: Vec<Token>,
    // Whether the tokens are strings of a list.
    list: bool,
}

/// What stands between the tokens of a composite.
pub(crate) const COMPOSITE: &str = ";";

/// Bytes that a compat string may take anywhere, NUL included: what carries one is a page at most.
const MAX_FIELD: usize = 4096;

impl Compat {
    /// What stands between the strings of a [list](Strings::List) where it is shown: no token has it.
    pub const BETWEEN_STRINGS: &str = ", ";

    /// The string of `base` and `parts`, which are sorted and kept once each.
    ///
    /// # Errors
    ///
    /// Two tokens name one component (the base included) with different versions.
    pub fn new(base: Token, mut parts: Vec<Token>) -> Result<Self, GrammarError> {
        parts.sort();
        parts.dedup();
        let list = false;
        let compat = Self { base, parts, list };
        // Parsing is the one judge of what is well-formed.
        Self::parse(&compat.to_string())
    }

    /// Parses a compat string, plain or composite.
    ///
    /// # Errors
    ///
    /// The string is not in the grammar, or longer than a page; the error points at the byte.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        Self::parse_in(text, MAX_FIELD)
    }

    /// Parses a compat string as strictly as `grammar` says. What comes out is in order.
    ///
    /// ```
    /// use kho_compat::{Compat, Grammar};
    ///
    /// let text = "kho-v4;vmalloc-v1;radix-v1;vmalloc-v1";
    /// let compat = Compat::parse_as(text, Grammar::Lenient)?;
    /// assert_eq!(compat.to_string(), "kho-v4;radix-v1;vmalloc-v1");
    /// assert!(Compat::parse_as(text, Grammar::Strict).is_err());
    /// assert!(Compat::parse_as("kho-v4;radix-v1;radix-v2", Grammar::Lenient).is_err());
    /// # Ok::<(), kho_compat::GrammarError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The string is not in the grammar, or longer than a page; the error points at the byte.
    pub fn parse_as(text: &str, grammar: Grammar) -> Result<Self, GrammarError> {
        Self::parse_with(text, MAX_FIELD, grammar)
    }

    /// Parses a compat string that a field of `field` bytes carries, its NUL included.
    ///
    /// ```
    /// use kho_compat::Compat;
    ///
    /// assert!(Compat::parse_in("luo-v5", 8).is_ok());
    /// let error = Compat::parse_in("luo-v5;block-v1", 8).unwrap_err();
    /// assert_eq!(error.to_string(), "byte 7: a NUL is expected here at the latest, in a field of 8 bytes");
    /// ```
    ///
    /// # Errors
    ///
    /// The string is not in the grammar, or does not fit; the error points at the byte.
    pub fn parse_in(text: &str, field: usize) -> Result<Self, GrammarError> {
        Self::parse_with(text, field, Grammar::Strict)
    }

    fn parse_with(text: &str, field: usize, grammar: Grammar) -> Result<Self, GrammarError> {
        if text.len() >= field {
            let kind = GrammarErrorKind::TooLong(field);
            let at = field.saturating_sub(1);
            return Err(GrammarError { at, kind });
        }
        if text.is_empty() {
            return Err(GrammarError {
                at: 0,
                kind: GrammarErrorKind::EmptyToken,
            });
        }
        let mut at = 0;
        let mut base: Option<Token> = None;
        let mut parts: Vec<Token> = Vec::new();
        let list = text.bytes().any(|byte| byte == b',') && text.contains(Self::BETWEEN_STRINGS);
        let between = if list {
            Self::BETWEEN_STRINGS
        } else {
            COMPOSITE
        };
        let mut composite = text.split(';');
        let mut listed = list.then(|| text.split(between));
        let pieces = core::iter::from_fn(|| match &mut listed {
            Some(strings) => strings.next(),
            None => composite.next(),
        });
        for piece in pieces {
            let token = Token::parse_at(piece, at)?;
            match &base {
                None => base = Some(token),
                Some(base) => {
                    let error = |kind| Err(GrammarError { at, kind });
                    let repeated = || GrammarErrorKind::Repeated(token.name.clone());
                    let last = parts.last().unwrap_or(base);
                    let deviates = if [&base.name, &last.name].contains(&&token.name) {
                        Some(repeated())
                    } else if !parts.is_empty() && last.name > token.name {
                        Some(GrammarErrorKind::Unsorted(token.name.clone()))
                    } else {
                        None
                    };
                    match (deviates, grammar) {
                        (None, _) => parts.push(token),
                        (Some(kind), Grammar::Strict) => return error(kind),
                        (Some(_), Grammar::Lenient) => {
                            let mut known = core::iter::once(base).chain(&parts);
                            match known.find(|known| known.name == token.name) {
                                Some(known) if *known == token => {}
                                Some(_) => return error(repeated()),
                                None => {
                                    let at = parts.partition_point(|part| part.name < token.name);
                                    parts.insert(at, token);
                                }
                            }
                        }
                    }
                }
            }
            at += piece.len() + between.len();
        }
        match base {
            Some(base) => Ok(Self { base, parts, list }),
            None => Err(GrammarError {
                at: 0,
                kind: GrammarErrorKind::EmptyToken,
            }),
        }
    }

    /// The component that owns the string.
    #[must_use]
    pub const fn base(&self) -> &Token {
        &self.base
    }

    /// The other components that it lists, in alphabetical order. Empty in a plain string.
    #[must_use]
    pub fn parts(&self) -> &[Token] {
        &self.parts
    }

    /// Base and parts.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        core::iter::once(&self.base).chain(&self.parts)
    }

    /// What it names. A component without needs has one string, which counts as plain; a list of direct
    /// needs looks like one of all.
    #[must_use]
    pub const fn strings(&self) -> Strings {
        match (self.parts.is_empty(), self.list) {
            (true, _) => Strings::Plain,
            (false, true) => Strings::List,
            (false, false) => Strings::Transitive,
        }
    }

    /// The same tokens, as the strings of a list.
    pub(crate) const fn into_list(mut self) -> Self {
        self.list = true;
        self
    }

    /// Bytes that the string takes in memory: its length with the NUL, rounded up to 8.
    #[must_use]
    pub fn field_len(&self) -> usize {
        // Between the strings of a list there is one byte.
        let more = if self.list { self.parts.len() } else { 0 };
        Self::field_len_of(self.to_string().len().saturating_sub(more))
    }

    /// [`Compat::field_len`] of a string of `len` bytes.
    #[must_use]
    pub const fn field_len_of(len: usize) -> usize {
        (len + 1).next_multiple_of(8)
    }
}

/// The plain string of one component.
impl From<Token> for Compat {
    fn from(base: Token) -> Self {
        let (parts, list) = (Vec::new(), false);
        Self { base, parts, list }
    }
}

impl fmt::Display for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.fmt(f)?;
        let between = if self.list {
            Self::BETWEEN_STRINGS
        } else {
            COMPOSITE
        };
        let mut parts = self.parts.iter();
        parts.try_for_each(|part| write!(f, "{between}{part}"))
    }
}

impl FromStr for Compat {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        Self::parse(text)
    }
}

/// A compat string that is not in the grammar.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {at}: {kind}")]
pub struct GrammarError {
    /// Offset of the offending byte in the string.
    pub at: usize,
    /// What is wrong there.
    pub kind: GrammarErrorKind,
}

/// What is wrong with a compat string.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarErrorKind {
    /// Nothing where a token must be.
    #[error("a token is expected, found nothing")]
    EmptyToken,
    /// A token that begins with its version.
    #[error("a name is expected before \"-v\"")]
    EmptyName,
    /// A character that no name has.
    #[error("a name is lower-case letters, digits, '-' and '_', found {0:?}")]
    BadNameChar(char),
    /// A token without `-v` and digits.
    #[error("\"-v\" and a decimal number are expected")]
    NoVersion,
    /// A character in the version that is no digit.
    #[error("a decimal digit is expected, found {0:?}")]
    BadDigit(char),
    /// `-v01`.
    #[error("a version has no leading zero")]
    LeadingZero,
    /// A version above 2^32 - 1.
    #[error("a version is at most 4294967295")]
    VersionTooLarge,
    /// More bytes than the field has that carries the string, which are given.
    #[error("a NUL is expected here at the latest, in a field of {0} bytes")]
    TooLong(usize),
    /// A component that the string lists already.
    #[error("`{0}` is listed twice")]
    Repeated(String),
    /// Tokens joined by `-`: `luo-v4-kho-block-v1`.
    #[error("`-` joins tokens in the dash form of the first drafts, `;` is expected")]
    DashForm,
    /// A component after one that follows it in the alphabet.
    #[error("`{0}` is out of alphabetical order")]
    Unsorted(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_grammar_is_refused_at_its_byte() {
        let cases: &[(&str, usize, &str)] = &[
            ("", 0, "a token is expected"),
            ("luo", 3, "\"-v\" and a decimal number"),
            ("luo-v", 5, "\"-v\" and a decimal number"),
            ("-v1", 0, "a name is expected"),
            ("luo-v5;", 7, "a token is expected"),
            (";luo-v5", 0, "a token is expected"),
            ("luo-v5;;block-v1", 7, "a token is expected"),
            ("luo-v05", 5, "no leading zero"),
            ("luo-v5x", 6, "a decimal digit is expected, found 'x'"),
            ("luo-v4294967296", 5, "at most 4294967295"),
            ("Luo-v5", 0, "found 'L'"),
            ("l\u{fc}o-v5", 1, "found 'ü'"),
            ("luo v5", 3, "found ' '"),
            (
                "kho-v4;vmalloc-v1;radix-v1",
                18,
                "out of alphabetical order",
            ),
            ("kho-v4;radix-v1;radix-v1", 16, "listed twice"),
            ("kho-v4;radix-v1;radix-v2", 16, "listed twice"),
            ("kho-v4;kho-v4", 7, "listed twice"),
            ("5-v1", 0, "found '5'"),
            ("luo-v4-kho-block-v1", 6, "dash form of the first drafts"),
            (
                "luo-v5;kho-v4-block-v1",
                13,
                "dash form of the first drafts",
            ),
        ];
        for (text, at, message) in cases {
            let error = Compat::parse(text).unwrap_err();
            assert_eq!(error.at, *at, "{text}: {error}");
            assert!(error.to_string().contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_may_hold_a_version_of_its_own() {
        let token: Token = "liveupdate-test-flb-v0".parse().unwrap();
        assert_eq!((token.name(), token.version()), ("liveupdate-test-flb", 0));
        let token: Token = "a-v1-v2".parse().unwrap();
        assert_eq!((token.name(), token.version()), ("a-v1", 2));
    }

    #[test]
    fn a_field_holds_the_string_its_nul_and_padding_to_eight() {
        for (text, len) in [
            ("luo-v5", 8),
            ("memfd-v2", 16),
            ("luo-v5;block-v1", 16),
            ("kho-v10", 8),
        ] {
            assert_eq!(Compat::parse(text).unwrap().field_len(), len, "{text}");
        }
    }
}
