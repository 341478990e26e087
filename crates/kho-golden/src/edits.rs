//! What readers say of handed memory, as it was written and with one edit each, as the text of a
//! vector.
//!
//! A reading is text of all that the reader says. A refusal is the defect's name, and the field's where
//! that is a name: its words are for people, and may change.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Debug, Display};

use kho_abi_check::Failure;
use kho_mem::{Chunk, Damage, Handed, MemError, MemErrorKind, PhysAddr, PhysMem, PhysRange};

use crate::dump::{Dump, Names};

// The format's number, written once more: a dump must not change with the constant.
const PAGE: u64 = 4096;

/// What a reader says: what it read, or why it refuses.
pub(crate) type Reading = Result<String, Refusal>;

/// Why a reader refuses: names that stay when words change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal(String);

impl Refusal {
    /// A refusal that is no damage.
    pub(crate) fn new(name: impl Display) -> Self {
        Self(format!("{name}"))
    }
}

/// Fields whose names are one word. Any other word that a reader has for what is damaged is no name.
const FIELDS: [&str; 14] = [
    "compatible",
    "count",
    "flags",
    "index",
    "name",
    "order",
    "pfn",
    "pgcnt",
    "pos",
    "reserved",
    "seals",
    "size",
    "token",
    "version",
];

impl From<Damage> for Refusal {
    fn from(damage: Damage) -> Self {
        let (defect, subject) = (damage.defect().id(), damage.subject());
        let what = subject.rsplit(": ").next().unwrap_or_default();
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let is_field = what.contains('_') && what.bytes().all(is_word);
        Self(if is_field || FIELDS.contains(&what) {
            format!("{defect} ({what})")
        } else {
            defect.to_owned()
        })
    }
}

impl Error for Refusal {}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

impl From<MemError> for Refusal {
    fn from(error: MemError) -> Self {
        error.damage("memory", error.addr).into()
    }
}

/// The name of an error: of its variant, without what it says.
pub(crate) fn kind(error: &impl Debug) -> String {
    let mut text = format!("{error:?}");
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric());
    text.truncate(end.unwrap_or(text.len()));
    text
}

/// A change of memory: bytes that are put somewhere.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    title: String,
    puts: Vec<(PhysAddr, Vec<u8>)>,
}

impl Edit {
    /// An edit that changes nothing yet.
    pub(crate) fn new(title: impl Display) -> Self {
        Self {
            title: format!("{title}"),
            puts: Vec::new(),
        }
    }

    /// Whether `words` stand in its title.
    pub(crate) fn has(&self, words: &str) -> bool {
        self.title.contains(words)
    }

    /// Puts `bytes` at `at` as well.
    pub(crate) fn bytes(mut self, at: PhysAddr, bytes: &[u8]) -> Self {
        self.puts.push((at, bytes.to_vec()));
        self
    }

    /// Puts the little-endian number `value` at `at` as well.
    pub(crate) fn word(self, at: PhysAddr, value: u64) -> Self {
        self.bytes(at, &value.to_le_bytes())
    }
}

/// The edit that puts `bytes` at `at`.
pub(crate) fn bytes(title: impl Display, at: PhysAddr, bytes: &[u8]) -> Edit {
    Edit::new(title).bytes(at, bytes)
}

/// The edit that puts the little-endian number `value` at `at`.
pub(crate) fn word(title: impl Display, at: PhysAddr, value: u64) -> Edit {
    Edit::new(title).word(at, value)
}

/// The edit that puts the address `to` at `at`.
pub(crate) fn addr(title: impl Display, at: PhysAddr, to: PhysAddr) -> Edit {
    word(title, at, to.get())
}

/// The address `offset` bytes behind `addr`.
pub(crate) const fn behind(addr: PhysAddr, offset: u64) -> PhysAddr {
    PhysAddr::new(addr.get().wrapping_add(offset))
}

