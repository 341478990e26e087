//! A root FDT as a file shows it: whole, or cut short.

use alloc::string::String;
use alloc::vec::Vec;

use kho_compat::{Compat, Grammar};
use kho_mem::{Damage, PAGE_SIZE, PhysAddr, SliceMem};

use crate::RootFdt;
use crate::fdt::{BEGIN_NODE, MAGIC, PROP};

/// The root FDT that a file holds.
///
/// Linux sizes the file of the one that it makes when it makes it, and adds subtrees after that: the file has
/// the beginning alone.
///
/// ```
/// use kho_core::FdtFile;
/// use kho_mem::PhysAddr;
///
/// // The header of a tree of 345 bytes, of which 48 are there.
/// let mut bytes = [0; 48];
/// bytes[..8].copy_from_slice(&[0xd0, 0x0d, 0xfe, 0xed, 0, 0, 0x01, 0x59]);
/// let FdtFile::Cut(cut) = FdtFile::decode(&bytes, PhysAddr::new(0x1000))? else { unreachable!() };
/// assert_eq!((cut.shown, cut.total, cut.compatible), (48, 345, None));
/// # Ok::<(), kho_mem::Damage>(())
/// ```
#[derive(Debug)]
pub enum FdtFile {
    /// The whole.
    Whole(RootFdt),
    /// The beginning alone.
    Cut(CutFdt),
}

/// A root FDT of which a file has the beginning alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CutFdt {
    /// Bytes in the file.
    pub shown: usize,
    /// Bytes that there are.
    pub total: usize,
    /// Its compat string, where that is among them.
    pub compatible: Option<String>,
}

impl FdtFile {
    /// Decodes `bytes`, which are told of as if they lay at `at`, a page's address.
    ///
    /// # Errors
    ///
    /// The tree is whole, and damaged.
    pub fn decode(bytes: &[u8], at: PhysAddr) -> Result<Self, Damage> {
        if let Some(cut) = cut(bytes) {
            return Ok(Self::Cut(cut));
        }
        RootFdt::decode(bytes, at).map(Self::Whole)
    }
}

impl RootFdt {
    /// Decodes the used part of a root FDT of a page of 4 KiB, told of as if it lay at `at`.
    ///
    /// # Errors
    ///
    /// As [`RootFdt::read`].
    pub fn decode(bytes: &[u8], at: PhysAddr) -> Result<Self, Damage> {
        let mut page: Vec<u8> = bytes.to_vec();
        page.resize(page.len().max(PAGE_SIZE), 0);
        Self::read(&SliceMem::new(at, &page), at)
    }
}

/// What `bytes` are the beginning of, where they are cut.
fn cut(bytes: &[u8]) -> Option<CutFdt> {
    let word = |at: usize| {
        let word = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*word))
    };
    let total = word(4)? as usize;
    let is_cut = word(0)? == MAGIC && (bytes.len() + 1..=PAGE_SIZE).contains(&total);
    is_cut.then(|| CutFdt {
        shown: bytes.len(),
        total,
        compatible: word(8).and_then(|at| first_compat(bytes.get(at as usize..)?)),
    })
}

/// The compat string among the properties of the root node, with which `structure` begins. The
/// properties' names are at the tree's end, which is not there: it is known by what it says.
fn first_compat(structure: &[u8]) -> Option<String> {
    let mut words = structure.chunks_exact(4);
    let mut next = || words.next()?.try_into().ok().map(u32::from_be_bytes);
    if (next()?, next()?) != (BEGIN_NODE, 0) {
        return None;
    }
    let mut at = 8usize;
    loop {
        let mut fields = structure.get(at..)?.chunks_exact(4);
        let mut next = || fields.next()?.try_into().ok().map(u32::from_be_bytes);
        let (token, len, _name) = (next()?, next()? as usize, next()?);
        if token != PROP {
            return None;
        }
        at = at.checked_add(12)?;
        let value = structure.get(at..)?.get(..len)?;
        let text = value.strip_suffix(b"\0").map(core::str::from_utf8);
        if let Some(Ok(text)) = text
            && let text = text.replace('\0', Compat::BETWEEN_STRINGS)
            && Compat::parse_as(&text, Grammar::Lenient)
                .is_ok_and(|compat| compat.base().name() == crate::NAME)
        {
            return Some(text);
        }
        at = at.checked_add(len.checked_next_multiple_of(4)?)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    /// The first 233 bytes of the 345 of a root FDT, as Linux 7.3.4 showed them.
    fn shown() -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = [0xd00d_feed, 345, 0x38, 0x120, 0x28, 17, 16, 0, 0x39, 0xe8];
        let nothing = [0; 4];
        let node = [1, 0, 3, 7, 0x15];
        for word in header.iter().chain(&nothing).chain(&node) {
            bytes.extend_from_slice(&u32::to_be_bytes(*word));
        }
        bytes.extend_from_slice(b"kho-v4\0\0");
        bytes.resize(233, 0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<FdtFile, Damage> {
        FdtFile::decode(bytes, PhysAddr::new(0x1000))
    }

    fn cut_of(bytes: &[u8]) -> (usize, usize, Option<String>) {
        match decode(bytes) {
            Ok(FdtFile::Cut(cut)) => (cut.shown, cut.total, cut.compatible),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cut_root_fdt_says_its_version() {
        assert_eq!(cut_of(&shown()), (233, 345, Some("kho-v4".to_owned())));
        // Wherever it is cut nothing is read that is not there.
        for len in 8..233 {
            let (_, _, compatible) = cut_of(&shown()[..len]);
            assert_eq!(compatible.is_some(), len >= 0x38 + 20 + 7, "{len}");
        }
    }

    #[test]
    fn what_is_no_cut_root_fdt_is_told() {
        assert!(decode(&[]).is_err());
        assert!(decode(&[0xff; 64]).is_err());
        let mut bytes = shown();
        // More than a page is not cut: it is wrong.
        bytes[4..8].copy_from_slice(&u32::to_be_bytes(4097));
        assert!(decode(&bytes).is_err());
        // Offsets and lengths that lead nowhere.
        for (at, value) in [
            (8, u32::MAX),
            (8, 232),
            (0x38, 9),
            (0x44, u32::MAX),
            (0x44, 8),
        ] {
            let mut bytes = shown();
            bytes[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
            assert_eq!(cut_of(&bytes).2, None, "{value:#x} at {at:#x}");
        }
    }
}
