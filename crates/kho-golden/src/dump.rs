//! What was handed over, as the text of a vector.
//!
//! Which page an arena gives out is not the format's affair. So the arena's pages have other addresses
//! here: 0x10001000 is the first that is named, 0x10002000 the second.

use std::fmt::{Display, Write as _};

use kho_abi_check::{Failure, Text};
use kho_mem::{Arena, ArenaConfig, Handed, PhysAddr, PhysMemExt, PhysRange};
use kho_radix::Key;

/// Like no number that a format has, so that what is relocated is an address.
const BASE: PhysAddr = PhysAddr::new(0x7e57_0000_0000);
const SIZE: u64 = 8 << 20;
/// What the addresses shown count from.
const SHOWN: u64 = 0x1000_0000;

// The format's numbers, written once more: a dump must not change with the constants.
const PAGE: usize = 4096;
const LEVELS: u32 = 5;
const PFN_MASK: u64 = (1 << 52) - 1;

/// An arena of 8 MiB on the heap: its pages cost nothing before they are used, and less than those of a memfd
/// then.
///
/// # Errors
///
/// There is not that much memory.
///
/// The pages that are given out first are not 0: what is not written stands out.
pub(crate) fn arena() -> Result<Arena, Failure> {
    let arena = Arena::heap(&ArenaConfig::new(BASE, SIZE))?;
    let mut used = arena.alloc_pages(USED)?;
    used.fill(0xa5);
    drop(used);
    Ok(arena)
}

/// Pages that were used before.
const USED: u64 = 128;

/// The table indices that lead to a leaf, and its words that are not 0, each with its index.
type Leaf = (Vec<u64>, Vec<(u64, u64)>);

/// The pages of an arena that were named.
pub(crate) struct Names {
    arena: PhysRange,
    // By number, in the order in which they were named.
    named: Vec<u64>,
}

impl Names {
    /// The address `addr` as it is shown.
    pub(crate) fn name(&mut self, addr: PhysAddr) -> PhysAddr {
        if !self.arena.contains(addr) {
            return addr;
        }
        let page = addr.get() / PAGE as u64;
        let index = self.named.iter().position(|named| *named == page);
        let index = index.unwrap_or_else(|| {
            self.named.push(page);
            self.named.len() - 1
        });
        PhysAddr::new(SHOWN + (index as u64 + 1) * PAGE as u64 + addr.get() % PAGE as u64)
    }
}

/// Text of what lies in handed memory.
pub(crate) struct Dump {
    mem: Handed,
    names: Names,
    text: String,
}

impl Dump {
    /// Nothing said yet of `arena`, which is handed over.
    ///
    /// # Errors
    ///
    /// Somebody still owns memory of it.
    pub(crate) fn new(arena: Arena) -> Result<Self, Failure> {
        let mem = arena.into_handed();
        let mem = mem.map_err(|_| "somebody still owns memory of the arena")?;
        let names = Names {
            arena: mem.range(),
            named: Vec::new(),
        };
        Ok(Self {
            mem,
            names,
            text: String::new(),
        })
    }

    /// The memory.
    pub(crate) const fn mem(&self) -> &Handed {
        &self.mem
    }

    /// The memory, the names, and the text.
    pub(crate) const fn parts(&mut self) -> (&Handed, &mut Names, &mut String) {
        (&self.mem, &mut self.names, &mut self.text)
    }

