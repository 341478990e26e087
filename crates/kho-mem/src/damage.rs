//! What is wrong with a predecessor's memory, in one shape for every crate.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::{MemError, MemErrorKind, PhysAddr};

/// The kind of a defect, for code that decides by it; [`Damage`] carries the words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Defect {
    /// An address is 0 where something must be.
    Null,
    /// An address is not aligned as its use demands.
    Unaligned,
    /// A range lies outside the memory that is there.
    OutsideMemory,
    /// A range leaves the 64-bit address space.
    Wraps,
    /// What the memory holds is not stored in the dump: no damage of the handover, which can not be read here.
    NotStored,
    /// The dump is damaged where the memory is stored: no damage of the handover, which can not be read here.
    Unreadable,
    /// Memory is used that the tracker does not list as preserved.
    NotPreserved,
    /// Two structures claim the same memory.
    Shared,
    /// A list or tree comes back to itself.
    Cycle,
    /// Ranges overlap that must not.
    Overlap,
    /// A magic number is wrong.
    BadMagic,
    /// A size is impossible.
    BadSize,
    /// An offset is impossible.
    BadOffset,
    /// A count is impossible.
    BadCount,
    /// Two numbers that must agree do not.
    Mismatch,
    /// A value is outside its range, or a reserved field is not zero.
    BadValue,
    /// Bits are set that the format does not define.
    UnknownFlags,
    /// An order is impossible.
    BadOrder,
    /// More of something than the format allows.
    TooMany,
    /// A name or string is empty.
    Empty,
    /// A string has no terminating NUL.
    Unterminated,
    /// A string is not text, or not in the grammar of its field.
    BadText,
    /// A name or number occurs twice where it must be unique.
    Duplicate,
    /// Something that must be there is not.
    Missing,
    /// A structure does not follow its grammar.
    Malformed,
    /// The image ends before what it describes.
    Truncated,
    /// A tracker key that encodes no page.
    BadKey,
}

impl Defect {
    /// The defect's name as programs see it, for instance `not-preserved`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Unaligned => "unaligned",
            Self::OutsideMemory => "outside-memory",
            Self::Wraps => "wraps",
            Self::NotStored => "not-stored",
            Self::Unreadable => "unreadable",
            Self::NotPreserved => "not-preserved",
            Self::Shared => "shared",
            Self::Cycle => "cycle",
            Self::Overlap => "overlap",
            Self::BadMagic => "bad-magic",
            Self::BadSize => "bad-size",
            Self::BadOffset => "bad-offset",
            Self::BadCount => "bad-count",
            Self::Mismatch => "mismatch",
            Self::BadValue => "bad-value",
            Self::UnknownFlags => "unknown-flags",
            Self::BadOrder => "bad-order",
            Self::TooMany => "too-many",
            Self::Empty => "empty",
            Self::Unterminated => "unterminated",
            Self::BadText => "bad-text",
            Self::Duplicate => "duplicate",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::BadKey => "bad-key",
        }
    }

    /// What the defect says of its subject: "... is not preserved".
    const fn phrase(self) -> &'static str {
        match self {
            Self::Null => "is null",
            Self::Unaligned => "is not aligned",
            Self::OutsideMemory => "lies outside memory",
            Self::Wraps => "wraps around the address space",
            Self::NotStored => "is not stored in this dump",
            Self::Unreadable => "can not be read from this dump",
            Self::NotPreserved => "is not preserved",
            Self::Shared => "is shared",
            Self::Cycle => "forms a cycle",
            Self::Overlap => "overlaps",
            Self::BadMagic => "has a wrong magic",
            Self::BadSize => "has an impossible size",
            Self::BadOffset => "has an offset out of range",
            Self::BadCount => "has an impossible count",
            Self::Mismatch => "does not agree",
            Self::BadValue => "has an impossible value",
            Self::UnknownFlags => "has unknown flags",
            Self::BadOrder => "has an impossible order",
            Self::TooMany => "has too many entries",
            Self::Empty => "is empty",
            Self::Unterminated => "is not terminated",
            Self::BadText => "is not valid text",
            Self::Duplicate => "is a duplicate",
            Self::Missing => "is missing",
            Self::Malformed => "is malformed",
            Self::Truncated => "is cut short",
            Self::BadKey => "is not a valid key",
        }
    }
}

