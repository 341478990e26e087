//! What the reader says of trees for given inputs: what it takes, and what it refuses.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_mem::{Link, Order, PhysAddr, PhysMem, PhysMemExt, PhysRange};
use kho_radix::{Claims, Key, Leaves, Preserved, Tracker, walk_keys, walk_runs};
use zerocopy::little_endian::U64;

use crate::dump::{Dump, arena};
use crate::edits::{Edit, Edited, Refusal, addr, behind, word};

/// Memory beside the arena, which keys may name: the lowest 4 GiB and the highest 256 MiB.
fn beside() -> Result<[PhysRange; 2], Failure> {
    let low = PhysRange::new(PhysAddr::NULL, 1 << 32);
    let high = PhysRange::new(PhysAddr::new(0xffff_ffff_f000_0000), 1 << 28);
    Ok([low.ok_or("no range")?, high.ok_or("no range")?])
}

/// Where the root's address is read.
const ROOT_AT: PhysAddr = PhysAddr::new(0x7fff_0000);
/// Where edits have their nodes.
const NODES: PhysAddr = PhysAddr::new(0x8000_0000);

/// Where the entry `index` of the table at `at` stands.
fn entry(at: PhysAddr, index: u64) -> PhysAddr {
    behind(at, index * 8)
}

/// A handed tree, and its nodes on the way to the first leaf: of pages 1, 3, 4, 5 and 0x8000.
struct Tree {
    dump: Dump,
    root: PhysAddr,
    level4: PhysAddr,
    level1: PhysAddr,
    // Of the lowest pages, and of those from 0x8000 on.
    leaves: [PhysAddr; 2],
}

impl Tree {
    fn new() -> Result<Self, Failure> {
        let arena = arena()?;
        let mut tracker = Tracker::new(arena.clone())?;
        for pfn in [1, 3, 4, 5, 0x8000] {
            let key = Key::encode(PhysAddr::new(pfn << 12), Order::ZERO);
            tracker.add(key.ok_or("no key")?)?;
        }
        let root = tracker.root();
        tracker.hand_over();
        let dump = Dump::new(arena)?;
        let below = |at, index| Ok::<_, Failure>(PhysAddr::new(dump.word(entry(at, index))?));
        let level4 = below(root, 2)?;
        let level1 = below(below(below(level4, 0)?, 0)?, 0)?;
        let leaves = [below(level1, 0)?, below(level1, 1)?];
        Ok(Self {
            dump,
            root,
            level4,
            level1,
            leaves,
        })
    }

    /// A key more, in nodes of its own.
    fn key(&self, title: &str, key: u64) -> Edit {
        let mut edit = Edit::new(title);
        let mut at = entry(self.root, key >> 51);
        for (node, shift) in [42, 33, 24, 15].into_iter().enumerate() {
            let table = behind(NODES, 4096 * node as u64);
            edit = edit.word(at, table.get());
            at = entry(table, key >> shift & 511);
        }
        let leaf = behind(NODES, 4 * 4096);
        let bit = key & 32767;
        edit.word(at, leaf.get())
            .word(entry(leaf, bit / 64), 1 << (bit % 64))
    }

    /// Edits of all that a tree has.
    fn edits(&self) -> Vec<Edit> {
        let Self {
            root,
            level4,
            level1,
            leaves: [first, second],
            ..
        } = *self;
        Vec::from([
            word("root 0", ROOT_AT, 0),
            addr("root unaligned", ROOT_AT, behind(root, 8)),
            word("root outside memory", ROOT_AT, 0x10_0000_0000),
            addr("root is its own entry 3", entry(root, 3), root),
            addr("level 1: entry 0 is the level 4 table", level1, level4),
            addr(
                "level 1: entry 1 is the first leaf",
                entry(level1, 1),
                first,
            ),
            word("level 1: entry 1 is 0", entry(level1, 1), 0),
            addr(
                "level 1: entry 1 unaligned",
                entry(level1, 1),
                behind(second, 8),
            ),
            word(
                "level 1: entry 1 outside memory",
                entry(level1, 1),
                0x10_0000_0000,
            ),
            addr(
                "level 1: the second leaf at entry 2",
                entry(level1, 1),
                PhysAddr::NULL,
            )
            .word(entry(level1, 2), second.get()),
            addr(
                "level 1: the second leaf at entry 511",
                entry(level1, 1),
                PhysAddr::NULL,
            )
            .word(entry(level1, 511), second.get()),
            addr(
                "level 4: entry 1 is a leaf's page of zeros",
                entry(level4, 1),
                NODES,
            ),
            word("root: entry 4", entry(root, 4), NODES.get()),
            word("root: entry 511", entry(root, 511), NODES.get()),
            word("second leaf empty", second, 0),
            word("second leaf: bits 1, 62, 63", second, 0xc000_0000_0000_0002),
            word("second leaf: its last bit", entry(second, 511), 1 << 63),
            word("first leaf: bit 0", first, 0x3b),
            word("first leaf: all of word 1", entry(first, 1), u64::MAX),
            self.key("key 0", 0),
            self.key("key 1", 1),
            self.key("key 2", 2),
            self.key("key of order 20 at 0", 1 << 32),
            self.key("key of order 19 at 0x80000000", 1 << 33 | 1),
            self.key("key of order 1 at 0x6000", 1 << 51 | 3),
            self.key("key of order 1 at 0x4000", 1 << 51 | 2),
            self.key("key of order 10 at 0x400000", 1 << 42 | 1),
            self.key("key of order 11 at 0x800000", 1 << 41 | 1),
            self.key("key of the last page of the low memory", 1 << 51 | 0x7_ffff),
            self.key("key of the page after it", 1 << 51 | 0x8_0000),
            self.key("key of the last page of all", (1 << 53) - 1),
            self.key("key that is an edit's node", 1 << 51 | 0x4_0000),
        ])
    }
}

