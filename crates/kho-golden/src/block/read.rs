//! What the reader says of sets for given inputs: what it takes, and what it refuses.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_block::{BlockSet, Format, OutgoingBlockSet};
use kho_compat::Announced;
use kho_core::Preserver;
use kho_mem::{
    Chunk, Damage, Link, Located, MemError, MemErrorKind, Order, PhysAddr, PhysMem, PhysRange,
};
use kho_radix::{Claims, KeyRun, Preserved, Tracker};
use zerocopy::little_endian::U64;

use crate::dump::{Dump, Names, arena};
use crate::edits::{Edit, Edited, Reading, Refusal, addr, behind, bytes, word};

/// Three of them fill a block of version 1. The first byte is all that they are.
type Entry = [[u8; 16]; 85];

/// Where the head's address is read: a page beside the arena.
const HEAD_AT: PhysAddr = PhysAddr::new(0x7000_0000);

/// A handed set of 7 entries in three blocks, and memory that is no part of it.
struct Set {
    dump: Dump,
    preserved: Preserved,
    blocks: [PhysAddr; 3],
    // A page of somebody else, a folio of order 1, a page that is not preserved.
    other: PhysAddr,
    large: PhysAddr,
    node: PhysAddr,
}

impl Set {
    fn new() -> Result<Self, Failure> {
        let preserver = Preserver::new(arena()?)?;
        let mut set = OutgoingBlockSet::<Entry>::with_format(preserver.clone(), Format::V1)?;
        set.grow(7)?;
        for number in 1..=7 {
            *set.reserve_entry()? = [[number; 16]; 85];
        }
        let head = set.head();
        set.hand_over();
        let other = preserver.alloc_preserve(1)?;
        let order = Order::new(1).ok_or("no order")?;
        let large = preserver.arena().alloc_zeroed(order)?;
        let large = preserver.preserve_folio(large)?;
        let root = preserver.root();
        let (other_at, large_at) = (other.addr(), large.addr());
        other.hand_over();
        large.hand_over();
        let dump = Dump::new(preserver.hand_over().map_err(|_| "still shared")?)?;
        let blocks = dump.chain(head)?;
        Ok(Self {
            preserved: Preserved::read(dump.mem(), Link::given(root, "root"))?,
            blocks: <[_; 3]>::try_from(blocks).map_err(|_| "not three blocks")?,
            other: other_at,
            large: large_at,
            node: root,
            dump,
        })
    }

