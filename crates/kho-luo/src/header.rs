//! The header: decoded from its bytes alone, and encoded.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kho_compat::Compat;
use kho_mem::{Damage, Defect, Located, PAGE_SIZE_U64, PhysAddr};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::name::ascii;
use crate::v5::LuoSerTail;

/// The most bytes that a header is read of: its string is one of some dozens of bytes.
const MAX_HEADER: u64 = PAGE_SIZE_U64;

/// Bytes behind the string.
pub(crate) const TAIL: usize = size_of::<LuoSerTail>();

/// LUO's header as it stands in memory: its string. What follows the string is of the version that
/// the string says.
#[derive(Clone, Copy, Debug)]
pub struct Header<'b> {
    at: PhysAddr,
    bytes: &'b [u8],
    compatible: &'b str,
}

impl<'b> Header<'b> {
    /// Takes the string out of `bytes`, all of the header, which lie at `at`.
    ///
    /// # Errors
    ///
    /// The size is not one that a header has, or the string is not terminated printable text.
    pub fn decode(bytes: &'b [u8], at: PhysAddr) -> Result<Self, Damage> {
        check_size(bytes.len() as u64, at)?;
        let field = bytes.split_last_chunk::<TAIL>();
        let field = field.map_or(&[][..], |(field, _)| field);
        Ok(Self {
            at,
            bytes,
            compatible: ascii(field, "compatible", at)?,
        })
    }

    /// The string.
    #[must_use]
    pub const fn compatible(&self) -> &'b str {
        self.compatible
    }

    /// What follows the string, where it is of the version in [`v5`](crate::v5).
    ///
    /// # Errors
    ///
    /// The header is not as long as its string makes it, or the count of live updates is 0.
    pub fn tail(&self) -> Result<Located<LuoSerTail>, Damage> {
        let (compatible, field_len) =
            (self.compatible, Compat::field_len_of(self.compatible.len()));
        let expected = field_len + TAIL;
        let bad_size = || {
            bad_size(
                self.bytes.len() as u64,
                self.at,
                format!("{expected} bytes for `{compatible}`"),
            )
        };
        let bytes = self
            .bytes
            .get(field_len..)
            .filter(|rest| rest.len() == TAIL);
        let at = PhysAddr::new(self.at.get().wrapping_add(field_len as u64));
        let tail = Located::<LuoSerTail>::all(bytes.unwrap_or_default(), at).next();
        let tail = tail.ok_or_else(bad_size)?;
        let number = tail.liveupdate_num.get();
        if number == 0 {
            let at = tail.addr_of(|tail| &tail.liveupdate_num);
            return Err(Damage::new(Defect::BadValue, "liveupdate_num", at)
                .found(number)
                .expected("at least 1: the writer's own number plus one"));
        }
        Ok(tail)
    }
}

/// The string with its NUL, padded to a multiple of 8: what a header begins with.
pub(crate) fn field(compat: &Compat) -> Vec<u8> {
    let mut bytes = compat.to_string().into_bytes();
    bytes.resize(compat.field_len(), 0);
    bytes
}

/// The header whose string is `field`, of update `number`.
pub(crate) fn encode(field: &[u8], number: u64, sessions: PhysAddr, flbs: PhysAddr) -> Vec<u8> {
    let tail = LuoSerTail {
        liveupdate_num: U64::new(number),
        sessions_pa: U64::new(sessions.get()),
        flbs_pa: U64::new(flbs.get()),
    };
    [field, tail.as_bytes()].concat()
}

/// Checks that a header may have `size` bytes, before they are looked at.
pub(crate) fn check_size(size: u64, at: PhysAddr) -> Result<(), Damage> {
    // The shortest string has a letter and "-v0", and fills 8 bytes.
    let least = TAIL as u64 + 8;
    if (least..=MAX_HEADER).contains(&size) {
        return Ok(());
    }
    Err(bad_size(size, at, format!("{least} to {MAX_HEADER} bytes")))
}

fn bad_size(size: u64, at: PhysAddr, expected: String) -> Damage {
    Damage::new(Defect::BadSize, "blob", at)
        .found(format!("{size} bytes"))
        .expected(expected)
}
