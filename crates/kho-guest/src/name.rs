//! Sessions' names as text: users choose them, so they need not be any.

use liveupdate::SessionName;

/// `name` as text: a byte that is not printable ASCII is `%` and two hexadecimal digits, and so is `%` itself.
#[must_use]
pub fn encode(name: &SessionName) -> String {
    let mut text = String::new();
    for byte in name.as_bytes() {
        if (byte.is_ascii_graphic() || *byte == b' ') && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The name that `text` stands for; `None` where it stands for none.
#[must_use]
pub fn decode(text: &str) -> Option<SessionName> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || u8::try_from(char::from(rest.next()?).to_digit(16)?).ok();
            bytes.push(digit()? << 4 | digit()?);
        } else {
            bytes.push(byte);
        }
    }
    SessionName::new(bytes).ok()
}

/// Names in plans and reports.
pub(crate) mod text {
    use liveupdate::SessionName;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(name: &SessionName, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::encode(name))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SessionName, D::Error> {
        let text = String::deserialize(from)?;
        super::decode(&text).ok_or_else(|| D::Error::custom("invalid session name"))
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
            let name = SessionName::new(bytes).unwrap();
            assert_eq!(encode(&name), text);
            assert_eq!(decode(text), Some(name));
        }
        for none in ["%4", "%zz", "", "%00"] {
            assert_eq!(decode(none), None);
        }
    }
}
