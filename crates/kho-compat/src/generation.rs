//! Generations: the formats that a component has had.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::layout::{Constant, Layout};

/// What a crate does with a generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// It reads and writes it. The newest of these is written by default.
    Written,
    /// It reads it, and does not write it.
    ReadOnly,
    /// Neither, unless a program asks: it is an experiment that no release has.
    Experimental,
}

/// One format of a component: what lies in memory under one of its versions.
///
/// ```
/// use kho_compat::{Generation, Role};
///
/// /// The first format: read here, not written any more.
/// const V1: Generation = Generation::new(1).since("Linux 6.19").read_only();
/// const V2: Generation = Generation::new(2).since("Linux 7.1").needs(&[("vmalloc", 1)]);
/// assert_eq!((V1.role, V2.role), (Role::ReadOnly, Role::Written));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Generation {
    /// The number in `block-v1`: the major version.
    pub number: u32,
    /// Additions that an older reader of the same number may ignore: the minor version.
    pub minor: u16,
    /// The string that announces it, where that is not its own token. Two generations may share one.
    pub announced_by: Option<&'static str>,
    /// The first release that writes it: `Linux 7.2`.
    pub since: &'static str,
    /// What this crate does with it.
    pub role: Role,
    /// Components that reading and writing it takes, each with the version that this generation was
    /// released with: the one that a plain string stands for.
    pub needs: &'static [(&'static str, u32)],
    /// Components that its composite string lists although the crate does without them, each with the
    /// version that this generation was released with.
    pub lists: &'static [(&'static str, u32)],
    /// The structs that lie in memory.
    pub layouts: &'static [fn() -> Layout],
    /// The format's constants that belong to no single struct.
    pub constants: &'static [fn() -> Constant],
    /// Structs and enums that are written as text: their members (see [`AbiMembers`](crate::AbiMembers)).
    pub members: &'static [fn() -> Vec<Constant>],
    /// What differs under other circumstances: a variant for each.
    pub variants: &'static [Variant],
}

/// What differs of a generation under circumstances that no version states, such as the page size of the
/// kernel that wrote a handover. Structs and constants that are as the generation has them are left out.
///
/// ```
/// use kho_compat::{Generation, Variant, constant};
///
/// const BLOCK_SIZE: usize = 4096;
/// const V1: Generation = Generation::new(1).constants(&[constant!(BLOCK_SIZE)]).variants(&[
///     Variant::new("page size", "16k").constants(&[constant!(BLOCK_SIZE = 16384_usize)]),
/// ]);
/// assert_eq!((V1.variants[0].constants[0])().value, "16384 (0x4000)");
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Variant {
    /// What the circumstances are of: `page size`.
    pub of: &'static str,
    /// The circumstances: `16k`. Names of snapshots have it, so it is letters and digits.
    pub label: &'static str,
    /// The structs that differ.
    pub layouts: &'static [fn() -> Layout],
    /// The constants that differ and belong to no single struct.
    pub constants: &'static [fn() -> Constant],
}

impl Variant {
    /// A variant of which nothing is stated yet.
    #[must_use]
    pub const fn new(of: &'static str, label: &'static str) -> Self {
        Self {
            of,
            label,
            layouts: &[],
            constants: &[],
        }
    }

    /// Sets the structs that differ.
    #[must_use]
    pub const fn layouts(mut self, layouts: &'static [fn() -> Layout]) -> Self {
        self.layouts = layouts;
        self
    }

    /// Sets the constants that differ and belong to no single struct.
    #[must_use]
    pub const fn constants(mut self, constants: &'static [fn() -> Constant]) -> Self {
        self.constants = constants;
        self
    }
}

impl Role {
    /// The role as programs see it, for instance `read-only`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::ReadOnly => "read-only",
            Self::Experimental => "experimental",
        }
    }
}

impl Generation {
    /// A generation that is written and needs nothing.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self {
            number,
            minor: 0,
            announced_by: None,
            since: "",
            role: Role::Written,
            needs: &[],
            lists: &[],
            layouts: &[],
            constants: &[],
            members: &[],
            variants: &[],
        }
    }

    /// Sets the minor version.
    #[must_use]
    pub const fn minor(mut self, minor: u16) -> Self {
        self.minor = minor;
        self
    }

    /// Names the string that announces it: `kho-v1` for a tracker that has no token of its own.
    #[must_use]
    pub const fn announced_by(mut self, string: &'static str) -> Self {
        self.announced_by = Some(string);
        self
    }

    /// Names the first release that writes it.
    #[must_use]
    pub const fn since(mut self, release: &'static str) -> Self {
        self.since = release;
        self
    }

    /// Says that the crate reads it and does not write it.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.role = Role::ReadOnly;
        self
    }

    /// Says that the crate neither reads nor writes it unless a program asks.
    #[must_use]
    pub const fn experimental(mut self) -> Self {
        self.role = Role::Experimental;
        self
    }

    /// Sets the components that reading and writing it takes.
    #[must_use]
    pub const fn needs(mut self, needs: &'static [(&'static str, u32)]) -> Self {
        self.needs = needs;
        self
    }

    /// Sets the components that its string lists and that the crate does without.
    #[must_use]
    pub const fn lists(mut self, lists: &'static [(&'static str, u32)]) -> Self {
        self.lists = lists;
        self
    }

    /// Sets the structs that lie in memory.
    #[must_use]
    pub const fn layouts(mut self, layouts: &'static [fn() -> Layout]) -> Self {
        self.layouts = layouts;
        self
    }

    /// Sets the format's constants that belong to no single struct.
    #[must_use]
    pub const fn constants(mut self, constants: &'static [fn() -> Constant]) -> Self {
        self.constants = constants;
        self
    }

    /// Sets the structs and enums that are written as text.
    #[must_use]
    pub const fn members(mut self, members: &'static [fn() -> Vec<Constant>]) -> Self {
        self.members = members;
        self
    }

    /// Sets what differs under other circumstances.
    #[must_use]
    pub const fn variants(mut self, variants: &'static [Variant]) -> Self {
        self.variants = variants;
        self
    }

    /// The string that announces it, as a generation of the component `name`.
    #[must_use]
    pub fn announced(&self, name: &str) -> String {
        let own = || alloc::format!("{name}-v{}", self.number);
        self.announced_by.map_or_else(own, ToOwned::to_owned)
    }

    /// The components that its composite string lists: what it needs, then what it lists alone.
    pub fn listed(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.needs.iter().chain(self.lists).copied()
    }
}
