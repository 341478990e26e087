//! The compressions that kernels, modules and dumps come in, by their first bytes.

use std::fmt;

/// How a file, or a part of one, is compressed. Recognised by the first bytes.
///
/// ```
/// use kho_image::kernel::Compression;
///
/// assert_eq!(Compression::of(&[0x1f, 0x8b, 8, 0]), Some(Compression::Gzip));
/// assert_eq!(Compression::of(b"\x7fELF"), None);
/// assert_eq!(Compression::Lz4.to_string(), "lz4");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Compression {
    /// gzip (RFC 1952): 1f 8b.
    Gzip,
    /// zstd (RFC 8878): 28 b5 2f fd, or a skippable frame.
    Zstd,
    /// xz: fd, `7zXZ`, 00. Branch filters, which kernels are packed with, are read.
    Xz,
    /// LZ4: the frame, 04 22 4d 18, and the legacy frame, 02 21 4c 18, which `lz4 -l` writes.
    Lz4,
    /// LZMA with its 13-byte header (`.lzma`), which has no magic: properties, a dictionary's size and the
    /// unpacked size as encoders write them.
    Lzma,
    /// bzip2: `BZh`.
    Bzip2,
}

const MAGICS: &[(&[u8], Compression)] = &[
    (b"\x1f\x8b", Compression::Gzip),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    (b"\xfd7zXZ\0", Compression::Xz),
    (LZ4_FRAME, Compression::Lz4),
    (LZ4_LEGACY, Compression::Lz4),
    (b"BZh", Compression::Bzip2),
];

pub(super) const LZ4_FRAME: &[u8] = b"\x04\x22\x4d\x18";
pub(super) const LZ4_LEGACY: &[u8] = b"\x02\x21\x4c\x18";

/// What [`Compression::of`] looks at, skippable frames left aside.
pub(super) const HEAD: usize = 16;

impl Compression {
    /// The compression of bytes that begin with `head`; `None` for all others. A skippable frame may be zstd's or
    /// LZ4's: what comes after it tells, and it is zstd's where `head` does not reach that far.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let mut rest = head;
        while let Some(len) = skippable(rest) {
            let next = usize::try_from(len).ok().and_then(|len| rest.get(len..));
            match next {
                Some(next) if !next.is_empty() => rest = next,
                _ => return Some(Self::Zstd),
            }
        }
        let magic = MAGICS.iter().find(|(magic, _)| rest.starts_with(magic));
        match magic {
            Some((_, compression)) => Some(*compression),
            None if rest.len() < head.len() => Some(Self::Zstd),
            None => is_lzma(rest).then_some(Self::Lzma),
        }
    }

    /// Its usual name: `gzip`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Bzip2 => "bzip2",
        }
    }

    /// Whether its own tool passes over bytes after the last stream that are no stream.
    pub(super) const fn ignores_trailing(self) -> bool {
        matches!(self, Self::Gzip | Self::Lz4 | Self::Bzip2)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The length of the skippable frame, its header included, that `head` begins with.
pub(super) fn skippable(head: &[u8]) -> Option<u64> {
    match head {
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, ..] => {
            Some(8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d])))
        }
        _ => None,
    }
}

/// Whether `head` begins as an encoder begins a `.lzma` file. The same is asked by xz, and two things more: a
/// dictionary of at least 4 KiB, and that the first symbol is a literal or the end. Memory that begins so is
/// not met by chance.
fn is_lzma(head: &[u8]) -> bool {
    const PROPERTIES: u8 = 9 * 5 * 5;
    const DICTIONARY_MIN: u32 = 4 << 10;
    const SIZE_MAX: u64 = 1 << 38;
    let Some(head) = head.first_chunk::<15>() else {
        return false;
    };
    let [properties, a, b, c, d, size @ .., zero, first] = head;
    let dictionary = u32::from_le_bytes([*a, *b, *c, *d]);
    let size = u64::from_le_bytes(*size);
    // 2^n or 2^n + 2^(n-1): at most the two highest bits.
    let round = dictionary & (dictionary.wrapping_sub(1)) == 0
        || dictionary == 3 << (dictionary.trailing_zeros());
    *properties < PROPERTIES
        && dictionary >= DICTIONARY_MIN
        && (round || dictionary == u32::MAX)
        && (size == u64::MAX || size < SIZE_MAX)
        && *zero == 0
        && (*first < 0x80 || size == 0 || size == u64::MAX)
}
