//! Findings in words: the one place that has them.

use alloc::string::{String, ToString};
use core::fmt::{self, Display, Formatter};

use crate::{Alternative, Expected, Finding, ManifestEntry, Reason, Token};

/// The side that a finding is about, as its reader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum View {
    /// This program judges what it was handed.
    Here,
    /// The judgement is made before leaving: the side is the next one.
    There,
}

/// Something in the words of a [`View`].
#[derive(Clone, Copy, Debug)]
pub struct Viewed<'a, T> {
    of: &'a T,
    view: View,
}

impl Reason {
    /// The reason, in the words of `view`.
    #[must_use]
    pub const fn view(&self, view: View) -> Viewed<'_, Self> {
        Viewed { of: self, view }
    }
}

impl Finding {
    /// The reason, in the words of `view`; empty where there is none.
    #[must_use]
    pub fn reason_text(&self, view: View) -> String {
        let reason = self.reason.as_ref();
        reason.map_or_else(String::new, |reason| reason.view(view).to_string())
    }

    /// The finding, in the words of `view`.
    #[must_use]
    pub const fn view(&self, view: View) -> Viewed<'_, Self> {
        Viewed { of: self, view }
    }
}

impl Display for Viewed<'_, Reason> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (here, component) = match self.view {
            View::Here => ("here", "no linked component"),
            View::There => ("there", "no component of the next one"),
        };
        match self.of {
            Reason::UnknownComponent { name } => write!(f, "{component} is called `{name}`"),
            Reason::UnknownSubtree => write!(f, "{component} knows this subtree"),
            Reason::NotACompatString(error) => write!(f, "not a compat string: {error}"),
            Reason::NotWhatCarrierNames { name, carrier } => {
                write!(f, "`{name}` is not what a {} names", carrier.title())
            }
            Reason::NotRestorable { token, restorable } => {
                write!(f, "{token} is not restorable {here}, only ")?;
                joined(f, restorable)
            }
            Reason::NotTheVersion { token, own } => {
                write!(f, "{token} is not {}-v{own}", token.name())
            }
            Reason::NotTheString { own } => write!(f, "it is not `{own}`, byte for byte"),
            Reason::NoOwnString(error) => error.fmt(f),
            Reason::OtherRoot => {
                f.write_str("the root's version is another one, and stands for everything")
            }
            Reason::TableContradicts { version } => write!(f, "a string says version {version}"),
            Reason::MasksMissing => f.write_str("it has no masks"),
            Reason::NoMasks => write!(f, "it has no masks {here}"),
            Reason::NotSupported { features } => match self.view {
                View::Here => write!(
                    f,
                    "features {features:#x} are required and not supported here"
                ),
                View::There => {
                    write!(
                        f,
                        "features {features:#x} are required, and not supported there"
                    )
                }
            },
            Reason::NotProvided { features } => match self.view {
                View::Here => write!(
                    f,
                    "features {features:#x} are required here and were not supported there"
                ),
                View::There => write!(
                    f,
                    "features {features:#x} are required by the next one, and not supported by this one"
                ),
            },
            Reason::NeedLost { need } => write!(f, "`{need}` is lost"),
            Reason::Other(words) => f.write_str(words),
        }
    }
}

fn joined(f: &mut Formatter<'_>, tokens: &[Token]) -> fmt::Result {
    for (index, token) in tokens.iter().enumerate() {
        let or = if index > 0 { " or " } else { "" };
        write!(f, "{or}{token}")?;
    }
    Ok(())
}

impl Display for Viewed<'_, Finding> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Finding {
            entry, expected, ..
        } = self.of;
        write!(f, "{}: found {entry}, expected {expected}", entry.place)?;
        match &self.of.reason {
            Some(reason) => write!(f, " ({})", reason.view(self.view)),
            None => Ok(()),
        }
    }
}

/// As this program sees it.
impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.view(View::Here).fmt(f)
    }
}

/// The string as it was found, with its masks where it has any.
impl Display for ManifestEntry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.found)?;
        match &self.features {
            Some(features) => write!(f, " {features}"),
            None => Ok(()),
        }
    }
}

impl Display for Alternative {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compat(compat) => compat.fmt(f),
            Self::Masks {
                supported,
                required,
            } => write!(f, "supported {supported:#x}, required {required:#x}"),
            Self::Subtree(name) => f.write_str(name),
        }
    }
}