fn root(mem: &dyn PhysMem) -> Result<Link, Refusal> {
    Ok(Link {
        to: PhysAddr::new(mem.read::<U64>(ROOT_AT)?.get()),
        at: ROOT_AT,
        name: Preserved::ROOT,
    })
}

/// Keys, those of one order in a row as one.
fn show<'k>(keys: impl IntoIterator<Item = &'k (PhysAddr, u8)>) -> String {
    let mut runs: Vec<(u64, PhysAddr, u8)> = Vec::new();
    for (addr, order) in keys {
        let next = runs.last().and_then(|(count, first, of)| {
            let len = count.checked_shl(12 + u32::from(*of))?;
            (of == order).then(|| behind(*first, len))
        });
        match runs.last_mut() {
            Some((count, ..)) if next == Some(*addr) => *count += 1,
            _ => runs.push((1, *addr, *order)),
        }
    }
    let runs = runs.iter().map(|(count, addr, order)| match count {
        1 => format!("{addr}/{order}"),
        _ => format!("{count} of {addr}/{order}"),
    });
    runs.collect::<Vec<_>>().join(" ")
}

/// What is preserved.
pub(crate) fn preserved() -> Result<Text, Failure> {
    let mut tree = Tree::new()?;
    let (edits, beside) = (tree.edits(), beside()?);
    let first = addr("as written", ROOT_AT, tree.root);
    tree.dump
        .readings_beside(&beside, &first, &edits, |mem, _| {
            let preserved = Preserved::read(mem, root(mem)?)?;
            let runs = preserved.runs().iter();
            let runs: Vec<_> = runs
                .map(|run| format!("{} of {}/{}", run.keys, run.addr(), run.order))
                .collect();
            let (keys, pages) = (preserved.keys(), preserved.pages());
            let nodes = preserved.nodes().len();
            Ok(format!(
                "{}\n{keys} keys, {pages} pages, {nodes} nodes",
                runs.join(", ")
            ))
        })?;
    Ok(tree.dump.finish().into())
}

