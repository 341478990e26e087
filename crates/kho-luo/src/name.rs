//! NUL-terminated names in fixed fields.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use core::fmt;

use crate::v5::SESSION_NAME_LEN;
use kho_mem::{Damage, Defect, PhysAddr, is_printable};

/// A session's name: 1 to 63 bytes, none of them NUL. Users choose it, so it need not be text.
///
/// The client of a running kernel, `liveupdate`, has a type of its own of this name: neither crate is on the other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName(Box<[u8]>);

impl SessionName {
    /// The name `bytes`; `None` where that is not 1 to 63 bytes without a NUL.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let fits = (1..SESSION_NAME_LEN).contains(&bytes.len()) && !bytes.contains(&0);
        fits.then(|| Self(bytes.into()))
    }

    /// Takes the name out of `field`, whose bytes lie at `at`.
    pub(crate) fn read(field: &[u8], at: PhysAddr) -> Result<Self, Damage> {
        terminated(field, "name", at).map(|name| Self(name.into()))
    }

    /// Its bytes, without the NUL.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text, where it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }
}

/// The name in one line: as it is where it is printable, escaped otherwise.
impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) if is_printable(text) => f.pad(text),
            _ => f.pad(&self.0.escape_ascii().to_string()),
        }
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionName({self})")
    }
}

/// The bytes before the NUL of `field`.
pub(crate) fn terminated<'f>(
    field: &'f [u8],
    what: &'static str,
    at: PhysAddr,
) -> Result<&'f [u8], Damage> {
    match field.iter().position(|byte| *byte == 0) {
        None => Err(Damage::new(Defect::Unterminated, what, at)
            .found(format!("\"{}\"", field.escape_ascii()))
            .expected(format!("a NUL within {} bytes", field.len()))),
        Some(0) => Err(Damage::new(Defect::Empty, what, at)
            .found("no byte before the NUL")
            .expected(format!("1 to {} bytes", field.len() - 1))),
        Some(len) => Ok(field.get(..len).unwrap_or_default()),
    }
}

/// The printable ASCII text before the NUL of `field`.
pub(crate) fn ascii<'f>(
    field: &'f [u8],
    what: &'static str,
    at: PhysAddr,
) -> Result<&'f str, Damage> {
    let bytes = terminated(field, what, at)?;
    match str::from_utf8(bytes) {
        Ok(text)
            if bytes
                .iter()
                .all(|byte| byte.is_ascii_graphic() || *byte == b' ') =>
        {
            Ok(text)
        }
        _ => Err(Damage::new(Defect::BadText, what, at)
            .found(format!("\"{}\"", bytes.escape_ascii()))
            .expected("printable ASCII")),
    }
}