impl Display for Expected {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, alternative) in self.any_of.iter().enumerate() {
            let between = match alternative {
                _ if index == 0 => "",
                Alternative::Subtree(_) => ", ",
                _ => " or ",
            };
            write!(f, "{between}{alternative}")?;
        }
        match (self.any_of.is_empty(), self.more) {
            (true, _) => f.write_str("nothing"),
            (false, 0) => Ok(()),
            (false, more) => write!(f, " or {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{Carrier, Compat, Outcome, Place, RegistryError};

    fn token(text: &str) -> Token {
        text.parse().unwrap()
    }

    #[test]
    fn a_reason_has_words_for_either_side() {
        let name = || "pool".to_string();
        let both = |reason, words: &str| (reason, words.to_string(), words.to_string());
        let each = |reason, here: &str, there: &str| (reason, here.to_string(), there.to_string());
        let restorable = vec![token("block-v1"), token("block-v3")];
        let cases: [(Reason, String, String); 16] = [
            each(
                Reason::UnknownComponent { name: name() },
                "no linked component is called `pool`",
                "no component of the next one is called `pool`",
            ),
            each(
                Reason::UnknownSubtree,
                "no linked component knows this subtree",
                "no component of the next one knows this subtree",
            ),
            both(
                Reason::NotACompatString(Compat::parse("luo").unwrap_err()),
                "not a compat string: byte 3: \"-v\" and a decimal number are expected",
            ),
            both(
                Reason::NotWhatCarrierNames {
                    name: name(),
                    carrier: Carrier::FileHandler,
                },
                "`pool` is not what a file handler names",
            ),
            each(
                Reason::NotRestorable {
                    token: token("block-v2"),
                    restorable,
                },
                "block-v2 is not restorable here, only block-v1 or block-v3",
                "block-v2 is not restorable there, only block-v1 or block-v3",
            ),
            both(
                Reason::NotTheVersion {
                    token: token("block-v2"),
                    own: 1,
                },
                "block-v2 is not block-v1",
            ),
            both(
                Reason::NotTheString {
                    own: "luo-v5;block-v1".parse().unwrap(),
                },
                "it is not `luo-v5;block-v1`, byte for byte",
            ),
            both(
                Reason::NoOwnString(RegistryError::Unknown(name())),
                "no linked crate registers a component `pool`",
            ),
            both(
                Reason::OtherRoot,
                "the root's version is another one, and stands for everything",
            ),
            both(
                Reason::TableContradicts { version: 2 },
                "a string says version 2",
            ),
            both(Reason::MasksMissing, "it has no masks"),
            each(
                Reason::NoMasks,
                "it has no masks here",
                "it has no masks there",
            ),
            each(
                Reason::NotSupported { features: 6 },
                "features 0x6 are required and not supported here",
                "features 0x6 are required, and not supported there",
            ),
            each(
                Reason::NotProvided { features: 2 },
                "features 0x2 are required here and were not supported there",
                "features 0x2 are required by the next one, and not supported by this one",
            ),
            both(Reason::NeedLost { need: name() }, "`pool` is lost"),
            both(Reason::Other("not on a Friday".into()), "not on a Friday"),
        ];
        for (reason, here, there) in cases {
            assert_eq!(reason.view(View::Here).to_string(), here);
            assert_eq!(reason.view(View::There).to_string(), there);
        }
    }

    #[test]
    fn a_finding_has_the_words_of_its_reason() {
        let mut entry = ManifestEntry {
            carrier: Carrier::FileHandler,
            found: "memfd-v3".to_string(),
            uses: 1,
            minor: 0,
            optional: false,
            features: None,
            place: Place::new(0x1000, "file"),
        };
        let mut finding = Finding {
            entry: entry.clone(),
            expected: [token("memfd-v1"), token("memfd-v2")]
                .map(Compat::from)
                .into_iter()
                .collect(),
            outcome: Outcome::Rejected,
            reason: Some(Reason::NoMasks),
            note: None,
            receiver: crate::Receiver::Kernel,
        };
        let head = "file at 0x1000: found memfd-v3, expected memfd-v1 or memfd-v2";
        assert_eq!(
            finding.to_string(),
            alloc::format!("{head} (it has no masks here)")
        );
        assert_eq!(
            finding.view(View::There).to_string(),
            alloc::format!("{head} (it has no masks there)")
        );
        assert_eq!(finding.reason_text(View::There), "it has no masks there");
        finding.reason = None;
        assert_eq!(finding.reason_text(View::Here), "");
        assert_eq!(finding.to_string(), head);
        entry.features = Some(crate::Features::BASE);
        assert_eq!(
            entry.to_string(),
            "memfd-v3 supported 0x1, required 0x1, active 0x1"
        );
    }

    #[test]
    fn what_is_expected_is_a_list() {
        let compat = |text: &str| Alternative::Compat(text.parse().unwrap());
        let masks = Alternative::Masks {
            supported: 3,
            required: 1,
        };
        let subtree = |name: &str| Alternative::Subtree(name.to_string());
        let cases: [(&[Alternative], usize, &str); 5] = [
            (&[], 0, "nothing"),
            (&[compat("luo-v5;block-v1")], 0, "luo-v5;block-v1"),
            (
                &[compat("a-v1"), compat("a-v2")],
                3,
                "a-v1 or a-v2 or 3 more",
            ),
            (
                &[compat("a-v1"), masks],
                0,
                "a-v1 or supported 0x3, required 0x1",
            ),
            (&[subtree("LUO"), subtree("memblock")], 0, "LUO, memblock"),
        ];
        for (any_of, more, words) in cases {
            let any_of = any_of.to_vec();
            assert_eq!(Expected { any_of, more }.to_string(), words);
        }
    }
}
