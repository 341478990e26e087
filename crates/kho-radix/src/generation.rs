//! The component and its generations.

use crate::geometry::Geometry;
use crate::v1::{RadixLeaf, RadixNode, VERSION};
use kho_compat::{AbiLayout, Component, Generation, Layout, Variant, constant};
use kho_mem::PAGE_SHIFT;
use zerocopy::little_endian::U64;

/// The name in `radix-v1`.
pub const NAME: &str = "radix";

/// `radix-v1`.
const GENERATION: Generation = Generation::new(VERSION)
    .since("Linux 7.1")
    .layouts(&[RadixNode::layout, RadixLeaf::layout])
    .constants(&[constant!(PAGE_SHIFT)])
    .variants(&[
        variant::<14, { Geometry::<14>::WORDS }>("16k"),
        variant::<16, { Geometry::<16>::WORDS }>("64k"),
    ]);

/// What differs in a tree of pages of 2^`SHIFT` bytes, which are `WORDS` words.
const fn variant<const SHIFT: u32, const WORDS: usize>(label: &'static str) -> Variant {
    Variant::new("page size", label)
        .layouts(const { &[node::<SHIFT, WORDS>, leaf::<SHIFT, WORDS>] })
        .constants(const { &[constant!(PAGE_SHIFT = SHIFT)] })
}

fn node<const SHIFT: u32, const WORDS: usize>() -> Layout {
    RadixNode::layout().with_tail::<[U64; WORDS]>(&[
        constant!(DEPTH = Geometry::<SHIFT>::DEPTH)(),
        constant!(TABLE_BITS = Geometry::<SHIFT>::TABLE_BITS)(),
        constant!(TABLE_ENTRIES = 1_usize << Geometry::<SHIFT>::TABLE_BITS)(),
        constant!(KEY_BITS = Geometry::<SHIFT>::KEY_BITS)(),
        constant!(MARKER_SHIFT = Geometry::<SHIFT>::KEY_BITS - 1)(),
    ])
}

fn leaf<const SHIFT: u32, const WORDS: usize>() -> Layout {
    RadixLeaf::layout().with_tail::<[U64; WORDS]>(&[
        constant!(LEAF_BITS = Geometry::<SHIFT>::LEAF_BITS)(),
        constant!(LEAF_WORDS = WORDS)(),
    ])
}

/// The tracker as a component.
pub const COMPONENT: Component = Component::new(NAME, &[GENERATION])
    .summary("tracker of preserved memory: a radix tree of pages")
    .of_crate(env!("CARGO_PKG_NAME"));

kho_compat::submit! { COMPONENT }
