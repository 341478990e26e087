//! Each rule, found in a project that is made up, and not found where it is not broken.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod changes;
#[path = "../common/mod.rs"]
mod common;
mod components;
mod conditions;
mod releases;
mod source;

use common::{ABI, Fake, expect, has, holds, kept, leak, one, place, rules, structs, title, told};
use kho_abi_check::{
    Failure, Format, Options, Text, Vector, Vectors, describe, rules as all, vectors,
};
use kho_compat::{AbiLayout as _, Carrier, Component, Features, Generation, constant};
use zerocopy::little_endian::{U32, U64};

const MAX: u64 = 10_000;

const BYTES: usize = 4096;

structs! {
    "memfd_ser" [MAX] MemfdSer { pos: U64, seals: U32, flags: U32, count: U64 }
}

/// The struct with a field more, as the next version has it.
mod grown {
    use super::*;
    structs! {
        "memfd_ser" [MAX] MemfdSer { pos: U64, owner: U64, seals: U32, flags: U32, count: U64 }
    }
}

/// The struct with two fields swapped.
mod swapped {
    use super::*;
    structs! {
        "memfd_ser" [MAX] MemfdSer { pos: U64, flags: U32, seals: U32, count: U64 }
    }
}

const SOURCE: &str = r#"//! What lies in memory.

use kho_compat::{AbiLayout, Component, Generation, constant};

/// The name.
pub const NAME: &str = "memfd";
/// The number in `memfd-v2`.
pub const VERSION: u32 = 2;
/// A limit.
pub const MAX: u64 = 10_000;
/// Bytes.
pub const BYTES: usize = 4096;

/// A memfd.
#[derive(AbiLayout)]
#[repr(C)]
#[abi(c_name = "memfd_ser", constants(MAX))]
pub struct MemfdSer {
    pub pos: U64,
    pub seals: U32,
    pub flags: U32,
    pub count: U64,
}

const _: () = assert!(size_of::<MemfdSer>() == 24);

pub const COMPONENT: Component = Component::new(NAME, &[Generation::new(VERSION).constants(&[constant!(BYTES)])]);
"#;

fn keys() -> Result<Text, Failure> {
    Ok("0x1000 order 0: 0x11\n0x2000 order 1: 0x21".into())
}

fn other_keys() -> Result<Text, Failure> {
    Ok("0x1000 order 0: 0x12\n0x2000 order 1: 0x21".into())
}

fn pages() -> Result<Text, Failure> {
    Ok(Text::bytes(&[7; 16]))
}

vectors!("memfd", ["keys" => keys]);
vectors!("vmalloc", ["an area" => || Ok("an area".into())]);
vectors!("pci", ["a page" => common::PAGE]);
vectors!("pcie", ["a page" => common::PAGE]);

/// `vectors` of the memfd instead of those that are linked.
fn of_memfd(vectors: &'static [Vector]) -> [Vectors; 2] {
    const AREA: &[Vector] = &[vector("an area", || Ok("an area".into()))];
    [("memfd", vectors), ("vmalloc", AREA)].map(|(component, vectors)| Vectors {
        component,
        generation: None,
        variant: None,
        vectors,
    })
}

const fn vector(name: &'static str, make: fn() -> Result<Text, Failure>) -> Vector {
    Vector { name, make }
}

const fn generation(number: u32) -> Generation {
    Generation::new(number)
        .needs(&[("vmalloc", 1)])
        .layouts(&[MemfdSer::layout])
        .constants(&[constant!(BYTES)])
}

const fn shell(generations: &'static [Generation]) -> Component {
    Component::new("memfd", generations)
        .summary("file handler of memfds")
        .of_crate("fmt")
        .carried_in(Carrier::FileHandler)
        .field(48)
}

fn memfd<const N: usize>(generations: [Generation; N]) -> Component {
    shell(kept(generations))
}

static MEMFD: Component = shell(const { &[generation(2)] });

static VMALLOC: Component = Component::new("vmalloc", &[Generation::new(1)]).of_crate("fmt");

fn project() -> Fake {
    Fake::new(SOURCE, &[&MEMFD, &VMALLOC])
}

/// The project with the struct grown, in version `number`.
fn with_grown(number: u32) -> [&'static Component; 2] {
    with(memfd([
        generation(number).layouts(&[grown::MemfdSer::layout])
    ]))
}

/// The project with what is registered in `memfd`'s place.
fn with(memfd: Component) -> [&'static Component; 2] {
    [leak(memfd), &VMALLOC]
}

#[test]
fn every_rule_is_tested_and_explained() {
    let here = concat!(
        include_str!("changes.rs"),
        include_str!("components.rs"),
        include_str!("conditions.rs"),
        include_str!("releases.rs"),
        include_str!("source.rs"),
        include_str!("../generations.rs"),
        include_str!("../names.rs"),
        include_str!("../needed.rs"),
        include_str!("../upstream.rs"),
        include_str!("../variants.rs")
    );
    for rule in all::RULES {
        assert!(
            here.contains(&format!("{}\"", rule.id)),
            "no test finds {}",
            rule.id
        );
        let page = rule.explain();
        assert!(
            page.starts_with(rule.id) && page.contains("Mend: "),
            "{page}"
        );
    }
    assert!(all::find("no-such-rule").is_none());
}