/// A defect found in a predecessor's memory: what, where, what was found and what was expected.
///
/// Readers add the place from the inside out with [`Damage::within`], so that the message leads
/// from the handover down to the field:
///
/// ```
/// use kho_mem::{Damage, Defect, PhysAddr};
///
/// let damage = Damage::new(Defect::BadCount, "count", PhysAddr::new(0x5008))
///     .found(0)
///     .expected("1 to 51")
///     .within("block 2")
///     .within("session set");
/// assert_eq!(
///     damage.to_string(),
///     "session set: block 2: count has an impossible count at 0x5008: found 0, expected 1 to 51",
/// );
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Damage(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    defect: Defect,
    what: Cow<'static, str>,
    at: PhysAddr,
    found: String,
    expected: String,
    // Innermost first.
    within: Vec<Cow<'static, str>>,
}

impl Damage {
    /// A defect of `what`, whose bytes lie at `at`.
    #[must_use]
    pub fn new(defect: Defect, what: impl Into<Cow<'static, str>>, at: PhysAddr) -> Self {
        Self(Box::new(Inner {
            defect,
            what: what.into(),
            at,
            found: String::new(),
            expected: String::new(),
            within: Vec::new(),
        }))
    }

    /// Says what was found.
    #[must_use]
    pub fn found(mut self, found: impl ToString) -> Self {
        self.0.found = found.to_string();
        self
    }

    /// Says what was expected there.
    #[must_use]
    pub fn expected(mut self, expected: impl ToString) -> Self {
        self.0.expected = expected.to_string();
        self
    }

    /// Names the structure that `what` is part of; called again, the one around that.
    #[must_use]
    pub fn within(mut self, outer: impl Into<Cow<'static, str>>) -> Self {
        self.0.within.push(outer.into());
        self
    }

    /// Names the outermost structure `outer` instead: what was read as one thing is another.
    #[must_use]
    pub fn renamed(mut self, outer: impl Into<Cow<'static, str>>) -> Self {
        let Inner { within, what, .. } = &mut *self.0;
        *within.last_mut().unwrap_or(what) = outer.into();
        self
    }

    /// The same defect of bytes that lie at `at`.
    #[must_use]
    pub fn moved(mut self, at: PhysAddr) -> Self {
        self.0.at = at;
        self
    }

    /// The kind of defect.
    #[must_use]
    pub fn defect(&self) -> Defect {
        self.0.defect
    }

    /// Where the defective bytes lie.
    #[must_use]
    pub fn at(&self) -> PhysAddr {
        self.0.at
    }

    /// The path from the handover down to the defective thing, without found and expected.
    #[must_use]
    pub fn subject(&self) -> String {
        let mut out = String::new();
        for part in self.0.within.iter().rev() {
            out.push_str(part);
            out.push_str(": ");
        }
        out.push_str(&self.0.what);
        out
    }

    /// The subject and what is wrong with it: the message's first half.
    #[must_use]
    pub fn headline(&self) -> String {
        format!("{} {}", self.subject(), self.0.defect.phrase())
    }

    /// What was found; empty where the headline says it all.
    #[must_use]
    pub fn found_text(&self) -> &str {
        &self.0.found
    }

    /// What was expected; empty where the headline says it all.
    #[must_use]
    pub fn expected_text(&self) -> &str {
        &self.0.expected
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.headline(), self.0.at)?;
        if !self.0.found.is_empty() {
            write!(f, ": found {}", self.0.found)?;
        }
        if !self.0.expected.is_empty() {
            let comma = if self.0.found.is_empty() { ": " } else { ", " };
            write!(f, "{comma}expected {}", self.0.expected)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Damage({:?}, {self})", self.0.defect)
    }
}

impl core::error::Error for Damage {}

impl MemError {
    /// The failed access as damage: `what`, whose address stands at `at`, points to memory that
    /// is not there.
    #[must_use]
    pub fn damage(&self, what: impl Into<Cow<'static, str>>, at: PhysAddr) -> Damage {
        let inside = "a range inside this memory";
        let (defect, expected) = match self.kind {
            MemErrorKind::Outside => (Defect::OutsideMemory, inside),
            MemErrorKind::Wraps => (Defect::Wraps, inside),
            MemErrorKind::NotStored => (Defect::NotStored, "memory whose contents the dump stores"),
            MemErrorKind::Unreadable => (Defect::Unreadable, inside),
        };
        Damage::new(defect, what, at)
            .found(format!("{} bytes at {}", self.len, self.addr))
            .expected(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_name_and_the_place_can_be_other_ones() {
        let damage = || Damage::new(Defect::Empty, "node `root`", PhysAddr::new(0x10));
        let moved = damage().within("root").within("root FDT").renamed("tree");
        assert_eq!(
            moved.moved(PhysAddr::new(0x20)).to_string(),
            "tree: root: node `root` is empty at 0x20"
        );
        assert_eq!(damage().renamed("tree").subject(), "tree");
    }
}