/// Handed memory with edits. The memory itself stays as it is.
pub(crate) struct Edited<'m> {
    mem: &'m Handed,
    // Of which nothing is stored: it is zero.
    beside: &'m [PhysRange],
    // Pages that were written to, by number.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl<'m> Edited<'m> {
    /// `mem` without an edit, and memory of zeros beside it.
    pub(crate) const fn new(mem: &'m Handed, beside: &'m [PhysRange]) -> Self {
        Self {
            mem,
            beside,
            pages: BTreeMap::new(),
        }
    }

    /// Makes `edit`.
    ///
    /// # Errors
    ///
    /// It is outside the memory, or goes over a page's end.
    pub(crate) fn make(&mut self, edit: &Edit) -> Result<(), Failure> {
        for (at, bytes) in &edit.puts {
            let number = at.get() / PAGE;
            if !self.pages.contains_key(&number) {
                let page = self.copy(PhysAddr::new(number * PAGE))?;
                self.pages.insert(number, page);
            }
            let from = usize::try_from(at.get() % PAGE)?;
            let page = self.pages.get_mut(&number);
            let room = page.and_then(|page| page.get_mut(from..from + bytes.len()));
            let room = room.ok_or_else(|| format!("{}: over the end of a page", edit.title))?;
            room.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn copy(&self, at: PhysAddr) -> Result<Vec<u8>, Failure> {
        let mut page = vec![0; usize::try_from(PAGE)?];
        if let Chunk::Bytes(stored) = self.stored(at, page.len())? {
            let room = page.get_mut(..stored.len()).ok_or("more than a page")?;
            room.copy_from_slice(stored);
        }
        Ok(page)
    }

    /// What is there without edits.
    fn stored(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        let mut beside = self.beside.iter();
        let Some(range) = beside.find(|range| range.contains(addr)) else {
            return self.mem.chunk(addr, len);
        };
        let left = range.end() - u128::from(addr.get());
        Ok(Chunk::Zeros(usize::try_from(left).unwrap_or(len).min(len)))
    }
}

impl PhysMem for Edited<'_> {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        let outside = MemError {
            addr,
            len: len as u64,
            kind: MemErrorKind::Outside,
        };
        let number = addr.get() / PAGE;
        let next = self.pages.range(number..).next();
        let Some((next, page)) = next else {
            return self.stored(addr, len);
        };
        if *next != number {
            let left = next.wrapping_mul(PAGE).wrapping_sub(addr.get());
            return self.stored(addr, usize::try_from(left).unwrap_or(len).min(len));
        }
        let from = usize::try_from(addr.get() % PAGE).map_err(|_| outside)?;
        let rest = page.get(from..).ok_or(outside)?;
        Ok(Chunk::Bytes(rest.get(..len).unwrap_or(rest)))
    }

    fn region(&self, from: PhysAddr) -> Option<PhysRange> {
        let beside = self.beside.iter().copied();
        let all = beside.chain(self.mem.region(from));
        let above = all.filter(|range| range.end() > u128::from(from.get()));
        above.min_by_key(PhysRange::start)
    }
}

impl Dump {
    /// Adds what `read` says of the memory: all of it as it was written, and a line per edit.
    ///
    /// # Errors
    ///
    /// What was written is refused, or an edit can not be made.
    pub(crate) fn readings(
        &mut self,
        edits: &[Edit],
        read: impl FnMut(&dyn PhysMem, &mut Names) -> Reading,
    ) -> Result<(), Failure> {
        self.readings_beside(&[], &Edit::new("as written"), edits, read)
    }

    /// As [`Dump::readings`], with memory of zeros beside what was handed over, and an edit that is always
    /// made first.
    ///
    /// # Errors
    ///
    /// As [`Dump::readings`].
    pub(crate) fn readings_beside(
        &mut self,
        beside: &[PhysRange],
        first: &Edit,
        edits: &[Edit],
        mut read: impl FnMut(&dyn PhysMem, &mut Names) -> Reading,
    ) -> Result<(), Failure> {
        let (mem, names, out) = self.parts();
        let mut say = |line: String| {
            out.push_str(&line);
            out.push('\n');
        };
        let mut edited = Edited::new(mem, beside);
        edited.make(first)?;
        let written = read(&edited, names);
        let written = written.map_err(|refusal| format!("{}: {refusal}", first.title))?;
        say(format!("{}:", first.title));
        for line in written.lines() {
            say(format!("  {line}"));
        }
        for edit in edits {
            let mut edited = Edited::new(mem, beside);
            edited.make(first)?;
            edited.make(edit)?;
            let said = match read(&edited, names) {
                Ok(text) => differs(&written, &text),
                Err(refusal) => format!("{refusal}"),
            };
            say(format!("{}: {said}", edit.title));
        }
        Ok(())
    }
}

/// What `text` says that `written` does not; or what it says no more.
fn differs(written: &str, text: &str) -> String {
    if written == text {
        return "read, nothing differs".to_owned();
    }
    let without = |of: &str, other: &str| -> Vec<String> {
        let lines = of
            .lines()
            .filter(|line| !other.lines().any(|old| old == *line));
        lines.map(|line| line.trim().to_owned()).collect()
    };
    let new = without(text, written);
    if !new.is_empty() {
        return format!("read: {}", new.join("; "));
    }
    let gone = without(written, text);
    if !gone.is_empty() {
        return format!("read, without: {}", gone.join("; "));
    }
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    format!("read in another order: {}", lines.join("; "))
}
