//! The tracker: its nodes and its keys.

use kho_testkit::{Anatomy, Builder, Memory, prop};

use crate::SMALL;

/// Tests of one damage at each level from 0 to the given one.
macro_rules! at_levels {
    (5, $damage:ident, $expect:expr) => {
        at_levels!($damage, $expect, level_0 0 level_1 1 level_2 2 level_3 3 level_4 4 level_5 5);
    };
    (4, $damage:ident, $expect:expr) => {
        at_levels!($damage, $expect, level_0 0 level_1 1 level_2 2 level_3 3 level_4 4);
    };
    (3, $damage:ident, $expect:expr) => {
        at_levels!($damage, $expect, level_0 0 level_1 1 level_2 2 level_3 3);
    };
    ($damage:ident, $expect:expr, $($name:ident $level:literal)+) => {
        mod $damage {
            damaged! { crate::SMALL; $($name: $expect, super::$damage($level);)+ }
        }
    };
}

/// An entry becomes what `value` says.
fn entry(level: u32, value: impl Fn(&Anatomy) -> u64) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(a.level(level).entry, value(a))
}

fn unaligned(level: u32) -> impl Fn(&mut Memory, &Anatomy) {
    entry(level, move |a| a.level(level).pa + 8)
}

fn outside(level: u32) -> impl Fn(&mut Memory, &Anatomy) {
    entry(level, |_| 0x7f00_0000_0000)
}

fn wrapping(level: u32) -> impl Fn(&mut Memory, &Anatomy) {
    entry(level, |_| 0xffff_ffff_ffff_f000)
}

fn its_own_parent(level: u32) -> impl Fn(&mut Memory, &Anatomy) {
    entry(level, move |a| a.level(level).entry & !4095)
}

fn the_root(level: u32) -> impl Fn(&mut Memory, &Anatomy) {
    entry(level, |a| a.nodes[0].pa)
}

/// The entry of the last node of `level`, which leads to the keys of order 0.
fn last_entry(a: &Anatomy, level: u32) -> u64 {
    a.nodes
        .iter()
        .rfind(|node| node.level == level)
        .unwrap()
        .entry
}

fn lost(level: u32) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(last_entry(a, level), 0)
}

fn shared(level: u32) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(last_entry(a, level), a.level(level).pa)
}

at_levels!(5, unaligned, ["tracker", "not aligned"]);
at_levels!(5, outside, ["tracker", "outside memory"]);
at_levels!(5, wrapping, ["tracker", "outside memory"]);
at_levels!(4, its_own_parent, ["tracker", "cycle"]);
at_levels!(4, the_root, ["tracker", "cycle"]);
at_levels!(4, lost, ["not preserved"]);
at_levels!(3, shared, ["tracker", "is shared"]);

damaged! { SMALL;
    root_null:
        ["root node's address", "null"], |m, a| m.set_u64(prop(m, a.fdt, "", "preserved-memory-map"), 0);
    root_is_the_fdt: ["damaged"], |m, a| m.set_u64(prop(m, a.fdt, "", "preserved-memory-map"), a.fdt);
    key_too_wide: ["not a valid key", "53 bits"], |m, a| {
        let child = m.u64(a.level(4).entry);
        m.set_u64(a.level(4).entry, 0);
        m.set_u64(a.nodes[0].pa + 8 * 4, child);
    };
    range_outside_memory: ["preserved range", "outside memory"], |m, a| {
        let leaf = a.nodes.iter().rfind(|node| node.level == 0).unwrap().pa;
        m.set_u64(leaf + 8 * 511, 1 << 63);
    };
    ranges_overlap: ["preserved range", "overlaps", "order 0"], |m, a| {
        // The order 1 key over the pages of an order 0 key, in the leaf of order 1.
        let (pa, _) = *a
            .keys
            .iter()
            .find(|(pa, order)| *order == 0 && a.keys.contains(&(pa ^ 4096, 0)))
            .unwrap();
        let leaves: Vec<_> = a.nodes.iter().filter(|node| node.level == 0).collect();
        let leaf = leaves[leaves.len() - 2].pa;
        let word = leaf + 8 * ((pa >> 13 & 32767) / 64);
        m.set_u64(word, m.u64(word) | 1 << (pa >> 13 & 63));
    };
    node_preserved: ["preserved as well"], |m, a| {
        let leaf = a.nodes.iter().rfind(|node| node.level == 0).unwrap().pa;
        let pfn = a.nodes[1].pa >> 12;
        let word = leaf + 8 * ((pfn & 32767) / 64);
        m.set_u64(word, m.u64(word) | 1 << (pfn & 63));
    };
}

built! {
    key_0: ["not a valid key", "key 0x0"], || {
        let mut b = Builder::new();
        b.folio(0);
        b.preserve(0, 38);
        let built = b.finish();
        let mut mem = built.mem;
        // The leaf of the key of order 38 is that of the smallest keys.
        let root = mem.u64(prop(&mem, built.fdt, "", "preserved-memory-map"));
        let mut node = root;
        for _ in 0..5 {
            node = mem.u64(node);
        }
        mem.set_u64(node, 1);
        mem
    };
    range_is_all_of_memory: ["outside memory", "order 51"], || {
        let mut b = Builder::new();
        b.preserve(0, 51);
        b.finish().mem
    };
}
