//! Files, recognised by their beginning.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kho_image::Unpacker;

/// What is read of a file to recognise it.
pub(crate) const HEAD: u64 = 4096;

/// What bytes are, as far as their beginning shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    Core,
    Module,
    Executable,
    Kernel,
    Manifest,
    Text,
    Script,
    Empty,
    /// No magic: memory, or anything else.
    Unknown,
}

/// What `head` is the beginning of.
pub(crate) fn content(head: &[u8], path: &Path) -> io::Result<Content> {
    if head.starts_with(b"\x89LZO\0") {
        return Ok(Content::Kernel);
    }
    match Unpacker::open(File::open(path)?)? {
        Some(unpacker) => Ok(packed(unpacker)),
        None => Ok(plain(head)),
    }
}

fn plain(head: &[u8]) -> Content {
    let at = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if at(0, b"\x7fELF") {
        const CORE: u16 = 4;
        const RELOCATABLE: u16 = 1;
        return match Elf::of(head).map(|elf| elf.kind) {
            Some(CORE) => Content::Core,
            Some(RELOCATABLE) => Content::Module,
            _ => Content::Executable,
        };
    }
    if at(0, b"KDUMP   ") {
        return Content::Core;
    }
    if at(0, b"MZ") || at(0x38, b"ARM\x64") || at(0x38, b"RSC\x05") || at(0x202, b"HdrS") {
        return Content::Kernel;
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None if head.is_empty() => Content::Empty,
        Some(b'{') => Content::Manifest,
        _ if at(0, b"#!") => Content::Script,
        _ if is_text(head) => Content::Text,
        _ => Content::Unknown,
    }
}

fn is_text(head: &[u8]) -> bool {
    let control = |byte: &u8| matches!(byte, 0..=8 | 14..=31 | 127);
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character may be cut by the end of what was read.
        Err(error) => error.error_len().is_none(),
    };
    valid && !head.iter().any(control)
}

/// What a packed file unpacks to.
fn packed(unpacker: Unpacker<'_>) -> Content {
    let mut unpacked = Vec::new();
    // What comes out before a damage is noticed will do: who reads all of it says what is wrong.
    let _ = unpacker.take(HEAD).read_to_end(&mut unpacked);
    match plain(&unpacked) {
        content @ (Content::Core | Content::Unknown) => content,
        _ => Content::Kernel,
    }
}

/// The little of an ELF header that recognising takes.
pub(crate) struct Elf<'h> {
    head: &'h [u8],
    wide: bool,
    big: bool,
    kind: u16,
}

impl<'h> Elf<'h> {
    pub(crate) fn of(head: &'h [u8]) -> Option<Self> {
        let (wide, big) = (*head.get(4)? == 2, *head.get(5)? == 2);
        let mut elf = Self {
            head,
            wide,
            big,
            kind: 0,
        };
        elf.kind = u16::try_from(elf.int(16, 2)?).ok()?;
        Some(elf)
    }

    fn int(&self, at: usize, len: usize) -> Option<u64> {
        let bytes = self.head.get(at..at.checked_add(len)?)?.iter();
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.big {
            bytes.fold(0, join)
        } else {
            bytes.rev().fold(0, join)
        })
    }

    /// Whether a part of it is linked to addresses that only a kernel has.
    pub(crate) fn is_kernel(&self) -> Option<bool> {
        let (table, size, number, addr, word) = if self.wide {
            (32, 54, 56, 16, 8)
        } else {
            (28, 42, 44, 8, 4)
        };
        let start = usize::try_from(self.int(table, word)?).ok()?;
        let size = usize::try_from(self.int(size, 2)?).ok()?;
        let lowest = if self.wide { 1 << 63 } else { 0xc000_0000 };
        for index in 0..usize::try_from(self.int(number, 2)?).ok()? {
            let at = start.checked_add(size.checked_mul(index)?)?;
            const LOAD: u64 = 1;
            if self.int(at, 4)? == LOAD && self.int(at.checked_add(addr)?, word)? >= lowest {
                return Some(true);
            }
        }
        Some(false)
    }
}
