//! Names of sessions.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

use crate::abi::SESSION_NAME_LEN;

/// A session's name: 1 to 63 bytes, none of them NUL. It need not be text.
///
/// ```
/// use liveupdate::{NameError, SessionName};
///
/// let name = SessionName::new("vm-7")?;
/// assert_eq!(name.to_string(), "vm-7");
/// assert_eq!(SessionName::new(""), Err(NameError::Empty));
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName([u8; SESSION_NAME_LEN]);

/// Why something is no name of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no byte.
    #[error("a session's name is empty: expected 1 to 63 bytes")]
    Empty,
    /// It has more than 63.
    #[error("a session's name has {len} bytes: expected 1 to 63")]
    TooLong {
        /// Bytes found.
        len: usize,
    },
    /// It has a NUL inside, at which the kernel would cut it off.
    #[error("a session's name has a NUL at byte {at}: expected 1 to 63 bytes without one")]
    Nul {
        /// Offset of the first one.
        at: usize,
    },
}

impl SessionName {
    /// The most bytes that a name has.
    pub const MAX_LEN: usize = SESSION_NAME_LEN - 1;

    /// The name `name`.
    ///
    /// # Errors
    ///
    /// It is not 1 to 63 bytes without a NUL.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(at) = name.iter().position(|byte| *byte == 0) {
            return Err(NameError::Nul { at });
        }
        let too_long = NameError::TooLong { len: name.len() };
        let mut field = [0; SESSION_NAME_LEN];
        // One byte of the field is the NUL's.
        let (text, _) = field
            .split_at_mut_checked(name.len())
            .filter(|(_, rest)| !rest.is_empty())
            .ok_or(too_long)?;
        text.copy_from_slice(name);
        Ok(Self(field))
    }

    /// The name in a field that the kernel filled.
    pub(crate) fn of_field(field: [u8; SESSION_NAME_LEN]) -> Result<Self, NameError> {
        let len = field.iter().position(|byte| *byte == 0);
        Self::new(field.get(..len.unwrap_or(field.len())).unwrap_or_default())
    }

    /// Its bytes, without a NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Its bytes as a string of the system.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(self.as_bytes())
    }

    /// Its text, where it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(self.as_bytes()).ok()
    }

    pub(crate) const fn field(&self) -> [u8; SESSION_NAME_LEN] {
        self.0
    }
}

/// The name in one line: as it is where it is text that shows as itself, escaped otherwise.
impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) if text.chars().all(is_printable) => f.pad(text),
            _ => f.pad(&self.as_bytes().escape_ascii().to_string()),
        }
    }
}

/// Whether `c` shows as itself: it moves no cursor, changes no colours, and reverses nothing.
fn is_printable(c: char) -> bool {
    // The standard library knows what is not printable: it escapes it.
    matches!(c, ' '..='~') || c.escape_debug().count() == 1
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionName({self})")
    }
}

macro_rules! text {
    ($($from:ty),*) => {
        $(impl TryFrom<$from> for SessionName {
            type Error = NameError;

            fn try_from(name: $from) -> Result<Self, NameError> {
                Self::new(OsStr::new(&name).as_bytes())
            }
        })*
    };
}

text!(&str, &String, String, &OsStr, &OsString, OsString);

impl TryFrom<&[u8]> for SessionName {
    type Error = NameError;

    fn try_from(name: &[u8]) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl<const N: usize> TryFrom<&[u8; N]> for SessionName {
    type Error = NameError;

    fn try_from(name: &[u8; N]) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl From<&Self> for SessionName {
    fn from(name: &Self) -> Self {
        *name
    }
}

impl FromStr for SessionName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_63_bytes_without_a_nul() {
        assert_eq!(SessionName::new([]), Err(NameError::Empty));
        assert_eq!(SessionName::new("a").unwrap().as_bytes(), b"a");
        let longest = "x".repeat(63);
        let name = SessionName::new(&longest).unwrap();
        assert_eq!(name.as_str(), Some(longest.as_str()));
        assert_eq!(name.field().last(), Some(&0));
        assert_eq!(
            SessionName::new("x".repeat(64)),
            Err(NameError::TooLong { len: 64 })
        );
        assert_eq!(SessionName::new(b"a\0b"), Err(NameError::Nul { at: 1 }));
        assert_eq!(SessionName::new(b"\0"), Err(NameError::Nul { at: 0 }));
    }

    #[test]
    fn a_field_of_the_kernel_is_checked_too() {
        let mut field = [0; SESSION_NAME_LEN];
        assert_eq!(SessionName::of_field(field), Err(NameError::Empty));
        field[..2].copy_from_slice(b"vm");
        assert_eq!(SessionName::of_field(field).unwrap().as_bytes(), b"vm");
        field[10] = b'!';
        assert_eq!(SessionName::of_field(field).unwrap().as_bytes(), b"vm");
        let unterminated = SessionName::of_field([b'x'; SESSION_NAME_LEN]);
        assert_eq!(unterminated, Err(NameError::TooLong { len: 64 }));
    }

    #[test]
    fn what_is_not_text_is_shown_escaped() {
        let shown = |name: &[u8]| SessionName::new(name).unwrap().to_string();
        assert_eq!(shown("größe".as_bytes()), "größe");
        assert_eq!(shown(b"a\nb"), r"a\nb");
        assert_eq!(shown("a\u{202e}b".as_bytes()), r"a\xe2\x80\xaeb");
        assert_eq!(shown(b"it's \"1\""), "it's \"1\"");
        assert_eq!(shown(b"\xff"), r"\xff");
    }

    #[test]
    fn every_kind_of_string_is_taken() {
        let name = SessionName::new("vm").unwrap();
        assert_eq!(SessionName::try_from("vm"), Ok(name));
        assert_eq!(SessionName::try_from("vm".to_owned()), Ok(name));
        assert_eq!(SessionName::try_from(b"vm"), Ok(name));
        assert_eq!(SessionName::try_from(OsStr::new("vm")), Ok(name));
        assert_eq!("vm".parse(), Ok(name));
        assert_eq!(SessionName::from(&name), name);
    }
}