    /// Adds what is read of it, and of it with each of `edits`.
    fn readings(
        &mut self,
        edits: &[Edit],
        read: fn(&BlockSet<'_, Entry>, &mut Names) -> Reading,
    ) -> Result<(), Failure> {
        let beside = PhysRange::new(HEAD_AT, 4096).ok_or("no range")?;
        let [head, ..] = self.blocks;
        let first = addr("as written", HEAD_AT, head);
        let (preserved, other) = (&self.preserved, self.other);
        self.dump
            .readings_beside(&[beside], &first, edits, |mem, names| {
                let mut reading = kho_radix::Reading::new(mem, Claims::new(preserved));
                reading.page(Link::given(other, "somebody else's page"))?;
                let head = reading.follow::<U64>(Link::given(HEAD_AT, "head"))?;
                let set = BlockSet::read(&mut reading, head.link(|head| head, "set"));
                // What is refused is not claimed.
                if set.is_err() && reading.claims().count() != 1 {
                    return Err(Refusal::new("and stays claimed"));
                }
                read(&set?, names)
            })
    }
}

/// The link to a set at `to`, as it stands at [`HEAD_AT`].
const fn head(to: PhysAddr) -> Link {
    Link {
        to,
        at: HEAD_AT,
        name: "set",
    }
}

/// The entries: each by its address and its first byte.
fn entries(set: &BlockSet<'_, Entry>, names: &mut Names) -> Reading {
    let mut shown = Vec::new();
    for entry in set.iter() {
        let entry = entry?;
        let [[first, ..], ..] = *entry;
        shown.push(format!("{}: {first}", names.name(entry.at())));
    }
    let (count, blocks) = (set.len(), set.blocks());
    Ok(format!(
        "{count} entries, {blocks} blocks\n{}",
        shown.join(", ")
    ))
}

/// A set of three blocks, and what is refused of them.
pub(crate) fn sets() -> Result<Text, Failure> {
    let mut set = Set::new()?;
    let [first, second, third] = set.blocks;
    let count = |at: PhysAddr| behind(at, 8);
    let mut edits = Vec::from([
        word("head: 0", HEAD_AT, 0),
        addr("head: block 2", HEAD_AT, third),
    ]);
    for (place, at) in [("head", HEAD_AT), ("next of block 0", first)] {
        let to = |what, to| addr(format!("{place}: {what}"), at, to);
        edits.extend([
            to("unaligned", behind(second, 8)),
            to("outside memory", PhysAddr::new(0x10_0000_0000)),
            to("a page that is not preserved", set.node),
            to("a page of another", set.other),
            to("a folio of order 1", set.large),
            to(
                "the second page of a folio of order 1",
                behind(set.large, 4096),
            ),
        ]);
    }
    edits.extend([
        word("next of block 0: 0", first, 0),
        addr("next of block 0: block 0", first, first),
        addr("next of block 0: block 2", first, third),
        addr("next of block 1: block 0", second, first),
        addr("next of block 2: block 1", third, second),
        addr("next of block 2: block 1, block 2 full", third, second).word(count(third), 3),
        word("count of block 0: 0", count(first), 0),
        word("count of block 0: 2", count(first), 2),
        word("count of block 0: 4", count(first), 4),
        word("count of block 2: 0", count(third), 0),
        word("count of block 2: 3", count(third), 3),
        word("count of block 2: 4", count(third), 4),
        word("count of block 2: 2^32 + 1", count(third), 1 << 32 | 1),
        word("count of block 2: 2^64 - 1", count(third), u64::MAX),
    ]);
    set.readings(&edits, entries)?;
    Ok(set.dump.finish().into())
}

/// Entries by their index, and forth and back.
pub(crate) fn places() -> Result<Text, Failure> {
    let mut set = Set::new()?;
    set.readings(&[], |set, _| {
        let mut text = String::new();
        let mut say = |what: &str, entry: Option<Result<Located<Entry>, Damage>>| {
            let entry = entry.transpose()?.map(Located::into_inner);
            let entry = entry.map_or("none".into(), |[[first, ..], ..]| format!("{first}"));
            let _ = writeln!(text, "{what}: {entry}");
            Ok::<_, Refusal>(())
        };
        for index in [0, 2, 3, 6, 7] {
            say(&format!("entry {index}"), set.get(index))?;
        }
        let mut cursor = set.cursor();
        for _ in 0..3 {
            say("forth", cursor.read_entry())?;
        }
        for _ in 0..4 {
            say("back", cursor.prev())?;
        }
        Ok(text)
    })?;
    Ok(set.dump.finish().into())
}

/// Entries of other sizes than were written.
pub(crate) fn sizes() -> Result<Text, Failure> {
    let set = Set::new()?;
    let [.., last] = set.blocks;
    fn read<T>(set: &Set, at: PhysAddr) -> String
    where
        T: zerocopy::FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + zerocopy::Unaligned,
    {
        let claims = Claims::new(&set.preserved);
        let mut reading = kho_radix::Reading::new(set.dump.mem(), claims);
        let set = BlockSet::<T>::read(&mut reading, head(at));
        set.map_or_else(
            |damage| String::from(damage.defect().id()),
            |set| format!("{} entries", set.len()),
        )
    }
    let mut text = String::new();
    let [first, ..] = set.blocks;
    for (size, said) in [
        (1, read::<u8>(&set, last)),
        (4080, read::<[u8; 4080]>(&set, last)),
        (4081, read::<[u8; 4081]>(&set, last)),
        (1361, read::<[u8; 1361]>(&set, first)),
        (1360, read::<[u8; 1360]>(&set, first)),
        (1020, read::<[u8; 1020]>(&set, first)),
    ] {
        let _ = writeln!(text, "{size} bytes: {said}");
    }
    Ok(text.into())
}

/// A set of one entry in a block of version 2.
pub(crate) fn second() -> Result<Text, Failure> {
    let format = Format::of(2).ok_or("version 2 is not built")?;
    let preserver = Preserver::new(arena()?)?;
    let mut set = OutgoingBlockSet::<U64>::with_format(preserver.clone(), format)?;
    set.grow(1)?;
    set.reserve_entry()?.set(7);
    let (at, root) = (set.head(), preserver.root());
    set.hand_over();
    let mut dump = Dump::new(preserver.hand_over().map_err(|_| "still shared")?)?;
    let preserved = Preserved::read(dump.mem(), Link::given(root, "root"))?;
    let field = |name: &str, offset, value: u32| {
        let title = format!("{name}: {value}");
        bytes(title, behind(at, offset), &value.to_le_bytes())
    };
    let edits = [
        field("entry_size", 16, 0),
        field("entry_size", 16, 4),
        field("entry_size", 16, 16),
        field("reserved", 20, 1),
        field("count", 8, 0),
        field("count", 8, 509),
        field("count", 8, 510),
    ];
    dump.readings(&edits, |mem, _| {
        let reading = kho_radix::Reading::new(mem, Claims::new(&preserved));
        let mut reading = reading.with(Announced::listed([("block".into(), 2)]));
        let set = BlockSet::<U64>::read(&mut reading, Link::given(at, "set"))?;
        let mut entries = set.iter();
        let first = entries.next().ok_or_else(|| Refusal::new("no entry"))??;
        Ok(format!("{} entries, the first {}", set.len(), first.get()))
    })?;
    Ok(dump.finish().into())
}

/// Which versions are known.
pub(crate) fn versions() -> Result<Text, Failure> {
    let mut text = String::new();
    for version in [0, 1, 9] {
        let format = Format::of(version);
        let known = format.map_or("none".into(), |format| format!("{format:?}"));
        let _ = writeln!(text, "{version}: {known}");
    }
    Ok(text.into())
}

/// Blocks of one entry in a row, each of which leads to the next one: their headers alone.
struct Long(Vec<[u8; 16]>);

const LONG: PhysAddr = PhysAddr::new(0x1000_0000);

impl PhysMem for Long {
    fn chunk(&self, addr: PhysAddr, len: usize) -> Result<Chunk<'_>, MemError> {
        let index = usize::try_from(addr.get().wrapping_sub(LONG.get()) / 4096).ok();
        let header = index.and_then(|index| self.0.get(index)?.get(..len));
        header.map(Chunk::Bytes).ok_or(MemError {
            addr,
            len: len as u64,
            kind: MemErrorKind::Outside,
        })
    }