/// What a walk visits, which looks at the tree alone: by the key, by the run, and leaf by leaf.
pub(crate) fn walked() -> Result<Text, Failure> {
    let mut tree = Tree::new()?;
    let (mut edits, beside) = (tree.edits(), beside()?);
    // How tables are walked is one thing for all walks.
    edits.retain(|edit| {
        let is_key = edit.has("key 0") || edit.has("key 1") || edit.has("last page of all");
        is_key || edit.has("second leaf") || edit.has("first leaf:")
    });
    let first = addr("as written", ROOT_AT, tree.root);
    tree.dump
        .readings_beside(&beside, &first, &edits, |mem, _| {
            let root = root(mem)?;
            let of = |key: Key| (key.addr(), key.order().get());
            let (mut keys, mut runs, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
            let by_key = walk_keys(mem, root, |key| keys.push(of(key)));
            let by_run = walk_runs(mem, root, |run| {
                let each = (0..run.keys).map(|key| run.pfn.get() + (key << run.order.get()));
                runs.extend(each.map(|pfn| (PhysAddr::new(pfn << 12), run.order.get())));
            });
            let by_leaf = Leaves::read(mem, root)
                .and_then(|all| all.keys(0..all.len(), |key| leaves.push(of(key))));
            // What is damaged is found before any key is visited, by the key or by the run.
            let mut parts = Vec::new();
            let by_part = Leaves::read(mem, root).map(|all| {
                all.runs(0..all.len(), |run| {
                    let each = (0..run.keys).map(|key| run.pfn.get() + (key << run.order.get()));
                    parts.extend(each.map(|pfn| (PhysAddr::new(pfn << 12), run.order.get())));
                })
            });
            let by_part = match by_part {
                Ok(Err(damage)) => return Ok(format!("read, then {}", Refusal::from(damage))),
                Ok(Ok(count)) => Ok(count),
                Err(damage) => Err(damage),
            };
            let all = [
                (by_key, keys),
                (by_run, runs),
                (by_leaf, leaves),
                (by_part, parts),
            ];
            let all = all.map(|(said, keys)| {
                let said = said.map(|count| format!("{} ({count})", show(&keys)));
                said.map_err(Refusal::from)
            });
            if let [key, run, leaf, part] = &all
                && (key != run || key != leaf || key != part)
            {
                return Ok(format!(
                    "by key {key:?}\nby run {run:?}\nby leaf {leaf:?}\nby part {part:?}"
                ));
            }
            let [all, ..] = all;
            all
        })?;
    Ok(tree.dump.finish().into())
}

/// What is claimed, in this order: how, where, and how much.
const CLAIMS: &[(&str, u64, u64)] = &[
    ("page", 0x1000, 1),
    ("page again", 0x1000, 1),
    ("page", 0, 1),
    ("page", 0x1800, 1),
    ("page", 0x2000, 1),
    ("page", 0x4000, 1),
    ("folio", 0x5000, 1),
    ("folio", 0x4000, 1),
    ("bytes", 0x4000, 1),
    ("folio", 0x40_0000, 1),
    ("folio", 0x80_0000, 1),
    ("bytes", 0x80_0000, 0x80_0000),
    ("bytes", 0x1_0000, 0x6001),
    ("bytes", 0x1_0000, u64::MAX),
    ("pages", 0x1_0000, 3),
    ("pages", 0x1_0000, 7),
    ("pages", 0x1_0000, 1 << 52),
    ("pages", 0x1_0000, 5),
    ("pages", 0x1_0000, 6),
    ("bytes", 0x1_5000, 0),
    ("page", 0x1_5000, 1),
];

/// Which claims on preserved memory are granted.
pub(crate) fn claimed() -> Result<Text, Failure> {
    let arena = arena()?;
    let mut tracker = Tracker::new(arena.clone())?;
    for (addr, order) in [
        (0x1000, 0),
        (0x4000, 2),
        (0x1_0000, 2),
        (0x1_4000, 0),
        (0x1_5000, 0),
        (0x40_0000, 10),
        (0x80_0000, 11),
    ] {
        let order = Order::new(order).ok_or("no order")?;
        tracker.add(Key::encode(PhysAddr::new(addr), order).ok_or("no key")?)?;
    }
    let root = tracker.root();
    tracker.hand_over();
    let handed = arena.into_handed().map_err(|_| "still shared")?;
    let beside = beside()?;
    let mem = Edited::new(&handed, &beside);
    let preserved = Preserved::read(&mem, Link::given(root, "root"))?;
    let mut claims = Claims::new(&preserved);
    let mut text = String::new();
    for (how, at, count) in CLAIMS {
        let before = claims.count();
        let link = |name| Link {
            to: PhysAddr::new(*at),
            at: PhysAddr::NULL,
            name,
        };
        let said = match *how {
            "bytes" => claims.bytes(link("bytes"), *count),
            "pages" => claims.pages(link("pages"), *count),
            "folio" => claims.folio(link("folio")).map(drop),
            _ => claims.page(link("page")).map(drop),
        };
        let claimed = claims.count() - before;
        let said = match said {
            Ok(()) => format!("{claimed} claimed"),
            Err(damage) => format!("{}, {claimed} claimed", damage.defect().id()),
        };
        let _ = writeln!(text, "{how} {at:#x}, {count:#x}: {said}");
    }
    let (ranges, pages) = claims.unclaimed();
    let _ = writeln!(text, "left: {ranges} ranges, {pages} pages");
    for at in [
        0, 0x1000, 0x1fff, 0x2000, 0x3fff, 0x7fff, 0x8000, 0xff_ffff, 0x100_0000,
    ] {
        let addr = PhysAddr::new(at);
        let found = preserved
            .lookup(addr)
            .map(|folio| (folio.addr(), folio.order.get()));
        let after = PhysRange::new(addr, 0x8000).and_then(|range| preserved.overlap(range));
        let after = after.map(|folio| (folio.addr(), folio.order.get()));
        let (found, after) = (show(&found), show(&after));
        let _ = writeln!(
            text,
            "at {addr}: [{found}], in 0x8000 bytes from there: [{after}]"
        );
    }
    for len in [0x2000, 0x2001] {
        let range = PhysRange::new(PhysAddr::new(0x2000), len).ok_or("no range")?;
        let found = preserved.overlap(range);
        let found = found.map(|folio| (folio.addr(), folio.order.get()));
        let _ = writeln!(text, "in {range}: [{}]", show(&found));
    }
    for (at, len) in [
        (0x1_0000, 0x6000),
        (0x1_0000, 0x6001),
        (0xf000, 0x2000),
        (0x2000, 0),
    ] {
        let range = PhysRange::new(PhysAddr::new(at), len).ok_or("no range")?;
        let _ = writeln!(text, "all of {range}: {}", preserved.contains(range));
    }
    Ok(text.into())
}
