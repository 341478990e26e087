//! Trees of 16 and 64 KiB pages, as Linux writes them on arm64: made by hand from the format's description and
//! from captures, and read.

use std::fmt::Write as _;

use kho_abi_check::{Failure, Text};
use kho_mem::{Damage, Link, PageSize, PhysAddr};
use kho_radix::{Key, Root, walk_keys};
use kho_testkit::Memory;

use crate::edits::Refusal;

/// An address, an order that counts pages, and where that key stands: its number, the table indices from the
/// root on, the bit in the leaf.
type Row = (u64, u8, u64, &'static [u64], u64);

// By hand: key = (1 << (64 - shift - order)) | (pa >> (shift + order)), of which a leaf takes shift + 3 bits and
// a table shift - 3.
const ROWS_16K: &[Row] = &[
    (0x4000, 0, 0x0004_0000_0000_0001, &[1, 0, 0, 0], 1),
    (0x4000_0000, 0, 0x0004_0000_0001_0000, &[1, 0, 0, 0], 65_536),
    (0x8000_0000, 11, 0x0000_0080_0000_0040, &[0, 1, 0, 0], 64),
    (
        0xffff_ffff_ffff_c000,
        0,
        0x0007_ffff_ffff_ffff,
        &[1, 2047, 2047, 2047],
        131_071,
    ),
    (0x4220_4000, 0, 0x0004_0000_0001_0881, &[1, 0, 0, 0], 67_713),
    (0x4250_0000, 4, 0x0000_4000_0000_1094, &[0, 128, 0, 0], 4244),
    (0x4600_0000, 11, 0x0000_0080_0000_0023, &[0, 1, 0, 0], 35),
];
const ROWS_64K: &[Row] = &[
    (0x1_0000, 0, 0x0001_0000_0000_0001, &[8, 0, 0], 1),
    (0x4000_0000, 0, 0x0001_0000_0000_4000, &[8, 0, 0], 16_384),
    (0x8000_0000, 13, 0x0000_0008_0000_0004, &[0, 8, 0], 4),
    (
        0xffff_ffff_ffff_0000,
        0,
        0x0001_ffff_ffff_ffff,
        &[15, 8191, 8191],
        524_287,
    ),
    (0x1_006d_0000, 0, 0x0001_0000_0001_006d, &[8, 0, 0], 65_645),
    (0x1_7f90_0000, 3, 0x0000_2000_0000_2ff2, &[1, 0, 0], 12_274),
    (0x5000_0000, 11, 0x0000_0020_0000_000a, &[0, 32, 0], 10),
    (0x1_4000_0000, 13, 0x0000_0008_0000_000a, &[0, 8, 0], 10),
];

/// A tree of one path.
struct Tree {
    mem: Memory,
    size: PageSize,
    leaf: u64,
}

/// The address of the root node; each node below it lies behind the one above.
const ROOT: u64 = 0x1000_0000;

impl Tree {
    /// The tree in which the path `slots` leads to a leaf with the bit `bit`.
    fn new(size: PageSize, slots: &[u64], bit: u64) -> Self {
        let (mut mem, mut node) = (Memory::new(), ROOT);
        mem.add(node, size.bytes());
        for slot in slots {
            let below = node + size.bytes();
            mem.add(below, size.bytes());
            mem.set_u64(node + 8 * slot, below);
            node = below;
        }
        mem.set_u64(node + bit / 64 * 8, 1 << (bit % 64));
        let leaf = node;
        Self { mem, size, leaf }
    }

    fn root(&self) -> Root {
        Root::new(Link::given(PhysAddr::new(ROOT), "root"), self.size)
    }

    fn keys(&self) -> Result<Vec<Key>, Damage> {
        let mut keys = Vec::new();
        walk_keys(&self.mem, self.root(), |key| keys.push(key))?;
        Ok(keys)
    }

    /// The keys, each as address and order, and whether its page is found from the address.
    fn read(&self) -> String {
        let keys = match self.keys() {
            Ok(keys) => keys,
            Err(damage) => return Refusal::from(damage).to_string(),
        };
        let keys = keys.iter().map(|key| {
            let order = self.size.pages_of(key.order());
            let order = order.map_or_else(|| "none".to_owned(), |order| order.to_string());
            let holds = self.root().holds(&self.mem, key.addr());
            let found = if holds { "found" } else { "not found" };
            format!("{:#018x}, {}/{order}, {found}", key.get(), key.addr())
        });
        keys.collect::<Vec<_>>().join("; ")
    }
}

pub(crate) fn keys_16k() -> Result<Text, Failure> {
    Ok(keys(PageSize::K16, ROWS_16K))
}

pub(crate) fn keys_64k() -> Result<Text, Failure> {
    Ok(keys(PageSize::K64, ROWS_64K))
}

/// What is read where the rows say that keys stand.
fn keys(size: PageSize, rows: &[Row]) -> Text {
    let mut text =
        String::from("table indices from the root on, bit in the leaf: key, address/order\n");
    for (.., slots, bit) in rows {
        let read = Tree::new(size, slots, *bit).read();
        // Writing to a String does not fail.
        let _ = writeln!(text, "{slots:?} {bit}: {read}");
    }
    text.into()
}

pub(crate) fn refused_16k() -> Result<Text, Failure> {
    Ok(refused(PageSize::K16, [2, 2047], &[0; 4]))
}

pub(crate) fn refused_64k() -> Result<Text, Failure> {
    Ok(refused(PageSize::K64, [16, 8191], &[0; 3]))
}

/// What is refused: root entries of longer keys, key 0, and nodes that are no pages of the size.
fn refused(size: PageSize, entries: [u64; 2], zero: &[u64]) -> Text {
    let mut text = String::new();
    let mut say = |what: &str, tree: &Tree| {
        let _ = writeln!(text, "{what}: {}", tree.read());
    };
    for entry in entries {
        let mut slots = zero.to_vec();
        slots.splice(..1, [entry]);
        say(&format!("root: entry {entry}"), &Tree::new(size, &slots, 1));
    }
    say("key 0", &Tree::new(size, zero, 0));
    say("key 1", &Tree::new(size, zero, 1));
    let last = 8 * size.bytes() - 1;
    say("the leaf's last bit", &Tree::new(size, zero, last));
    let less: Vec<_> = zero.iter().skip(1).copied().collect();
    say("a level less", &Tree::new(size, &less, 1));
    let mut tree = Tree::new(size, zero, 1);
    let above = tree.leaf - size.bytes();
    tree.mem.set_u64(above, tree.leaf + 4096);
    say("a leaf at a multiple of 4 KiB", &tree);
    let mut tree = Tree::new(size, zero, 1);
    tree.mem.remove(tree.leaf + size.bytes() - 4096);
    say("a leaf without its last 4 KiB", &tree);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_read_as_it_was_computed_by_hand() {
        for (size, rows) in [(PageSize::K16, ROWS_16K), (PageSize::K64, ROWS_64K)] {
            for (addr, order, key, slots, bit) in rows {
                let keys = Tree::new(size, slots, *bit).keys();
                let keys = keys.map(|keys| {
                    let of = |key: &Key| (key.addr().get(), size.pages_of(key.order()), key.get());
                    keys.iter().map(of).collect::<Vec<_>>()
                });
                assert_eq!(keys.ok(), Some(vec![(*addr, Some(*order), *key)]));
            }
        }
    }
}