    fn region(&self, _: PhysAddr) -> Option<PhysRange> {
        PhysRange::new(LONG, self.0.len() as u64 * 4096)
    }
}

/// The longest chain.
pub(crate) fn longest() -> Result<Text, Failure> {
    let arena = arena()?;
    let mut tracker = Tracker::new(arena.clone())?;
    tracker.add_folios(KeyRun {
        pfn: LONG.pfn(),
        keys: 10_001,
        order: Order::ZERO,
    })?;
    let root = tracker.root();
    tracker.hand_over();
    // The next one's address, and a count of 1.
    let header = |next: u64| u128::from(behind(LONG, next * 4096).get()) | 1 << 64;
    let headers = (1..=10_001).map(|next| header(next).to_le_bytes());
    let (beside, handed) = (Long(headers.collect()), Dump::new(arena)?);
    let range = beside.region(LONG).ok_or("no range")?;
    let mem = Edited::new(handed.mem(), std::slice::from_ref(&range));
    let preserved = Preserved::read(&mem, Link::given(root, "root"))?;
    let mut reading = kho_radix::Reading::new(&beside, Claims::new(&preserved));
    let set = BlockSet::<[u8; 4080]>::read(&mut reading, head(LONG));
    let damage = set.err().ok_or("it was read")?;
    let (defect, at) = (
        damage.defect().id(),
        damage.at().get().wrapping_sub(LONG.get()) / 4096,
    );
    Ok(Text::from(format!(
        "{defect}, where block {at} leads to another"
    )))
}