    /// The address `addr` as it is shown.
    pub(crate) fn name(&mut self, addr: PhysAddr) -> PhysAddr {
        self.names.name(addr)
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, line: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// Adds `len` bytes of memory from `at` on, under a title.
    ///
    /// # Errors
    ///
    /// They lie outside the arena.
    pub(crate) fn memory(&mut self, title: &str, at: PhysAddr, len: usize) -> Result<(), Failure> {
        let bytes = self.mem.bytes(at, len)?.into_owned();
        let title = format!("{title} at {}", self.name(at));
        self.bytes(&title, bytes);
        Ok(())
    }

    /// Adds bytes, under a title.
    pub(crate) fn bytes(&mut self, title: &str, mut bytes: Vec<u8>) {
        self.relocate(&mut bytes);
        let dump = Text::bytes(&bytes);
        let _ = write!(self.text, "{title}: {dump}");
    }

    /// The bytes of memory from `at` on.
    ///
    /// # Errors
    ///
    /// They lie outside the arena.
    pub(crate) fn read(&self, at: PhysAddr, len: usize) -> Result<Vec<u8>, Failure> {
        Ok(self.mem.bytes(at, len)?.into_owned())
    }

    /// The little-endian number at `at`.
    ///
    /// # Errors
    ///
    /// It lies outside the arena.
    pub(crate) fn word(&self, at: PhysAddr) -> Result<u64, Failure> {
        let bytes = self.mem.bytes(at, size_of::<u64>())?;
        Ok(number(&bytes))
    }

    /// The pages of the chain from `head` on, each of which begins with the next one's address.
    ///
    /// # Errors
    ///
    /// One lies outside the arena, or there are more than 16.
    pub(crate) fn chain(&self, head: PhysAddr) -> Result<Vec<PhysAddr>, Failure> {
        let (mut all, mut at) = (Vec::new(), head);
        while !at.is_null() {
            if all.len() == 16 {
                return Err("a chain of more than 16 pages".into());
            }
            all.push(at);
            at = PhysAddr::new(self.word(at)?);
        }
        Ok(all)
    }

    /// Replaces the arena's addresses and page numbers in `bytes` by those that are shown.
    pub(crate) fn relocate(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        // Properties of a device tree are 4-byte aligned.
        while let Some(word) = bytes.get_mut(at..at + size_of::<u64>()) {
            let value = number(word);
            let (flags, pfn) = (value & !PFN_MASK, value & PFN_MASK);
            let addr = PhysAddr::new(pfn.wrapping_mul(PAGE as u64));
            let shown = if value == 0 {
                None
            } else if self.mem.range().contains(PhysAddr::new(value)) {
                Some(self.name(PhysAddr::new(value)).get())
            } else if pfn < 1 << 40 && self.mem.range().contains(addr) {
                Some(flags | (self.name(addr).get() / PAGE as u64))
            } else {
                None
            };
            at += match shown {
                Some(shown) => {
                    word.copy_from_slice(&shown.to_le_bytes());
                    size_of::<u64>()
                }
                None => size_of::<u32>(),
            };
        }
    }

    /// Adds a line per leaf of the tree at `root`: the way to it, and its words that are not 0.
    ///
    /// # Errors
    ///
    /// A node lies outside the arena.
    pub(crate) fn tree(&mut self, root: PhysAddr) -> Result<(), Failure> {
        for (path, leaf) in self.leaves(root)? {
            let way: Vec<_> = (1..=LEVELS).rev().zip(&path).collect();
            let way: Vec<_> = way.iter().map(|(n, at)| format!("{n}[{at}]")).collect();
            let set = leaf.iter().map(|(at, word)| format!("{at}: {word:#x}"));
            let set: Vec<_> = set.collect();
            let set = if set.is_empty() {
                "empty".to_owned()
            } else {
                set.join(", ")
            };
            self.line(format!("{}  leaf {set}", way.join(" ")));
        }
        Ok(())
    }

    /// The keys of the tree at `root` as they stand there: by the bit and the way to it.
    ///
    /// # Errors
    ///
    /// A node lies outside the arena, or what is there is no key.
    pub(crate) fn keys(&self, root: PhysAddr) -> Result<Vec<Key>, Failure> {
        let mut keys = Vec::new();
        for (path, leaf) in self.leaves(root)? {
            let prefix = path.iter().fold(0, |prefix, slot| prefix << 9 | slot);
            for (at, word) in leaf {
                for bit in (0..64).filter(|bit| word >> bit & 1 == 1) {
                    let key = prefix << 15 | at << 6 | bit;
                    keys.push(Key::new(key).ok_or_else(|| format!("{key:#x} is no key"))?);
                }
            }
        }
        Ok(keys)
    }

    /// Adds what the tracker at `root` preserves: the ranges that were named, in that order, as address and
    /// order, and how many others.
    ///
    /// # Errors
    ///
    /// As [`Dump::keys`].
    pub(crate) fn preserved(&mut self, root: PhysAddr) -> Result<(), Failure> {
        let (mut named, mut others) = (Vec::new(), 0u64);
        for key in self.keys(root)? {
            let pfn = key.pfn().get();
            match self.names.named.iter().position(|page| *page == pfn) {
                Some(index) => named.push((index, key)),
                None => others += 1,
            }
        }
        named.sort_unstable();
        let named: Vec<_> = named
            .into_iter()
            .map(|(_, key)| format!("{}/{}", self.name(key.addr()), key.order()))
            .collect();
        let mut line = format!("preserved address/order: {}", named.join(" "));
        if others > 0 {
            let and = if named.is_empty() { "" } else { " and " };
            let _ = write!(line, "{and}{others} not named here");
        }
        self.line(line);
        Ok(())
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    /// The leaves of the tree at `root`, in order.
    fn leaves(&self, root: PhysAddr) -> Result<Vec<Leaf>, Failure> {
        let mut found = Vec::new();
        let mut todo = Vec::from([(Vec::new(), root)]);
        while let Some((path, at)) = todo.pop() {
            let page = self.mem.bytes(at, PAGE)?;
            if path.len() as u64 == u64::from(LEVELS) {
                found.push((path, set_words(&page)));
                continue;
            }
            // The first is taken out first.
            for (slot, below) in set_words(&page).into_iter().rev() {
                let path = path.iter().copied().chain([slot]).collect();
                todo.push((path, PhysAddr::new(below)));
            }
        }
        Ok(found)
    }
}

/// Text of `bytes` up to the zeros at their end, as a string literal has it.
pub(crate) fn text(bytes: &[u8]) -> String {
    let len = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |n| n + 1);
    let text = bytes.get(..len).unwrap_or_default();
    format!("\"{}\"", text.escape_ascii())
}

/// The little-endian number that `bytes` begin with.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |word| u64::from_le_bytes(*word))
}

/// The words of `page` that are not 0, each with its index.
fn set_words(page: &[u8]) -> Vec<(u64, u64)> {
    const ZEROS: [u8; 256] = [0; 256];
    let mut set = Vec::new();
    for (part, bytes) in (0u64..).zip(page.chunks(ZEROS.len())) {
        // Most of a node is: this is quick.
        if *bytes == ZEROS {
            continue;
        }
        let words = (part * 32..).zip(bytes.chunks(size_of::<u64>()));
        set.extend(
            words
                .map(|(at, word)| (at, number(word)))
                .filter(|(_, word)| *word != 0),
        );
    }
    set
}
