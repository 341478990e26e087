//! The forms of a dump.

/// What a dump is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ImageKind {
    /// An ELF64 core.
    Elf,
    /// A kdump-compressed dump.
    Kdump,
    /// A LiME dump.
    Lime,
    /// Raw memory from a base address on.
    Raw,
}

impl ImageKind {
    /// The kind as programs see it, for instance `elf`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::Kdump => "kdump",
            Self::Lime => "lime",
            Self::Raw => "raw",
        }
    }

    /// The kind as people call it, for instance `ELF core`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Elf => "ELF core",
            Self::Kdump => "kdump-compressed dump",
            Self::Lime => "LiME dump",
            Self::Raw => "raw memory",
        }
    }
}
