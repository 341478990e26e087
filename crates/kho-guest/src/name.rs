//! Sessions' names as text: users choose them, so they need not be any.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A session's name. As text, a byte that is not printable ASCII is `%` and two hexadecimal digits, and so
/// is `%` itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The name `bytes`.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Text that stands for no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadName;

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected two hexadecimal digits after each %")
    }
}

impl std::error::Error for BadName {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        for byte in &self.0 {
            if (byte.is_ascii_graphic() || *byte == b' ') && *byte != b'%' {
                text.push(char::from(*byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let mut digit = || {
                    let digit = rest.next().map(char::from).ok_or(BadName)?;
                    let value = digit.to_digit(16).ok_or(BadName)?;
                    u8::try_from(value).map_err(|_| BadName)
                };
                bytes.push(digit()? << 4 | digit()?);
            } else {
                bytes.push(byte);
            }
        }
        Ok(Self::new(bytes))
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_text_and_back() {
        for (bytes, text) in [
            (&b"vm 7"[..], "vm 7"),
            (b"100%", "100%25"),
            (b"\xff\n", "%FF%0A"),
            ("\u{e9}".as_bytes(), "%C3%A9"),
        ] {
            let name = Name::new(bytes);
            assert_eq!(name.to_string(), text);
            assert_eq!(text.parse(), Ok(name));
        }
        assert_eq!("%4".parse::<Name>(), Err(BadName));
        assert_eq!("%zz".parse::<Name>(), Err(BadName));
    }
}
